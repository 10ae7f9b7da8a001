//! The output of a gate under test, collected while the gate writes it.

use super::PATIENCE;
use std::io;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;

/// The output of a gate so far.
#[derive(Default)]
pub struct SharedOutput {
    output: Mutex<Output>,
    grown: Condvar,
}

#[derive(Default)]
pub struct Output {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// How many of the two pipes are closed.
    pub closed: u8,
}

impl SharedOutput {
    /// Collects, on a thread of its own, the bytes of `pipe` in the buffer that `place` selects.
    pub fn collect(self: &Arc<Self>, mut pipe: impl Read + Send + 'static, place: fn(&mut Output) -> &mut Vec<u8>) {
        let shared = self.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            loop {
                let count = pipe.read(&mut bytes).unwrap_or(0);
                shared.grow(|output| match count {
                    0 => output.closed += 1,
                    _ => place(output).extend_from_slice(&bytes[..count]),
                });
                if count == 0 {
                    return;
                }
            }
        });
    }

    /// Returns a writer that stands for standard output.
    pub fn stdout(self: &Arc<Self>) -> impl io::Write + Send + use<> {
        Stdout(self.clone())
    }

    fn grow(&self, change: impl FnOnce(&mut Output)) {
        change(&mut self.output.lock().unwrap());
        self.grown.notify_all();
    }

    /// Waits until `find` returns a value, and returns the value; `None` when [`PATIENCE`] or the output ends first.
    pub fn wait_for<T>(&self, find: impl Fn(&Output) -> Option<T>) -> Option<T> {
        let mut found = None;
        let output = self.output.lock().unwrap();
        let missing = |output: &mut Output| {
            found = find(output);
            found.is_none() && output.closed < 2
        };
        drop(self.grown.wait_timeout_while(output, PATIENCE, missing).unwrap());
        found
    }

    /// Returns all output so far, stdout first.
    pub fn text(&self) -> String {
        self.output.lock().unwrap().text()
    }

    /// Returns the access records so far of the data listeners.
    #[track_caller]
    pub fn access_records(&self) -> Vec<serde_json::Value> {
        let output = self.output.lock().unwrap();
        output.record_lines().map(parse).collect()
    }

    /// Returns the access records so far of the admin listener and the admin socket.
    #[track_caller]
    pub fn admin_records(&self) -> Vec<serde_json::Value> {
        let output = self.output.lock().unwrap();
        complete_lines(&output.stdout)
            .filter(|line| is_admin_record(line))
            .map(parse)
            .collect()
    }
}

impl Output {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned() + &String::from_utf8_lossy(&self.stderr)
    }

    /// Returns the complete lines of the data listeners' access records.
    pub fn record_lines(&self) -> impl Iterator<Item = &str> {
        complete_lines(&self.stdout).filter(|line| !is_admin_record(line))
    }

    /// Returns the address in the log line `Listening` of `listener`.
    pub fn listening(&self, listener: &str) -> Option<SocketAddr> {
        complete_lines(&self.stderr)
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .find(|line| line["message"] == "Listening" && line["listener"] == listener)
            .and_then(|line| line["address"].as_str()?.parse().ok())
    }
}

struct Stdout(Arc<SharedOutput>);

impl io::Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.grow(|output| output.stdout.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn is_admin_record(line: &str) -> bool {
    line.contains(",\"listener\":\"admin")
}

#[track_caller]
fn parse(line: &str) -> serde_json::Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"))
}

/// Returns the complete lines, without a last line that is still being written.
pub fn complete_lines(bytes: &[u8]) -> impl Iterator<Item = &str> {
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    std::str::from_utf8(&bytes[..end]).expect("output is UTF-8").lines()
}

#[test]
fn addresses_are_read_from_whole_log_lines_only() {
    let mut output = Output::default();
    let whole = r#"{"level":"INFO","message":"Listening","listener":"data","address":"127.0.0.1:4000"}"#;
    output.stderr = format!("not json\n{whole}").into_bytes();
    assert_eq!(output.listening("data"), None);
    output.stderr.push(b'\n');
    assert_eq!(output.listening("data"), Some("127.0.0.1:4000".parse().unwrap()));
    assert_eq!(output.listening("admin"), None);
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
