//! A proxy in a process of its own, and what it costs the machine.

use std::ffi::OsStr;
use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::net::SocketAddr;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

/// Killed when dropped.
pub struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    /// Starts `command` and waits until a line on its stderr says where it listens; `read` finds the address in it.
    pub fn start(command: &mut Command, read: impl Fn(&str) -> Option<SocketAddr>) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the program starts");
        let stderr = child.stderr.take().expect("it is piped");
        let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
        let mut seen = String::new();
        let address = lines.by_ref().find_map(|line| {
            seen.push_str(&line);
            seen.push('\n');
            read(&line)
        });
        let Some(address) = address else {
            let _ = child.wait();
            panic!("it did not say where it listens:\n{seen}");
        };
        // Whoever writes to a closed pipe gets an error.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What all its threads ran so far, to the nanosecond; `/proc/<pid>/stat` counts in hundredths of a second.
    pub fn cpu(&self) -> Duration {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("the proxy runs");
        let nanos = threads.map(|thread| {
            let path = thread.expect("a thread").path().join("schedstat");
            // A thread that ended in between has nothing to say, and no thread of a proxy does.
            let text = fs::read_to_string(path).unwrap_or_default();
            text.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
        });
        Duration::from_nanos(nanos.sum())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether there are two cores to keep apart, and a program that does it.
pub fn pinning() -> bool {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let taskset = || Command::new("taskset").arg("--version").output();
    // A process that is pinned itself sees one core, and the others are still there.
    (cores > 1 || std::env::args().any(|argument| argument == "measure"))
        && taskset().is_ok_and(|said| said.status.success())
}

/// `program`, on the first core where that can be asked for.
pub fn on_core_0(program: impl AsRef<OsStr>) -> Command {
    if pinning() {
        let mut command = Command::new("taskset");
        command.args(["-c", "0"]).arg(program);
        command
    } else {
        Command::new(program)
    }
}
