//! Client programs, run to their end in an environment of `PATH` and the variables that the test sets.

use super::PATIENCE;
use super::clients;
use std::ffi::OsStr;
use std::io::Read;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Output;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Instant;

/// A program that has not started yet.
pub struct Program(Command);

/// The exit status and the output of a program.
#[derive(Debug)]
pub struct ProgramOutput {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Program {
    /// Returns `script` of tests/clients, in TypeScript if its name ends in `.ts`, in JavaScript otherwise.
    ///
    /// # Panics
    /// When its packages are not installed.
    #[track_caller]
    pub fn node(script: &str) -> Self {
        let folder = clients();
        if script.ends_with(".ts") {
            Self::new(folder.join("node_modules/.bin/tsx"))
        } else {
            Self::new("node")
        }
        .argument(folder.join(script))
    }

    /// Returns `script` of tests/clients, in Python.
    ///
    /// # Panics
    /// When its packages are not installed.
    #[track_caller]
    pub fn python(script: &str) -> Self {
        let folder = clients();
        let python = folder.join(".venv/bin/python");
        assert!(python.is_file(), "Python's packages are missing: run tests/run");
        Self::new(python).argument(folder.join(script))
    }

    /// Returns the program in tests/clients/maverics/src.
    ///
    /// # Panics
    /// When the program is not built.
    #[track_caller]
    pub fn maverics_rust() -> Self {
        let program = PathBuf::from(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/target/clients/debug/maverics-client"
        ));
        assert!(program.is_file(), "tests/clients/maverics is not built: run tests/run");
        Self::new(program)
    }

    /// Returns the Go program of the same documentation, or `None` after printing why this machine has none. Only
    /// `tests/run` decides that it is missing.
    ///
    /// # Panics
    /// When `tests/run` did not try to build it.
    #[track_caller]
    pub fn maverics_go() -> Option<Self> {
        const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/clients/maverics-go");
        if Path::new(PROGRAM).is_file() {
            return Some(Self::new(PROGRAM));
        }
        let reason = std::fs::read_to_string(format!("{PROGRAM}.missing"));
        let reason = reason.expect("tests/clients/maverics/build-go was not run: run tests/run");
        eprintln!("NOT RUN: the Go program of the documentation: {}", reason.trim_end());
        None
    }

    /// Returns the command `name` of a Python package of tests/clients.
    ///
    /// # Panics
    /// When its packages are not installed.
    #[track_caller]
    pub fn python_command(name: &str) -> Self {
        let command = clients().join(".venv/bin").join(name);
        assert!(command.is_file(), "Python's packages are missing: run tests/run");
        Self::new(command)
    }

    /// Returns the command `name` of a package in tests/clients/node_modules.
    pub fn node_command(name: &str) -> Self {
        Self::new(clients().join("node_modules/.bin").join(name))
    }

    fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command.env_clear();
        // Finds `node`.
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        Self(command)
    }

    fn argument(mut self, argument: impl AsRef<Path>) -> Self {
        self.0.arg(argument.as_ref());
        self
    }

    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.0.args(arguments);
        self
    }

    /// Runs the program in `folder`.
    pub fn folder(mut self, folder: &Path) -> Self {
        self.0.current_dir(folder);
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    /// Runs the program and returns its output.
    ///
    /// # Panics
    /// When the program does not start, or does not end in time.
    #[track_caller]
    pub fn run(mut self) -> ProgramOutput {
        let deadline = Instant::now() + 3 * PATIENCE;
        let mut child = self
            .0
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{:?}: {error}", self.0.get_program()));
        let (stdout, stderr) = (
            collect(child.stdout.take().unwrap()),
            collect(child.stderr.take().unwrap()),
        );
        // The pipes close when the program ends; unlike the child, they can be waited for with a deadline.
        let texts = [stdout, stderr].map(|text| text.recv_timeout(deadline.saturating_duration_since(Instant::now())));
        let [Ok(stdout), Ok(stderr)] = texts else {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{:?} does not end", self.0.get_program());
        };
        ProgramOutput {
            status: child.wait().unwrap(),
            stdout,
            stderr,
        }
    }
}

/// Runs `command` with `input` on stdin, to its end.
///
/// # Panics
/// When the program does not start.
#[track_caller]
pub fn run_with_input(command: &mut Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The program may end without reading stdin, so a failed write is not an error.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

impl ProgramOutput {
    /// Parses standard output as one JSON value.
    ///
    /// # Panics
    /// With all output, when the program failed.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        assert!(
            self.status.success(),
            "{}\n{}\n{}",
            self.status,
            self.stdout,
            self.stderr
        );
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (send, text) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        let _ = send.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    text
}
