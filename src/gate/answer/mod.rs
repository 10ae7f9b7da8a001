//! Which responses does the gate give itself? Refusals, CORS preflights, documents, and responses of the control side.

pub mod refusal;
pub mod cors;
pub mod built_in;
pub mod metadata;
pub mod control;

pub use built_in::BuiltIn;
pub use built_in::BuiltIns;
pub use cors::Cors;
pub use cors::Preflight;

use bytes::Bytes;
use http::HeaderName;
use http::HeaderValue;
use http::StatusCode;

/// A complete response that Keygate makes itself.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
    /// `true` if the connection must be closed after this response.
    pub close: bool,
}
