//! How does a program open a gate?

use crate::config::AcceptedCredential;
use crate::config::Config;
use crate::config::OWN_ISSUER;
use crate::config::UpstreamKind;
use crate::embed::exchange::Exchange;
use crate::embed::upkeep::Upkeep;
use crate::gate;
use crate::gate::live::LiveState;
use crate::model::clock::Clock;
use crate::model::clock::SystemClock;
use crate::observe::ready::Condition;
use crate::observe::ready::Readiness;
use crate::runtime::assemble;
use crate::runtime::config_files;
use crate::runtime::config_files::LoadError;
use crate::runtime::start_wait;
use http::request::Parts;
use std::io;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

/// A gate with a configuration in force. Clones are cheap and share all state.
///
/// ```
/// use keygate::Decision;
/// use keygate::Gate;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let path = "conf/examples/embedded.yaml";
/// let (gate, upkeep) = Gate::open(path)?;
/// let runtime = tokio::runtime::Runtime::new()?;
/// // Reloads the file when it changes, fetches issuers' keys, resolves upstreams' names.
/// runtime.spawn(upkeep.run());
///
/// // For each request, once its head was read:
/// let (head, _body) = http::Request::get("/orders/1").header("host", "api.example.com").body(())?.into_parts();
/// let peer = "203.0.113.7:50000".parse()?;
/// let mut exchange = gate.begin(head, peer);
/// match runtime.block_on(exchange.admit()) {
///     Decision::Forward => unreachable!("the request carries no credential"),
///     Decision::Answer(answer) => assert_eq!(answer.status, 401),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Gate {
    gate: Arc<gate::Gate>,
    readiness: Arc<Readiness>,
}

/// Why a configuration cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file, or a file that it names, has errors. The text lists all of them with their places.
    #[error("{0}")]
    Config(String),
    /// A part of the configuration needs the program `keygate`.
    #[error("{path}: {need}, which is served by the program `keygate` alone")]
    Unsupported {
        /// The place in the configuration, such as `routes[2].plans`.
        path: String,
        /// The ability that an embedded gate lacks.
        need: &'static str,
    },
    /// The system cannot start the thread of the access log.
    #[error("cannot start the thread of the access log")]
    Thread(#[source] io::Error),
}

impl From<LoadError> for OpenError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Unsupported { path, need } => Self::Unsupported { path, need },
            error => Self::Config(error.to_string()),
        }
    }
}

impl Gate {
    /// Reads the configuration at `path` and every file that the configuration names.
    /// Returns the gate, and the background work that keeps the gate up to date.
    ///
    /// Access records are written to standard output, in the format of `log`. API keys are read from
    /// `api_keys.file`. `listeners` is ignored; `admin`, `store` and `token_endpoint` are ignored with a warning.
    ///
    /// # Errors
    /// The configuration has errors, or needs the store, the token endpoint or the echo upstream; or the thread of the
    /// access log cannot be started.
    pub fn open(path: impl AsRef<Path>) -> Result<(Self, Upkeep), OpenError> {
        let path = path.as_ref();
        let mut loaded = config_files::load_checked(path, check)?;
        let config = &loaded.config;
        for key in unused_parts(config) {
            tracing::warn!(key, "This part of the configuration is not used in an embedded gate");
        }
        config_files::log_warnings(config);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let metrics = assemble::metrics(clock.now().wall);
        let access = assemble::access_log(io::stdout(), &config.observe, &metrics).map_err(OpenError::Thread)?;
        // The address is never used: `check` rejects an echo upstream.
        let live = Arc::new(LiveState::new(metrics, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))));
        let readiness = Arc::new(Readiness::new());
        let (gate, key_files) =
            assemble::gate(&mut loaded, live, clock, access, &readiness).map_err(LoadError::Routes)?;
        let upkeep = Upkeep::new(
            path.to_owned(),
            loaded,
            Arc::clone(&gate),
            Arc::clone(&readiness),
            key_files,
            check,
        );
        Ok((Self { gate, readiness }, upkeep))
    }

    /// Begins a request with the parsed `head`, received from the socket address `peer`.
    pub fn begin(&self, head: Parts, peer: SocketAddr) -> Exchange {
        Exchange::begin(&self.gate, head, peer)
    }

    /// Returns whether the gate can decide requests: a configuration is in force, and the keys of every issuer have
    /// been loaded. Ignores the issuers until [`Upkeep::run`] has started.
    pub fn is_ready(&self) -> bool {
        self.readiness.report().status != Condition::Failing
    }

    /// Waits until each issuer has keys, each OAuth client of an upstream a token, and each name of an endpoint was looked up, or
    /// until the time for that is over (`start_wait` of an issuer, else 5 s). Call this beside [`Upkeep::run`], before the first
    /// request: one that needs any of these is answered with 503.
    pub async fn start_wait(&self) {
        start_wait::wait(&self.gate).await;
    }

    pub(super) fn shared(&self) -> Arc<gate::Gate> {
        Arc::clone(&self.gate)
    }

    /// Returns all metrics in the Prometheus text format.
    pub fn metrics(&self) -> String {
        self.gate.live.metrics.text()
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Gate").finish_non_exhaustive()
    }
}

/// Rejects a configuration that needs an ability of the program `keygate`, when the gate opens and at each reload.
///
/// # Errors
/// The first place in `config` that needs such an ability.
fn check(config: &Config) -> Result<(), LoadError> {
    match unsupported(config) {
        Some((path, need)) => Err(LoadError::Unsupported { path, need }),
        None => Ok(()),
    }
}

/// Returns the first place in `config` that needs an ability of the program `keygate`, and the ability.
fn unsupported(config: &Config) -> Option<(String, &'static str)> {
    for (name, upstream) in &config.upstreams {
        if upstream.kind == UpstreamKind::Echo {
            return Some((format!("upstreams.{name}"), "the echo upstream"));
        }
    }
    config.routes.iter().enumerate().find_map(|(place, route)| {
        let at = |key: &str| format!("routes[{place}].{key}");
        if !route.plans.is_empty() {
            return Some((at("plans"), "subscriptions are in the store"));
        }
        if route.issuers.iter().any(|issuer| issuer.as_str() == OWN_ISSUER) && config.token_endpoint.is_some() {
            return Some((at("issuers"), "tokens of the token endpoint"));
        }
        if route.accept.contains(&AcceptedCredential::ApiKey) && config.api_keys.file.is_none() {
            return Some((at("accept"), "API keys without `api_keys.file` are in the store"));
        }
        None
    })
}

/// Returns the parts of `config` that an embedded gate ignores.
fn unused_parts(config: &Config) -> impl Iterator<Item = &'static str> {
    let parts = [
        ("admin", config.admin.is_some()),
        ("store", config.store.is_some()),
        ("token_endpoint", config.token_endpoint.is_some()),
    ];
    parts.into_iter().filter_map(|(key, is_there)| is_there.then_some(key))
}
