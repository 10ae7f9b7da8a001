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
    /// The connections that are served, and the requests of HTTP/2 beside the first of their connection.
    in_room: Arc<AtomicUsize>,
    /// Connections over the limit that are refused with an answer.
    surplus: Arc<AtomicUsize>,
    /// The room of the process, in connections. The configuration may allow more.
    room: usize,
    surplus_max: usize,
}

impl ConnectionCounts {
    /// Returns counters that start at zero. At most `room` connections are served at a time, and at most `surplus_max` more are refused with
    /// an answer.
    pub fn with_room(room: usize, surplus_max: usize) -> Self {
        Self {
            served: Arc::default(),
            in_room: Arc::default(),
            surplus: Arc::default(),
            room,
            surplus_max: surplus_max.min(SURPLUS_MAX),
        }
    }

    /// Returns the number of connections that are served.
    pub fn count(&self) -> usize {
        self.served.load(Ordering::Acquire)
    }

    /// Counts one more connection; returns `None` if `limit` are counted already, or there is no room for it.
    pub fn take(&self, limit: usize) -> Option<ConnectionSlot> {
        let in_room = Count::take(&self.in_room, self.room)?;
        let served = Count::take(&self.served, limit)?;
        Some(ConnectionSlot {
            _served: served,
            _in_room: in_room,
        })
    }

    /// Counts one more connection that is refused with an answer; returns `None` if there is no room for it.
    pub fn take_surplus(&self) -> Option<Count> {
        Count::take(&self.surplus, self.surplus_max)
    }

    /// Counts a request of HTTP/2 beside another one of its connection: it needs a connection to an upstream of its own.
    /// Returns `None` if there is no room for it.
    pub fn take_stream(&self) -> Option<Count> {
        Count::take(&self.in_room, self.room)
    }
}

/// Counts one connection that is served until this value is dropped.
#[derive(Debug)]
pub struct ConnectionSlot {
    _served: Count,
    _in_room: Count,
}

/// Counts one until this value is dropped.
#[derive(Debug)]
pub struct Count(Arc<AtomicUsize>);

impl Count {
    fn take(counter: &Arc<AtomicUsize>, limit: usize) -> Option<Self> {
        let one_more = |count: usize| (count < limit).then_some(count + 1);
        let taken = counter.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more);
        taken.ok().map(|_| Self(Arc::clone(counter)))
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_and_further_streams_share_the_room_and_streams_are_no_connections() {
        let counts = ConnectionCounts::with_room(4, 1);
        let first = counts.take(2).unwrap();
        let stream = counts.take_stream().unwrap();
        // The configuration allows two connections, however many streams there are.
        let second = counts.take(2).unwrap();
        assert!(counts.take(2).is_none());
        assert_eq!(counts.count(), 2);
        let last = counts.take_stream().unwrap();
        assert!(counts.take(10).is_none() && counts.take_stream().is_none());
        drop(last);
        // What was refused by the limit holds no room.
        assert!(counts.take(2).is_none());
        let third = counts.take(10).unwrap();
        let surplus = counts.take_surplus().unwrap();
        assert!(counts.take_surplus().is_none());
        drop((first, stream, second, third, surplus));
        assert_eq!(counts.count(), 0);
        assert!(counts.take_surplus().is_some());
        let wide = ConnectionCounts::with_room(usize::MAX, usize::MAX);
        let taken: Vec<_> = std::iter::from_fn(|| wide.take_surplus()).collect();
        assert_eq!(taken.len(), SURPLUS_MAX);
    }
}
