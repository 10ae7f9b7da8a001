//! What may a connection cost before and between requests? Bounds that pingora does not have, kept around it.
//!
//! pingora reads a head with a timeout per read, up to 1 MiB, and forgives much (bare LF, several framings). So the head
//! is read here, whole, under one deadline; it is checked as bytes; and only then it is handed to pingora, which parses
//! the same bytes and finds nothing left to refuse.

use crate::config::RequestLimits;
use crate::model::clock::Now;
use crate::proxy::accept::HeadError;
use crate::proxy::accept::HeadLimits;
use crate::proxy::accept::head;
use crate::proxy::accept::head::Body;
use crate::proxy::denial::Denial;
use crate::proxy::respond;
use crate::proxy::service::Gate;
use crate::proxy::service::Service;
use async_trait::async_trait;
use bytes::Bytes;
use bytes::BytesMut;
use pingora::apps::HttpServerApp;
use pingora::apps::ServerApp;
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio::time::timeout;
use tokio::time::timeout_at;

/// First size of the buffer a head is read into; most heads fit.
const HEAD_BUFFER_BYTES: usize = 4096;

/// After a refusal that ends the connection, as much is still read, so that the answer is not lost to a reset.
const LINGER_BYTES_MAX: usize = 256 * 1024;
const LINGER: Duration = Duration::from_secs(1);

/// Connections over the bound that may be told so at once, for at most [`LINGER`] each; those over this as well are closed
/// without a word. Whoever floods the gate must not make it hold more than was configured by being refused.
const SURPLUS_MAX: usize = 64;

/// pingora's proxy inside our bounds.
pub struct Guarded {
    proxy: Arc<HttpProxy<Service>>,
    gate: Arc<Gate>,
    open: Arc<AtomicUsize>,
    /// Over the bound, and being told so.
    surplus: Arc<AtomicUsize>,
}

/// Between the end of a request's time and cutting its connection.
const ANSWER_FIRST: Duration = Duration::from_millis(500);

/// How often it is looked whether the credential that opened a stream still counts.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// When a stream ends, however long its ends would go on (S038).
pub struct StreamEnd {
    /// When its credential expires; `None` for a key that never does.
    pub at: Option<Instant>,
    /// Whether its credential still counts: revoked, or its subscription over, it ends the stream too. `None` for one that
    /// nobody can revoke here.
    pub counts: Option<Box<dyn Fn() -> bool + Send + Sync>>,
}

