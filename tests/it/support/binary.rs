//! The real program in a folder of its own, with all its output collected.

use super::RunningGate;
use super::StartGate;
use super::output::SharedOutput;
use rustix::process::Pid;
use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::prlimit;
use std::net::TcpListener;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

/// A running `keygate run`. Killed when dropped.
pub struct Binary {
    child: Child,
    folder: Option<tempfile::TempDir>,
    running: RunningGate,
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
        Self::start_in(folder_with(config, files), variables)
    }

    /// Starts the program in `folder`, with the configuration and the state that an earlier process left there.
    ///
    /// # Panics
    /// With all output, when the program ends or does not report its addresses in time.
    #[track_caller]
    pub fn start_in(folder: tempfile::TempDir, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(super::program());
        command.envs(variables.iter().copied());
        Self::spawn(command, folder)
    }

    /// Starts a second program with the same configuration file, and returns it once it says where it listens.
    ///
    /// # Errors
    /// All its output, where it ends.
    pub fn start_successor(&self) -> Result<Self, String> {
        Self::spawn_in(Command::new(super::program()), self.folder(), Stdio::null())
    }

    /// Starts the program with at most `descriptors` files at a time.
    #[track_caller]
    pub fn start_with_descriptors(config: &str, files: &[(&str, &str)], descriptors: usize) -> Self {
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"")])
            .arg(super::program());
        Self::spawn(command, folder_with(config, files))
    }

    /// Starts the program with the folder `disk`, beside the configuration file, on a disk of its own with `kib` KiB.
    /// Returns `None`, and prints why, where this user may mount nothing.
    #[track_caller]
    pub fn start_on_small_disk(config: &str, kib: u32) -> Option<Self> {
        let folder = folder_with(config, &[]);
        let disk = folder.path().join("disk");
        std::fs::create_dir(&disk).unwrap();
        let in_namespace = |script: &str| {
            let mut command = Command::new("unshare");
            let mount = format!("mount -t tmpfs -o mode=700,size={kib}k tmpfs \"$0\" && {script}");
            command
                .args(["--user", "--map-root-user", "--mount", "sh", "-c", &mount])
                .arg(&disk);
            command
        };
        let tried = in_namespace("true").output();
        match tried {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                println!(
                    "skipped: no small disk here: {}",
                    String::from_utf8_lossy(&output.stderr)
                );
                return None;
            }
            Err(error) => {
                println!("skipped: no small disk here: unshare: {error}");
                return None;
            }
        }
        let mut command = in_namespace("exec \"$@\"");
        command.arg(super::program());
        Some(Self::spawn(command, folder))
    }

    /// Starts the program in `folder`, so that its writes fail under [`Self::limit_files`]; otherwise the system would end it.
    #[track_caller]
    pub fn start_under_file_limit(folder: tempfile::TempDir) -> Self {
        let mut command = Command::new("sh");
        command
            .args(["-c", "trap '' XFSZ && exec \"$0\" \"$@\""])
            .arg(super::program());
        Self::spawn(command, folder)
    }

    /// Makes every write of the program beyond the first `bytes` of a file fail (EFBIG), as a full disk does, but needs no disk of
    /// its own. `None` lifts the limit. The program was started with [`Self::start_under_file_limit`].
    pub fn limit_files(&self, bytes: Option<u64>) {
        let limit = Rlimit {
            current: bytes,
            maximum: None,
        };
        let process = Pid::from_child(&self.child);
        prlimit(Some(process), Resource::Fsize, limit).expect("the program is this user's");
    }

    /// Returns the folder `disk` of [`Self::start_on_small_disk`] as the program sees it.
    pub fn disk(&self) -> PathBuf {
        let inside = self.running.folder().join("disk");
        let root = PathBuf::from(format!("/proc/{}/root", self.child.id()));
        root.join(inside.strip_prefix("/").unwrap())
    }

    /// Ends the program with SIGKILL and returns its folder.
    #[track_caller]
    pub fn kill(mut self) -> tempfile::TempDir {
        self.signal("KILL");
        self.wait_exit();
        self.folder.take().expect("it is only taken here and in `stop`")
    }

    /// Starts the program as systemd does with socket activation: `socket` is its descriptor 3.
    #[track_caller]
    pub fn start_on_socket(config: &str, socket: TcpListener) -> Self {
        let mut command = Command::new("sh");
        // The shell's process becomes the program's.
        let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\"";
        command.args(["-c", script]).arg(super::program());
        Self::spawn_with_stdin(command, folder_with(config, &[]), OwnedFd::from(socket).into())
    }

    #[track_caller]
    fn spawn(command: Command, folder: tempfile::TempDir) -> Self {
        Self::spawn_with_stdin(command, folder, Stdio::null())
    }

    #[track_caller]
    fn spawn_with_stdin(command: Command, folder: tempfile::TempDir, stdin: Stdio) -> Self {
        let spawned = Self::spawn_in(command, folder.path(), stdin);
        let mut binary = spawned.unwrap_or_else(|output| panic!("it did not say where it listens:\n{output}"));
        binary.folder = Some(folder);
        binary
    }

    /// Spawns the program in `folder`, which another one has.
    fn spawn_in(mut command: Command, folder: &Path, stdin: Stdio) -> Result<Self, String> {
        let file = folder.join("keygate.yaml");
        let mut child = command
            .arg("run")
            .arg("--config")
            .arg(&file)
            .current_dir(folder)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let shared = Arc::new(SharedOutput::default());
        shared.collect(child.stdout.take().unwrap(), |output| &mut output.stdout);
        shared.collect(child.stderr.take().unwrap(), |output| &mut output.stderr);
        let addresses = shared.wait_for(|output| Some((output.listening("data")?, output.listening("admin")?)));
        let Some((data, admin)) = addresses else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(shared.text());
        };
        Ok(Self {
            child,
            running: RunningGate::new(shared, folder, data, admin),
            folder: None,
        })
    }

    /// Returns the processor time that the threads now running have used.
    pub fn cpu(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let nanos = tasks.map(|task| {
            let stat = std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap_or_default();
            stat.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
        });
        Duration::from_nanos(nanos.sum())
    }

    /// Returns the resident memory of the process in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Returns all output so far, stdout first.
    pub fn output(&self) -> String {
        self.running.output.text()
    }

    /// Ends the program with SIGTERM and returns its folder.
    ///
    /// # Panics
    /// When the exit status is a failure.
    #[track_caller]
    pub fn stop(self) -> tempfile::TempDir {
        self.stop_and_read().0
    }

    /// Ends the program with SIGTERM, and returns its folder and all its output.
    ///
    /// # Panics
    /// When the exit status is a failure.
    #[track_caller]
    pub fn stop_and_read(mut self) -> (tempfile::TempDir, String) {
        self.signal("TERM");
        let status = self.wait_exit();
        assert!(status.success(), "{status}\n{}", self.output());
        let folder = self.folder.take().expect("it is only taken here and in `kill`");
        (folder, self.output())
    }

    /// Replaces the configuration file and sends SIGHUP. The log and the metrics report the result.
    pub fn reload(&self, config: &str) {
        self.replace_file("keygate.yaml", config);
        self.signal("HUP");
    }

    /// Sends a signal (`HUP`, `TERM` …) with the `kill` of the shell; the standard library cannot send signals.
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
            .running
            .output
            .wait_for(|output| output.text().contains(text).then_some(()));
        assert!(found.is_some(), "never said {text:?}:\n{}", self.output());
    }

    /// Waits until the program ends, and returns its exit status.
    #[track_caller]
    pub fn wait_exit(&mut self) -> ExitStatus {
        let closed = self
            .running
            .output
            .wait_for(|output| (output.closed == 2).then_some(()));
        assert!(closed.is_some(), "still running:\n{}", self.output());
        self.child.wait().unwrap()
    }
}

impl StartGate for Binary {
    #[track_caller]
    fn start_with(config: &str, files: &[(&str, &str)]) -> Self {
        Self::start_with(config, files)
    }
}

impl Deref for Binary {
    type Target = RunningGate;

    fn deref(&self) -> &RunningGate {
        &self.running
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a new folder with `config` as `keygate.yaml`, and with `files`, which are names and contents.
pub fn folder_with(config: &str, files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("keygate.yaml"), config).unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        // Keygate refuses private keys that others can read.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    folder
}
