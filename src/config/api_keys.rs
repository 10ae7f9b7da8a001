//! Which header carries API keys, how do they begin, and where are their digests?

use crate::config::check::Checker;
use crate::config::check::ReferencedFiles;
use crate::config::error::UNREADABLE_SECRET;
use crate::config::read::Text;
use crate::config::reserved_header::is_reserved_header;
use crate::config::text::KeyPrefix;
use crate::config::text::SecretText;
use crate::config::tree::NodeId;
use crate::model::secret::Secret;
use http::HeaderName;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use schemars::JsonSchema;
use serde::Deserialize;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;

/// `api_keys:`.
#[derive(Clone, Debug)]
pub struct ApiKeys {
    /// The request header that carries a key. Default `x-api-key`.
    pub header: HeaderName,
    /// `true` where `Authorization: Bearer` may carry a key too. Default false.
    pub bearer: bool,
    /// First part of a key's text: 1 to 16 lower-case letters or digits, a letter first. Default `kg`.
    pub prefix: String,
    /// Key of the digest (HMAC-SHA-256); without it digests are SHA-256.
    pub pepper: Option<Secret<Vec<u8>>>,
    /// The keys file, read again when it changes.
    pub file: Option<PathBuf>,
}

/// API keys: which header carries them, what they look like and where their digests are.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ApiKeys")]
pub(in crate::config) struct Section {
    /// The request header that carries a key. Default `x-api-key`.
    header: Option<Text<HeaderName>>,
    /// `true` reads a key from `Authorization: Bearer` as well, as the clients of OpenAI-like APIs send it: a text in the
    /// form of this gate's own keys, or an imported key. Any other text is a token. Default false.
    bearer: Option<bool>,
    /// First part of a key's text: 1 to 16 lower-case letters or digits, a letter first. Default `kg`.
    prefix: Option<Text<KeyPrefix>>,
    /// Key of the digests (HMAC-SHA-256): `${NAME}` or `file:path`. Without it digests are plain SHA-256.
    pepper: Option<Text<SecretText>>,
    /// Digests of keys, read again when the file changes; beside those of the `store`, where there is one. One of the two
    /// is needed when a route accepts `api_key`.
    file: Option<Text<PathBuf>>,
}

pub(in crate::config) fn convert(section: Section, checker: &mut Checker<'_>) -> ApiKeys {
    if let Some(header) = &section.header
        && (is_reserved_header(header.get()) || *header.get() == SEC_WEBSOCKET_PROTOCOL)
    {
        let problem = checker.with_value(header.at, "this header means something else and cannot carry API keys");
        checker.error_with(header.at, "reserved-header", problem, "such as `x-api-key`");
    }
    let pepper = section.pepper.and_then(|pepper| {
        let at = pepper.at;
        secret(at, pepper.take(), checker).inspect(|pepper| check_pepper(at, pepper, checker))
    });
    let file = section.file.map(|file| keys_file(&file, checker));
    ApiKeys {
        header: section.header.map_or(HeaderName::from_static("x-api-key"), Text::take),
        bearer: section.bearer.unwrap_or(false),
        prefix: section.prefix.map_or_else(|| "kg".to_owned(), |prefix| prefix.take().0),
        pepper,
        file,
    }
}

/// Returns the resolved path of the keys file, and reports one that is missing where it must exist.
fn keys_file(file: &Text<PathBuf>, checker: &mut Checker<'_>) -> PathBuf {
    let resolved = checker.resolve(file.at, file.get());
    if checker.files == ReferencedFiles::MustExist && !resolved.is_file() {
        // A gate that made the file, or started without it, would answer 401 to every key where only the path is wrong.
        let hint = "`keygate keys create --config FILE` makes it with its first key, and an empty file holds none; paths are \
                    relative to the folder of this file";
        checker.report_missing_file(file.at, hint);
    }
    resolved
}

/// A shorter pepper can be guessed by trying: its holder then tests a stolen digest as if there were none.
const PEPPER_BYTES_MIN: usize = 16;

/// Warns of a short pepper. Not a mistake: another pepper ends every key that was made with this one.
fn check_pepper(at: NodeId, pepper: &Secret<Vec<u8>>, checker: &mut Checker<'_>) {
    let bytes = pepper.expose().len();
    // Without its file, a secret is empty.
    if bytes >= PEPPER_BYTES_MIN || checker.files == ReferencedFiles::MayBeMissing {
        return;
    }
    let problem =
        format!("a pepper of {bytes} bytes can be guessed; {PEPPER_BYTES_MIN} at least protect digests that leak");
    let hint =
        "such as the output of `openssl rand -hex 32`; a new pepper ends the keys that were made with the old one";
    checker.warn(at, "short-pepper", problem, hint);
}

/// A larger file is the wrong file: no secret is this long.
const SECRET_BYTES_MAX: usize = 64 * 1024;

/// Returns the bytes of the secret. Reports a reference to an empty or unreadable file: it is never an empty
/// secret (S076). With [`ReferencedFiles::MayBeMissing`] the file is not read, and the secret is empty.
pub(in crate::config) fn secret(at: NodeId, written: SecretText, checker: &mut Checker<'_>) -> Option<Secret<Vec<u8>>> {
    let text = written.0.expose();
    // Only if `file:` stands in the configuration itself: a variable must not turn a secret into a reference.
    let Some(path) = text
        .strip_prefix("file:")
        .filter(|_| checker.tree.is_file_reference(at))
    else {
        return Some(Secret::new(text.as_bytes().to_vec()));
    };
    if checker.files == ReferencedFiles::MayBeMissing {
        return Some(Secret::new(Vec::new()));
    }
    let path = checker.resolve(at, Path::new(path));
    checker.log.secret_file(&path);
    let problem = match read_bounded(&path) {
        Err(error) => format!("the secret's file cannot be read: {}", error.kind()),
        Ok(bytes) => {
            let bytes = Secret::new(bytes);
            checker.log.read(&path, bytes.expose());
            // Editors and `echo` add a line break at the end, which is not part of the secret.
            let trimmed = bytes.expose().strip_suffix(b"\n").unwrap_or(bytes.expose());
            let trimmed = trimmed.strip_suffix(b"\r").unwrap_or(trimmed);
            match trimmed.len() {
                0 => "the secret's file is empty".to_owned(),
                1..=SECRET_BYTES_MAX => return Some(Secret::new(trimmed.to_vec())),
                _ => "the secret's file is over 64 KiB".to_owned(),
            }
        }
    };
    checker.error_with(
        at,
        UNREADABLE_SECRET,
        problem,
        "`file:` is relative to the folder of this file",
    );
    None
}

/// Returns the content of the file, cut off above [`SECRET_BYTES_MAX`]: `/dev/zero` must not take all memory.
fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // Two bytes for a line break, which the caller removes, and a third that shows that the file is too large.
    let bytes_max = SECRET_BYTES_MAX as u64 + 3;
    File::open(path)?.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}
