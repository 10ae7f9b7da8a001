//! Which stages does a decision pass through? Tests and `explain` observe the stages.

/// A stage of a decision, in the order of the variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Accept,
    Intake,
    Authenticate,
    Authorize,
    Limit,
}

/// A function that a decision calls on entering each stage: `explain` logs the stages, a test panics in one (S146).
pub type Probe = Box<dyn Fn(Stage) + Send + Sync>;
