//! Which entries does the text of a keys file have, and on which lines? Only their form, not their meaning.

use crate::keys_file::KeysFileProblem;
use saphyr_parser::Event;
use saphyr_parser::Marker;
use saphyr_parser::Parser;
use saphyr_parser::ScalarStyle;
use saphyr_parser::ScanError;
use saphyr_parser::Span;
use saphyr_parser::StrInput;

/// The list under `keys`.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// The start of the list; `None` if there is no list under `keys`. Without mistakes, the file is then empty.
    pub list: Option<ListStart>,
    pub entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct ListStart {
    /// In characters from the start of the text.
    pub index: usize,
    /// In characters from the start of the line.
    pub column: usize,
}

/// One member of the list.
#[derive(Debug)]
pub(super) struct Entry {
    pub line: usize,
    /// The offset in characters: of the `{` of a mapping in braces, otherwise of the first key.
    pub start: usize,
    pub fields: Vec<Field>,
}

#[derive(Debug)]
pub(super) struct Field {
    pub name: String,
    pub line: usize,
    /// The column of the name, from 0.
    pub column: usize,
    pub value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    Text(String),
    /// The members, each with its line.
    List(Vec<(String, usize)>),
    /// An empty value, `~` or `null`.
    Null,
    /// Neither a text nor a list of texts. Reported already.
    Unreadable,
}

impl Entry {
    pub(super) fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// Does the same as [`each`], and returns all entries at once; an empty document if `text` is not YAML.
pub(super) fn read(text: &str) -> (Document, Vec<KeysFileProblem>) {
    let mut entries = Vec::new();
    match each(text, &mut |entry| entries.push(entry)) {
        (Ok(list), problems) => (Document { list, entries }, problems),
        (Err(NotYaml), problems) => (Document::default(), problems),
    }
}

/// The error for a text that is not YAML.
pub(super) struct NotYaml;

/// Reads as much of `text` as possible. Returns the start of the list, and the mistakes. Calls `take` for each entry,
/// so that the fields of a million entries are never in memory together. Anchors, aliases and tags are rejected: a keys
/// file does not need them, and they let an entry look different from its meaning.
pub(super) fn each(
    text: &str,
    take: &mut dyn FnMut(Entry),
) -> (Result<Option<ListStart>, NotYaml>, Vec<KeysFileProblem>) {
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        problems: Vec::new(),
        take,
    };
    let list = reader.document().map_err(|error| {
        reader.report(error.marker().line(), format!("not YAML: {}", error.info()));
        NotYaml
    });
    (list, reader.problems)
}

struct Reader<'a, 't> {
    parser: Parser<'a, StrInput<'a>>,
    problems: Vec<KeysFileProblem>,
    take: &'t mut dyn FnMut(Entry),
}

