//! Why did a decision end without a `Permit`?

use crate::gate::answer::Answer;
use crate::gate::answer::control::ControlCall;
use crate::gate::authenticate::Need;
use crate::gate::denial::Denial;
use crate::observe::metrics::AnswerLabel;

/// The outcome of a decision without a [`crate::gate::decide::Permit`].
pub enum Stop {
    Denied(Denial),
    /// Memory is not enough to decide. Meet the need, then decide the same request again.
    Needs(Need),
    /// The gate answers the request itself.
    Answered(AnswerLabel, Answer),
    /// The control side responds to the request once its body has been read.
    Control(ControlCall),
}

impl<T: Into<Denial>> From<T> for Stop {
    fn from(denial: T) -> Self {
        Self::Denied(denial.into())
    }
}
