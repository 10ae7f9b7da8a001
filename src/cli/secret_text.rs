//! How does a command read a secret from a file, stdin or the environment? Every user of the machine can read the
//! command line; only `explain` takes credentials there.

use crate::model::secret::Secret;
use std::fs::File;
use std::io;
use std::io::Read;
use std::path::Path;

const CLIENT_SECRET_VARIABLE: &str = "KEYGATE_CLIENT_SECRET";
/// The length of the longest secret. The limit stops the command from reading, for example, a disk image.
const BYTES_MAX: u64 = 64 * 1024;

/// Returns the content of `path` without the white space around it; `-` is stdin.
///
/// # Errors
/// If the file cannot be read, or its content without white space is empty or longer than [`BYTES_MAX`].
pub fn from_file(path: &Path) -> Result<Secret<Vec<u8>>, String> {
    let failed = |problem: String| {
        let place = if is_stdin(path) {
            "stdin".into()
        } else {
            path.to_string_lossy()
        };
        format!("{place}: {problem}")
    };
    let bytes = read(path).map_err(|error| failed(error.to_string()))?;
    let text = bytes.expose().trim_ascii();
    match text.len() as u64 {
        0 => Err(failed("it is empty, where a secret is expected".to_owned())),
        1..=BYTES_MAX => Ok(Secret::new(text.to_vec())),
        _ => Err(failed("this is too long for a secret".to_owned())),
    }
}

/// Returns the first [`BYTES_MAX`] + 1 bytes of `path`, or of stdin for `-`. The additional byte tells that the content
/// is too long.
///
/// # Errors
/// If the file cannot be read.
pub fn read(path: &Path) -> io::Result<Secret<Vec<u8>>> {
    let mut bytes = Vec::new();
    let read = if is_stdin(path) {
        std::io::stdin().lock().take(BYTES_MAX + 1).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(BYTES_MAX + 1).read_to_end(&mut bytes))
    };
    let bytes = Secret::new(bytes);
    read.map(|_| bytes)
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// Returns a client's secret, from `file` or else from the variable KEYGATE_CLIENT_SECRET.
///
/// # Errors
/// Those of [`from_file`], or if `file` is `None` and the variable is not set.
pub fn client_secret(file: Option<&Path>) -> Result<Secret<Vec<u8>>, String> {
    match file {
        Some(file) => from_file(file),
        None => from_variable(CLIENT_SECRET_VARIABLE).ok_or_else(|| {
            format!("no secret and no key: set {CLIENT_SECRET_VARIABLE}, or name a file with --secret-file or --key")
        }),
    }
}

/// Returns a variable of the environment; `None` if it is unset, empty, or not UTF-8.
pub fn from_variable(name: &str) -> Option<Secret<Vec<u8>>> {
    std::env::var(name)
        .ok()
        .filter(|text| !text.is_empty())
        .map(|text| Secret::new(text.into_bytes()))
}
