//! How are connections to the admin listener and the admin socket accepted, and what are their limits?

use crate::control::admin::access::Peer;
use crate::runtime::accept_errors::AcceptErrors;
use crate::runtime::admin::endpoints;
use crate::runtime::admin::endpoints::Admin;
use crate::runtime::admin::record::PeerAddress;
use crate::runtime::admin::socket::Socket;
use crate::runtime::local_user;
use axum::Extension;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use hyper_util::service::TowerToHyperService;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// The limits of a listener's connections. Scrapes and probes need only a small part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) connections: usize,
    /// From accepting a connection, or from the response before, to the end of a request's head.
    pub(super) head: Duration,
    /// From accepting a connection until it takes no further request. A request that is under way then has as long again.
    pub(super) total: Duration,
}

pub(super) const BOUNDS: Bounds = Bounds {
    connections: 64,
    head: Duration::from_secs(5),
    total: Duration::from_secs(30),
};

const HEAD_BYTES_MAX: usize = 16 * 1024;
pub(super) const HEADERS_MAX: usize = 64;

/// Serves on `listener` until `stop` ends. The caller binds `listener`, so that a taken port stops the start. Stop this
/// listener last: probes also call during a drain.
///
/// # Errors
/// Tokio cannot use `listener`.
pub async fn serve(admin: Admin, listener: std::net::TcpListener, stop: impl Future<Output = ()>) -> io::Result<()> {
    serve_within(BOUNDS, admin, listener, stop).await
}

/// Serves on the admin socket until `stop` ends. Callers are [`Peer::Local`] and need no token: each of them can also
/// open the store's files.
///
/// # Errors
/// Tokio cannot use the socket.
pub async fn serve_socket(admin: Admin, socket: Socket, stop: impl Future<Output = ()>) -> io::Result<()> {
    let listener = socket.listener()?;
    accept_all(BOUNDS, admin, listener, stop).await
}

pub(super) async fn serve_within(
    bounds: Bounds,
    admin: Admin,
    listener: std::net::TcpListener,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    accept_all(bounds, admin, listener, stop).await
}

/// A source of connections and their peers.
trait Acceptor: Send + Sync {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn next(&self) -> impl Future<Output = io::Result<(Self::Stream, Peer, PeerAddress)>> + Send;
}

impl Acceptor for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<(TcpStream, Peer, PeerAddress)> {
        let (stream, peer) = self.accept().await?;
        Ok((stream, Peer::Network(peer.ip()), PeerAddress(Some(peer))))
    }
}

impl Acceptor for UnixListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<(UnixStream, Peer, PeerAddress)> {
        let (stream, _) = self.accept().await?;
        let user = local_user::of(&stream);
        Ok((stream, Peer::Local(user), PeerAddress(None)))
    }
}

async fn accept_all(
    bounds: Bounds,
    admin: Admin,
    listener: impl Acceptor,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let errors = AcceptErrors::new("admin", &admin.metrics, &admin.records.clock);
    let router = endpoints::router(admin);
    let slots = Arc::new(Semaphore::new(bounds.connections));
    let accept = async {
        loop {
            let slot = slots.clone().acquire_owned().await.expect("nobody closes it");
            match listener.next().await {
                Ok((stream, peer, address)) => {
                    errors.accepted();
                    let router = router.clone();
                    tokio::spawn(async move {
                        let _slot = slot;
                        let peer = local_user::with_name(peer).await;
                        let router = router.layer(Extension(peer)).layer(Extension(address));
                        serve_connection(bounds, router, stream).await;
                    });
                }
                Err(error) => tokio::time::sleep(errors.failed(&error)).await,
            }
        }
    };
    tokio::select! {
        () = stop => Ok(()),
        never = accept => never,
    }
}

async fn serve_connection<S>(bounds: Bounds, router: Router, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    // Close a slow or broken connection without a response. A client can cause many of them, so log nothing.
    if timeout(bounds.total, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(bounds.total, connection).await;
    }
}
