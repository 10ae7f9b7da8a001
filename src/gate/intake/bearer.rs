//! Is this value of `Authorization` one bearer token (RFC 6750 section 2.1)?

use crate::gate::intake::IntakeError;
use http::HeaderValue;

/// The characters of `OWS` and `BWS` (RFC 9110 section 5.6.3).
const WHITE_SPACE: [char; 2] = [' ', '\t'];

/// Returns the token of `Bearer <token68>`: the scheme in any case, exactly one space, a token of at most `bytes_max`
/// bytes.
///
/// RFC 9110 section 11.4 allows more spaces and RFC 6750 does not. Parsers that split differently would read different
/// tokens, so exactly one space is accepted (S010).
///
/// # Errors
/// `OtherScheme` for a well-formed value of another scheme, otherwise the reason why the value is not one token.
pub(crate) fn parse(value: &HeaderValue, bytes_max: usize) -> Result<&str, IntakeError> {
    // A short cut for the form that nearly every client sends: it reads the hundreds of bytes of a token twice, not
    // four times.
    if let Some(token) = value.as_bytes().strip_prefix(b"Bearer ")
        && token.len() <= bytes_max
        && is_token68(token)
    {
        return std::str::from_utf8(token).map_err(|_| IntakeError::AuthorizationMalformed);
    }
    // `to_str` allows visible ASCII, space and tab. A value with other bytes is malformed, not absent (S008).
    let text = value.to_str().map_err(|_| IntakeError::AuthorizationMalformed)?;
    let (scheme, rest) = match text.split_once(' ') {
        Some((scheme, rest)) => (scheme, Some(rest)),
        None => (text, None),
    };
    if !is_scheme(scheme) {
        return Err(IntakeError::AuthorizationMalformed);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(other_scheme(scheme, rest.unwrap_or_default()));
    }
    let token = rest.ok_or(IntakeError::AuthorizationMalformed)?;
    // The length first: a token that is too long is not parsed (S022).
    if token.len() > bytes_max {
        return Err(IntakeError::TooLong);
    }
    if is_token68(token.as_bytes()) {
        Ok(token)
    } else if holds_a_second(token) {
        Err(IntakeError::AuthorizationRepeated)
    } else {
        Err(IntakeError::AuthorizationMalformed)
    }
}

/// Returns the error for a scheme that is not `Bearer`. `Basic …` is a credential for another system (401). `xBearer …`
/// is a mistyped bearer token, and a list is more than one credential (400).
fn other_scheme(scheme: &str, rest: &str) -> IntakeError {
    if scheme.to_ascii_lowercase().contains("bearer") {
        IntakeError::AuthorizationMalformed
    } else if holds_a_second(rest) {
        IntakeError::AuthorizationRepeated
    } else {
        IntakeError::OtherScheme
    }
}

/// Returns whether `Authorization`, which is forwarded unread, holds more than one credential, as far as that can be told:
/// `Bearer` and `Basic` have no comma, and no other scheme is followed by a second one.
pub(super) fn is_list(value: &HeaderValue) -> bool {
    let text = String::from_utf8_lossy(value.as_bytes());
    let scheme = text.split(WHITE_SPACE).next().unwrap_or_default();
    let has_one_token = ["bearer", "basic"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known));
    (has_one_token && text.contains(',')) || holds_a_second(&text)
}

/// Returns whether a second credential follows a comma: a scheme and a space, or `Bearer` alone. The comma in
/// `Digest a=b, c="d"` precedes a parameter, and one between quotes is text. White space may surround the `=` of a parameter
/// (`BWS`, RFC 9110 section 11.2).
fn holds_a_second(rest: &str) -> bool {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let is_separator = |char: char| {
        let is_text = std::mem::take(&mut is_escaped);
        match char {
            '"' if !is_text => is_quoted = !is_quoted,
            '\\' if is_quoted && !is_text => is_escaped = true,
            _ => {}
        }
        char == ',' && !is_quoted
    };
    rest.split(is_separator).skip(1).any(|member| {
        let member = member.trim_matches(WHITE_SPACE);
        match member.split_once(WHITE_SPACE) {
            Some((scheme, rest)) => is_scheme(scheme) && !rest.trim_start_matches(WHITE_SPACE).starts_with('='),
            None => member.eq_ignore_ascii_case("bearer"),
        }
    })
}

/// Returns whether `text` is an `auth-scheme`, a token (RFC 9110 section 5.6.2).
fn is_scheme(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Returns whether `text` is `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`.
pub(super) fn is_token68(text: &[u8]) -> bool {
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    let unpadded = &text[..text.len() - padding];
    // A token has hundreds of letters, digits and symbols in random order, so the processor mispredicts half of the
    // branches that tell them apart: that took a third of a whole decision. Without branches, the compiled loop checks
    // sixteen bytes at a time.
    let is_symbol = |byte: u8| {
        let letter = (byte | 0x20).wrapping_sub(b'a') < 26;
        // `-`, `.`, `/` and the digits are consecutive in ASCII.
        let digit = byte.wrapping_sub(b'-') <= b'9' - b'-';
        letter | digit | (byte == b'_') | (byte == b'~') | (byte == b'+')
    };
    !unpadded.is_empty() && unpadded.iter().fold(true, |all, byte| all & is_symbol(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_token68_are_those_of_rfc9110_section_11_2() {
        let allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/";
        for byte in 0..=u8::MAX {
            let expected = allowed.bytes().any(|allowed| allowed == byte);
            assert_eq!(is_token68(&[byte]), expected, "{byte:#x}");
            assert_eq!(is_token68(&[b'a', byte, b'a']), expected, "{byte:#x}");
        }
    }
}
