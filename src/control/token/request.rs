//! Is this one form, with each parameter but `resource` once (RFC 6749 sections 3.2 and
//! 4.4.2)? Input that two parsers could read differently is rejected.

use crate::control::token::error::TokenEndpointError;
use crate::model::secret::Secret;
use http::HeaderMap;
use http::Method;
use http::Uri;
use http::header::CONTENT_TYPE;
use std::fmt;

/// The longest body, in bytes.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// The maximum number of parameters; real requests have about six.
const PARAMETERS_MAX: usize = 64;

/// The only parameter that a request may have several times (RFC 8707 section 2).
pub const RESOURCE: &str = "resource";

/// The parameters of a request.
pub struct Form(Vec<(String, Secret<String>)>);

impl Form {
    /// Reads the form of a request.
    ///
    /// # Errors
    /// The request is not a POST of one well-formed form, has a query, or has a body of more than 64 KiB.
    pub fn read(method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<Self, TokenEndpointError> {
        if *method != Method::POST {
            return Err(TokenEndpointError::Method);
        }
        // Secrets in a URL end up in logs and histories. Reject every parameter there: none is read from the query.
        if uri.query().is_some_and(|query| !query.is_empty()) {
            return Err(TokenEndpointError::Query);
        }
        if !is_form(headers) {
            return Err(TokenEndpointError::ContentType);
        }
        if body.len() > BODY_BYTES_MAX {
            return Err(TokenEndpointError::TooLong);
        }
        Self::parse(body)
    }

    /// Parses the `application/x-www-form-urlencoded` format (RFC 6749 appendix B) strictly: every `%` begins an
    /// escape, and the text is UTF-8.
    ///
    /// # Errors
    /// The text is malformed, has a name other than `resource` twice, or has more than 64 parameters.
    pub fn parse(body: &[u8]) -> Result<Self, TokenEndpointError> {
        let mut parameters: Vec<(String, Secret<String>)> = Vec::new();
        for pair in body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let equals = pair.iter().position(|byte| *byte == b'=');
            let (name, value) = match equals {
                Some(at) => (&pair[..at], &pair[at + 1..]),
                None => (pair, &[][..]),
            };
            let name = decode(name).ok_or(TokenEndpointError::Malformed)?;
            let value = decode(value).map(Secret::new).ok_or(TokenEndpointError::Malformed)?;
            if parameters.len() == PARAMETERS_MAX {
                return Err(TokenEndpointError::TooManyParameters);
            }
            if name != RESOURCE && parameters.iter().any(|(known, _)| *known == name) {
                return Err(TokenEndpointError::Repeated);
            }
            parameters.push((name, value));
        }
        Ok(Self(parameters))
    }

    /// Returns every `resource` (RFC 8707 section 2).
    pub fn resources(&self) -> impl Iterator<Item = &str> {
        let found = self.0.iter().filter(|(known, _)| known == RESOURCE);
        let values = found.map(|(_, value)| value.expose().as_str());
        values.filter(|value| !value.is_empty())
    }

    /// Returns the value of a parameter. A parameter without a value counts as omitted (RFC 6749 section 3.2).
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found
            .map(|(_, value)| value.expose().as_str())
            .filter(|value| !value.is_empty())
    }
}

/// Prints names only: values are secrets.
impl fmt::Debug for Form {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    essence
        .trim_ascii()
        .eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
}

