//! Which keys does an issuer have now, and when is a fetch of newer keys worthwhile?

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

/// The number of unknown key ids cached per issuer; it bounds the memory that a flood of invented ids takes (S040).
const MISSES_MAX: usize = 1024;

/// The last generation. One counter serves the whole process, so that no two sets have the same generation. With a
/// counter for each issuer, a token verified by generation 7 of replaced keys would pass for one verified by generation
/// 7 of their successor.
static GENERATIONS: AtomicU64 = AtomicU64::new(0);

/// A key set with at least one usable key. A new set replaces the old one and is never merged with it (S051).
#[derive(Debug)]
pub struct KeySet {
    pub jwks: Arc<Jwks>,
    /// The number of the content: a fetch of the same content keeps the number, other content gets a higher number.
    pub generation: u64,
    /// The time of the last successful fetch of this content, in this process or an earlier one.
    pub confirmed: Timestamp,
    pub origin: KeySetOrigin,
    /// The age of the confirmation at `put`. A monotonic time cannot express it: the monotonic clock begins with the
    /// process, and a stored set may be older.
    age_when_put: Duration,
    put: Tick,
    /// The SHA-256 of the text that the set was parsed from, to detect a change.
    fingerprint: [u8; 32],
}

/// The origin of a key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySetOrigin {
    /// Fetched, confirmed by a fetch, or read from the operator's files.
    Source,
    /// Stored on disk by an earlier process, and not confirmed by a fetch since.
    Disk,
}

impl KeySet {
    /// Returns the time since the last confirmation. A restart does not reset this age, and setting the wall clock back
    /// does not shorten it.
    pub fn age(&self, now: Now) -> Duration {
        self.age_when_put.saturating_add(now.tick.saturating_since(self.put))
    }
}

/// Why there are no keys to verify with. Answered with 503, because the credential cannot be validated (S050).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoKeys {
    #[error("the issuer's keys were never loaded")]
    NeverLoaded,
    #[error("the issuer's keys were last confirmed {} s ago, longer than `max_stale`", age.as_secs())]
    TooStale { age: Duration },
}

/// The action for a token with a key id that is not in the current set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownKid {
    /// Refuse (401): a set that was fetched after this `kid` was missed does not contain the `kid`, or the last fetch has
    /// withdrawn it. Or the set is not from a URL, and a fetch would bring nothing new.
    Absent,
    /// A set that was fetched within the cooldown, which ends after `retry_in`, does not contain the `kid`. Nothing was
    /// fetched since this `kid` was missed. Refuse tokens of an issuer (401), which publishes a key before it signs;
    /// a client may sign with a key that it has just published (503).
    Recent { retry_in: Duration },
    /// A fetch is requested, under way or just finished: call [`IssuerKeys::wait_for_attempt`] with `attempt` and
    /// `wait`, then decide again.
    Fetch { attempt: u64, wait: Duration },
    /// Respond with 503: the last attempt failed, and the cooldown ends after `retry_in`.
    Unavailable { retry_in: Duration },
}

/// The state of an issuer's keys, for operators. Contains no private key material.
#[derive(Clone, Debug)]
pub struct IssuerHealth {
    /// The last good set, even if it is too stale to be used; its `jwks` has the key ids and the skipped keys.
    pub keys: Option<Arc<KeySet>>,
    /// `Ok` while tokens of the issuer can be verified.
    pub usable: Result<(), NoKeys>,
    pub last_attempt: Option<Timestamp>,
    /// The text of the last failure; `None` after a success.
    pub last_error: Option<Arc<str>>,
    pub next_fetch: Option<Timestamp>,
    pub consecutive_failures: u32,
    /// Attempts since the process started that brought a usable set.
    pub fetches_ok: u64,
    /// Attempts since the process started that failed.
    pub fetches_failed: u64,
    /// The place where the last good fetch found the set.
    pub fetched_from: Option<Arc<str>>,
    /// The time from which the set is too old to be used; `None` where it never becomes too old, and without a set.
    pub usable_until: Option<Timestamp>,
}

