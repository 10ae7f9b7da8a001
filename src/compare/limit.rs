//! Which limits apply to a request, and which applied before?

use crate::compare::Weakening;
use crate::compare::finding::list_text;
use crate::compare::side::SideRoute;
use crate::config::Limit;
use crate::config::LimitWindow;
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

/// Returns whether `new` never admits more than `old`. With
/// fewer words in `by`, more requests share a bucket, so the limit is stricter.
fn is_as_strict(old: &Limit, new: &Limit) -> bool {
    let Limit {
        name: _,
        by,
        quota,
        window,
        mode,
    } = new;
    let admits_at_most = match (old.window, window) {
        (LimitWindow::Refilling, LimitWindow::Refilling) => at_most(quota, &old.quota),
        // Around the end of a fixed window, the quotas of two windows may come at once.
        (LimitWindow::Refilling, LimitWindow::Fixed) => {
            quota.requests.get() <= old.quota.burst.get() / 2 && at_most(quota, &old.quota)
        }
        (LimitWindow::Fixed, LimitWindow::Refilling | LimitWindow::Fixed) => {
            most_in(new, old.quota.period) <= u128::from(old.quota.requests.get())
        }
    };
    *mode == Mode::Enforce && by.iter().all(|word| old.by.contains(word)) && admits_at_most
}

/// Returns the maximum number of requests that `limit` admits in a window of `period` that is aligned to the clock.
fn most_in(limit: &Limit, period: Duration) -> u128 {
    let requests = u128::from(limit.quota.requests.get());
    let own = limit.quota.period.as_nanos().max(1);
    match limit.window {
        LimitWindow::Refilling => u128::from(limit.quota.burst.get()) + period.as_nanos() * requests / own,
        // Each unit of a period is a multiple of the smaller ones, so that windows nest.
        LimitWindow::Fixed => requests * (period.as_nanos() / own).max(1),
    }
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
    format!("{}, by {by}{counted}", limit.quota_text())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LimitBy;
    use std::num::NonZeroU32;

    /// Returns a limit that refills with `burst`, or one with a fixed window where `burst` is `None`.
    fn limit(requests: u32, secs: u64, burst: Option<u32>) -> Limit {
        let number = |number| NonZeroU32::new(number).unwrap();
        Limit {
            name: "l".parse().unwrap(),
            by: vec![LimitBy::Ip],
            quota: Quota {
                requests: number(requests),
                period: Duration::from_secs(secs),
                burst: number(burst.unwrap_or(requests)),
            },
            window: burst.map_or(LimitWindow::Fixed, |_| LimitWindow::Refilling),
            mode: Mode::Enforce,
        }
    }

    #[test]
    fn a_window_and_a_burst_are_compared_by_what_passes_at_most() {
        for (old, new, strict) in [
            // A fixed window that becomes one that refills admits a burst more.
            (limit(10, 60, None), limit(10, 60, Some(1)), false),
            (limit(10, 60, None), limit(9, 60, Some(1)), true),
            (limit(10, 60, None), limit(5, 60, Some(5)), true),
            (limit(10, 60, None), limit(5, 60, Some(6)), false),
            (limit(10, 60, None), limit(10, 60, None), true),
            (limit(10, 60, None), limit(11, 60, None), false),
            (limit(60, 60, None), limit(1, 1, None), true),
            (limit(60, 60, None), limit(2, 1, None), false),
            (limit(10, 60, None), limit(10, 3_600, None), true),
            (limit(10, 60, None), limit(11, 3_600, None), false),
            // Around the end of a window, two quotas may come at once.
            (limit(10, 60, Some(10)), limit(10, 60, None), false),
            (limit(10, 60, Some(10)), limit(5, 60, None), true),
            (limit(10, 60, Some(10)), limit(6, 60, None), false),
            (limit(10, 60, Some(10)), limit(5, 1, None), false),
        ] {
            let texts = (old.quota_text(), new.quota_text());
            assert_eq!(is_as_strict(&old, &new), strict, "{texts:?}");
        }
    }
}
