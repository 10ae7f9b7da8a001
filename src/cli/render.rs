//! How is a response printed as a table, as a page, or as JSON, without the hidden characters that it may contain?

use crate::observe::escape;
use serde_json::Value;

/// One column of a list: its heading, and the name of the item's member.
pub type Column = (&'static str, &'static str);

/// Returns the response as indented JSON, with hidden characters escaped.
pub fn json(body: &Value) -> String {
    let mut text = Vec::new();
    let pretty = serde_json::to_string_pretty(body).expect("a JSON value is JSON");
    // Escape line by line: `push_escaped` would escape the line ends too, and only the indentation has line ends.
    for line in pretty.lines() {
        escape::push_escaped(&mut text, line);
        text.push(b'\n');
    }
    String::from_utf8(text).expect("escapes are ASCII, and the rest was text")
}

/// Returns a line of headings, and one line per item of the list `items`.
pub fn table(columns: &[Column], items: &Value) -> String {
    let head = columns.iter().map(|(heading, _)| (*heading).to_owned()).collect();
    let items = items.as_array().into_iter().flatten();
    let rows = items.map(|item| columns.iter().map(|(_, member)| cell(&item[*member])).collect());
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    aligned(&rows)
}

/// Returns the rows as aligned columns. A column is as wide as its longest cell; two spaces separate the columns.
pub fn aligned<R: AsRef<[String]>>(rows: &[R]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows.iter().map(AsRef::as_ref) {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows.iter().map(AsRef::as_ref) {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Returns one line per member of `thing`, the members in `first` before the others. A member that is an object has one
/// line per inner member, and a list of objects has one line per object.
pub fn page(thing: &Value, first: &[&str]) -> String {
    let mut text = String::new();
    let members = thing.as_object().into_iter().flatten();
    let (mut named, others): (Vec<_>, Vec<_>) = members.partition(|(name, _)| first.contains(&name.as_str()));
    named.sort_by_key(|(name, _)| first.iter().position(|known| *known == name.as_str()));
    for (name, value) in named.into_iter().chain(others) {
        match value {
            Value::Array(items) if items.iter().any(Value::is_object) => {
                items.iter().for_each(|item| push_line(&mut text, name, &cell(item)));
            }
            Value::Object(members) => {
                for (inner, value) in members {
                    push_line(&mut text, &format!("{name}.{inner}"), &cell(value));
                }
            }
            value => push_line(&mut text, name, &cell(value)),
        }
    }
    text
}

/// Appends a line to a page.
pub fn push_line(text: &mut String, name: &str, value: &str) {
    text.push_str(&format!("{:20} {value}\n", escaped(name)));
}

/// Returns a value as the text of a table cell.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => escaped(text),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(" "),
        Value::Object(members) => {
            let members = members
                .iter()
                .map(|(name, value)| format!("{}={}", escaped(name), cell(value)));
            members.collect::<Vec<_>>().join(" ")
        }
        Value::Number(number) => number.to_string(),
    }
}

/// Returns `text` with hidden characters escaped: other people choose the names, key ids and errors in a response.
pub fn escaped(text: &str) -> String {
    let mut out = Vec::new();
    escape::push_escaped(&mut out, text);
    String::from_utf8(out).expect("escapes are ASCII, and the rest was text")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn columns_are_aligned_with_their_headings() {
        let items = json!([
            { "id": "a-long-id", "scopes": ["a", "b"], "paid": true },
            { "id": "b", "scopes": [], "paid": false },
        ]);
        let columns = [("ID", "id"), ("SCOPES", "scopes"), ("PAID", "paid"), ("NONE", "none")];
        assert_eq!(
            table(&columns, &items),
            "ID         SCOPES  PAID  NONE\na-long-id  a b     yes   -\nb          -       no    -\n"
        );
    }

    #[test]
    fn a_page_has_the_first_fields_first_and_then_all_others() {
        let thing = json!({
            "a": 1, "id": "x", "name": "", "inner": { "b": true },
            "keys": [{ "kid": "k" }, { "kid": "l" }], "list": ["p", "q"],
        });
        assert_eq!(
            page(&thing, &["id", "name"]),
            "id                   x\nname                 -\na                    1\ninner.b              yes\n\
             keys                 kid=k\nkeys                 kid=l\nlist                 p q\n"
        );
    }

    proptest! {
        #[test]
        fn s144_no_text_of_strangers_reaches_the_terminal_as_it_is(name in ".*", value in ".*") {
            let mut thing = json!({ "id": value, "list": [{ "a": value }], "of": { "b": value } });
            thing[&name] = json!([value]);
            let all = [
                page(&thing, &["id"]),
                table(&[("ID", "id")], &json!([thing])),
                json(&thing),
            ];
            for text in all {
                prop_assert!(!text.chars().any(|character| character != '\n' && escape::is_hidden(character)), "{:?}", text);
            }
            prop_assert_eq!(page(&thing, &["id"]).lines().filter(|line| line.starts_with("id  ")).count(), 1);
        }
    }
}
