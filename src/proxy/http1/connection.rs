//! How are the requests of a client's connection read, and how much may the connection cost? Each head is read whole,
//! under one deadline, checked as bytes and parsed once. pingora dials; HTTP/1.1 in between is Keygate's
//! own, because pingora's proxy has no such limits and is slower (`benches/README.md`). What HTTP/1.1 does not carry goes
//! to pingora's proxy.

use crate::config::AddressRules;
use crate::config::Http1Lane;
use crate::config::PlainProtocol;
use crate::config::RequestLimits;
use crate::gate::Gate;
use crate::gate::accept::HeadError;
use crate::gate::answer::Answer;
use crate::gate::denial::ConnectionError;
use crate::gate::snapshot::Snapshot;
use crate::model::clock::Now;
use crate::model::clock::Timestamp;
use crate::observe::metrics::HandshakeResult;
use crate::proxy::connection_counts::ConnectionCounts;
use crate::proxy::exchange::Connection;
use crate::proxy::exchange::Exchange;
use crate::proxy::exchange::TlsFacts;
use crate::proxy::exchange::refuse_connection;
use crate::proxy::exchange::refuse_head;
use crate::proxy::filter::guard;
use crate::proxy::filter::lane::ProxyLane;
use crate::proxy::handshake;
use crate::proxy::handshake::HandshakeError;
use crate::proxy::head;
use crate::proxy::head::Framing;
use crate::proxy::head::HeadLimits;
use crate::proxy::http1::downstream::Downstream;
use crate::proxy::http1::downstream::DownstreamError;
use crate::proxy::http1::hand_over::HandOver;
use crate::proxy::http1::hand_over::hand_over;
use crate::proxy::http1::lane;
use crate::proxy::http1::lane::Lane;
use crate::proxy::http1::lane::LaneEnd;
use crate::proxy::http1::pool::Pool;
use crate::proxy::http1::request;
use crate::proxy::http1::response_head;
use crate::proxy::listener::ConnectionSettings;
use crate::proxy::listener::ListenerSettings;
use async_trait::async_trait;
use bytes::Bytes;
use http::request::Parts;
use pingora::apps::ServerApp;
use pingora::connectors::TransportConnector;
use pingora::protocols::ALPN;
use pingora::protocols::Stream;
use pingora::proxy::HttpProxy;
use pingora::proxy::ProxyHttp;
use pingora::server::ShutdownWatch;
use std::future::Future;
use std::future::poll_fn;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::pin::Pin;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;
use tokio::time::timeout;

/// The number of bytes that are read after a refusal, before the connection closes. Closing at once would reset the
/// connection, and the client would lose the answer (RFC 9112 section 9.6).
const LINGER_BYTES_MAX: usize = 256 * 1024;
/// The time in which a refusal is sent and the client's further bytes are read.
const LINGER: Duration = Duration::from_secs(1);

/// The time for which an idle connection keeps the room of its buffers: the next request usually comes at once, and
/// thousands of connections wait for longer.
const BUFFERS_KEPT: Duration = Duration::from_secs(1);

/// The time for the first request of a connection that was accepted before the process stops. Its client has just connected,
/// and sends the request at once; it cannot know whether that is safe to repeat.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// The time after the stop in which a next request is served, on a connection that has served one. A client that has just received a
/// response may have sent it already, and would see it fail.
const NEXT_REQUEST: Duration = Duration::from_millis(250);

/// Serves the connections that pingora accepts on one worker thread, or in a proxy of another program.
pub struct Worker<P = ProxyLane> {
    gate: Arc<Gate>,
    pool: Arc<Pool>,
    counts: ConnectionCounts,
    settings: Arc<ListenerSettings>,
    /// Carries what HTTP/1.1 does not.
    proxy: Arc<HttpProxy<P>>,
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

impl<P> Worker<P> {
    /// Returns a worker for one listener. All workers share `counts`, those of one listener share `settings`, and those of
    /// one thread share `pool` and `proxy`.
    pub fn new(
        gate: Arc<Gate>,
        pool: Arc<Pool>,
        proxy: Arc<HttpProxy<P>>,
        counts: ConnectionCounts,
        settings: Arc<ListenerSettings>,
    ) -> Self {
        Self {
            gate,
            pool,
            counts,
            settings,
            proxy,
        }
    }

