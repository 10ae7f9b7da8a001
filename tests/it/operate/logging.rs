//! What happens to the gate when nobody reads its log?

use crate::operate::RELOADED;
use crate::operate::get;
use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::KillAtEnd;
use crate::support::PATIENCE;
use crate::support::RunningGate;
use crate::support::output::Output;
use crate::support::output::SharedOutput;
use crate::support::poll;
use crate::support::wait_until;
use std::fs::OpenOptions;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::PipeWriter;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;

/// Writes into the pipe until it is full.
fn fill(pipe: &PipeWriter) {
    // The pipe is opened anew: the flag would otherwise also hold for the writes of the program.
    const O_NONBLOCK: i32 = 0o4000;
    let mut own = OpenOptions::new()
        .write(true)
        .custom_flags(O_NONBLOCK)
        .open(format!("/proc/self/fd/{}", pipe.as_raw_fd()))
        .unwrap();
    // A write of more than a byte fails while a part of it would still fit.
    for size in [4096, 1] {
        let full = loop {
            if let Err(error) = own.write_all(&vec![b'x'; size]) {
                break error;
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    }
}

#[test]
fn a_log_that_nobody_reads_delays_no_signal_and_no_request() {
    let upstream = FakeUpstream::start();
    let with_path = |path: &str| {
        GatewayBuilder::new()
            .upstream("only", upstream.address())
            .route("a", &format!("match: {{ path: {path} }}\npublic: true\nupstream: only"))
            .yaml()
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keygate.yaml");
    std::fs::write(&file, with_path("/begin")).unwrap();
    let (reader, writer) = io::pipe().unwrap();
    let child = Command::new(crate::support::program())
        .args(["run", "--config"])
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(writer.try_clone().unwrap())
        .spawn()
        .unwrap();
    let mut child = KillAtEnd(child);
    let mut log = BufReader::new(reader);
    let mut output = Output::default();
    let (data, admin) = loop {
        if let (Some(data), Some(admin)) = (output.listening("data"), output.listening("admin")) {
            break (data, admin);
        }
        log.read_until(b'\n', &mut output.stderr).unwrap();
    };
    fill(&writer);
    let gate = RunningGate::new(Arc::new(SharedOutput::default()), folder.path(), data, admin);
    let signal = |name: &str| {
        let pid = child.0.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().unwrap();
        assert!(sent.success());
    };
    // Each reload logs, so the second one shows that the first did not wait.
    for (reloads, path) in [(2.0, "/first"), (3.0, "/second")] {
        gate.replace_file("keygate.yaml", &with_path(path));
        signal("HUP");
        wait_until(path, || gate.metric(RELOADED) == reloads);
        assert_eq!(get(data, path, &[]).status, 200);
    }
    signal("TERM");
    let ended = poll(PATIENCE, || child.0.try_wait().unwrap());
    assert_eq!(ended.and_then(|status| status.code()), Some(0));
}
