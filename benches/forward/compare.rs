//! How much CPU time does a request through each proxy cost, and how long does the response take?

use crate::disqualify;
use crate::load::Load;
use crate::paced::percentile;
use crate::process::ProcessLauncher;
use crate::proxies::Proxy;
use crate::proxies::RunningProxy;
use crate::rows::BenchInputs;
use crate::rows::Row;
use crate::rows::Size;
use crate::table::Table;
use std::time::Duration;
use std::time::Instant;

/// The number of client connections: enough to keep one thread busy.
pub const CONNECTIONS: usize = 32;
/// Requests a second in latency rounds: far below every proxy's maximum, so that queues do not distort the result.
const RATE: u32 = 2_000;

/// The extent of a measurement.
#[derive(Clone, Copy)]
pub struct Extent {
    rounds: usize,
    requests: usize,
    /// Rounds at a fixed rate, which measure latency.
    paced_rounds: usize,
    paced_requests: u32,
}

impl Extent {
    pub const FULL: Self = Self {
        rounds: 9,
        requests: 6_400,
        paced_rounds: 4,
        paced_requests: 2_000,
    };
    pub const QUICK: Self = Self {
        rounds: 3,
        requests: 3_200,
        paced_rounds: 1,
        paced_requests: 2_000,
    };
    /// For `cargo test --benches`: shows that the bench works, and measures nothing.
    pub const ONCE: Self = Self {
        rounds: 1,
        requests: 96,
        paced_rounds: 1,
        paced_requests: 64,
    };

    fn warm_up(&self) -> usize {
        (self.requests / 4).max(CONNECTIONS)
    }

    fn size(&self) -> Size {
        if self.rounds == 1 {
            return Size::SMALL;
        }
        let paced = self.paced_rounds * self.paced_requests as usize;
        Size {
            new_tokens: self.warm_up() + self.rounds * (CONNECTIONS + self.requests) + paced,
            ..Size::FULL
        }
    }
}

/// The measurements of one row.
#[derive(Default)]
struct Measurement {
    /// Requests a second, per round.
    throughput: Vec<f64>,
    /// CPU time per request in microseconds, per round; empty for [`Proxy::Direct`].
    micros: Vec<f64>,
    latencies: Vec<Duration>,
    resident_bytes: u64,
    lets_through: Vec<&'static str>,
}

/// Measures and prints the rows whose names contain `filter`, of the proxies that `wanted` selects. Always measures
/// `direct` and bare pingora too, as reference.
pub fn measure(filter: &str, extent: Extent, wanted: fn(Proxy) -> bool) {
    let load = Load::start();
    let material = BenchInputs::new(extent.size());
    let mut rows = material.rows(filter);
    rows.retain(|row| wanted(row.proxy));
    let running = start_all(&load, &material, &rows);
    rows.retain(|row| running.iter().any(|(proxy, _)| *proxy == row.proxy));
    let of = |row: &Row| {
        let started = running.iter().find(|(proxy, _)| *proxy == row.proxy);
        &started.expect("rows of proxies that are not there are gone").1
    };
    let address = |row: &Row| of(row).address(row.checks);

    let mut measured: Vec<Measurement> = rows.iter().map(|_| Measurement::default()).collect();
    for (row, measured) in rows.iter().zip(&mut measured) {
        let bad = disqualify::bad(&material, row.checks);
        measured.lets_through = disqualify::lets_through(&load, address(row), &bad);
        // Fill the caches. This also spends the limit of the row that measures 429.
        let mut session = load.session(address(row), CONNECTIONS);
        session.warm_up(&row.exchange, row.exchange.warm_up_size(extent.warm_up()));
    }
    for round in 0..extent.rounds {
        for place in 0..rows.len() {
            // Each round begins with another row: the machine's other load does not always hit the same row.
            let place = (place + round) % rows.len();
            let (row, measured) = (&rows[place], &mut measured[place]);
            let mut session = load.session(address(row), CONNECTIONS);
            session.run(&row.exchange, CONNECTIONS);
            let before = of(row).process().map(|process| process.cpu());
            let begun = Instant::now();
            session.run(&row.exchange, extent.requests);
            let requests = extent.requests as f64;
            measured.throughput.push(requests / begun.elapsed().as_secs_f64());
            if let (Some(process), Some(before)) = (of(row).process(), before) {
                let spent = process.cpu() - before;
                measured.micros.push(spent.as_secs_f64() * 1e6 / requests);
            }
        }
    }
    for round in 0..extent.paced_rounds {
        for place in 0..rows.len() {
            let place = (place + round) % rows.len();
            let (row, measured) = (&rows[place], &mut measured[place]);
            let mut session = load.session(address(row), CONNECTIONS);
            let durations = session.paced(&row.exchange, RATE, extent.paced_requests);
            measured.latencies.extend(durations);
        }
    }
    for (row, measured) in rows.iter().zip(&mut measured) {
        measured.resident_bytes = of(row).process().map_or(0, |process| process.resident_bytes());
    }
    if extent.rounds > 1 {
        print_table(&rows, measured, extent);
    }
}

