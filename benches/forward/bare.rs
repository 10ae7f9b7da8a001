//! pingora with nothing in it: every request goes to one upstream.

use crate::again;
use crate::process::Process;
use async_trait::async_trait;
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
use std::process::Stdio;
use std::sync::Arc;

struct Bare(SocketAddr);

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, (): &mut ()) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.0, false, String::new())))
    }
}

pub fn start(upstream: SocketAddr) -> Process {
    let mut command = again(&["bare", &upstream.to_string()]);
    Process::start(command.stdout(Stdio::null()), |line| {
        line.strip_prefix("listening on ")?.parse().ok()
    })
}

/// Serves until it is killed.
pub fn serve(upstream: SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.set_nonblocking(true).expect("sockets can be non-blocking");
    let address = listener
        .local_addr()
        .expect("a bound socket has an address")
        .to_string();
    eprintln!("listening on {address}");
    let mut service = http_proxy_service(&Arc::new(ServerConf::default()), Bare(upstream));
    let mut fds = Fds::new();
    fds.add(address.clone(), listener.into_raw_fd());
    service.add_tcp(&address);
    // What `pingora::server::Server` makes of its default `threads: 1`.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a thread can be started");
    let (_never, stop) = tokio::sync::watch::channel(false);
    let fds = Arc::new(parking_lot::Mutex::new(fds));
    let serving = runtime.spawn(async move { service.start_service(Some(fds), stop, 1).await });
    runtime.block_on(serving).expect("the service does not panic");
}
