//! What does pingora know of a request's client: its connection, and when is it gone?

use crate::gate::denial::Denial;
use crate::proxy::exchange::Connection;
use crate::proxy::exchange::TlsFacts;
use crate::proxy::filter::failure;
use pingora::protocols::http::ServerSession;
use std::future::pending;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;

/// Returns the client's connection as pingora knows it.
pub(super) fn connection_of(session: &ServerSession) -> Connection {
    let peer = session
        .client_addr()
        .and_then(|address| address.as_inet().copied())
        .unwrap_or_else(|| SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0));
    let is_tls = session.digest().is_some_and(|digest| digest.ssl_digest.is_some());
    Connection::new(peer, is_tls.then(TlsFacts::default))
}

/// Waits until the client resets the stream or closes the connection. Never returns while a body of HTTP/1.1 may be
/// arriving.
pub(super) async fn client_gone(session: &mut ServerSession) -> Denial {
    if session.is_http2() {
        if let Some(closed) = session.watch_h2_stream_close() {
            let _ = closed.await;
        }
        return Denial::ClientGone;
    }
    if !session.is_body_done() {
        return pending().await;
    }
    match session.read_body_or_idle(true).await {
        Ok(_) => Denial::ClientGone,
        Err(error) => failure::of_client(error.etype()),
    }
}
