//! An issuer that misbehaves: hangs, drips, announces wrong lengths, never ends. With or without TLS.

use super::PATIENCE;
use super::http1;
use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::IsCa;
use rcgen::KeyPair;
use rcgen::date_time_ymd;
use rustls::ServerConfig;
use rustls::ServerConnection;
use rustls::StreamOwned;
use std::collections::HashMap;
use std::io;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The response of one path.
#[derive(Clone, Debug)]
pub enum Reply {
    /// These bytes, then the end of the connection.
    Bytes(Vec<u8>),
    /// No response; the connection stays open until the client closes, at most [`PATIENCE`].
    Hang,
    /// The head of a 200, then one byte a second until the client closes or the issuer is dropped.
    Drip,
    /// The head of a 200 with a length of 100 MiB, then spaces without end.
    Endless,
}

impl Reply {
    /// Returns a 200 with `body`.
    pub fn ok(body: &str) -> Self {
        Self::with("", body.as_bytes())
    }

    /// Returns a 200 with `body` and with further header lines, each ending in CRLF.
    pub fn with(headers: &str, body: &[u8]) -> Self {
        Self::sized(headers, body, body.len())
    }

    /// Returns a 200 with `body` that announces `length` in place of the length of `body`.
    pub fn sized(headers: &str, body: &[u8], length: usize) -> Self {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n"
        );
        Self::Bytes([head.as_bytes(), body].concat())
    }

    /// Returns a response without a body.
    pub fn status(status_and_headers: &str) -> Self {
        Self::Bytes(
            format!("HTTP/1.1 {status_and_headers}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").into_bytes(),
        )
    }
}

/// A server on a free port of loopback. Paths without a reply give 404. Dropping it stops accepting.
pub struct RawIssuer {
    address: SocketAddr,
    shared: Arc<IssuerState>,
    scheme: &'static str,
}

#[derive(Default)]
struct IssuerState {
    replies: Mutex<HashMap<String, Reply>>,
    /// Targets of all requests, in order.
    targets: Mutex<Vec<String>>,
    stopped: AtomicBool,
}

impl RawIssuer {
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// Starts a server with a certificate for `host`, valid until `until_year`. Returns its authority too, as PEM.
    pub fn start_tls(host: &str, until_year: i32) -> (Self, String) {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&authority_key).unwrap().pem();
        let signer = rcgen::Issuer::new(params, authority_key);
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(until_year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &signer).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.serialize_der().try_into().unwrap())
            .unwrap();
        (Self::start_with(Some(Arc::new(config))), authority)
    }

    fn start_with(tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(IssuerState::default());
        let scheme = if tls.is_some() { "https" } else { "http" };
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (shared, tls) = (Arc::clone(&accepting), tls.clone());
                // Errors are dropped: some replies make the client close the connection.
                std::thread::spawn(move || {
                    stream.set_read_timeout(Some(PATIENCE))?;
                    stream.set_write_timeout(Some(PATIENCE))?;
                    match tls {
                        None => shared.serve(stream),
                        Some(tls) => {
                            let connection = ServerConnection::new(tls).map_err(io::Error::other)?;
                            shared.serve(StreamOwned::new(connection, stream))
                        }
                    }
                });
            }
        });
        Self {
            address,
            shared,
            scheme,
        }
    }

    /// Gives `reply` for `path` from now on; for a proxy, `path` is the whole URL.
    pub fn reply(&self, path: &str, reply: Reply) {
        self.shared.replies.lock().unwrap().insert(path.to_owned(), reply);
    }

    /// Gives 404 for every path from now on.
    pub fn forget_all(&self) {
        self.shared.replies.lock().unwrap().clear();
    }

    /// Returns the targets of all requests so far.
    pub fn targets(&self) -> Vec<String> {
        self.shared.targets.lock().unwrap().clone()
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns a URL with a host name, so that a certificate can match it.
    pub fn url(&self, path: &str) -> String {
        format!("{}://localhost:{}{path}", self.scheme, self.address.port())
    }
}

impl Drop for RawIssuer {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, so that it sees `stopped`.
        let _ = TcpStream::connect(self.address);
    }
}

impl IssuerState {
    fn serve(&self, stream: impl Read + Write) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        let Some(head) = http1::read_head(&mut stream)? else {
            return Ok(());
        };
        let target = head.start.split(' ').nth(1).unwrap_or_default().to_owned();
        let reply = self.replies.lock().unwrap().get(&target).cloned();
        self.targets.lock().unwrap().push(target);
        let stream = stream.get_mut();
        match reply.unwrap_or_else(|| Reply::status("404 Not Found")) {
            Reply::Bytes(bytes) => {
                stream.write_all(&bytes)?;
                stream.flush()
            }
            Reply::Hang => stream.read(&mut [0]).map(drop),
            Reply::Drip => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n")?;
                loop {
                    stream.write_all(b" ")?;
                    stream.flush()?;
                    if self.stopped.load(Ordering::SeqCst) {
                        return Ok(());
                    }
                    // The delay is the behaviour under test, not a wait.
                    std::thread::park_timeout(Duration::from_secs(1));
                }
            }
            Reply::Endless => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n")?;
                loop {
                    stream.write_all(&[b' '; 16 * 1024])?;
                }
            }
        }
    }
}
