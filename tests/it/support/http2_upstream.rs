//! An upstream that speaks HTTP/2, with or without TLS.

use super::PATIENCE;
use super::tls_client::CertificatePem;
use bytes::Bytes;
use h2::Reason;
use h2::RecvStream;
use h2::server::SendResponse;
use http::HeaderMap;
use http::HeaderValue;
use http::Request;
use http::Response;
use http::request::Parts;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

/// A request that arrived whole.
pub struct Http2Request {
    pub head: Parts,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
}

impl Http2Request {
    pub fn headers_named(&self, name: &str) -> Vec<&str> {
        let values = self.head.headers.get_all(name).iter();
        values.map(|value| value.to_str().unwrap()).collect()
    }
}

#[derive(Default)]
struct UpstreamState {
    received: Mutex<Vec<Http2Request>>,
    connections: AtomicUsize,
    /// `true` where gRPC's health check says NOT_SERVING.
    is_ill: AtomicBool,
}

/// Answers by the path: `/reset` resets the stream, `/hang` says nothing, `/large` sends 1 MB, `/pieces` two frames and
/// trailers, gRPC's health check says how it is, and every other is answered with `ok`.
pub struct Http2Upstream {
    address: SocketAddr,
    state: Arc<UpstreamState>,
    _runtime: Runtime,
}

impl Http2Upstream {
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// Starts a server that shows `certificate` and speaks nothing but HTTP/2.
    pub fn start_tls(certificate: &CertificatePem) -> Self {
        let chain = CertificateDer::pem_slice_iter(certificate.certificate.as_bytes());
        let chain = chain.map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key);
        let mut config = config.unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self::start_with(Some(TlsAcceptor::from(Arc::new(config))))
    }

    fn start_with(tls: Option<TlsAcceptor>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(UpstreamState::default());
        let shared = Arc::clone(&state);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::Relaxed);
                let (state, tls) = (Arc::clone(&shared), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, state).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, state).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            address,
            state,
            _runtime: runtime,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// Sets the answer to gRPC's health check.
    pub fn set_ill(&self, is_ill: bool) {
        self.state.is_ill.store(is_ill, Ordering::Relaxed);
    }

    /// Takes the requests so far.
    pub fn take_received(&self) -> Vec<Http2Request> {
        std::mem::take(&mut self.state.received.lock().unwrap())
    }

    /// Takes the only request so far.
    #[track_caller]
    pub fn only_received(&self) -> Http2Request {
        let mut all = self.take_received();
        assert_eq!(all.len(), 1);
        all.remove(0)
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, state: Arc<UpstreamState>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            // A client that is gone needs no response.
            let _ = tokio::time::timeout(PATIENCE, answer(request, respond, &state)).await;
        });
    }
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    state: &UpstreamState,
) -> Result<(), h2::Error> {
    let (head, mut incoming) = request.into_parts();
    let path = head.uri.path().to_owned();
    let mut body = Vec::new();
    while let Some(data) = incoming.data().await {
        let data = data?;
        let _ = incoming.flow_control().release_capacity(data.len());
        body.extend_from_slice(&data);
    }
    let trailers = incoming.trailers().await?;
    state
        .received
        .lock()
        .unwrap()
        .push(Http2Request { head, body, trailers });
    let response = Response::builder().header("x-from", "upstream").body(()).unwrap();
    match path.as_str() {
        "/reset" => respond.send_reset(Reason::INTERNAL_ERROR),
        "/hang" => std::future::pending().await,
        "/grpc.health.v1.Health/Check" => {
            // Field 1, the status: 1 is SERVING, 2 is NOT_SERVING.
            let status = if state.is_ill.load(Ordering::Relaxed) { 2 } else { 1 };
            let mut stream = respond.send_response(response, false)?;
            stream.send_data(Bytes::copy_from_slice(&[0, 0, 0, 0, 2, 0x08, status]), false)?;
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            stream.send_trailers(trailers)?;
        }
        "/large" => {
            let mut stream = respond.send_response(response, false)?;
            stream.send_data(Bytes::from(vec![b'x'; 1 << 20]), true)?;
        }
        "/pieces" => {
            let mut stream = respond.send_response(response, false)?;
            stream.send_data(Bytes::from_static(b"one"), false)?;
            stream.send_data(Bytes::from_static(b"two"), false)?;
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", HeaderValue::from_static("6"));
            stream.send_trailers(trailers)?;
        }
        _ => {
            let mut stream = respond.send_response(response, false)?;
            stream.send_data(Bytes::from_static(b"ok"), true)?;
        }
    }
    Ok(())
}
