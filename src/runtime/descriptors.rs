//! For how many connections are the file descriptors of this process enough?

use crate::observe::process;
use rustix::process::Resource;
use rustix::process::getrlimit;
use rustix::process::setrlimit;

/// The most descriptors that are kept back for the admin listener: for probes, scrapes and commands.
const ADMIN_MAX: u64 = 32;
/// What the process opens beside connections: sockets, event queues, the store, files while they are read.
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
        .saturating_add(OWN + ADMIN_MAX)
}

/// Returns the number of clients' connections that the descriptors of this process leave room for, now that everything else is
/// open. Descriptors for the upstreams of these connections and for the admin listener are kept back, so that running out of
/// them is answered by Keygate and never taken for a fault of an upstream.
pub fn room() -> usize {
    let open = process::usage().map_or(OWN, |usage| usage.open_fds);
    limit().map_or(usize::MAX, |limit| room_in(limit, open))
}

fn room_in(limit: u64, open: u64) -> usize {
    let admin = (limit / 8).min(ADMIN_MAX);
    // For connections over the limit, which are open while they are refused.
    let surplus = (limit / 16).min(64);
    let left = limit.saturating_sub(open + admin + surplus);
    usize::try_from(left / 2).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_descriptors_that_are_left_are_for_clients() {
        let check =
            |limit: u64, open: u64, expected: usize| assert_eq!(room_in(limit, open), expected, "{limit} {open}");
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
            let needed = needed_for(connections);
            assert!(
                room_in(needed, OWN / 2) + 1 >= connections.min(needed as usize / 3),
                "{connections}"
            );
        }
        assert_eq!(needed_for(10_000), 20_160);
    }
}
