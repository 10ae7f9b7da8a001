//! How does Keygate change a keys file without losing the operator's comments or anything else?
//!
//! A change inserts text at one place. The result is parsed again before it is written: unless
//! it contains exactly the intended change, the file stays as it was.

use crate::keys_file::KeysFileError;
use crate::keys_file::parse;
use crate::keys_file::rfc3339;
use crate::keys_file::yaml;
use crate::model::api_key::DigestScheme;
use crate::model::api_key::KeyId;
use crate::model::clock::Timestamp;
use crate::model::directory::ApiKeyOrigin;
use crate::model::directory::KeyRecord;
use crate::model::directory::KeyState;
use crate::model::replacement::Replacement;
use crate::model::scope::Scope;
use ipnet::IpNet;
use serde::Serialize;
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

/// The content that a missing file stands for.
const EMPTY: &str = "keys: []\n";

/// Appends `record`, one of Keygate's own keys, to the list; creates a missing file.
///
/// # Errors
/// The file has mistakes (all are listed), cannot be read or written, or has a form that cannot be extended.
pub fn append(
    path: &Path,
    record: &KeyRecord,
    scheme: DigestScheme,
    created_at: Timestamp,
) -> Result<(), KeysFileError> {
    edit(path, scheme, |path, text, mut records| {
        records.push(record.clone());
        let (document, _) = yaml::read(text);
        let uneditable = |hint| KeysFileError::Uneditable {
            path: path.to_owned(),
            hint,
        };
        let mut text = text.to_owned();
        let Some(list) = document.list else {
            // The file is empty, or has only comments.
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str("keys:\n");
            text.push_str(&item(record, scheme, created_at, 2));
            return Ok((text, records));
        };
        let start = byte_of(&text, list.index);
        let brackets = text[start..].starts_with('[');
        let indent = if brackets && document.entries.is_empty() {
            // The parser reports reliably where brackets begin, but not where they end.
            let end = text[start..].find(']').map_or(text.len(), |end| start + end + 1);
            text.replace_range(start..end, "");
            2
        } else if brackets {
            return Err(uneditable(
                "write the list with one `- ` per key instead of in brackets",
            ));
        } else if text[start..].starts_with('-') {
            list.column
        } else {
            // For a list that is not indented below `keys:`, the parser reports the position after the first dash.
            0
        };
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&item(record, scheme, created_at, indent));
        Ok((text, records))
    })
}

/// Marks the key `id` as revoked; its entry stays.
///
/// # Errors
/// As for [`append`]; also if no key has this id, or the key is already revoked.
pub fn revoke(path: &Path, id: KeyId, scheme: DigestScheme, at: Timestamp) -> Result<(), KeysFileError> {
    edit(path, scheme, |path, text, mut records| {
        let Some(index) = records.iter().position(|record| record.id == id) else {
            return Err(KeysFileError::NoSuchKey {
                path: path.to_owned(),
                id,
            });
        };
        if records[index].state == KeyState::Revoked {
            return Err(KeysFileError::AlreadyRevoked { id });
        }
        records[index].state = KeyState::Revoked;
        // Every entry became a record, or `edit` would have rejected the file, so the indexes agree.
        let (document, _) = yaml::read(text);
        let entry = &document.entries[index];
        let mut text = text.to_owned();
        let start = byte_of(&text, entry.start);
        let time = rfc3339(at);
        if text[start..].starts_with('{') {
            text.insert_str(start + 1, &format!(" revoked_at: \"{time}\","));
        } else {
            let name = match records[index].origin {
                ApiKeyOrigin::Own => "id",
                ApiKeyOrigin::Imported => "digest",
            };
            let field = entry.field(name).expect("a record has the field that identifies it");
            let after = end_of_line(&mut text, field.line);
            text.insert_str(after, &format!("{:1$}revoked_at: {time}\n", "", field.column));
        }
        Ok((text, records))
    })
}

/// Replaces the file at `path` by the text that `change` returns, unless that text parses to other records than
/// `change` returns with it. Only one process writes at a time, and no reader sees a partial file.
fn edit(
    path: &Path,
    scheme: DigestScheme,
    change: impl FnOnce(&Path, &str, Vec<KeyRecord>) -> Result<(String, Vec<KeyRecord>), KeysFileError>,
) -> Result<(), KeysFileError> {
    // A symbolic link stays; its target is replaced.
    let path = &std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let unwritable = |source| KeysFileError::Unwritable {
        path: path.clone(),
        source,
    };
    // Lock a separate file, because every change replaces the keys file itself. Closing the file unlocks it.
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(beside(path, ".lock"))
        .map_err(unwritable)?;
    lock.lock().map_err(unwritable)?;
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => EMPTY.to_owned(),
        read => read.map_err(|source| KeysFileError::Unreadable {
            path: path.clone(),
            source,
        })?,
    };
    let broken = |problems| KeysFileError::Broken {
        path: path.clone(),
        problems,
    };
    let records = parse(&text, scheme).map_err(broken)?;
    let (changed, expected) = change(path, &text, records)?;
    if parse(&changed, scheme).ok() != Some(expected) {
        return Err(KeysFileError::Uneditable {
            path: path.clone(),
            hint: "the change would not read back as meant; please make it by hand",
        });
    }
    replace(path, &changed).map_err(unwritable)
}

/// Replaces the keys file at `path`. The caller holds the lock.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let replacement = Replacement::create(path, 0o600)?;
    // Keep the owner when root edits the file; otherwise the service could no longer read it.
    if let Ok(old) = std::fs::metadata(path) {
        let new = replacement.file().metadata()?;
        if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
            std::os::unix::fs::fchown(replacement.file(), Some(old.uid()), Some(old.gid()))?;
        }
    }
    replacement.finish(text.as_bytes()).map(drop)
}

/// Returns `path` with `suffix` at the end of the file name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// One of Keygate's own keys, as the file contains it.
#[derive(Serialize)]
struct Item<'a> {
    id: &'a str,
    digest: String,
    name: &'a str,
    env: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scopes: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    organization: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    addresses: Vec<String>,
    created_at: String,
    expires_at: String,
}

/// Returns `record` as an entry of the list, indented by `indent` columns.
fn item(record: &KeyRecord, scheme: DigestScheme, created_at: Timestamp, indent: usize) -> String {
    let item = Item {
        id: record.id.as_str(),
        digest: format!("{scheme}:{}", record.digest.to_hex()),
        name: &record.name,
        env: record.environment.as_str(),
        scopes: record.scopes.iter().map(Scope::as_str).collect(),
        client: record.client.as_deref(),
        organization: record.organization.as_deref(),
        addresses: record.addresses.iter().map(IpNet::to_string).collect(),
        created_at: rfc3339(created_at),
        expires_at: record.expires_at.map_or_else(|| "never".to_owned(), rfc3339),
    };
    let text = serde_yaml::to_string(&[item]).expect("texts and lists of texts can be written");
    text.lines().map(|line| format!("{:indent$}{line}\n", "")).collect()
}

/// Returns the offset in bytes of the character at `char_index`.
fn byte_of(text: &str, char_index: usize) -> usize {
    text.char_indices().nth(char_index).map_or(text.len(), |(byte, _)| byte)
}

/// Returns the offset in bytes after `line` (from 1); ends the last line with a line feed if it has none.
fn end_of_line(text: &mut String, line: usize) -> usize {
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text.split_inclusive('\n').take(line).map(str::len).sum()
}