/// The keys of one issuer and the state of fetching them. They outlive a reload while the issuer's [`KeySource`] is
/// unchanged. For a changed source, new `IssuerKeys` are made. They begin without a set, because keys of another place
/// prove nothing, or with [`Self::take_over`] if only intervals changed.
pub struct IssuerKeys {
    rules: FetchRules,
    set: ArcSwapOption<KeySet>,
    /// Locked briefly: never across I/O, and never for a token with a known key.
    state: Mutex<State>,
    /// Key ids that the set did not contain, with the time of the first miss that requested or joined a fetch.
    misses: Cache<[u8; 32], Tick>,
    wake: Notify,
    /// The number of the last finished attempt.
    finished: watch::Sender<u64>,
}

/// The rules for fetching from a source again.
#[derive(Clone, Copy, Debug)]
enum FetchRules {
    /// A URL.
    Remote {
        cooldown: Duration,
        wait: Duration,
        max_stale: Duration,
        /// The time for which a key id that was confirmed to be absent is taken as absent.
        miss_ttl: Duration,
    },
    /// Files, which are read again as soon as they change, or Keygate's own keys. A fetch would bring nothing new, and
    /// an unchanged set is not stale.
    Local,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the last started attempt; attempts count from 1.
    started: u64,
    in_flight: bool,
    /// A fetch was requested, and the fetcher has not started it yet.
    fetch_requested: bool,
    last_started: Option<Now>,
    /// The start of the last successful attempt: its set contains everything that the issuer published before.
    last_good_started: Option<Tick>,
    /// The key ids of the set before this one that this one does not contain.
    withdrawn: Vec<Box<str>>,
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
            KeySource::Remote(url) => FetchRules::Remote {
                cooldown: url.cooldown,
                wait: url.wait,
                max_stale: url.max_stale,
                // An absent key id stays absent for this long, regardless of the issuer's cache headers. Not until the
                // next scheduled fetch: an issuer may sign with a key before all its servers publish the key, and a
                // stranger may guess the next `kid`.
                miss_ttl: url.min_refresh,
            },
            // An introspecting issuer never has a set, so no signature is verified. Keygate's own keys are installed
            // before anything is signed with them.
            KeySource::File(_) | KeySource::Pem(_) | KeySource::Introspection(_) | KeySource::Own => FetchRules::Local,
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

    /// Returns the keys to verify with. Reads one pointer; takes no lock.
    ///
    /// # Errors
    /// No set was ever loaded, or the last good one is older than the issuer's `max_stale`.
    pub fn current(&self, now: Now) -> Result<Arc<KeySet>, NoKeys> {
        let set = self.set.load_full().ok_or(NoKeys::NeverLoaded)?;
        self.check_age(&set, now)?;
        Ok(set)
    }

