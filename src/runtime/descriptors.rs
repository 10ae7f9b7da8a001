//! For how many connections are the file descriptors of this process enough?

use crate::observe::process;
use crate::proxy::connection_counts;
use rustix::process::Resource;
use rustix::process::getrlimit;
use rustix::process::setrlimit;

/// The most descriptors that are kept back for the admin listener: for probes, scrapes and commands.
const ADMIN_MAX: u64 = 32;
/// The most connections over the limit that are open while they are refused.
const SURPLUS_MAX: u64 = connection_counts::SURPLUS_MAX as u64;
/// The descriptors that the process needs beside connections: sockets, event queues, the store, files while they are read.
const OWN: u64 = 128;

/// Raises the soft limit of descriptors to the hard one. Many systems start programs with a soft limit of 1024, which stands for
/// programs that use select(2); Keygate does not. Best effort: without it, fewer connections are served.
pub fn raise_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

/// Returns the number of descriptors that this process may have; `None` if the number is not limited.
pub fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Returns the number of descriptors that `connections` of clients may need: each has a connection to an upstream beside it.
pub fn needed_for(connections: usize) -> u64 {
    u64::try_from(connections)
        .unwrap_or(u64::MAX)
        .saturating_mul(2)
        .saturating_add(OWN + ADMIN_MAX + SURPLUS_MAX)
}

/// Returns whether `number` is less than 95 % of `wanted`.
pub const fn is_clearly_less(number: u64, wanted: u64) -> bool {
    number < wanted - wanted / 20
}

/// The connections that the descriptors of this process leave room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Clients that are served.
    pub connections: usize,
    /// Clients over the limit that are refused with an answer.
    pub surplus: usize,
}

impl Room {
    /// Room for any number of connections.
    pub const UNLIMITED: Self = Self {
        connections: usize::MAX,
        surplus: usize::MAX,
    };

    /// Returns whether this is clearly less than `connections` of clients: less than 95 % of them.
    pub const fn is_short_of(self, connections: usize) -> bool {
        is_clearly_less(self.connections as u64, connections as u64)
    }
}

/// Returns the number of clients' connections that the descriptors of this process leave room for, now that everything else is
/// open. Descriptors for the upstreams of these connections and for the admin listener are kept back, so that running out of
/// them is answered by Keygate and never taken for a fault of an upstream.
pub fn room() -> Room {
    let open = process::usage().map_or(OWN, |usage| usage.open_fds);
    limit().map_or(Room::UNLIMITED, |limit| room_in(limit, open))
}

/// Logs that `room` is clearly less than `connections_max`.
pub fn warn_if_short(room: Room, connections_max: usize) {
    if room.is_short_of(connections_max) {
        tracing::warn!(
            connections = room.connections,
            configured = connections_max,
            descriptors = limit(),
            needed = needed_for(connections_max),
            "Fewer connections than `requests.connections`: the file descriptors of this process are not enough. Raise its \
             limit (`ulimit -n`, `LimitNOFILE=` in a systemd unit), or lower `requests.connections`"
        );
    }
}

fn room_in(limit: u64, open: u64) -> Room {
    let admin = (limit / 8).min(ADMIN_MAX);
    // These are open while they are refused.
    let surplus = (limit / 16).min(SURPLUS_MAX);
    let left = limit.saturating_sub(open + admin + surplus);
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    Room {
        connections: size(left / 2).max(1),
        surplus: size(surplus),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_descriptors_that_are_left_are_for_clients() {
        let check = |limit: u64, open: u64, expected: usize| {
            assert_eq!(room_in(limit, open).connections, expected, "{limit} {open}")
        };
        check(1_024, 64, 432);
        check(64, 30, 11);
        check(1_048_576, 64, 524_208);
        // Never none: the process would serve nobody.
        check(64, 64, 1);
        check(0, 0, 1);
    }

    #[test]
    fn what_is_needed_leaves_room_for_all() {
        for connections in [1, 100, 10_000] {
            let room = room_in(needed_for(connections), OWN / 2);
            assert!(!room.is_short_of(connections), "{connections}: {room:?}");
        }
        assert_eq!(needed_for(10_000), 20_224);
    }

    #[test]
    fn a_room_that_is_short_by_little_is_not_worth_a_word() {
        let room = |connections| Room {
            connections,
            surplus: 0,
        };
        assert!(room(94).is_short_of(100) && !room(95).is_short_of(100) && !room(1).is_short_of(1));
        assert!(!Room::UNLIMITED.is_short_of(usize::MAX));
    }
}
