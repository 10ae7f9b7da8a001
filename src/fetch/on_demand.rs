//! How is the JWK set of a client kept up to date? By the rules for issuers' sets,
//! but fetched only on demand: an unused set costs no task and no request.

use crate::config::issuer::ConnectSettings;
use crate::config::issuer::JwksLocation;
use crate::config::issuer::KeySource;
use crate::config::issuer::RemoteKeys;
use crate::fetch::issuer_key_files::IssuerKeyFileError;
use crate::fetch::issuer_key_files::IssuerKeyFiles;
use crate::fetch::issuer_key_files::IssuerKeySaver;
use crate::fetch::jwks::DocumentKind;
use crate::fetch::jwks::fetch;
use crate::fetch::outcome::SourceError;
use crate::fetch::outcome::success_result;
use crate::fetch::schedule::LoadHistory;
use crate::fetch::schedule::after_failure;
use crate::fetch::schedule::after_success;
use crate::fetch::source::random;
use crate::gate::authenticate::jwks_cache::IssuerHealth;
use crate::gate::authenticate::jwks_cache::IssuerKeys;
use crate::gate::authenticate::jwks_cache::KeySet;
use crate::gate::authenticate::jwks_cache::UnknownKid;
use crate::jose::current_jwks::CurrentJwks;
use crate::jose::current_jwks::JwksUnavailable;
use crate::jose::jwks::Jwks;
use crate::jose::jwks::KidMeaning;
use crate::model::clock::Clock;
use crate::model::clock::Now;
use crate::model::id::ClientId;
use crate::observe::log::ErrorChain;
use crate::observe::metrics::ClientKeyMetrics;
use crate::observe::metrics::StateMetrics;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::sync::Semaphore;
use url::Url;

/// The shared resources of all sets.
pub struct FetchContext {
    pub clock: Arc<dyn Clock>,
    pub metrics: ClientKeyMetrics,
    /// The limit of concurrent fetches over all sets.
    pub permits: Semaphore,
}

