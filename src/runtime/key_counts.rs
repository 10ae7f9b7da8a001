//! How many API keys are there, by state? Counted in the background, because each count looks at every key: a scrape
//! only reads the gauges.

use crate::gate::Gate;
use crate::model::clock::Now;
use crate::model::clock::Tick;
use crate::model::clock::Timestamp;
use crate::model::directory::Directory;
use crate::model::subscription::SubscriptionState;
use crate::observe::metrics::ApiKeyCounts;
use std::sync::Arc;
use std::time::Duration;

/// An API key that expires within this time is counted as expiring soon.
const SOON: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// An API key that expires within this time is counted as expiring within 30 days.
const WITHIN_30_DAYS: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The interval at which keys are counted, if that costs little.
pub const COUNT_INTERVAL: Duration = Duration::from_secs(1);

/// The pause after a count, in multiples of its duration: counting takes at most a hundredth of one processor.
const PAUSE_FACTOR: u32 = 100;

/// Counts the API keys of a gate.
#[derive(Debug, Default)]
pub struct KeyCounter {
    /// The earliest time of the next count.
    due: Tick,
}

impl KeyCounter {
    /// Counts the keys and sets the gauges, unless the last count was too costly to be repeated yet.
    pub async fn count_if_due(&mut self, gate: &Arc<Gate>) {
        let started = gate.clock.now();
        if started.tick < self.due {
            return;
        }
        let counted = Arc::clone(gate);
        // A million keys take a tenth of a second, for which no thread of the runtime must be blocked.
        let counting = move || {
            let live = &counted.live;
            live.metrics.api_keys.set(count(&live.directory, started.wall));
            live.metrics
                .issued
                .set_subscriptions(count_subscriptions(&live.directory));
        };
        // An error means that the process ends.
        let _ = tokio::task::spawn_blocking(counting).await;
        self.due = next(started, gate.clock.now());
    }
}

/// Returns the earliest time of the count after one that ran from `started` to `ended`.
fn next(started: Now, ended: Now) -> Tick {
    let took = ended.tick.saturating_since(started.tick);
    ended.tick.saturating_add(took.saturating_mul(PAUSE_FACTOR))
}

fn count(directory: &Directory, now: Timestamp) -> ApiKeyCounts {
    let mut counts = ApiKeyCounts::default();
    directory.for_each(|entry| {
        if entry.reads_as_revoked(now) {
            counts.revoked += 1;
        } else if entry.reads_as_expired(now) {
            counts.expired += 1;
        } else if entry.is_disabled() {
            counts.disabled += 1;
        } else {
            counts.active += 1;
            let expires_within = |time| entry.expires_at().is_some_and(|at| at <= now.saturating_add(time));
            counts.expiring_soon += u64::from(expires_within(SOON));
            counts.expiring_within_30_days += u64::from(expires_within(WITHIN_30_DAYS));
        }
    });
    counts
}

/// Returns the number of subscriptions in each state, in the order of [`SubscriptionState::ALL`].
fn count_subscriptions(directory: &Directory) -> [u64; SubscriptionState::ALL.len()] {
    let mut counts = [0; SubscriptionState::ALL.len()];
    directory.for_each_subscription(|subscription| {
        for (state, count) in SubscriptionState::ALL.into_iter().zip(&mut counts) {
            *count += u64::from(subscription.state == state);
        }
    });
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::live::LiveState;
    use crate::model::api_key::CredentialDigest;
    use crate::model::clock::Clock;
    use crate::model::clock::ManualClock;
    use crate::model::directory::KeyRecord;
    use crate::model::directory::KeyState;
    use crate::observe::ready::Readiness;
    use crate::runtime::assemble;
    use crate::runtime::config_files;

    fn record(id: &str, state: KeyState, expires_at: Option<Timestamp>) -> KeyRecord {
        KeyRecord {
            state,
            expires_at,
            ..KeyRecord::unrestricted(id.parse().unwrap(), CredentialDigest::sha256(id))
        }
    }

    #[test]
    fn each_key_is_counted_in_its_state() {
        let directory = Directory::new();
        let now = Timestamp::from_unix_secs(1_000);
        let soon = now.saturating_add(SOON);
        let later = soon.saturating_add(Duration::from_millis(1));
        let (active, revoked) = (KeyState::Active, KeyState::Revoked);
        directory.replace(vec![
            record("aaaaaaaaaaaaaaaa", active, None),
            record("bbbbbbbbbbbbbbbb", active, Some(later)),
            record("cccccccccccccccc", active, Some(soon)),
            record("dddddddddddddddd", active, Some(now)),
            record("eeeeeeeeeeeeeeee", revoked, Some(now)),
            record("ffffffffffffffff", KeyState::Disabled, Some(soon)),
            record("gggggggggggggggg", KeyState::Disabled, Some(now)),
        ]);
        let expected = ApiKeyCounts {
            active: 3,
            disabled: 1,
            revoked: 1,
            expired: 2,
            expiring_soon: 1,
            expiring_within_30_days: 2,
        };
        assert_eq!(count(&directory, now), expected);
    }

    #[test]
    fn a_scrape_looks_at_no_key_and_the_counter_at_each() {
        let yaml = "listeners: [{ address: 127.0.0.1:0 }]\nupstreams: { e: { builtin: echo } }\nroutes: [{ name: a, match: { path: / }, public: true, upstream: e }]\n";
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keygate.yaml");
        std::fs::write(&path, yaml).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(Timestamp::from_unix_secs(1_000)));
        let mut loaded = config_files::load(&path).unwrap_or_else(|error| panic!("{error}"));
        let metrics = assemble::metrics(Timestamp::default());
        let access = assemble::access_log(std::io::sink(), &loaded.config.observe, &metrics).unwrap();
        let live = Arc::new(LiveState::new(metrics, "127.0.0.1:9".parse().unwrap()));
        let (gate, _) = assemble::gate(&mut loaded, live, clock, access, &Readiness::new()).unwrap();
        let one = record("aaaaaaaaaaaaaaaa", KeyState::Active, None);
        gate.live.directory.replace(vec![one]);
        let active = || {
            let text = gate.live.metrics.text();
            let line = text
                .lines()
                .find(|line| line.starts_with("keygate_api_keys{state=\"active\"}"));
            line.map(|line| line.ends_with(" 1"))
        };
        assert_ne!(active(), Some(true));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(KeyCounter::default().count_if_due(&gate));
        assert_eq!(active(), Some(true));
    }

    #[test]
    fn a_count_is_repeated_after_a_hundred_times_its_duration() {
        let at = |millis: u64| Now {
            wall: Timestamp::default(),
            tick: Tick::from_nanos(millis * 1_000_000),
        };
        assert_eq!(next(at(1_000), at(1_170)), at(18_170).tick);
        assert_eq!(next(at(1_000), at(1_000)), at(1_000).tick);
    }
}