impl StreamEnd {
    async fn reached(&self) {
        let expired = async {
            match self.at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let revoked = async {
            let Some(counts) = &self.counts else {
                return std::future::pending().await;
            };
            while counts() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::select! {
            () = expired => {}
            () = revoked => {}
        }
    }
}

/// One connection, as its requests see it. Handed to pingora with every request.
pub struct Connection {
    pub peer: SocketAddr,
    /// When the first byte of the request's head arrived.
    head_started: Mutex<Option<Now>>,
    /// Set once our phases run for a request; until then a request that pingora drops was seen by nobody.
    pub taken: AtomicBool,
    /// When the stream that this request became must end; set by the response phase.
    stream_end: Mutex<Option<Arc<StreamEnd>>>,
    stream_end_set: Notify,
    /// Whether that time came; the record of the request says so.
    stream_cut: AtomicBool,
    /// When the request must be over that is forwarded now; `None` for one that is not, and for a stream.
    request_end: watch::Sender<Option<Instant>>,
    /// Whether that time came before the request was over.
    overdue: AtomicBool,
}

impl Connection {
    fn new(peer: SocketAddr) -> Self {
        Self {
            peer,
            head_started: Mutex::default(),
            taken: AtomicBool::new(false),
            stream_end: Mutex::default(),
            stream_end_set: Notify::new(),
            stream_cut: AtomicBool::new(false),
            request_end: watch::Sender::new(None),
            overdue: AtomicBool::new(false),
        }
    }

    /// When the head of the present request began; asked once per request.
    pub fn take_head_started(&self) -> Option<Now> {
        lock(&self.head_started).take()
    }

    /// From now on the connection is cut at `end`: its request has become a stream, and ends with its credential.
    pub fn end_stream_at(&self, end: StreamEnd) {
        *lock(&self.stream_end) = Some(Arc::new(end));
        self.stream_end_set.notify_one();
    }

    /// From now on the connection is cut at `end`, and a little later: what pingora can still answer, it answers before.
    pub fn end_request_at(&self, end: Instant) {
        self.request_end.send_replace(Some(end + ANSWER_FIRST));
    }

    /// The request has become a stream, which has other ends.
    pub fn end_request_never(&self) {
        self.request_end.send_replace(None);
    }

    /// Whether this request took longer than its upstream may, and was cut off.
    pub fn was_overdue(&self) -> bool {
        self.overdue.load(Ordering::Acquire)
    }

    /// Returns when the request took too long; never, while no end is set.
    async fn request_overdue(&self) {
        let mut end = self.request_end.subscribe();
        loop {
            let at = *end.borrow_and_update();
            let reached = async {
                match at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                changed = end.changed() => changed.expect("the sender is in `self`"),
                () = reached => {
                    self.overdue.store(true, Ordering::Release);
                    return;
                }
            }
        }
    }

    /// Whether this request was a stream and ended with its credential, not by itself.
    pub fn was_cut(&self) -> bool {
        self.stream_cut.load(Ordering::Acquire)
    }

    /// Returns when the stream must end; never, while none is set.
    async fn stream_ended(&self) {
        loop {
            self.stream_end_set.notified().await;
            // `None` is the leftover of a stream that ended by itself, earlier on this connection.
            let end = lock(&self.stream_end).clone();
            if let Some(end) = end {
                end.reached().await;
                self.stream_cut.store(true, Ordering::Release);
                return;
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Plain values: a panic while the lock is held cannot leave them half written.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts a connection as open until it is dropped.
struct Slot(Arc<AtomicUsize>);

impl Slot {
    /// One more, unless `limit` are counted already.
    fn take(counted: &Arc<AtomicUsize>, limit: usize) -> Option<Self> {
        let one_more = |count: usize| (count < limit).then_some(count + 1);
        let taken = counted.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more);
        taken.ok().map(|_| Self(Arc::clone(counted)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What is known to follow the request whose head was read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    Unknown,
    /// Bytes of another request. pingora cannot give them back, so this is the last request here, and its answer says so:
    /// the client knows then that it has to send the other one again (RFC 9112 section 9.3.2).
    Pipelined,
}

impl After {
    /// `rest` is how many bytes arrived after the head. Where the chunks of a body end is not looked for.
    fn of(body: Body, rest: usize) -> Self {
        let body = match body {
            Body::None => 0,
            Body::Length(length) => length,
            Body::Chunked => return Self::Unknown,
        };
        match u64::try_from(rest) {
            Ok(rest) if rest > body => Self::Pipelined,
            Ok(_) | Err(_) => Self::Unknown,
        }
    }
}

/// How reading a head ended.
enum Head {
    /// The whole head, and perhaps the beginning of a body.
    Whole {
        after: After,
    },
    /// The peer left, or nothing came in time, between two requests: nobody is owed an answer.
    Idle,
    Refused(Denial),
}

impl Guarded {
    pub fn new(proxy: HttpProxy<Service>, gate: Arc<Gate>) -> Self {
        Self {
            proxy: Arc::new(proxy),
            gate,
            open: Arc::default(),
            surplus: Arc::default(),
        }
    }

    /// Connections open now; shared, so that whoever drains can wait for zero.
    pub fn open_connections(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.open)
    }

    async fn serve(&self, mut stream: Stream, peer: SocketAddr, shutdown: &ShutdownWatch) {
        let limits = self.gate.snapshot().requests.clone();
        let Some(_slot) = Slot::take(&self.open, limits.connections_max) else {
            return self.refuse_surplus(stream, peer).await;
        };
        let _open = self.gate.live.metrics.connection_opened();
        let connection = Arc::new(Connection::new(peer));
        let mut served: u32 = 0;
        loop {
            let limits = self.gate.snapshot().requests.clone();
            let mut buffer = BytesMut::with_capacity(HEAD_BUFFER_BYTES);
            let after = match self
                .read_head(&mut stream, &mut buffer, &limits, &connection, shutdown.clone())
                .await
            {
                Head::Whole { after } => after,
                Head::Idle => return,
                Head::Refused(denial) => {
                    self.refuse(stream, &connection, denial, &buffer).await;
                    return;
                }
            };
            served += 1;
            let last = after == After::Pipelined || served >= limits.requests_per_connection_max || *shutdown.borrow();
            match self
                .forward_request(stream, buffer, &connection, &limits, last, shutdown)
                .await
            {
                Some(reusable) if !last => stream = reusable,
                _ => return,
            }
        }
    }

    /// Hands one request to pingora. Gives the stream back when another request may follow on it.
    async fn forward_request(
        &self,
        stream: Stream,
        head: BytesMut,
        connection: &Arc<Connection>,
        limits: &RequestLimits,
        last: bool,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        connection.taken.store(false, Ordering::Release);
        *lock(&connection.stream_end) = None;
        connection.end_request_never();
        let mut session = ServerSession::new_http1(stream);
        session.set_pipelined_prefix(head);
        session.set_read_timeout(Some(limits.body_read_timeout));
        // A client that does not read its answer holds an upstream's connection as well as its own.
        session.set_write_timeout(Some(limits.idle_timeout));
        session.set_connection_user_context(Some(Box::new(Arc::clone(connection))));
        if last {
            session.set_keepalive_reuses_remaining(Some(0));
        }
        let reused = tokio::select! {
            biased;
            reused = self.proxy.process_new_http(session, shutdown) => reused,
            () = connection.stream_ended() => {
                tracing::debug!(peer = %connection.peer, "Stream ended with its credential");
                None
            }
            () = connection.request_overdue() => None,
        };
        if !connection.taken.load(Ordering::Acquire) {
            // The head passed our checks and still pingora answered by itself: it is recorded here or nowhere.
            self.gate.record_unseen(connection, &Denial::RefusedByParser, &[]);
        }
        reused.map(|reusable| reusable.consume().0)
    }

    async fn read_head(
        &self,
        stream: &mut Stream,
        buffer: &mut BytesMut,
        limits: &RequestLimits,
        connection: &Connection,
        mut shutdown: ShutdownWatch,
    ) -> Head {
        let idle = tokio::select! {
            biased;
            read = timeout(limits.idle_timeout, stream.read_buf(buffer)) => read,
            _ = shutdown.wait_for(|stopping| *stopping) => return Head::Idle,
        };
        match idle {
            Ok(Ok(bytes)) if bytes > 0 => {}
            _ => return Head::Idle,
        }
        *lock(&connection.head_started) = Some(self.gate.clock.now());
        // TLS sent to this port, and whatever else is no HTTP: its empty line may never come, and a client that waits for
        // an answer would see a gate that hangs.
        if !head::may_begin(buffer[0]) {
            return Head::Refused(Denial::Head(HeadError::RequestLine));
        }
        let deadline = Instant::now() + limits.head_timeout;
        let head_limits = HeadLimits {
            head_bytes_max: limits.head_bytes_max,
            header_count_max: limits.header_count_max,
            target_bytes_max: limits.target_bytes_max,
        };
        let mut searched = 0;
        loop {
            if let Some(end) = head::find_end(buffer, searched) {
                return match head::check(&buffer[..end], &head_limits) {
                    Ok(body) => Head::Whole {
                        after: After::of(body, buffer.len() - end),
                    },
                    Err(error) => Head::Refused(Denial::Head(error)),
                };
            }
            if buffer.len() > limits.head_bytes_max {
                return Head::Refused(Denial::Head(HeadError::HeadTooLong));
            }
            searched = buffer.len();
            match timeout_at(deadline, stream.read_buf(buffer)).await {
                Ok(Ok(bytes)) if bytes > 0 => {}
                // The peer left in the middle of its head: there is nobody to answer.
                Ok(_) => return Head::Idle,
                Err(_) => return Head::Refused(Denial::HeadTimeout),
            }
        }
    }

    /// A connection over the bound: told so, while there is room for that.
    async fn refuse_surplus(&self, stream: Stream, peer: SocketAddr) {
        let connection = Connection::new(peer);
        match Slot::take(&self.surplus, SURPLUS_MAX) {
            Some(_slot) => {
                self.refuse(stream, &connection, Denial::TooManyConnections, &[]).await;
            }
            None => {
                self.gate.record_unseen(&connection, &Denial::TooManyConnections, &[]);
            }
        }
    }

    /// Answers a head that never became a request, records it, and closes.
    async fn refuse(&self, mut stream: Stream, connection: &Connection, denial: Denial, head: &[u8]) {
        let mut answer = self.gate.record_unseen(connection, &denial, head);
        // RFC 9110 section 9.3.2: an answer to HEAD says how long its body would be, and has none.
        if head.starts_with(b"HEAD ") {
            answer.body = Bytes::new();
        }
        let answer = respond::to_http1_bytes(&answer);
        let writing = async {
            stream.write_all(&answer).await?;
            stream.flush().await?;
            AsyncWriteExt::shutdown(&mut stream).await?;
            let mut rest = BytesMut::with_capacity(HEAD_BUFFER_BYTES);
            let mut read = 0;
            while read < LINGER_BYTES_MAX {
                rest.clear();
                match stream.read_buf(&mut rest).await? {
                    0 => break,
                    bytes => read += bytes,
                }
            }
            std::io::Result::Ok(())
        };
        // Whatever goes wrong here, the connection is gone afterwards and the refusal is on record.
        let _ = timeout(LINGER, writing).await;
    }
}

#[async_trait]
impl ServerApp for Guarded {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let peer = stream
            .get_socket_digest()
            .and_then(|digest| digest.peer_addr().and_then(|address| address.as_inet().copied()))
            .unwrap_or_else(|| SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0));
        self.serve(stream, peer, shutdown).await;
        None
    }

    async fn cleanup(&self) {
        self.proxy.http_cleanup().await;
    }
}
