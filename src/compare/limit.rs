//! Which limits apply to a request, and which applied before?

use crate::compare::Weakening;
use crate::compare::finding::list_text;
use crate::compare::side::SideRoute;
use crate::config::Limit;
use crate::config::Mode;
use crate::model::plan::Quota;
use std::time::Duration;

/// Calls `found` with every limit of the route `before` for which the route `now` has no equally strict limit.
pub(in crate::compare) fn compare(before: SideRoute<'_>, now: SideRoute<'_>, found: &mut dyn FnMut(Weakening)) {
    let new: Vec<&Limit> = now.limits().collect();
    for limit in missing(before.limits(), &new) {
        let mut weaker = before.weakening(now, "limits", words(limit), "gone".to_owned());
        weaker.requirement = format!("limit {}", limit.name);
        if let Some(same) = new.iter().find(|other| other.name == limit.name) {
            let place = |side_route: SideRoute<'_>, limit: &Limit| {
                side_route
                    .side
                    .origins
                    .find(["limits", limit.name.as_str(), ""])
                    .clone()
            };
            weaker.is = words(same);
            weaker.old = place(before, limit);
            weaker.new = place(now, same);
        }
        found(weaker);
    }
}

/// Returns the enforced limits of `before` for which `now` contains no equally strict limit.
pub(in crate::compare) fn missing<'a>(
    before: impl Iterator<Item = &'a Limit>,
    now: &[&Limit],
) -> impl Iterator<Item = &'a Limit> {
    before.filter(|limit| limit.mode == Mode::Enforce && !now.iter().any(|other| is_as_strict(limit, other)))
}

/// Returns whether `new` rejects every request that `old` rejects. With
/// fewer words in `by`, more requests share a bucket, so the limit is stricter.
fn is_as_strict(old: &Limit, new: &Limit) -> bool {
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
    let by = list_text(&limit.by);
    let counted = match limit.mode {
        Mode::Enforce => "",
        Mode::Shadow => ", only counted",
    };
    format!("{}, by {by}{counted}", limit.quota)
}
