//! How does Keygate itself use the filter? As the only rules of a proxy: for clients that speak HTTP/2, for upstreams that
//! speak HTTP/2, and for listeners with `http1: pingora`.

use crate::proxy::filter::Filter;
use crate::proxy::filter::FilterContext;
use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora::Error;
use pingora::http::RequestHeader;
use pingora::http::ResponseHeader;
use pingora::modules::http::HttpModules;
use pingora::proxy::FailToProxy;
use pingora::proxy::HttpProxy;
use pingora::proxy::ProxyHttp;
use pingora::proxy::ProxyWarnLogContext;
use pingora::proxy::Session;
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;
use std::sync::Arc;
use std::time::Duration;

/// A proxy with the rules of the filter and no others.
pub struct ProxyLane(Filter);

impl ProxyLane {
    /// Returns pingora's proxy for one worker. It keeps at most `idle_connections_max` idle connections to upstreams.
    pub fn proxy(filter: Filter, idle_connections_max: usize) -> Arc<HttpProxy<Self>> {
        let settings = ServerConf {
            threads: 1,
            upstream_keepalive_pool_size: idle_connections_max,
            ..ServerConf::default()
        };
        let mut proxy = HttpProxy::new(Self(filter), Arc::new(settings));
        proxy.handle_init_modules();
        Arc::new(proxy)
    }
}

#[async_trait]
impl ProxyHttp for ProxyLane {
    type CTX = FilterContext;

    fn new_ctx(&self) -> FilterContext {
        self.0.new_ctx()
    }

    /// Leaves out the compression of responses, which pingora adds by default.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn request_filter(&self, session: &mut Session, ctx: &mut FilterContext) -> pingora::Result<bool> {
        self.0.request_filter(session, ctx).await
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut FilterContext) -> pingora::Result<Box<HttpPeer>> {
        self.0.upstream_peer(session, ctx).await
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        peer: &HttpPeer,
        ctx: &mut FilterContext,
        error: Box<Error>,
    ) -> Box<Error> {
        self.0.fail_to_connect(session, peer, ctx, error)
    }

    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut FilterContext,
        client_reused: bool,
    ) -> Box<Error> {
        self.0.error_while_proxy(peer, session, error, ctx, client_reused)
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream_request: &mut RequestHeader,
        ctx: &mut FilterContext,
    ) -> pingora::Result<()> {
        self.0.upstream_request_filter(session, upstream_request, ctx).await
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut FilterContext,
    ) -> pingora::Result<()> {
        self.0.request_body_filter(session, body, end_of_stream, ctx).await
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut FilterContext,
    ) -> pingora::Result<()> {
        self.0.response_filter(session, response, ctx).await
    }

    fn response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut FilterContext,
    ) -> pingora::Result<Option<Duration>> {
        self.0.response_body_filter(session, body, end_of_stream, ctx)
    }

    async fn response_trailer_filter(
        &self,
        session: &mut Session,
        upstream_trailers: &mut HeaderMap,
        ctx: &mut FilterContext,
    ) -> pingora::Result<Option<Bytes>> {
        self.0.response_trailer_filter(session, upstream_trailers, ctx).await
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut FilterContext) -> FailToProxy {
        self.0.fail_to_proxy(session, error, ctx).await
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut FilterContext) {
        self.0.logging(session, error, ctx).await;
    }

    /// Silences pingora's own errors: the access record has the reason.
    fn suppress_error_log(&self, _session: &Session, _ctx: &FilterContext, _error: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _ctx: &FilterContext,
        _error: &Error,
        _context: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}
