//! Who collects the mistakes between mirror and type? The checker, which knows where every value stands.

use crate::config::error::ConfigError;
use crate::config::read::At;
use crate::config::read::Text;
use crate::config::read::nearest;
use crate::config::tree::NodeId;
use crate::config::tree::ROOT;
use crate::config::tree::Tree;
use crate::config::tree::printable;
use crate::model::names::Name;
use std::path::Path;
use std::path::PathBuf;

pub(in crate::config) struct Checker<'a> {
    pub tree: Tree,
    pub errors: Vec<ConfigError>,
    pub file: &'a Path,
}

impl Checker<'_> {
    pub(in crate::config) fn push(
        &mut self,
        at: NodeId,
        code: &'static str,
        problem: impl Into<String>,
        hint: Option<String>,
    ) {
        self.errors.push(ConfigError {
            code,
            file: self.file.to_owned(),
            place: Some(self.tree.place(at)),
            path: self.tree.path(at),
            problem: problem.into(),
            hint,
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

    /// `problem` with the value in front of it, unless that came from the environment.
    pub(in crate::config) fn with_value(&self, at: NodeId, problem: &str) -> String {
        match self.tree.shown(at) {
            Some(shown) => format!("`{shown}`: {problem}"),
            None => problem.to_owned(),
        }
    }

    /// Says that `key` is missing in the map at `at`; not when it was there and has been reported already.
    pub(in crate::config) fn missing(&mut self, at: NodeId, key: &'static str, hint: &str) {
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
            self.missing(at, key, hint);
        }
        value
    }

    /// Whether `name` stands under `section` at the top of the file; says so when it does not.
    pub(in crate::config) fn refer(&mut self, section: &'static str, what: &str, name: &Text<Name>) -> bool {
        let target = self.tree.entry(ROOT, section);
        // The whole section may be of a wrong type; that has been said.
        if target.is_some_and(|target| self.tree.is_cut(target)) {
            return false;
        }
        let wanted = name.get().as_str();
        let known = || target.into_iter().flat_map(|target| self.tree.keys(target));
        if known().any(|known| known == wanted) {
            return true;
        }
        let named = match self.tree.shown(name.at) {
            Some(shown) => format!("no {what} is named `{shown}`"),
            None => format!("no {what} has this name"),
        };
        let hint = match nearest(wanted, known()) {
            Some(near) => format!("did you mean `{}`?", printable(near)),
            None if known().next().is_none() => format!("there is no `{section}` in this file"),
            None => format!("known: {}", known().map(printable).collect::<Vec<_>>().join(", ")),
        };
        self.error_with(name.at, "dangling-reference", named, hint);
        false
    }

    /// Says of every entry of a list that stood there before. `what` is the plural.
    pub(in crate::config) fn no_doubles<T: PartialEq>(&mut self, list: &[Text<T>]) {
        for (index, item) in list.iter().enumerate() {
            if list.iter().take(index).any(|earlier| earlier.get() == item.get()) {
                let problem = self.with_value(item.at, "is in this list twice");
                self.error(item.at, "duplicate-entry", problem);
            }
        }
    }

    /// A path of the file, made absolute or relative to where the process stands: it was written relative to the file.
    pub(in crate::config) fn resolve(&self, path: &Path) -> PathBuf {
        match self.file.parent() {
            Some(folder) => folder.join(path),
            None => path.to_owned(),
        }
    }

    /// The resolved path of a file that must be there.
    pub(in crate::config) fn existing_file(&mut self, path: &Text<PathBuf>) -> PathBuf {
        let resolved = self.resolve(path.get());
        if !resolved.is_file() {
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
