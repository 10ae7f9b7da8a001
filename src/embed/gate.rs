//! How does a program open a gate?

use crate::config::AcceptedCredential;
use crate::config::Config;
use crate::config::OWN_ISSUER;
use crate::config::UpstreamKind;
use crate::embed::exchange::Exchange;
use crate::embed::upkeep::Upkeep;
use crate::gate;
use crate::gate::live::Live;
use crate::model::clock::Clock;
use crate::model::clock::SystemClock;
use crate::observe::ready::Condition;
use crate::observe::ready::Readiness;
use crate::runtime::assemble;
use crate::runtime::reload;
use crate::runtime::reload::LoadError;
use http::request::Parts;
use std::io;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

/// A configuration in force. Cheap to clone; clones share limits, keys and metrics.
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
/// // For each request whose head was read:
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
    /// The file, or a file that it names, has mistakes. The text lists all of them, each with its place.
    #[error("{0}")]
    Config(String),
    /// A route asks for something that only the process `keygate` has.
    #[error("{path}: {need}, which is served by the program `keygate` alone")]
    Unsupported {
        /// The place in the configuration, as `routes[2].plans`.
        path: String,
        /// What is asked for.
        need: &'static str,
    },
    /// The system has no thread for the access log.
    #[error("cannot start the thread of the access log")]
    Thread(#[source] io::Error),
}

impl From<LoadError> for OpenError {
    fn from(error: LoadError) -> Self {
        Self::Config(error.to_string())
    }
}

impl Gate {
    /// Reads the configuration at `path` and every file it names, and returns a gate that decides by it, with its upkeep.
    ///
    /// Access records go to standard output as `observe` says. `listeners` is not used, nor are `admin`, `store` and
    /// `token_endpoint`, of which a warning tells: API keys come from `api_keys.file`.
    ///
    /// # Errors
    /// The configuration has mistakes, or a route needs the store, the token endpoint or the echo upstream.
    pub fn open(path: impl AsRef<Path>) -> Result<(Self, Upkeep), OpenError> {
        let path = path.as_ref();
        let mut loaded = reload::load(path)?;
        let config = &loaded.config;
        if let Some((path, need)) = unsupported(config) {
            return Err(OpenError::Unsupported { path, need });
        }
        for key in unused_parts(config) {
            tracing::warn!(key, "This part of the configuration is not used in an embedded gate");
        }
        reload::log_warnings(config);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let metrics = assemble::metrics(clock.now().wall);
        let access = assemble::access_log(&config.observe, &metrics).map_err(OpenError::Thread)?;
        // Nobody serves the echo upstream here, and no route goes to it.
        let live = Arc::new(Live::new(metrics, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))));
        let readiness = Arc::new(Readiness::new());
        let (gate, kept) = assemble::gate(&mut loaded, live, clock, access, &readiness).map_err(LoadError::Routes)?;
        let upkeep = Upkeep::new(path.to_owned(), loaded, Arc::clone(&gate), Arc::clone(&readiness), kept);
        Ok((Self { gate, readiness }, upkeep))
    }

    /// Begins one request: `head` as it was read, from the socket address `peer`.
    pub fn begin(&self, head: Parts, peer: SocketAddr) -> Exchange {
        Exchange::begin(&self.gate, head, peer)
    }

    /// Returns whether requests can be decided: the configuration is in force, and the keys of every issuer are there.
    pub fn is_ready(&self) -> bool {
        self.readiness.report().status == Condition::Ok
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

/// Returns the first place of `config` that asks for something an embedded gate does not have, and what that is.
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

/// Returns the parts of `config` that an embedded gate does not use.
fn unused_parts(config: &Config) -> impl Iterator<Item = &'static str> {
    let parts = [
        ("admin", config.admin.is_some()),
        ("store", config.store.is_some()),
        ("token_endpoint", config.token_endpoint.is_some()),
    ];
    parts.into_iter().filter_map(|(key, is_there)| is_there.then_some(key))
}
