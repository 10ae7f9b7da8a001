//! How fast is pingora without any logic, with one upstream for all requests? Two programs include this file, because a
//! program has one allocator: `forward` runs pingora with its defaults, `forward_tuned` the tuned variant.

use async_trait::async_trait;
use pingora::apps::HttpServerOptions;
use pingora::listeners::tls::TlsSettings;
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

/// The settings of pingora.
// Each of the two programs constructs one variant.
#[allow(dead_code)]
#[derive(Clone, Copy)]
pub enum Pingora {
    Defaults,
    /// Without modules, on a single-threaded runtime, and with a pool that holds every connection.
    Tuned,
}

struct Bare {
    upstream: SocketAddr,
    pingora: Pingora,
    /// The upstream speaks HTTP/2 without TLS.
    is_http2: bool,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        match self.pingora {
            // Same as the default implementation of the trait.
            Pingora::Defaults => {
                modules.add_module(pingora::modules::http::compression::ResponseCompressionBuilder::enable(
                    0,
                ));
            }
            Pingora::Tuned => {}
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

/// Serves until the process is killed.
pub fn serve(upstream: SocketAddr, pingora: Pingora) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.set_nonblocking(true).expect("sockets can be non-blocking");
    let address = listener
        .local_addr()
        .expect("a bound socket has an address")
        .to_string();
    eprintln!("listening on {address}");
    let mut conf = ServerConf::default();
    if let Pingora::Tuned = pingora {
        conf.upstream_keepalive_pool_size = 1024;
    }
    let mut service = http_proxy_service(
        &Arc::new(conf),
        Bare {
            upstream,
            pingora,
            is_http2: false,
        },
    );
    let mut fds = Fds::new();
    fds.add(address.clone(), listener.into_raw_fd());
    service.add_tcp(&address);
    let (_never, stop) = tokio::sync::watch::channel(false);
    let fds = Arc::new(parking_lot::Mutex::new(fds));
    match pingora {
        Pingora::Defaults => {
            // The runtime that `pingora::server::Server` builds for its default `threads: 1`.
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .expect("a thread can be started");
            let serving = runtime.spawn(async move { service.start_service(Some(fds), stop, 1).await });
            runtime.block_on(serving).expect("the service does not panic");
        }
        Pingora::Tuned => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("this thread can run tasks")
            .block_on(service.start_service(Some(fds), stop, 1)),
    }
}

/// Serves, until the process is killed, `[http1, http2, plain, tls, h2c, grpc]`: the upstreams of HTTP/1.1 and HTTP/2, and
/// the addresses to listen at.
// Only one of the two programs calls it.
#[allow(dead_code)]
pub fn serve_lanes(addresses: &[SocketAddr]) {
    let [http1, http2, plain, tls, h2c, grpc] = addresses else {
        panic!("six addresses");
    };
    let conf = Arc::new(ServerConf {
        upstream_keepalive_pool_size: 1024,
        ..ServerConf::default()
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a thread can be started");
    let (_never, stop) = tokio::sync::watch::channel(false);
    let mut serving = Vec::new();
    for (address, upstream, is_http2, is_tls) in [
        (plain, http1, false, false),
        (tls, http1, false, true),
        (h2c, http1, false, false),
        (grpc, http2, true, false),
    ] {
        let (upstream, pingora) = (*upstream, Pingora::Defaults);
        let mut service = http_proxy_service(
            &conf,
            Bare {
                upstream,
                pingora,
                is_http2,
            },
        );
        let logic = service.app_logic_mut().expect("it has not started");
        let mut options = HttpServerOptions::default();
        options.h2c = address == h2c || address == grpc;
        logic.server_options = Some(options);
        if is_tls {
            let file = |name: &str| format!("{}/conf/{name}", env!("CARGO_MANIFEST_DIR"));
            let mut settings = TlsSettings::intermediate(&file("dev-tls.pem"), &file("dev-tls.private.pem"))
                .expect("the files of conf/ fit");
            settings.enable_h2();
            service.add_tls_with_settings(&address.to_string(), None, settings);
        } else {
            service.add_tcp(&address.to_string());
        }
        let stop = stop.clone();
        serving.push(runtime.spawn(async move { service.start_service(None, stop, 1).await }));
    }
    for service in serving {
        runtime.block_on(service).expect("the service does not panic");
    }
}
