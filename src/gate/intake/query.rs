//! Does a query carry a credential, and which part of it may be logged?

use crate::gate::accept::normalize::escape_at;
use crate::model::query_credential::NAMES as CREDENTIAL_NAMES;
use std::borrow::Cow;

/// The names of further parameters that often hold secrets, which must not be logged: `code` and `state` of a sign-in,
/// signatures of pre-signed URLs, tokens in mailed links.
const REDACTED_NAMES: [&str; 23] = [
    "accesskey",
    "assertion",
    "auth",
    "authorization",
    "authtoken",
    "bearer",
    "bearertoken",
    "clientassertion",
    "clientsecret",
    "code",
    "idtoken",
    "jwt",
    "oauthtoken",
    "password",
    "refreshtoken",
    "secret",
    "sig",
    "signature",
    "state",
    "subscriptionkey",
    "token",
    "xamzsecuritytoken",
    "xamzsignature",
];

const REDACTED: &str = "[redacted]";

/// Returns whether a parameter has the name of a credential: percent-decoded, in any case, with
/// `-`, `_` or neither (S009).
pub(crate) fn has_credential(query: &str) -> bool {
    parameters(query).any(|parameter| is_one_of(name_of(parameter), &CREDENTIAL_NAMES))
}

/// Returns `query` for logs: `[redacted]` replaces the values of parameters in [`CREDENTIAL_NAMES`] and
/// [`REDACTED_NAMES`].
pub fn redact_query(query: &str) -> Cow<'_, str> {
    let is_secret = |parameter: &str| {
        let name = name_of(parameter);
        is_one_of(name, &CREDENTIAL_NAMES) || is_one_of(name, &REDACTED_NAMES)
    };
    if !parameters(query).any(is_secret) {
        return Cow::Borrowed(query);
    }
    let mut redacted = String::with_capacity(query.len());
    for parameter in query.split_inclusive(['&', ';']) {
        let (text, separator) = match parameter.strip_suffix(['&', ';']) {
            Some(text) => (text, &parameter[text.len()..]),
            None => (parameter, ""),
        };
        match text.split_once('=') {
            Some((name, _)) if is_secret(text) => {
                redacted.push_str(name);
                redacted.push('=');
                redacted.push_str(REDACTED);
            }
            Some(_) | None => redacted.push_str(text),
        }
        redacted.push_str(separator);
    }
    Cow::Owned(redacted)
}

/// Returns the parameters of `query`, separated by `&` or `;`: some upstreams read `;` as a separator.
fn parameters(query: &str) -> impl Iterator<Item = &str> {
    query.split(['&', ';'])
}

fn name_of(parameter: &str) -> &str {
    parameter.split('=').next().unwrap_or_default()
}

/// Returns whether the plain form of `name` is in `names`: percent-decoded, lower case, without `-`, `_`, `.`, spaces, `+`
/// and everything from `[` to the end on (PHP reads `api.key` as `api_key`, and `key[]` as `key`).
fn is_one_of(name: &str, names: &[&str]) -> bool {
    // The listed names are shorter than this, so a longer name is not in the list.
    const NAME_BYTES_MAX: usize = 24;
    let mut plain = [0_u8; NAME_BYTES_MAX];
    let mut length = 0;
    let bytes = name.as_bytes();
    let mut at = 0;
    while let Some(&raw) = bytes.get(at) {
        let escaped = escape_at(bytes, at);
        at += if escaped.is_some() { 3 } else { 1 };
        match escaped.unwrap_or(raw) {
            b'-' | b'_' | b'.' | b'+' | b' ' => {}
            // Without its end, PHP reads it as `_`.
            b'[' if bytes[at..].contains(&b']')
                || bytes[at..].windows(3).any(|text| text.eq_ignore_ascii_case(b"%5D")) =>
            {
                break;
            }
            b'[' => {}
            byte => match plain.get_mut(length) {
                Some(slot) => {
                    *slot = byte.to_ascii_lowercase();
                    length += 1;
                }
                None => return false,
            },
        }
    }
    names.iter().any(|name| name.as_bytes() == &plain[..length])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn s009_credentials_in_the_query_are_noticed_in_every_spelling() {
        for query in [
            "access_token=a",
            "a=b&access_token=c",
            "ACCESS_TOKEN=a",
            "access%5Ftoken=a",
            "%61ccess_token=a",
            "access-token=a",
            "api_key=a",
            "apikey=a",
            "apiKey=a",
            "api-key",
            "api.key=a",
            "access.token=a",
            "access[token=a",
            "key[]=a",
            "key%5B0%5D=a",
            "x-api-key=a",
            "key=a",
            "a;key=b",
            "key[]=a",
            "key%5B0%5D=a",
            "+key=a",
            "api_key",
            "api_key=",
        ] {
            assert!(has_credential(query), "{query:?}");
        }
        for query in [
            "",
            "a=access_token",
            "keys=a",
            "monkey=a",
            "a=b&c",
            "=key",
            "access_token_type=a",
            "%zz=key",
            "?",
        ] {
            assert!(!has_credential(query), "{query:?}");
        }
        assert!(!has_credential(&format!("key{}=a", "y".repeat(100))));
    }

    #[test]
    fn s009_s143_logs_hold_no_credential_of_the_query() {
        let check = |query: &str, expected: &str| assert_eq!(redact_query(query), expected, "{query:?}");
        check("a=b&c", "a=b&c");
        check("access_token=s3cret", "access_token=[redacted]");
        check("a=b&ap%69_key=s3cret&c=d", "a=b&ap%69_key=[redacted]&c=d");
        check("key=s3=cret;token=s3cret&x", "key=[redacted];token=[redacted]&x");
        check("key", "key");
        check("X-Amz-Signature=s3cret", "X-Amz-Signature=[redacted]");
        check(
            "client_secret=s3cret&code=s3cret&",
            "client_secret=[redacted]&code=[redacted]&",
        );
        assert!(matches!(redact_query("a=b"), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn redacting_never_leaks_the_value_and_keeps_the_rest(
            name in "(access_token|API-KEY|%6bey|token)",
            before in "[a-z=%&;]{0,8}",
            after in "[a-z=%&;]{0,8}",
        ) {
            let redacted = redact_query(&format!("{before}&{name}=S3CRET&{after}")).into_owned();
            prop_assert!(!redacted.contains("S3CRET"));
            let expected = format!("&{name}=[redacted]&");
            prop_assert!(redacted.contains(&expected));
        }

        #[test]
        fn reading_a_query_never_panics(query in ".*") {
            let _ = has_credential(&query);
            let _ = redact_query(&query);
        }
    }
}
