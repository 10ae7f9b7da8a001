//! How does a flag become a member of a request? A missing flag becomes null; `GateClient` omits null members.

use clap::ValueEnum;
use serde_json::Value;

/// Returns `values` as a JSON array of texts; null if `values` is empty.
pub fn list<T: ToString>(values: &[T]) -> Value {
    match values {
        [] => Value::Null,
        values => values.iter().map(ToString::to_string).collect(),
    }
}

/// Returns the text of `value`.
pub fn text<T: ToString>(value: &Option<T>) -> Option<String> {
    value.as_ref().map(ToString::to_string)
}

/// Returns `value` in its command line form.
pub fn word(value: impl ValueEnum) -> String {
    let value = value.to_possible_value().expect("no value of ours is hidden from clap");
    value.get_name().to_owned()
}
