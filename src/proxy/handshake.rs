//! How does an accepted connection become a TLS session? By Keygate's own handshake: pingora's listener has a fixed time
//! limit, logs every scanner, and cannot change the client CAs without a restart.

use crate::config::certificate;
use crate::model::clock::Timestamp;
use crate::proxy::exchange::ClientCertificateFacts;
use crate::proxy::exchange::TlsFacts;
use crate::proxy::listener::TlsConfig;
use crate::proxy::tls_stream::TlsStream;
use pingora::protocols::Peek;
use pingora::protocols::Stream;
use pingora::protocols::l4;
use pingora::tls::TlsAcceptor;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Why a handshake did not become a session.
pub enum HandshakeError {
    /// The client speaks HTTP without TLS, and can be told so.
    PlainHttp(Stream),
    /// The client did not finish the handshake in time.
    TimedOut,
    /// The two sides agree on no parameters, the listener has no certificate for the name, the client speaks neither TLS nor
    /// HTTP, or the listener does not accept its certificate.
    Failed,
}

/// Performs the server's side of the handshake on `stream`.
///
/// # Errors
/// The handshake fails, or takes longer than `time_max`, or the client's certificate has expired at `now` or cannot be
/// parsed: the handshake of a resumed session does not verify the certificate again (S156).
pub async fn accept(
    config: &TlsConfig,
    stream: Stream,
    time_max: Duration,
    now: Timestamp,
) -> Result<(Stream, TlsFacts), HandshakeError> {
    let mut stream: Box<l4::stream::Stream> = stream.into_any().downcast().map_err(|_| HandshakeError::Failed)?;
    let acceptor = TlsAcceptor::from(Arc::clone(&config.server));
    let handshake = async {
        let mut first = [0];
        stream.try_peek(&mut first).await.map_err(|_| HandshakeError::Failed)?;
        // A record of TLS begins with its type (RFC 8446 section 5.1), a request of HTTP with its method.
        if first[0].is_ascii_uppercase() {
            return Err(HandshakeError::PlainHttp(stream));
        }
        acceptor.accept(*stream).await.map_err(|_| HandshakeError::Failed)
    };
    let session = timeout(time_max, handshake)
        .await
        .map_err(|_| HandshakeError::TimedOut)??;
    let (_, tls) = session.get_ref();
    let client = match tls.peer_certificates().and_then(<[_]>::first) {
        None => None,
        Some(der) => match certificate::parse_client_certificate(der) {
            Some((certificate, expiry)) if expiry > now => Some(ClientCertificateFacts::new(certificate)),
            _ => return Err(HandshakeError::Failed),
        },
    };
    let server_name = tls.server_name().map(str::to_ascii_lowercase);
    let facts = TlsFacts {
        server_name,
        names: Arc::clone(&config.names),
        client,
    };
    Ok((Box::new(TlsStream::new(session)), facts))
}
