//! Why did a decision end without a `Permit`?

use crate::gate::answer::Answer;
use crate::gate::answer::control::ControlCall;
use crate::gate::authenticate::Need;
use crate::gate::denial::Denial;
use crate::observe::metrics::AnswerLabel;

/// Every end of a decision but a [`crate::gate::decide::Permit`].
pub enum Stop {
    Denied(Denial),
    /// Memory is not enough; once the need is met, the same request is decided again.
    Needs(Need),
    /// There is nothing to forward: the gate answers this itself.
    Answered(AnswerLabel, Answer),
    /// There is nothing to forward: the control side answers this, once its body is there.
    Control(ControlCall),
}

impl<T: Into<Denial>> From<T> for Stop {
    fn from(denial: T) -> Self {
        Self::Denied(denial.into())
    }
}
