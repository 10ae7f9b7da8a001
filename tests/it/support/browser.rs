//! A real browser: headless Chromium, which runs the script of a page and sends its results to the upstream of the test,
//! or whose page the test drives.

use crate::support::FakeUpstream;
use crate::support::poll;
use serde_json::Value;
use serde_json::json;
use std::fmt::Write as _;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write as _;
use std::path::Path;
use std::process::Child;
use std::process::ChildStdin;
use std::process::Command;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
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
        let mut command = Command::new("chromium");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Self::start(command, url)
    }

    fn start(mut command: Command, url: &str) -> Self {
        let profile = tempfile::tempdir().unwrap();
        command.args(arguments(profile.path())).arg(url).stderr(Stdio::null());
        let process = command
            .spawn()
            .unwrap_or_else(|error| panic!("chromium: {error}; tests/run --setup installs it"));
        Self {
            process,
            _profile: profile,
        }
    }
}

fn arguments(profile: &Path) -> Vec<String> {
    let fixed = [
        "--headless",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        // Chromium's own sandbox does not start for root, nor in most containers. The pages are the test's.
        "--no-sandbox",
        "--ignore-certificate-errors",
        // Containers have little shared memory.
        "--disable-dev-shm-usage",
    ];
    let profile = format!("--user-data-dir={}", profile.display());
    fixed.map(str::to_owned).into_iter().chain([profile]).collect()
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

/// A tab of a browser of its own, which the test drives with the DevTools protocol.
pub struct Tab {
    commands: ChildStdin,
    messages: mpsc::Receiver<Value>,
    session: Value,
    last_id: u64,
    requested: Vec<String>,
    _browser: Browser,
}

impl Tab {
    /// Opens `url`, after `script` was run in the new document.
    ///
    /// # Panics
    /// Chromium is not installed, or does not answer in time.
    #[track_caller]
    pub fn open(url: &str, script: &str) -> Self {
        // Chromium reads commands from descriptor 3 and writes messages to 4.
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                "exec chromium \"$@\" 3<&0 4>&1 >/dev/null",
                "sh",
                "--remote-debugging-pipe",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut browser = Browser::start(command, "about:blank");
        let commands = browser.process.stdin.take().unwrap();
        let mut output = BufReader::new(browser.process.stdout.take().unwrap());
        let (sender, messages) = mpsc::channel();
        thread::spawn(move || {
            let mut message = Vec::new();
            while output.read_until(0, &mut message).is_ok_and(|length| length > 0) {
                let Some(text) = message.strip_suffix(b"\0") else {
                    return;
                };
                if sender.send(serde_json::from_slice(text).unwrap()).is_err() {
                    return;
                }
                message.clear();
            }
        });
        let mut tab = Self {
            commands,
            messages,
            session: Value::Null,
            last_id: 0,
            requested: Vec::new(),
            _browser: browser,
        };
        let target = tab.call("Target.createTarget", json!({ "url": "about:blank" }))["targetId"].clone();
        let attached = tab.call("Target.attachToTarget", json!({ "targetId": target, "flatten": true }));
        tab.session = attached["sessionId"].clone();
        tab.call("Network.enable", json!({}));
        tab.call("Page.enable", json!({}));
        tab.call("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script }));
        tab.call("Page.navigate", json!({ "url": url }));
        tab
    }

    /// Returns the result of a command, which must succeed.
    #[track_caller]
    fn call(&mut self, method: &str, parameters: Value) -> Value {
        let message = self.ask(method, parameters);
        assert!(message.get("error").is_none(), "{method}: {message}");
        message["result"].clone()
    }

    /// Returns the response to a command. Notes requests of the page that are told meanwhile.
    #[track_caller]
    fn ask(&mut self, method: &str, parameters: Value) -> Value {
        self.last_id += 1;
        let mut command = json!({ "id": self.last_id, "method": method, "params": parameters });
        if !self.session.is_null() {
            command["sessionId"] = self.session.clone();
        }
        write!(self.commands, "{command}\0").unwrap();
        loop {
            let message = self.messages.recv_timeout(PATIENCE);
            let message = message.unwrap_or_else(|error| panic!("chromium does not answer {method}: {error}"));
            if message["id"] == self.last_id {
                return message;
            }
            if message["method"] == "Network.requestWillBeSent" {
                let url = message["params"]["request"]["url"].as_str().unwrap();
                self.requested.push(url.to_owned());
            }
        }
    }

    /// Returns the response to the evaluation of `expression` in the page.
    #[track_caller]
    fn response(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "returnByValue": true });
        self.ask("Runtime.evaluate", parameters)
    }

    /// Returns the value of `expression` in the page.
    ///
    /// # Panics
    /// When the expression throws.
    #[track_caller]
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let response = self.response(expression);
        let result = &response["result"];
        assert!(
            result.is_object() && result.get("exceptionDetails").is_none(),
            "{expression}: {response}"
        );
        result["result"]["value"].clone()
    }

    /// Evaluates `expression` until it is neither `false` nor `null` and does not throw, and returns its value.
    #[track_caller]
    pub fn wait_for(&mut self, expression: &str) -> Value {
        let found = poll(PATIENCE, || {
            // A page that is about to be replaced by another cannot evaluate anything.
            let value = self.response(expression)["result"]["result"]["value"].take();
            (!value.is_null() && value != false && !value.is_object()).then_some(value)
        });
        found.unwrap_or_else(|| {
            let last = self.response(expression);
            let text = self.response("document.body.innerText");
            panic!("{expression} does not come: {last}; the page is {text}")
        })
    }

    /// Returns the URLs that the page asked for.
    pub fn requested(&self) -> &[String] {
        &self.requested
    }
}
