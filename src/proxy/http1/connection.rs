//! How are the requests of a client's connection read, and how much may the connection cost? Each head is read whole,
//! under one deadline, checked as bytes and parsed once. pingora accepts and dials; HTTP/1.1 in between is Keygate's
//! own, because pingora's proxy has no such limits and is slower (`benches/README.md`).

use crate::config::RequestLimits;
use crate::gate::Gate;
use crate::gate::accept::HeadError;
use crate::gate::answer::Answer;
use crate::gate::denial::ConnectionError;
use crate::gate::snapshot::Snapshot;
use crate::model::clock::Now;
use crate::observe::metrics::HandshakeResult;
use crate::proxy::exchange::Connection;
use crate::proxy::exchange::Exchange;
use crate::proxy::exchange::refuse_connection;
use crate::proxy::exchange::refuse_head;
use crate::proxy::handshake;
use crate::proxy::handshake::HandshakeError;
use crate::proxy::handshake::ListenerTls;
use crate::proxy::http1::body::Framing;
use crate::proxy::http1::downstream::Downstream;
use crate::proxy::http1::downstream::DownstreamError;
use crate::proxy::http1::head;
use crate::proxy::http1::head::HeadLimits;
use crate::proxy::http1::lane::Lane;
use crate::proxy::http1::pool::Pool;
use crate::proxy::http1::request;
use crate::proxy::http1::response_head;
use async_trait::async_trait;
use bytes::Bytes;
use http::request::Parts;
use pingora::apps::ServerApp;
use pingora::protocols::Stream;
use pingora::server::ShutdownWatch;
use std::future::Future;
use std::future::poll_fn;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::pin::Pin;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;
use tokio::time::timeout;

/// The number of bytes that are read after a refusal, before the connection closes. Closing at once would reset the
/// connection, and the client would lose the answer (RFC 9112 section 9.6).
const LINGER_BYTES_MAX: usize = 256 * 1024;
/// The time in which a refusal is sent and the client's further bytes are read.
const LINGER: Duration = Duration::from_secs(1);

/// The number of connections over the limit that are refused with an answer at a time, each for at most [`LINGER`].
/// Further connections are closed without an answer, so that a flood keeps at most this number open over the limit.
const SURPLUS_MAX: usize = 64;

/// The counters of open connections, shared by all workers.
#[derive(Clone, Default)]
pub struct ConnectionCounts {
    served: Arc<AtomicUsize>,
    /// Connections over the limit that are refused with an answer.
    surplus: Arc<AtomicUsize>,
}

impl ConnectionCounts {
    /// Returns the number of connections that are served.
    pub fn count(&self) -> usize {
        self.served.load(Ordering::Acquire)
    }
}

/// Serves the connections that pingora accepts on one worker thread.
pub struct Worker {
    gate: Arc<Gate>,
    pool: Arc<Pool>,
    counts: ConnectionCounts,
    tls: Arc<ListenerTls>,
}

/// Counts one open connection until this value is dropped.
struct ConnectionSlot(Arc<AtomicUsize>);

impl ConnectionSlot {
    /// Counts one more connection; returns `None` if `limit` connections are counted already.
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

/// The knowledge of another request that arrived together with a request whose head was read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum NextRequest {
    Unknown,
    /// Another request has arrived. Keygate does not pipeline: the response announces that the connection closes, so
    /// that the client repeats the other request (RFC 9112 section 9.3.2).
    Pipelined,
}

impl NextRequest {
    /// Returns the state for `rest` bytes that arrived after a head. The end of a chunked body is not searched for.
    fn after(framing: Framing, rest: usize) -> Self {
        let body = match framing {
            Framing::None => 0,
            Framing::ContentLength(length) => length,
            Framing::Chunked | Framing::CloseDelimited => return Self::Unknown,
        };
        match u64::try_from(rest) {
            Ok(rest) if rest > body => Self::Pipelined,
            Ok(_) | Err(_) => Self::Unknown,
        }
    }
}

/// A head that is malformed, too large or too slow.
struct RejectedHead {
    error: HeadError,
    /// The time of the first byte.
    started: Now,
    /// The part of the head that was read.
    head: Vec<u8>,
}

/// A request with a valid head.
struct Request {
    parts: Parts,
    framing: Framing,
    next: NextRequest,
    /// The time of the first byte.
    started: Now,
    snapshot: Arc<Snapshot>,
}

