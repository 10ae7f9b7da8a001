//! How did an exchange end?

use crate::gate::denial::Denial;
use crate::observe::metrics::AnswerLabel;

/// The state of an exchange so far, for metrics and the access record.
#[derive(Debug)]
pub enum Outcome {
    /// Not decided yet, or forwarded without a failure so far.
    Open,
    Denied(Denial),
    /// The gate answered the request itself.
    Answered(AnswerLabel),
    /// The control side answered the request.
    Controlled {
        /// Why the response is an error.
        reason: Option<&'static str>,
        /// The registered client that authenticated at the control side.
        client_id: Option<String>,
    },
    /// The stream ended with the credential that opened it (S038).
    StreamEnded,
    /// Another part of the program answered the request, which is neither counted nor recorded.
    LeftToOthers,
}

/// Why an exchange ends before its response is complete.
#[derive(Debug)]
pub enum Interruption {
    Denied(Denial),
    /// The stream ended with the credential that opened it (S038).
    StreamEnded,
}

impl From<Denial> for Interruption {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}
