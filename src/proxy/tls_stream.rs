//! How do Keygate and pingora read and write a connection over TLS? Through the session of the TLS library itself: pingora's
//! own stream keeps room for the handshakes of both sides as long as the connection lasts, and a copy of the client's
//! certificates.

use async_trait::async_trait;
use pingora::protocols::ALPN;
use pingora::protocols::GetProxyDigest;
use pingora::protocols::GetSocketDigest;
use pingora::protocols::GetTimingDigest;
use pingora::protocols::Peek;
use pingora::protocols::Shutdown;
use pingora::protocols::SocketDigest;
use pingora::protocols::Ssl;
use pingora::protocols::TimingDigest;
use pingora::protocols::UniqueID;
use pingora::protocols::UniqueIDType;
use pingora::protocols::l4;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::tls::ServerTlsStream;
use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::io::ReadBuf;

/// The server's side of a TLS session on a connection, after its handshake.
#[derive(Debug)]
pub struct TlsStream {
    session: ServerTlsStream<l4::stream::Stream>,
}

impl TlsStream {
    pub fn new(session: ServerTlsStream<l4::stream::Stream>) -> Self {
        Self { session }
    }

    fn connection(&self) -> &l4::stream::Stream {
        self.session.get_ref().0
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.session).poll_read(cx, buf)
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.session).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.session).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.session).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.session).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.session.is_write_vectored()
    }
}

#[async_trait]
impl Shutdown for TlsStream {
    /// Sends close_notify and closes the connection for writing.
    async fn shutdown(&mut self) {
        // An error means that the client is gone, which needs no handling: the connection is closed either way.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for TlsStream {
    fn id(&self) -> UniqueIDType {
        self.connection().id()
    }
}

impl Ssl for TlsStream {
    /// Returns the version and the cipher of the session, without the client's certificate, whose facts a `Connection` has.
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        let session = self.session.get_ref().1;
        let cipher = session.negotiated_cipher_suite();
        let cipher = cipher.and_then(|cipher| cipher.suite().as_str()).unwrap_or_default();
        let version = session.protocol_version();
        let version = version.and_then(|version| version.as_str()).unwrap_or_default();
        Some(Arc::new(SslDigest::new(cipher, version, None, None, Vec::new())))
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        match self.session.get_ref().1.alpn_protocol() {
            Some(b"h2") => Some(ALPN::H2),
            Some(b"http/1.1") => Some(ALPN::H1),
            // The listener offers no other protocol.
            Some(_) | None => None,
        }
    }
}

impl GetTimingDigest for TlsStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.connection().get_timing_digest()
    }
}

impl GetProxyDigest for TlsStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.connection().get_proxy_digest()
    }
}

impl GetSocketDigest for TlsStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.connection().get_socket_digest()
    }
}

impl Peek for TlsStream {}
