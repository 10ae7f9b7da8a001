//! Which keys does an issuer have right now, and when is it worth asking for newer ones?

use crate::config::issuer::KeySource;
use crate::jose::jwks::Jwks;
use crate::model::clock::Now;
use crate::model::clock::Tick;
use crate::model::clock::Timestamp;
use arc_swap::ArcSwapOption;
use aws_lc_rs::digest;
use quick_cache::sync::Cache;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::watch;

/// Unknown key ids remembered per issuer: with a flood of invented ones this is all the memory it takes (S040).
const MISSES_MAX: usize = 1024;

/// Generations are drawn from one counter for the whole process, so that none ever names two sets: a token remembered
/// as verified by generation 7 of a replaced cache cannot be taken for one verified by generation 7 of its successor.
static GENERATIONS: AtomicU64 = AtomicU64::new(0);

/// A key set that was fetched and holds at least one usable key. It is replaced whole, never merged into (S051).
#[derive(Debug)]
pub struct KeySet {
    pub jwks: Arc<Jwks>,
    /// Rises whenever the set is replaced by a different one.
    pub generation: u64,
    /// When this content was last confirmed by a good fetch, in this process or one before it.
    pub confirmed: Timestamp,
    /// How it came into this process.
    pub origin: Origin,
    /// How old the confirmation was at `put`: the monotonic clock begins with the process, the age of a kept set before.
    age_when_put: Duration,
    put: Tick,
    /// SHA-256 of the text the set was read from: says whether the next one is different.
    fingerprint: [u8; 32],
}

/// How a set came into this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was fetched, or confirmed by a fetch; or read from the operator's files.
    Source,
    /// It was kept on disk by a process before this one, and no fetch has confirmed it since.
    Disk,
}

impl KeySet {
    /// How long ago it was confirmed. Goes on over restarts, and a wall clock that is set back renews nothing.
    pub fn age(&self, now: Now) -> Duration {
        self.age_when_put.saturating_add(now.tick.saturating_since(self.put))
    }
}

/// Why there are no keys to verify with. The request is answered 503: Keygate cannot tell (S050).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoKeys {
    #[error("the issuer's keys were never loaded")]
    NeverLoaded,
    #[error("the issuer's keys were last confirmed {} s ago, longer than `max_stale`", age.as_secs())]
    TooStale { age: Duration },
}

/// What to do with a token whose key is not in the current set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownKid {
    /// A set fetched after this `kid` was first missed, or within the cooldown, does not hold it: refuse (401).
    Absent,
    /// A fetch is on its way: wait with [`IssuerKeys::wait_for_attempt`] for attempt `attempt`, at most `wait`, and
    /// decide once more.
    Fetch { attempt: u64, wait: Duration },
    /// The last attempt failed and the cooldown forbids another: 503, worth retrying after `retry_in`.
    Unavailable { retry_in: Duration },
}

/// What operators see of an issuer's keys; never key material.
#[derive(Clone, Debug)]
pub struct IssuerHealth {
    /// The last good set, also when it is too stale to be used; its `jwks` has the key ids and the skipped keys.
    pub keys: Option<Arc<KeySet>>,
    /// `Ok` while tokens of this issuer can be verified.
    pub usable: Result<(), NoKeys>,
    pub last_attempt: Option<Timestamp>,
    /// The text of the last failure; `None` once an attempt has succeeded since.
    pub last_error: Option<Arc<str>>,
    pub next_fetch: Option<Timestamp>,
    pub consecutive_failures: u32,
    /// Attempts since the process started that brought a usable set.
    pub fetches_ok: u64,
    /// Attempts since the process started that did not.
    pub fetches_failed: u64,
    /// Where the last good fetch found the set.
    pub fetched_from: Option<Arc<str>>,
    /// From when on the set is too old to be used; `None` where that never happens, and without a set.
    pub usable_until: Option<Timestamp>,
}

/// One issuer's keys and what is known about fetching them. Outlives a reload, as long as the issuer's [`KeySource`]
/// stays the same; a changed source gets a new one, because keys of the old source prove nothing about the new.
pub struct IssuerKeys {
    rules: Rules,
    set: ArcSwapOption<KeySet>,
    /// Held to look and to note, never across I/O; not on the way of a token whose key is known.
    state: Mutex<State>,
    /// Key ids that were not in the set when asked for, and when that was first noticed.
    misses: Cache<[u8; 32], Tick>,
    wake: Notify,
    /// Number of the last attempt that has finished.
    finished: watch::Sender<u64>,
}

