//! Is a quota of a day or longer still spent after a restart? The counts are in the store.

use crate::operate::get;
use crate::support::Binary;
use crate::support::GatewayBuilder;

fn config(store: &str) -> String {
    let route = |limit: &str| format!("match: {{ path: /{limit} }}\npublic: true\nlimits: [{limit}]\nupstream: echo");
    let limits = [
        ("monthly", "by: ip\nquota: 2/month"),
        ("fixed", "by: ip\nquota: 2/month\nwindow: fixed"),
        ("hourly", "by: ip\nquota: 2/hour"),
    ];
    let gateway = limits.iter().fold(GatewayBuilder::new(), |gateway, (name, yaml)| {
        gateway.limit(name, yaml).route(name, &route(name))
    });
    format!("{}{store}", gateway.upstream_with("echo", "builtin: echo").yaml())
}

#[track_caller]
fn check(gate: &Binary, path: &str, statuses: &[u16]) {
    let got: Vec<u16> = statuses.iter().map(|_| get(gate.data(), path, &[]).status).collect();
    assert_eq!(got, statuses, "{path}");
}

#[test]
fn a_quota_of_a_month_stays_spent_over_restarts() {
    let mut gate = Binary::start(&config("store: { path: keygate.db }\n"));
    check(&gate, "/hourly", &[200, 200, 429]);
    // One request before each start.
    for _ in 0..2 {
        check(&gate, "/monthly", &[200]);
        check(&gate, "/fixed", &[200]);
        gate = Binary::start_in(gate.stop(), &[]);
    }
    check(&gate, "/monthly", &[429]);
    check(&gate, "/fixed", &[429]);
    check(&gate, "/hourly", &[200, 200, 429]);
    assert_eq!(gate.metric("keygate_limit_buckets{limit=\"monthly\"}"), 1.0);
}

#[test]
fn counts_that_cannot_be_read_stop_the_start() {
    let gate = Binary::start(&config("store: { path: keygate.db }\n"));
    check(&gate, "/monthly", &[200]);
    let folder = gate.stop();
    let database = folder.path().join("keygate.db");
    let changed = std::process::Command::new("python3")
        .args(["-c", "import sqlite3, sys\nwith sqlite3.connect(sys.argv[1]) as db: db.execute(\"update limit_counts set buckets = x'00'\")"])
        .arg(&database)
        .status()
        .expect("tests/run installs python3");
    assert!(changed.success());
    let output = std::process::Command::new(crate::support::program())
        .arg("run")
        .arg("--config")
        .arg(folder.path().join("keygate.yaml"))
        .output()
        .unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("the counts of limit `fixed` in the store cannot be read: they are cut"),
        "{text}"
    );
}
