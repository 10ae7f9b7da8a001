//! Which bounds does pingora's proxy lack? A guard around it ends requests whose time is over, and gives an HTTP/2
//! connection (RFC 9113) limits of requests, of malformed requests, and of the time without any.

use crate::config::RequestLimits;
use crate::gate::Gate;
use crate::gate::accept::HeadError;
use crate::proxy::connection_counts::ConnectionCounts;
use crate::proxy::exchange::Connection;
use crate::proxy::exchange::refuse_head;
use crate::proxy::filter::context::Ended;
use crate::proxy::filter::context::ExchangeSlot;
use http::Method;
use pingora::apps::HttpServerApp;
use pingora::apps::ReusedHttpStream;
use pingora::protocols::Digest;
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::H2Accept;
use pingora::protocols::http::v2::server::H2Options;
use pingora::protocols::http::v2::server::HttpSession;
use pingora::protocols::http::v2::server::default_h2_options;
use pingora::protocols::http::v2::server::handshake;
use pingora::proxy::HttpProxy;
use pingora::proxy::ProxyHttp;
use pingora::server::ShutdownWatch;
use std::future::Future;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio::time::sleep_until;
use tokio::time::timeout;

/// The requests of one HTTP/2 connection that are served at a time.
const STREAMS_MAX: u32 = 100;
/// The most requests of one connection that have a task at the same time, including those whose client has reset the stream.
const TASKS_MAX: usize = 200;
/// The bytes that a client may send on one stream before they are read.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The bytes that a client may send on all streams before they are read.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// The malformed requests that end an HTTP/2 connection.
const MALFORMED_MAX: usize = 32;
/// The pseudo-header fields of a request: method, scheme, authority, path (RFC 9113 section 8.3.1).
const PSEUDO_FIELDS: usize = 4;
/// The fields that a `Cookie` may be split into, beside the first.
const CRUMBS: usize = 100;
/// The time in which the end of an idle HTTP/2 connection is announced.
const GOODBYE: Duration = Duration::from_secs(1);
/// The time in which the end of the last response is written. The connection closes earlier when all is written.
const LAST_BYTES: Duration = Duration::from_secs(5);
/// The longest time. A deadline that far away is none.
const FOREVER: Duration = Duration::from_secs(365 * 86_400);

