//! Which API keys does the keys file contain?
//!
//! ```yaml
//! keys:
//!   - id: 0123456789abcdef
//!     # The fingerprint of the pepper and 64 hexadecimal digits; sha256:… where no pepper is configured.
//!     digest: hmac-sha256:0123abcd:<64 hexadecimal digits>
//!     name: ci
//!     env: live
//!     scopes: [orders:read]        # optional, like all that follow except `expires_at`
//!     client: billing
//!     organization: acme
//!     addresses: [10.0.0.0/8]      # when absent, every address may use the key
//!     created_at: 2026-01-01T00:00:00Z
//!     expires_at: never            # or RFC 3339
//!     revoked_at: 2026-06-01T00:00:00Z
//!   - imported: true               # made by another system
//!     digest: sha256:<64 hexadecimal digits>        # printf %s "$KEY" | sha256sum
//!     name: old-portal
//!     expires_at: never
//! ```

pub mod error;
mod yaml;
pub mod edit;

pub use error::KeysFileError;
pub use error::KeysFileProblem;

use crate::keys_file::yaml::Entry;
use crate::keys_file::yaml::Field;
use crate::keys_file::yaml::Value;
use crate::model::address_range::canonical;
use crate::model::api_key::ApiKeyEnvironment;
use crate::model::api_key::CredentialDigest;
use crate::model::api_key::DigestScheme;
use crate::model::api_key::KeyId;
use crate::model::api_key::PepperFingerprint;
use crate::model::clock::Timestamp;
use crate::model::directory::ApiKeyOrigin;
use crate::model::directory::KeyRecord;
use crate::model::directory::KeyState;
use crate::model::scope::Scope;
use crate::model::scope::ScopeSet;
use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Reads and parses the keys file at `path`. Returns the keys in the order of the file. `scheme` is the digest scheme
/// of Keygate's own keys.
///
/// # Errors
/// The file cannot be read, or has mistakes; all mistakes are listed.
pub fn read(path: &Path, scheme: DigestScheme) -> Result<Vec<KeyRecord>, KeysFileError> {
    parse_file(path, &text(path)?, scheme)
}

