//! How are an issuer's keys kept up to date? By one background task per issuer, so that there is one fetch at a time.

use crate::config::issuer::Issuer;
use crate::config::issuer::JwksLocation;
use crate::config::issuer::KeySource;
use crate::config::issuer::RemoteKeys;
use crate::fetch::discovery;
use crate::fetch::file;
use crate::fetch::issuer_key_files::IssuerKeySaver;
use crate::fetch::jwks::DocumentKind;
use crate::fetch::jwks::fetch;
use crate::fetch::outcome::SourceError;
use crate::fetch::outcome::record_failure;
use crate::fetch::outcome::record_success;
use crate::fetch::outcome::success_result;
use crate::fetch::schedule::Freshness;
use crate::fetch::schedule::LoadHistory;
use crate::fetch::schedule::after_failure;
use crate::fetch::schedule::after_success;
use crate::gate::authenticate::jwks_cache::IssuerKeys;
use crate::jose::jwks::Jwks;
use crate::model::clock::Clock;
use crate::model::names::Name;
use crate::observe::metrics::IssuerMetrics;
use std::sync::Arc;
use tokio::sync::watch;
use url::Url;

/// Keeps `keys` up to date from the source of `issuer`, until `stop` holds `true` or its sender is gone. Returns at
/// once for a source that this task does not read: PEM files, introspection, and Keygate's own keys.
///
/// `keys` must have been created for `issuer.keys`. Run one task per issuer, so that fetches do not overlap. If `keys`
/// is from before a reload, the first fetch keeps its schedule. Passes fetched sets to `saver`, if any.
pub async fn run(
    issuer: Issuer,
    keys: Arc<IssuerKeys>,
    clock: Arc<dyn Clock>,
    metrics: IssuerMetrics,
    saver: Option<IssuerKeySaver>,
    mut stop: watch::Receiver<bool>,
) {
    let work = async {
        match &issuer.keys {
            KeySource::Remote(source) => follow_remote(&issuer.name, source, &keys, &*clock, &metrics, saver).await,
            KeySource::File(path) => file::follow(&issuer.name, path, &keys, &*clock).await,
            // A reload of the configuration reads these files, and starts when one of them changes.
            KeySource::Pem(_) => {}
            // An introspecting issuer has no keys.
            KeySource::Introspection(_) => {}
            // The control side sets Keygate's own keys.
            KeySource::Own => {}
        }
    };
    tokio::select! {
        // `wait_for` also returns if the sender, and thus the owner of this task, is gone.
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
    mut saver: Option<IssuerKeySaver>,
) {
    let mut last = LastSource::default();
    loop {
        let due = tokio::time::sleep(keys.next_fetch_in(clock.now()));
        tokio::select! {
            () = due => {}
            () = keys.fetch_requested() => {}
        }
        let attempt = keys.start_attempt(clock.now());
        let timeout = source.connect.timeout;
        let bounded = tokio::time::timeout(timeout, fetch_set(source, &mut last)).await;
        let outcome = bounded.unwrap_or(Err(SourceError::TimedOut { timeout }));
        metrics.count_fetch(
            outcome
                .as_ref()
                .map_or_else(SourceError::result, |set| success_result(&set.jwks)),
        );
        let random = random();
        let pause = match outcome {
            Ok(set) => {
                if last.url.as_ref() != Some(&set.from) {
                    // Log only a discovered URL: the operator knows the URL in the configuration.
                    if let JwksLocation::Discovery(_) = source.at {
                        tracing::info!(issuer = name.as_str(), jwks_uri = %set.from, "Issuer keys discovered");
                    }
                    last.url = Some(set.from.clone());
                }
                let attempt = attempt.from(set.from.as_str());
                let in_place = record_success(name, attempt, &set.body, set.jwks, clock);
                if let Some(saver) = &mut saver {
                    saver.save(&set.body, in_place, clock.now()).await;
                }
                after_success(source, set.freshness, random)
            }
            Err(error) => {
                let failures = record_failure(name, attempt, &error);
                let loaded = if keys.is_loaded() {
                    LoadHistory::Loaded
                } else {
                    LoadHistory::Never
                };
                after_failure(source, loaded, failures, random)
            }
        };
        keys.schedule(pause, clock.now());
    }
}

/// The source of the last usable set.
#[derive(Debug, Default)]
struct LastSource {
    /// The index of the last usable metadata document, which is fetched first: a refresh then reads one document.
    document: usize,
    /// The URL of the last usable set.
    url: Option<Url>,
}

/// A usable set and its URL.
struct FetchedSet {
    from: Url,
    body: Vec<u8>,
    jwks: Jwks,
    freshness: Freshness,
}

/// Fetches the set. Reads the metadata again each time: an issuer announces a new `jwks_uri` only there.
async fn fetch_set(source: &RemoteKeys, last: &mut LastSource) -> Result<FetchedSet, SourceError> {
    let url = match &source.at {
        JwksLocation::JwksUrl(url) => url.clone(),
        JwksLocation::Discovery(settings) => discovery::find(settings, &source.connect, &mut last.document)
            .await
            .map_err(SourceError::Discovery)?,
    };
    let fetched = fetch(
        &url,
        &source.connect,
        source.bearer_token_file.as_deref(),
        DocumentKind::Jwks,
    )
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

/// Returns a random number in 0..1; 0.5 if the random generator fails, so that only the spread of fetches is lost.
pub(in crate::fetch) fn random() -> f64 {
    let mut bytes = [0; 4];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0),
        Err(_) => 0.5,
    }
}
