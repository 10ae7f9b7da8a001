//! Why did a decision end without a `Permit`?

use crate::gate::answer::Answer;
use crate::gate::answer::control::ControlCall;
use crate::gate::authenticate::Need;
use crate::gate::denial::Denial;
use crate::observe::metrics::AnswerLabel;

/// The outcome of a decision without a [`crate::gate::decide::Permit`].
pub enum Stop {
    Denied(Denial),
    /// The decision needs keys or a verdict that are not in memory. Meet the need, then decide the request again.
    Needs(Need),
    /// The response is complete already: a CORS preflight or a built-in document.
    Answered(AnswerLabel, Answer),
    /// The request is for the control side, which needs the body of the request to respond.
    Control(ControlCall),
}

impl<T: Into<Denial>> From<T> for Stop {
    fn from(denial: T) -> Self {
        Self::Denied(denial.into())
    }
}
