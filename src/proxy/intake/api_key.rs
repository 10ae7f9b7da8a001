//! Is this value of the API key header one key?

use crate::proxy::intake::IntakeError;
use http::HeaderValue;

/// The key: visible ASCII (S008) without comma, which is how intermediaries join two fields into one (S006).
///
/// # Errors
/// What keeps it from being one key.
pub(crate) fn parse(value: &HeaderValue, bytes_max: usize) -> Result<&str, IntakeError> {
    if value.len() > bytes_max {
        return Err(IntakeError::TooLong);
    }
    let text = value.to_str().map_err(|_| IntakeError::ApiKeyMalformed)?;
    if text.contains(',') {
        return Err(IntakeError::ApiKeyRepeated);
    }
    match !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(text),
        false => Err(IntakeError::ApiKeyMalformed),
    }
}
