//! Which values does the YAML contain, and where? All files form one tree with a
//! root for each file. Every node knows its file, key path, line and column.
//!
//! One parser gives both values and positions, so the two cannot disagree. YAML features that
//! a configuration does not need are rejected here: tags, a second document, keys that are not
//! text, values without quotes over several lines, repeated keys.

use crate::config::error::ConfigError;
use crate::config::error::Place;
use saphyr_parser::Event;
use saphyr_parser::Marker;
use saphyr_parser::Parser;
use saphyr_parser::ScalarStyle;
use saphyr_parser::Span;
use std::cell::Cell;
use std::collections::HashMap;
use std::collections::HashSet;
use std::path::Path;
use std::path::PathBuf;
use zeroize::Zeroize;

/// Limit of all files together, in bytes. 10 000 routes need about half of it.
pub(in crate::config) const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Limit of nested lists and maps. The deepest key of a configuration needs 7.
const DEPTH_MAX: usize = 64;
/// Limit of the nodes of the whole tree, repetitions by aliases included; stops an anchor bomb (S149).
const NODES_MAX: usize = 250_000;
/// Limit of the bytes of texts and keys that aliases repeat in one file: many aliases of one long text are a bomb too.
const REPEATED_BYTES_MAX: usize = 1024 * 1024;

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

    /// Parses `text`, the content of `file`, and returns the root. Mistakes go to `errors`, and their nodes are cut.
    ///
    /// Returns `None` if the text is not a YAML document, too deep or too big; `errors` has the reason.
    pub(in crate::config) fn parse(
        &mut self,
        text: &str,
        file: FileId,
        env: &dyn Fn(&str) -> Option<String>,
        errors: &mut Vec<ConfigError>,
    ) -> Option<NodeId> {
        self.bytes = self.bytes.saturating_add(text.len() as u64);
        // The YAML parser reports a missing end on the line after the last.
        let end = Place::end_of(text);
        let first = self.nodes.len();
        let found_before = errors.len();
        let too_big = self.bytes > FILE_BYTES_MAX;
        let mut builder = Builder {
            tree: self,
            first,
            stack: Vec::new(),
            anchors: HashMap::new(),
            repeated_bytes: 0,
            file,
            env,
            errors,
        };
        let read = if too_big {
            Err(builder.error("file-too-big", Place { line: 1, column: 1 }, TOO_MANY_BYTES))
        } else {
            builder.run(text)
        };
        let root = match read {
            Ok(()) => {
                for node in &mut builder.tree.nodes[first..] {
                    node.place = node.place.min(end);
                }
                let root = node_id(first);
                self.roots.push(root);
                Some(root)
            }
            Err(error) => {
                builder.errors.push(*error);
                None
            }
        };
        for error in &mut errors[found_before..] {
            error.place = error.place.map(|place| place.min(end));
        }
        root
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
        match self.value(at) {
            Value::List(items) => items.iter().copied().filter_map(text).collect(),
            _ => text(at).into_iter().collect(),
        }
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

/// A list or map that is not complete yet.
struct OpenCollection {
    id: NodeId,
    /// The key of the next value, with its place; for maps.
    key: Option<(String, Place)>,
    /// The keys so far.
    keys: HashSet<String>,
    /// The number of the anchor; 0 for none.
    anchor: usize,
}

struct Builder<'a> {
    tree: &'a mut Tree,
    /// The number of the first node of this file, which is its root.
    first: usize,
    stack: Vec<OpenCollection>,
    /// The nodes of the complete anchors.
    anchors: HashMap<usize, NodeId>,
    /// Bytes that aliases have repeated.
    repeated_bytes: usize,
    file: FileId,
    env: &'a dyn Fn(&str) -> Option<String>,
    errors: &'a mut Vec<ConfigError>,
}

