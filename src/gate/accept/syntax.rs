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