/// When a source may be asked again.
#[derive(Clone, Copy, Debug)]
enum Rules {
    /// Behind a URL.
    Remote {
        cooldown: Duration,
        wait: Duration,
        max_stale: Duration,
        /// How long a key id confirmed to be absent is believed to stay so.
        miss_ttl: Duration,
    },
    /// In files, read again as soon as they change, or in this process: nothing is gained by asking, and what did not
    /// change is not stale.
    Local,
}

#[derive(Debug, Default)]
struct State {
    /// Number of the last attempt that was started; attempts count from 1.
    started: u64,
    in_flight: bool,
    /// A request woke the fetcher, and it has not started yet.
    fetch_requested: bool,
    last_started: Option<Now>,
    /// When the last attempt that succeeded was started: what the issuer published before that is in its set.
    last_good_started: Option<Tick>,
    last_error: Option<Arc<str>>,
    next: Option<Now>,
    consecutive_failures: u32,
    fetches_ok: u64,
    fetches_failed: u64,
    fetched_from: Option<Arc<str>>,
}

impl IssuerKeys {
    pub fn new(source: &KeySource) -> Self {
        let rules = match source {
            KeySource::Remote(url) => Rules::Remote {
                cooldown: url.cooldown,
                wait: url.wait,
                max_stale: url.max_stale,
                // A set is believed at least this long whatever its issuer says. Not longer: an issuer that signs with
                // a key before all its servers publish it, or a stranger who guessed the next `kid`, must not have it
                // refused until the next scheduled fetch.
                miss_ttl: url.min_refresh,
            },
            // An issuer that is asked has no keys, and a set that is never filled verifies nothing.
            // Our own are put in place before anything is signed with them.
            KeySource::File(_) | KeySource::Pem(_) | KeySource::Introspection(_) | KeySource::Own => Rules::Local,
        };
        Self {
            rules,
            set: ArcSwapOption::empty(),
            state: Mutex::new(State::default()),
            misses: Cache::new(MISSES_MAX),
            wake: Notify::new(),
            finished: watch::Sender::new(0),
        }
    }

    /// The keys to verify with. Reads one pointer; takes no lock.
    ///
    /// # Errors
    /// When no set was ever loaded, or the last good one is older than the issuer's `max_stale`.
    pub fn current(&self, now: Now) -> Result<Arc<KeySet>, NoKeys> {
        let set = self.set.load_full().ok_or(NoKeys::NeverLoaded)?;
        self.check_age(&set, now)?;
        Ok(set)
    }

    /// The generation of what [`Self::current`] would give. Every request with a remembered token asks, so it counts no
    /// reference: threads would pass the counter to and fro.
    ///
    /// # Errors
    /// Those of [`Self::current`].
    pub fn current_generation(&self, now: Now) -> Result<u64, NoKeys> {
        let set = self.set.load();
        let set = set.as_ref().ok_or(NoKeys::NeverLoaded)?;
        self.check_age(set, now)?;
        Ok(set.generation)
    }

    fn check_age(&self, set: &KeySet, now: Now) -> Result<(), NoKeys> {
        let Rules::Remote { max_stale, .. } = self.rules else {
            return Ok(());
        };
        let age = set.age(now);
        if age > max_stale {
            Err(NoKeys::TooStale { age })
        } else {
            Ok(())
        }
    }

    /// Whether a set was ever loaded, however old it is now.
    pub fn is_loaded(&self) -> bool {
        self.set.load().is_some()
    }

    /// What to do with a token whose `kid` is that of no key of `current`, the set that [`Self::current`] gave.
    ///
    /// Wakes at most one fetch per cooldown, counting attempts, whatever the number of key ids (S040). A failed attempt
    /// is never taken for an absent key (S043).
    pub fn unknown_kid(&self, current: &KeySet, kid: Option<&str>, now: Now) -> UnknownKid {
        let Rules::Remote {
            cooldown,
            wait,
            miss_ttl,
            ..
        } = self.rules
        else {
            // A file is read again as soon as it changes, so its set is as new as it gets.
            return UnknownKid::Absent;
        };
        let miss = miss_key(kid);
        let mut state = self.state();
        // The set was replaced while this request looked into the old one: the new one may well hold the key. Without
        // this, requests that are under way when an issuer rotates would be refused (S039).
        if self.generation() != Some(current.generation) {
            return UnknownKid::Fetch {
                attempt: *self.finished.borrow(),
                wait,
            };
        }
        if let Some(good) = state.last_good_started {
            let age = now.tick.saturating_since(good);
            let first_missed = self.misses.get(&miss);
            let confirmed = first_missed.is_some_and(|first| first <= good) && age < miss_ttl;
            if age < cooldown || confirmed {
                return UnknownKid::Absent;
            }
        }
        if !(state.in_flight || state.fetch_requested) {
            let since = state
                .last_started
                .map(|started| now.tick.saturating_since(started.tick));
            if let Some(since) = since.filter(|since| *since < cooldown) {
                return UnknownKid::Unavailable {
                    retry_in: cooldown.saturating_sub(since),
                };
            }
            state.fetch_requested = true;
            self.wake.notify_one();
        }
        self.misses.insert(miss, now.tick);
        let attempt = if state.in_flight {
            state.started
        } else {
            state.started.saturating_add(1)
        };
        UnknownKid::Fetch { attempt, wait }
    }