/// The JWK set at one URL.
#[derive(Debug)]
pub struct OnDemandJwks {
    source: RemoteKeys,
    keys: IssuerKeys,
    /// `true` while a task fetches, or checks whether a fetch is requested.
    running: AtomicBool,
    /// Keeps the set over a restart. Locked by the task that fetches alone.
    saver: Mutex<Option<IssuerKeySaver>>,
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
            saver: Mutex::default(),
        })
    }

    /// Keeps the sets of `client` in `files`, and restores the one that an earlier process kept there. Reads from disk:
    /// call it at the start, never for a request.
    ///
    /// # Errors
    /// If there is a file and its set is not used.
    pub fn restore(&self, client: &ClientId, files: &IssuerKeyFiles, now: Now) -> Result<(), IssuerKeyFileError> {
        if let Some(found) = files.load_client(client, &self.source, now.wall)? {
            self.keys
                .restore(&found.text, found.jwks, found.confirmed, found.age, now);
        }
        Ok(())
    }

    /// Keeps every set of `client` that is fetched from now on in `files`.
    pub fn keep_in(mut self, client: &ClientId, files: &Arc<IssuerKeyFiles>, metrics: StateMetrics) -> Self {
        let saver = IssuerKeySaver::of_client(files, client, &self.source, metrics);
        *self.saver.get_mut() = Some(saver);
        self
    }

    /// Returns whether this set is fetched from `url` with `connect`.
    pub fn has_source(&self, url: &str, connect: &ConnectSettings) -> bool {
        let JwksLocation::JwksUrl(own) = &self.source.at else {
            return false;
        };
        self.source.connect == *connect && Url::parse(url).is_ok_and(|url| url == *own)
    }

    /// Returns the last usable set, even if a fetch proves that the set has no key `kid`. If the set or the key
    /// is missing and a fetch is allowed now, waits for the fetch. Fetches a set that is due in the background.
    ///
    /// # Errors
    /// If there is no usable set, or it is unknown whether a newer set has the key.
    pub async fn keys(
        self: &Arc<Self>,
        kid: Option<&str>,
        context: &Arc<FetchContext>,
    ) -> Result<CurrentJwks, JwksUnavailable> {
        let now = context.clock.now();
        let is_due = self.keys.next_fetch_in(now).is_zero();
        let Ok(set) = self.keys.current(now) else {
            if is_due {
                let attempt = self.keys.request_fetch();
                self.start_fetch(context);
                self.keys.wait_for_attempt(attempt, self.source.wait).await;
            }
            let now = context.clock.now();
            return match self.keys.current(now) {
                Ok(set) => Ok(latest(&set)),
                Err(_) => Err(JwksUnavailable::Fetch {
                    retry_after: self.keys.next_fetch_in(now).max(MARGIN),
                }),
            };
        };
        if is_due {
            self.keys.request_fetch();
            self.start_fetch(context);
        }
        let is_missed = kid.is_some_and(|kid| KidMeaning::of(kid, set.jwks.keys()) == KidMeaning::Unknown);
        if !is_missed {
            return Ok(CurrentJwks {
                jwks: Arc::clone(&set.jwks),
                is_latest: false,
            });
        }
        self.refreshed(&set, kid, now, context).await
    }

    /// Returns the set without a key that `set` lacks, fetched again if a fetch is allowed now.
    async fn refreshed(
        self: &Arc<Self>,
        set: &Arc<KeySet>,
        kid: Option<&str>,
        now: Now,
        context: &Arc<FetchContext>,
    ) -> Result<CurrentJwks, JwksUnavailable> {
        match self.keys.unknown_kid(set, kid, now) {
            UnknownKid::Absent => Ok(latest(set)),
            UnknownKid::Recent { retry_in } => Err(JwksUnavailable::Recent { retry_after: retry_in }),
            UnknownKid::Unavailable { retry_in } => Err(JwksUnavailable::Fetch { retry_after: retry_in }),
            UnknownKid::Fetch { attempt, wait } => {
                self.start_fetch(context);
                self.keys.wait_for_attempt(attempt, wait).await;
                // A fetch that failed or still runs does not tell whether the key exists.
                let is_conclusive = self.keys.has_finished(attempt) && !self.keys.last_failed();
                match self.keys.current(context.clock.now()) {
                    Ok(set) if is_conclusive => Ok(latest(&set)),
                    Ok(_) | Err(_) => Err(JwksUnavailable::Fetch {
                        retry_after: self.source.cooldown,
                    }),
                }
            }
        }
    }

    /// Returns the latest set for a key without a name that `seen` lacks: the current one if it is another, or else that of
    /// a fetch.
    ///
    /// # Errors
    /// If no fetch is allowed now, or it failed.
    pub async fn newer(
        self: &Arc<Self>,
        seen: &Arc<Jwks>,
        context: &Arc<FetchContext>,
    ) -> Result<Arc<Jwks>, JwksUnavailable> {
        let now = context.clock.now();
        let set = self
            .keys
            .current(now)
            .map_err(|_| JwksUnavailable::Fetch { retry_after: MARGIN })?;
        if !Arc::ptr_eq(&set.jwks, seen) {
            return Ok(Arc::clone(&set.jwks));
        }
        Ok(self.refreshed(&set, None, now, context).await?.jwks)
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
                self.attempt(&context).await;
            }
            self.running.store(false, Ordering::Release);
            // A request from just before the line above found `running` set and started no task of its own.
            if !self.keys.is_fetch_requested() || self.running.swap(true, Ordering::AcqRel) {
                break;
            }
        }
    }

    async fn attempt(&self, context: &FetchContext) {
        let JwksLocation::JwksUrl(url) = &self.source.at else {
            return;
        };
        let clock = &*context.clock;
        let attempt = self.keys.start_attempt(clock.now());
        let outcome = match fetch(url, &self.source.connect, None, DocumentKind::Jwks).await {
            Ok(fetched) => match Jwks::parse(&fetched.body) {
                Ok(jwks) => Ok((fetched.body, jwks, fetched.freshness)),
                Err(error) => Err(SourceError::Keys(error)),
            },
            Err(error) => Err(SourceError::Fetch(error)),
        };
        context.metrics.count_fetch(
            outcome
                .as_ref()
                .map_or_else(SourceError::result, |(_, jwks, _)| success_result(jwks)),
        );
        let now = clock.now();
        // Schedule before the attempt ends: a waiter that then found nothing scheduled would request another fetch.
        match outcome {
            Ok((body, jwks, freshness)) => {
                self.keys
                    .schedule(after_success(&self.source, freshness, random()), now);
                let success = attempt.succeed(&body, jwks, now);
                if let Some(saver) = &mut *self.saver.lock().await {
                    saver.save(&body, success.keys, now).await;
                }
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
                // The words of `SourceError` itself are about issuers.
                let cause: &(dyn Error + 'static) = error.source().unwrap_or(&error);
                attempt.fail(&ErrorChain(cause).to_string());
            }
        }
    }
}

/// Returns `set` as the one that there is nothing newer than.
fn latest(set: &KeySet) -> CurrentJwks {
    CurrentJwks {
        jwks: Arc::clone(&set.jwks),
        is_latest: true,
    }
}
