//! The real program in a folder of its own, with all its output collected.

use super::PATIENCE;
use super::RawClient;
use super::Response;
use super::raw_client;
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::time::Duration;

/// A running `keygate run`. Killed when dropped.
pub struct Binary {
    child: Child,
    folder: Option<tempfile::TempDir>,
    shared: Arc<SharedOutput>,
    data: SocketAddr,
    admin: SocketAddr,
}

/// The output of the program so far.
#[derive(Default)]
struct SharedOutput {
    output: Mutex<Output>,
    grown: Condvar,
}

#[derive(Default)]
struct Output {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    /// How many of the two pipes are closed.
    closed: u8,
}

impl Binary {
    /// Starts the program with `config` and waits until its log names the addresses.
    #[track_caller]
    pub fn start(config: &str) -> Self {
        Self::start_with(config, &[])
    }

    /// Starts the program. `files` are names and contents, written beside the configuration file.
    ///
    /// # Panics
    /// With all output, when the program ends or does not report its addresses in time.
    #[track_caller]
    pub fn start_with(config: &str, files: &[(&str, &str)]) -> Self {
        Self::start_with_env(config, files, &[])
    }

    /// Starts the program with `files` and with `variables` in its environment.
    #[track_caller]
    pub fn start_with_env(config: &str, files: &[(&str, &str)], variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            // Private keys are refused when others can read them.
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        std::fs::write(folder.path().join("keygate.yaml"), config).unwrap();
        Self::start_in(folder, variables)
    }

    /// Starts the program in `folder`, with the configuration and the state that an earlier process left there.
    ///
    /// # Panics
    /// With all output, when the program ends or does not report its addresses in time.
    #[track_caller]
    pub fn start_in(folder: tempfile::TempDir, variables: &[(&str, &str)]) -> Self {
        let file = folder.path().join("keygate.yaml");
        let mut child = Command::new(super::program())
            .arg("run")
            .arg("--config")
            .arg(&file)
            .current_dir(folder.path())
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let shared = Arc::new(SharedOutput::default());
        shared.collect(child.stdout.take().unwrap(), |output| &mut output.stdout);
        shared.collect(child.stderr.take().unwrap(), |output| &mut output.stderr);
        let addresses = shared.wait_for(|output| Some((listening(output, "data")?, listening(output, "admin")?)));
        let Some((data, admin)) = addresses else {
            let _ = child.kill();
            let _ = child.wait();
            panic!("it did not say where it listens:\n{}", shared.text());
        };
        Self {
            child,
            folder: Some(folder),
            shared,
            data,
            admin,
        }
    }

    /// Returns the address of the first data listener.
    pub fn data(&self) -> SocketAddr {
        self.data
    }

    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Returns the processor time of all threads so far.
    pub fn cpu(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let nanos = tasks.map(|task| {
            let stat = std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap_or_default();
            stat.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
        });
        Duration::from_nanos(nanos.sum())
    }

    pub fn folder(&self) -> &Path {
        self.folder.as_ref().expect("it is only taken at the end").path()
    }

    /// Ends the program with SIGTERM and returns its folder.
    #[track_caller]
    pub fn stop(mut self) -> tempfile::TempDir {
        self.signal("TERM");
        let status = self.wait_exit();
        assert!(status.success(), "{status}\n{}", self.output());
        self.folder.take().expect("it is only taken here")
    }

    /// Waits until `/readyz` answers 200.
    #[track_caller]
    pub fn wait_ready(&self) -> &Self {
        let mut client = RawClient::connect(self.admin);
        let mut last = String::new();
        let ready = super::poll(PATIENCE, || {
            let response = client.exchange("GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n");
            last = response.text();
            (response.status == 200).then_some(())
        });
        assert!(ready.is_some(), "not ready: {last}\n{}", self.output());
        self
    }

    /// Replaces the configuration file and sends SIGHUP. The log and the metrics report the result.
    pub fn reload(&self, config: &str) {
        // A rename, so that the program never reads half a file.
        let (new, file) = (self.folder().join("new"), self.folder().join("keygate.yaml"));
        std::fs::write(&new, config).unwrap();
        std::fs::rename(new, file).unwrap();
        self.signal("HUP");
    }

