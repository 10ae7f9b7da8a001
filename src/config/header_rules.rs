//! Which header fields are set, added or removed in requests for an upstream, and in its responses?

use crate::config::api_keys::secret;
use crate::config::check::Checker;
use crate::config::check::values;
use crate::config::read::FromText;
use crate::config::read::NamedEntries;
use crate::config::read::Text;
use crate::config::read::Texts;
use crate::config::read::TypedNode;
use crate::config::reserved_header::is_framing_header;
use crate::config::reserved_header::is_kept_in_responses;
use crate::config::reserved_header::is_reserved_header;
use crate::config::reserved_header::response_reservation;
use crate::config::text::SecretText;
use crate::config::tree::NodeId;
use crate::model::identity_field;
use crate::model::secret::Secret;
use http::HeaderName;
use http::HeaderValue;
use http::header;
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;
use std::sync::LazyLock;

/// Rules for the fields of one kind of message. None is for a field that Keygate itself decides about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderRules {
    /// Set in place of the message's own fields of the name.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Added beside the message's own fields of the name.
    pub add: Vec<(HeaderName, HeaderValue)>,
    pub remove: Vec<HeaderName>,
}

impl HeaderRules {
    /// Returns the rules to keep. Thousands of routes without rules share the same.
    pub(in crate::config) fn shared(self) -> Arc<Self> {
        static EMPTY: LazyLock<Arc<HeaderRules>> = LazyLock::new(Arc::default);
        if self.is_empty() {
            Arc::clone(&EMPTY)
        } else {
            Arc::new(self)
        }
    }

    pub const fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }

    /// Returns whether the message's own fields of `name` (in any case) are dropped, also where it is written with `_` for
    /// `-`: CGI, WSGI and PHP read both as one variable, and would read the client's in place of the one that is set (S080).
    pub fn drops(&self, name: &str) -> bool {
        self.remove.iter().any(|own| is_alike(own, name)) || self.set.iter().any(|(own, _)| is_alike(own, name))
    }

    /// Returns the fields to write after the message's own, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.set.iter().chain(&self.add).map(|(name, value)| (name, value))
    }

    /// Returns whether these rules write a field of `name`.
    pub fn writes(&self, name: &HeaderName) -> bool {
        self.fields().any(|(own, _)| own == name)
    }

    /// Returns the rules that change a message as these do and then `later`.
    #[must_use]
    pub fn followed_by(&self, later: &Self) -> Self {
        let stays = |(name, _): &&(HeaderName, HeaderValue)| !later.drops(name.as_str());
        let join = |earlier: &[(HeaderName, HeaderValue)], later: &[(HeaderName, HeaderValue)]| {
            earlier.iter().filter(stays).chain(later).cloned().collect()
        };
        Self {
            set: join(&self.set, &later.set),
            add: join(&self.add, &later.add),
            remove: self.remove.iter().chain(&later.remove).cloned().collect(),
        }
    }
}

/// Returns whether `name` is `own`, in any case and with `_` or `-`.
fn is_alike(own: &HeaderName, name: &str) -> bool {
    let byte = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    own.as_str().len() == name.len() && own.as_str().bytes().eq(name.bytes().map(byte))
}

/// The messages that rules are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Direction {
    Request,
    Response,
}

/// The names that the configuration gives a meaning.
#[derive(Clone, Copy)]
pub(in crate::config) struct OwnHeaders<'c> {
    pub api_key: &'c HeaderName,
    /// The headers in which upstreams receive claims.
    pub claims: &'c [&'c HeaderName],
    /// The headers in which issuers send their tokens.
    pub tokens: &'c [&'c HeaderName],
}

/// The rules of one upstream or route, as they are written.
#[derive(Default)]
pub(in crate::config) struct Written {
    pub set: Option<NamedEntries<HeaderName, Text<HeaderValue>>>,
    pub add: Option<NamedEntries<HeaderName, Text<HeaderValue>>>,
    pub remove: Option<Texts<HeaderName>>,
}

