//! How can an issuer misbehave? A raw server on loopback sends the given reply and counts requests.

use crate::config::issuer::ConnectSettings;
use crate::config::issuer::JwksLocation;
use crate::config::issuer::RemoteKeys;
use rcgen::BasicConstraints;
use rcgen::Certificate;
use rcgen::CertificateParams;
use rcgen::DnType;
use rcgen::IsCa;
use rcgen::KeyPair;
use rcgen::date_time_ymd;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// The RSA key of RFC 7638 section 3.1, under its `kid` there.
pub const RSA_KID: &str = "2011-04-29";
/// The P-256 public key of RFC 7517 appendix A.1, under a `kid` of these tests.
pub const EC_KID: &str = "ec-1";

const RSA_N: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";

pub fn rsa_jwk() -> String {
    format!(r#"{{"kty":"RSA","n":"{RSA_N}","e":"AQAB","alg":"RS256","kid":"{RSA_KID}"}}"#)
}

pub fn ec_jwk() -> String {
    format!(
        r#"{{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","use":"sig","kid":"{EC_KID}"}}"#
    )
}

pub fn set_of(keys: &[String]) -> String {
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}

/// Returns the default settings for `url`, which may be plain HTTP on loopback.
pub fn jwks_url(url: &str) -> RemoteKeys {
    RemoteKeys {
        at: JwksLocation::JwksUrl(url.parse().unwrap()),
        bearer_token_file: None,
        start_wait: Duration::from_secs(5),
        connect: ConnectSettings {
            allow_http: true,
            allow_private_addresses: true,
            ca_file: None,
            proxy: None,
            timeout: Duration::from_secs(5),
        },
        min_refresh: Duration::from_secs(60),
        max_refresh: Duration::from_secs(3600),
        cooldown: Duration::from_secs(30),
        wait: Duration::from_secs(10),
        max_stale: Duration::from_secs(24 * 3600),
    }
}

/// The response of the issuer.
#[derive(Clone, Debug)]
pub enum Reply {
    /// These bytes, then the end of the connection.
    Bytes(Vec<u8>),
    /// Nothing, until the client closes the connection.
    Hang,
    /// The head of a 200 with this header line, then the letter `a` without end.
    Endless(&'static str),
    /// The head of a 200, then one byte each 10 ms.
    Drip,
}

impl Reply {
    /// Returns a 200 with `body` and its length.
    pub fn json(body: &str) -> Self {
        Self::json_with("", body)
    }

    /// Returns a 200 with `body`, its length, and the lines in `headers`, each ending in CRLF.
    pub fn json_with(headers: &str, body: &str) -> Self {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{headers}");
        Self::Bytes(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes())
    }

    pub fn head_only(status_and_headers: &str) -> Self {
        Self::Bytes(format!("HTTP/1.1 {status_and_headers}\r\ncontent-length: 0\r\n\r\n").into_bytes())
    }
}

/// The server; stops when dropped.
pub struct FakeIssuer {
    pub address: SocketAddr,
    shared: Arc<ServerState>,
    task: JoinHandle<()>,
}

struct ServerState {
    reply: Mutex<Reply>,
    requests: watch::Sender<usize>,
    connections: AtomicUsize,
    last_head: Mutex<String>,
}

impl FakeIssuer {
    pub async fn start(reply: Reply) -> Self {
        Self::start_with(reply, None).await
    }

    pub async fn start_tls(reply: Reply, certificate: &CertifiedKey) -> Self {
        let chain = vec![certificate.certificate.der().clone()];
        let key = certificate.key.serialize_der().try_into().unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        Self::start_with(reply, Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn start_with(reply: Reply, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(ServerState {
            reply: Mutex::new(reply),
            requests: watch::Sender::new(0),
            connections: AtomicUsize::new(0),
            last_head: Mutex::new(String::new()),
        });
        let for_task = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                for_task.connections.fetch_add(1, Ordering::SeqCst);
                let (shared, tls) = (Arc::clone(&for_task), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => shared.answer(stream).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                shared.answer(stream).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, shared, task }
    }

    pub fn reply(&self, reply: Reply) {
        *self.shared.reply.lock().unwrap() = reply;
    }

    pub fn requests(&self) -> usize {
        *self.shared.requests.borrow()
    }

    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Returns when the issuer has received at least `count` requests. Panics after 10 s.
    pub async fn wait_for_requests(&self, count: usize) {
        let mut requests = self.shared.requests.subscribe();
        let seen = requests.wait_for(|seen| *seen >= count);
        tokio::time::timeout(Duration::from_secs(10), seen)
            .await
            .unwrap()
            .unwrap();
    }

    pub fn last_head(&self) -> String {
        self.shared.last_head.lock().unwrap().clone()
    }

    pub fn url(&self) -> String {
        format!("http://{}/jwks", self.address)
    }

    /// Returns a URL whose host is the name `localhost`, which a certificate can be issued for.
    pub fn https_url(&self) -> String {
        format!("https://localhost:{}/jwks", self.address.port())
    }
}

impl Drop for FakeIssuer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ServerState {
    async fn answer(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        *self.last_head.lock().unwrap() = String::from_utf8(head).unwrap();
        let reply = self.reply.lock().unwrap().clone();
        self.requests.send_modify(|seen| *seen += 1);
        // Writing fails if the client closes the connection before the end of the reply.
        let _ = send(&mut stream, reply).await;
    }
}

async fn send(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), reply: Reply) -> std::io::Result<()> {
    match reply {
        Reply::Bytes(bytes) => {
            stream.write_all(&bytes).await?;
            stream.shutdown().await
        }
        Reply::Hang => stream.read_u8().await.map(drop),
        Reply::Endless(header) => {
            let head = format!("HTTP/1.1 200 OK\r\n{header}\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            loop {
                stream.write_all(&[b'a'; 16 * 1024]).await?;
            }
        }
        Reply::Drip => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            let mut pause = tokio::time::interval(Duration::from_millis(10));
            loop {
                stream.write_all(b"a").await?;
                stream.flush().await?;
                pause.tick().await;
            }
        }
    }
}

pub struct CertifiedKey {
    pub certificate: Certificate,
    pub key: KeyPair,
}

/// A certificate authority for tests.
pub struct Authority {
    pub certificate: Certificate,
    issuer: rcgen::Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn named(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let issuer = rcgen::Issuer::new(params, key);
        Self { certificate, issuer }
    }

    /// Returns a certificate for `host`, valid until the first day of `until_year`.
    pub fn sign(&self, host: &str, until_year: i32) -> CertifiedKey {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(until_year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        CertifiedKey { certificate, key }
    }
}
