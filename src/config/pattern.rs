//! Which hosts, paths and methods does a route match, and how are path patterns written?

use http::Method;

/// A host in lower case, without port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    Any,
    Exact(String),
    /// `*.example.com` is `Suffix("example.com")`: it matches names with one
    /// or more further labels, not the name itself.
    Suffix(String),
}

/// The methods of a route without a list: those of RFC 9110 section 9.3 and PATCH (RFC 5789), without CONNECT and
/// TRACE. These two are never served: CONNECT makes a tunnel, TRACE echoes credentials.
pub(crate) const DEFAULT_METHODS: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::OPTIONS,
    Method::PATCH,
];

/// Returns whether a route with `methods` in its `match` takes `method`: one of the list, or of [`DEFAULT_METHODS`] where
/// there is none.
pub(crate) fn takes(methods: &[Method], method: &Method) -> bool {
    match methods {
        [] => DEFAULT_METHODS.contains(method),
        listed => list_has(listed, method),
    }
}

/// Returns whether a list of methods contains `method`. GET includes HEAD,
/// which reports on the same representation (RFC 9110 section 9.3.2).
pub(crate) fn list_has(methods: &[Method], method: &Method) -> bool {
    methods.contains(method) || (method == Method::HEAD && methods.contains(&Method::GET))
}

/// A path such as `/v1/orders/{id}`, `/v1/{*rest}`. `{name}` is one segment, `{*name}` is the rest, at least one
/// character; everything else is literal, and in the normal form in which requests are matched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathPattern(Box<str>);

/// Why a text is not a [`PathPattern`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathPatternError {
    #[error("a path starts with `/`")]
    NoLeadingSlash,
    #[error("a path cannot hold {0}")]
    Forbidden(&'static str),
    #[error("an escape is `%` and two upper-case hexadecimal digits, for a byte that has to be escaped")]
    Escape,
    #[error("braces are written `{{name}}` for one whole segment or `{{*name}}` for the rest, which comes last")]
    Braces,
    #[error("`{found}` is no wildcard here: one segment is written `{{name}}`, the rest of a path `{{*name}}`")]
    OtherWildcard { found: String },
}

impl PathPattern {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether `{*name}` ends the pattern: only that part of a path may hold empty segments.
    pub(in crate::config) fn has_rest(&self) -> bool {
        self.0.contains("{*")
    }

    /// Returns the length in bytes of the shortest path, as clients send it, that the pattern matches: one byte for each pair
    /// of braces, and one for each character that a client may send without its escape.
    pub(in crate::config) fn shortest_path_bytes(&self) -> usize {
        let mut bytes = 0;
        for segment in self.0.split('/').skip(1) {
            bytes += "/".len();
            if segment.starts_with('{') {
                bytes += 1;
                continue;
            }
            let escapes = ESCAPED.iter().map(|&(_, escape)| segment.matches(escape).count());
            bytes += segment.len() - escapes.sum::<usize>() * ("%22".len() - 1);
        }
        bytes
    }
}

impl std::str::FromStr for PathPattern {
    type Err = PathPatternError;

    fn from_str(text: &str) -> Result<Self, PathPatternError> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err(PathPatternError::NoLeadingSlash);
        };
        // `gate::accept` refuses or normalizes these forms, so such a pattern would never match, or not as it reads.
        if text.bytes().any(|byte| byte <= 0x20 || byte >= 0x7F) {
            return Err(PathPatternError::Forbidden(
                "spaces, control characters or non-ASCII (write these percent-encoded)",
            ));
        }
        for (needle, description) in [
            ("\\", "`\\`"),
            ("?", "a query"),
            ("#", "a fragment"),
            ("//", "an empty segment"),
        ] {
            if text.contains(needle) {
                return Err(PathPatternError::Forbidden(description));
            }
        }
        if rest.split('/').any(is_dot_segment) {
            return Err(PathPatternError::Forbidden(
                "`.` or `..` segments, also with `;…` or `%20` behind the dots",
            ));
        }
        check_escapes(text)?;
        let mut segments = rest.split('/').peekable();
        while let Some(segment) = segments.next() {
            if is_other_wildcard(segment) {
                return Err(PathPatternError::OtherWildcard {
                    found: segment.to_owned(),
                });
            }
            if !segment.contains(['{', '}']) {
                continue;
            }
            let inner = segment.strip_prefix('{').and_then(|inner| inner.strip_suffix('}'));
            let name = match inner {
                Some(inner) => match inner.strip_prefix('*') {
                    Some(_) if segments.peek().is_some() => return Err(PathPatternError::Braces),
                    Some(name) => name,
                    None => inner,
                },
                None => return Err(PathPatternError::Braces),
            };
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                return Err(PathPatternError::Braces);
            }
        }
        Ok(Self(escaped(text).into()))
    }
}

/// The characters that RFC 3986 section 3.3 forbids in a path and that clients send all the same, with their escapes. Braces
/// are missing: in a pattern they stand for a part of the path.
const ESCAPED: [(char, &str); 8] = [
    ('"', "%22"),
    ('<', "%3C"),
    ('>', "%3E"),
    ('[', "%5B"),
    (']', "%5D"),
    ('^', "%5E"),
    ('`', "%60"),
    ('|', "%7C"),
];

/// Returns `text` with escapes for the characters of [`ESCAPED`]. A request is matched in its normal form: without the
/// escapes, such a pattern would match none.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match ESCAPED.iter().find(|(known, _)| *known == character) {
            Some((_, escape)) => escaped.push_str(escape),
            None => escaped.push(character),
        }
    }
    escaped
}