/// Has `proxy` carry the request of `session`, whose exchange is in `slot`. Returns the connection of an HTTP/1.1 client
/// that may send another request.
pub async fn carry<P>(
    proxy: &Arc<HttpProxy<P>>,
    session: ServerSession,
    slot: &ExchangeSlot,
    shutdown: &ShutdownWatch,
) -> Option<ReusedHttpStream>
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    let mut carried = pin!(slot.scope(proxy.process_new_http(session, shutdown)));
    let mut timer = pin!(sleep_until(Instant::now() + FOREVER));
    let ended = poll_fn(|cx| {
        if let Poll::Ready(ended) = carried.as_mut().poll(cx) {
            return Poll::Ready(ended);
        }
        loop {
            let at = match slot.next_deadline(Instant::now()) {
                Ok(Some(at)) => at,
                Ok(None) => return Poll::Pending,
                // Dropping the future closes the connection of HTTP/1.1, and resets the stream of HTTP/2.
                Err(Ended) => return Poll::Ready(None),
            };
            // Setting a timer takes a lock, and most deadlines move before they are reached.
            if timer.deadline() > at || timer.is_elapsed() {
                timer.as_mut().reset(at);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await;
    slot.end();
    ended
}

/// The reason for which a connection over HTTP/2 accepts no more requests.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Closing {
    No,
    /// The client was told (GOAWAY, RFC 9113 section 6.8), and open requests go on.
    Announced,
}

/// Serves an HTTP/2 connection until it closes.
pub async fn serve_http2<P>(
    proxy: &Arc<HttpProxy<P>>,
    gate: &Gate,
    stream: Stream,
    connection: &Arc<Connection>,
    counts: &ConnectionCounts,
    limits: &RequestLimits,
    shutdown: &ShutdownWatch,
) where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    let digest = Arc::new(Digest {
        ssl_digest: stream.get_ssl_digest(),
        timing_digest: stream.get_timing_digest(),
        proxy_digest: stream.get_proxy_digest(),
        socket_digest: stream.get_socket_digest(),
    });
    // The client sends the preface before any head, so the head timeout applies to it.
    let opened = timeout(limits.head_timeout, handshake(stream, Some(options(limits)))).await;
    // Nothing can be answered to a client that does not speak HTTP/2.
    let Ok(Ok(mut http2)) = opened else {
        return;
    };
    let mut watch = shutdown.clone();
    let mut stopping = pin!(watch.wait_for(|stopping| *stopping));
    // Dropped with the connection, which ends its requests.
    let mut requests: JoinSet<()> = JoinSet::new();
    let mut closing = Closing::No;
    let (mut served, mut malformed) = (0_u32, 0_usize);
    let mut idle = pin!(sleep_until(after(limits.idle_timeout)));
    loop {
        tokio::select! {
            biased;
            _ = stopping.as_mut(), if closing == Closing::No => {
                http2.graceful_shutdown();
                closing = Closing::Announced;
                idle.as_mut().reset(after(GOODBYE));
            }
            Some(_) = requests.join_next() => {
                if requests.is_empty() {
                    let wait = match closing {
                        // Of the configuration now in force, as in HTTP/1.1.
                        Closing::No => gate.snapshot().requests.idle_timeout,
                        // The end of the last response may not be written yet.
                        Closing::Announced => LAST_BYTES,
                    };
                    idle.as_mut().reset(after(wait));
                }
            }
            () = idle.as_mut(), if requests.is_empty() => match closing {
                Closing::No => {
                    http2.graceful_shutdown();
                    closing = Closing::Announced;
                    idle.as_mut().reset(after(GOODBYE));
                }
                Closing::Announced => break,
            },
            accepted = HttpSession::from_h2_conn(&mut http2, Arc::clone(&digest)) => match accepted {
                // The client closed the connection, or broke the protocol.
                Ok(None) | Err(_) => break,
                Ok(Some(H2Accept::Rejected)) => {
                    // pingora has refused it: the host is missing or ambiguous, or the target has a control byte.
                    refuse_head(gate, connection.peer, gate.clock.now(), HeadError::RefusedByParser, b"");
                    malformed += 1;
                    if malformed >= MALFORMED_MAX {
                        break;
                    }
                }
                Ok(Some(H2Accept::Session(session))) => {
                    served = served.saturating_add(1);
                    // A client that resets its streams leaves their tasks behind; one that ignores the goodbye goes on.
                    let is_flood = requests.len() > TASKS_MAX;
                    let is_deaf = served > limits.requests_per_connection_max.saturating_add(STREAMS_MAX);
                    if is_flood || is_deaf {
                        break;
                    }
                    if session.req_header().method == Method::CONNECT {
                        // pingora refuses it before the filter sees it.
                        refuse_head(gate, connection.peer, gate.clock.now(), HeadError::Connect, b"");
                    }
                    let (proxy, shutdown) = (Arc::clone(proxy), shutdown.clone());
                    // There is room for one connection to an upstream beside that of the client.
                    let further = if requests.is_empty() { None } else { Some(counts.take_stream()) };
                    let has_room = further.as_ref().is_none_or(Option::is_some);
                    let slot = ExchangeSlot::of_connection(connection, has_room);
                    requests.spawn(async move {
                        carry(&proxy, ServerSession::new_http2(session), &slot, &shutdown).await;
                        drop(further);
                    });
                    if served >= limits.requests_per_connection_max && closing == Closing::No {
                        http2.graceful_shutdown();
                        closing = Closing::Announced;
                    }
                }
            },
        }
    }
    drop(http2);
    // Each request notices that its stream is closed, and is recorded.
    let _ = timeout(GOODBYE, async { while requests.join_next().await.is_some() {} }).await;
}

fn options(limits: &RequestLimits) -> H2Options {
    // HTTP/2 counts 32 bytes more for each field (RFC 9113 section 6.5.2). The filter then counts as HTTP/1.1 does.
    let counted = 32 * (limits.header_count_max + PSEUDO_FIELDS) + CRUMBS * (32 + "cookie".len());
    let header_list_max = limits.head_bytes_max.saturating_add(counted);
    let mut options = default_h2_options();
    options
        .max_header_list_size(u32::try_from(header_list_max).unwrap_or(u32::MAX))
        .max_concurrent_streams(STREAMS_MAX)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(limits.buffer_bytes);
    options
}

/// Returns the time after `wait`.
fn after(wait: Duration) -> Instant {
    Instant::now() + wait.min(FOREVER)
}
