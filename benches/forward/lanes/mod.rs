//! What does a request cost on each lane: HTTP/1.1 and HTTP/2, with and without TLS, gRPC, and a TLS handshake? Beside bare
//! pingora and other gateways with the same certificate and protocol, in turn, in one run.

mod proxies;
mod traffic;
mod upstreams;

use crate::credentials;
use crate::instructions::Counter;
use crate::instructions::callgrind_folder;
use crate::process::ProcessLauncher;
use crate::table::Table;
use proxies::LaneInputs;
use proxies::LaneProxy;
use std::net::SocketAddr;
use tokio::runtime::Runtime;
use traffic::AT_ONCE;
use traffic::Amount;
use traffic::Client;
use traffic::Protocol;
use traffic::Row;

/// The rounds of each row; the table has their median.
const ROUNDS: usize = 11;
/// The amount of a round.
const FULL: Amount = Amount {
    on_each: 100,
    handshakes: 300,
};
/// The amount of a run that only shows that the bench works.
const SHORT: Amount = Amount {
    on_each: 10,
    handshakes: 3,
};
/// The amount between two counts of instructions, and the same before the first.
const COUNTED: Amount = Amount {
    on_each: 20,
    handshakes: 50,
};
/// The connections that stand idle while memory is read.
const IDLE: usize = 1_000;
const IDLE_SHORT: usize = 10;

/// The upstreams and the credentials of a run.
struct Bench {
    runtime: Runtime,
    http1: SocketAddr,
    http2: SocketAddr,
    issuer: credentials::Issuer,
    keys: Vec<String>,
    token: String,
}

impl Bench {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a thread can run tasks");
        let (http1, http2) =
            runtime.block_on(async { (upstreams::start_http1().await, upstreams::start_http2().await) });
        let issuer = credentials::Issuer::new();
        Self {
            runtime,
            http1,
            http2,
            keys: credentials::api_keys(10_000),
            token: credentials::tokens(&issuer.rs256, 0..1).remove(0),
            issuer,
        }
    }

    fn inputs(&self) -> LaneInputs<'_> {
        LaneInputs {
            http1: self.http1,
            http2: self.http2,
            issuer: &self.issuer,
            keys: &self.keys,
            token: &self.token,
        }
    }
}

/// Prints the processor time of a request in each row, and the memory of idle connections.
pub fn measure(is_short: bool) {
    let (rounds, amount, idle) = if is_short {
        (1, SHORT, IDLE_SHORT)
    } else {
        (ROUNDS, FULL, IDLE)
    };
    let bench = Bench::new();
    let mut running = Vec::new();
    for proxy in LaneProxy::ALL {
        if is_short && !proxy.is_tested() {
            continue;
        }
        match proxy.start(&ProcessLauncher::FirstCore, &bench.inputs()) {
            Ok(started) => running.push((proxy, started)),
            Err(why) => println!("{why}\n"),
        }
    }
    let rows = || {
        running
            .iter()
            .flat_map(|(_, started)| started.rows.iter().map(|row| (&started.process, row)))
    };
    let mut clients: Vec<Client> = rows().map(|(_, row)| bench.runtime.block_on(row.open())).collect();
    let mut times = vec![Vec::new(); clients.len()];
    // In turn, so that a change of the machine's speed is in every row.
    for round in 0..=rounds {
        for (((process, row), client), times) in rows().zip(&mut clients).zip(&mut times) {
            let before = process.cpu();
            let requests = bench.runtime.block_on(row.send(client, amount));
            let took = process.cpu().saturating_sub(before);
            // The first round fills caches and pools.
            if round > 0 {
                times.push(took.as_nanos() as f64 / requests as f64 / 1_000.0);
            }
        }
    }
    let measured: Vec<(&Row, Vec<f64>)> = rows().map(|(_, row)| row).zip(times).collect();
    print(&measured, "CPU µs", 1);
    println!(
        "\n{} requests a round, {AT_ONCE} at a time: on as many connections of HTTP/1.1, or on one of HTTP/2, which stay \
         open; {} handshakes; the median of {rounds} rounds. Ratio to the first row of the protocol, in the same round.\n",
        AT_ONCE * amount.on_each,
        amount.handshakes
    );
    drop(clients);
    let mut table = Table::new(&["", "KiB for an idle connection"]);
    // Kept to the end: memory that a row gives back would be that of the next.
    let mut kept = Vec::new();
    for (_, started) in running.iter().filter(|(proxy, _)| *proxy == LaneProxy::Keygate) {
        for row in &started.rows {
            if matches!(
                row.protocol,
                Protocol::Grpc | Protocol::Handshake | Protocol::Resumption
            ) {
                continue;
            }
            let before = started.process.resident_bytes();
            kept.push(bench.runtime.block_on(row.open_connections(idle)));
            let grown = started.process.resident_bytes().saturating_sub(before);
            let each = grown as f64 / idle as f64 / 1024.0;
            table.row(&title(row), &[format!("{each:.1}")]);
        }
    }
    table.print();
}

