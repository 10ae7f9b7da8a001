//! How are idle connections to upstreams kept between requests? Without a task for each, unlike in pingora's pool:
//! [`Pool::take`] and, once a second, [`Pool::sweep`] notice that a connection was closed. Each worker thread has its
//! own pool, so that a connection wakes that thread alone.

use crate::config;
use crate::model::upstream_failure::UpstreamFailure;
use crate::proxy::http1::buffer::Buffer;
use crate::proxy::peer;
use crate::proxy::peer::ConnectError;
use crate::upstream::Choice;
use crate::upstream::ConnectionKey;
use pingora::connectors::TransportConnector;
use pingora::protocols::Stream;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::task::Context;
use std::task::Waker;
use std::time::Duration;
use tokio::time::Instant;

/// The limit of idle connections per worker, over all upstreams.
const IDLE_MAX: usize = 1024;

/// A connection to an upstream and its buffers.
pub struct UpstreamConn {
    pub stream: Stream,
    pub read_buf: Buffer,
    pub write_buf: Buffer,
}

impl UpstreamConn {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            read_buf: Buffer::default(),
            write_buf: Buffer::default(),
        }
    }

    /// Returns whether nothing has arrived since the last response: neither the end of the connection nor bytes that no
    /// request asked for.
    fn is_reusable(&mut self) -> bool {
        let mut nobody = Context::from_waker(Waker::noop());
        self.read_buf.poll_fill(&mut self.stream, &mut nobody).is_pending()
    }
}

struct IdleConn {
    conn: UpstreamConn,
    expires_at: Instant,
}

/// The idle connections of one worker, and the connector for new connections.
pub struct Pool {
    connector: Arc<TransportConnector>,
    idle: Mutex<IdleConns>,
}

#[derive(Default)]
struct IdleConns {
    by_key: HashMap<ConnectionKey, Vec<IdleConn>, foldhash::fast::RandomState>,
    count: usize,
}

impl Pool {
    pub fn new(connector: Arc<TransportConnector>) -> Self {
        Self {
            connector,
            idle: Mutex::default(),
        }
    }

    /// Returns the most recently used connection of `key` that is still reusable; closes those that are not.
    pub fn take(&self, key: ConnectionKey) -> Option<UpstreamConn> {
        let mut idle = self.lock();
        let idle = &mut *idle;
        let list = idle.by_key.get_mut(&key)?;
        let now = Instant::now();
        while let Some(mut entry) = list.pop() {
            idle.count -= 1;
            if now < entry.expires_at && entry.conn.is_reusable() {
                return Some(entry.conn);
            }
        }
        None
    }

    /// Keeps `conn`, whose last response is complete, for at most `idle_timeout`. Closes `conn` if the pool is full.
    pub fn put(&self, key: ConnectionKey, mut conn: UpstreamConn, idle_timeout: Duration) {
        conn.read_buf.shrink();
        conn.write_buf.clear();
        conn.write_buf.shrink();
        let Some(expires_at) = Instant::now().checked_add(idle_timeout) else {
            return;
        };
        let mut idle = self.lock();
        if idle.count < IDLE_MAX {
            idle.count += 1;
            idle.by_key.entry(key).or_default().push(IdleConn { conn, expires_at });
        }
    }

    /// Connects to the endpoint of `choice`.
    ///
    /// # Errors
    /// What the endpoint did: [`UpstreamFailure::TimedOut`] after `timeouts.connect` or after `left`, whichever is
    /// shorter.
    pub async fn dial(
        &self,
        choice: &Choice,
        timeouts: &config::Timeouts,
        left: Duration,
    ) -> Result<UpstreamConn, ConnectError> {
        let peer = peer::plain(choice, timeouts, left)?;
        loop {
            // On the heap: most requests dial nothing, and no connection of a client holds room for it.
            let error = match Box::pin(self.connector.new_stream(&peer)).await {
                Ok(stream) => return Ok(UpstreamConn::new(stream)),
                Err(error) => ConnectError::of(&error),
            };
            // An idle connection holds the descriptor that this request needs.
            if error.failure != UpstreamFailure::NoResources || !self.close_all() {
                return Err(error);
            }
        }
    }

    /// Closes every idle connection; returns `false` if there is none.
    fn close_all(&self) -> bool {
        let idle = std::mem::take(&mut *self.lock());
        idle.count > 0
    }

    /// Closes connections that were idle for too long or were closed by the upstream. The others give back the room of
    /// their buffers.
    pub fn sweep(&self) {
        let now = Instant::now();
        let mut idle = self.lock();
        let idle = &mut *idle;
        for list in idle.by_key.values_mut() {
            list.retain_mut(|entry| {
                entry.conn.read_buf.release();
                entry.conn.write_buf.release();
                now < entry.expires_at && entry.conn.is_reusable()
            });
        }
        idle.by_key.retain(|_, list| !list.is_empty());
        idle.count = idle.by_key.values().map(Vec::len).sum();
    }

    fn lock(&self) -> MutexGuard<'_, IdleConns> {
        // Never contended: only one worker uses the pool. A panic under the lock leaves a wrong count at worst.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
