//! How does the process end? `shutdown`: the time for load balancers to notice, and the time for requests in flight.

use crate::config::read::Text;
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;

/// `shutdown:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// How long connections are accepted after SIGTERM, while `/readyz` fails already. Default 0 s.
    pub delay: Duration,
    /// The longest wait for requests in flight after that. Default 30 s.
    pub drain: Duration,
}

impl Default for Shutdown {
    fn default() -> Self {
        convert(Section::default())
    }
}

/// How the process ends after SIGTERM. The time in all is at most `delay` and `drain` together.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Shutdown")]
pub(in crate::config) struct Section {
    /// How long connections are accepted as before, while `/readyz` fails already: as long as the load balancer in front takes
    /// to notice. Default `0s`.
    delay: Option<Text<Duration>>,
    /// The longest wait for requests in flight after that. Default `30s`.
    drain: Option<Text<Duration>>,
}

pub(in crate::config) fn convert(section: Section) -> Shutdown {
    Shutdown {
        delay: section.delay.map_or(Duration::ZERO, Text::take),
        drain: section.drain.map_or(Duration::from_secs(30), Text::take),
    }
}
