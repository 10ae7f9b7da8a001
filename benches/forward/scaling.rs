//! Do two workers forward twice as many requests as one?
//!
//! On a machine with two cores, the client takes part of both. So this mode compares the CPU time of a request with one
//! worker and with two. Contention for cache lines and spinning are CPU time. Sleep on a lock is not: neither this mode
//! nor `cargo bench --bench decide` measures it.

use crate::compare::CONNECTIONS;
use crate::compare::median;
use crate::credentials::bearer;
use crate::credentials::x_api_key;
use crate::exchange::Exchange;
use crate::gate::Gate;
use crate::gate::Setup;
use crate::load::Load;
use crate::process::ProcessLauncher;
use crate::rows::BenchInputs;
use crate::rows::Size;
use crate::table::Table;

const KEYS: usize = 2_000;
/// The rounds of a row. The first is not measured, so the medians are of 14 values.
const ROUNDS: usize = 15;
const REQUESTS: usize = 6_400;

pub fn measure() {
    let load = Load::start();
    let material = BenchInputs::new(Size {
        keys: KEYS,
        in_turn: 1,
        new_tokens: 0,
    });
    let trusted = material.peer_config(load.upstream());
    let gates = [1, 2].map(|threads| {
        let setup = Setup {
            threads,
            ..Setup::default()
        };
        Gate::start(&ProcessLauncher::AnyCore, &trusted, &setup)
    });
    let key = x_api_key(&material.keys[0]);
    let in_turn = material.keys.iter().map(|key| ("/v1/limited", x_api_key(key)));
    let mut table = Table::new(&["", "one worker, µs", "two workers, µs", "capacity"]);
    for (name, exchange) in [
        ("independent keys", Exchange::in_turn(in_turn, 200)),
        ("one hot key and its limit", Exchange::new("/v1/limited", &[key], 200)),
        (
            "one hot token and its limit",
            Exchange::new("/v1/limited", &[bearer(material.token())], 200),
        ),
    ] {
        let mut micros = [Vec::new(), Vec::new()];
        for round in 0..ROUNDS {
            for (gate, micros) in gates.iter().zip(&mut micros) {
                let mut session = load.session(gate.process.address(), CONNECTIONS);
                session.run(&exchange, CONNECTIONS);
                let before = gate.process.cpu();
                session.run(&exchange, REQUESTS);
                let spent = gate.process.cpu() - before;
                // The first round only fills caches.
                if round > 0 {
                    micros.push(spent.as_secs_f64() * 1e6 / REQUESTS as f64);
                }
            }
        }
        let [one, two] = micros.map(|micros| median(&micros));
        let cells = [one, two, 2.0 * one / two].map(|cell| format!("{cell:.2}"));
        table.row(name, &cells);
    }
    table.print();
    println!(
        "\nCPU µs per request, median of {ROUNDS} rounds, workers and client on whichever core; *capacity* is what two cores \
         of their own would do against one, if no thread slept."
    );
}