impl<'a> Reader<'a, '_> {
    fn report(&mut self, line: usize, message: impl Into<String>) {
        self.problems.push(KeysFileProblem {
            line,
            message: message.into(),
        });
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), ScanError> {
        let (event, span) = self
            .parser
            .next_event()
            .unwrap_or_else(|| Ok((Event::StreamEnd, Span::empty(Marker::default()))))?;
        let decorated = match &event {
            Event::Alias(_) => true,
            Event::Scalar(_, _, anchor, tag) => *anchor != 0 || tag.is_some(),
            Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) => *anchor != 0 || tag.is_some(),
            _ => false,
        };
        if decorated {
            self.report(span.start.line(), "anchors, aliases and tags cannot be used here");
        }
        Ok((event, span))
    }

    fn document(&mut self) -> Result<Option<ListStart>, ScanError> {
        let mut list = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentStart(_) => {}
                Event::MappingStart(..) => break,
                // A file without keys, as `touch` makes it.
                Event::StreamEnd => return Ok(list),
                _ => {
                    self.report(span.start.line(), "the file must start with `keys:`");
                    return Ok(list);
                }
            }
        }
        loop {
            let (event, span) = self.next()?;
            let line = span.start.line();
            match event {
                Event::MappingEnd => break,
                Event::Scalar(name, ..) if name == "keys" && list.is_none() => list = self.list()?,
                Event::Scalar(name, ..) if name == "keys" => {
                    self.report(line, "`keys` stands twice");
                    self.skip_value()?;
                }
                Event::Scalar(name, ..) => {
                    self.report(line, format!("unknown key `{name}`; the file has one key, `keys`"));
                    self.skip_value()?;
                }
                other => {
                    self.report(line, "a key must be a plain word");
                    self.skip_rest_of(&other)?;
                    self.skip_value()?;
                }
            }
        }
        if list.is_none() && self.problems.is_empty() {
            self.report(1, "`keys` is missing; a file without keys is written `keys: []`");
        }
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(list),
                Event::DocumentEnd => {}
                _ => {
                    self.report(span.start.line(), "a second document begins here; the file has one");
                    return Ok(list);
                }
            }
        }
    }

    fn list(&mut self) -> Result<Option<ListStart>, ScanError> {
        let (event, start) = self.next()?;
        if !matches!(event, Event::SequenceStart(..)) {
            self.report(
                start.start.line(),
                "`keys` must be a list; a file without keys is written `keys: []`",
            );
            self.skip_rest_of(&event)?;
            return Ok(None);
        }
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::SequenceEnd => {
                    return Ok(Some(ListStart {
                        index: start.start.index(),
                        column: start.start.col(),
                    }));
                }
                Event::MappingStart(..) => {
                    let entry = self.entry(span)?;
                    (self.take)(entry);
                }
                other => {
                    self.report(
                        span.start.line(),
                        "an entry must be a mapping, such as `- id: …` and further lines",
                    );
                    self.skip_rest_of(&other)?;
                }
            }
        }
    }

    fn entry(&mut self, start: Span) -> Result<Entry, ScanError> {
        let mut fields: Vec<Field> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            let line = span.start.line();
            match event {
                Event::MappingEnd => {
                    return Ok(Entry {
                        line: start.start.line(),
                        start: start.start.index(),
                        fields,
                    });
                }
                Event::Scalar(name, ..) => {
                    if fields.iter().any(|field| field.name == name) {
                        self.report(line, format!("`{name}` stands twice in this entry"));
                    }
                    let value = self.value(&name)?;
                    fields.push(Field {
                        name: name.into_owned(),
                        line,
                        column: span.start.col(),
                        value,
                    });
                }
                other => {
                    self.report(line, "a key must be a plain word");
                    self.skip_rest_of(&other)?;
                    self.skip_value()?;
                }
            }
        }
    }

    fn value(&mut self, name: &str) -> Result<Value, ScanError> {
        let (event, span) = self.next()?;
        match event {
            Event::Scalar(text, style, ..) => Ok(scalar(&text, style)),
            Event::SequenceStart(..) => self.members(name),
            other => {
                self.report(span.start.line(), format!("`{name}` must be a text or a list of texts"));
                self.skip_rest_of(&other)?;
                Ok(Value::Unreadable)
            }
        }
    }

    fn members(&mut self, name: &str) -> Result<Value, ScanError> {
        let mut members = Vec::new();
        let mut readable = true;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::SequenceEnd if readable => return Ok(Value::List(members)),
                Event::SequenceEnd => return Ok(Value::Unreadable),
                Event::Scalar(text, style, ..) if matches!(scalar(&text, style), Value::Text(_)) => {
                    members.push((text.into_owned(), span.start.line()));
                }
                other => {
                    readable = false;
                    self.report(span.start.line(), format!("each member of `{name}` must be a text"));
                    self.skip_rest_of(&other)?;
                }
            }
        }
    }

    fn skip_value(&mut self) -> Result<(), ScanError> {
        let (event, _) = self.next()?;
        self.skip_rest_of(&event)
    }

    /// Reads to the end of the value that `event` began, at any depth.
    fn skip_rest_of(&mut self, event: &Event<'a>) -> Result<(), ScanError> {
        let mut depth = depth_change(event);
        while depth > 0 {
            depth += depth_change(&self.next()?.0);
        }
        Ok(())
    }
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    if style == ScalarStyle::Plain && matches!(text, "" | "~" | "null" | "Null" | "NULL") {
        Value::Null
    } else {
        Value::Text(text.to_owned())
    }
}

const fn depth_change(event: &Event<'_>) -> i64 {
    match event {
        Event::SequenceStart(..) | Event::MappingStart(..) => 1,
        Event::SequenceEnd | Event::MappingEnd => -1,
        // Ends the loop at any depth: nothing follows.
        Event::StreamEnd => i64::MIN / 2,
        _ => 0,
    }
}
