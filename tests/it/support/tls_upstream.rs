//! An upstream of HTTP/1.1 over TLS that says which name it was asked for, and whether the client showed a certificate.

use super::http1;
use super::tls_client::Authority;
use super::tls_client::CertificatePem;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::ServerConnection;
use rustls::StreamOwned;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use std::io::BufReader;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

/// A server on a free port of 127.0.0.1 with one thread per connection.
pub struct TlsUpstream {
    address: SocketAddr,
    handshakes: Arc<AtomicUsize>,
}

impl TlsUpstream {
    /// Starts a server with `certificate`. With `clients`, it wants a certificate that this authority signed.
    pub fn start(certificate: &CertificatePem, clients: Option<&Authority>) -> Self {
        let chain = CertificateDer::pem_slice_iter(certificate.certificate.as_bytes());
        let chain = chain.map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots
                    .add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap())
                    .unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
            None => builder.with_no_client_auth(),
        };
        let config = Arc::new(builder.with_single_cert(chain, key).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let handshakes = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&handshakes);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (config, handshakes) = (Arc::clone(&config), Arc::clone(&counted));
                std::thread::spawn(move || serve(stream.unwrap(), config, &handshakes));
            }
        });
        Self { address, handshakes }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns how many handshakes were completed so far.
    pub fn handshakes(&self) -> usize {
        self.handshakes.load(Ordering::SeqCst)
    }
}

fn serve(stream: TcpStream, config: Arc<ServerConfig>, handshakes: &AtomicUsize) {
    let session = ServerConnection::new(config).unwrap();
    let mut stream = StreamOwned::new(session, stream);
    while stream.conn.is_handshaking() {
        if stream.conn.complete_io(&mut stream.sock).is_err() {
            return;
        }
    }
    handshakes.fetch_add(1, Ordering::SeqCst);
    let name = stream.conn.server_name().unwrap_or("-").to_owned();
    let client = if stream.conn.peer_certificates().is_some() {
        "certificate"
    } else {
        "no certificate"
    };
    let mut reader = BufReader::new(stream);
    while let Ok(Some(_)) = http1::read_head(&mut reader) {
        let body = format!("{name}, {client}");
        let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        if reader.get_mut().write_all(response.as_bytes()).is_err() {
            return;
        }
    }
}
