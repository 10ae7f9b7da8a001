//! Is this value of the API key header one key?

use crate::gate::intake::IntakeError;
use http::HeaderValue;

/// Returns the key, which is visible ASCII (S008) of at most `bytes_max` bytes. A comma is refused, because
/// intermediaries join two fields into one with a comma (S006).
///
/// # Errors
/// The reason why the value is not one key.
pub(crate) fn parse(value: &HeaderValue, bytes_max: usize) -> Result<&str, IntakeError> {
    if value.len() > bytes_max {
        return Err(IntakeError::TooLong);
    }
    let bytes = value.as_bytes();
    // `fold`, not `all`: without an early exit, the compiled loop checks sixteen bytes at a time.
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
