//! How does a command read a secret from a file, stdin or the environment, and how does it print a text that may be one?
//! Every user of the machine can read the command line; only `explain`, and commands about an API key, take credentials
//! there.

use crate::cli::render;
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
    let failed = |problem: String| format!("{}: {problem}", place(path));
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

/// Returns the name of the file for an error. Users write the secret itself where its file is expected.
pub fn place(path: &Path) -> String {
    if is_stdin(path) {
        "stdin".to_owned()
    } else {
        shown(&path.to_string_lossy())
    }
}

/// Returns `text` for an error or a message: escaped, or not at all if it may be a secret.
pub fn shown(text: &str) -> String {
    if may_be_one(text) {
        "(not shown, it may be a secret)".to_owned()
    } else {
        render::escaped(text)
    }
}

/// Returns whether `text` may be a secret: random characters stand in it, more of them than in an id.
pub fn may_be_one(text: &str) -> bool {
    /// One more than the random characters of a client's id.
    const RUN: usize = 23;
    let runs = text.split(|character: char| !character.is_ascii_alphanumeric());
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    // UUIDs and other groups of hexadecimal digits; a date has eight digits.
    let is_grouped = text.len() >= 32 && digits >= 10 && !text.contains([' ', '/']);
    is_grouped || runs.map(str::len).any(|length| length >= RUN)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::api_key::ApiKeyEnvironment;
    use crate::model::api_key::ApiKeyText;
    use crate::model::api_key::system_random;
    use crate::model::client_secret;
    use crate::model::id::ClientId;
    use crate::model::id::SubscriptionId;

    #[test]
    fn credentials_are_not_shown_and_ids_names_and_paths_are() {
        let key = ApiKeyText::generate("kg", ApiKeyEnvironment::Live, &mut system_random);
        let secret = client_secret::generate(&mut system_random);
        for hidden in [
            key.expose(),
            &key.expose()[..50],
            secret.expose(),
            "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
            "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJpc3MiOiJh.c2ln",
            "0f8fad5b-d9cb-469f-a165-70867728950e",
        ] {
            assert!(!shown(hidden).contains(&hidden[..8]), "{hidden}");
        }
        for plain in [
            "ci",
            key.id().as_str(),
            ClientId::generate(&mut system_random).as_str(),
            SubscriptionId::generate(&mut system_random).as_str(),
            "a backup of the keys, made on 2026-11-22",
            "/var/lib/keygate/secrets-2026-11-22/admin-token.txt",
            "http://127.0.0.1:9090",
        ] {
            assert_eq!(shown(plain), plain);
        }
    }
}
