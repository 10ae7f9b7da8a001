//! Which key signs, which key is next, and how long do retired keys stay published? Pure computation on times.

use crate::model::algorithm::Algorithm;
use crate::model::clock::Timestamp;
use crate::store::record::text;
use serde::Deserialize;
use serde::Serialize;
use std::time::Duration;

/// The rotation schedule of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    pub algorithm: Algorithm,
    /// The time for which one key signs.
    pub rotate_every: Duration,
    /// The time from publication to the first signature: at least as long as verifiers may cache the set.
    pub publish_before: Duration,
    /// The time from a key's retirement until its last token has expired: the longest
    /// lifetime plus the clock skew, and a margin for tokens being signed.
    pub tokens_last: Duration,
}

/// One published key and its stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotationKey {
    pub kid: String,
    pub algorithm: Algorithm,
    pub published_at: Timestamp,
    pub stage: Stage,
}

/// The stage of a key, as in `keys.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub enum Stage {
    /// Published, and signs from `signs_from` on.
    Next {
        #[serde(with = "text::millis")]
        signs_from: Timestamp,
    },
    /// Signs.
    Active {
        #[serde(with = "text::millis")]
        since: Timestamp,
    },
    /// No longer signs; its last token expires by `until`.
    Retired {
        #[serde(with = "text::millis")]
        since: Timestamp,
        #[serde(with = "text::millis")]
        until: Timestamp,
    },
}

/// The times between which a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SigningPeriod {
    pub since: Timestamp,
    /// The time at which the next key signs in its place.
    pub until: Timestamp,
}

/// One step of a rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Generate the first key, which signs at once: no verifier can have cached a set without it.
    MakeFirst,
    /// Generate the next key.
    MakeNext,
    /// Let the next key sign.
    Activate,
    /// Remove a key after its last token has expired.
    Forget { kid: String },
}

/// All published keys. Exactly one is active unless the ring is empty; at most one is next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRing(Vec<RotationKey>);

