//! How does the admin API read the state of issuers? As the control side's own types, converted from the data side's.

use crate::config::JwksLocation;
use crate::config::KeySource;
use crate::control::admin::issuers::IssuerHealth;
use crate::control::admin::issuers::Issuers;
use crate::control::admin::issuers::Key;
use crate::control::admin::issuers::KeysFrom;
use crate::control::admin::issuers::RefreshOutcome;
use crate::control::admin::issuers::SkippedKey;
use crate::control::admin::issuers::Source;
use crate::control::admin::issuers::State;
use crate::control::admin::issuers::Time;
use crate::gate::Gate;
use crate::gate::authenticate::introspection::Introspection;
use crate::gate::authenticate::issuer::IssuerState;
use crate::gate::authenticate::issuer::Proof;
use crate::gate::authenticate::jwks_cache::IssuerKeys;
use crate::gate::authenticate::jwks_cache::KeySetOrigin;
use crate::gate::authenticate::jwks_cache::NoKeys;
use crate::model::clock::Now;
use crate::model::names::Name;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// The longest wait for a fetch. The admin listener closes a connection after 30 s; before that, the response must
/// report that the fetch has not ended.
const REFRESH_WAIT_MAX: Duration = Duration::from_secs(25);

/// The issuers of the configuration in force.
pub struct GateIssuers(pub Arc<Gate>);

impl Issuers for GateIssuers {
    fn all(&self) -> Vec<IssuerHealth> {
        let now = self.0.clock.now();
        let snapshot = self.0.snapshot();
        snapshot.issuers.iter().map(|issuer| health(issuer, now)).collect()
    }

    fn one(&self, name: &Name) -> Option<IssuerHealth> {
        let now = self.0.clock.now();
        self.issuer(name).map(|issuer| health(&issuer, now))
    }

    fn refresh<'a>(&'a self, name: &'a Name) -> Pin<Box<dyn Future<Output = RefreshOutcome> + Send + 'a>> {
        Box::pin(async move {
            let Some(issuer) = self.issuer(name) else {
                return RefreshOutcome::Unknown;
            };
            let now = || self.0.clock.now();
            let (KeySource::Remote(remote), Some(keys)) = (&issuer.settings().keys, issuer.keys()) else {
                return RefreshOutcome::NotFetched(health(&issuer, now()));
            };
            let attempt = keys.request_fetch();
            // Wait longer than the attempt's own timeout, so that the response reports that timeout.
            let wait = remote.connect.timeout.saturating_add(Duration::from_secs(1));
            keys.wait_for_attempt(attempt, wait.min(REFRESH_WAIT_MAX)).await;
            let health = health(&issuer, now());
            match (keys.has_finished(attempt), &health.last_error) {
                (false, _) => RefreshOutcome::Unfinished(health),
                (true, None) => RefreshOutcome::Good(health),
                (true, Some(_)) => RefreshOutcome::Failed(health),
            }
        })
    }
}

impl GateIssuers {
    fn issuer(&self, name: &Name) -> Option<Arc<IssuerState>> {
        let snapshot = self.0.snapshot();
        snapshot.issuers.iter().find(|issuer| issuer.name() == name).cloned()
    }
}

fn health(issuer: &IssuerState, now: Now) -> IssuerHealth {
    match issuer.proof() {
        Proof::Keys(keys) => health_of_keys(issuer, keys, now),
        Proof::Introspection(introspection) => health_of_introspection(issuer, introspection),
    }
}

fn health_of_introspection(issuer: &IssuerState, introspection: &Introspection) -> IssuerHealth {
    let suspended = introspection.verdicts().metrics.is_suspended();
    IssuerHealth {
        name: issuer.name().as_str().to_owned(),
        issuer: issuer.settings().issuer.as_str().to_owned(),
        state: if suspended { State::Failing } else { State::Ok },
        source: source(&issuer.settings().keys, None),
        keys_from: None,
        last_good_at: None,
        age_seconds: None,
        usable_until: None,
        last_attempt_at: None,
        last_error: None,
        next_fetch_at: None,
        consecutive_failures: 0,
        fetches_good: 0,
        fetches_failed: 0,
        keys: Vec::new(),
        skipped: Vec::new(),
    }
}

fn health_of_keys(issuer: &IssuerState, keys: &IssuerKeys, now: Now) -> IssuerHealth {
    let health = keys.health(now);
    let state = match health.usable {
        Err(NoKeys::NeverLoaded) => State::NoKeys,
        Err(NoKeys::TooStale { .. }) => State::Stale,
        Ok(()) if health.consecutive_failures > 0 => State::Failing,
        Ok(()) => State::Ok,
    };
    let keys = health.keys.as_deref();
    IssuerHealth {
        name: issuer.name().as_str().to_owned(),
        issuer: issuer.settings().issuer.as_str().to_owned(),
        state,
        source: source(&issuer.settings().keys, health.fetched_from.as_deref()),
        keys_from: keys.map(|keys| match keys.origin {
            KeySetOrigin::Source => KeysFrom::Source,
            KeySetOrigin::Disk => KeysFrom::Disk,
        }),
        last_good_at: keys.map(|keys| Time(keys.confirmed)),
        age_seconds: keys.map(|keys| keys.age(now).as_secs()),
        usable_until: health.usable_until.map(Time),
        last_attempt_at: health.last_attempt.map(Time),
        last_error: health.last_error.as_deref().map(str::to_owned),
        next_fetch_at: health.next_fetch.map(Time),
        consecutive_failures: health.consecutive_failures,
        fetches_good: health.fetches_ok,
        fetches_failed: health.fetches_failed,
        keys: keys.map_or_else(Vec::new, |set| {
            let keys = set.jwks.keys().map(|key| Key {
                kid: key.kid().map(str::to_owned),
                thumbprint: key.thumbprint().to_owned(),
                algorithms: key.algorithms().map(|algorithm| algorithm.as_str()).collect(),
            });
            keys.collect()
        }),
        skipped: keys.map_or_else(Vec::new, |set| {
            let skipped = set.jwks.skipped().iter().map(|key| SkippedKey {
                kid: key.kid.clone(),
                reason: key.reason,
            });
            skipped.collect()
        }),
    }
}

fn source(keys: &KeySource, fetched_from: Option<&str>) -> Source {
    let text = |path: &Path| path.display().to_string();
    match keys {
        KeySource::Pem(paths) => Source::PublicKeyFiles {
            paths: paths.iter().map(|path| text(path)).collect(),
        },
        KeySource::File(path) => Source::JwksFile { path: text(path) },
        // Relative to the issuer's URL; this process serves the path.
        KeySource::Own => Source::JwksUrl {
            url: "/oauth/jwks".to_owned(),
        },
        KeySource::Introspection(introspection) => Source::Introspection {
            url: without_query(introspection.url.as_str()).to_owned(),
        },
        KeySource::Remote(remote) => match &remote.at {
            JwksLocation::JwksUrl(url) => Source::JwksUrl {
                url: without_query(url.as_str()).to_owned(),
            },
            JwksLocation::Discovery(discovery) => Source::Discovery {
                documents: discovery.documents.iter().map(|url| url.as_str().to_owned()).collect(),
                jwks_uri: fetched_from.map(|url| without_query(url).to_owned()),
            },
        },
    }
}

/// Returns `url` without its query, because the query may contain a secret.
fn without_query(url: &str) -> &str {
    url.split_once('?').map_or(url, |(before, _)| before)
}
