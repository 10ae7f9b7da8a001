//! What the gate answers itself, out of memory: CORS preflights, and documents on paths of its own.

pub mod built_in;
pub mod control;
pub mod cors;
pub mod metadata;
pub mod refusal;

pub use built_in::BuiltIn;
pub use built_in::BuiltIns;
pub use cors::Cors;
pub use cors::CorsError;
pub use cors::Preflight;

use crate::observe::metrics::AnswerLabel;
use bytes::Bytes;
use http::HeaderName;
use http::HeaderValue;
use http::StatusCode;

/// An answer that needs no upstream and no credential. It says what the configuration says, never what a request says.
#[derive(Debug)]
pub struct OwnAnswer {
    pub kind: AnswerLabel,
    pub status: StatusCode,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
}
