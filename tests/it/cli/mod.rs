//! What does the command line print to stdout and stderr, and which exit codes, files and help texts does it have?

mod check;
mod first_minutes;
mod help;
mod keys_file;
mod start;

use crate::support::PATIENCE;
use crate::support::poll;
use crate::support::program;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;

/// Returns a command of the program with the home folder `home` and, of this process's environment, only `PATH`.
fn keygate(home: &Path) -> Command {
    let mut command = Command::new(program());
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .current_dir(home)
        .stdin(Stdio::null());
    command
}

#[track_caller]
fn run(home: &Path, args: &[&str]) -> CommandOutput {
    let output: Output = keygate(home).args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    let result = CommandOutput {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    };
    assert!(!result.stderr.contains("panicked"), "{args:?}: {}", result.stderr);
    result
}

#[derive(Debug)]
struct CommandOutput {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl CommandOutput {
    /// Returns stdout of a command that succeeded.
    #[track_caller]
    fn expect_success(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// Returns stderr of a command that failed with `code` and printed nothing on stdout.
    #[track_caller]
    fn expect_failure(self, code: i32) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (Some(code), ""), "{self:?}");
        assert!(!self.stderr.is_empty());
        self.stderr
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A running `keygate run` with the data folder in `home`, on free ports. Killed when dropped.
struct Development {
    home: tempfile::TempDir,
    child: Child,
}

impl Development {
    fn folder(home: &Path) -> std::path::PathBuf {
        home.join(".local/state/keygate")
    }

    /// Creates the data folder, with the mode that `keygate run` would give it, and returns its path.
    fn prepare(home: &Path) -> std::path::PathBuf {
        let folder = Self::folder(home);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
        folder
    }

    #[track_caller]
    fn start(home: tempfile::TempDir, config: &str) -> Self {
        let file = Self::prepare(home.path()).join("keygate.yaml");
        let messages = || std::fs::read_to_string(home.path().join("err")).unwrap();
        // Tries again: another process may take a free port before the gate does.
        for _ in 0..5 {
            let text = config
                .replace("127.0.0.1:8080", &crate::support::free_address().to_string())
                .replace("127.0.0.1:9090", &crate::support::free_address().to_string());
            std::fs::write(&file, text).unwrap();
            let mut child = keygate(home.path())
                .arg("run")
                .stdout(std::fs::File::create(home.path().join("out")).unwrap())
                .stderr(std::fs::File::create(home.path().join("err")).unwrap())
                .spawn()
                .unwrap();
            let started = poll(PATIENCE, || {
                let ended = child.try_wait().unwrap().is_some();
                (ended || messages().contains("/readyz")).then_some(())
            });
            if started.is_none() {
                let _ = child.kill();
                panic!("{}", messages());
            }
            if child.try_wait().unwrap().is_none() {
                return Self { home, child };
            }
            assert!(messages().contains("cannot listen"), "{}", messages());
        }
        panic!("no free port");
    }

    /// Returns stderr so far.
    fn stderr(&self) -> String {
        std::fs::read_to_string(self.home.path().join("err")).unwrap()
    }

    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Development {
    fn drop(&mut self) {
        self.stop();
    }
}

const EMBEDDED: &str = include_str!("../../../conf/embedded.yaml");

const GOOD: &str = "listeners: [{ address: '127.0.0.1:0' }]\nupstreams: { echo: { builtin: echo } }\n\
                    routes: [{ name: a, match: { path: /a }, public: true, upstream: echo }]\n";
