//! Who keeps an issuer's keys up to date? One background task per issuer, so that there is one fetch at a time.

use crate::config::issuer::Issuer;
use crate::config::issuer::KeySource;
use crate::config::issuer::KeysAt;
use crate::config::issuer::RemoteKeys;
use crate::fetch::discovery;
use crate::fetch::file;
use crate::fetch::jwks::DocumentKind;
use crate::fetch::jwks::fetch;
use crate::fetch::kept::Keeper;
use crate::fetch::outcome::SourceError;
use crate::fetch::outcome::failed;
use crate::fetch::outcome::succeeded;
use crate::fetch::schedule::Freshness;
use crate::fetch::schedule::LoadHistory;
use crate::fetch::schedule::after_failure;
use crate::fetch::schedule::after_success;
use crate::gate::authenticate::jwks_cache::IssuerKeys;
use crate::jose::jwks::Jwks;
use crate::model::clock::Clock;
use crate::model::names::Name;
use crate::observe::metrics::FetchResult;
use crate::observe::metrics::IssuerMetrics;
use std::sync::Arc;
use tokio::sync::watch;
use url::Url;

/// Keeps `keys` up to date from where `issuer` says they are, until `stop` holds `true` or its sender is gone. For PEM
/// files, which are read once, returns at once.
///
/// `keys` must have been made for `issuer.keys`. Run one of these per issuer: that is what makes fetches single. When
/// `keys` comes from before a reload, it fetches when the next fetch was due, not at once. What is fetched is handed to
/// `keeper`, where there is one.
pub async fn run(
    issuer: Issuer,
    keys: Arc<IssuerKeys>,
    clock: Arc<dyn Clock>,
    metrics: IssuerMetrics,
    keeper: Option<Keeper>,
    mut stop: watch::Receiver<bool>,
) {
    let work = async {
        match &issuer.keys {
            KeySource::Remote(source) => follow_remote(&issuer.name, source, &keys, &*clock, &metrics, keeper).await,
            KeySource::File(path) => file::follow(&issuer.name, path, &keys, &*clock).await,
            // Part of the configuration: read with it, and watched with it.
            KeySource::Pem(_) => {}
            // Has none.
            KeySource::Introspection(_) => {}
            // Put in place by whoever makes them.
            KeySource::Own => {}
        }
    };
    tokio::select! {
        // A sender that is gone means that whoever ran us is.
        _ = stop.wait_for(|stop| *stop) => {}
        () = work => {}
    }
}

async fn follow_remote(
    name: &Name,
    source: &RemoteKeys,
    keys: &IssuerKeys,
    clock: &dyn Clock,
    metrics: &IssuerMetrics,
    mut keeper: Option<Keeper>,
) {
    let mut finder = Finder::default();
    loop {
        let due = tokio::time::sleep(keys.next_fetch_in(clock.now()));
        tokio::select! {
            () = due => {}
            () = keys.fetch_requested() => {}
        }
        let attempt = keys.start_attempt(clock.now());
        let timeout = source.dial.timeout;
        let bounded = tokio::time::timeout(timeout, fetch_set(source, &mut finder)).await;
        let outcome = bounded.unwrap_or(Err(SourceError::TimedOut { timeout }));
        metrics.fetched(
            outcome
                .as_ref()
                .map_or_else(SourceError::result, |_| FetchResult::Success),
        );
        let random = random();
        let pause = match outcome {
            Ok(set) => {
                if finder.found.as_ref() != Some(&set.from) {
                    // Where discovery leads to is news; a URL of the configuration is not.
                    if let KeysAt::Discovery(_) = source.at {
                        tracing::info!(issuer = name.as_str(), jwks_uri = %set.from, "Issuer keys discovered");
                    }
                    finder.found = Some(set.from.clone());
                }
                let attempt = attempt.from(set.from.as_str());
                let in_place = succeeded(name, attempt, &set.body, set.jwks, clock);
                if let Some(keeper) = &mut keeper {
                    keeper.keep(name, &set.body, in_place, clock.now()).await;
                }
                after_success(source, set.freshness, random)
            }
            Err(error) => {
                let failures = failed(name, attempt, &error);
                let loaded = if keys.is_loaded() {
                    LoadHistory::Once
                } else {
                    LoadHistory::Never
                };
                after_failure(source, loaded, failures, random)
            }
        };
        keys.schedule(pause, clock.now());
    }
}

/// What finding the set has taught.
#[derive(Debug, Default)]
struct Finder {
    /// Which of the issuer's documents was good last: asked first, so that a refresh costs one request and not two.
    document: usize,
    /// Where the last good set came from.
    found: Option<Url>,
}

/// A good set and where it came from.
struct FetchedSet {
    from: Url,
    body: Vec<u8>,
    jwks: Jwks,
    freshness: Freshness,
}

/// The document is read again each time: an issuer that moves its keys says so there and nowhere else.
async fn fetch_set(source: &RemoteKeys, finder: &mut Finder) -> Result<FetchedSet, SourceError> {
    let url = match &source.at {
        KeysAt::JwksUrl(url) => url.clone(),
        KeysAt::Discovery(settings) => discovery::find(settings, &source.dial, &mut finder.document)
            .await
            .map_err(SourceError::Discovery)?,
    };
    let fetched = fetch(&url, &source.dial, DocumentKind::Jwks)
        .await
        .map_err(SourceError::Fetch)?;
    let jwks = Jwks::parse(&fetched.body).map_err(SourceError::Keys)?;
    Ok(FetchedSet {
        from: url,
        body: fetched.body,
        jwks,
        freshness: fetched.freshness,
    })
}

/// In 0..1; without randomness the middle, which only means that replicas do not drift apart.
pub(in crate::fetch) fn random() -> f64 {
    let mut bytes = [0; 4];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0),
        Err(_) => 0.5,
    }
}
