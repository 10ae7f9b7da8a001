//! How does the text of a file become nodes of the tree? One parser gives both values and positions, so the two cannot
//! disagree. YAML features that a configuration does not need are rejected here: tags, a second document, keys that are not
//! text, values without quotes over several lines, repeated keys.

use crate::config::error::ConfigError;
use crate::config::error::Place;
use crate::config::tree::FILE_BYTES_MAX;
use crate::config::tree::FileId;
use crate::config::tree::Node;
use crate::config::tree::NodeId;
use crate::config::tree::Step;
use crate::config::tree::TOO_MANY_BYTES;
use crate::config::tree::Tree;
use crate::config::tree::Value;
use crate::config::tree::printable;
use crate::config::tree::scalar::expand_variables;
use crate::config::tree::scalar::plain_value;
use saphyr_parser::Event;
use saphyr_parser::Marker;
use saphyr_parser::Parser;
use saphyr_parser::ScalarStyle;
use saphyr_parser::Span;
use std::cell::Cell;
use std::collections::HashMap;
use std::collections::HashSet;

/// Limit of nested lists and maps. The deepest key of a configuration needs 7.
const DEPTH_MAX: usize = 64;
/// Limit of the nodes of the whole tree, repetitions by aliases included; stops an anchor bomb (S149).
const NODES_MAX: usize = 250_000;
/// Limit of the bytes of texts and keys that aliases repeat in one file: many aliases of one long text are a bomb too.
const REPEATED_BYTES_MAX: usize = 1024 * 1024;

impl Tree {
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

fn node_id(index: usize) -> NodeId {
    NodeId(u32::try_from(index).expect("NODES_MAX fits"))
}

fn place(marker: Marker) -> Place {
    Place {
        line: marker.line(),
        column: marker.col() + 1,
    }
}
