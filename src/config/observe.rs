//! What is logged, and how.

/// `log:` in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observe {
    /// A `tracing` filter such as `info` or `keygate=debug`. Default `info`.
    pub level: String,
    /// Default `json`.
    pub format: LogFormat,
    /// Whether every request leaves an access record. Default true.
    pub access: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Json,
    Text,
}
