//! Who collects the mistakes between mirror and type? The checker, which knows where every value stands.

use crate::config::error::ConfigError;
use crate::config::error::ConfigWarning;
use crate::config::include::ReadLog;
use crate::config::read::At;
use crate::config::read::Text;
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

/// Name of the issuer that the token endpoint makes; no other has it.
pub const OWN_ISSUER: &str = "keygate";

pub(in crate::config) struct Checker<'a> {
    pub tree: Tree,
    pub errors: Vec<ConfigError>,
    pub warnings: Vec<ConfigWarning>,
    /// What `${NAME}` stands for.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    pub files: ReferencedFiles,
    pub log: &'a mut dyn ReadLog,
}

/// Whether the files with keys and secrets, which a configuration names, are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReferencedFiles {
    /// What is not there is a mistake.
    MustExist,
    /// For a configuration that is only compared.
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
        let mistake = self.at(at, code, problem.into(), hint);
        self.errors.push(mistake);
    }

    fn at(&self, at: NodeId, code: &'static str, problem: String, hint: Option<String>) -> ConfigError {
        ConfigError {
            code,
            file: self.tree.file_of(at).to_owned(),
            place: Some(self.tree.place(at)),
            path: self.tree.path(at),
            problem,
            hint,
        }
    }

    /// About a file that could not be read into the tree.
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

    /// Says that what is at `at` cannot stand beside `other`.
    pub(in crate::config) fn error_conflict(&mut self, at: NodeId, code: &'static str, problem: String, other: NodeId) {
        let hint = format!("the other one is in {}", self.tree.whereabouts(other, at));
        self.error_with(at, code, problem, hint);
    }

    /// Says something that does not make the configuration bad.
    pub(in crate::config) fn warn(
        &mut self,
        at: NodeId,
        code: &'static str,
        problem: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let warning = self.at(at, code, problem.into(), Some(hint.into()));
        self.warnings.push(ConfigWarning(warning));
    }

    /// `problem` with the value in front of it, unless that came from the environment.
    pub(in crate::config) fn with_value(&self, at: NodeId, problem: &str) -> String {
        match self.tree.display_value(at) {
            Some(shown) => format!("`{shown}`: {problem}"),
            None => problem.to_owned(),
        }
    }

    /// Says that `key` is missing in the map at `at`; not when it was there and has been reported already.
    pub(in crate::config) fn report_missing(&mut self, at: NodeId, key: &'static str, hint: &str) {
        if self.tree.entry(at, key).is_none() {
            self.error_with(at, "missing-key", format!("`{key}` is missing"), hint);
        }
    }

    /// `value`, or the error that `key` is missing.
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

    /// Says that nothing at the top of any file is called `key`; not when it was there and has been reported already.
    pub(in crate::config) fn need_section<T>(&mut self, key: &'static str, value: Option<T>, hint: &str) -> Option<T> {
        if value.is_none() && self.tree.is_complete() && self.tree.sections(key).next().is_none() {
            self.report_missing(ROOT, key, hint);
        }
        value
    }

    /// Whether the file has a `token_endpoint`, which makes an issuer called [`OWN_ISSUER`].
    pub(in crate::config) fn has_own_issuer(&self) -> bool {
        self.tree.entry(ROOT, "token_endpoint").is_some()
    }

    /// Whether `name` stands under `section` at the top of one of the files; says so when it does not.
    pub(in crate::config) fn refer(&mut self, section: &'static str, noun: &str, name: &Text<Name>) -> bool {
        let wanted = name.get().as_str();
        let known = || self.tree.sections(section).flat_map(|target| self.tree.keys(target));
        if known().any(|known| known == wanted)
            || (section == "issuers" && wanted == OWN_ISSUER && self.has_own_issuer())
        {
            return true;
        }
        // The whole section may be of a wrong type, or in a file that cannot be read; that has been said.
        if !self.tree.is_complete() || self.tree.sections(section).any(|target| self.tree.is_cut(target)) {
            return false;
        }
        let named = match self.tree.display_value(name.at) {
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
        self.error_with(name.at, "dangling-reference", named, hint);
        false
    }

    /// Says of every one of `names` that does not stand under `section`, or that the list has twice.
    pub(in crate::config) fn refer_all(&mut self, section: &'static str, noun: &str, names: &[Text<Name>]) {
        for name in names {
            self.refer(section, noun, name);
        }
        self.refuse_duplicates(names);
    }

    /// Says of every name under `section` that stands there in an earlier file too.
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

    /// Says of every entry of a list that stood there before.
    pub(in crate::config) fn refuse_duplicates<T: PartialEq>(&mut self, list: &[At<T>]) {
        for (index, item) in list.iter().enumerate() {
            if list.iter().take(index).any(|earlier| earlier.value == item.value) {
                let problem = self.with_value(item.at, "is in this list twice");
                self.error(item.at, "duplicate-entry", problem);
            }
        }
    }

    /// Returns the values of a list, and says of every one that stood there before.
    pub(in crate::config) fn distinct<T: PartialEq>(&mut self, list: Vec<Text<T>>) -> Vec<T> {
        self.refuse_duplicates(&list);
        values(list)
    }

    /// The path that was written at `at`, made absolute or relative to where the process stands: it was written relative
    /// to the folder of its file.
    pub(in crate::config) fn resolve(&self, at: NodeId, path: &Path) -> PathBuf {
        match self.tree.file_of(at).parent() {
            Some(folder) => folder.join(path),
            None => path.to_owned(),
        }
    }

    /// The resolved path of a file that must be there.
    pub(in crate::config) fn existing_file(&mut self, path: &Text<PathBuf>) -> PathBuf {
        let resolved = self.resolve(path.at, path.get());
        if self.files == ReferencedFiles::MustExist && !resolved.is_file() {
            let problem = self.with_value(path.at, "there is no such file");
            self.error_with(
                path.at,
                "file-not-found",
                problem,
                "paths are relative to the folder of this file",
            );
        }
        resolved
    }
}

/// The values of a list whose places are no longer needed.
pub(in crate::config) fn values<T>(list: Vec<Text<T>>) -> Vec<T> {
    list.into_iter().map(At::take).collect()
}
