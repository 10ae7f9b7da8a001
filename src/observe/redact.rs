//! Which parts of a client's text look like a credential? Without redaction, an API key in a path, a user agent or a
//! request id would be in every log (S064). Recognizes the secrets that Keygate makes, by their prefixes, and JWTs.

use crate::model::secret::SECRET_PREFIXES;
use std::borrow::Cow;

const REDACTED: &str = "[redacted]";

/// The length of an API key's public id, which is not redacted, and the minimum length of the secret after it.
const KEY_ID_BYTES: usize = 16;
const KEY_SECRET_BYTES_MIN: usize = 16;

/// The minimum lengths of a JWT's header and payload. Real headers and payloads are longer.
const HEADER_BYTES_MIN: usize = 12;
const PAYLOAD_BYTES_MIN: usize = 20;

/// The length of the shortest recognized credential: the header, dot and payload of a JWT.
const BYTES_MIN: usize = HEADER_BYTES_MIN + 1 + PAYLOAD_BYTES_MIN;

/// The minimum length of a secret after one of [`SECRET_PREFIXES`]. A whole one has 43 characters.
const PREFIXED_BYTES_MIN: usize = 24;

/// Returns `text` with `[redacted]` in place of each part that looks like a secret. Borrows `text` if there is none.
pub fn credentials(text: &str) -> Cow<'_, str> {
    let mut redacted = String::new();
    let mut rest = text;
    while let Some((start, end)) = find(rest) {
        redacted.push_str(&rest[..start]);
        redacted.push_str(REDACTED);
        rest = &rest[end..];
    }
    if redacted.is_empty() {
        return Cow::Borrowed(text);
    }
    redacted.push_str(rest);
    Cow::Owned(redacted)
}

/// Returns whether [`credentials`] would replace something.
pub fn has_credential(text: &str) -> bool {
    find(text).is_some()
}

/// Returns the start and end of the first secret. Both are character boundaries, because a secret is ASCII.
fn find(text: &str) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    // Most texts are paths and hosts, shorter than any credential.
    if bytes.len() < BYTES_MIN {
        return None;
    }
    bytes.iter().enumerate().find_map(|(at, byte)| match byte {
        b'_' => key_secret(bytes, at).or_else(|| prefixed_secret(bytes, at + 1)),
        b'e' => jwt(bytes, at),
        _ => None,
    })
}

/// Returns the range of the secret if `_live_<id>_<secret>` or `_test_<id>_<secret>` begins at `at`. Any prefix may
/// precede.
fn key_secret(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let after = bytes[at..]
        .strip_prefix(b"_live_")
        .or_else(|| bytes[at..].strip_prefix(b"_test_"))?;
    let id = prefix_len(after, |byte| byte.is_ascii_alphanumeric());
    let secret = after
        .get(id + 1..)
        .filter(|_| id == KEY_ID_BYTES && after[id] == b'_')?;
    let length = prefix_len(secret, |byte| byte.is_ascii_alphanumeric());
    let start = bytes.len() - secret.len();
    (length >= KEY_SECRET_BYTES_MIN).then_some((start, start + length))
}

/// Returns the range of the secret if one of [`SECRET_PREFIXES`] ends at `start`. The prefix stays: it tells which kind of
/// secret it was.
fn prefixed_secret(bytes: &[u8], start: usize) -> Option<(usize, usize)> {
    let (before, after) = bytes.split_at(start);
    if !SECRET_PREFIXES.iter().any(|prefix| before.ends_with(prefix.as_bytes())) {
        return None;
    }
    let length = prefix_len(after, |byte| byte.is_ascii_alphanumeric());
    (length >= PREFIXED_BYTES_MIN).then_some((start, start + length))
}

/// Returns the range of a JWT that begins at `at`: `<header>.<payload>` and the parts after them. The header is
/// base64url of a JSON object, so it begins with `ey` or `ew`: the code of `{"`, `{ `, or `{` before a line break.
fn jwt(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    if !matches!(bytes.get(at + 1), Some(b'y' | b'w')) {
        return None;
    }
    let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'=');
    let text = &bytes[at..];
    let header = prefix_len(text, is_base64url);
    let payload = text.get(header + 1..).filter(|_| text[header] == b'.')?;
    if header < HEADER_BYTES_MIN || prefix_len(payload, is_base64url) < PAYLOAD_BYTES_MIN {
        return None;
    }
    Some((at, at + prefix_len(text, |byte| is_base64url(byte) || byte == b'.')))
}

fn prefix_len(bytes: &[u8], is_part: impl Fn(u8) -> bool) -> usize {
    bytes.iter().take_while(|byte| is_part(**byte)).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::api_key::ApiKeyEnvironment;
    use crate::model::api_key::ApiKeyText;
    use crate::model::api_key::system_random;
    use crate::model::client_secret;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(credentials(text), expected, "{text:?}");
        assert_eq!(has_credential(text), text != expected, "{text:?}");
    }

    #[test]
    fn s064_keys_and_tokens_are_redacted_by_their_form() {
        check(
            "/v1/kg_live_7Ow0SAXa9I3Yrmyt_iB5vXlf0lZ0VPKJElAW1ajLx/x",
            "/v1/kg_live_7Ow0SAXa9I3Yrmyt_[redacted]/x",
        );
        check(
            "acme_test_7Ow0SAXa9I3Yrmyt_iB5vXlf0lZ0VPKJE",
            "acme_test_7Ow0SAXa9I3Yrmyt_[redacted]",
        );
        let token = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJodHRwczovL2EifQ.c2ln-_bmF0dXJl";
        check(token, REDACTED);
        check(&format!("curl {token} ä {token}?"), "curl [redacted] ä [redacted]?");
        check("ewogICJhbGciOiAiRVMyNTYifQ.eyJpc3MiOiJodHRwczovL2EifQ.", REDACTED);
    }

    #[test]
    fn s064_every_secret_that_keygate_makes_is_redacted() {
        for prefix in SECRET_PREFIXES {
            let secret = "7Ow0SAXa9I3YrmytiB5vXlf0lZ0VPKJElAW1ajLx0a9";
            check(
                &format!("/v1/{prefix}{secret}/x?{secret}"),
                &format!("/v1/{prefix}[redacted]/x?{secret}"),
            );
            check(&format!("{prefix}{}", &secret[..29]), &format!("{prefix}[redacted]"));
            let short = format!("{prefix}short-and-then-something-else-entirely");
            check(&short, &short);
        }
        let secret = client_secret::generate(&mut system_random);
        check(secret.expose(), "kgs_[redacted]");
        let key = ApiKeyText::generate("acme", ApiKeyEnvironment::Live, &mut system_random);
        let id = key.id();
        check(key.expose(), &format!("acme_live_{id}_[redacted]"));
    }

    #[test]
    fn everything_else_stays_as_it_is() {
        for text in [
            "",
            "e",
            "ey",
            "eyJ",
            "_live_",
            "_test_7Ow0SAXa9I3Yrmyt",
            "_test_7Ow0SAXa9I3Yrmyt_",
            "_test_7Ow0SAXa9I3Yrmyt_short",
            "/reports_test_quarterly_overview_of_everything_2026_final",
            "monkey-production-service.internal.example.com",
            "eyJhbGciOiJFUzI1NiJ9",
            "eyJhbGciOiJFUzI1NiJ9.",
            "/they/were.here/äöü_live_ä",
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        ] {
            check(text, text);
        }
    }
}
