//! Interactive shells that get lines as if they were pasted: with a history in which `!` means something, in zsh without
//! comments, and with patterns that must match.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    Bash,
    Zsh,
}

impl Shell {
    pub const ALL: [Self; 2] = [Self::Bash, Self::Zsh];

    /// Pastes `lines` into a new shell in the folder `home`, in an environment of `PATH`, `HOME` and `variables`.
    ///
    /// # Panics
    /// When the shell is not installed.
    #[track_caller]
    pub fn paste(self, lines: &str, home: &Path, variables: &[(&str, &str)]) -> Output {
        let arguments: &[&str] = match self {
            Self::Bash => &["bash", "--norc", "--noprofile", "-i"],
            Self::Zsh => &["zsh", "-f", "-i"],
        };
        // Without a terminal of its own the shell would stop at the one that the tests run in.
        let mut shell = Command::new("setsid")
            .arg("--wait")
            .args(arguments)
            .current_dir(home)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home)
            .env("PS1", "")
            .env("PS2", "")
            // Leaves no file behind.
            .env("HISTFILE", "")
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("setsid is installed");
        let mut stdin = shell.stdin.take().unwrap();
        stdin.write_all(lines.as_bytes()).unwrap();
        drop(stdin);
        let output = shell.wait_with_output().unwrap();
        assert_ne!(
            output.status.code(),
            Some(127),
            "{self:?}, which tests/run installs: {output:?}"
        );
        output
    }
}