/// Returns the text of the file at `path`.
///
/// # Errors
/// The file cannot be read.
pub fn text(path: &Path) -> Result<String, KeysFileError> {
    std::fs::read_to_string(path).map_err(|source| KeysFileError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

/// Rejects `text`, the content of the file at `path`, if it says nothing.
///
/// # Errors
/// `text` is empty, or has only comments.
pub fn refuse_empty(path: &Path, text: &str) -> Result<(), KeysFileError> {
    let is_content = |line: &str| !line.trim_start().is_empty() && !line.trim_start().starts_with('#');
    if text.lines().any(is_content) {
        return Ok(());
    }
    let message = "the file is empty, and there were keys before; a file without keys is written `keys: []`".to_owned();
    Err(KeysFileError::Broken {
        path: path.to_owned(),
        problems: vec![KeysFileProblem { line: 1, message }],
    })
}

/// Does the same as [`parse`] for `text`, the content of the file at `path`. The error names the file.
///
/// # Errors
/// `text` has mistakes; all are listed.
pub fn parse_file(path: &Path, text: &str, scheme: DigestScheme) -> Result<Vec<KeyRecord>, KeysFileError> {
    parse(text, scheme).map_err(|problems| KeysFileError::Broken {
        path: path.to_owned(),
        problems,
    })
}

/// Parses `text`, the content of a keys file. Returns the keys in the order of the text.
///
/// # Errors
/// All mistakes, sorted by line. Two entries with the same id or digest are a mistake (S075).
pub fn parse(text: &str, scheme: DigestScheme) -> Result<Vec<KeyRecord>, Vec<KeysFileProblem>> {
    let mut compiler = Compiler {
        scheme,
        problems: Vec::new(),
        scopes: HashSet::new(),
        texts: HashSet::new(),
    };
    let (mut records, mut lines) = (Vec::new(), Vec::new());
    let (list, mut problems) = yaml::each(text, &mut |entry| {
        if let Some(record) = compiler.record(&entry) {
            records.push(record);
            lines.push(entry.line);
        }
    });
    // In a text that is not YAML the entries may be wrong as well: report neither their mistakes nor duplicates.
    if list.is_ok() {
        compiler.report_duplicates(&records, &lines);
        problems.append(&mut compiler.problems);
    }
    if problems.is_empty() {
        Ok(records)
    } else {
        problems.sort_by_key(|problem| problem.line);
        Err(problems)
    }
}

const FIELDS: [&str; 12] = [
    "id",
    "imported",
    "digest",
    "name",
    "env",
    "scopes",
    "client",
    "organization",
    "addresses",
    "created_at",
    "expires_at",
    "revoked_at",
];

/// The maximum length of a name, a client or an organization, in bytes.
const TEXT_BYTES_MAX: usize = 256;

struct Compiler {
    scheme: DigestScheme,
    problems: Vec<KeysFileProblem>,
    /// The interned scope sets, shared by all keys with the same scopes.
    scopes: HashSet<Arc<ScopeSet>>,
    /// The interned clients and organizations.
    texts: HashSet<Arc<str>>,
}

impl Compiler {
    fn report(&mut self, line: usize, message: impl Into<String>) {
        self.problems.push(KeysFileProblem {
            line,
            message: message.into(),
        });
    }

    /// Reports duplicate digests and ids. Sorts indexes, because two maps of a
    /// million entries would take a hundred megabytes for a while.
    fn report_duplicates(&mut self, records: &[KeyRecord], lines: &[usize]) {
        let mut places: Vec<usize> = (0..records.len()).collect();
        let mut reported = HashSet::new();
        places.sort_unstable_by_key(|place| (records[*place].digest.as_bytes(), *place));
        for pair in places.windows(2) {
            let [first, second] = [pair[0], pair[1]];
            if records[first].digest == records[second].digest {
                self.report(
                    lines[second],
                    format!("the same digest stands on line {}", lines[first]),
                );
                reported.insert(second);
            }
        }
        places.sort_unstable_by_key(|place| (records[*place].id, *place));
        for pair in places.windows(2) {
            let [first, second] = [pair[0], pair[1]];
            let id = records[second].id;
            if records[first].id == id && !reported.contains(&second) {
                self.report(
                    lines[second],
                    format!("the id {id} stands on line {} too", lines[first]),
                );
            }
        }
    }

    /// Returns the key that `entry` describes; `None` if it has a mistake.
    fn record(&mut self, entry: &Entry) -> Option<KeyRecord> {
        let before = self.problems.len();
        for field in &entry.fields {
            if !FIELDS.contains(&field.name.as_str()) {
                let message = format!("unknown key `{}`; known are {}", field.name, FIELDS.join(", "));
                self.report(field.line, message);
            }
        }
        let origin = self.origin(entry);
        let digest = self.digest(entry, origin);
        let id = match origin {
            ApiKeyOrigin::Own => self.needed(entry, "id", |text| text.parse::<KeyId>().map_err(message_of)),
            ApiKeyOrigin::Imported => digest.as_ref().map(KeyId::of_imported),
        };
        if origin == ApiKeyOrigin::Imported
            && let Some(field) = entry.field("id")
        {
            self.report(field.line, "an imported key has no `id`; it is found by its digest");
        }
        let name = self.needed(entry, "name", plain_text);
        let environment = match origin {
            ApiKeyOrigin::Own => self.needed(entry, "env", environment),
            ApiKeyOrigin::Imported => self
                .optional(entry, "env", environment)
                .or(Some(ApiKeyEnvironment::Live)),
        };
        let expires_at = self.needed(entry, "expires_at", |text| match text {
            "never" => Ok(None),
            text => timestamp(text).map(Some),
        });
        self.optional(entry, "created_at", timestamp);
        // Any time means revoked, even a time in the future. An invalid time rejects the file.
        let state = match entry.field("revoked_at") {
            Some(_) => KeyState::Revoked,
            None => KeyState::Active,
        };
        self.optional(entry, "revoked_at", timestamp);
        let scopes = self.list(entry, "scopes", |text| text.parse::<Scope>().map_err(message_of));
        let addresses = self.list(entry, "addresses", |text| {
            address_range(text)
                .ok_or_else(|| "an address range is written like `10.0.0.0/8` or `2001:db8::1`".to_owned())
        });
        if let Some(field) = entry.field("addresses")
            && matches!(&field.value, Value::List(members) if members.is_empty())
        {
            self.report(
                field.line,
                "`addresses` is empty, which reads as nowhere; leave it out to mean everywhere",
            );
        }
        let client = self.optional(entry, "client", plain_text);
        let organization = self.optional(entry, "organization", plain_text);
        if self.problems.len() > before {
            return None;
        }
        Some(KeyRecord {
            id: id?,
            digest: digest?,
            origin,
            environment: environment?,
            name: name?.into(),
            state,
            expires_at: expires_at?,
            scopes: self.share_scopes(scopes.into_iter().collect()),
            client: client.map(|text| self.share_text(text)),
            organization: organization.map(|text| self.share_text(text)),
            addresses: addresses.into(),
            subscription: None,
            ends_at: None,
        })
    }

    fn origin(&mut self, entry: &Entry) -> ApiKeyOrigin {
        let imported = self.optional(entry, "imported", |text| match text {
            "true" => Ok(ApiKeyOrigin::Imported),
            "false" => Ok(ApiKeyOrigin::Own),
            _ => Err("must be `true` or `false`".to_owned()),
        });
        imported.unwrap_or(ApiKeyOrigin::Own)
    }

    fn digest(&mut self, entry: &Entry, origin: ApiKeyOrigin) -> Option<CredentialDigest> {
        let scheme = self.scheme;
        self.needed(entry, "digest", |text| {
            const FORM: &str = "must be `hmac-sha256:…` or `sha256:…`";
            let (made_with, digest) = text.split_once(':').ok_or(FORM)?;
            let hex = match (made_with, origin, scheme) {
                ("hmac-sha256", ApiKeyOrigin::Imported, _) => {
                    return Err("of an imported key must be `sha256:…`, which needs no pepper".to_owned());
                }
                ("hmac-sha256", ApiKeyOrigin::Own, DigestScheme::Sha256) => {
                    return Err("was made with a pepper, but `api_keys.pepper` is not configured".to_owned());
                }
                ("hmac-sha256", ApiKeyOrigin::Own, DigestScheme::HmacSha256(configured)) => {
                    match digest.split_once(':') {
                        Some((pepper, _)) if pepper != configured.to_string() => {
                            return Err(other_pepper(pepper, configured));
                        }
                        Some((_, hex)) => hex,
                        // Earlier versions wrote no fingerprint.
                        None => digest,
                    }
                }
                ("sha256", ApiKeyOrigin::Own, DigestScheme::HmacSha256(_)) => {
                    return Err(
                        "was made without a pepper, but `api_keys.pepper` is configured; create the key anew"
                            .to_owned(),
                    );
                }
                ("sha256", ApiKeyOrigin::Own, DigestScheme::Sha256) | ("sha256", ApiKeyOrigin::Imported, _) => digest,
                _ => return Err(FORM.to_owned()),
            };
            CredentialDigest::from_hex(hex).map_err(message_of)
        })
    }

    fn needed<T>(&mut self, entry: &Entry, name: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        if entry.field(name).is_none() {
            let hint = match name {
                "expires_at" => "; write `never` or a time such as `2027-01-01T00:00:00Z`",
                "id" => "; for a key of another system write `imported: true`",
                _ => "",
            };
            self.report(entry.line, format!("`{name}` is missing{hint}"));
            return None;
        }
        self.optional(entry, name, parse)
    }

    fn optional<T>(&mut self, entry: &Entry, name: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let Field { line, value, .. } = entry.field(name)?;
        let parsed = match value {
            Value::Text(text) => parse(text),
            Value::Null => Err("has no value".to_owned()),
            Value::List(_) => Err("must be one text, not a list".to_owned()),
            Value::Unreadable => return None,
        };
        parsed
            .map_err(|message| self.report(*line, format!("`{name}` {message}")))
            .ok()
    }

    fn list<T>(&mut self, entry: &Entry, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let Some(Field { line, value, .. }) = entry.field(name) else {
            return Vec::new();
        };
        let members = match value {
            Value::List(members) => members,
            Value::Text(_) | Value::Null => {
                self.report(*line, format!("`{name}` must be a list, such as `[…]`"));
                return Vec::new();
            }
            Value::Unreadable => return Vec::new(),
        };
        let mut parsed = Vec::with_capacity(members.len());
        for (text, line) in members {
            match parse(text) {
                Ok(member) => parsed.push(member),
                Err(message) => self.report(*line, format!("`{name}`: {message}")),
            }
        }
        parsed
    }

    fn share_scopes(&mut self, scopes: ScopeSet) -> Arc<ScopeSet> {
        if let Some(shared) = self.scopes.get(&scopes) {
            return Arc::clone(shared);
        }
        let shared = Arc::new(scopes);
        self.scopes.insert(Arc::clone(&shared));
        shared
    }

    fn share_text(&mut self, text: String) -> Arc<str> {
        if let Some(shared) = self.texts.get(text.as_str()) {
            return Arc::clone(shared);
        }
        let shared: Arc<str> = text.into();
        self.texts.insert(Arc::clone(&shared));
        shared
    }
}

/// Returns the message for a digest whose pepper has the fingerprint `made_with`.
fn other_pepper(made_with: &str, configured: PepperFingerprint) -> String {
    // Text of another form may be a part of a digest, which no message shows.
    let is_fingerprint = made_with.len() == 8 && made_with.bytes().all(|byte| byte.is_ascii_hexdigit());
    let made_with = if is_fingerprint { made_with } else { "unreadable" };
    format!(
        "was made with another pepper (its fingerprint is {made_with}, that of `api_keys.pepper` is {configured}); put the \
         earlier pepper back, or create the key anew"
    )
}

fn message_of(error: impl fmt::Display) -> String {
    format!("is wrong: {error}")
}

fn environment(text: &str) -> Result<ApiKeyEnvironment, String> {
    text.parse().map_err(message_of)
}

/// Returns `text` if it is valid as a name, a client or an organization.
///
/// # Errors
/// The text is empty, longer than 256 bytes, or has control characters, which could forge lines in a log or a table.
pub fn plain_text(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(format!(
            "must have 1 to {TEXT_BYTES_MAX} bytes and no control characters"
        ));
    }
    Ok(text.to_owned())
}

/// Parses a range such as `10.0.0.0/8`, or a single address. `None` for any other
/// text, and for a range with host bits (`10.0.0.1/8`), which is ambiguous.
pub fn address_range(text: &str) -> Option<ipnet::IpNet> {
    if let Ok(address) = text.parse::<std::net::IpAddr>() {
        return Some(address.to_canonical().into());
    }
    text.parse::<ipnet::IpNet>()
        .ok()
        .filter(|range| range.trunc() == *range)
        .map(canonical)
}

fn timestamp(text: &str) -> Result<Timestamp, String> {
    text.parse::<jiff::Timestamp>()
        .ok()
        .and_then(|time| u64::try_from(time.as_millisecond()).ok())
        .map(Timestamp::from_unix_millis)
        .ok_or_else(|| "must be a time since 1970 such as `2027-01-01T00:00:00Z` (RFC 3339)".to_owned())
}

/// Returns `time` as RFC 3339 in UTC, in whole seconds, rounded down.
pub fn rfc3339(time: Timestamp) -> String {
    i64::try_from(time.as_unix_secs())
        .ok()
        .and_then(|secs| jiff::Timestamp::from_second(secs).ok())
        .unwrap_or(jiff::Timestamp::MAX)
        .to_string()
}

#[cfg(test)]
mod tests;