fn start_all(load: &Load, material: &BenchInputs, rows: &[Row]) -> Vec<(Proxy, RunningProxy)> {
    let wanted = Proxy::ALL
        .into_iter()
        .filter(|proxy| rows.iter().any(|row| row.proxy == *proxy));
    let started = wanted.filter_map(|proxy| {
        match RunningProxy::start(proxy, &ProcessLauncher::FirstCore, load.upstream(), material) {
            Ok(running) => Some((proxy, running)),
            Err(why) => {
                println!("{why}\n");
                None
            }
        }
    });
    let started: Vec<(Proxy, RunningProxy)> = started.collect();
    for (_, running) in &started {
        // Another proxy that passes a bad request is disqualified. A Keygate that does has a defect: end the bench.
        if let RunningProxy::Keygate(gate) = running {
            let bad = [disqualify::bad_keys(material), disqualify::bad_tokens(material)].concat();
            let passed = disqualify::lets_through(load, gate.process.address(), &bad);
            assert!(passed.is_empty(), "Keygate lets through {}", passed.join(", "));
        }
    }
    started
}

fn print_table(rows: &[Row], measured: Vec<Measurement>, extent: Extent) {
    let head = [
        "",
        "requests/s",
        "CPU µs",
        "min",
        "max",
        "ratio",
        "p50 µs",
        "p99 µs",
        "MiB",
    ];
    let mut table = Table::new(&head);
    let bare = rows.iter().position(|row| row.proxy == Proxy::Bare);
    let bare = bare.map_or_else(Vec::new, |bare| measured[bare].micros.clone());
    let mut notes = Vec::new();
    for (row, mut measured) in rows.iter().zip(measured) {
        let micros = &measured.micros;
        let mut cells = vec![format!("{:.0}", median(&measured.throughput))];
        if micros.is_empty() {
            cells.extend(std::iter::repeat_n("-".to_owned(), 4));
        } else {
            let ratios: Vec<f64> = micros.iter().zip(&bare).map(|(spent, bare)| spent / bare).collect();
            let min = micros.iter().copied().fold(f64::MAX, f64::min);
            let max = micros.iter().copied().fold(0.0, f64::max);
            cells.extend([median(micros), min, max].map(|micros| format!("{micros:.1}")));
            cells.push(format!("{:.2}", median(&ratios)));
        }
        for of_hundred in [50.0, 99.0] {
            let latency = percentile(&mut measured.latencies, of_hundred);
            cells.push(format!("{}", latency.as_micros()));
        }
        match measured.resident_bytes {
            0 => cells.push("-".to_owned()),
            bytes => cells.push(format!("{:.0}", bytes as f64 / f64::from(1 << 20))),
        }
        match measured.lets_through[..] {
            [] => table.row(row.name, &cells),
            _ => {
                table.row(&format!("DISQUALIFIED {}", row.name), &cells);
                notes.push(format!(
                    "{} lets through: {}.",
                    row.name,
                    measured.lets_through.join(", ")
                ));
            }
        }
    }
    table.print();
    for note in notes {
        println!("\n{note}");
    }
    println!(
        "\nMedian of {} rounds of {} requests over {CONNECTIONS} connections; *ratio* is CPU time to bare pingora's in the \
         same round. p50 and p99 at {RATE} requests/s, from when each was due.",
        extent.rounds, extent.requests
    );
}

pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
