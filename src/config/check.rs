//! How are mistakes reported while sections are converted? By the checker, which knows the place of every value.

use crate::config::error::ConfigError;
use crate::config::error::ConfigWarning;
use crate::config::error::MISSING_FILE;
use crate::config::error::UNREADABLE_KEY;
use crate::config::include::ReadLog;
use crate::config::read::Text;
use crate::config::read::TypedNode;
use crate::config::read::nearest;
use crate::config::tree::FileId;
use crate::config::tree::NodeId;
use crate::config::tree::ROOT;
use crate::config::tree::Tree;
use crate::config::tree::printable;
use crate::model::names::Name;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::path::PathBuf;

/// Name of the issuer that the token endpoint makes; no configured issuer may have it.
pub const OWN_ISSUER: &str = "keygate";

/// A key has a few kilobytes, a chain of certificates some more.
const KEY_FILE_BYTES_MAX: u64 = 64 * 1024;

/// The tree, and the mistakes and warnings found so far.
pub(in crate::config) struct Checker<'a> {
    pub tree: Tree,
    pub errors: Vec<ConfigError>,
    pub warnings: Vec<ConfigWarning>,
    /// Returns the value of `${NAME}`.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    pub files: ReferencedFiles,
    pub log: &'a mut dyn ReadLog,
}

/// The handling of files with keys and secrets to which a configuration refers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReferencedFiles {
    /// A missing file is a mistake.
    MustExist,
    /// A missing file is a mistake, except `api_keys.file`.
    MustExistButKeys,
    /// Missing files are accepted: the configuration is only compared.
    MayBeMissing,
}