/// Counts the instructions of one request of each row, and prints the counts. Leaves out rows whose titles do not contain
/// `filter`.
pub fn count(filter: &str) {
    let Some(folder) = callgrind_folder() else {
        return;
    };
    let bench = Bench::new();
    let mut counts: Vec<(Row, Vec<f64>)> = Vec::new();
    for proxy in LaneProxy::ALL {
        let files = folder.join(format!("lanes-{proxy:?}"));
        let started = match proxy.start(&ProcessLauncher::Callgrind(files.clone()), &bench.inputs()) {
            Ok(started) => started,
            Err(why) => {
                println!("{why}\n");
                continue;
            }
        };
        let mut counter = Counter::new(started.process.id(), &files);
        for row in started.rows {
            let title = title(&row);
            if !title.contains(filter) {
                continue;
            }
            let mut client = bench.runtime.block_on(row.open());
            bench.runtime.block_on(row.send(&mut client, COUNTED));
            counter.take(None);
            let requests = bench.runtime.block_on(row.send(&mut client, COUNTED));
            let count = counter.take(Some(&title)) as f64 / requests as f64;
            // Show progress, because the bench takes minutes.
            eprintln!("{title}: {count:.0}");
            counts.push((row, vec![count]));
        }
    }
    let counted: Vec<(&Row, Vec<f64>)> = counts.iter().map(|(row, count)| (row, count.clone())).collect();
    print(&counted, "instructions", 0);
    println!(
        "\nUser-space instructions per request of the whole proxy process, over {} requests, {AT_ONCE} at a time, or {} \
         handshakes, counted by valgrind. Ratio to the first row of the protocol.\n\
         What they were spent on: callgrind_annotate on the files in {}",
        AT_ONCE * COUNTED.on_each,
        COUNTED.handshakes,
        folder.display()
    );
}

fn title(row: &Row) -> String {
    format!("{}, {}", row.protocol.name(), row.name)
}

/// Prints the median of each row's figures by protocol, and that of their ratios to the first row of the protocol.
fn print(rows: &[(&Row, Vec<f64>)], unit: &str, decimals: usize) {
    let mut table = Table::new(&["", unit, "ratio"]);
    for protocol in Protocol::ALL {
        let mut of_protocol = rows.iter().filter(|(row, _)| row.protocol == protocol).peekable();
        let Some((_, first)) = of_protocol.peek() else {
            continue;
        };
        for (row, figures) in of_protocol {
            let ratios = figures.iter().zip(first).map(|(figure, first)| figure / first);
            let (figure, ratio) = (median(figures.iter().copied()), median(ratios));
            table.row(&title(row), &[format!("{figure:.decimals$}"), format!("{ratio:.2}")]);
        }
    }
    table.print();
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = figures.collect();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
