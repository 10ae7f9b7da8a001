//! In which file and line is each part of a valid configuration? Explanations and comparisons cite it.

use crate::config::tree::ROOT;
use crate::config::tree::Tree;
use crate::config::tree::Value;
use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

/// A line of one of the files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceLine {
    pub file: PathBuf,
    pub line: usize,
}

impl fmt::Display for SourceLine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.file.display(), self.line)
    }
}

/// The line of every section, of each of its entries, and of each key of an entry.
#[derive(Clone, Debug)]
pub struct SourceLines(HashMap<[String; 3], SourceLine>);

impl SourceLines {
    /// Returns the lines of all files of `tree`. For a section in several files, it is the first.
    pub(in crate::config) fn of(tree: &Tree) -> Self {
        let mut origins = Self(HashMap::new());
        origins.add(["", "", ""], tree, ROOT);
        for (section, at) in tree.all_sections() {
            origins.add([section, "", ""], tree, at);
            for (name, entry) in tree.entries(at) {
                origins.add_entry(section, name, tree, entry);
            }
            // The entries of a list are found by their `name`.
            if let Value::List(items) = tree.value(at) {
                for &item in items {
                    if let Some(name) = tree.entry(item, "name").map(|name| tree.value(name))
                        && let Value::Text(name) = name
                    {
                        origins.add_entry(section, name, tree, item);
                    }
                }
            }
        }
        origins
    }

    fn add_entry(&mut self, section: &str, name: &str, tree: &Tree, entry: crate::config::tree::NodeId) {
        self.add([section, name, ""], tree, entry);
        for (key, at) in tree.entries(entry) {
            self.add([section, name, key], tree, at);
        }
    }

    fn add(&mut self, path: [&str; 3], tree: &Tree, at: crate::config::tree::NodeId) {
        let origin = SourceLine {
            file: tree.file_of(at).to_owned(),
            line: tree.place(at).line,
        };
        self.0.entry(path.map(str::to_owned)).or_insert(origin);
    }

    /// Returns the line of `[section, name, key]`, such as `["routes", "orders", "scopes"]`. For a missing key it is
    /// the line of the entry, else of the section, else of the main file.
    ///
    /// # Panics
    /// Never: the main file is always there.
    pub fn find(&self, path: [&str; 3]) -> &SourceLine {
        let [section, name, key] = path.map(str::to_owned);
        let none = String::new;
        let tries = [
            [section.clone(), name.clone(), key],
            [section.clone(), name, none()],
            [section, none(), none()],
        ];
        let found = tries.iter().find_map(|path| self.0.get(path));
        found.unwrap_or_else(|| &self.0[&[none(), none(), none()]])
    }
}
