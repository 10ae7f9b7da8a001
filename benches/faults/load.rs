//! What does wrk, which is not ours, see? It counts what it gets in place of a good response, and connects again.

use serde_json::Value;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

const CONNECTIONS: u32 = 40;

/// Paces each connection to ten requests a second, and prints the sums as JSON.
const SCRIPT: &str = r#"
function delay() return 100 end
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"connect":%d,"read":%d,"write":%d,"timeout":%d,"status":%d,"p99":%d,"max":%d}\n',
    summary.requests, errors.connect, errors.read, errors.write, errors.timeout, errors.status,
    latency:percentile(99), latency.max))
end
"#;

pub fn is_installed() -> bool {
    let version = Command::new("wrk").arg("-v").stdout(Stdio::null()).status();
    version.is_ok()
}

/// A running wrk.
pub struct Load(Child);

impl Load {
    /// Sends about 400 requests a second to `address`, over 40 connections of HTTP/1.1, for `time`.
    pub fn start(address: SocketAddr, time: Duration, folder: &Path) -> Self {
        let script = folder.join("paced.lua");
        std::fs::write(&script, SCRIPT).expect("a file");
        let child = Command::new("wrk")
            .args(["-t1", "-c", &CONNECTIONS.to_string()])
            .arg(format!("-d{}s", time.as_secs()))
            .arg("-s")
            .arg(script)
            .arg(format!("http://{address}/orders"))
            .stdout(Stdio::piped())
            .spawn()
            .expect("wrk starts");
        Self(child)
    }

    /// Waits for the end, and returns the row without the time of the last failure.
    pub fn finish(self) -> Row {
        let output = self.0.wait_with_output().expect("wrk ends");
        let text = String::from_utf8_lossy(&output.stdout);
        let sums = text.lines().find_map(|line| serde_json::from_str::<Value>(line).ok());
        let Some(sums) = sums.filter(Value::is_object) else {
            panic!("wrk wrote:\n{text}");
        };
        let number = |name: &str| sums[name].as_u64().expect("a number");
        let unanswered = ["connect", "read", "write", "timeout"].map(number).iter().sum::<u64>();
        Row {
            requests: number("requests") + unanswered,
            failed: number("status") + unanswered,
            p99: Duration::from_micros(number("p99")),
            longest: Duration::from_micros(number("max")),
            last_failure: None,
        }
    }
}

/// A row of the table.
pub struct Row {
    pub requests: u64,
    failed: u64,
    p99: Duration,
    longest: Duration,
    /// Since the moment from which on some endpoint serves.
    pub last_failure: Option<Duration>,
}

impl fmt::Display for Row {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |time: Duration| time.as_secs_f64() * 1000.0;
        let last = self.last_failure.map(|time| format!("{:.2}", time.as_secs_f64()));
        write!(
            out,
            "| {:8} | {:6} | {:6.1} | {:10.0} | {:14} |",
            self.requests,
            self.failed,
            millis(self.p99),
            millis(self.longest),
            last.as_deref().unwrap_or("-"),
        )
    }
}
