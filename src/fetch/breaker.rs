//! May an endpoint be called now? Several failures in a row stop the calls. After a pause, one call at a time probes
//! the endpoint.

use crate::config::introspection::Breaker as Rules;
use crate::model::clock::Tick;

/// A circuit breaker that counts failures in a row.
#[derive(Debug)]
pub struct Breaker {
    rules: Rules,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        until: Tick,
    },
    /// One call is probing whether the endpoint works again.
    Probing,
}

/// The permission to make one call; [`Breaker::record`] takes it back with the outcome of the call.
#[derive(Debug)]
#[must_use = "a probe that is not given back keeps everybody out"]
pub struct CallPermit(PermitKind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PermitKind {
    Usual,
    Probe,
}

/// The health of the endpoint, according to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    Success,
    Failure,
}

/// A change of the breaker's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    Opened,
    Closed,
}

impl Breaker {
    pub const fn new(rules: Rules) -> Self {
        Self {
            rules,
            state: State::Closed { failures: 0 },
        }
    }

    /// Returns whether [`Self::try_acquire`] would return `None` at `now`.
    pub fn refuses(&self, now: Tick) -> bool {
        match self.state {
            State::Closed { .. } => false,
            State::Open { until } => now < until,
            State::Probing => true,
        }
    }

    /// Returns the permission to make a call at `now`; `None` while the breaker is open. After `open_for`, the first
    /// caller gets a probe, and the others get `None` until the probe has been recorded.
    pub fn try_acquire(&mut self, now: Tick) -> Option<CallPermit> {
        match self.state {
            State::Closed { .. } => Some(CallPermit(PermitKind::Usual)),
            State::Open { until } if now >= until => {
                self.state = State::Probing;
                Some(CallPermit(PermitKind::Probe))
            }
            State::Open { .. } | State::Probing => None,
        }
    }

    /// Records the end of a call and returns the change of state, if any. A call that began before the breaker opened
    /// changes nothing while the breaker is open or probing.
    pub fn record(&mut self, pass: CallPermit, outcome: CallOutcome, now: Tick) -> Option<Transition> {
        match (pass.0, self.state, outcome) {
            (PermitKind::Usual, State::Closed { .. }, CallOutcome::Success) => {
                self.state = State::Closed { failures: 0 };
                None
            }
            (PermitKind::Usual, State::Closed { failures }, CallOutcome::Failure) => {
                let failures = failures.saturating_add(1);
                self.state = State::Closed { failures };
                (failures >= self.rules.failures).then(|| self.open(now))
            }
            (PermitKind::Probe, _, CallOutcome::Success) => {
                self.state = State::Closed { failures: 0 };
                Some(Transition::Closed)
            }
            (PermitKind::Probe, _, CallOutcome::Failure) => Some(self.open(now)),
            (PermitKind::Usual, State::Open { .. } | State::Probing, _) => None,
        }
    }

    fn open(&mut self, now: Tick) -> Transition {
        let until = now.saturating_add(self.rules.open_for);
        self.state = State::Open { until };
        Transition::Opened
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const OPEN_FOR: Duration = Duration::from_secs(5);

    fn breaker(failures: u32) -> Breaker {
        Breaker::new(Rules {
            failures,
            open_for: OPEN_FOR,
        })
    }

    fn at(millis: u64) -> Tick {
        Tick::ZERO.saturating_add(Duration::from_millis(millis))
    }

    fn call(breaker: &mut Breaker, outcome: CallOutcome, now: Tick) -> Option<Transition> {
        let pass = breaker.try_acquire(now).expect("it lets calls through");
        breaker.record(pass, outcome, now)
    }

    #[test]
    fn a_breaker_opens_at_the_configured_number_of_failures_in_a_row() {
        let mut breaker = breaker(3);
        for _ in 0..2 {
            assert_eq!(call(&mut breaker, CallOutcome::Failure, at(0)), None);
        }
        assert_eq!(call(&mut breaker, CallOutcome::Success, at(0)), None);
        for _ in 0..2 {
            assert_eq!(call(&mut breaker, CallOutcome::Failure, at(0)), None);
        }
        assert_eq!(
            call(&mut breaker, CallOutcome::Failure, at(0)),
            Some(Transition::Opened)
        );
        assert!(breaker.refuses(at(0)) && breaker.try_acquire(at(0)).is_none());
    }

    #[test]
    fn an_open_breaker_allows_one_probe_after_open_for() {
        let mut breaker = breaker(1);
        let _ = call(&mut breaker, CallOutcome::Failure, at(1_000));
        assert!(breaker.try_acquire(at(5_999)).is_none());
        assert!(!breaker.refuses(at(6_000)));
        let probe = breaker.try_acquire(at(6_000)).expect("one may try");
        assert!(
            breaker.refuses(at(6_000)) && breaker.try_acquire(at(60_000)).is_none(),
            "only one"
        );
        assert_eq!(
            breaker.record(probe, CallOutcome::Failure, at(7_000)),
            Some(Transition::Opened)
        );
        assert!(breaker.try_acquire(at(11_999)).is_none());
        let probe = breaker.try_acquire(at(12_000)).expect("one may try again");
        assert_eq!(
            breaker.record(probe, CallOutcome::Success, at(12_001)),
            Some(Transition::Closed)
        );
        assert!(breaker.try_acquire(at(12_001)).is_some() && breaker.try_acquire(at(12_001)).is_some());
    }

    #[test]
    fn calls_from_before_a_breaker_opened_change_nothing() {
        let mut breaker = breaker(1);
        let (slow, slower) = (breaker.try_acquire(at(0)), breaker.try_acquire(at(0)));
        let _ = call(&mut breaker, CallOutcome::Failure, at(0));
        assert_eq!(breaker.record(slow.unwrap(), CallOutcome::Success, at(4_000)), None);
        assert_eq!(breaker.record(slower.unwrap(), CallOutcome::Failure, at(4_999)), None);
        assert!(breaker.refuses(at(4_999)) && !breaker.refuses(at(5_000)));
    }

    proptest! {
        #[test]
        fn without_a_probe_under_way_a_breaker_refuses_for_open_for_at_most(steps in prop::collection::vec((0_u64..10_000, any::<bool>()), 1..60)) {
            let mut breaker = breaker(2);
            let mut now = 0;
            for (pause, works) in steps {
                now += pause;
                let outcome = if works { CallOutcome::Success } else { CallOutcome::Failure };
                match breaker.try_acquire(at(now)) {
                    Some(pass) => drop(breaker.record(pass, outcome, at(now))),
                    None => prop_assert!(!breaker.refuses(at(now + 5_000))),
                }
            }
        }
    }
}
