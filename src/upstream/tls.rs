//! How does an endpoint prove who it is, and who is Keygate to it?

use crate::config::UpstreamTls;
use pingora::protocols::tls::CaType;
use pingora::utils::tls::CertKey;
use pingora::utils::tls::WrappedX509;
use pingora::utils::tls::parse_x509;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// The identities of both ends of connections to an endpoint. Connections are shared only between equal ones.
pub struct TlsIdentity {
    uid: u64,
    server_name: String,
    settings: Arc<UpstreamTls>,
    /// The authorities in pingora's form, parsed once.
    authorities: Option<Arc<CaType>>,
    /// The client certificate in pingora's form, parsed once.
    client: Option<Arc<CertKey>>,
}

impl TlsIdentity {
    /// Returns a new identity: `server_name` is the name that the endpoint's certificate must have.
    pub fn new(server_name: &str, settings: &Arc<UpstreamTls>) -> Self {
        // 0 is that of connections without TLS.
        static UIDS: AtomicU64 = AtomicU64::new(1);
        // `config::load` has parsed each certificate, so that pingora's parser does not panic.
        let authorities = settings.authorities.as_ref().map(|authorities| {
            let certificates = authorities.certificates.iter();
            certificates
                .map(|der| WrappedX509::new(der.clone(), parse_x509))
                .collect()
        });
        let client = settings.client.as_ref().filter(|client| !client.chain.is_empty());
        let client = client.map(|client| Arc::new(CertKey::new(client.chain.clone(), client.key.expose().clone())));
        Self {
            uid: UIDS.fetch_add(1, Ordering::Relaxed),
            server_name: server_name.to_owned(),
            settings: Arc::clone(settings),
            authorities,
            client,
        }
    }

    /// Returns a number over 0 that no other identity of this process has.
    pub const fn uid(&self) -> u64 {
        self.uid
    }

    /// Returns the name that the endpoint's certificate must have. Never empty: pingora would verify nothing.
    pub fn server_name(&self) -> &str {
        &self.server_name
    }

    /// Returns whether this is the identity of `server_name` under `settings`.
    pub fn is(&self, server_name: &str, settings: &UpstreamTls) -> bool {
        self.server_name == server_name && *self.settings == *settings
    }

    pub const fn authorities(&self) -> Option<&Arc<CaType>> {
        self.authorities.as_ref()
    }

    pub const fn client(&self) -> Option<&Arc<CertKey>> {
        self.client.as_ref()
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("TlsIdentity")
            .field("uid", &self.uid)
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}
