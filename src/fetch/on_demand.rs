//! How is the JWK set of a client kept up to date? By the rules for issuers' sets,
//! but fetched only on demand: an unused set costs no task and no request.

use crate::config::issuer::ConnectSettings;
use crate::config::issuer::JwksLocation;
use crate::config::issuer::KeySource;
use crate::config::issuer::RemoteKeys;
use crate::fetch::jwks::DocumentKind;
use crate::fetch::jwks::fetch;
use crate::fetch::schedule::LoadHistory;
use crate::fetch::schedule::after_failure;
use crate::fetch::schedule::after_success;
use crate::fetch::source::random;
use crate::gate::authenticate::jwks_cache::IssuerHealth;
use crate::gate::authenticate::jwks_cache::IssuerKeys;
use crate::gate::authenticate::jwks_cache::UnknownKid;
use crate::jose::jwks::Jwks;
use crate::model::clock::Clock;
use crate::observe::log::ErrorChain;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::Semaphore;
use url::Url;

/// The shared resources of all sets.
pub struct FetchContext {
    pub clock: Arc<dyn Clock>,
    /// The limit of concurrent fetches over all sets.
    pub permits: Semaphore,
}

/// There is no usable set, or no set recent enough to tell whether a key id exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable {
    pub retry_after: Duration,
}

/// The JWK set at one URL.
#[derive(Debug)]
pub struct OnDemandJwks {
    source: RemoteKeys,
    keys: IssuerKeys,
    /// `true` while a task fetches, or checks whether a fetch is requested.
    running: AtomicBool,
}

/// The shortest `retry_after`, and the time that a waiter allows beyond the timeout of a fetch.
const MARGIN: Duration = Duration::from_secs(1);

