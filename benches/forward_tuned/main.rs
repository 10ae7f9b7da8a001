//! Bare pingora, tuned by configuration alone: a program of its own, because it allocates
//! with mimalloc as Keygate does. `forward` starts it; without arguments it measures nothing.

#[path = "../forward/bare.rs"]
mod bare;

use bare::Pingora;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", upstream] => bare::serve(upstream.parse().expect("an address"), Pingora::Tuned),
        // Called by `cargo bench` and `cargo test --benches`.
        _ => println!("started by the bench `forward`"),
    }
}
