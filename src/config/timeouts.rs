//! How long may the parts of a forwarded request take? The limits of an upstream, and those of a route in their place.

use crate::config::listener::timeout;
use crate::config::read::Text;
use crate::config::text::Timeout;
use std::time::Duration;

/// The time limits of one forwarded request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Limit of one connection attempt. Default 2 s.
    pub connect: Duration,
    /// Limit of the wait for the response's head, and of the time between two reads. Default 60 s.
    pub read: Duration,
    /// Limit of the time between two writes of the request. Default 30 s.
    pub write: Duration,
    /// Limit from the first connection attempt to the last byte of the response, streams excepted. Default 30 min.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            read: Duration::from_secs(60),
            write: Duration::from_secs(30),
            total: Duration::from_secs(30 * 60),
        }
    }
}

/// The time limits that a route sets in place of those of its upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeoutOverrides {
    pub connect: Option<Duration>,
    pub read: Option<Duration>,
    pub write: Option<Duration>,
    pub total: Option<Duration>,
}

impl Timeouts {
    /// Returns these limits, with those that `overrides` sets in their place.
    pub fn overridden_by(self, overrides: TimeoutOverrides) -> Self {
        Self {
            connect: overrides.connect.unwrap_or(self.connect),
            read: overrides.read.unwrap_or(self.read),
            write: overrides.write.unwrap_or(self.write),
            total: overrides.total.unwrap_or(self.total),
        }
    }
}

/// The limits as an upstream and a route write them.
pub(in crate::config) struct Written {
    pub connect: Option<Text<Timeout>>,
    pub read: Option<Text<Timeout>>,
    pub write: Option<Text<Timeout>>,
    pub total: Option<Text<Timeout>>,
}

/// Returns the limits of an upstream.
pub(in crate::config) fn of_upstream(written: Written) -> Timeouts {
    let default = Timeouts::default();
    Timeouts {
        connect: timeout(written.connect, default.connect),
        read: timeout(written.read, default.read),
        write: timeout(written.write, default.write),
        total: timeout(written.total, default.total),
    }
}

/// Returns the limits of a route; `None` where it sets none, as most of thousands of routes do.
pub(in crate::config) fn of_route(written: Written) -> Option<Box<TimeoutOverrides>> {
    let own = |written: Option<Text<Timeout>>| written.map(|written| written.take().0);
    let overrides = TimeoutOverrides {
        connect: own(written.connect),
        read: own(written.read),
        write: own(written.write),
        total: own(written.total),
    };
    (overrides != TimeoutOverrides::default()).then(|| Box::new(overrides))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_of_a_route_replaces_that_of_its_upstream_alone() {
        let second = Some(Duration::from_secs(1));
        let of = |overrides: TimeoutOverrides| Timeouts::default().overridden_by(overrides);
        let (none, default) = (TimeoutOverrides::default(), Timeouts::default());
        assert_eq!(of(none), default);
        let changed = |connect, read, write, total| Timeouts {
            connect: Duration::from_secs(connect),
            read: Duration::from_secs(read),
            write: Duration::from_secs(write),
            total: Duration::from_secs(total),
        };
        let overrides = TimeoutOverrides {
            connect: second,
            ..none
        };
        assert_eq!(of(overrides), changed(1, 60, 30, 1800));
        assert_eq!(of(TimeoutOverrides { read: second, ..none }), changed(2, 1, 30, 1800));
        assert_eq!(of(TimeoutOverrides { write: second, ..none }), changed(2, 60, 1, 1800));
        assert_eq!(of(TimeoutOverrides { total: second, ..none }), changed(2, 60, 30, 1));
    }
}