/// Decodes one form-encoded name or value; returns `None` if it is malformed. `client_secret_basic` encodes each half
/// in the same way (RFC 6749 section 2.3.1).
pub fn decode(text: &[u8]) -> Option<String> {
    let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.iter().copied();
    while let Some(byte) = rest.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                u8::try_from(high << 4 | low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    const FORM: &str = "application/x-www-form-urlencoded";

    #[track_caller]
    fn check(method: Method, uri: &str, types: &[&'static str], body: &[u8], expected: Result<(), TokenEndpointError>) {
        let mut headers = HeaderMap::new();
        for value in types {
            headers.append(CONTENT_TYPE, HeaderValue::from_static(value));
        }
        let read = Form::read(&method, &uri.parse().unwrap(), &headers, body);
        assert_eq!(read.map(drop), expected, "{method} {uri} {types:?}");
    }

    #[test]
    fn s129_only_a_posted_form_without_a_query_is_read() {
        let check_post =
            |uri: &str, types: &[&'static str], expected| check(Method::POST, uri, types, b"a=b", expected);
        check_post("/oauth/token", &[FORM], Ok(()));
        check_post("/oauth/token?", &[FORM], Ok(()));
        check_post(
            "/oauth/token",
            &["Application/X-WWW-Form-Urlencoded ;charset=UTF-8"],
            Ok(()),
        );
        for method in [Method::GET, Method::PUT, Method::HEAD, Method::OPTIONS] {
            check(method, "/oauth/token", &[FORM], b"a=b", Err(TokenEndpointError::Method));
        }
        for query in ["/oauth/token?grant_type=client_credentials", "/oauth/token?x"] {
            check_post(query, &[FORM], Err(TokenEndpointError::Query));
        }
        for types in [
            &[][..],
            &["application/json"],
            &["text/plain"],
            &["application/x-www-form-urlencodedx"],
            &["multipart/form-data; boundary=x"],
            &[FORM, FORM],
        ] {
            check_post("/oauth/token", types, Err(TokenEndpointError::ContentType));
        }
    }

    #[test]
    fn a_body_is_bounded_from_both_sides() {
        let of = |bytes: usize| [b"a=".to_vec(), vec![b'x'; bytes - 2]].concat();
        let check_body = |body: &[u8], expected| check(Method::POST, "/oauth/token", &[FORM], body, expected);
        check_body(&of(BODY_BYTES_MAX), Ok(()));
        check_body(&of(BODY_BYTES_MAX + 1), Err(TokenEndpointError::TooLong));
        let many = |count: usize| {
            (0..count)
                .map(|index| format!("p{index}=1"))
                .collect::<Vec<_>>()
                .join("&")
        };
        check_body(many(64).as_bytes(), Ok(()));
        check_body(many(65).as_bytes(), Err(TokenEndpointError::TooManyParameters));
    }

    #[test]
    fn s129_no_parameter_is_there_twice_however_it_is_written() {
        let refused = |body: &str, error| {
            assert_eq!(Form::parse(body.as_bytes()).map(drop), Err(error), "{body}");
        };
        for twice in [
            "scope=a&scope=b",
            "scope=a&scope=a",
            "scope&scope=a",
            "scope=a&%73cope=b",
            "scope=&scope=a",
            "unknown=1&unknown=1",
        ] {
            refused(twice, TokenEndpointError::Repeated);
        }
        let form = Form::parse(b"resource=a&resource=&resource&resource=b&resource=a&x=c").unwrap();
        assert_eq!(form.resources().collect::<Vec<_>>(), ["a", "b", "a"]);
        for malformed in ["a=%", "a=%4", "a=%zz", "a=%+1", "%=a", "a=%ff", "a=%C3%28"] {
            refused(malformed, TokenEndpointError::Malformed);
        }
        assert!(Form::parse(b"a=\xff").is_err());
    }

    #[test]
    fn rfc6749_section_3_2_a_parameter_without_a_value_counts_as_left_out() {
        let form = Form::parse(b"&a=1&b=&c&d=x+y%2Bz&&e=1=2&f=%C3%A9").unwrap();
        let expected = [
            ("a", Some("1")),
            ("b", None),
            ("c", None),
            ("d", Some("x y+z")),
            ("e", Some("1=2")),
            ("f", Some("\u{e9}")),
            ("g", None),
        ];
        for (name, value) in expected {
            assert_eq!(form.get(name), value, "{name}");
        }
        assert!(!format!("{form:?}").contains("x y"));
    }

    proptest! {
        #[test]
        fn reading_a_form_never_panics(body: Vec<u8>) {
            let _ = Form::parse(&body);
        }

        #[test]
        fn an_encoded_form_reads_back(pairs in prop::collection::btree_map("[a-z%&=+é ]{1,6}", "[a-z%&=+é ]{1,9}", 0..8)) {
            let mut writer = url::form_urlencoded::Serializer::new(String::new());
            writer.extend_pairs(&pairs);
            let form = Form::parse(writer.finish().as_bytes()).unwrap();
            for (name, value) in &pairs {
                prop_assert_eq!(form.get(name), Some(value.as_str()));
            }
        }
    }
}
