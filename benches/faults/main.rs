//! What do clients see while an endpoint is killed, stopped, resets its responses or speaks nonsense: behind Keygate, and behind
//! HAProxy and Envoy, configured alike?
//!
//! `cargo bench --bench faults`, with wrk (`apt-get install wrk`) as the client. Proxies and endpoints run in
//! processes of their own, everything on loopback. `-- killed` plays only the faults with `killed` in their name.

mod authority;
mod endpoint;
mod fault;
mod load;
mod proxies;
mod scene;
mod witness;

#[path = "../../tests/it/support/name_server.rs"]
#[expect(dead_code, reason = "tests use more of it")]
mod name_server;

use fault::Fault;
use proxies::Proxy;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == endpoint::ROLE) {
        endpoint::serve(&arguments[1..]);
    }
    // `cargo bench` passes `--bench`. `cargo test --benches` does not, and one fault is enough.
    let bench = arguments.iter().any(|argument| argument == "--bench");
    arguments.retain(|argument| !argument.starts_with("--"));
    let wanted = arguments.first().map_or("", String::as_str);
    if !load::is_installed() {
        println!("faults are left out: apt-get install wrk");
        return ExitCode::SUCCESS;
    }
    if !bench {
        let row = scene::play(Fault::Killed, Proxy::Keygate).expect("Keygate is always there");
        assert!(row.requests > 0, "{row}");
        return ExitCode::SUCCESS;
    }
    println!(
        "| {:24} | {:8} | requests | failed | p99 ms | longest ms | last failure s |",
        "fault", "proxy"
    );
    println!("| --- | --- | ---: | ---: | ---: | ---: | ---: |");
    for fault in Fault::ALL.into_iter().filter(|fault| fault.name().contains(wanted)) {
        for proxy in Proxy::ALL {
            match scene::play(fault, proxy) {
                Ok(row) => println!("| {:24} | {:8} {row}", fault.name(), proxy.name()),
                Err(reason) => println!("| {:24} | {:8} | {reason}", fault.name(), proxy.name()),
            }
        }
    }
    ExitCode::SUCCESS
}
