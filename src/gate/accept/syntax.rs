//! How are tokens, comma-separated lists and lengths in a field value parsed (RFC 9110 sections 5.6 and 8.6)?

/// Returns the value of `Content-Length` (`1*DIGIT`, RFC 9110 section 8.6) in bytes. `None` for `+5`, `0x5`, `5, 5`, an
/// empty value, and a number over `u64::MAX`.
pub fn length(value: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(value).ok()?;
    let only_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    only_digits.then(|| digits.parse().ok())?
}

/// Returns the members of a comma-separated list, without the white space around them. Skips empty members (RFC 9110
/// section 5.6.1.2). Also splits at a comma inside quotes.
pub fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let members = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    members.filter(|member| !member.is_empty())
}

/// Returns whether `byte` may stand in a token (`tchar`, RFC 9110 section 5.6.2).
pub fn is_tchar(byte: &u8) -> bool {
    IS_TCHAR[usize::from(*byte)]
}

/// Indexed by byte: `true` for a `tchar`. A table, because every byte of every field name is checked.
const IS_TCHAR: [bool; 256] = {
    let mut table = [false; 256];
    let symbols = b"!#$%&'*+-.^_`|~";
    let mut at = 0;
    while at < symbols.len() {
        table[symbols[at] as usize] = true;
        at += 1;
    }
    let mut byte: u8 = 0;
    while byte < 0x80 {
        table[byte as usize] |= byte.is_ascii_alphanumeric();
        byte += 1;
    }
    table
};

/// Returns whether `text` is a `token` (RFC 9110 section 5.6.2).
pub fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(is_tchar)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_digits_alone_and_fits_64_bits() {
        for (value, expected) in [
            ("0", Some(0)),
            ("007", Some(7)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("", None),
            ("+5", None),
            ("-5", None),
            ("0x5", None),
            (" 5", None),
            ("5, 5", None),
            ("\u{665}", None),
        ] {
            assert_eq!(length(value.as_bytes()), expected, "{value:?}");
        }
        assert_eq!(length(b"\xff"), None);
    }

    #[test]
    fn a_list_has_its_members_without_white_space_and_without_empty_ones() {
        let check = |value: &str, expected: &[&str]| {
            let found: Vec<&[u8]> = members(value.as_bytes()).collect();
            let expected: Vec<&[u8]> = expected.iter().map(|member| member.as_bytes()).collect();
            assert_eq!(found, expected, "{value:?}");
        };
        check("", &[]);
        check(" , ,", &[]);
        check("a", &["a"]);
        check("a,b", &["a", "b"]);
        check(" a b ,\tc ,, d", &["a b", "c", "d"]);
    }

    #[test]
    fn a_token_is_the_character_set_of_rfc9110_section_5_6_2() {
        let allowed = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        for byte in 0..=u8::MAX {
            assert_eq!(is_tchar(&byte), allowed.as_bytes().contains(&byte), "{byte}");
        }
        assert!(is_token(b"a-b") && !is_token(b"") && !is_token(b"a b"));
    }
}
