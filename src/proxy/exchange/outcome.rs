//! How did an exchange end?

use crate::gate::denial::Denial;
use crate::observe::metrics::AnswerLabel;

/// The end of an exchange, as metrics and record tell it.
#[derive(Debug)]
pub enum Outcome {
    /// None yet: the request goes to an upstream, or has gone there and back.
    Open,
    Denied(Denial),
    /// The gate answered the request itself.
    Answered(AnswerLabel),
    /// The control side answered it.
    Controlled {
        /// Why it was no success.
        reason: Option<&'static str>,
        /// The client that proved itself.
        client_id: Option<String>,
    },
    /// The stream ended with the credential that opened it (S038).
    StreamEnded,
}

/// Why an exchange ended before its end.
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