impl Worker {
    /// Returns a worker for one listener. All workers share `counts`, and those of one listener share `tls`.
    pub fn new(gate: Arc<Gate>, pool: Arc<Pool>, counts: ConnectionCounts, tls: Arc<ListenerTls>) -> Self {
        Self {
            gate,
            pool,
            counts,
            tls,
        }
    }

    /// Serves one connection until it closes.
    async fn serve(&self, stream: Stream, peer: SocketAddr, shutdown: &ShutdownWatch) {
        let limits = self.gate.snapshot().requests.clone();
        let tls = self.tls.load_full();
        let Some(_slot) = ConnectionSlot::take(&self.counts.served, limits.connections_max) else {
            return self.refuse_surplus(stream, peer, tls.is_some()).await;
        };
        let metrics = &self.gate.live.metrics;
        let _open = metrics.connections.open();
        let Some(config) = tls else {
            let mut downstream = Downstream::new(stream);
            let connection = Arc::new(Connection::new(peer, None));
            return self
                .serve_requests(&mut downstream, &connection, &limits, shutdown)
                .await;
        };
        // The handshake is the first that a client sends, so it has the time of a head.
        // On the heap, so that connections without TLS do not hold room for it.
        let handshake = Box::pin(handshake::accept(
            &config,
            stream,
            limits.head_timeout,
            self.gate.clock.now().wall,
        ));
        let mut watch = shutdown.clone();
        let handshake = tokio::select! {
            ended = handshake => ended,
            // No request has begun, so the client loses nothing.
            _ = watch.wait_for(|stopping| *stopping) => return,
        };
        metrics.tls.count_handshake(match &handshake {
            Ok(_) => HandshakeResult::Success,
            Err(HandshakeError::TimedOut) => HandshakeResult::Timeout,
            Err(HandshakeError::Failed) => HandshakeResult::Failure,
        });
        let Ok((stream, facts)) = handshake else {
            return;
        };
        let mut downstream = Downstream::new(stream);
        let connection = Arc::new(Connection::new(peer, Some(facts)));
        self.serve_requests(&mut downstream, &connection, &limits, shutdown)
            .await;
        // Sends close_notify, so that the client can tell the end from a cut (RFC 8446 section 6.1). Best effort: the
        // connection is closed either way.
        let _ = timeout(LINGER, downstream.stream.shutdown()).await;
    }

    /// Serves the requests of one connection until the last has been answered.
    async fn serve_requests(
        &self,
        downstream: &mut Downstream,
        connection: &Arc<Connection>,
        limits: &RequestLimits,
        shutdown: &ShutdownWatch,
    ) {
        let mut watch = shutdown.clone();
        let mut stopping = pin!(watch.wait_for(|stopping| *stopping));
        let mut idle_timeout = limits.idle_timeout;
        let mut served: u32 = 0;
        loop {
            downstream.shrink();
            // Created once for the connection: each request polls the same future.
            let stopping = stopping.as_mut();
            let request = match self.read_head(downstream, idle_timeout, stopping).await {
                Ok(Some(request)) => request,
                Ok(None) => return,
                Err(RejectedHead { error, started, head }) => {
                    let answer = refuse_head(&self.gate, connection.peer, started, error, &head);
                    return refuse(downstream, answer, &head).await;
                }
            };
            served += 1;
            let limits = &request.snapshot.requests;
            idle_timeout = limits.idle_timeout;
            let is_last = request.next == NextRequest::Pipelined
                || served >= limits.requests_per_connection_max
                || *shutdown.borrow();
            let exchange = Exchange::begin(&self.gate, request.snapshot, request.parts, connection, request.started);
            let lane = Lane::new(exchange, &self.pool, downstream, request.framing, is_last, shutdown);
            if !lane.run().await {
                return;
            }
        }
    }

    /// Reads the next head. Returns `None` if the connection has to close without an answer: the client closes it, even
    /// within a head, or no request begins before `idle_timeout` or before `stopping` ends.
    ///
    /// # Errors
    /// The head is malformed, too large or too slow.
    async fn read_head(
        &self,
        downstream: &mut Downstream,
        idle_timeout: Duration,
        mut stopping: Pin<&mut impl Future>,
    ) -> Result<Option<Request>, RejectedHead> {
        let mut idle_until = None;
        let arrived = poll_fn(|cx| {
            if !downstream.read_buf.is_empty() {
                return Poll::Ready(true);
            }
            if let Poll::Ready(read) = downstream.read_buf.poll_fill(&mut downstream.stream, cx) {
                return Poll::Ready(matches!(read, Ok(1..)));
            }
            if stopping.as_mut().poll(cx).is_ready() {
                return Poll::Ready(false);
            }
            if idle_until.is_none() {
                idle_until = Instant::now().checked_add(idle_timeout);
            }
            downstream.timer.poll(cx, idle_until).map(|()| false)
        });
        if !arrived.await {
            return Ok(None);
        }
        let started = self.gate.clock.now();
        let snapshot = self.gate.snapshot();
        match self.read_rest_of_head(downstream, &snapshot.requests).await {
            Ok(Some((parts, framing, next))) => Ok(Some(Request {
                parts,
                framing,
                next,
                started,
                snapshot,
            })),
            Ok(None) => Ok(None),
            Err(error) => Err(RejectedHead {
                error,
                started,
                head: downstream.read_buf.to_vec(),
            }),
        }
    }