impl Builder<'_> {
    fn run(&mut self, text: &str) -> Result<(), Box<ConfigError>> {
        // A byte order mark is not content (YAML 1.2.2 section 5.2).
        let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
        let mut documents = 0;
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(|error| self.syntax_error(&error))?;
            match event {
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        let problem = "a second document starts here; a configuration is one document";
                        return Err(self.error("second-document", place(span.start), problem));
                    }
                }
                Event::Scalar(text, style, anchor, tag) => {
                    self.refuse_tag(tag.is_some(), span)?;
                    self.scalar(&text, style, anchor, span)?;
                }
                Event::SequenceStart(anchor, tag) => {
                    self.refuse_tag(tag.is_some(), span)?;
                    self.open(Value::List(Vec::new()), anchor, span)?;
                }
                Event::MappingStart(anchor, tag) => {
                    self.refuse_tag(tag.is_some(), span)?;
                    self.open(Value::Map(Vec::new()), anchor, span)?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.close(),
                Event::Alias(anchor) => self.alias(anchor, span)?,
            }
        }
        if self.tree.nodes.len() == self.first {
            return Err(self.error("empty-file", Place { line: 1, column: 1 }, "the file says nothing"));
        }
        Ok(())
    }

    fn error(&self, code: &'static str, place: Place, problem: impl Into<String>) -> Box<ConfigError> {
        let path = self.stack.last().map(|open| {
            let path = self.tree.path(open.id);
            match &open.key {
                Some((key, _)) if path.is_empty() => printable(key),
                Some((key, _)) => format!("{path}.{}", printable(key)),
                None => path,
            }
        });
        Box::new(ConfigError {
            code,
            file: self.tree.file(self.file).to_owned(),
            place: Some(place),
            path: path.unwrap_or_default(),
            problem: problem.into(),
            hint: None,
        })
    }

    fn syntax_error(&self, error: &saphyr_parser::ScanError) -> Box<ConfigError> {
        let info = error.info();
        // The parser reads ahead, so its own limit may be reached first.
        if info.contains("recursion limit") {
            return self.too_deep(*error.marker());
        }
        let mut out = self.error("yaml-syntax", place(*error.marker()), format!("not YAML: {info}"));
        out.hint = if info.contains("mapping values are not allowed") {
            Some("is this line indented too far? a key stands under the keys beside it".to_owned())
        } else if info.contains('\t') || info.contains("tab") {
            Some("YAML is indented with spaces, not tabs".to_owned())
        } else if info.contains("anchor") || info.contains("expected ',' or") {
            Some("a value with `{`, `}`, `[`, `]`, `*` or `&` stands in quotes: path: \"/v1/{*rest}\"".to_owned())
        } else if info.contains("did not find expected '-' indicator") {
            Some("is this line indented differently? a key stands under the keys beside it".to_owned())
        } else if info.contains("illegal placement of ':'") {
            Some("is a `[` or `{` above this line not closed?".to_owned())
        } else {
            None
        };
        out
    }

    fn refuse_tag(&self, tagged: bool, span: Span) -> Result<(), Box<ConfigError>> {
        if tagged {
            return Err(self.error("tag", place(span.start), "tags (`!…`) have no meaning here"));
        }
        Ok(())
    }

    /// Returns whether the innermost open node is a map that expects a key.
    fn expects_key(&self) -> bool {
        self.stack
            .last()
            .is_some_and(|open| open.key.is_none() && matches!(self.tree.value(open.id), Value::Map(_)))
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, anchor: usize, span: Span) -> Result<(), Box<ConfigError>> {
        if self.expects_key() {
            let open = self.stack.last_mut().expect("a map that wants a key is open");
            open.key = Some((text.to_owned(), place(span.start)));
            return Ok(());
        }
        let plain = style == ScalarStyle::Plain;
        let value = if plain {
            plain_value(text)
        } else {
            Value::Text(text.to_owned())
        };
        let id = self.add(value, span)?;
        if plain && span.end.line() != span.start.line() && text.contains(' ') {
            let mut error = self.error_at(id, "folded-value", "a value without quotes goes on over the next line");
            error.hint = Some("is the next line indented too far? a long text stands in quotes".to_owned());
            self.errors.push(error);
            self.tree.cut(id);
        } else {
            self.expand(id);
        }
        if anchor != 0 {
            self.anchors.insert(anchor, id);
        }
        Ok(())
    }

    /// Replaces `${NAME}` after parsing, so that the value of a variable can never become YAML.
    fn expand(&mut self, id: NodeId) {
        let Value::Text(text) = &self.tree.node(id).value else {
            return;
        };
        let file_reference = text.starts_with("file:");
        let expansion = expand_variables(text, self.env);
        let node = &mut self.tree.nodes[id.0 as usize];
        node.file_reference = file_reference;
        match expansion {
            Ok(None) => {}
            Ok(Some(expanded)) => {
                node.value = Value::Text(expanded);
                node.expanded = true;
            }
            Err((code, problem, hint)) => {
                node.cut.set(true);
                let mut error = self.error_at(id, code, problem);
                error.hint = Some(hint.to_owned());
                self.errors.push(error);
            }
        }
    }

    fn open(&mut self, value: Value, anchor: usize, span: Span) -> Result<(), Box<ConfigError>> {
        if self.expects_key() {
            return Err(self.error(
                "key-not-text",
                place(span.start),
                "a key is a text, not a list or a map",
            ));
        }
        if self.stack.len() >= DEPTH_MAX {
            return Err(self.too_deep(span.start));
        }
        let id = self.add(value, span)?;
        self.stack.push(OpenCollection {
            id,
            key: None,
            keys: HashSet::new(),
            anchor,
        });
        Ok(())
    }

    fn too_deep(&self, at: Marker) -> Box<ConfigError> {
        let mut error = self.error("too-deep", place(at), format!("nested more than {DEPTH_MAX} deep"));
        // A path of 64 levels helps nobody.
        error.path.clear();
        error
    }

    fn close(&mut self) {
        if let Some(open) = self.stack.pop()
            && open.anchor != 0
        {
            self.anchors.insert(open.anchor, open.id);
        }
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Box<ConfigError>> {
        if self.expects_key() {
            return Err(self.error("key-not-text", place(span.start), "an alias cannot be a key"));
        }
        let Some(&source) = self.anchors.get(&anchor) else {
            return Err(self.error(
                "alias-in-itself",
                place(span.start),
                "an alias inside the anchor it names",
            ));
        };
        let value = self.repeat_value(source, span)?;
        let copy = self.add(value, span)?;
        self.copy_into(copy, source, self.stack.len(), span)
    }

    /// Returns a shallow clone of a node's value, and counts its bytes against the limit of repetitions.
    fn repeat_value(&mut self, source: NodeId, span: Span) -> Result<Value, Box<ConfigError>> {
        self.repeated_bytes += match self.tree.value(source) {
            Value::Text(text) => text.len(),
            Value::Map(entries) => entries.iter().map(|(key, _)| key.len()).sum(),
            Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Float(_) | Value::List(_) => 0,
        };
        if self.repeated_bytes > REPEATED_BYTES_MAX {
            return Err(self.too_big(span));
        }
        Ok(self.tree.value(source).clone())
    }

    fn too_big(&self, span: Span) -> Box<ConfigError> {
        let problem = "too many values, or too much repeated by aliases";
        let mut error = self.error("too-big", place(span.start), problem);
        error.path.clear();
        error
    }

    /// Turns `copy`, a shallow clone of `source`, into a deep one.
    fn copy_into(&mut self, copy: NodeId, source: NodeId, depth: usize, span: Span) -> Result<(), Box<ConfigError>> {
        // This also bounds the recursion.
        if depth > DEPTH_MAX {
            return Err(self.too_deep(span.start));
        }
        let (expanded, file_reference, cut) = {
            let node = self.tree.node(source);
            (node.expanded, node.file_reference, node.cut.get())
        };
        let node = &mut self.tree.nodes[copy.0 as usize];
        node.expanded = expanded;
        node.file_reference = file_reference;
        node.cut.set(cut);
        let children: Vec<(Step, NodeId)> = match &node.value {
            Value::List(items) => items.iter().enumerate().map(|(i, &id)| (Step::Index(i), id)).collect(),
            Value::Map(entries) => entries.iter().map(|(key, id)| (Step::Key(key.clone()), *id)).collect(),
            Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Float(_) | Value::Text(_) => return Ok(()),
        };
        let mut copies = Vec::with_capacity(children.len());
        for (step, child) in children {
            let value = self.repeat_value(child, span)?;
            let at = self.tree.place(child);
            let id = self.new_node(Some((copy, step)), at, value, span)?;
            self.copy_into(id, child, depth + 1, span)?;
            copies.push(id);
        }
        match &mut self.tree.nodes[copy.0 as usize].value {
            Value::List(items) => *items = copies,
            Value::Map(entries) => entries.iter_mut().zip(copies).for_each(|(entry, id)| entry.1 = id),
            Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Float(_) | Value::Text(_) => {}
        }
        Ok(())
    }

    fn new_node(
        &mut self,
        parent: Option<(NodeId, Step)>,
        at: Place,
        value: Value,
        span: Span,
    ) -> Result<NodeId, Box<ConfigError>> {
        if self.tree.nodes.len() >= NODES_MAX {
            return Err(self.too_big(span));
        }
        let id = node_id(self.tree.nodes.len());
        self.tree.nodes.push(Node {
            parent,
            file: self.file,
            place: at,
            value,
            expanded: false,
            file_reference: false,
            cut: Cell::new(false),
        });
        Ok(id)
    }

    /// Adds `value` to the innermost open list or map, or as the root.
    fn add(&mut self, value: Value, span: Span) -> Result<NodeId, Box<ConfigError>> {
        let Some(open) = self.stack.last_mut() else {
            return self.new_node(None, place(span.start), value, span);
        };
        let parent = open.id;
        let Some((key, at)) = open.key.take() else {
            let index = match self.tree.value(parent) {
                Value::List(items) => items.len(),
                _ => 0,
            };
            let id = self.new_node(Some((parent, Step::Index(index))), place(span.start), value, span)?;
            if let Value::List(items) = &mut self.tree.nodes[parent.0 as usize].value {
                items.push(id);
            }
            return Ok(id);
        };
        let is_new = open.keys.insert(key.clone());
        let id = self.new_node(Some((parent, Step::Key(key.clone()))), at, value, span)?;
        if is_new {
            if let Value::Map(entries) = &mut self.tree.nodes[parent.0 as usize].value {
                entries.push((key, id));
            }
        } else {
            // Keep the first entry, so that its own mistakes are reported too.
            let mut error = self.error_at(id, "duplicate-key", "this key is here twice");
            error.hint = self
                .tree
                .entry(parent, &key)
                .map(|first| format!("the first one is in line {}", self.tree.place(first).line));
            self.errors.push(error);
        }
        Ok(id)
    }

    fn error_at(&self, id: NodeId, code: &'static str, problem: impl Into<String>) -> ConfigError {
        ConfigError {
            code,
            file: self.tree.file(self.file).to_owned(),
            place: Some(self.tree.place(id)),
            path: self.tree.path(id),
            problem: problem.into(),
            hint: None,
        }
    }
}

