//! How is a response printed as a table, as a page, or as JSON, without the hidden characters that it may contain?

use crate::observe::escape;
use serde_json::Map;
use serde_json::Value;

/// One column of a list: its heading, and the name of the item's member.
pub type Column<'a> = (&'a str, &'a str);

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

/// How a table is printed.
#[derive(Clone, Copy, Debug)]
pub struct TableStyle {
    pub has_headings: bool,
    /// The number of characters of the longest line; `None` for any number.
    pub width: Option<usize>,
}

/// A list as text.
pub struct Table<'a> {
    pub text: String,
    /// The headings of the columns that do not fit.
    pub omitted: Vec<&'a str>,
}

/// The widths to which cells are cut, one after the other, until a table fits. The first column is never cut: it is for
/// the next command.
const CUT_TO: [usize; 2] = [24, 12];

/// Returns a line of headings, and one line per item of the list `items`. Where they are wider than `style` allows, cells
/// are cut first, and then the last columns are omitted.
pub fn table<'a>(columns: &[Column<'a>], items: &Value, style: TableStyle) -> Table<'a> {
    let head = columns.iter().map(|(heading, _)| (*heading).to_owned()).collect();
    let items = items.as_array().into_iter().flatten();
    let row = |item: &Value| columns.iter().map(|(_, member)| member_cell(item, member)).collect();
    let mut rows: Vec<Vec<String>> = std::iter::once(head)
        .filter(|_| style.has_headings)
        .chain(items.map(row))
        .collect();
    let mut shown = columns.len();
    if let Some(width) = style.width {
        for longest in CUT_TO {
            if line_width(&rows) > width {
                rows.iter_mut()
                    .flat_map(|row| row.iter_mut().skip(1))
                    .for_each(|cell| cut(cell, longest));
            }
        }
        while shown > 1 && line_width(&rows) > width {
            shown -= 1;
            rows.iter_mut().for_each(|row| row.truncate(shown));
        }
    }
    Table {
        text: aligned(&rows),
        omitted: columns.iter().skip(shown).map(|(heading, _)| *heading).collect(),
    }
}

