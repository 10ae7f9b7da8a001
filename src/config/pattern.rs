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

/// Returns whether a list of methods contains `method`. GET includes HEAD,
/// which reports on the same representation (RFC 9110 section 9.3.2).
pub(crate) fn list_has(methods: &[Method], method: &Method) -> bool {
    methods.contains(method) || (method == Method::HEAD && methods.contains(&Method::GET))
}

/// A path such as `/v1/orders/{id}`, `/v1/{*rest}`. `{name}` is one segment, `{*name}` is the rest, at least one
/// character; everything else is literal, and in the normal form in which requests are matched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathPattern(String);

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
        if rest.split('/').any(|segment| segment == "." || segment == "..") {
            return Err(PathPatternError::Forbidden("`.` or `..` segments"));
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
        Ok(Self(escaped(text)))
    }
}

/// Returns `text` with escapes for the characters that RFC 3986 section 3.3 forbids in a path. Browsers send some of
/// them unescaped, and a request is matched in its normal form: without the escapes, such a pattern would match none.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '"' | '<' | '>' | '[' | ']' | '^' | '`' | '|') {
            escaped.push_str(&format!("%{:02X}", u32::from(character)));
        } else {
            escaped.push(character);
        }
    }
    escaped
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
            "/a?b", "/a#b", "//", "/a//b", "/a/../b", "/.", "/a\\b", "/a b", "/\u{e9}", "/\0",
        ] {
            assert!(
                matches!(bad.parse::<PathPattern>(), Err(PathPatternError::Forbidden(_))),
                "{bad}"
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