/// Fields of the responses that clients receive.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ResponseHeaders")]
pub(in crate::config) struct ResponseSection {
    /// Set on every response of the upstream, in place of its own.
    set_headers: Option<NamedEntries<HeaderName, Text<HeaderValue>>>,
    /// Added to every response of the upstream, beside its own.
    add_headers: Option<NamedEntries<HeaderName, Text<HeaderValue>>>,
    /// Removed from every response of the upstream.
    remove_headers: Option<Texts<HeaderName>>,
}

impl From<ResponseSection> for Written {
    fn from(section: ResponseSection) -> Self {
        Self {
            set: section.set_headers,
            add: section.add_headers,
            remove: section.remove_headers,
        }
    }
}

/// Returns the rules. Reports those for fields that Keygate decides about, and those that contradict each other.
pub(in crate::config) fn convert(
    written: Written,
    direction: Direction,
    own: &OwnHeaders<'_>,
    checker: &mut Checker<'_>,
) -> HeaderRules {
    let set = written.set.map(|set| set.0).unwrap_or_default();
    let add = written.add.map(|add| add.0).unwrap_or_default();
    let remove = written.remove.map(|remove| remove.value).unwrap_or_default();
    checker.refuse_duplicates(&remove);
    check_written(&set, "set", direction, own, checker);
    check_written(&add, "added", direction, own, checker);
    for (name, value) in &add {
        if set.iter().any(|(other, _)| other == name) {
            let problem = format!("`{name}` is set and added");
            checker.error(value.at, "conflicting-headers", problem);
        }
        if direction == Direction::Request && matches!(name.as_str(), "x-request-id" | "traceparent") {
            let problem = format!("`{name}` cannot be added: upstreams read one alone");
            checker.error_with(value.at, "reserved-header", problem, "`set_headers` replaces it");
        }
    }
    for removed in &remove {
        let name = removed.get();
        for (entries, verb) in [(&set, "set"), (&add, "added")] {
            if entries.iter().any(|(other, _)| other == name) {
                let problem = format!("`{name}` is {verb} and removed");
                checker.error(removed.at, "conflicting-headers", problem);
            }
        }
        if is_kept(name, direction, own) {
            let problem = checker.with_value(removed.at, "cannot be removed");
            let hint = "Keygate itself decides about identity and framing";
            checker.error_with(removed.at, "reserved-header", problem, hint);
        }
    }
    let mut fields = |entries: Entries| {
        let field = |(name, value): Entry| Some((name, header_value(value.value, checker)?));
        entries.into_iter().filter_map(field).collect()
    };
    HeaderRules {
        set: fields(set),
        add: fields(add),
        remove: values(remove),
    }
}

type Entry = (HeaderName, TypedNode<Text<HeaderValue>>);
type Entries = Vec<Entry>;

/// Reports fields that cannot be written, and those that are written twice. `verb` says what happens to them.
fn check_written(entries: &[Entry], verb: &str, direction: Direction, own: &OwnHeaders<'_>, checker: &mut Checker<'_>) {
    for (index, (name, value)) in entries.iter().enumerate() {
        if let Some(hint) = reservation(name, direction, own) {
            let problem = format!("`{name}` cannot be {verb} here");
            checker.error_with(value.at, "reserved-header", problem, hint);
        }
        // Header names are case-insensitive, so these are one header.
        if entries.iter().take(index).any(|(earlier, _)| earlier == name) {
            checker.error(value.at, "duplicate-entry", format!("`{name}` is {verb} twice"));
        }
    }
}

