//! Does an accepted path have one reading, for Keygate and for every upstream?

use http::HeaderMap;
use http::Method;
use keygate::config;
use keygate::gate::accept::Lookup;
use keygate::gate::accept::Matcher;
use keygate::gate::accept::matcher::Pattern;
use keygate::gate::accept::matcher::RequestParts;
use keygate::gate::accept::normalize;
use keygate::gate::accept::normalize::NormalPath;
use std::borrow::Cow;
use std::path::Path;
use std::sync::LazyLock;

/// Checks the path of a request target, without its query.
pub fn check(raw: &[u8]) {
    let Ok(raw) = std::str::from_utf8(raw) else {
        return;
    };
    // Never panics, whatever the text.
    let _ = normalize::fold(raw);
    if let Ok(accepted) = normalize::path(raw) {
        assert_own_normal_form(&accepted);
        assert_decoding_reveals_nothing(&accepted);
        assert_url_parser_agrees(raw, &accepted);
        assert_protected_paths_are_out_of_reach(&accepted.text);
        let folded = normalize::fold(&accepted.text);
        assert!(folded.starts_with('/'), "{raw:?} folds to {folded:?}");
        assert_eq!(normalize::fold(&folded), folded, "{raw:?} folds twice");
    }
}

/// Asserts that normalizing the forwarded path again changes nothing.
fn assert_own_normal_form(accepted: &NormalPath<'_>) {
    let again = normalize::path(&accepted.text).expect("what was accepted is accepted");
    assert_eq!(again.text, accepted.text);
    assert_eq!(again.oddities, accepted.oddities);
    assert!(
        matches!(again.text, Cow::Borrowed(_)),
        "{:?} is rewritten",
        accepted.text
    );
}

/// Asserts that no decoding, once or repeated, yields a new separator, a dot segment or a control byte.
fn assert_decoding_reveals_nothing(accepted: &NormalPath<'_>) {
    let text = accepted.text.as_bytes();
    let once = decode(text);
    let last = decode_fully(text);
    for reading in [&once, &last] {
        let is_dots = |segment: &[u8]| segment == b"." || segment == b"..";
        let mut segments = reading.split(|byte| matches!(byte, b'/' | b'\\'));
        assert!(!segments.any(is_dots), "{:?} holds a dot segment", accepted.text);
        assert!(std::str::from_utf8(reading).is_ok(), "{:?}", accepted.text);
        assert!(!reading.iter().any(u8::is_ascii_control), "{:?}", accepted.text);
        assert!(!reading.contains(&b'\\'), "{:?}", accepted.text);
        for separator in [b'/', b'.', b';'] {
            assert_eq!(
                count(reading, separator),
                count(&once, separator),
                "{:?}",
                accepted.text
            );
        }
    }
    if !accepted.oddities.encoded_slash {
        assert_eq!(count(&once, b'/'), count(text, b'/'), "{:?}", accepted.text);
    }
    if !accepted.oddities.empty_segment {
        assert!(!text.windows(2).any(|pair| pair == b"//"), "{:?}", accepted.text);
    }
}

/// Asserts that two URL parsers leave an accepted path unchanged: `url`, which like browsers resolves
/// dot segments, turns backslashes and drops tabs, and `http::Uri`, which holds the path to forward.
fn assert_url_parser_agrees(raw: &str, accepted: &NormalPath<'_>) {
    for path in [raw, &accepted.text] {
        let url = url::Url::parse(&format!("http://a{path}")).expect("a URL");
        assert_eq!(
            decode(url.path().as_bytes()),
            decode(accepted.text.as_bytes()),
            "{raw:?} is {:?} here and {:?} there",
            accepted.text,
            url.path()
        );
    }
    let uri: http::Uri = accepted.text.parse().expect("a URI");
    assert_eq!(uri.path(), accepted.text);
    assert_eq!(uri.query(), None);
}

/// Asserts that the most forgiving upstream reads a protected path only where Keygate does.
fn assert_protected_paths_are_out_of_reach(path: &str) {
    let reading = most_forgiving(path);
    let is_at = |protected: &str| {
        reading
            .strip_prefix(protected)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let protected = is_at("/admin") || is_at("/keys");
    let request = RequestParts {
        host: "a",
        path,
        method: &Method::GET,
        headers: &HeaderMap::new(),
        query: None,
    };
    match ROUTES.find(&request, |one, other| one == other) {
        Lookup::Found(&"open") => assert!(!protected, "{path:?} is open and may be {reading:?}"),
        Lookup::Found(_) => assert!(protected, "{path:?} is no {reading:?}"),
        Lookup::NearMiss => {}
        Lookup::MethodNotAllowed(_) => panic!("{path:?}: GET is not allowed"),
        Lookup::ConditionsUnmet | Lookup::Ambiguous(_) => panic!("{path:?}: no route has conditions"),
        // `{*rest}` matches at least one character.
        Lookup::NotFound => assert_eq!(path, "/"),
    }
}

static ROUTES: LazyLock<Matcher<&str>> = LazyLock::new(|| {
    let routes = [
        ("/admin", "admin"),
        ("/admin/{*rest}", "admin"),
        ("/keys", "keys"),
        ("/keys/{*rest}", "keys"),
        ("/{*rest}", "open"),
    ];
    let mut yaml = "listeners: [{ address: '127.0.0.1:1' }]\nupstreams: { u: { builtin: echo } }\nroutes:\n".to_owned();
    for (number, (path, _)) in routes.iter().enumerate() {
        let route = format!("  - {{ name: r{number}, match: {{ path: '{path}' }}, public: true, upstream: u }}\n");
        yaml.push_str(&route);
    }
    let config = config::parse(&yaml, Path::new("routes.yaml"), &|_| None).expect("a configuration");
    let patterns = config.routes.iter().zip(routes).map(|(route, (_, value))| {
        let pattern = Pattern {
            hosts: &route.hosts,
            path: &route.path,
            methods: &route.methods,
            conditions: &route.conditions,
        };
        (pattern, value)
    });
    Matcher::compile(patterns).expect("no two are alike")
});

/// Returns the path decoded to the end, in lower case, cut at every
/// byte that some parser takes for an end, with dots resolved.
fn most_forgiving(path: &str) -> String {
    let bytes = decode_fully(path.as_bytes());
    let text = String::from_utf8_lossy(&bytes).to_uppercase().to_lowercase();
    let text = text.split(['?', '#']).next().unwrap_or_default();
    let mut segments = Vec::new();
    for segment in text.split(['/', '\\']) {
        match segment.split(';').next().unwrap_or_default() {
            ".." => drop(segments.pop()),
            name => match name.trim_end_matches(['.', ' ']) {
                "" => {}
                name => segments.push(name),
            },
        }
    }
    format!("/{}", segments.join("/"))
}

fn decode_fully(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    loop {
        let next = decode(&bytes);
        if next == bytes {
            return bytes;
        }
        bytes = next;
    }
}

/// Returns `bytes` with their percent-escapes decoded once.
fn decode(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = match (byte, after) {
            (b'%', [high, low, ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => Some(&after[..2]),
            _ => None,
        };
        let value = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        decoded.push(value.unwrap_or(byte));
        rest = if value.is_some() { &after[2..] } else { after };
    }
    decoded
}

fn count(text: &[u8], wanted: u8) -> usize {
    text.iter().filter(|&&byte| byte == wanted).count()
}
