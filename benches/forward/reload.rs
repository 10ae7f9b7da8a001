//! Do ten reloads of the configuration a second delay requests?

use crate::compare::CONNECTIONS;
use crate::credentials::x_api_key;
use crate::exchange::Exchange;
use crate::gate::Gate;
use crate::gate::Setup;
use crate::load::Load;
use crate::paced::percentile;
use crate::process::ProcessLauncher;
use crate::rows::BenchInputs;
use crate::rows::Size;
use crate::table::Table;
use std::io::Write;
use std::process::Child;
use std::process::ChildStdin;
use std::process::Stdio;
use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

const ROUTES: usize = 1_000;
const EVERY: Duration = Duration::from_millis(100);
/// Requests a second.
const RATE: u32 = 2_000;
/// Requests in one window. Windows with reloads and windows without take turns.
const WINDOW: u32 = 6_000;
const WINDOWS: usize = 5;

pub fn measure() {
    let load = Load::start();
    let material = BenchInputs::new(Size {
        keys: 100,
        in_turn: 1,
        new_tokens: 0,
    });
    let trusted = material.peer_config(load.upstream());
    let setup = Setup {
        routes: ROUTES,
        ..Setup::default()
    };
    let gate = Gate::start(&ProcessLauncher::FirstCore, &trusted, &setup);
    let mut reloads = Reloads::of(&gate);
    let exchange = Exchange::new("/v1/orders/7", &[x_api_key(&material.keys[0])], 200);
    let mut session = load.session(gate.process.address(), CONNECTIONS);
    session.run(&exchange, 3_200);

    let (mut quiet, mut busy) = (Vec::new(), Vec::new());
    let (mut reloaded, mut cpu_quiet, mut cpu_busy) = (0, Duration::ZERO, Duration::ZERO);
    for _ in 0..WINDOWS {
        let begun = gate.process.cpu();
        quiet.extend(session.paced(&exchange, RATE, WINDOW));
        let (between, before) = (gate.process.cpu(), gate.process.reloads());
        reloads.during(&gate, || busy.extend(session.paced(&exchange, RATE, WINDOW)));
        reloaded += gate.process.reloads() - before;
        cpu_quiet += between - begun;
        cpu_busy += gate.process.cpu() - between;
    }
    let mut table = Table::new(&["", "p50 µs", "p99 µs", "p99.9 µs"]);
    let mut row = |name: &str, latencies: &mut [Duration]| {
        let cells = [50.0, 99.0, 99.9].map(|of_hundred| percentile(latencies, of_hundred).as_micros());
        table.row(name, &cells.map(|micros| micros.to_string()));
    };
    row("without a reload", &mut quiet);
    row("ten reloads a second", &mut busy);
    table.print();
    let seconds = f64::from(WINDOW) / f64::from(RATE) * WINDOWS as f64;
    println!(
        "\nAn API key at {RATE} requests/s, from when each was due; {ROUTES} routes, {:.1} reloads a second in fact, of {:.1} ms \
         CPU time each. Ratio of p99: {:.2}. All threads of Keygate share one core: a reload's is not the requests', but takes \
         its time from them.",
        reloaded as f64 / seconds,
        cpu_busy.saturating_sub(cpu_quiet).as_secs_f64() * 1e3 / reloaded.max(1) as f64,
        percentile(&mut busy, 99.0).as_secs_f64() / percentile(&mut quiet, 99.0).as_secs_f64(),
    );
}

/// A shell that sends SIGHUP for each line of its stdin. Starting a process for each signal would load a measured core.
struct Reloads {
    shell: Child,
    stdin: ChildStdin,
}

impl Reloads {
    fn of(gate: &Gate) -> Self {
        let mut command = ProcessLauncher::FirstCore.command("sh");
        command
            .args(["-c", "while read line; do kill -HUP \"$1\"; done", "sh"])
            .arg(gate.process.id().to_string())
            .stdin(Stdio::piped());
        let mut shell = command.spawn().expect("there is a shell");
        let stdin = shell.stdin.take().expect("it is piped");
        Self { shell, stdin }
    }

    /// Reloads a changed configuration every [`EVERY`] while `work` runs.
    fn during(&mut self, gate: &Gate, work: impl FnOnce()) {
        let (end, ended) = mpsc::channel::<()>();
        let stdin = &mut self.stdin;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut number = 0;
                while ended
                    .recv_timeout(EVERY)
                    .is_err_and(|error| error == RecvTimeoutError::Timeout)
                {
                    gate.change_configuration(number);
                    writeln!(stdin, "again").expect("the shell reads");
                    number += 1;
                }
            });
            work();
            drop(end);
        });
    }
}

impl Drop for Reloads {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}
