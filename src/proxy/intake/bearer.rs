//! Is this value of `Authorization` one bearer token (RFC 6750 section 2.1)?

use crate::proxy::intake::IntakeError;
use http::HeaderValue;

/// The token of `Bearer <token68>`: the scheme in any case, exactly one space.
///
/// RFC 9110 section 11.4 allows more spaces and RFC 6750 does not; parsers that split differently would read different
/// tokens, so one it is (S010).
///
/// # Errors
/// `OtherScheme` for a well-formed value of another scheme, otherwise what keeps it from being a token.
pub(crate) fn parse(value: &HeaderValue, bytes_max: usize) -> Result<&str, IntakeError> {
    // Visible ASCII, space and tab are left; a value with other bytes is broken, not absent (S008).
    let text = value.to_str().map_err(|_| IntakeError::AuthorizationMalformed)?;
    let (scheme, rest) = match text.split_once(' ') {
        Some((scheme, rest)) => (scheme, Some(rest)),
        None => (text, None),
    };
    if !is_scheme(scheme) || text.contains('\t') {
        return Err(IntakeError::AuthorizationMalformed);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(other_scheme(scheme, rest.unwrap_or_default()));
    }
    let token = rest.ok_or(IntakeError::AuthorizationMalformed)?;
    // Length first: what is too long is not worth reading (S022).
    if token.len() > bytes_max {
        return Err(IntakeError::TooLong);
    }
    match is_token68(token) {
        true => Ok(token),
        false if holds_a_second(token) => Err(IntakeError::AuthorizationRepeated),
        false => Err(IntakeError::AuthorizationMalformed),
    }
}

/// `Basic …` is somebody else's credential: 401. But `xBearer …` is ours with a typing error, and a list is two
/// credentials whatever their schemes: both 400.
fn other_scheme(scheme: &str, rest: &str) -> IntakeError {
    if scheme.to_ascii_lowercase().contains("bearer") {
        IntakeError::AuthorizationMalformed
    } else if holds_a_second(rest) {
        IntakeError::AuthorizationRepeated
    } else {
        IntakeError::OtherScheme
    }
}

/// Whether a comma is followed by what starts another credential: a scheme and a space, or `Bearer` alone. The commas of
/// `Digest a=b, c="d"` are followed by parameters.
fn holds_a_second(rest: &str) -> bool {
    rest.split(',').skip(1).any(|member| {
        let member = member.trim_matches(' ');
        let scheme = member.split(' ').next().unwrap_or_default();
        is_scheme(scheme) && (member.contains(' ') || scheme.eq_ignore_ascii_case("bearer"))
    })
}

/// `auth-scheme`, a token (RFC 9110 section 5.6.2).
fn is_scheme(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`.
fn is_token68(text: &str) -> bool {
    let unpadded = text.trim_end_matches('=');
    !unpadded.is_empty() && unpadded.bytes().all(|byte| IS_TOKEN68[usize::from(byte)])
}

/// By byte. A token has hundreds of them, of all kinds in no order, so that branches on the kind are guessed wrong half the
/// time: that was a third of a whole decision.
const IS_TOKEN68: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte: u8 = 0;
    loop {
        let symbol = matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
        table[byte as usize] = byte.is_ascii_alphanumeric() || symbol;
        if byte == u8::MAX {
            break table;
        }
        byte += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_token68_are_those_of_rfc9110_section_11_2() {
        let allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/";
        for byte in 0..=u8::MAX {
            let expected = allowed.bytes().any(|allowed| allowed == byte);
            assert_eq!(IS_TOKEN68[usize::from(byte)], expected, "{byte:#x}");
        }
    }
}