impl KeyRing {
    /// Returns a ring of `keys`, which are in the order of publication.
    ///
    /// # Errors
    /// The keys contradict each other: two are active or next, none is active, or a key appears twice.
    pub fn new(keys: Vec<RotationKey>) -> Result<Self, &'static str> {
        let ring = Self(keys);
        let count = |is: fn(&Stage) -> bool| ring.0.iter().filter(|key| is(&key.stage)).count();
        let active = count(|stage| matches!(stage, Stage::Active { .. }));
        if active > 1 || (active == 0 && !ring.0.is_empty()) {
            return Err("not exactly one of its keys signs");
        }
        if count(|stage| matches!(stage, Stage::Next { .. })) > 1 {
            return Err("two of its keys are next");
        }
        let mut kids: Vec<&str> = ring.0.iter().map(|key| key.kid.as_str()).collect();
        kids.sort_unstable();
        if kids.windows(2).any(|pair| pair[0] == pair[1]) {
            Err("a key stands in it twice")
        } else {
            Ok(ring)
        }
    }

    /// Returns the keys in the order of publication.
    pub fn keys(&self) -> &[RotationKey] {
        &self.0
    }

    /// Returns the key that signs; `None` if the ring is empty.
    pub fn active(&self) -> Option<&RotationKey> {
        self.0.iter().find(|key| matches!(key.stage, Stage::Active { .. }))
    }

    /// Returns the times between which the active key signs; `None` if the ring is empty.
    pub fn period(&self, schedule: &Schedule) -> Option<SigningPeriod> {
        let Stage::Active { since } = self.active()?.stage else {
            return None;
        };
        let planned = since.saturating_add(schedule.rotate_every);
        let until = self.next().map_or(planned, |(_, signs_from)| signs_from);
        Some(SigningPeriod { since, until })
    }

    /// Returns the next key and the time from which it signs.
    pub fn next(&self) -> Option<(&RotationKey, Timestamp)> {
        self.0.iter().find_map(|key| match key.stage {
            Stage::Next { signs_from } => Some((key, signs_from)),
            Stage::Active { .. } | Stage::Retired { .. } => None,
        })
    }

    /// Returns the step that is due at `now`. Call this again after the step: another one may be due.
    pub fn due(&self, now: Timestamp, schedule: &Schedule) -> Option<Step> {
        let expired = self.0.iter().find(|key| match key.stage {
            Stage::Retired { until, .. } => until <= now,
            Stage::Next { .. } | Stage::Active { .. } => false,
        });
        if let Some(key) = expired {
            return Some(Step::Forget { kid: key.kid.clone() });
        }
        let Some(active) = self.active() else {
            return Some(Step::MakeFirst);
        };
        if let Some((_, signs_from)) = self.next() {
            return (signs_from <= now).then_some(Step::Activate);
        }
        let Stage::Active { since } = active.stage else {
            return None;
        };
        // A new algorithm in the configuration causes an ordinary rotation.
        let ends = since.saturating_add(schedule.rotate_every);
        let is_due = now.saturating_add(schedule.publish_before) >= ends || active.algorithm != schedule.algorithm;
        is_due.then_some(Step::MakeNext)
    }

    /// Adds the first key, which signs from now on.
    #[must_use]
    pub fn with_first(mut self, kid: &str, schedule: &Schedule, now: Timestamp) -> Self {
        self.0.push(RotationKey {
            kid: kid.to_owned(),
            algorithm: schedule.algorithm,
            published_at: now,
            stage: Stage::Active { since: now },
        });
        self
    }

    /// Adds a key that signs once `publish_before` has passed, so that every verifier has had time to fetch it.
    #[must_use]
    pub fn with_next(mut self, kid: &str, schedule: &Schedule, now: Timestamp) -> Self {
        let signs_from = now.saturating_add(schedule.publish_before);
        self.0.push(RotationKey {
            kid: kid.to_owned(),
            algorithm: schedule.algorithm,
            published_at: now,
            stage: Stage::Next { signs_from },
        });
        self
    }

    /// Makes the next key active; the active key retires and stays until its last token has expired.
    #[must_use]
    pub fn activate_next(mut self, schedule: &Schedule, now: Timestamp) -> Self {
        let until = now.saturating_add(schedule.tokens_last);
        if self.next().is_none() {
            return self;
        }
        for key in &mut self.0 {
            key.stage = match key.stage {
                Stage::Active { .. } => Stage::Retired { since: now, until },
                Stage::Next { .. } => Stage::Active { since: now },
                Stage::Retired { .. } => key.stage,
            };
        }
        self
    }

    #[must_use]
    pub fn without(mut self, kid: &str) -> Self {
        self.0.retain(|key| key.kid != kid);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const SCHEDULE: Schedule = Schedule {
        algorithm: Algorithm::Es256,
        rotate_every: Duration::from_secs(100 * 60),
        publish_before: Duration::from_secs(10 * 60),
        tokens_last: Duration::from_secs(30 * 60),
    };

    fn at(minutes: u64) -> Timestamp {
        Timestamp::from_unix_secs(minutes * 60)
    }

    fn key(kid: &str, published: u64, stage: Stage) -> RotationKey {
        RotationKey {
            kid: kid.to_owned(),
            algorithm: Algorithm::Es256,
            published_at: at(published),
            stage,
        }
    }

    fn ring(keys: &[RotationKey]) -> KeyRing {
        KeyRing::new(keys.to_vec()).unwrap()
    }

    #[test]
    fn the_first_key_signs_at_once_and_the_next_is_published_before_it_signs() {
        let empty = KeyRing::default();
        assert_eq!(empty.due(at(0), &SCHEDULE), Some(Step::MakeFirst));
        let first = empty.with_first("a", &SCHEDULE, at(0));
        assert_eq!(first.active().unwrap().kid, "a");
        assert_eq!(first.due(Timestamp::from_unix_millis(90 * 60_000 - 1), &SCHEDULE), None);
        assert_eq!(first.due(at(90), &SCHEDULE), Some(Step::MakeNext));

        let two = first.with_next("b", &SCHEDULE, at(90));
        assert_eq!(two.due(Timestamp::from_unix_millis(100 * 60_000 - 1), &SCHEDULE), None);
        assert_eq!(two.due(at(100), &SCHEDULE), Some(Step::Activate));

        let rotated = two.activate_next(&SCHEDULE, at(100));
        assert_eq!(rotated.active().unwrap().kid, "b");
        assert_eq!(
            rotated.due(Timestamp::from_unix_millis(130 * 60_000 - 1), &SCHEDULE),
            None
        );
        let forget = Step::Forget { kid: "a".to_owned() };
        assert_eq!(rotated.due(at(130), &SCHEDULE), Some(forget));
        assert_eq!(rotated.without("a").keys().len(), 1);
    }

    #[test]
    fn a_gate_that_slept_publishes_before_it_signs_all_the_same() {
        let late = ring(&[key("a", 0, Stage::Active { since: at(0) })]);
        assert_eq!(late.due(at(5_000), &SCHEDULE), Some(Step::MakeNext));
        let late = late.with_next("b", &SCHEDULE, at(5_000));
        assert_eq!(late.due(at(5_009), &SCHEDULE), None);
        assert_eq!(late.due(at(5_010), &SCHEDULE), Some(Step::Activate));
    }

    #[test]
    fn another_algorithm_is_a_rotation_like_any_other() {
        let other = Schedule {
            algorithm: Algorithm::Rs256,
            ..SCHEDULE
        };
        let before = ring(&[key("a", 0, Stage::Active { since: at(0) })]);
        assert_eq!(before.due(at(1), &other), Some(Step::MakeNext));
        let next = before.with_next("b", &other, at(1));
        assert_eq!(next.due(at(10), &other), None);
        let after = next.activate_next(&other, at(11));
        assert_eq!(after.active().unwrap().algorithm, Algorithm::Rs256);
        assert_eq!(after.due(at(12), &other), None);
    }

    #[test]
    fn keys_that_cannot_be_together_are_refused() {
        let active = |kid| key(kid, 0, Stage::Active { since: at(0) });
        let next = |kid| key(kid, 0, Stage::Next { signs_from: at(9) });
        let retired = |kid| {
            let (since, until) = (at(1), at(2));
            key(kid, 0, Stage::Retired { since, until })
        };
        for good in [
            vec![],
            vec![active("a")],
            vec![retired("a"), active("b"), next("c"), retired("d")],
        ] {
            assert!(KeyRing::new(good).is_ok());
        }
        for bad in [
            vec![active("a"), active("b")],
            vec![active("a"), next("b"), next("c")],
            vec![next("a")],
            vec![retired("a")],
            vec![active("a"), retired("a")],
        ] {
            assert!(KeyRing::new(bad.clone()).is_err(), "{bad:?}");
        }
    }

    proptest! {
        /// For any times of ticks and of manual rotations: each key was published long enough before its first
        /// signature, and stays published until its last token has expired.
        #[test]
        fn s135_a_token_signed_at_any_instant_verifies_until_it_ends(
            ticks in prop::collection::vec((1_u64..40, any::<bool>()), 1..60),
            rotate_every in 20_u64..200,
            publish_before in 0_u64..20,
        ) {
            let schedule = Schedule {
                rotate_every: MINUTE * u32::try_from(rotate_every).unwrap(),
                publish_before: MINUTE * u32::try_from(publish_before).unwrap(),
                ..SCHEDULE
            };
            let (mut ring, mut now, mut generated) = (KeyRing::default(), at(1), 0);
            // The signing key of each token, and the time until which the token must verify.
            let mut tokens: Vec<(String, Timestamp)> = Vec::new();
            for (pause, by_hand) in ticks {
                // Between two ticks the active key signs; its last token is signed just before this tick.
                if let Some(active) = ring.active() {
                    let last = now.saturating_add(MINUTE * u32::try_from(pause).unwrap());
                    tokens.push((active.kid.clone(), last.saturating_add(schedule.tokens_last)));
                    now = last;
                }
                if by_hand && ring.next().is_none() && ring.active().is_some() {
                    generated += 1;
                    ring = ring.with_next(&generated.to_string(), &schedule, now);
                }
                while let Some(step) = ring.due(now, &schedule) {
                    let kid = (generated + 1).to_string();
                    ring = match step {
                        Step::MakeFirst => { generated += 1; ring.with_first(&kid, &schedule, now) }
                        Step::MakeNext => { generated += 1; ring.with_next(&kid, &schedule, now) }
                        Step::Activate => ring.activate_next(&schedule, now),
                        Step::Forget { kid } => ring.without(&kid),
                    };
                    prop_assert!(KeyRing::new(ring.keys().to_vec()).is_ok());
                }
                let active = ring.active().unwrap();
                if let Stage::Active { since } = active.stage {
                    let ahead = since.saturating_since(active.published_at);
                    prop_assert!(active.kid == "1" || ahead >= schedule.publish_before, "{active:?}");
                }
                tokens.retain(|(_, until)| *until > now);
                for (kid, until) in &tokens {
                    prop_assert!(ring.keys().iter().any(|key| key.kid == *kid), "{kid} until {until:?} at {now:?}");
                }
            }
        }
    }
}
