//! How does `forward` start a tuned bare pingora? As this program, which allocates with mimalloc like Keygate. Without
//! arguments this program measures nothing.

#[path = "../forward/bare.rs"]
mod bare;

use bare::Bare;
use pingora::server::configuration::ServerConf;
use std::net::SocketAddr;
use tokio::runtime::Builder;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", upstream] => serve(upstream.parse().expect("an address")),
        // `cargo bench` and `cargo test --benches` call every bench.
        _ => println!("started by the bench `forward`"),
    }
}

/// Serves until the process is killed: without modules, on a single-threaded runtime, and with a pool that holds every
/// connection.
fn serve(upstream: SocketAddr) {
    let bare = Bare {
        upstream,
        has_modules: false,
        is_http2: false,
    };
    let conf = ServerConf {
        upstream_keepalive_pool_size: 1024,
        ..ServerConf::default()
    };
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("this thread can run tasks");
    bare::serve(bare, conf, &runtime);
}
