//! How are keys brought up to date that are asked for now and then? Fetched by the rules of issuers, but by whoever asks:
//! of many sets that rest, none costs a task or a request.

use crate::config::issuer::Dial;
use crate::config::issuer::KeySource;
use crate::config::issuer::KeysAt;
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

/// What all sets share.
pub struct FetchContext {
    pub clock: Arc<dyn Clock>,
    /// Fetches at a time, for whomever.
    pub permits: Semaphore,
}

/// There are no keys, and nobody can tell whether there should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable {
    pub retry_after: Duration,
}

/// The keys behind one URL.
#[derive(Debug)]
pub struct OnDemand {
    source: RemoteKeys,
    keys: IssuerKeys,
    /// Somebody fetches, or looks whether to.
    running: AtomicBool,
}

/// An answer's longest way, where nobody waits for more.
const MARGIN: Duration = Duration::from_secs(1);

impl OnDemand {
    /// # Errors
    /// The text is no URL.
    pub fn new(url: &str, dial: Dial) -> Result<Self, &'static str> {
        let source = RemoteKeys {
            at: KeysAt::JwksUrl(Url::parse(url).map_err(|_| "not a URL")?),
            dial,
            min_refresh: Duration::from_secs(60),
            max_refresh: Duration::from_secs(3_600),
            cooldown: Duration::from_secs(30),
            wait: Duration::from_millis(500),
            max_stale: Duration::from_secs(86_400),
        };
        Ok(Self {
            keys: IssuerKeys::new(&KeySource::Remote(Box::new(source.clone()))),
            source,
            running: AtomicBool::new(false),
        })
    }

    /// Whether this is what `url` and `dial` say.
    pub fn is_of(&self, url: &str, dial: &Dial) -> bool {
        let KeysAt::JwksUrl(mine) = &self.source.at else {
            return false;
        };
        self.source.dial == *dial && Url::parse(url).is_ok_and(|url| url == *mine)
    }

    /// The last good set. Where there is none, and where it has no key called `kid`, one fetch is waited for if one may be
    /// made now; a set that is due is fetched again meanwhile.
    ///
    /// # Errors
    /// There is no set, or it cannot be told whether a newer one has the key.
    pub async fn keys(
        self: &Arc<Self>,
        kid: Option<&str>,
        fetching: &Arc<FetchContext>,
    ) -> Result<Arc<Jwks>, Unavailable> {
        let now = fetching.clock.now();
        let is_due = self.keys.next_fetch_in(now).is_zero();
        let Ok(set) = self.keys.current(now) else {
            if is_due {
                let attempt = self.keys.request_fetch();
                self.kick(fetching);
                self.keys.wait_for_attempt(attempt, self.source.wait).await;
            }
            let now = fetching.clock.now();
            let current = self.keys.current(now).map(|set| Arc::clone(&set.jwks));
            return current.map_err(|_| Unavailable {
                retry_after: self.keys.next_fetch_in(now).max(MARGIN),
            });
        };
        if is_due {
            self.keys.request_fetch();
            self.kick(fetching);
        }
        let is_known = kid.is_none_or(|kid| set.jwks.key_ids().any(|known| known == kid));
        if is_known {
            return Ok(Arc::clone(&set.jwks));
        }
        match self.keys.unknown_kid(&set, kid, now) {
            UnknownKid::Absent => Ok(Arc::clone(&set.jwks)),
            UnknownKid::Unavailable { retry_in } => Err(Unavailable { retry_after: retry_in }),
            UnknownKid::Fetch { attempt, wait } => {
                self.kick(fetching);
                self.keys.wait_for_attempt(attempt, wait).await;
                // A fetch that failed, or goes on, says nothing of the key.
                let told = self.keys.has_finished(attempt) && !self.keys.last_failed();
                match self.keys.current(fetching.clock.now()) {
                    Ok(set) if told => Ok(Arc::clone(&set.jwks)),
                    Ok(_) | Err(_) => Err(Unavailable {
                        retry_after: self.source.cooldown,
                    }),
                }
            }
        }
    }

    /// A set that is not `seen`, if there is one or one may be fetched now.
    pub async fn newer(self: &Arc<Self>, seen: &Arc<Jwks>, fetching: &Arc<FetchContext>) -> Option<Arc<Jwks>> {
        let now = fetching.clock.now();
        let set = self.keys.current(now).ok()?;
        if !Arc::ptr_eq(&set.jwks, seen) {
            return Some(Arc::clone(&set.jwks));
        }
        let UnknownKid::Fetch { attempt, wait } = self.keys.unknown_kid(&set, None, now) else {
            return None;
        };
        self.kick(fetching);
        self.keys.wait_for_attempt(attempt, wait).await;
        let newer = self.keys.current(fetching.clock.now()).ok()?;
        (!Arc::ptr_eq(&newer.jwks, seen)).then(|| Arc::clone(&newer.jwks))
    }

    /// Fetches now, whatever the cooldown says. Returns when that has ended, well or badly.
    pub async fn fetch_now(self: &Arc<Self>, fetching: &Arc<FetchContext>) {
        let attempt = self.keys.request_fetch();
        self.kick(fetching);
        let wait = self.source.dial.timeout.saturating_add(MARGIN);
        self.keys.wait_for_attempt(attempt, wait).await;
    }

    pub fn health(&self, clock: &dyn Clock) -> IssuerHealth {
        self.keys.health(clock.now())
    }

    /// Has what was asked for fetched, unless that is being done: one fetch at a time.
    fn kick(self: &Arc<Self>, fetching: &Arc<FetchContext>) {
        if !self.running.swap(true, Ordering::AcqRel) {
            tokio::spawn(Arc::clone(self).run(Arc::clone(fetching)));
        }
    }

    async fn run(self: Arc<Self>, fetching: Arc<FetchContext>) {
        loop {
            while self.keys.is_fetch_requested() {
                // Nobody closes it.
                let Ok(_permit) = fetching.permits.acquire().await else {
                    break;
                };
                self.attempt(&*fetching.clock).await;
            }
            self.running.store(false, Ordering::Release);
            // Whoever asked just before that has found somebody running.
            if !self.keys.is_fetch_requested() || self.running.swap(true, Ordering::AcqRel) {
                break;
            }
        }
    }

    async fn attempt(&self, clock: &dyn Clock) {
        let KeysAt::JwksUrl(url) = &self.source.at else {
            return;
        };
        let attempt = self.keys.start_attempt(clock.now());
        let outcome = match fetch(url, &self.source.dial, DocumentKind::Jwks).await {
            Ok(fetched) => match Jwks::parse(&fetched.body) {
                Ok(jwks) => Ok((fetched.body, jwks, fetched.freshness)),
                Err(error) => Err(ErrorChain(&error).to_string()),
            },
            Err(error) => Err(ErrorChain(&error).to_string()),
        };
        let now = clock.now();
        // Planned before the attempt ends: whoever waits for its end and finds nothing planned would have another made.
        match outcome {
            Ok((body, jwks, freshness)) => {
                self.keys
                    .schedule(after_success(&self.source, freshness, random()), now);
                attempt.succeed(&body, jwks, now);
            }
            Err(error) => {
                let failures = self.keys.health(now).consecutive_failures.saturating_add(1);
                let loaded = if self.keys.is_loaded() {
                    LoadHistory::Once
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
