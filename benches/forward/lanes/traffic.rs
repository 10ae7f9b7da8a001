//! Which requests does a row of the lanes send, on which connections?

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The certificate of every proxy, and its key.
pub const PEM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/dev-tls.pem");
pub const PRIVATE_PEM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/dev-tls.private.pem");
/// The connections of HTTP/1.1, or the streams of HTTP/2, that send requests at the same time.
pub const AT_ONCE: usize = 100;

/// The protocol of a row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http1Tls,
    Http2,
    Http2Tls,
    Grpc,
    /// One request on a connection of its own, after a whole handshake.
    Handshake,
    /// The same after a resumed one.
    Resumption,
}

/// One line of the table. The first row of a protocol is what the others are compared with.
pub struct Row {
    pub name: &'static str,
    pub protocol: Protocol,
    pub address: SocketAddr,
    /// The credential: name and value of a field.
    pub credential: Option<(&'static str, String)>,
}

/// The number of requests that a row sends.
#[derive(Clone, Copy)]
pub struct Amount {
    /// The requests on each of [`AT_ONCE`] connections or streams.
    pub on_each: usize,
    /// The connections of a row that measures handshakes, each with one request.
    pub handshakes: usize,
}

/// Open connections to a proxy.
pub enum Client {
    Plain(Vec<TcpStream>),
    Tls(Vec<TlsStream<TcpStream>>),
    Http2(Vec<Http2Connection>),
    /// No connection: each request opens one with this configuration.
    Fresh(Arc<ClientConfig>),
}

/// An HTTP/2 connection. Dropping it closes the connection.
pub struct Http2Connection {
    requests: SendRequest<Bytes>,
    driver: JoinHandle<()>,
}

impl Drop for Http2Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Protocol {
    pub const ALL: [Self; 7] = [
        Self::Http1,
        Self::Http1Tls,
        Self::Http2,
        Self::Http2Tls,
        Self::Grpc,
        Self::Handshake,
        Self::Resumption,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http1Tls => "HTTP/1.1 over TLS",
            Self::Http2 => "HTTP/2",
            Self::Http2Tls => "HTTP/2 over TLS",
            Self::Grpc => "gRPC",
            Self::Handshake => "TLS handshake and a request",
            Self::Resumption => "resumed handshake and a request",
        }
    }

    const fn alpn(self) -> &'static [u8] {
        match self {
            Self::Http2 | Self::Http2Tls | Self::Grpc => b"h2",
            Self::Http1 | Self::Http1Tls | Self::Handshake | Self::Resumption => b"http/1.1",
        }
    }
}

impl Row {
    /// Opens the connections that the row's requests need: as many as are sent at a time, or one of HTTP/2.
    pub async fn open(&self) -> Client {
        match self.protocol {
            Protocol::Http1 | Protocol::Http1Tls => self.open_connections(AT_ONCE).await,
            Protocol::Http2 | Protocol::Http2Tls | Protocol::Grpc => self.open_connections(1).await,
            Protocol::Handshake => Client::Fresh(Arc::new(client_config(self.protocol, false))),
            Protocol::Resumption => Client::Fresh(Arc::new(client_config(self.protocol, true))),
        }
    }

    /// Opens `count` connections, and sends a request on each.
    pub async fn open_connections(&self, count: usize) -> Client {
        let config = Arc::new(client_config(self.protocol, true));
        let text = self.text();
        match self.protocol {
            Protocol::Http1 => {
                let mut open = Vec::new();
                for _ in 0..count {
                    open.push(converse(connect(self.address).await, text.clone(), 1).await);
                }
                Client::Plain(open)
            }
            Protocol::Http1Tls => {
                let mut open = Vec::new();
                for _ in 0..count {
                    open.push(converse(tls(&config, self.address).await, text.clone(), 1).await);
                }
                Client::Tls(open)
            }
            _ => {
                let mut open = Vec::new();
                for _ in 0..count {
                    let connection = if self.protocol == Protocol::Http2Tls {
                        Http2Connection::open(tls(&config, self.address).await).await
                    } else {
                        Http2Connection::open(connect(self.address).await).await
                    };
                    let is_grpc = self.protocol == Protocol::Grpc;
                    stream_after_stream(connection.requests.clone(), self.request(), is_grpc, 1).await;
                    open.push(connection);
                }
                Client::Http2(open)
            }
        }
    }