    /// Returns when attempt number `attempt` (from [`UnknownKid::Fetch`]) has finished, well or badly, or after `at_most`.
    pub async fn wait_for_attempt(&self, attempt: u64, at_most: Duration) {
        let mut finished = self.finished.subscribe();
        // Either way the request is decided again from memory; how the waiting ended changes nothing.
        let _ = tokio::time::timeout(at_most, finished.wait_for(|last| *last >= attempt)).await;
    }

    /// Returns once a set was loaded.
    pub async fn loaded(&self) {
        let mut finished = self.finished.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = finished.wait_for(|_| self.is_loaded()).await;
    }

    /// Puts a set in place that a process before this one kept, `age` after it was confirmed, unless there is one. It
    /// serves like any other while the first fetch is under way, and only as long as it would have without the restart.
    pub fn restore(&self, text: &[u8], jwks: Jwks, confirmed: Timestamp, age: Duration, now: Now) {
        if !self.is_loaded() {
            let stored = (confirmed, Origin::Disk, age);
            self.replace(text, jwks, stored, now.tick);
        }
    }

    /// Takes over the set of `before`, which came from the same place, and what is known about its age.
    pub fn take_over(&self, before: &Self) {
        let good = before.state().last_good_started;
        self.set.store(before.set.load_full());
        self.state().last_good_started = good;
    }

    /// Has the fetcher start an attempt now, whatever the cooldown says, and returns its number for
    /// [`Self::wait_for_attempt`]. While one is under way it is that one's. For operators, not for requests.
    pub fn request_fetch(&self) -> u64 {
        let mut state = self.state();
        if state.in_flight {
            return state.started;
        }
        state.fetch_requested = true;
        self.wake.notify_one();
        state.started.saturating_add(1)
    }

    /// Whether attempt number `attempt` has finished.
    pub fn has_finished(&self, attempt: u64) -> bool {
        *self.finished.borrow() >= attempt
    }

    /// Whether the last attempt that has finished failed.
    pub fn last_failed(&self) -> bool {
        self.state().last_error.is_some()
    }

    /// For the fetcher: whether a request has asked for newer keys, and no attempt was started since.
    pub fn is_fetch_requested(&self) -> bool {
        self.state().fetch_requested
    }

    /// For the fetcher: returns when a request has asked for newer keys.
    pub async fn fetch_requested(&self) {
        loop {
            if self.state().fetch_requested {
                return;
            }
            // `notify_one` keeps a permit, so an ask between the look and the wait is not lost; a permit left over from
            // an ask that a scheduled fetch has met meanwhile ends in the look.
            self.wake.notified().await;
        }
    }

    /// For the fetcher: how long until the next scheduled fetch; zero when none was scheduled, as at start.
    pub fn next_fetch_in(&self, now: Now) -> Duration {
        let next = self.state().next;
        next.map_or(Duration::ZERO, |next| next.tick.saturating_since(now.tick))
    }

    /// For the fetcher: plans the next fetch `after` from `now`.
    pub fn schedule(&self, after: Duration, now: Now) {
        self.state().next = Some(Now {
            wall: now.wall.saturating_add(after),
            tick: now.tick.saturating_add(after),
        });
    }

