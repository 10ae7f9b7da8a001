//! Which values does the configuration contain, and where? All files form one tree with a root for each file. Every node
//! knows its file, key path, line and column.

mod scalar;
mod parse;

use crate::config::error::Place;
use std::cell::Cell;
use std::path::Path;
use std::path::PathBuf;
use zeroize::Zeroize;

/// Limit of all files together, in bytes. 10 000 routes need about half of it.
pub(in crate::config) const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// The problem of a configuration over [`FILE_BYTES_MAX`].
pub(in crate::config) const TOO_MANY_BYTES: &str = "a configuration is at most 1 MiB, all files together";

/// The number of a node in a tree; nodes are numbered as they are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::config) struct NodeId(pub(in crate::config) u32);

/// The root of the main file, which is parsed first.
pub(in crate::config) const ROOT: NodeId = NodeId(0);

/// The number of a file in a tree; files are numbered as they are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct FileId(u16);

#[derive(Clone, Debug)]
pub(in crate::config) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<NodeId>),
    Map(Vec<(String, NodeId)>),
}

/// The kinds of a value that says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Emptiness {
    /// No value after a key or a dash, or `null`.
    Value,
    List,
    Map,
}

/// The step from a map or a list to one of its values.
#[derive(Clone, Debug)]
enum Step {
    Key(String),
    Index(usize),
}

#[derive(Debug)]
struct Node {
    parent: Option<(NodeId, Step)>,
    file: FileId,
    /// The place of the key for a value in a map, otherwise of the value.
    place: Place,
    value: Value,
    /// `true` if the value is partly from the environment, so that no error may print it.
    expanded: bool,
    /// `true` if the text begins with `file:` in the file itself, not by a variable.
    file_reference: bool,
    /// `true` if the node was rejected and reported. Later passes ignore it, and do not report it as missing.
    cut: Cell<bool>,
}

#[derive(Default)]
pub(in crate::config) struct Tree {
    nodes: Vec<Node>,
    files: Vec<PathBuf>,
    /// The root of each file that is valid YAML.
    roots: Vec<NodeId>,
    /// Bytes parsed so far.
    bytes: u64,
    /// `true` if an included file is missing, or an entry of `include` was rejected.
    incomplete: bool,
}

impl Drop for Tree {
    fn drop(&mut self) {
        // Texts may contain secrets.
        for node in &mut self.nodes {
            if let Value::Text(text) = &mut node.value {
                text.zeroize();
            }
        }
    }
}

impl Tree {
    /// Adds a file, and returns its number. Errors are sorted in the order of the files.
    pub(in crate::config) fn add_file(&mut self, path: PathBuf) -> FileId {
        let file = FileId(u16::try_from(self.files.len()).expect("fewer files are included"));
        self.files.push(path);
        file
    }

    /// Returns the limit of the next file, in bytes: the rest of [`FILE_BYTES_MAX`].
    pub(in crate::config) fn bytes_left(&self) -> u64 {
        FILE_BYTES_MAX.saturating_sub(self.bytes)
    }

    pub(in crate::config) fn file(&self, file: FileId) -> &Path {
        &self.files[usize::from(file.0)]
    }

    /// Returns every file, in the order in which they were added.
    pub(in crate::config) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Returns whether every file could be read: then a name that is missing here is defined nowhere.
    pub(in crate::config) fn is_complete(&self) -> bool {
        !self.incomplete && self.roots.len() == self.files.len() && !self.roots.iter().any(|&root| self.is_cut(root))
    }

    /// Makes [`Self::is_complete`] return `false`: an included file is missing.
    pub(in crate::config) fn mark_incomplete(&mut self) {
        self.incomplete = true;
    }

    /// Returns whether `id` is an entry at the top of an included file.
    pub(in crate::config) fn is_top_of_included(&self, id: NodeId) -> bool {
        let is_included = |root| root != ROOT && self.roots.contains(&root);
        matches!(self.node(id).parent, Some((parent, _)) if is_included(parent))
    }

    /// Returns the file of a node.
    pub(in crate::config) fn file_of(&self, id: NodeId) -> &Path {
        self.file(self.node(id).file)
    }

    /// Returns the line of `id` for a message about `from`: `line 3`, or `routes.d/a.yaml:3` in another file.
    pub(in crate::config) fn whereabouts(&self, id: NodeId, from: NodeId) -> String {
        let (node, from) = (self.node(id), self.node(from));
        if node.file == from.file {
            format!("line {}", node.place.line)
        } else {
            format!("{}:{}", self.file(node.file).display(), node.place.line)
        }
    }

    /// Returns the entry `key` at the top of each file that has it, in the order of the files.
    pub(in crate::config) fn sections<'t>(&'t self, key: &'t str) -> impl Iterator<Item = NodeId> + 't {
        self.roots.iter().filter_map(move |&root| self.entry(root, key))
    }

    fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    pub(in crate::config) fn value(&self, id: NodeId) -> &Value {
        &self.node(id).value
    }

    pub(in crate::config) fn place(&self, id: NodeId) -> Place {
        self.node(id).place
    }

    pub(in crate::config) fn is_cut(&self, id: NodeId) -> bool {
        self.node(id).cut.get()
    }

    /// Marks a node as rejected: the caller has reported it.
    pub(in crate::config) fn cut(&self, id: NodeId) {
        self.node(id).cut.set(true);
    }

