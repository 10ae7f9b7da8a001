use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use keygate::filter::{Filter, FilterContext, Guard};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::prelude::{Error, HttpPeer, Result};
use pingora::proxy::{FailToProxy, HttpProxy, ProxyHttp, Session};
use pingora::server::Server;
use pingora::services::{background::background_service, listening::Service};
use std::time::Duration;

pub struct Shop(pub Filter);

#[async_trait]
impl ProxyHttp for Shop {
    type CTX = FilterContext;

    fn new_ctx(&self) -> FilterContext {
        self.0.new_ctx()
    }
    async fn request_filter(&self, session: &mut Session, ctx: &mut FilterContext) -> Result<bool> {
        self.0.request_filter(session, ctx).await
    }
    async fn upstream_peer(&self, session: &mut Session, ctx: &mut FilterContext) -> Result<Box<HttpPeer>> {
        self.0.upstream_peer(session, ctx).await
    }
    fn fail_to_connect(&self, session: &mut Session, peer: &HttpPeer, ctx: &mut FilterContext, error: Box<Error>) -> Box<Error> {
        self.0.fail_to_connect(session, peer, ctx, error)
    }
    async fn upstream_request_filter(&self, session: &mut Session, head: &mut RequestHeader, ctx: &mut FilterContext) -> Result<()> {
        self.0.upstream_request_filter(session, head, ctx).await
    }
    async fn request_body_filter(&self, session: &mut Session, body: &mut Option<Bytes>, end: bool, ctx: &mut FilterContext) -> Result<()> {
        self.0.request_body_filter(session, body, end, ctx).await
    }
    async fn response_filter(&self, session: &mut Session, head: &mut ResponseHeader, ctx: &mut FilterContext) -> Result<()> {
        self.0.response_filter(session, head, ctx).await
    }
    fn response_body_filter(&self, session: &mut Session, body: &mut Option<Bytes>, end: bool, ctx: &mut FilterContext) -> Result<Option<Duration>> {
        self.0.response_body_filter(session, body, end, ctx)
    }
    async fn response_trailer_filter(&self, session: &mut Session, trailers: &mut HeaderMap, ctx: &mut FilterContext) -> Result<Option<Bytes>> {
        self.0.response_trailer_filter(session, trailers, ctx).await
    }
    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut FilterContext) -> FailToProxy {
        self.0.fail_to_proxy(session, error, ctx).await
    }
    fn request_summary(&self, session: &Session, ctx: &FilterContext) -> String {
        self.0.request_summary(session, ctx)
    }
}

pub fn serve(config: &str, address: &str) -> std::result::Result<(Server, Filter), Box<dyn std::error::Error>> {
    let (filter, upkeep) = Filter::from_config(config)?;
    let mut server = Server::new(None)?;
    server.bootstrap();
    let mut proxy = HttpProxy::new(Shop(filter.clone()), server.configuration.clone());
    proxy.handle_init_modules();
    let mut service = Service::new("shop".to_owned(), Guard::new(&filter, proxy));
    service.add_tcp(address);
    let keys = server.add_service(background_service("keygate", upkeep));
    // Accepts once the issuers' keys are there.
    server.add_service(service).add_dependency(keys);
    Ok((server, filter))
}
