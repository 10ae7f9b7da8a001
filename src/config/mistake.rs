//! How is a mistake that serde finds reported? TypedNode its node; then the node is cut out, and reading goes on.

use crate::config::check::Checker;
use crate::config::error::ERRORS_MAX;
use crate::config::key_hint;
use crate::config::read::NodeReader;
use crate::config::read::ReadErrorKind;
use crate::config::read::nearest;
use crate::config::tree::Emptiness;
use crate::config::tree::NodeId;
use crate::config::tree::Value;
use crate::config::tree::printable;
use serde::de::DeserializeOwned;

/// Reads the section of the file whose root is `root`. `None` if the root itself is rejected, or after [`ERRORS_MAX`]
/// errors; `checker` has the mistakes.
pub(in crate::config) fn read<T: DeserializeOwned>(root: NodeId, checker: &mut Checker<'_>) -> Option<T> {
    // Each turn cuts one node and reads the rest again, so the loop ends; `ERRORS_MAX` keeps it from being quadratic.
    while checker.errors.len() < ERRORS_MAX {
        let error = match NodeReader::new(&checker.tree, root).and_then(T::deserialize) {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let at = error.at.unwrap_or(root);
        error.mistake.report(at, checker);
        checker.tree.cut(at);
        if at == root {
            return None;
        }
    }
    None
}

/// Keys that only the main file may have: each exists once, and checks look for it under `ROOT`.
pub(in crate::config) const MAIN_FILE_ONLY: [&str; 18] = [
    "include",
    "listeners",
    "admin",
    "log",
    "requests",
    "shutdown",
    "state_dir",
    "hand_over",
    "trusted_proxies",
    "api_keys",
    "failed_authentication",
    "rate_limit_headers",
    "defaults",
    "resources",
    "identity_token",
    "store",
    "token_endpoint",
    "plans",
];

impl ReadErrorKind {
    fn report(self, at: NodeId, checker: &mut Checker<'_>) {
        match self {
            Self::UnknownKey { key, .. } if key == "include" && checker.tree.is_top_of_included(at) => {
                let hint = "name the file in the `include` of the main file";
                checker.error_with(at, "nested-include", "an included file includes no further ones", hint);
            }
            Self::UnknownKey { key, known }
                if MAIN_FILE_ONLY.contains(&key.as_str()) && checker.tree.is_top_of_included(at) =>
            {
                let problem = format!("`{key}` is for the main file");
                let hint = format!("move it there; an included file has {}", known.join(", "));
                checker.error_with(at, "only-in-main-file", problem, hint);
            }
            Self::UnknownKey { key, known } => {
                let problem = format!("unknown key `{}`", printable(&key));
                let hint = if let Some(hint) = key_hint::find(&key, known) {
                    hint.to_owned()
                } else if let Some(near) = nearest(&key, known.iter().copied()) {
                    format!("did you mean `{near}`?")
                } else {
                    format!("known here: {}", known.join(", "))
                };
                checker.error_with(at, "unknown-key", problem, hint);
            }
            Self::Empty(emptiness) => {
                let (code, problem, hint) = match emptiness {
                    Emptiness::Value => ("empty-value", "has no value", "write one, or remove the key"),
                    Emptiness::List => (
                        "empty-list",
                        "the list is empty, which could mean anyone or no one",
                        "write what it should hold, or remove the key",
                    ),
                    Emptiness::Map => (
                        "empty-map",
                        "holds nothing",
                        "write what it should hold, or remove the key",
                    ),
                };
                checker.error_with(at, code, problem, hint);
            }
            Self::UnknownWord { known } => {
                let written = match checker.tree.value(at) {
                    Value::Text(text) => text.as_str(),
                    _ => "",
                };
                let near = nearest(written, known.iter().copied()).filter(|_| !checker.tree.is_expanded(at));
                let hint = match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("one of: {}", known.join(", ")),
                };
                let problem = checker.with_value(at, "not a word that is known here");
                checker.error_with(at, "unknown-word", problem, hint);
            }
            Self::WrongType { found, expected } => {
                let hint = type_hint(at, &expected, checker);
                checker.push(at, "wrong-type", format!("this is {found}; expected {expected}"), hint);
            }
            Self::BadValue(text) => {
                let (problem, hint) = split_hint(&text);
                let problem = checker.with_value(at, problem);
                // A hint in backticks may repeat a part of the value.
                let hint = hint.filter(|hint| !(checker.tree.is_expanded(at) && hint.contains('`')));
                checker.push(at, "bad-value", problem, hint);
            }
            Self::Hidden(problem) => checker.error(at, "bad-value", problem),
            Self::BadKey(text) => {
                let (problem, hint) = split_hint(&text);
                checker.push(at, "bad-key", problem.to_owned(), hint);
            }
        }
    }
}

/// Returns how the value at `at` is written as the type that is expected; `None` where that is not clear.
fn type_hint(at: NodeId, expected: &str, checker: &Checker<'_>) -> Option<String> {
    let tree = &checker.tree;
    let key = tree.key(at).map(printable);
    let is_text = ["a text", "a secret", "a header value", "a scope", "a name", "the path"]
        .iter()
        .any(|start| expected.starts_with(start));
    match (tree.value(at), expected) {
        (Value::Text(_) | Value::Integer(_) | Value::Float(_) | Value::Bool(_), "a list") => {
            let item = tree.display_value(at).unwrap_or_else(|| "…".to_owned());
            let is_plain = item
                .chars()
                .all(|char| char.is_alphanumeric() || matches!(char, '_' | '-' | '…'));
            let item = if is_plain { item } else { format!("\"{item}\"") };
            Some(format!("write `{}: [{item}]`", key?))
        }
        (Value::Map(_), "a list") => Some("write `- ` before the first key of each entry".to_owned()),
        (Value::List(_), "a map with a name before each entry") => {
            Some(format!("write `{}: {{ name: … }}`, an entry for each", key?))
        }
        (Value::List(_), "a map of keys") => Some("write its keys without `- ` or `[ ]`".to_owned()),
        (Value::List(_), _) => Some("write one value, without `- ` or `[ ]`".to_owned()),
        (Value::Text(text), "true or false") if !tree.is_expanded(at) => {
            let word = match text.to_ascii_lowercase().as_str() {
                "yes" | "on" | "y" | "true" => "true",
                "no" | "off" | "n" | "false" => "false",
                _ => return None,
            };
            Some(format!("write `{}: {word}`", key?))
        }
        (Value::Integer(_) | Value::Float(_) | Value::Bool(_), _) if is_text => {
            Some("a text that looks like a number or a word of YAML stands in quotes".to_owned())
        }
        _ => None,
    }
}

/// Returns the problem and, if `text` has a second line, the hint.
fn split_hint(text: &str) -> (&str, Option<String>) {
    match text.split_once('\n') {
        Some((problem, hint)) => (problem, Some(hint.to_owned())),
        None => (text, None),
    }
}
