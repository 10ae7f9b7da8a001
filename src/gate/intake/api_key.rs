//! Is this value of the API key header one key?

use crate::gate::intake::IntakeError;
use http::HeaderValue;

/// The key: visible ASCII (S008) without comma, which is how intermediaries join two fields into one (S006).
///
/// # Errors
/// What keeps it from being one key.
pub(crate) fn parse(value: &HeaderValue, bytes_max: usize) -> Result<&str, IntakeError> {
    if value.len() > bytes_max {
        return Err(IntakeError::TooLong);
    }
    let bytes = value.as_bytes();
    // Without a way out in the middle, sixteen bytes are looked at in one step.
    let (graphic, comma) = bytes.iter().fold((true, false), |(graphic, comma), byte| {
        (graphic & byte.is_ascii_graphic(), comma | (*byte == b','))
    });
    let is_text = || value.to_str().is_ok();
    if comma && is_text() {
        return Err(IntakeError::ApiKeyRepeated);
    }
    if !bytes.is_empty() && graphic {
        std::str::from_utf8(bytes).map_err(|_| IntakeError::ApiKeyMalformed)
    } else {
        Err(IntakeError::ApiKeyMalformed)
    }
}
