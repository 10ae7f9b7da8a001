//! How does any text become one header value?

use http::HeaderValue;

/// Returns `text` as a header value that every recipient splits and decodes in the same way (S083). Visible ASCII
/// stays, and so does the first of the spaces between two characters; `%`, `,` and every other byte are percent-encoded
/// (RFC 3986 section 2.1).
pub fn header_value(text: &str) -> HeaderValue {
    // The usual case: every byte stays.
    if text.bytes().fold(true, |all, byte| all & stays(byte)) {
        return HeaderValue::from_str(text).expect("visible ASCII");
    }
    let mut value = String::with_capacity(text.len());
    let last = text.len().saturating_sub(1);
    let mut before = b' ';
    for (index, byte) in text.bytes().enumerate() {
        let inner_space = byte == b' ' && before != b' ' && index != last;
        if inner_space || stays(byte) {
            value.push(char::from(byte));
        } else {
            value.push('%');
            for nibble in [byte >> 4, byte & 0x0F] {
                value.push(char::from(b"0123456789ABCDEF"[usize::from(nibble)]));
            }
        }
        before = byte;
    }
    HeaderValue::from_str(&value).expect("only visible ASCII and inner spaces were kept")
}

fn stays(byte: u8) -> bool {
    byte.is_ascii_graphic() & (byte != b'%') & (byte != b',')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn s083_a_claim_cannot_split_a_header() {
        let check = |text: &str, expected: &str| assert_eq!(header_value(text), expected, "{text:?}");
        check("alice", "alice");
        check("a b", "a b");
        check(" a", "%20a");
        check("a ", "a%20");
        check("a  b", "a %20b");
        check("a\r\nx-admin: 1", "a%0D%0Ax-admin: 1");
        check("a,b", "a%2Cb");
        check("100%", "100%25");
        check("\0", "%00");
        check("🦀", "%F0%9F%A6%80");
    }

    proptest! {
        #[test]
        fn every_text_becomes_one_header_value(text in ".*") {
            let value = header_value(&text);
            prop_assert!(value.to_str().unwrap().bytes().all(|byte| (0x20..0x7F).contains(&byte) && byte != b','));
        }
    }
}
