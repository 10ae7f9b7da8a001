//! Connections to upstreams: dialled by pingora, kept here between requests.
//!
//! pingora's own pool waits on every idle connection in a task of its own, which is made and ended with each request. Here
//! an idle connection just lies there: whether its peer has closed it is seen when it is taken, and every second by
//! [`Pool::sweep`]. A pool belongs to one worker thread, which is the one its connections wake.

use crate::config;
use crate::proxy::http1::buffer::Buffer;
use crate::proxy::peer;
use pingora::ErrorType;
use pingora::connectors::TransportConnector;
use pingora::protocols::Stream;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::task::Context;
use std::task::Waker;
use std::time::Duration;
use tokio::time::Instant;

/// Idle connections that one worker keeps, over all upstreams.
const IDLE_MAX: usize = 1024;

/// A connection to an upstream and its buffers.
pub struct Wire {
    pub stream: Stream,
    pub read: Buffer,
    pub write: Buffer,
}

impl Wire {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            read: Buffer::default(),
            write: Buffer::default(),
        }
    }

    /// Whether nothing came on it since its last response: neither its end nor bytes that nobody asked for.
    fn is_quiet(&mut self) -> bool {
        let mut nobody = Context::from_waker(Waker::noop());
        self.read.poll_fill(&mut self.stream, &mut nobody).is_pending()
    }
}

struct Idle {
    wire: Wire,
    until: Instant,
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialError {
    Failed,
    TimedOut,
}

/// The idle connections of one worker, and what dials new ones.
pub struct Pool {
    connector: Arc<TransportConnector>,
    idle: Mutex<IdleConnections>,
}

#[derive(Default)]
struct IdleConnections {
    by_address: HashMap<SocketAddr, Vec<Idle>>,
    count: usize,
}

impl Pool {
    pub fn new(connector: Arc<TransportConnector>) -> Self {
        Self {
            connector,
            idle: Mutex::default(),
        }
    }

    /// The connection to `address` that was used last, if one is still good.
    pub fn take(&self, address: SocketAddr) -> Option<Wire> {
        let mut kept = self.kept();
        let kept = &mut *kept;
        let list = kept.by_address.get_mut(&address)?;
        let now = Instant::now();
        while let Some(mut idle) = list.pop() {
            kept.count -= 1;
            if now < idle.until && idle.wire.is_quiet() {
                return Some(idle.wire);
            }
        }
        None
    }

    /// Keeps `wire`, whose last response was read to its end, for at most `patience`.
    pub fn put(&self, address: SocketAddr, mut wire: Wire, patience: Duration) {
        wire.read.shrink();
        wire.write.clear();
        wire.write.shrink();
        let Some(until) = Instant::now().checked_add(patience) else {
            return;
        };
        let mut kept = self.kept();
        if kept.count < IDLE_MAX {
            kept.count += 1;
            kept.by_address.entry(address).or_default().push(Idle { wire, until });
        }
    }

    /// Connects to `address`.
    ///
    /// # Errors
    /// Nobody listens there, or nobody answers within `settings.connect_timeout` and `left`.
    pub async fn dial(
        &self,
        address: SocketAddr,
        settings: &config::Upstream,
        left: Duration,
    ) -> Result<Wire, DialError> {
        let peer = peer::plain(address, settings, left);
        match self.connector.new_stream(&peer).await {
            Ok(stream) => Ok(Wire::new(stream)),
            Err(error) if *error.etype() == ErrorType::ConnectTimedout => Err(DialError::TimedOut),
            Err(_) => Err(DialError::Failed),
        }
    }

    /// Closes what has been idle for too long, or was closed by its peer.
    pub fn sweep(&self) {
        let now = Instant::now();
        let mut kept = self.kept();
        let kept = &mut *kept;
        for list in kept.by_address.values_mut() {
            list.retain_mut(|idle| now < idle.until && idle.wire.is_quiet());
        }
        kept.by_address.retain(|_, list| !list.is_empty());
        kept.count = kept.by_address.values().map(Vec::len).sum();
    }

    fn kept(&self) -> MutexGuard<'_, IdleConnections> {
        // Never waited for: only its own worker uses it. A panic in between leaves at worst a wrong count.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