/// Returns the cells of one item in a line, which is not aligned with others.
pub fn line(columns: &[Column<'_>], item: &Value) -> String {
    let cells = columns.iter().map(|(_, member)| member_cell(item, member));
    cells.collect::<Vec<_>>().join("  ")
}

/// Returns the first column of the list `items`, one line per item.
pub fn names(columns: &[Column<'_>], items: &Value) -> String {
    let member = columns.first().map_or("id", |(_, member)| *member);
    let items = items.as_array().into_iter().flatten();
    items.map(|item| cell(&item[member]) + "\n").collect()
}

/// Returns the cell of a member. An expiry that is null says that there is none.
fn member_cell(item: &Value, member: &str) -> String {
    match &item[member] {
        Value::Null if member == "expires_at" => "never".to_owned(),
        value => cell(value),
    }
}

/// Cuts `cell` to `longest` characters, the last of which says that there were more.
fn cut(cell: &mut String, longest: usize) {
    if cell.chars().nth(longest).is_some() {
        *cell = cell.chars().take(longest - 1).chain(['…']).collect();
    }
}

/// Returns the number of characters of the longest line that [`aligned`] returns for `rows`.
fn line_width(rows: &[Vec<String>]) -> usize {
    let widths = widths(rows);
    widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1)
}

fn widths<R: AsRef<[String]>>(rows: &[R]) -> Vec<usize> {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows.iter().map(AsRef::as_ref) {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    widths
}

/// Returns the rows as aligned columns. A column is as wide as its longest cell; two spaces separate the columns.
pub fn aligned<R: AsRef<[String]>>(rows: &[R]) -> String {
    let widths = widths(rows);
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
        Value::Object(members) => match change(members) {
            Some((old, new)) => format!("{} → {}", cell(old), cell(new)),
            None => assignments("", members).join(" "),
        },
        Value::Number(number) => number.to_string(),
    }
}

/// Returns `NAME=CELL` of each member. The name of an inner member has the outer name in front: `changes.state=…`.
fn assignments(prefix: &str, members: &Map<String, Value>) -> Vec<String> {
    let assigned = members.iter().flat_map(|(name, value)| {
        let name = format!("{prefix}{}", escaped(name));
        match value {
            Value::Object(inner) if !inner.is_empty() && change(inner).is_none() => {
                assignments(&format!("{name}."), inner)
            }
            value => vec![format!("{name}={}", cell(value))],
        }
    });
    assigned.collect()
}

/// Returns the old and the new value, if these are the members, as in the changes of an audit event.
fn change(members: &Map<String, Value>) -> Option<(&Value, &Value)> {
    members
        .get("old")
        .zip(members.get("new"))
        .filter(|_| members.len() == 2)
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

    const WHOLE: TableStyle = TableStyle {
        has_headings: true,
        width: None,
    };

    #[test]
    fn columns_are_aligned_with_their_headings() {
        let items = json!([
            { "id": "a-long-id", "scopes": ["a", "b"], "paid": true },
            { "id": "b", "scopes": [], "paid": false },
        ]);
        let columns = [("ID", "id"), ("SCOPES", "scopes"), ("PAID", "paid"), ("NONE", "none")];
        assert_eq!(
            table(&columns, &items, WHOLE).text,
            "ID         SCOPES  PAID  NONE\na-long-id  a b     yes   -\nb          -       no    -\n"
        );
        let bare = TableStyle {
            has_headings: false,
            ..WHOLE
        };
        assert_eq!(
            table(&columns, &items, bare).text,
            "a-long-id  a b  yes  -\nb          -    no   -\n"
        );
        assert_eq!(names(&columns, &items), "a-long-id\nb\n");
    }

    #[test]
    fn a_cell_shows_inner_members_by_their_whole_name_and_a_change_from_old_to_new() {
        let details = json!({
            "changes": { "name": { "old": "a", "new": "b" }, "scopes": { "old": [], "new": ["x", "y"] } },
            "none": {},
            "secret": { "old": 1 },
        });
        assert_eq!(
            cell(&details),
            "changes.name=a → b changes.scopes=- → x y none= secret.old=1"
        );
    }

    #[test]
    fn an_expiry_that_is_null_is_never() {
        let items = json!([{ "expires_at": null, "last_used_at": null }]);
        let columns = [("EXPIRES", "expires_at"), ("LAST USED", "last_used_at")];
        assert_eq!(table(&columns, &items, WHOLE).text, "EXPIRES  LAST USED\nnever    -\n");
    }

    #[test]
    fn a_table_fits_the_terminal_and_says_what_it_leaves_out() {
        let id = "an-id-of-thirty-characters-000";
        let items = json!([{ "id": id, "name": "n".repeat(30), "state": "active", "at": "2027-01-31T12:00:00.000Z" }]);
        let columns = [("ID", "id"), ("NAME", "name"), ("STATE", "state"), ("AT", "at")];
        let fitted = |width: usize| {
            let style = TableStyle {
                width: Some(width),
                ..WHOLE
            };
            let table = table(&columns, &items, style);
            assert!(
                table.text.lines().all(|line| line.chars().count() <= width.max(30)),
                "{}",
                table.text
            );
            assert!(table.text.contains(id), "{}", table.text);
            (table.text.lines().last().unwrap().to_owned(), table.omitted)
        };
        let whole = table(&columns, &items, WHOLE).text;
        assert_eq!(fitted(96).0, whole.lines().last().unwrap());
        assert_eq!(
            fitted(90),
            (
                format!("{id}  {}…  active  2027-01-31T12:00:00.000Z", "n".repeat(23)),
                vec![]
            )
        );
        assert_eq!(
            fitted(66),
            (format!("{id}  {}…  active  2027-01-31T…", "n".repeat(11)), vec![])
        );
        assert_eq!(fitted(60), (format!("{id}  {}…  active", "n".repeat(11)), vec!["AT"]));
        assert_eq!(fitted(10), (id.to_owned(), vec!["NAME", "STATE", "AT"]));
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
                table(&[("ID", "id")], &json!([thing]), WHOLE).text,
                names(&[("ID", "id")], &json!([thing])),
                json(&thing),
            ];
            for text in all {
                prop_assert!(!text.chars().any(|character| character != '\n' && escape::is_hidden(character)), "{:?}", text);
            }
            prop_assert_eq!(page(&thing, &["id"]).lines().filter(|line| line.starts_with("id  ")).count(), 1);
        }
    }
}
