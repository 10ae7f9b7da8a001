//! How does pingora serve without any logic, with one upstream for all requests? Two programs include this file, because a
//! program has one allocator: `forward` runs pingora with its defaults, `forward_tuned` the tuned variant.

use async_trait::async_trait;
use pingora::modules::http::HttpModules;
use pingora::proxy::ProxyHttp;
use pingora::proxy::Session;
use pingora::proxy::http_proxy_service;
use pingora::server::Fds;
use pingora::server::configuration::ServerConf;
use pingora::services::Service as _;
use pingora::upstreams::peer::HttpPeer;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::os::fd::IntoRawFd;
use std::sync::Arc;
use tokio::runtime::Runtime;

/// The proxy of one upstream.
pub struct Bare {
    pub upstream: SocketAddr,
    /// Has the modules that pingora adds by default.
    pub has_modules: bool,
    /// The upstream speaks HTTP/2 without TLS.
    pub is_http2: bool,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        if self.has_modules {
            // Same as the default implementation of the trait.
            modules.add_module(pingora::modules::http::compression::ResponseCompressionBuilder::enable(
                0,
            ));
        }
    }

    async fn upstream_peer(&self, _session: &mut Session, (): &mut ()) -> pingora::Result<Box<HttpPeer>> {
        let mut peer = HttpPeer::new(self.upstream, false, String::new());
        if self.is_http2 {
            peer.options.set_http_version(2, 2);
            peer.options.max_h2_streams = 100;
        }
        Ok(Box::new(peer))
    }
}

/// Serves on `runtime`, on a free port, until the process is killed.
pub fn serve(bare: Bare, conf: ServerConf, runtime: &Runtime) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.set_nonblocking(true).expect("sockets can be non-blocking");
    let address = listener
        .local_addr()
        .expect("a bound socket has an address")
        .to_string();
    eprintln!("listening on {address}");
    let mut service = http_proxy_service(&Arc::new(conf), bare);
    let mut fds = Fds::new();
    fds.add(address.clone(), listener.into_raw_fd());
    service.add_tcp(&address);
    let (_never, stop) = tokio::sync::watch::channel(false);
    let fds = Arc::new(parking_lot::Mutex::new(fds));
    let serving = runtime.spawn(async move { service.start_service(Some(fds), stop, 1).await });
    runtime.block_on(serving).expect("the service does not panic");
}
