//! How are bytes encoded in a JWS or a JWK? As base64url without padding (RFC 7515 section 2).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The text is not base64url without padding: it has another alphabet, `=`, white space, an impossible length, or
/// unused bits that are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not base64url without padding")]
pub struct NotBase64Url;

/// Decodes `text`. Two different texts never decode to the same bytes (S021).
pub fn decode(text: &str) -> Result<Vec<u8>, NotBase64Url> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| NotBase64Url)
}

pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn s021_base64url_has_one_spelling() {
        assert_eq!(decode(""), Ok(vec![]));
        assert_eq!(decode("AA"), Ok(vec![0]));
        assert_eq!(decode("-_8"), Ok(vec![0xFB, 0xFF]));
        for bad in [
            "AA==", "AA=", "=", "AB", "AAB", "A", "AAAAA", "+/8", "A A", " AA", "AA ", "AA\n", "A\r\nA", "AA\0", "AÁ",
            "AA.",
        ] {
            assert_eq!(decode(bad), Err(NotBase64Url), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn encoded_bytes_decode_to_themselves(bytes: Vec<u8>) {
            prop_assert_eq!(decode(&encode(&bytes)), Ok(bytes));
        }

        #[test]
        fn an_accepted_text_is_the_encoding_of_its_bytes(text in "[A-Za-z0-9_=+/ -]{0,12}") {
            if let Ok(bytes) = decode(&text) {
                prop_assert_eq!(encode(&bytes), text);
            }
        }
    }
}
