//! Which limits does a request meet, and which did it meet before?

use crate::compare::Weaker;
use crate::compare::finding::listed;
use crate::compare::placed::SideRoute;
use crate::config::Limit;
use crate::config::Mode;
use crate::model::plan::Quota;
use std::time::Duration;

/// Calls `found` with every limit of `before` that has no equally strict limit on `now`.
pub(in crate::compare) fn compare(before: SideRoute<'_>, now: SideRoute<'_>, found: &mut dyn FnMut(Weaker)) {
    let new: Vec<&Limit> = now.limits().collect();
    for limit in gone(before.limits(), &new) {
        let mut weaker = before.weaker(now, "limits", words(limit), "gone".to_owned());
        weaker.what = format!("limit {}", limit.name);
        if let Some(same) = new.iter().find(|other| other.name == limit.name) {
            let place = |placed: SideRoute<'_>, limit: &Limit| {
                placed.side.origins.find(["limits", limit.name.as_str(), ""]).clone()
            };
            weaker.is = words(same);
            weaker.old = place(before, limit);
            weaker.new = place(now, same);
        }
        found(weaker);
    }
}

/// Returns the limits of `before` that have no equally strict limit in `now`.
pub(in crate::compare) fn gone<'a>(
    before: impl Iterator<Item = &'a Limit>,
    now: &[&Limit],
) -> impl Iterator<Item = &'a Limit> {
    before.filter(|limit| limit.mode == Mode::Enforce && !now.iter().any(|other| holds(limit, other)))
}

/// Returns whether `new` refuses every request that `old` refused.
/// Fewer words in `by` put more requests into one bucket.
fn holds(old: &Limit, new: &Limit) -> bool {
    let Limit {
        name: _,
        by,
        quota,
        mode,
    } = new;
    *mode == Mode::Enforce && by.iter().all(|word| old.by.contains(word)) && at_most(quota, &old.quota)
}

/// Returns whether `quota` never admits more than `bound`.
pub(in crate::compare) fn at_most(quota: &Quota, bound: &Quota) -> bool {
    let Quota {
        requests,
        period,
        burst,
    } = quota;
    let rate = |requests: u32, period: Duration| u128::from(requests) * period.as_nanos();
    rate(requests.get(), bound.period) <= rate(bound.requests.get(), *period) && *burst <= bound.burst
}

fn words(limit: &Limit) -> String {
    let by = listed(&limit.by);
    let counted = match limit.mode {
        Mode::Enforce => "",
        Mode::Shadow => ", only counted",
    };
    format!("{}, by {by}{counted}", limit.quota)
}