    /// Returns the generation of the set that [`Self::current`] would return. Does not touch the reference count of the
    /// set: every request with a cached token calls this function, and threads would contend for the count.
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
        let FetchRules::Remote { max_stale, .. } = self.rules else {
            return Ok(());
        };
        let age = set.age(now);
        if age > max_stale {
            Err(NoKeys::TooStale { age })
        } else {
            Ok(())
        }
    }

    /// Returns whether a set was ever loaded, of any age.
    pub fn is_loaded(&self) -> bool {
        self.set.load().is_some()
    }

    /// Returns the action for a token whose `kid` no key of `current` has. `current` is the set that [`Self::current`]
    /// returned to this request.
    ///
    /// Requests at most one fetch per cooldown, failed attempts included, however many key ids are unknown (S040). A
    /// failed attempt is never proof that a key is absent (S043).
    pub fn unknown_kid(&self, current: &KeySet, kid: Option<&str>, now: Now) -> UnknownKid {
        let FetchRules::Remote {
            cooldown,
            wait,
            miss_ttl,
            ..
        } = self.rules
        else {
            // Local sources are always up to date.
            return UnknownKid::Absent;
        };
        let miss = miss_key(kid);
        let mut state = self.state();
        // The set was replaced while this request used the old set, and the new set may contain the key. Without this
        // check, requests in progress while an issuer rotates its keys would be refused (S039).
        if self.generation() != Some(current.generation) {
            return UnknownKid::Fetch {
                attempt: *self.finished.borrow(),
                wait,
            };
        }
        if let Some(good) = state.last_good_started {
            let age = now.tick.saturating_since(good);
            let first_missed = self.misses.get(&miss);
            // Without a `kid`, each token may be signed with another key.
            let confirmed = kid.is_some() && first_missed.is_some_and(|first| first <= good) && age < miss_ttl;
            if confirmed {
                return UnknownKid::Absent;
            }
            if age < cooldown {
                let is_withdrawn = kid.is_some_and(|kid| state.withdrawn.iter().any(|gone| **gone == *kid));
                return if is_withdrawn {
                    UnknownKid::Absent
                } else {
                    UnknownKid::Recent {
                        retry_in: cooldown.saturating_sub(age),
                    }
                };
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
        // The first miss counts: a later one, while the fetch is under way, is not confirmed by that fetch.
        if self.misses.get(&miss).is_none() {
            self.misses.insert(miss, now.tick);
        }
        let attempt = if state.in_flight {
            state.started
        } else {
            state.started.saturating_add(1)
        };
        UnknownKid::Fetch { attempt, wait }
    }

    /// Waits until attempt number `attempt` (from [`UnknownKid::Fetch`]) has finished,
    /// successfully or not, for at most `at_most`.
    pub async fn wait_for_attempt(&self, attempt: u64, at_most: Duration) {
        let mut finished = self.finished.subscribe();
        // The request is decided again from memory in any case, so a timeout needs no handling.
        let _ = tokio::time::timeout(at_most, finished.wait_for(|last| *last >= attempt)).await;
    }

    /// Waits until an attempt has loaded a set. Returns at once if a set is loaded.
    pub async fn loaded(&self) {
        let mut finished = self.finished.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = finished.wait_for(|_| self.is_loaded()).await;
    }

    /// Installs a set that an earlier process stored and that was confirmed `age` ago, unless a set is loaded already.
    /// The restored set is used like any other while the first fetch is under way, and becomes too old at the same time
    /// as without the restart.
    pub fn restore(&self, text: &[u8], jwks: Jwks, confirmed: Timestamp, age: Duration, now: Now) {
        if !self.is_loaded() {
            let stored = (confirmed, KeySetOrigin::Disk, age);
            self.replace(text, jwks, stored, now.tick);
        }
    }

    /// Takes over the set of `before`, which comes from the same place, with its age and the start of its last good
    /// attempt.
    pub fn take_over(&self, before: &Self) {
        let good = before.state().last_good_started;
        self.set.store(before.set.load_full());
        self.state().last_good_started = good;
    }

    /// Makes the fetcher start an attempt now, regardless of the cooldown, and returns the number of the attempt for
    /// [`Self::wait_for_attempt`]. If an attempt is under way, returns its number and starts no other. For operators
    /// and due fetches, not for an unknown `kid`.
    pub fn request_fetch(&self) -> u64 {
        let mut state = self.state();
        if state.in_flight {
            return state.started;
        }
        state.fetch_requested = true;
        self.wake.notify_one();
        state.started.saturating_add(1)
    }

    /// Returns whether attempt number `attempt` has finished.
    pub fn has_finished(&self, attempt: u64) -> bool {
        *self.finished.borrow() >= attempt
    }

    /// Returns whether the last finished attempt failed.
    pub fn last_failed(&self) -> bool {
        self.state().last_error.is_some()
    }

    /// Returns whether a fetch was requested and no attempt was started since. For the fetcher.
    pub fn is_fetch_requested(&self) -> bool {
        self.state().fetch_requested
    }

    /// Waits until a fetch is requested. For the fetcher.
    pub async fn fetch_requested(&self) {
        loop {
            if self.state().fetch_requested {
                return;
            }
            // `notify_one` stores a permit, so a request between the check and the wait is not lost. If a scheduled
            // fetch has met the request, its permit is left over: the loop consumes the permit and checks again.
            self.wake.notified().await;
        }
    }

    /// Returns the time until the next scheduled fetch; zero when none is scheduled, as at start. For the fetcher.
    pub fn next_fetch_in(&self, now: Now) -> Duration {
        let next = self.state().next;
        next.map_or(Duration::ZERO, |next| next.tick.saturating_since(now.tick))
    }

    /// Schedules the next fetch at `after` from `now`. For the fetcher.
    pub fn schedule(&self, after: Duration, now: Now) {
        self.state().next = Some(Now {
            wall: now.wall.saturating_add(after),
            tick: now.tick.saturating_add(after),
        });
    }

    /// Starts an attempt. For the fetcher: there is one fetcher, so there is one attempt at a time.
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

    /// Returns a summary for metrics, readiness and the admin interface.
    pub fn health(&self, now: Now) -> IssuerHealth {
        let usable = self.current(now).map(drop);
        let keys = self.set.load_full();
        let usable_until = match (&self.rules, &keys) {
            (FetchRules::Remote { max_stale, .. }, Some(keys)) => {
                Some(now.wall.saturating_sub(keys.age(now)).saturating_add(*max_stale))
            }
            (FetchRules::Remote { .. }, None) | (FetchRules::Local, _) => None,
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

    /// Installs `jwks` and returns the new set, and whether its content differs from the old one.
    fn replace(
        &self,
        text: &[u8],
        jwks: Jwks,
        (confirmed, origin, age_when_put): (Timestamp, KeySetOrigin, Duration),
        put: Tick,
    ) -> (Arc<KeySet>, bool) {
        let fingerprint = sha256(&[text]);
        let old = self.set.load_full();
        let same = old.clone().filter(|old| old.fingerprint == fingerprint);
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
            let is_gone = |kid: &&str| !set.jwks.key_ids().any(|known| known == *kid);
            let old = old.iter().flat_map(|old| old.jwks.key_ids());
            self.state().withdrawn = old.filter(is_gone).map(Box::from).collect();
        }
        (set, changed)
    }

    fn generation(&self) -> Option<u64> {
        self.set.load().as_ref().map(|set| set.generation)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // `State` is plain data, and no code that can panic runs while `State` is half written.
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

/// An attempt to fetch newer keys. An attempt that is dropped without a result, because its task was stopped, is
/// recorded as failed. Otherwise requests would wait for it and the next attempt could not start.
#[derive(Debug)]
#[must_use]
pub struct Attempt<'a> {
    keys: &'a IssuerKeys,
    number: u64,
    started: Tick,
}

/// The result of a successful attempt.
#[derive(Debug)]
pub struct Success {
    pub keys: Arc<KeySet>,
    /// `true` if the set differs from the previous one.
    pub changed: bool,
    /// The number of failed attempts since the last success.
    pub failures_before: u32,
}

/// The result of a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchFailure {
    /// The number of failed attempts since the last success, this one included.
    pub in_a_row: u32,
    /// `true` if the previous attempt failed with the same message.
    pub same_as_before: bool,
}

impl Attempt<'_> {
    /// Records the place where the set was found.
    pub fn from(self, place: &str) -> Self {
        self.keys.state().fetched_from = Some(place.into());
        self
    }

    /// Finishes the attempt with a new set; `text` is the document that `jwks` was parsed from.
    pub fn succeed(self, text: &[u8], jwks: Jwks, now: Now) -> Success {
        let fresh = (now.wall, KeySetOrigin::Source, Duration::ZERO);
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

    /// Finishes the attempt as failed with the message `error`. Keeps the last good set.
    pub fn fail(self, error: &str) -> FetchFailure {
        self.note_failure(error)
    }

    fn note_failure(&self, error: &str) -> FetchFailure {
        let mut state = self.keys.state();
        let same_as_before = state.last_error.as_deref() == Some(error);
        state.last_error = Some(error.into());
        state.fetches_failed = state.fetches_failed.saturating_add(1);
        state.consecutive_failures = state.consecutive_failures.saturating_add(1);
        let in_a_row = state.consecutive_failures;
        self.finish(state);
        FetchFailure {
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

/// Returns the key of `kid` among the misses. All keys have the same size, and an absent `kid` has another key than an
/// empty `kid`.
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
