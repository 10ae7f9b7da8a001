//! Which settings of a listener does a new connection get?

use crate::config::AddressRules;
use crate::config::Http1Lane;
use crate::config::PlainProtocol;
use crate::proxy::certificate_names::CertificateNames;
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use std::sync::Arc;

/// The settings of one listener, replaced as a whole when the configuration is reloaded. Shared by all workers, so that a
/// TLS session can be resumed on each of them.
pub type ListenerSettings = ArcSwap<ConnectionSettings>;

/// The settings of the connections that a listener accepts.
#[derive(Clone, Default)]
pub struct ConnectionSettings {
    /// `None` for a listener without TLS.
    pub tls: Option<TlsConfig>,
    /// The protocol of a listener without TLS. With TLS, the client chooses (ALPN, RFC 7301).
    pub plain: PlainProtocol,
    pub http1: Http1Lane,
    /// The addresses of peers that may connect.
    pub addresses: AddressRules,
}

/// The compiled TLS settings of a listener.
#[derive(Clone)]
pub struct TlsConfig {
    pub server: Arc<ServerConfig>,
    pub names: Arc<CertificateNames>,
}