/// Returns why no rule may write a field of this name; `None` if one may.
fn reservation(name: &HeaderName, direction: Direction, own: &OwnHeaders<'_>) -> Option<&'static str> {
    match direction {
        Direction::Request if own.claims.contains(&name) => {
            Some("an issuer's `claim_headers` has it, and upstreams believe what it says")
        }
        Direction::Request if *name == header::HOST => Some("use `host` of the upstream"),
        Direction::Request if *name == header::AUTHORIZATION || name == own.api_key => {
            Some("the upstream's own stands in its `credential`")
        }
        Direction::Request if is_reserved_header(name) || own.tokens.contains(&name) => {
            Some("Keygate itself decides about credentials, identity and framing")
        }
        Direction::Request => None,
        Direction::Response => response_reservation(name),
    }
}

/// Returns whether fields of this name cannot be removed.
fn is_kept(name: &HeaderName, direction: Direction, own: &OwnHeaders<'_>) -> bool {
    match direction {
        Direction::Request => {
            is_framing_header(name) || name.as_str().starts_with(identity_field::PREFIX) || own.claims.contains(&name)
        }
        Direction::Response => is_kept_in_responses(name),
    }
}

/// Returns the value of a header: the text, or the content of the file that `file:path` names. Reports a file that cannot
/// be read, or whose content is no header value.
fn header_value(written: Text<HeaderValue>, checker: &mut Checker<'_>) -> Option<HeaderValue> {
    let at = written.at;
    if !checker.tree.is_file_reference(at) {
        return Some(written.take());
    }
    let reference = Secret::new(String::from_utf8_lossy(written.get().as_bytes()).into_owned());
    let content = secret(at, SecretText(reference), checker)?;
    secret_value(content.expose(), at, checker)
}

/// Returns the content of a file as a value that is never printed. Reports a content that is no header value.
fn secret_value(content: &[u8], at: NodeId, checker: &mut Checker<'_>) -> Option<HeaderValue> {
    match HeaderValue::from_text(std::str::from_utf8(content).unwrap_or("\0")) {
        Ok(mut value) => {
            value.set_sensitive(true);
            Some(value)
        }
        Err(problem) => {
            let problem = format!("the file's content is {problem}");
            checker.error_with(at, "bad-value", problem, "one line of text");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Vec<(HeaderName, HeaderValue)> {
        let pairs = text.split_whitespace().filter_map(|pair| pair.split_once('='));
        pairs
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    fn rules(set: &str, add: &str, remove: &str) -> HeaderRules {
        HeaderRules {
            set: fields(set),
            add: fields(add),
            remove: remove.split_whitespace().map(|name| name.parse().unwrap()).collect(),
        }
    }

    /// Returns the message `own` after `rules`.
    fn changed(own: &str, rules: &HeaderRules) -> Vec<String> {
        let kept = fields(own).into_iter().filter(|(name, _)| !rules.drops(name.as_str()));
        let written = rules.fields().map(|(name, value)| (name.clone(), value.clone()));
        let mut lines: Vec<String> = kept
            .chain(written)
            .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()))
            .collect();
        lines.sort();
        lines
    }

    #[test]
    fn the_rules_of_a_route_win_over_those_of_its_upstream() {
        let upstream = rules("a=1 b=1", "c=1 d=1", "e f");
        let check = |route: &HeaderRules, expected: &[&str]| {
            let both = upstream.followed_by(route);
            assert_eq!(changed("a=0 b=0 c=0 d=0 e=0 g=0", &both), expected, "{route:?}");
        };
        check(&rules("", "", ""), &["a=1", "b=1", "c=0", "c=1", "d=0", "d=1", "g=0"]);
        check(&rules("a=2 d=2", "", ""), &["a=2", "b=1", "c=0", "c=1", "d=2", "g=0"]);
        check(&rules("", "", "a c g"), &["b=1", "d=0", "d=1"]);
        check(
            &rules("", "a=2 c=2", ""),
            &["a=1", "a=2", "b=1", "c=0", "c=1", "c=2", "d=0", "d=1", "g=0"],
        );
        check(
            &rules("e=2", "", ""),
            &["a=1", "b=1", "c=0", "c=1", "d=0", "d=1", "e=2", "g=0"],
        );
    }

    #[test]
    fn s080_a_name_counts_in_any_case_and_with_underscores() {
        let rules = rules("x-a=1", "", "x-b");
        for name in ["x-a", "X-A", "x_a", "X_B", "x-b"] {
            assert!(rules.drops(name), "{name}");
        }
        for name in ["x-c", "xa", "x-a-", "x a", ""] {
            assert!(!rules.drops(name), "{name}");
        }
        assert!(rules.writes(&"x-a".parse().unwrap()) && !rules.writes(&"x-b".parse().unwrap()));
    }
}