    /// Returns whether the value is partly from the environment, so that no error may print it.
    pub(in crate::config) fn is_expanded(&self, id: NodeId) -> bool {
        self.node(id).expanded
    }

    /// Returns whether the text begins with `file:` in the file itself, not by a variable.
    pub(in crate::config) fn is_file_reference(&self, id: NodeId) -> bool {
        self.node(id).file_reference
    }

    /// Returns the problem of a value that says nothing: a list whose last entry was removed must not mean "anyone" (S036).
    pub(in crate::config) fn emptiness(&self, id: NodeId) -> Option<Emptiness> {
        match self.value(id) {
            Value::Null => Some(Emptiness::Value),
            Value::List(items) if items.is_empty() => Some(Emptiness::List),
            Value::Map(entries) if entries.is_empty() => Some(Emptiness::Map),
            Value::List(_) | Value::Map(_) => None,
            Value::Bool(_) | Value::Integer(_) | Value::Float(_) | Value::Text(_) => None,
        }
    }

    /// Returns the entry of a map, cut or not.
    pub(in crate::config) fn entry(&self, map: NodeId, key: &str) -> Option<NodeId> {
        match self.value(map) {
            Value::Map(entries) => entries.iter().find(|(name, _)| name == key).map(|&(_, id)| id),
            _ => None,
        }
    }

    /// Returns the node that `keys` lead to from `map`, cut or not.
    pub(in crate::config) fn descend(&self, map: NodeId, keys: &[&str]) -> Option<NodeId> {
        keys.iter().try_fold(map, |at, key| self.entry(at, key))
    }

    /// Returns the first of `keys` that the map has, or the map.
    pub(in crate::config) fn first_of(&self, map: NodeId, keys: &[&str]) -> NodeId {
        keys.iter().find_map(|key| self.entry(map, key)).unwrap_or(map)
    }

    /// Returns the items of the list at `at`, or `at` itself where it is a single value.
    pub(in crate::config) fn items(&self, at: NodeId) -> Vec<NodeId> {
        match self.value(at) {
            Value::List(items) => items.clone(),
            _ => vec![at],
        }
    }

    /// Returns the keys of a map, cut ones included: a reference to a rejected entry does not dangle.
    pub(in crate::config) fn keys(&self, map: NodeId) -> impl Iterator<Item = &str> {
        self.entries(map).map(|(key, _)| key)
    }

    /// Returns the text at `at`, or those of the list at `at`, each with its place.
    pub(in crate::config) fn texts(&self, at: NodeId) -> Vec<(NodeId, &str)> {
        let text = |at: NodeId| match self.value(at) {
            Value::Text(text) => Some((at, text.as_str())),
            _ => None,
        };
        self.items(at).into_iter().filter_map(text).collect()
    }

    /// Returns every section of every file, with its name.
    pub(in crate::config) fn all_sections(&self) -> impl Iterator<Item = (&str, NodeId)> {
        self.roots.iter().flat_map(|&root| self.entries(root))
    }

    /// Returns the entries of a map, cut ones included; nothing for other values.
    pub(in crate::config) fn entries(&self, map: NodeId) -> impl Iterator<Item = (&str, NodeId)> {
        let entries: &[(String, NodeId)] = match self.value(map) {
            Value::Map(entries) => entries,
            _ => &[],
        };
        entries.iter().map(|(key, id)| (key.as_str(), *id))
    }

    /// Returns the key of a node in its map; `None` for an item of a list and for a root.
    pub(in crate::config) fn key(&self, id: NodeId) -> Option<&str> {
        match &self.node(id).parent {
            Some((_, Step::Key(key))) => Some(key),
            Some((_, Step::Index(_))) | None => None,
        }
    }

    /// Returns the key path of a node, such as `routes[2].upstream`; empty for the root.
    pub(in crate::config) fn path(&self, id: NodeId) -> String {
        let mut steps = Vec::new();
        let mut at = id;
        while let Some((parent, step)) = &self.node(at).parent {
            steps.push(step);
            at = *parent;
        }
        let mut path = String::new();
        for step in steps.into_iter().rev() {
            match step {
                Step::Index(index) => path.push_str(&format!("[{index}]")),
                Step::Key(key) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(&printable(key));
                }
            }
        }
        path
    }

    /// Returns the value of a node for an error, escaped and cut short; `None` for a list, a map or nothing, and for a
    /// value that is partly from the environment.
    pub(in crate::config) fn display_value(&self, id: NodeId) -> Option<String> {
        let node = self.node(id);
        match &node.value {
            _ if node.expanded => None,
            Value::Text(text) => Some(printable(text)),
            Value::Integer(number) => Some(number.to_string()),
            Value::Float(number) => Some(number.to_string()),
            Value::Bool(yes) => Some(yes.to_string()),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }
}

/// Returns the first 60 characters of `text`. Escapes control characters, which could move a terminal's cursor, and
/// characters beyond ASCII that are neither letters nor digits.
pub(in crate::config) fn printable(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    let mut shown: String = text
        .chars()
        .take(CHARS_MAX)
        .flat_map(|char| {
            let plain = !char.is_control() && (char.is_ascii() || char.is_alphanumeric());
            let escaped = if plain { None } else { Some(char.escape_default()) };
            plain.then_some(char).into_iter().chain(escaped.into_iter().flatten())
        })
        .collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}