    /// Sends a signal (`HUP`, `TERM` …) with the shell's own `kill`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("sh")
            .args(["-c", "kill -s \"$0\" \"$1\"", name, &self.child.id().to_string()])
            .status()
            .expect("there is a shell");
        assert!(status.success(), "kill -s {name}");
    }

    /// Waits until the program has written `text`.
    #[track_caller]
    pub fn wait_for_output(&self, text: &str) {
        let found = self
            .shared
            .wait_for(|output| output.text().contains(text).then_some(()));
        assert!(found.is_some(), "never said {text:?}:\n{}", self.output());
    }

    /// Waits until the program has ended by itself.
    #[track_caller]
    pub fn wait_exit(&mut self) -> ExitStatus {
        let closed = self.shared.wait_for(|output| (output.closed == 2).then_some(()));
        assert!(closed.is_some(), "still running:\n{}", self.output());
        self.child.wait().unwrap()
    }

    /// Returns all output so far, stdout first.
    pub fn output(&self) -> String {
        self.shared.text()
    }

    /// Returns the access records so far: the complete lines of stdout, as JSON.
    #[track_caller]
    pub fn access_records(&self) -> Vec<serde_json::Value> {
        let output = self.shared.output.lock().unwrap();
        complete_lines(&output.stdout)
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}")))
            .collect()
    }

    /// Waits for the access record of the request that got `response`, and returns it.
    #[track_caller]
    pub fn record(&self, response: &Response) -> serde_json::Value {
        self.record_of(
            response
                .header("x-request-id")
                .expect("every response has a request id"),
        )
    }

    /// Waits for the access record of the request `id` and returns it.
    #[track_caller]
    pub fn record_of(&self, id: &str) -> serde_json::Value {
        let record = self.shared.wait_for(|output| {
            complete_lines(&output.stdout)
                .filter(|line| line.contains(id))
                .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
                .find(|record| record["request_id"] == id)
        });
        record.unwrap_or_else(|| panic!("no record of {id}:\n{}", self.output()))
    }

    /// Waits until there are `count` access records.
    #[track_caller]
    pub fn wait_access_records(&self, count: usize) -> Vec<serde_json::Value> {
        let enough = |output: &Output| (complete_lines(&output.stdout).count() >= count).then_some(());
        assert!(
            self.shared.wait_for(enough).is_some(),
            "too few records:\n{}",
            self.output()
        );
        self.access_records()
    }

    /// Returns the value of one series in `/metrics`; 0 where the series is absent.
    #[track_caller]
    pub fn metric(&self, series: &str) -> f64 {
        let response = raw_client::get(self.admin, "/metrics");
        assert_eq!(response.status, 200, "{}", response.text());
        series_value(&response.text(), series)
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl SharedOutput {
    fn collect(self: &Arc<Self>, mut pipe: impl Read + Send + 'static, place: fn(&mut Output) -> &mut Vec<u8>) {
        let shared = self.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            loop {
                let count = pipe.read(&mut bytes).unwrap_or(0);
                let mut output = shared.output.lock().unwrap();
                match count {
                    0 => output.closed += 1,
                    _ => place(&mut output).extend_from_slice(&bytes[..count]),
                }
                shared.grown.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
    }

    /// Returns the result of `find`; `None` when [`PATIENCE`] or the output ends first.
    fn wait_for<T>(&self, find: impl Fn(&Output) -> Option<T>) -> Option<T> {
        let mut found = None;
        let output = self.output.lock().unwrap();
        let missing = |output: &mut Output| {
            found = find(output);
            found.is_none() && output.closed < 2
        };
        drop(self.grown.wait_timeout_while(output, PATIENCE, missing).unwrap());
        found
    }

    fn text(&self) -> String {
        self.output.lock().unwrap().text()
    }
}

impl Output {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned() + &String::from_utf8_lossy(&self.stderr)
    }
}

/// Returns the lines that have ended; the last may still be growing.
fn complete_lines(bytes: &[u8]) -> impl Iterator<Item = &str> {
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    std::str::from_utf8(&bytes[..end]).expect("output is UTF-8").lines()
}

/// Returns the address in the log line `Listening` of `listener`.
fn listening(output: &Output, listener: &str) -> Option<SocketAddr> {
    complete_lines(&output.stderr)
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find(|line| line["message"] == "Listening" && line["listener"] == listener)
        .and_then(|line| line["address"].as_str()?.parse().ok())
}

fn series_value(metrics: &str, series: &str) -> f64 {
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().expect("a value is a number"))
}

#[test]
fn addresses_are_read_from_whole_log_lines_only() {
    let mut output = Output::default();
    let whole = r#"{"level":"INFO","message":"Listening","listener":"data","address":"127.0.0.1:4000"}"#;
    output.stderr = format!("not json\n{whole}").into_bytes();
    assert_eq!(listening(&output, "data"), None);
    output.stderr.push(b'\n');
    assert_eq!(listening(&output, "data"), Some("127.0.0.1:4000".parse().unwrap()));
    assert_eq!(listening(&output, "admin"), None);
}

#[test]
fn a_series_is_found_by_its_whole_name() {
    let metrics = "a_total{b=\"c\"} 2\na_total_more 3\na 4\n";
    assert_eq!(series_value(metrics, "a_total{b=\"c\"}"), 2.0);
    assert_eq!(series_value(metrics, "a"), 4.0);
    assert_eq!(series_value(metrics, "a_total"), 0.0);
}

#[test]
fn waiting_for_output_ends_when_the_output_does() {
    let shared = Arc::new(SharedOutput::default());
    shared.collect(&b"hello"[..], |output| &mut output.stdout);
    shared.collect(&b"world"[..], |output| &mut output.stderr);
    assert_eq!(
        shared.wait_for(|output| output.text().contains("helloworld").then_some(())),
        Some(())
    );
    assert_eq!(
        shared.wait_for(|output| output.text().contains("never").then_some(())),
        None
    );
}
