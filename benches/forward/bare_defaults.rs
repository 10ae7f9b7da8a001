//! How does `forward` start bare pingora with its defaults? Behind one listener, or behind one for each protocol.

use crate::bare::Bare;
use crate::bare::serve;
use pingora::apps::HttpServerOptions;
use pingora::listeners::tls::TlsSettings;
use pingora::proxy::http_proxy_service;
use pingora::server::configuration::ServerConf;
use pingora::services::Service as _;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::runtime::Builder;
use tokio::runtime::Runtime;

/// Serves until the process is killed.
pub fn serve_one(upstream: SocketAddr) {
    let bare = Bare {
        upstream,
        has_modules: true,
        is_http2: false,
    };
    serve(bare, ServerConf::default(), &default_runtime());
}

/// Serves, until the process is killed, `[http1, http2, plain, tls, h2c, grpc]`: the upstreams of HTTP/1.1 and HTTP/2, and
/// the addresses to listen at.
pub fn serve_lanes(addresses: &[SocketAddr]) {
    let [http1, http2, plain, tls, h2c, grpc] = addresses else {
        panic!("six addresses");
    };
    let conf = Arc::new(ServerConf {
        upstream_keepalive_pool_size: 1024,
        ..ServerConf::default()
    });
    let runtime = default_runtime();
    let (_never, stop) = tokio::sync::watch::channel(false);
    let mut serving = Vec::new();
    for (address, upstream, is_http2, is_tls) in [
        (plain, http1, false, false),
        (tls, http1, false, true),
        (h2c, http1, false, false),
        (grpc, http2, true, false),
    ] {
        let bare = Bare {
            upstream: *upstream,
            has_modules: true,
            is_http2,
        };
        let mut service = http_proxy_service(&conf, bare);
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

/// Returns the runtime that `pingora::server::Server` builds for its default `threads: 1`.
fn default_runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a thread can be started")
}
