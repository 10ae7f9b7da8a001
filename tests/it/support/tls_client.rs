//! A TLS client of the tests, and certificates that it trusts.

use super::PATIENCE;
use super::RawClient;
use super::raw_client::Transport;
use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::DnType;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyPair;
use rustls::ClientConfig;
use rustls::ClientConnection;
use rustls::ConfigBuilder;
use rustls::RootCertStore;
use rustls::StreamOwned;
use rustls::client::WantsClientCert;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use std::io;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::sync::Arc;

/// An authority that signs certificates, and the clients that trust it.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
    roots: RootCertStore,
}

/// A certificate and its private key, PEM.
pub struct CertificatePem {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Another name than that of the certificates, which would look self-signed to OpenSSL.
        params
            .distinguished_name
            .push(DnType::CommonName, "Authority of a test");
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        Self {
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
            roots,
        }
    }

    /// Returns a certificate for `names`. `change` sets what differs from the defaults.
    pub fn certificate(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> CertificatePem {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        CertificatePem {
            certificate: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// Returns the settings of a client that trusts this authority. Connections that share them resume sessions.
    pub fn client(&self, versions: &[&'static rustls::SupportedProtocolVersion]) -> Arc<ClientConfig> {
        Arc::new(self.trusting(versions).with_no_client_auth())
    }

    /// Returns the settings of a client that trusts this authority and shows `certificate` when it is asked for one.
    pub fn client_with(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
        certificate: &CertificatePem,
    ) -> Arc<ClientConfig> {
        let chain = vec![CertificateDer::from_pem_slice(certificate.certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).unwrap();
        Arc::new(self.trusting(versions).with_client_auth_cert(chain, key).unwrap())
    }

    fn trusting(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> ConfigBuilder<ClientConfig, WantsClientCert> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(self.roots.clone())
    }
}

/// Returns the settings of a client that trusts the development certificate of `conf/`, and speaks HTTP/1.1.
pub fn trusting_development() -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let pem = include_bytes!("../../../conf/dev-tls.pem");
    roots.add(CertificateDer::from_pem_slice(pem).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// Connects to `address` without a server name. The certificate must be for `api.example.com`.
///
/// # Errors
/// Those of [`connect`].
pub fn connect_without_name(config: &Arc<ClientConfig>, address: SocketAddr) -> io::Result<TlsClient> {
    let mut config = ClientConfig::clone(config);
    config.enable_sni = false;
    connect(&Arc::new(config), address, "api.example.com")
}

/// Connects to `address`, asks for `name`, and finishes the handshake.
///
/// # Errors
/// The server refuses the handshake, or its certificate is not for `name`.
pub fn connect(config: &Arc<ClientConfig>, address: SocketAddr, name: &str) -> io::Result<TlsClient> {
    let mut tcp = TcpStream::connect_timeout(&address, PATIENCE)?;
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    tcp.set_write_timeout(Some(PATIENCE))?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut session = ClientConnection::new(Arc::clone(config), name).unwrap();
    while session.is_handshaking() {
        session.complete_io(&mut tcp)?;
    }
    Ok(TlsClient {
        address,
        stream: StreamOwned::new(session, tcp),
    })
}

/// A session whose handshake is finished.
pub struct TlsClient {
    address: SocketAddr,
    pub stream: StreamOwned<ClientConnection, TcpStream>,
}

impl TlsClient {
    /// Returns the server's certificate as DER.
    pub fn server_certificate(&self) -> Vec<u8> {
        self.stream.conn.peer_certificates().unwrap()[0].to_vec()
    }

    pub fn is_resumed(&self) -> bool {
        self.stream.conn.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    }

    /// Returns a client that speaks HTTP over this session.
    pub fn http(self) -> RawClient {
        RawClient::over(self.address, Transport::Tls(Box::new(self.stream)))
    }
}
