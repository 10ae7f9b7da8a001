//! Which log lines and access records are written, and in which format?

use crate::config::read::Text;
use crate::config::text::LogFilter;
use schemars::JsonSchema;
use serde::Deserialize;

/// `log:` in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observe {
    /// A `tracing` filter such as `info` or `keygate=debug`. Default `info`.
    pub level: String,
    /// Default `json`.
    pub format: LogFormat,
    /// `true` where every request leaves an access record. Default true.
    pub access: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    Json,
    Text,
}

/// What is logged, and how.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Log")]
pub(in crate::config) struct Section {
    /// `error`, `warn`, `info`, `debug`, `trace`, `off`, or by module: `warn,keygate=debug`. Default `info`.
    level: Option<Text<LogFilter>>,
    /// Default `json`.
    format: Option<LogFormat>,
    /// Whether every request leaves an access record. Default true.
    access: Option<bool>,
}

pub(in crate::config) fn convert(section: Section) -> Observe {
    Observe {
        level: section.level.map_or_else(|| "info".to_owned(), |level| level.take().0),
        format: section.format.unwrap_or(LogFormat::Json),
        access: section.access.unwrap_or(true),
    }
}