impl Checker<'_> {
    pub(in crate::config) fn push(
        &mut self,
        at: NodeId,
        code: &'static str,
        problem: impl Into<String>,
        hint: Option<String>,
    ) {
        let error = self.new_error(at, code, problem.into(), hint);
        self.errors.push(error);
    }

    fn new_error(&self, at: NodeId, code: &'static str, problem: String, hint: Option<String>) -> ConfigError {
        ConfigError {
            code,
            file: self.tree.file_of(at).to_owned(),
            place: Some(self.tree.place(at)),
            path: self.tree.path(at),
            problem,
            hint,
        }
    }

    /// Reports that a file could not be read into the tree.
    pub(in crate::config) fn file_error(&mut self, file: FileId, code: &'static str, problem: String) {
        self.errors.push(ConfigError {
            code,
            file: self.tree.file(file).to_owned(),
            place: None,
            path: String::new(),
            problem,
            hint: None,
        });
    }

    pub(in crate::config) fn error(&mut self, at: NodeId, code: &'static str, problem: impl Into<String>) {
        self.push(at, code, problem, None);
    }

    pub(in crate::config) fn error_with(
        &mut self,
        at: NodeId,
        code: &'static str,
        problem: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.push(at, code, problem, Some(hint.into()));
    }

    /// Reports that the value at `at` conflicts with the value at `other`. The hint gives the place of `other`.
    pub(in crate::config) fn error_conflict(&mut self, at: NodeId, code: &'static str, problem: String, other: NodeId) {
        let hint = format!("the other one is in {}", self.tree.whereabouts(other, at));
        self.error_with(at, code, problem, hint);
    }

    /// Adds a warning: the configuration stays valid.
    pub(in crate::config) fn warn(
        &mut self,
        at: NodeId,
        code: &'static str,
        problem: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let warning = self.warning(at, code, problem, hint);
        self.warnings.push(warning);
    }

    /// Returns a warning, for a caller that does not know yet whether it is true.
    pub(in crate::config) fn warning(
        &self,
        at: NodeId,
        code: &'static str,
        problem: impl Into<String>,
        hint: impl Into<String>,
    ) -> ConfigWarning {
        ConfigWarning(self.new_error(at, code, problem.into(), Some(hint.into())))
    }

    /// Returns `problem` after the value at `at`, or alone if the value came from the environment.
    pub(in crate::config) fn with_value(&self, at: NodeId, problem: &str) -> String {
        match self.tree.display_value(at) {
            Some(shown) => format!("`{shown}`: {problem}"),
            None => problem.to_owned(),
        }
    }

    /// Reports that `key` is missing in the map at `at`. Does nothing if the tree has the key: then its value was
    /// rejected and reported already.
    pub(in crate::config) fn report_missing(&mut self, at: NodeId, key: &'static str, hint: &str) {
        if self.tree.entry(at, key).is_none() {
            self.error_with(at, "missing-key", format!("`{key}` is missing"), hint);
        }
    }

    /// Returns `value`, and reports that `key` is missing where there is none.
    pub(in crate::config) fn need<T>(
        &mut self,
        at: NodeId,
        key: &'static str,
        value: Option<T>,
        hint: &str,
    ) -> Option<T> {
        if value.is_none() {
            self.report_missing(at, key, hint);
        }
        value
    }

    /// Returns `value`. Where there is none, reports that no file has the
    /// section `key`, unless a mistake in it was reported already.
    pub(in crate::config) fn need_section<T>(&mut self, key: &'static str, value: Option<T>, hint: &str) -> Option<T> {
        if value.is_none() && self.tree.is_complete() && self.tree.sections(key).next().is_none() {
            self.report_missing(ROOT, key, hint);
        }
        value
    }

    /// Returns whether the file has a `token_endpoint`, which makes an issuer called [`OWN_ISSUER`].
    pub(in crate::config) fn has_own_issuer(&self) -> bool {
        self.tree.entry(ROOT, "token_endpoint").is_some()
    }

    /// Returns whether a file defines `name` under `section`, and reports an undefined name.
    pub(in crate::config) fn refer(&mut self, section: &'static str, noun: &str, name: &Text<Name>) -> bool {
        self.refer_to(section, noun, name.get(), name.at)
    }

    /// Returns whether a file defines `name`, the value or the key of the node `at`, under `section`. Reports an undefined name.
    pub(in crate::config) fn refer_to(&mut self, section: &'static str, noun: &str, name: &Name, at: NodeId) -> bool {
        let wanted = name.as_str();
        let known = || self.tree.sections(section).flat_map(|target| self.tree.keys(target));
        if known().any(|known| known == wanted)
            || (section == "issuers" && wanted == OWN_ISSUER && self.has_own_issuer())
        {
            return true;
        }
        // The section may have a wrong type or be in an unreadable file: that was reported already.
        if !self.tree.is_complete() || self.tree.sections(section).any(|target| self.tree.is_cut(target)) {
            return false;
        }
        let is_key = self.tree.key(at) == Some(wanted);
        let shown = if is_key {
            Some(wanted.to_owned())
        } else {
            self.tree.display_value(at)
        };
        let named = match shown {
            Some(shown) => format!("no {noun} is named `{shown}`"),
            None => format!("no {noun} has this name"),
        };
        let hint = match nearest(wanted, known()) {
            Some(near) => format!("did you mean `{}`?", printable(near)),
            None if known().next().is_none() => match self.tree.files() {
                [_] => format!("there is no `{section}` in this file"),
                _ => format!("there is no `{section}` in any file"),
            },
            None => format!("known: {}", known().map(printable).collect::<Vec<_>>().join(", ")),
        };
        self.error_with(at, "dangling-reference", named, hint);
        false
    }

    /// Reports each of `names` that no file defines under `section`, or that is listed twice.
    pub(in crate::config) fn refer_all(&mut self, section: &'static str, noun: &str, names: &[Text<Name>]) {
        for name in names {
            self.refer(section, noun, name);
        }
        self.refuse_duplicates(names);
    }

    /// Reports every name under `section` that an earlier file defines too.
    pub(in crate::config) fn refuse_duplicate_names(&mut self, section: &'static str) {
        let mut first: HashMap<&str, NodeId> = HashMap::new();
        let mut twice = Vec::new();
        for target in self.tree.sections(section) {
            for (name, at) in self.tree.entries(target) {
                match first.entry(name) {
                    Entry::Vacant(vacant) => drop(vacant.insert(at)),
                    Entry::Occupied(known) => {
                        let problem = format!("`{}` is in `{section}` of another file already", printable(name));
                        twice.push((at, problem, *known.get()));
                    }
                }
            }
        }
        for (at, problem, first) in twice {
            self.error_conflict(at, "duplicate-name", problem, first);
        }
    }

    /// Reports every entry that is in the list twice.
    pub(in crate::config) fn refuse_duplicates<T: PartialEq>(&mut self, list: &[TypedNode<T>]) {
        for (index, item) in list.iter().enumerate() {
            if list.iter().take(index).any(|earlier| earlier.value == item.value) {
                let problem = self.with_value(item.at, "is in this list twice");
                self.error(item.at, "duplicate-entry", problem);
            }
        }
    }

    /// Returns the values of a list, and reports every entry that is in it twice.
    pub(in crate::config) fn distinct<T: PartialEq>(&mut self, list: Vec<Text<T>>) -> Vec<T> {
        self.refuse_duplicates(&list);
        values(list)
    }

    /// Returns `path`, which is relative to the folder of the file that contains `at`, as a path for this process.
    pub(in crate::config) fn resolve(&self, at: NodeId, path: &Path) -> PathBuf {
        match self.tree.file_of(at).parent() {
            Some(folder) => folder.join(path),
            None => path.to_owned(),
        }
    }

    /// Reads a file of keys or certificates, and reports why it cannot be read. Returns its resolved path and its bytes.
    /// The bytes are empty with [`ReferencedFiles::MayBeMissing`], which reads nothing.
    pub(in crate::config) fn read_file(&mut self, path: &Text<PathBuf>) -> Option<(PathBuf, Vec<u8>)> {
        let file = self.resolve(path.at, path.get());
        let problem = match std::fs::metadata(&file) {
            _ if self.files == ReferencedFiles::MayBeMissing => return Some((file, Vec::new())),
            Err(error) => format!("the file cannot be read: {}", error.kind()),
            // Reading a named pipe would wait for its writer, without end.
            Ok(metadata) if !metadata.is_file() => "this is not a file".to_owned(),
            Ok(metadata) if metadata.len() > KEY_FILE_BYTES_MAX => "the file is over 64 KiB".to_owned(),
            Ok(_) => match std::fs::read(&file) {
                Err(error) => format!("the file cannot be read: {}", error.kind()),
                Ok(bytes) => {
                    self.log.read(&file, &bytes);
                    return Some((file, bytes));
                }
            },
        };
        let problem = self.with_value(path.at, &problem);
        let hint = "paths are relative to the folder of this file";
        self.error_with(path.at, UNREADABLE_KEY, problem, hint);
        None
    }

    /// Returns the resolved path, and reports a file that is missing where it must exist.
    pub(in crate::config) fn existing_file(&mut self, path: &Text<PathBuf>) -> PathBuf {
        let resolved = self.resolve(path.at, path.get());
        if self.files != ReferencedFiles::MayBeMissing && !resolved.is_file() {
            self.report_missing_file(path.at, "paths are relative to the folder of this file");
        }
        resolved
    }

    /// Reports that there is no file of the name at `at`.
    pub(in crate::config) fn report_missing_file(&mut self, at: NodeId, hint: &str) {
        let problem = self.with_value(at, "there is no such file");
        self.error_with(at, MISSING_FILE, problem, hint);
    }
}

/// Returns the values of a list without their places.
pub(in crate::config) fn values<T>(list: Vec<Text<T>>) -> Vec<T> {
    let mut values: Vec<T> = list.into_iter().map(TypedNode::take).collect();
    // Collected in place, with the room of the larger nodes. Thousands of routes keep their lists.
    values.shrink_to_fit();
    values
}
