//! What does a request through Keygate cost, compared with bare pingora and with other gateways?
//!
//! `cargo bench --bench 'forward*'`; benches/README.md lists further modes. The client and the upstream run in this
//! process. Each proxy runs in a process of its own with one worker thread; `scaling` also starts a Keygate with two.

mod bare;
mod bare_defaults;
mod compare;
mod credentials;
mod disqualify;
mod exchange;
mod gate;
mod instructions;
mod lanes;
mod load;
mod paced;
mod peers;
mod process;
mod proxies;
mod reload;
mod rows;
mod scaling;
mod table;

use compare::Extent;
use proxies::Proxy;
use std::process::Command;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    // `start_bare` starts this program again as bare pingora.
    if let [role, upstream] = &arguments[..]
        && role == "bare"
    {
        bare_defaults::serve_one(upstream.parse().expect("an address"));
        return ExitCode::SUCCESS;
    }
    // `lanes` starts this program again as bare pingora with several listeners.
    if let [role, addresses @ ..] = &arguments[..]
        && role == "bare-lanes"
    {
        let addresses: Vec<_> = addresses.iter().map(|text| text.parse().expect("an address")).collect();
        bare_defaults::serve_lanes(&addresses);
        return ExitCode::SUCCESS;
    }
    // `cargo bench` passes `--bench`. `cargo test --benches` does not, and a short run is enough.
    let bench = arguments.iter().any(|argument| argument == "--bench");
    arguments.retain(|argument| !argument.starts_with("--"));
    let pinned = arguments.first().is_some_and(|first| first == "pinned");
    if pinned {
        arguments.remove(0);
    }
    // `scaling` measures a gate on two cores.
    let scaling = arguments.first().is_some_and(|first| first == "scaling");
    if bench && !pinned && !scaling && process::pinning() {
        return again_on_the_second_core(&arguments);
    }
    let everything = |_: Proxy| true;
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        _ if !bench => {
            compare::measure("", Extent::ONCE, Proxy::is_tested);
            lanes::measure(true);
        }
        [] => compare::measure("", Extent::FULL, everything),
        ["quick"] => compare::measure("", Extent::QUICK, everything),
        ["quick", rows] => compare::measure(rows, Extent::QUICK, everything),
        ["instructions"] => instructions::measure(""),
        ["instructions", rows] => instructions::measure(rows),
        ["lanes"] => lanes::measure(false),
        ["lanes", "instructions"] => lanes::count(""),
        ["lanes", "instructions", rows] => lanes::count(rows),
        ["scaling"] => scaling::measure(),
        ["reload"] => reload::measure(),
        [rows] => compare::measure(rows, Extent::FULL, everything),
        _ => {
            eprintln!("see benches/README.md");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Runs this program again with the client and the upstream on the second core. The proxies run on the first.
fn again_on_the_second_core(arguments: &[String]) -> ExitCode {
    let program = std::env::current_exe().expect("this program has a path");
    let status = Command::new("taskset")
        .args(["-c", "1"])
        .arg(&program)
        .arg("pinned")
        .args(arguments)
        .arg("--bench")
        .status();
    if status.expect("this program starts again").success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
