//! Responses that no upstream gives: refusals, CORS preflights, documents, and what the control side says.

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

/// A whole response, out of memory.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
    /// The connection cannot carry another request after this.
    pub close: bool,
}