impl OnDemandJwks {
    /// Creates a set that is not fetched yet.
    ///
    /// # Errors
    /// If the text is not a URL.
    pub fn new(url: &str, connect: ConnectSettings) -> Result<Self, &'static str> {
        let source = RemoteKeys {
            at: JwksLocation::JwksUrl(Url::parse(url).map_err(|_| "not a URL")?),
            bearer_token_file: None,
            connect,
            min_refresh: Duration::from_secs(60),
            max_refresh: Duration::from_secs(3_600),
            cooldown: Duration::from_secs(30),
            wait: Duration::from_millis(500),
            max_stale: Duration::from_secs(86_400),
            start_wait: Duration::ZERO,
        };
        Ok(Self {
            keys: IssuerKeys::new(&KeySource::Remote(Box::new(source.clone()))),
            source,
            running: AtomicBool::new(false),
        })
    }

    /// Returns whether this set is fetched from `url` with `connect`.
    pub fn has_source(&self, url: &str, connect: &ConnectSettings) -> bool {
        let JwksLocation::JwksUrl(own) = &self.source.at else {
            return false;
        };
        self.source.connect == *connect && Url::parse(url).is_ok_and(|url| url == *own)
    }

    /// Returns the last usable set, even if a recent fetch proves that the set has no key `kid`. If the set or the key
    /// is missing and a fetch is allowed now, waits for the fetch. Fetches a set that is due in the background.
    ///
    /// # Errors
    /// If there is no usable set, or it is unknown whether a newer set has the key.
    pub async fn keys(
        self: &Arc<Self>,
        kid: Option<&str>,
        context: &Arc<FetchContext>,
    ) -> Result<Arc<Jwks>, Unavailable> {
        let now = context.clock.now();
        let is_due = self.keys.next_fetch_in(now).is_zero();
        let Ok(set) = self.keys.current(now) else {
            if is_due {
                let attempt = self.keys.request_fetch();
                self.start_fetch(context);
                self.keys.wait_for_attempt(attempt, self.source.wait).await;
            }
            let now = context.clock.now();
            let current = self.keys.current(now).map(|set| Arc::clone(&set.jwks));
            return current.map_err(|_| Unavailable {
                retry_after: self.keys.next_fetch_in(now).max(MARGIN),
            });
        };
        if is_due {
            self.keys.request_fetch();
            self.start_fetch(context);
        }
        let is_known = kid.is_none_or(|kid| set.jwks.key_ids().any(|known| known == kid));
        if is_known {
            return Ok(Arc::clone(&set.jwks));
        }
        match self.keys.unknown_kid(&set, kid, now) {
            UnknownKid::Absent => Ok(Arc::clone(&set.jwks)),
            UnknownKid::Unavailable { retry_in } => Err(Unavailable { retry_after: retry_in }),
            UnknownKid::Fetch { attempt, wait } => {
                self.start_fetch(context);
                self.keys.wait_for_attempt(attempt, wait).await;
                // A fetch that failed or still runs does not tell whether the key exists.
                let is_conclusive = self.keys.has_finished(attempt) && !self.keys.last_failed();
                match self.keys.current(context.clock.now()) {
                    Ok(set) if is_conclusive => Ok(Arc::clone(&set.jwks)),
                    Ok(_) | Err(_) => Err(Unavailable {
                        retry_after: self.source.cooldown,
                    }),
                }
            }
        }
    }

    /// Returns a set that differs from `seen`: the current set, or else the set of a fetch, if a fetch is allowed now.
    /// Returns `None` without such a set.
    pub async fn newer(self: &Arc<Self>, seen: &Arc<Jwks>, context: &Arc<FetchContext>) -> Option<Arc<Jwks>> {
        let now = context.clock.now();
        let set = self.keys.current(now).ok()?;
        if !Arc::ptr_eq(&set.jwks, seen) {
            return Some(Arc::clone(&set.jwks));
        }
        let UnknownKid::Fetch { attempt, wait } = self.keys.unknown_kid(&set, None, now) else {
            return None;
        };
        self.start_fetch(context);
        self.keys.wait_for_attempt(attempt, wait).await;
        let newer = self.keys.current(context.clock.now()).ok()?;
        (!Arc::ptr_eq(&newer.jwks, seen)).then(|| Arc::clone(&newer.jwks))
    }

    /// Fetches now, regardless of the cooldown. Returns when the fetch has ended, successfully or not. Waits at most
    /// one second longer than the timeout of a fetch: the fetch may then still wait for a permit.
    pub async fn fetch_now(self: &Arc<Self>, context: &Arc<FetchContext>) {
        let attempt = self.keys.request_fetch();
        self.start_fetch(context);
        let wait = self.source.connect.timeout.saturating_add(MARGIN);
        self.keys.wait_for_attempt(attempt, wait).await;
    }

    pub fn health(&self, clock: &dyn Clock) -> IssuerHealth {
        self.keys.health(clock.now())
    }

    /// Starts the fetching task unless it runs already, so that there is one fetch at a time.
    fn start_fetch(self: &Arc<Self>, context: &Arc<FetchContext>) {
        if !self.running.swap(true, Ordering::AcqRel) {
            tokio::spawn(Arc::clone(self).run(Arc::clone(context)));
        }
    }

    async fn run(self: Arc<Self>, context: Arc<FetchContext>) {
        loop {
            while self.keys.is_fetch_requested() {
                // The semaphore is never closed.
                let Ok(_permit) = context.permits.acquire().await else {
                    break;
                };
                self.attempt(&*context.clock).await;
            }
            self.running.store(false, Ordering::Release);
            // A request from just before the line above found `running` set and started no task of its own.
            if !self.keys.is_fetch_requested() || self.running.swap(true, Ordering::AcqRel) {
                break;
            }
        }
    }

    async fn attempt(&self, clock: &dyn Clock) {
        let JwksLocation::JwksUrl(url) = &self.source.at else {
            return;
        };
        let attempt = self.keys.start_attempt(clock.now());
        let outcome = match fetch(url, &self.source.connect, None, DocumentKind::Jwks).await {
            Ok(fetched) => match Jwks::parse(&fetched.body) {
                Ok(jwks) => Ok((fetched.body, jwks, fetched.freshness)),
                Err(error) => Err(ErrorChain(&error).to_string()),
            },
            Err(error) => Err(ErrorChain(&error).to_string()),
        };
        let now = clock.now();
        // Schedule before the attempt ends: a waiter that then found nothing scheduled would request another fetch.
        match outcome {
            Ok((body, jwks, freshness)) => {
                self.keys
                    .schedule(after_success(&self.source, freshness, random()), now);
                attempt.succeed(&body, jwks, now);
            }
            Err(error) => {
                let failures = self.keys.health(now).consecutive_failures.saturating_add(1);
                let loaded = if self.keys.is_loaded() {
                    LoadHistory::Loaded
                } else {
                    LoadHistory::Never
                };
                let pause = after_failure(&self.source, loaded, failures, random());
                self.keys.schedule(pause, now);
                attempt.fail(&error);
            }
        }
    }
}