/// Returns whether `segment` is `.` or `..`, also as `..;x` (Tomcat and Jetty remove parameters
/// first) or `..%20` (Windows trims spaces). A request with such a segment is refused.
pub(crate) fn is_dot_segment(segment: &str) -> bool {
    if !segment.starts_with('.') {
        return false;
    }
    let ends = [segment.find(';'), segment.find("%3B")];
    let end = ends.into_iter().flatten().min().unwrap_or(segment.len());
    matches!(segment[..end].trim_end_matches("%20"), "." | "..")
}

/// Returns whether a segment is a wildcard in the syntax of other gateways, `*` or `:id`. As
/// a literal it would match almost nothing, and the reason would be hard to find.
fn is_other_wildcard(segment: &str) -> bool {
    let parameter = segment.strip_prefix(':').is_some_and(|name| !name.is_empty());
    parameter || (segment.contains('*') && !segment.contains(['{', '}']))
}

/// Checks the escapes of a path. Requests are matched in the normal form
/// of RFC 3986 section 6.2.2, so patterns must be in that form.
fn check_escapes(text: &str) -> Result<(), PathPatternError> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte != b'%' {
            decoded.push(byte);
            at += 1;
            continue;
        }
        let digit = |offset: usize| {
            let byte = bytes.get(at + offset).copied()?;
            let upper = byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte);
            char::from(byte).to_digit(16).filter(|_| upper)
        };
        let (Some(high), Some(low)) = (digit(1), digit(2)) else {
            return Err(PathPatternError::Escape);
        };
        let byte = u8::try_from(high * 16 + low).expect("two hexadecimal digits are one byte");
        match byte {
            b'/' | b'\\' => return Err(PathPatternError::Forbidden("an encoded `/` or `\\`")),
            // An upstream that decodes twice would see another path.
            b'%' => return Err(PathPatternError::Forbidden("an encoded `%`")),
            0..=0x1F | 0x7F => return Err(PathPatternError::Forbidden("an encoded control character")),
            b'-' | b'.' | b'_' | b'~' => return Err(PathPatternError::Escape),
            _ if byte.is_ascii_alphanumeric() => return Err(PathPatternError::Escape),
            _ => decoded.push(byte),
        }
        at += 3;
    }
    match std::str::from_utf8(&decoded) {
        Ok(_) => Ok(()),
        Err(_) => Err(PathPatternError::Forbidden("escapes that are not UTF-8")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, expected: Result<(), PathPatternError>) {
        assert_eq!(path.parse::<PathPattern>().map(drop), expected, "{path:?}");
    }

    #[test]
    fn a_path_pattern_is_whole_segments() {
        for good in [
            "/",
            "/a",
            "/a/",
            "/{id}",
            "/a/{id}/b",
            "/{*rest}",
            "/a/{*rest}",
            "/a.b",
            "/a:b",
        ] {
            check(good, Ok(()));
        }
        for bad in [
            "/{}",
            "/{*}",
            "/a{id}",
            "/{id}a",
            "/{*rest}/a",
            "/{*rest}/",
            "/{a",
            "/a}",
            "/{a-b}",
            "/{{a}}",
        ] {
            check(bad, Err(PathPatternError::Braces));
        }
        for (bad, found) in [
            ("/a/*", "*"),
            ("/a/*.json", "*.json"),
            ("/a*", "a*"),
            ("/a/:id/b", ":id"),
        ] {
            let found = found.to_owned();
            check(bad, Err(PathPatternError::OtherWildcard { found }));
        }
        check("", Err(PathPatternError::NoLeadingSlash));
        check("a", Err(PathPatternError::NoLeadingSlash));
        for bad in [
            "/a?b",
            "/a#b",
            "//",
            "/a//b",
            "/a/../b",
            "/.",
            "/a\\b",
            "/a b",
            "/\u{e9}",
            "/\0",
            "/..;a/b",
            "/.%3B",
            "/..%20",
            "/.%20%20;a",
        ] {
            assert!(
                matches!(bad.parse::<PathPattern>(), Err(PathPatternError::Forbidden(_))),
                "{bad}"
            );
        }
    }

    #[test]
    fn the_shortest_path_has_one_byte_for_braces_and_for_characters_that_need_no_escape() {
        for (text, bytes) in [
            ("/", 1),
            ("/a/", 3),
            ("/a/{id}/b", 6),
            ("/{*rest}", 2),
            ("/a|b", 4),
            ("/a%7Cb", 4),
            ("/a%20b", 6),
            ("/%C3%A9", 7),
            ("/..a", 4),
        ] {
            assert_eq!(
                text.parse::<PathPattern>().unwrap().shortest_path_bytes(),
                bytes,
                "{text}"
            );
        }
    }

    #[test]
    fn a_path_pattern_is_in_the_form_that_requests_are_matched_in() {
        check("/%20", Ok(()));
        check("/%C3%A9", Ok(()));
        check("/a%3Ab", Ok(()));
        let written = |text: &str| text.parse::<PathPattern>().unwrap().as_str().to_owned();
        assert_eq!(written("/a|b/[x]/^`<\">/{id}"), "/a%7Cb/%5Bx%5D/%5E%60%3C%22%3E/{id}");
        assert_eq!(written("/a%7Cb/!$&'()+,;=:@-._~"), "/a%7Cb/!$&'()+,;=:@-._~");
        for bad in [
            "/%", "/%2", "/%zz", "/%c3%a9", "/%41", "/%2E%2E", "/%7E", "/%2D", "/%5F",
        ] {
            check(bad, Err(PathPatternError::Escape));
        }
        for bad in ["/%2F", "/%5C", "/%252E", "/%00", "/%1F", "/%7F", "/%C3", "/%FF"] {
            assert!(
                matches!(bad.parse::<PathPattern>(), Err(PathPatternError::Forbidden(_))),
                "{bad}"
            );
        }
    }
}
