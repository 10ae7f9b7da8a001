//! A real browser: headless Chromium, which runs the script of a page and sends its results to the upstream of the test.

use crate::support::FakeUpstream;
use crate::support::poll;
use std::fmt::Write as _;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

/// The target to which a page sends its results.
pub const REPORT: &str = "/report";
/// The time that a browser gets for its start and a page, beside other tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running browser. Dropping it ends the browser.
pub struct Browser {
    process: Child,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Opens `url`. Any certificate is accepted: tests of certificates use other clients.
    ///
    /// # Panics
    /// Chromium is not installed; `tests/run --setup` installs it.
    pub fn open(url: &str) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut command = Command::new("chromium");
        command
            .args(["--headless", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ])
            // Chromium's own sandbox does not start for root, nor in most containers. The pages are the test's.
            .args(["--no-sandbox", "--ignore-certificate-errors"])
            // Containers have little shared memory.
            .arg("--disable-dev-shm-usage")
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(url)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = command
            .spawn()
            .unwrap_or_else(|error| panic!("chromium: {error}; tests/run --setup installs it"));
        Self {
            process,
            _profile: profile,
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns an HTML page that runs `script`, the body of an asynchronous function, and sends what it returns as JSON to
/// [`REPORT`]; `{ "failed": … }` if it throws.
pub fn page(script: &str) -> String {
    let mut page = String::from("<!doctype html><meta charset=\"utf-8\"><title>Test</title><script>\n");
    let _ = write!(
        page,
        "async function run() {{\n{script}\n}}\n\
         run().catch(error => ({{ failed: String(error) }}))\n\
         .then(result => fetch({REPORT:?}, {{ method: 'POST', body: JSON.stringify(result) }}));\n</script>"
    );
    page
}

/// Opens `url`, waits until its page has sent its results to `upstream`, and returns them.
#[track_caller]
pub fn run_page(url: &str, upstream: &FakeUpstream) -> serde_json::Value {
    let _browser = Browser::open(url);
    let report = poll(PATIENCE, || {
        let received = upstream.received();
        received.into_iter().find(|request| request.target() == REPORT)
    });
    let report = report.unwrap_or_else(|| panic!("no results; the upstream received {:#?}", upstream.received()));
    serde_json::from_slice(&report.body).unwrap()
}
