//! Which stages does a decision run through? Tests and `explain` observe them.

/// A stage, as reported to a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Accept,
    Intake,
    Authenticate,
    Authorize,
    Limit,
}

/// A function that is called on entering each stage; a test makes it panic (S146). A running gateway has none.
pub type Probe = Box<dyn Fn(Stage) + Send + Sync>;