    /// Returns a worker whose requests `proxy` carries, all of them. A listener of pingora has done the handshake of TLS.
    pub fn guarding(gate: Arc<Gate>, proxy: Arc<HttpProxy<P>>) -> Self {
        let settings = ConnectionSettings {
            tls: None,
            plain: PlainProtocol::Http1,
            http1: Http1Lane::Pingora,
            addresses: AddressRules::default(),
        };
        // Never used: nothing is sent in Keygate's own lane.
        let pool = Arc::new(Pool::new(Arc::new(TransportConnector::new(None))));
        let settings = Arc::new(ListenerSettings::from_pointee(settings));
        Self::new(
            gate,
            pool,
            proxy,
            ConnectionCounts::with_room(usize::MAX, usize::MAX),
            settings,
        )
    }
}

impl<P> Worker<P>
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    /// Serves one connection until it closes.
    async fn serve(&self, stream: Stream, peer: SocketAddr, shutdown: &ShutdownWatch) {
        let limits = self.gate.snapshot().requests.clone();
        let settings = self.settings.load_full();
        let metrics = &self.gate.live.metrics;
        let _open = metrics.connections.open();
        let Some(tls) = &settings.tls else {
            // A listener of pingora may have done a handshake.
            let facts = stream.get_ssl_digest().map(|_| TlsFacts::default());
            let connection = Arc::new(Connection::new(peer, facts));
            if settings.plain == PlainProtocol::H2c || matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
                return self.serve_http2(stream, &connection, &limits, shutdown).await;
            }
            self.serve_requests(stream, &connection, &limits, settings.http1, shutdown)
                .await;
            return;
        };
        // The client sends the handshake before any head, so the head timeout applies to it.
        // On the heap, so that connections without TLS do not hold room for it.
        let handshake = Box::pin(handshake::accept(
            tls,
            stream,
            limits.head_timeout,
            self.gate.clock.now().wall,
        ));
        let handshake = tokio::select! {
            ended = handshake => ended,
            () = stopping(shutdown, || false) => return,
        };
        metrics.tls.count_handshake(match &handshake {
            Ok(_) => HandshakeResult::Success,
            Err(HandshakeError::TimedOut) => HandshakeResult::Timeout,
            Err(HandshakeError::Failed | HandshakeError::PlainHttp(_)) => HandshakeResult::Failure,
        });
        let (stream, facts) = match handshake {
            Ok(session) => session,
            Err(HandshakeError::PlainHttp(stream)) => {
                let now = self.gate.clock.now();
                let answer = refuse_head(&self.gate, peer, now, HeadError::PlainHttp, &[]);
                return refuse(&mut Downstream::new(stream), answer, &[], self.gate.clock.now().wall).await;
            }
            Err(HandshakeError::Failed | HandshakeError::TimedOut) => return,
        };
        let connection = Arc::new(Connection::new(peer, Some(facts)));
        if matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
            return self.serve_http2(stream, &connection, &limits, shutdown).await;
        }
        let served = self.serve_requests(stream, &connection, &limits, settings.http1, shutdown);
        if let Some(mut stream) = served.await {
            // Sends close_notify, so that the client can tell the end from a cut (RFC 8446 section 6.1). Best effort: the
            // connection is closed either way.
            let _ = timeout(LINGER, stream.shutdown()).await;
        }
    }

    /// Serves an HTTP/2 connection until it closes.
    async fn serve_http2(
        &self,
        stream: Stream,
        connection: &Arc<Connection>,
        limits: &RequestLimits,
        shutdown: &ShutdownWatch,
    ) {
        // On the heap, so that connections of HTTP/1.1 do not hold room for it.
        Box::pin(guard::serve_http2(
            &self.proxy,
            &self.gate,
            stream,
            connection,
            &self.counts,
            limits,
            shutdown,
        ))
        .await;
    }

    /// Serves the requests of one connection until the last has been answered. Returns the stream for an orderly end, unless
    /// pingora has closed it or the last response was cut.
    async fn serve_requests(
        &self,
        stream: Stream,
        connection: &Arc<Connection>,
        limits: &RequestLimits,
        lane: Http1Lane,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let mut downstream = Downstream::new(stream);
        let has_served = AtomicBool::new(false);
        let mut stopping = pin!(stopping(shutdown, || has_served.load(Ordering::Relaxed)));
        let mut idle_timeout = limits.idle_timeout;
        let mut served: u32 = 0;
        loop {
            downstream.shrink();
            // Created once for the connection: each request polls the same future.
            let stopping = stopping.as_mut();
            let request = match self.read_head(&mut downstream, idle_timeout, stopping).await {
                Ok(Some(request)) => request,
                Ok(None) => return Some(downstream.stream),
                Err(RejectedHead { error, started, head }) => {
                    let answer = refuse_head(&self.gate, connection.peer, started, error, &head);
                    refuse(&mut downstream, answer, &head, self.gate.clock.now().wall).await;
                    return Some(downstream.stream);
                }
            };
            served += 1;
            has_served.store(true, Ordering::Relaxed);
            let limits = &request.snapshot.requests;
            idle_timeout = limits.idle_timeout;
            let is_last = request.next == NextRequest::Pipelined
                || served >= limits.requests_per_connection_max
                || *shutdown.borrow();
            let exchange = Exchange::begin(&self.gate, request.snapshot, request.parts, connection, request.started);
            let end = match lane {
                Http1Lane::Own => {
                    let lane = Lane::new(
                        exchange,
                        &self.pool,
                        &mut downstream,
                        request.framing,
                        is_last,
                        shutdown,
                    );
                    lane.run().await
                }
                Http1Lane::Pingora => LaneEnd::HandOver(Box::new(HandOver {
                    is_persistent: !is_last && lane::keeps_connection(exchange.request()),
                    exchange,
                })),
            };
            match end {
                LaneEnd::Persists => {}
                LaneEnd::Closes => return Some(downstream.stream),
                // Without close_notify, a client over TLS can tell a body that ends with its connection from a part of it
                // (RFC 9112 section 9.8).
                LaneEnd::Breaks => return None,
                LaneEnd::HandOver(request) => {
                    // On the heap, so that connections in Keygate's own lane do not hold room for it.
                    let handed = Box::pin(hand_over(&self.proxy, *request, downstream, shutdown));
                    downstream = handed.await?;
                }
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
        // The end of the wait, and the time until which the buffers keep their room.
        let mut waits: Option<(Option<Instant>, Option<Instant>)> = None;
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
            let (until, release_at) = waits.get_or_insert_with(|| {
                let now = Instant::now();
                (now.checked_add(idle_timeout), Some(now + BUFFERS_KEPT))
            });
            if let Some(at) = *release_at
                && until.is_none_or(|until| at < until)
            {
                ready!(downstream.timer.poll(cx, Some(at)));
                downstream.release();
                *release_at = None;
            }
            downstream.timer.poll(cx, *until).map(|()| false)
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

    /// Refuses a connection over the limit. Sends an answer unless the answer would need a handshake of TLS or HTTP/2 first,
    /// or [`SURPLUS_MAX`](crate::proxy::connection_counts::SURPLUS_MAX) connections are being refused already.
    fn refuse_surplus(&self, stream: Stream, peer: SocketAddr) {
        let settings = self.settings.load();
        let slot = self.counts.take_surplus();
        let answer = refuse_connection(&self.gate, peer, ConnectionError::TooMany);
        if let Some(slot) = slot
            && settings.tls.is_none()
            && settings.plain == PlainProtocol::Http1
        {
            let now = self.gate.clock.now().wall;
            tokio::spawn(async move {
                refuse(&mut Downstream::new(stream), answer, &[], now).await;
                drop(slot);
            });
        }
    }
}

#[async_trait]
impl<P> ServerApp for Worker<P>
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let peer = stream
            .get_socket_digest()
            .and_then(|digest| digest.peer_addr().and_then(|address| address.as_inet().copied()))
            .unwrap_or_else(|| SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0));
        // Before a handshake, and before the connection takes the place of another one.
        if !self.settings.load().addresses.admits(peer.ip()) {
            refuse_connection(&self.gate, peer, ConnectionError::PeerAddress);
            return None;
        }
        let limit = self.gate.snapshot().requests.connections_max;
        // Before another connection is accepted: one that is not served gives its descriptor back at once.
        let Some(slot) = self.counts.take(limit) else {
            self.refuse_surplus(stream, peer);
            return None;
        };
        // In a task of its own: the caller accepts the next connection, and a task of pingora's listener would hold room for
        // its own handshake, 13 KiB, as long as the connection lasts.
        let (worker, shutdown) = (Arc::clone(self), shutdown.clone());
        tokio::spawn(async move {
            worker.serve(stream, peer, &shutdown).await;
            drop(slot);
        });
        None
    }
}

/// Ends after the process stops: [`NEXT_REQUEST`] later if the connection `has_served` a request by then, otherwise
/// [`FIRST_REQUEST`] later.
async fn stopping(shutdown: &ShutdownWatch, has_served: impl Fn() -> bool) {
    let mut watch = shutdown.clone();
    // An error means that the worker ends.
    let _ = watch.wait_for(|is_stopping| *is_stopping).await;
    let wait = if has_served() { NEXT_REQUEST } else { FIRST_REQUEST };
    tokio::time::sleep(wait).await;
}

/// Sends `answer` to a client whose `head` was rejected or not read, and closes the connection.
async fn refuse(downstream: &mut Downstream, mut answer: Answer, head: &[u8], now: Timestamp) {
    // A response to HEAD announces the length of its body and has none (RFC 9110 section 9.3.2).
    if head.starts_with(b"HEAD ") {
        answer.body = Bytes::new();
    }
    response_head::write_closing(&answer, now, &mut downstream.write_buf);
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