    /// Sends `amount` of requests on the connections of `client`, and returns how many they were.
    pub async fn send(&self, client: &mut Client, amount: Amount) -> usize {
        match client {
            Client::Plain(connections) => self.send_on_each(connections, amount.on_each).await,
            Client::Tls(connections) => self.send_on_each(connections, amount.on_each).await,
            Client::Http2(connections) => {
                let mut all = JoinSet::new();
                let is_grpc = self.protocol == Protocol::Grpc;
                for _ in 0..AT_ONCE {
                    let requests = connections[0].requests.clone();
                    all.spawn(stream_after_stream(requests, self.request(), is_grpc, amount.on_each));
                }
                let _: Vec<()> = all.join_all().await;
                AT_ONCE * amount.on_each
            }
            Client::Fresh(config) => {
                for _ in 0..amount.handshakes {
                    converse(tls(config, self.address).await, self.text(), 1).await;
                }
                amount.handshakes
            }
        }
    }

    async fn send_on_each<S>(&self, connections: &mut Vec<S>, on_each: usize) -> usize
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut all = JoinSet::new();
        for stream in connections.drain(..) {
            all.spawn(converse(stream, self.text(), on_each));
        }
        *connections = all.join_all().await;
        connections.len() * on_each
    }

    /// Returns the text of a request of HTTP/1.1.
    fn text(&self) -> Vec<u8> {
        let field = self
            .credential
            .as_ref()
            .map(|(name, value)| format!("{name}: {value}\r\n"));
        format!(
            "GET /v1/orders HTTP/1.1\r\nHost: localhost\r\n{}\r\n",
            field.unwrap_or_default()
        )
        .into_bytes()
    }

    fn request(&self) -> Request<()> {
        let is_grpc = self.protocol == Protocol::Grpc;
        let mut request = Request::builder().uri(if is_grpc {
            "http://localhost/shop.Orders/Get"
        } else {
            "http://localhost/v1/orders"
        });
        if is_grpc {
            request = request
                .method("POST")
                .header("content-type", "application/grpc")
                .header("te", "trailers");
        }
        if let Some((name, value)) = &self.credential {
            request = request.header(*name, value);
        }
        request.body(()).expect("a request")
    }
}

impl Http2Connection {
    async fn open<S>(stream: S) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (requests, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        let driver = tokio::spawn(async move {
            let _ = connection.await;
        });
        Self { requests, driver }
    }
}

async fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.expect("the proxy listens");
    stream.set_nodelay(true).expect("an open socket");
    stream
}

async fn tls(config: &Arc<ClientConfig>, address: SocketAddr) -> TlsStream<TcpStream> {
    let name = ServerName::try_from("localhost").expect("a name");
    let connector = TlsConnector::from(Arc::clone(config));
    connector
        .connect(name, connect(address).await)
        .await
        .expect("the handshake succeeds")
}

fn client_config(protocol: Protocol, resumes: bool) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(PEM).expect("a certificate of conf/");
    roots.add(certificate).expect("it can be a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.alpn().to_vec()];
    if !resumes {
        config.resumption = Resumption::disabled();
    }
    config
}

/// Sends `text` so often on one connection, and returns the connection.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, text: Vec<u8>, times: usize) -> S {
    let mut buffer = vec![0; 4096];
    for _ in 0..times {
        stream.write_all(&text).await.expect("the proxy reads");
        let mut filled = 0;
        // Every response ends with this text.
        while !buffer[..filled].ends_with(b"{\"answer\":true}") {
            let count = stream.read(&mut buffer[filled..]).await.expect("the proxy answers");
            assert!(count > 0, "closed: {}", String::from_utf8_lossy(&buffer[..filled]));
            filled += count;
        }
        assert!(
            buffer.starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&buffer[..filled])
        );
    }
    stream
}

async fn stream_after_stream(requests: SendRequest<Bytes>, request: Request<()>, is_grpc: bool, times: usize) {
    for _ in 0..times {
        let mut ready = requests.clone().ready().await.expect("an open connection");
        let (response, mut body) = ready.send_request(request.clone(), !is_grpc).expect("a request");
        if is_grpc {
            body.send_data(Bytes::from_static(b"\0\0\0\0\x05order"), true)
                .expect("a message");
        }
        let response = response.await.expect("a response");
        assert_eq!(response.status(), 200, "{request:?}");
        let mut received = response.into_body();
        while let Some(data) = received.data().await {
            let length = data.expect("a body").len();
            let _ = received.flow_control().release_capacity(length);
        }
        let trailers = received.trailers().await.expect("an end");
        assert_eq!(trailers.is_some(), is_grpc);
    }
}