    /// Reads until the head is complete, and checks and parses the head. Returns `None` if the client closes the
    /// connection first.
    ///
    /// # Errors
    /// The head is malformed or too large, or is not complete within the head timeout.
    async fn read_rest_of_head(
        &self,
        downstream: &mut Downstream,
        limits: &RequestLimits,
    ) -> Result<Option<(Parts, Framing, NextRequest)>, HeadError> {
        // The client speaks TLS or another protocol. Refuse at once: an empty line may never come, and the client would
        // wait until the head timeout.
        if !downstream.read_buf.first().is_some_and(|byte| head::may_begin(*byte)) {
            return Err(HeadError::RequestLine);
        }
        let head_limits = HeadLimits {
            head_bytes_max: limits.head_bytes_max,
            header_count_max: limits.header_count_max,
            target_bytes_max: limits.target_bytes_max,
        };
        let mut deadline = None;
        let mut searched = 0;
        loop {
            if let Some(end) = head::find_end(&downstream.read_buf, searched) {
                let framing = head::check(&downstream.read_buf[..end], &head_limits)?;
                let head = Bytes::copy_from_slice(&downstream.read_buf[..end]);
                let parts = request::parse(&head).map_err(|_| HeadError::RefusedByParser)?;
                downstream.read_buf.consume(end);
                return Ok(Some((
                    parts,
                    framing,
                    NextRequest::after(framing, downstream.read_buf.len()),
                )));
            }
            if downstream.read_buf.len() > limits.head_bytes_max {
                return Err(HeadError::HeadTooLong);
            }
            searched = downstream.read_buf.len();
            let until = *deadline.get_or_insert_with(|| Instant::now().checked_add(limits.head_timeout));
            match downstream.fill(until).await {
                Ok(()) => {}
                Err(DownstreamError::Closed) => return Ok(None),
                Err(DownstreamError::TimedOut) => return Err(HeadError::Timeout),
            }
        }
    }

    /// Refuses a connection over the limit, with an answer unless [`SURPLUS_MAX`] others are refused at the moment, or the
    /// answer would need a handshake first.
    async fn refuse_surplus(&self, stream: Stream, peer: SocketAddr, is_tls: bool) {
        let slot = ConnectionSlot::take(&self.counts.surplus, SURPLUS_MAX);
        let answer = refuse_connection(&self.gate, peer, ConnectionError::TooMany);
        if slot.is_some() && !is_tls {
            refuse(&mut Downstream::new(stream), answer, &[]).await;
        }
    }
}

#[async_trait]
impl ServerApp for Worker {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let peer = stream
            .get_socket_digest()
            .and_then(|digest| digest.peer_addr().and_then(|address| address.as_inet().copied()))
            .unwrap_or_else(|| SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0));
        self.serve(stream, peer, shutdown).await;
        None
    }
}

/// Sends `answer` to a client whose `head` was rejected or not read, and closes the connection.
async fn refuse(downstream: &mut Downstream, mut answer: Answer, head: &[u8]) {
    // A response to HEAD announces the length of its body and has none (RFC 9110 section 9.3.2).
    if head.starts_with(b"HEAD ") {
        answer.body = Bytes::new();
    }
    response_head::write_closing(&answer, &mut downstream.write_buf);
    let writing = async {
        downstream.flush(LINGER).await?;
        downstream
            .stream
            .shutdown()
            .await
            .map_err(|_| DownstreamError::Closed)?;
        let mut read = 0;
        while read < LINGER_BYTES_MAX {
            downstream.read_buf.clear();
            downstream.fill(None).await?;
            read += downstream.read_buf.len();
        }
        Ok::<(), DownstreamError>(())
    };
    // Best effort: the connection is closed either way, and the refusal is recorded.
    let _ = timeout(LINGER, writing).await;
}
