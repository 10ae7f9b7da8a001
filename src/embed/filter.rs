//! How does a program put the filter into a pingora proxy of its own?

use crate::embed::gate::Gate;
use crate::embed::gate::OpenError;
use crate::embed::principal::Principal;
use crate::embed::upkeep::Upkeep;
use crate::model::names::Name;
use crate::observe::metrics::Metrics;
use crate::proxy::filter::Filter;
use crate::proxy::filter::FilterContext;
use crate::proxy::http1::connection::Worker;
use async_trait::async_trait;
use http::HeaderValue;
use pingora::apps::ServerApp;
use pingora::protocols::Stream;
use pingora::proxy::HttpProxy;
use pingora::proxy::ProxyHttp;
use pingora::server::ShutdownWatch;
use pingora::services::ServiceReadyNotifier;
use pingora::services::background::BackgroundService;
use prometheus::Registry;
use std::path::Path;
use std::sync::Arc;

impl Filter {
    /// Reads the configuration at `path` and every file that it names. Returns the filter, and the background work that
    /// keeps it up to date: a service to add to the server, see [`Upkeep`].
    ///
    /// # Errors
    /// Those of [`Gate::open`].
    pub fn from_config(path: impl AsRef<Path>) -> Result<(Self, Upkeep), OpenError> {
        let (gate, upkeep) = Gate::open(path)?;
        Ok((Self::new(&gate), upkeep))
    }

    /// Returns a filter that decides with `gate`.
    pub fn new(gate: &Gate) -> Self {
        Self::of_gate(gate.shared())
    }

    /// Adds all metrics to `registry`, which another part of the program serves.
    ///
    /// # Errors
    /// The registry has the filter's metrics already.
    pub fn register_metrics(&self, registry: &Registry) -> prometheus::Result<()> {
        Metrics::register(&self.shared_gate().live.metrics, registry)
    }
}

impl FilterContext {
    /// Returns the bearer of the credential. Returns `None` before [`Filter::request_filter`], for a refused request, on a
    /// public route, and if the request passed only because the issuer is in shadow mode.
    pub fn principal(&self) -> Option<Principal<'_>> {
        self.admitted().map(|principal| Principal(principal.identity()))
    }

    /// Returns the name of the route that matches the request; `None` before [`Filter::request_filter`], and where no route
    /// matches.
    pub fn route(&self) -> Option<String> {
        self.with(|exchange| exchange.route().map(Name::to_string)).flatten()
    }

    /// Returns the id of the request, as in the access record and in the field `X-Request-ID` of the request and the
    /// response; `None` before [`Filter::request_filter`].
    pub fn request_id(&self) -> Option<HeaderValue> {
        self.with(|exchange| exchange.request_id().clone())
    }
}

/// A pingora proxy with the bounds that pingora lacks: the strict reading of heads and their time limit, the limits of
/// connections and of requests on a connection, the `total_timeout` of routes and upstreams, and the end of streams with their
/// credential. Put it into a `pingora::services::listening::Service`, in place of the proxy alone:
///
/// ```
/// use keygate::filter::Filter;
/// use keygate::filter::Guard;
/// use pingora::proxy::HttpProxy;
/// use pingora::proxy::ProxyHttp;
/// use pingora::services::listening::Service;
///
/// fn service<P>(filter: &Filter, mut proxy: HttpProxy<P>) -> Service<Guard<P>>
/// where
///     P: ProxyHttp + Send + Sync + 'static,
///     P::CTX: Send + Sync,
/// {
///     proxy.handle_init_modules();
///     Service::new("proxy".to_owned(), Guard::new(filter, proxy))
/// }
/// ```
///
/// With TLS in pingora's listener, a client chooses HTTP/2 by ALPN, where the listener offers it.
pub struct Guard<P>(Arc<Worker<P>>);

impl<P> Guard<P> {
    /// Returns a guard around `proxy`, whose phases call `filter`.
    pub fn new(filter: &Filter, proxy: HttpProxy<P>) -> Self {
        Self(Arc::new(Worker::guarding(filter.shared_gate(), Arc::new(proxy))))
    }
}

#[async_trait]
impl<P> ServerApp for Guard<P>
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        self.0.process_new(stream, shutdown).await
    }
}

impl<P> std::fmt::Debug for Guard<P> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Guard").finish_non_exhaustive()
    }
}

/// Runs the upkeep until the server shuts down. A service that depends on it (`ServiceHandle::add_dependency`) starts after
/// [`crate::Gate::start_wait`].
#[async_trait]
impl BackgroundService for Upkeep {
    async fn start_with_ready_notifier(&self, shutdown: ShutdownWatch, ready: ServiceReadyNotifier) {
        let mut stop = shutdown.clone();
        let start_wait = self.start_wait();
        let start_wait = async {
            tokio::select! {
                () = start_wait => {}
                _ = stop.wait_for(|stopping| *stopping) => {}
            }
            ready.notify_ready();
        };
        tokio::join!(self.start(shutdown), start_wait);
    }

    async fn start(&self, mut shutdown: ShutdownWatch) {
        tokio::select! {
            () = self.work() => {}
            _ = shutdown.wait_for(|stopping| *stopping) => {}
        }
    }
}