    /// For the fetcher: an attempt starts. There is one fetcher, so there is one attempt at a time.
    pub fn start_attempt(&self, now: Now) -> Attempt<'_> {
        let mut state = self.state();
        state.started = state.started.saturating_add(1);
        state.in_flight = true;
        state.fetch_requested = false;
        state.last_started = Some(now);
        state.next = None;
        Attempt {
            keys: self,
            number: state.started,
            started: now.tick,
        }
    }

    /// A snapshot for metrics, readiness and the admin interface.
    pub fn health(&self, now: Now) -> IssuerHealth {
        let usable = self.current(now).map(drop);
        let keys = self.set.load_full();
        let usable_until = match (&self.rules, &keys) {
            (Rules::Remote { max_stale, .. }, Some(keys)) => {
                Some(now.wall.saturating_sub(keys.age(now)).saturating_add(*max_stale))
            }
            (Rules::Remote { .. }, None) | (Rules::Local, _) => None,
        };
        let state = self.state();
        IssuerHealth {
            keys,
            usable,
            last_attempt: state.last_started.map(|started| started.wall),
            last_error: state.last_error.clone(),
            next_fetch: state.next.map(|next| next.wall),
            consecutive_failures: state.consecutive_failures,
            fetches_ok: state.fetches_ok,
            fetches_failed: state.fetches_failed,
            fetched_from: state.fetched_from.clone(),
            usable_until,
        }
    }

    /// Puts `jwks` in place, and says whether it differs from what was there.
    fn replace(
        &self,
        text: &[u8],
        jwks: Jwks,
        (confirmed, origin, age_when_put): (Timestamp, Origin, Duration),
        put: Tick,
    ) -> (Arc<KeySet>, bool) {
        let fingerprint = sha256(&[text]);
        let old = self.set.load_full();
        let same = old.filter(|old| old.fingerprint == fingerprint);
        let changed = same.is_none();
        let (jwks, generation) = match same {
            Some(old) => (Arc::clone(&old.jwks), old.generation),
            None => (
                Arc::new(jwks),
                GENERATIONS.fetch_add(1, Ordering::Relaxed).saturating_add(1),
            ),
        };
        let set = Arc::new(KeySet {
            jwks,
            generation,
            confirmed,
            origin,
            age_when_put,
            put,
            fingerprint,
        });
        self.set.store(Some(Arc::clone(&set)));
        if changed {
            self.misses.clear();
        }
        (set, changed)
    }

    fn generation(&self) -> Option<u64> {
        self.set.load().as_ref().map(|set| set.generation)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // `State` is plain data, and nothing that can panic runs while it is half written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for IssuerKeys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("IssuerKeys")
            .field("rules", &self.rules)
            .field("state", &*self.state())
            .finish_non_exhaustive()
    }
}

/// One attempt to bring newer keys. Dropped without an answer, as when its task is stopped, it counts as failed, so that
/// nobody waits for it and the next one is not held up.
#[derive(Debug)]
#[must_use]
pub struct Attempt<'a> {
    keys: &'a IssuerKeys,
    number: u64,
    started: Tick,
}

/// What a successful attempt changed.
#[derive(Debug)]
pub struct Success {
    pub keys: Arc<KeySet>,
    /// The set differs from the one before.
    pub changed: bool,
    /// How many attempts had failed since the last good one.
    pub failures_before: u32,
}

/// What a failed attempt was one more of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How many attempts have now failed since the last good one.
    pub in_a_row: u32,
    /// The one before failed too, with the same words.
    pub same_as_before: bool,
}

impl Attempt<'_> {
    /// Notes where the set was found.
    pub fn from(self, place: &str) -> Self {
        self.keys.state().fetched_from = Some(place.into());
        self
    }

    /// `text` is what `jwks` was read from.
    pub fn succeed(self, text: &[u8], jwks: Jwks, now: Now) -> Success {
        let fresh = (now.wall, Origin::Source, Duration::ZERO);
        let (keys, changed) = self.keys.replace(text, jwks, fresh, now.tick);
        let mut state = self.keys.state();
        state.last_good_started = Some(self.started);
        state.last_error = None;
        state.fetches_ok = state.fetches_ok.saturating_add(1);
        let failures_before = std::mem::take(&mut state.consecutive_failures);
        self.finish(state);
        Success {
            keys,
            changed,
            failures_before,
        }
    }

    /// Nothing changes but the account of failures: the last good set is kept.
    pub fn fail(self, error: &str) -> Failure {
        self.note_failure(error)
    }

    fn note_failure(&self, error: &str) -> Failure {
        let mut state = self.keys.state();
        let same_as_before = state.last_error.as_deref() == Some(error);
        state.last_error = Some(error.into());
        state.fetches_failed = state.fetches_failed.saturating_add(1);
        state.consecutive_failures = state.consecutive_failures.saturating_add(1);
        let in_a_row = state.consecutive_failures;
        self.finish(state);
        Failure {
            in_a_row,
            same_as_before,
        }
    }

    fn finish(&self, mut state: MutexGuard<'_, State>) {
        state.in_flight = false;
        drop(state);
        self.keys.finished.send_replace(self.number);
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if *self.keys.finished.borrow() < self.number {
            self.note_failure("the attempt was stopped");
        }
    }
}

/// `kid` as the misses know it: of one size however long it is, and an absent one is not an empty one.
fn miss_key(kid: Option<&str>) -> [u8; 32] {
    match kid {
        Some(kid) => sha256(&[b"kid", kid.as_bytes()]),
        None => sha256(&[b"none"]),
    }
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

#[cfg(test)]
mod tests;
