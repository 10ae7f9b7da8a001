//! Which value does a field have that routes are matched by? A field with two values, or with one that two servers read
//! differently, has none: the request is refused, because it could reach one route and mean another.

use crate::config::MatchField;
use crate::gate::accept::normalize::escape_at;
use crate::gate::accept::normalize::push_escape;
use crate::model::reason::reasons;
use http::HeaderMap;
use std::borrow::Cow;

/// Why a field has no certain value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldFault {
    #[error("a header that routes are matched by is there more than once")]
    HeaderRepeated,
    #[error("a query parameter that routes are matched by is there more than once")]
    ParameterRepeated,
    #[error("a query parameter that routes are matched by is not percent-encoded UTF-8")]
    ParameterEncoding,
    #[error("a query parameter that routes are matched by stands beside a `;`")]
    ParameterSeparator,
}

/// A field without a certain value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmbiguousField {
    pub field: MatchField,
    pub fault: FieldFault,
}

reasons! {
    AmbiguousField {
        Self { fault: FieldFault::HeaderRepeated, .. } => "matched_header_repeated",
        Self { fault: FieldFault::ParameterRepeated, .. } => "matched_parameter_repeated",
        Self { fault: FieldFault::ParameterEncoding, .. } => "matched_parameter_encoding",
        Self { fault: FieldFault::ParameterSeparator, .. } => "matched_parameter_separator",
    }
}

/// Returns the values of `fields` in their order; `None` for a field that is not there.
///
/// # Errors
/// The first field without a certain value.
pub fn values<'r>(
    fields: &[MatchField],
    headers: &'r HeaderMap,
    query: Option<&'r str>,
) -> Result<Vec<Option<Cow<'r, [u8]>>>, AmbiguousField> {
    let mut values = Vec::with_capacity(fields.len());
    let mut has_parameters = false;
    for field in fields {
        values.push(match field {
            MatchField::Header(name) => {
                let mut all = headers.get_all(name).iter();
                let value = all.next().map(|value| Cow::Borrowed(value.as_bytes()));
                if all.next().is_some() {
                    return Err(ambiguous(field, FieldFault::HeaderRepeated));
                }
                value
            }
            MatchField::Parameter(_) => {
                has_parameters = true;
                None
            }
        });
    }
    if has_parameters && let Some(query) = query {
        read_query(fields, query, &mut values)?;
    }
    Ok(values)
}

fn ambiguous(field: &MatchField, fault: FieldFault) -> AmbiguousField {
    AmbiguousField {
        field: field.clone(),
        fault,
    }
}

/// Sets the values of the parameters in `query`. Parameters are separated by `&`. Some servers take `;` for a separator too, so
/// no parameter that counts may stand beside one.
fn read_query<'r>(
    fields: &[MatchField],
    query: &'r str,
    values: &mut [Option<Cow<'r, [u8]>>],
) -> Result<(), AmbiguousField> {
    let mut is_after_semicolon = false;
    for part in query.split_inclusive(['&', ';']) {
        let is_before_semicolon = part.ends_with(';');
        let parameter = part.strip_suffix(['&', ';']).unwrap_or(part);
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let decoded = decode(name);
        let is_named = |field: &MatchField| match field {
            MatchField::Header(_) => false,
            MatchField::Parameter(wanted) => wanted.as_bytes() == &*decoded,
        };
        if let Some(index) = fields.iter().position(is_named) {
            let refuse = |fault| Err(ambiguous(&fields[index], fault));
            if is_before_semicolon || is_after_semicolon {
                return refuse(FieldFault::ParameterSeparator);
            }
            if values[index].is_some() {
                return refuse(FieldFault::ParameterRepeated);
            }
            let value_bytes = decode(value);
            if has_stray_percent(name) || has_stray_percent(value) || std::str::from_utf8(&value_bytes).is_err() {
                return refuse(FieldFault::ParameterEncoding);
            }
            values[index] = Some(value_bytes);
        }
        is_after_semicolon = is_before_semicolon;
    }
    Ok(())
}

/// Returns the bytes that `text` stands for: those of its escapes, and a space for `+`, as HTML forms and nearly all servers
/// have it (WHATWG URL section 5.1). A `%` without two hexadecimal digits stands for itself.
fn decode(text: &str) -> Cow<'_, [u8]> {
    let bytes = text.as_bytes();
    if !bytes.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(bytes);
    }
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = escape_at(bytes, at);
        at += if escaped.is_some() { 3 } else { 1 };
        decoded.push(match (escaped, byte) {
            (Some(value), _) => value,
            (None, b'+') => b' ',
            (None, byte) => byte,
        });
    }
    Cow::Owned(decoded)
}

/// Returns `text` percent-encoded, so that it can be the name or the value of a parameter.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        // RFC 3986 section 2.3.
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            push_escape(&mut encoded, byte);
        }
    }
    encoded
}

