//! What does a request through Keygate cost, beside the same request through bare pingora?
//!
//! `cargo bench --bench forward`. Both proxies run in processes of their own, with one worker thread each, between a
//! client and an upstream in this one. The proxies take turns, round by round, so that a busy machine is unfair to all of
//! them alike. CPU time is what the kernel says the proxy's threads ran.

mod bare;
mod gate;
mod load;
mod process;

use load::Exchange;
use load::Load;
use process::Process;
use std::process::Command;
use std::process::ExitCode;
use std::process::Stdio;

/// Connections the client holds; enough to keep one thread busy.
const CONNECTIONS: usize = 32;
const ROUNDS: usize = 7;
const REQUESTS: usize = 8_000;

/// One line of the table.
struct Row<'a> {
    name: &'static str,
    process: &'a Process,
    exchange: Exchange,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["bare", upstream] => bare::serve(upstream.parse().expect("an address")),
        ["measure", rows] => measure(rows, ROUNDS, REQUESTS),
        // As `cargo bench` calls it, perhaps with a part of the rows' names; without `--bench` it is
        // `cargo test --benches`, which only wants to see it run.
        ["--bench"] => return measure_on_a_core_of_its_own(""),
        [rows, "--bench"] => return measure_on_a_core_of_its_own(rows),
        _ => measure("", 1, 200),
    }
    ExitCode::SUCCESS
}

/// The client stays on one core and the proxies on another, where there are two and `taskset` is there to say so.
fn measure_on_a_core_of_its_own(rows: &str) -> ExitCode {
    let program = std::env::current_exe().expect("this program has a path");
    let pinned = process::pinning().then(|| {
        Command::new("taskset")
            .args(["-c", "1"])
            .arg(&program)
            .args(["measure", rows])
            .status()
    });
    let status = match pinned {
        Some(status) => status,
        None => Command::new(&program).args(["measure", rows]).status(),
    };
    match status.expect("this program starts again").success() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn measure(asked: &str, rounds: usize, requests: usize) {
    let load = Load::start(CONNECTIONS);
    let bare = bare::start(load.upstream());
    let one = gate::Gate::start(load.upstream(), 1);
    let many = gate::Gate::start(load.upstream(), 10_000);

    let mut rows = vec![
        Row {
            name: "bare pingora",
            process: &bare,
            exchange: Exchange::new("/v1/open", &[], 200),
        },
        Row {
            name: "keygate: public route",
            process: &one.process,
            exchange: Exchange::new("/v1/open", &[], 200),
        },
        Row {
            name: "keygate: API key",
            process: &one.process,
            exchange: Exchange::new("/v1/orders/7", &[one.api_key()], 200),
        },
        Row {
            name: "keygate: API key, limit of 1 000 000/s",
            process: &one.process,
            exchange: Exchange::new("/v1/limited", &[one.api_key()], 200),
        },
        Row {
            name: "keygate: API key among 10 000",
            process: &many.process,
            exchange: Exchange::new("/v1/orders/7", &[many.api_key()], 200),
        },
        Row {
            name: "keygate: RS256 token, remembered",
            process: &one.process,
            exchange: Exchange::new("/v1/orders/7", &[one.token()], 200),
        },
        Row {
            name: "keygate: 401, no credential",
            process: &one.process,
            exchange: Exchange::new("/v1/orders/7", &[], 401),
        },
        Row {
            name: "keygate: 403, scope missing",
            process: &one.process,
            exchange: Exchange::new("/v1/admin", &[one.api_key()], 403),
        },
        Row {
            name: "keygate: 429, limit spent",
            process: &one.process,
            exchange: Exchange::new("/v1/spent", &[one.api_key()], 429),
        },
        Row {
            name: "keygate: 400, two credentials",
            process: &one.process,
            exchange: Exchange::new("/v1/orders/7", &[one.api_key(), one.token()], 400),
        },
    ];

    // The first row is what the others are compared with.
    let mut first = true;
    rows.retain(|row| std::mem::take(&mut first) || row.name.contains(asked));
    // Caches fill, connections to the upstream open, and the limit that is to be spent is spent.
    for row in &rows {
        load.warm_up(row.process.address(), &row.exchange, requests / 4);
    }
    let mut micros: Vec<Vec<f64>> = vec![Vec::new(); rows.len()];
    for round in 0..rounds {
        for place in 0..rows.len() {
            // Each round begins with another row.
            let place = (place + round) % rows.len();
            let row = &rows[place];
            let before = row.process.cpu();
            load.run(row.process.address(), &row.exchange, requests);
            let spent = row.process.cpu() - before;
            micros[place].push(spent.as_secs_f64() * 1e6 / requests as f64);
        }
    }
    // One round proves that it runs, and nothing about speed.
    if rounds > 1 {
        print_table(&rows, &micros, requests);
    }
}

fn print_table(rows: &[Row<'_>], micros: &[Vec<f64>], requests: usize) {
    println!(
        "| {:40} | {:>7} | {:>7} | {:>7} | {:>7} |",
        "", "median", "min", "max", "ratio"
    );
    println!(
        "| {:-<40} | {:->6}: | {:->6}: | {:->6}: | {:->6}: |",
        "", "", "", "", ""
    );
    for (row, spent) in rows.iter().zip(micros) {
        let ratios = spent.iter().zip(&micros[0]).map(|(spent, bare)| spent / bare).collect();
        let (min, max) = spent.iter().fold((f64::MAX, 0.0_f64), |(min, max), micros| {
            (min.min(*micros), max.max(*micros))
        });
        println!(
            "| {:40} | {:>7.1} | {min:>7.1} | {max:>7.1} | {:>7.2} |",
            row.name,
            median(spent.clone()),
            median(ratios)
        );
    }
    println!(
        "\nCPU µs per request of the proxy process; ratio to bare pingora in the same round, median of {} rounds of {requests} \
         requests over {CONNECTIONS} connections.",
        micros[0].len()
    );
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// This program again, in another role.
fn again(role: &[&str]) -> Command {
    let program = std::env::current_exe().expect("this program has a path");
    let mut command = process::on_core_0(&program);
    command.args(role).stdin(Stdio::null());
    command
}
