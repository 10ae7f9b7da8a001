//! How is a proxy started in a process of its own, and how much processor time and memory does the process take?

use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

/// The timeout of a start. Under valgrind a start takes seconds, and the start of Envoy minutes.
const PATIENCE: Duration = Duration::from_secs(300);

/// The core and the wrapper program of a proxy.
#[derive(Clone)]
pub enum ProcessLauncher {
    /// On the first core alone, if the machine has two cores and `taskset`.
    FirstCore,
    /// On any core.
    AnyCore,
    /// Like `FirstCore`, under callgrind, which writes its counts to files with this name and a number.
    Callgrind(PathBuf),
}

impl ProcessLauncher {
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut words: Vec<OsString> = Vec::new();
        let on_first_core = match self {
            Self::FirstCore | Self::Callgrind(_) => pinning(),
            Self::AnyCore => false,
        };
        if on_first_core {
            words.extend(["taskset", "-c", "0"].map(OsString::from));
        }
        if let Self::Callgrind(files) = self {
            words.extend(["valgrind", "--quiet", "--tool=callgrind"].map(OsString::from));
            words.push(format!("--callgrind-out-file={}", files.display()).into());
        }
        words.push(program.as_ref().to_owned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command
    }
}

/// A running process. Dropping it kills the process.
pub struct Process {
    child: Child,
    address: SocketAddr,
    reloads: Arc<AtomicUsize>,
}

impl Process {
    /// Starts `command` and waits until a line on its stderr contains its address, which `read` finds.
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
        let reloads = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&reloads);
        // Read stderr to its end: the process could not write to a closed pipe.
        std::thread::spawn(move || {
            for _ in lines.filter(|line| line.contains("Configuration reloaded")) {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self {
            child,
            address,
            reloads,
        }
    }

    /// Starts `command` and waits until the process listens at all `addresses`. The first becomes [`Process::address`].
    pub fn start_at(command: &mut Command, addresses: &[SocketAddr]) -> Self {
        let mut child = command.spawn().expect("the program starts");
        let begun = Instant::now();
        while let Some(address) = addresses.iter().find(|address| TcpStream::connect(address).is_err()) {
            let ended = child.try_wait().expect("a child can be waited for");
            assert!(ended.is_none(), "{command:?} ended: {ended:?}");
            assert!(begun.elapsed() < PATIENCE, "{command:?} does not listen at {address}");
            pause();
        }
        Self {
            child,
            address: addresses[0],
            reloads: Arc::default(),
        }
    }

    /// Returns how often the proxy has reported a new configuration.
    pub fn reloads(&self) -> usize {
        self.reloads.load(Ordering::Relaxed)
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the processor time of all threads so far, to the
    /// nanosecond; `/proc/<pid>/stat` counts in hundredths of a second.
    pub fn cpu(&self) -> Duration {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("the proxy runs");
        let nanos = threads.map(|thread| {
            let path = thread.expect("a thread").path().join("schedstat");
            // A thread that has just ended has no file. Its time is lost: the worker threads, which matter, do not end.
            let text = fs::read_to_string(path).unwrap_or_default();
            text.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
        });
        Duration::from_nanos(nanos.sum())
    }

    /// Returns the resident memory of the process.
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the proxy runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.map_or(0, |kib| kib * 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Pauses between two polls of another process.
pub fn pause() {
    #[expect(clippy::disallowed_methods, reason = "another process wakes nobody here")]
    std::thread::sleep(Duration::from_millis(20));
}

/// Returns whether there are two cores to separate, and a program that separates them.
pub fn pinning() -> bool {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let taskset = || Command::new("taskset").arg("--version").output();
    // A pinned process sees one core, even if the machine has more.
    (cores > 1 || std::env::args().any(|argument| argument == "pinned"))
        && taskset().is_ok_and(|said| said.status.success())
}
