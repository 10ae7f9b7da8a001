//! For how many connections is there room? All workers count in the same place.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

/// The number of connections over the limit that are refused with an answer at a time. Further connections are closed
/// without an answer, so that a flood keeps at most this number open over the limit.
pub const SURPLUS_MAX: usize = 64;

/// The counters of open connections, shared by all workers. For each client's connection that is counted, there is room for
/// one connection to an upstream beside it.
#[derive(Clone, Debug)]
pub struct ConnectionCounts {
    served: Arc<AtomicUsize>,
    /// Connections over the limit that are refused with an answer.
    surplus: Arc<AtomicUsize>,
    /// The number of connections that the process has room for, whatever the configuration allows.
    served_max: usize,
    surplus_max: usize,
}

impl ConnectionCounts {
    /// Returns counters of no connection. At most `served_max` are served at a time, and at most `surplus_max` more are refused
    /// with an answer.
    pub fn with_room(served_max: usize, surplus_max: usize) -> Self {
        Self {
            served: Arc::default(),
            surplus: Arc::default(),
            served_max,
            surplus_max: surplus_max.min(SURPLUS_MAX),
        }
    }

    /// Returns the number of connections that are served, with further streams; see [`Self::take_stream`].
    pub fn count(&self) -> usize {
        self.served.load(Ordering::Acquire)
    }

    /// Counts one more connection; returns `None` if `limit` are counted already, or as many as there is room for.
    pub fn take(&self, limit: usize) -> Option<ConnectionSlot> {
        ConnectionSlot::take(&self.served, limit.min(self.served_max))
    }

    /// Counts one more connection that is refused with an answer; returns `None` if there is no room for it.
    pub fn take_surplus(&self) -> Option<ConnectionSlot> {
        ConnectionSlot::take(&self.surplus, self.surplus_max)
    }

    /// Counts a request of HTTP/2 beside another one of its connection: it needs a connection to an upstream of its own.
    /// Returns `None` if there is no room for it.
    pub fn take_stream(&self) -> Option<ConnectionSlot> {
        ConnectionSlot::take(&self.served, self.served_max)
    }
}

/// Counts one open connection until this value is dropped.
#[derive(Debug)]
pub struct ConnectionSlot(Arc<AtomicUsize>);

impl ConnectionSlot {
    fn take(counter: &Arc<AtomicUsize>, limit: usize) -> Option<Self> {
        let one_more = |count: usize| (count < limit).then_some(count + 1);
        let taken = counter.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more);
        taken.ok().map(|_| Self(Arc::clone(counter)))
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_and_further_streams_share_the_room() {
        let counts = ConnectionCounts::with_room(3, 1);
        let first = counts.take(10).unwrap();
        let stream = counts.take_stream().unwrap();
        assert!(counts.take(2).is_none(), "the configuration allows two");
        let third = counts.take(10).unwrap();
        assert!(counts.take(10).is_none() && counts.take_stream().is_none());
        assert_eq!(counts.count(), 3);
        let surplus = counts.take_surplus().unwrap();
        assert!(counts.take_surplus().is_none());
        drop((first, stream, third, surplus));
        assert_eq!(counts.count(), 0);
        assert!(counts.take_surplus().is_some());
        let wide = ConnectionCounts::with_room(usize::MAX, usize::MAX);
        let taken: Vec<_> = std::iter::from_fn(|| wide.take_surplus()).collect();
        assert_eq!(taken.len(), SURPLUS_MAX);
    }
}