/// Returns whether `text` has a `%` without two hexadecimal digits: servers refuse it, drop it or leave it as it is.
fn has_stray_percent(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut percents = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'%');
    percents.any(|(at, _)| escape_at(bytes, at).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;
    use http::HeaderValue;

    fn parameter(name: &str) -> MatchField {
        MatchField::Parameter(name.to_owned())
    }

    fn read(query: &str) -> Result<Option<String>, FieldFault> {
        let headers = HeaderMap::new();
        let fields = [parameter("v"), parameter("r\u{e9}gion x")];
        let values = values(&fields, &headers, Some(query)).map_err(|ambiguous| ambiguous.fault)?;
        let text = |value: &Cow<'_, [u8]>| String::from_utf8(value.to_vec()).unwrap();
        let found: Vec<String> = values.iter().flatten().map(text).collect();
        Ok((!found.is_empty()).then(|| found.join("|")))
    }

    #[track_caller]
    fn check(query: &str, expected: Result<Option<&str>, FieldFault>) {
        assert_eq!(read(query), expected.map(|value| value.map(str::to_owned)), "{query:?}");
    }

    #[test]
    fn names_and_values_are_read_decoded() {
        for (query, expected) in [
            ("v=2", Some("2")),
            ("a=b&v=2&c", Some("2")),
            ("%76=%32", Some("2")),
            ("v", Some("")),
            ("v=", Some("")),
            ("v=a=b", Some("a=b")),
            ("v=a+b", Some("a b")),
            ("v=a%2Bb", Some("a+b")),
            ("v=a%26b", Some("a&b")),
            ("v=a%3Bb", Some("a;b")),
            ("v=caf%C3%A9", Some("caf\u{e9}")),
            ("v=caf\u{e9}", Some("caf\u{e9}")),
            ("r%C3%A9gion+x=1", Some("1")),
            ("r\u{e9}gion%20x=1", Some("1")),
            // Decoded once alone.
            ("%2576=2", None),
            ("V=2", None),
            ("v%20=2", None),
            ("", None),
            ("&&=v", None),
            ("a=v", None),
        ] {
            check(query, Ok(expected));
        }
    }

    #[test]
    fn a_value_that_two_servers_may_read_differently_is_refused_and_other_parameters_are_not() {
        for query in ["v=1&v=2", "v=1&v=1", "v&v", "v=1&%76=2", "a&v=1&b&v"] {
            check(query, Err(FieldFault::ParameterRepeated));
        }
        for query in ["v=1;b=2", "a;v=1", "v=1;", ";v=1", "a=b;v=1&c", "v;v"] {
            check(query, Err(FieldFault::ParameterSeparator));
        }
        for query in ["v=%", "v=%zz", "v=%4", "v=a%", "v=%FF", "v=%C3", "v=%C3%28"] {
            check(query, Err(FieldFault::ParameterEncoding));
        }
        for query in ["a=1&a=2&v=2", "a=%zz&v=2", "a=%FF&v=2", "a;b&c&v=2", "%zz&v=2"] {
            check(query, Ok(Some("2")));
        }
    }

    #[test]
    fn a_header_has_one_value() {
        let name = HeaderName::from_static("x-version");
        let fields = [MatchField::Header(name.clone())];
        let mut headers = HeaderMap::new();
        let read = |headers: &HeaderMap| {
            let values = values(&fields, headers, None).map_err(|ambiguous| ambiguous.fault)?;
            Ok(values[0].as_deref().map(<[u8]>::to_vec))
        };
        assert_eq!(read(&headers), Ok(None));
        headers.append(&name, HeaderValue::from_bytes(b"\xFF").unwrap());
        assert_eq!(read(&headers), Ok(Some(vec![0xFF])));
        headers.append("x-other", HeaderValue::from_static("a"));
        headers.append("x-other", HeaderValue::from_static("b"));
        assert_eq!(read(&headers), Ok(Some(vec![0xFF])));
        headers.append(&name, HeaderValue::from_static("2"));
        assert_eq!(read(&headers), Err(FieldFault::HeaderRepeated));
    }

    proptest::proptest! {
        #[test]
        fn no_query_panics(query in ".{0,40}") {
            let _ = read(&query);
        }

        /// A form parser of another crate, with `;` as a separator and without, finds the same values, each once.
        #[test]
        fn a_value_is_the_one_that_another_parser_reads(
            parts in proptest::collection::vec(proptest::sample::select(vec![
                "v", "%76", "=", "&", ";", "+", "%", "%3D", "%26", "%C3%A9", "%FF", "\u{e9}", "a", "%25", "%3B",
            ]), 0..10)
        ) {
            let query = parts.concat();
            let fields = [parameter("v")];
            if let Ok(values) = values(&fields, &HeaderMap::new(), Some(&query)) {
                let found: Vec<&[u8]> = values.iter().flatten().map(|value| &**value).collect();
                for query in [query.clone(), query.replace(';', "&")] {
                    let pairs: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).collect();
                    let pairs = pairs.iter().filter(|(name, _)| name == "v");
                    let others: Vec<&[u8]> = pairs.map(|(_, value)| value.as_bytes()).collect();
                    proptest::prop_assert_eq!(&found, &others, "{}", query);
                }
            }
        }

        #[test]
        fn what_is_encoded_is_read_back(value in ".{0,20}") {
            proptest::prop_assert_eq!(read(&format!("a&v={}&b", encode(&value))), Ok(Some(value)));
        }
    }
}
