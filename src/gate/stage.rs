//! Which stages does a decision run through? For tests and for `explain`, which look in between.

/// A stage, as a probe sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Accept,
    Intake,
    Authenticate,
    Authorize,
    Limit,
}

/// Called at the entrance of every stage; a test makes it panic (S146). The binary has none.
pub type Probe = Box<dyn Fn(Stage) + Send + Sync>;
