//! How does `forward` start a tuned bare pingora? As this program, which allocates with mimalloc like Keygate. Without
//! arguments this program measures nothing.

#[path = "../forward/bare.rs"]
mod bare;

use bare::Pingora;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", upstream] => bare::serve(upstream.parse().expect("an address"), Pingora::Tuned),
        // `cargo bench` and `cargo test --benches` call every bench.
        _ => println!("started by the bench `forward`"),
    }
}
