//! Does a query parameter that routes are matched by have one reading, for Keygate and for a parser of forms?

use http::HeaderMap;
use keygate::config::MatchField;
use keygate::gate::accept::inbound::is_query_byte;
use keygate::gate::accept::matched_field;

/// The names that are looked for.
const NAMES: [&str; 5] = ["version", "dry run", "\u{e9}", "a&b", "x=y"];

/// Checks a query without its `?`.
pub fn check(raw: &[u8]) {
    if !raw.iter().copied().all(is_query_byte) {
        return;
    }
    let Ok(query) = std::str::from_utf8(raw) else {
        return;
    };
    let headers = HeaderMap::new();
    for name in NAMES {
        let field = MatchField::Parameter(name.to_owned());
        let found = matched_field::values(std::slice::from_ref(&field), &headers, Some(query));
        let pairs = url::form_urlencoded::parse(raw);
        let read: Vec<String> = pairs
            .filter(|(other, _)| *other == name)
            .map(|(_, value)| value.into_owned())
            .collect();
        match found {
            Ok(values) => {
                let value = values[0]
                    .as_deref()
                    .map(|value| String::from_utf8(value.to_vec()).unwrap());
                assert_eq!(Vec::from_iter(value), read, "{name} in {query:?}");
            }
            // Only what names the parameter is refused.
            Err(ambiguous) => {
                assert_eq!(ambiguous.field, field);
                let separators: &[char] = &['&', ';'];
                let mut parts = query.split(separators);
                let decoded = |part: &str| {
                    let mut pairs = url::form_urlencoded::parse(part.as_bytes());
                    pairs.next().is_some_and(|(other, _)| other == name)
                };
                assert!(parts.any(decoded), "{name} in {query:?}: {ambiguous:?}");
            }
        }
    }
}