/// The problem of a configuration over [`FILE_BYTES_MAX`].
pub(in crate::config) const TOO_MANY_BYTES: &str = "a configuration is at most 1 MiB, all files together";

fn node_id(index: usize) -> NodeId {
    NodeId(u32::try_from(index).expect("NODES_MAX fits"))
}

fn place(marker: Marker) -> Place {
    Place {
        line: marker.line(),
        column: marker.col() + 1,
    }
}

/// Returns the value of a plain scalar by the core schema of YAML 1.2.2 (section 10.3.2). `012` and the numbers in the
/// forms `0o7`, `0x7`, `+7`, `.7`, `.inf` and `.nan` stay text.
fn plain_value(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.starts_with(|first: char| first.is_ascii_digit()) {
        return Value::Text(text.to_owned());
    }
    let leading_zero = digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
    if leading_zero {
        return Value::Text(text.to_owned());
    }
    if let Ok(number) = text.parse() {
        return Value::Integer(number);
    }
    let float = digits
        .bytes()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'));
    match text.parse() {
        Ok(number) if float => Value::Float(number),
        _ => Value::Text(text.to_owned()),
    }
}

/// The code, the problem and the hint.
type ExpandError = (&'static str, String, &'static str);

/// Returns `text` with every `${NAME}` replaced; `None` if there is no variable in it.
///
/// # Errors
/// A `${` does not begin a variable, or a variable is not set or empty.
fn expand_variables(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Option<String>, ExpandError> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let name = after.split_once('}').map(|(name, _)| name).filter(|name| {
            !name.is_empty()
                && !name.starts_with(|first: char| first.is_ascii_digit())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        });
        let Some(name) = name else {
            let problem = "`${` does not begin a variable".to_owned();
            return Err((
                "bad-variable",
                problem,
                "a variable is written `${NAME}`: letters, digits and `_`",
            ));
        };
        match env(name) {
            Some(value) if !value.is_empty() => {
                out.push_str(before);
                out.push_str(&value);
            }
            found => {
                let how = if found.is_some() { "empty" } else { "not set" };
                let problem = format!("the environment variable {} is {how}", printable(name));
                return Err((
                    "unresolved-variable",
                    problem,
                    "set it for the process that runs keygate",
                ));
            }
        }
        rest = &after[name.len() + 1..];
    }
    if rest.len() == text.len() {
        return Ok(None);
    }
    out.push_str(rest);
    Ok(Some(out))
}
