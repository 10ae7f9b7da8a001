//! A gate that serves, as its clients and its operators see it: addresses, access records, metrics.

use super::PATIENCE;
use super::RawClient;
use super::Response;
use super::lane::Lane;
use super::output::Output;
use super::output::SharedOutput;
use super::output::complete_lines;
use std::net::SocketAddr;
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;

/// A gate that serves: the real program, or a gate in the test process.
pub struct RunningGate {
    pub(super) output: Arc<SharedOutput>,
    folder: PathBuf,
    data: SocketAddr,
    admin: SocketAddr,
    /// The connection that reads the metrics; kept, so that polling a metric opens no further connections.
    metrics: Mutex<RawClient>,
}

impl RunningGate {
    pub fn new(output: Arc<SharedOutput>, folder: &Path, data: SocketAddr, admin: SocketAddr) -> Self {
        Lane::current().register(data);
        Self {
            output,
            folder: folder.to_owned(),
            data,
            admin,
            metrics: Mutex::new(RawClient::connect(admin)),
        }
    }

    /// Returns the folder of the configuration file.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Replaces a file in the folder by a rename, so that the gate never reads half of it.
    pub fn replace_file(&self, name: &str, content: &str) {
        let new = self.folder.join(format!("{name}.new"));
        std::fs::write(&new, content).unwrap();
        // Keygate refuses private keys that others can read.
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::rename(new, self.folder.join(name)).unwrap();
    }

    /// Returns the address of the first data listener.
    pub fn data(&self) -> SocketAddr {
        self.data
    }

    pub fn admin(&self) -> SocketAddr {
        self.admin
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
        assert!(ready.is_some(), "not ready: {last}\n{}", self.output.text());
        self
    }

    /// Returns the access records so far of the data listeners.
    #[track_caller]
    pub fn access_records(&self) -> Vec<serde_json::Value> {
        self.output.access_records()
    }

    /// Returns the access records so far of the admin listener and the admin socket.
    #[track_caller]
    pub fn admin_records(&self) -> Vec<serde_json::Value> {
        self.output.admin_records()
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
        let record = self.output.wait_for(|output| {
            complete_lines(&output.stdout)
                .filter(|line| line.contains(id))
                .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
                .find(|record| record["request_id"] == id)
        });
        record.unwrap_or_else(|| panic!("no record of {id}:\n{}", self.output.text()))
    }

    /// Waits until there are at least `count` access records, and returns all.
    #[track_caller]
    pub fn wait_access_records(&self, count: usize) -> Vec<serde_json::Value> {
        let enough = |output: &Output| (output.record_lines().count() >= count).then_some(());
        assert!(
            self.output.wait_for(enough).is_some(),
            "too few records:\n{}",
            self.output.text()
        );
        self.access_records()
    }

    /// Returns the value of one series in `/metrics`; 0 where the series is absent.
    #[track_caller]
    pub fn metric(&self, series: &str) -> f64 {
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let mut client = self.metrics.lock().unwrap();
        let response = client.send(request).try_receive().unwrap_or_else(|_| {
            // The gate closes a connection that was idle for long.
            *client = RawClient::connect(self.admin);
            client.exchange(request)
        });
        assert_eq!(response.status, 200, "{}", response.text());
        series_value(&response.text(), series)
    }

    /// Returns the value of a series that counts ended requests; 0 where the series is absent. Waits until no request
    /// is in flight: a request is counted after its client has the last byte of the response.
    #[track_caller]
    pub fn count_of_ended(&self, series: &str) -> f64 {
        super::wait_until("every request has ended", || {
            self.metric("keygate_requests_in_flight") == 0.0
        });
        self.metric(series)
    }
}

/// How a test starts a gate: as the program ([`super::Binary`]) or in its own process ([`super::LocalGate`]).
pub trait StartGate: Deref<Target = RunningGate> + Sized {
    /// Serves `config`. `files` are names and contents, written beside the configuration file.
    #[track_caller]
    fn start_with(config: &str, files: &[(&str, &str)]) -> Self;
}

fn series_value(metrics: &str, series: &str) -> f64 {
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().expect("a value is a number"))
}

#[test]
fn a_series_is_found_by_its_whole_name() {
    let metrics = "a_total{b=\"c\"} 2\na_total_more 3\na 4\n";
    assert_eq!(series_value(metrics, "a_total{b=\"c\"}"), 2.0);
    assert_eq!(series_value(metrics, "a"), 4.0);
    assert_eq!(series_value(metrics, "a_total"), 0.0);
}
