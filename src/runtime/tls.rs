//! How do certificates reach the listeners, at the start and when their files change?

use crate::config;
use crate::config::Config;
use crate::config::certificate::certified_key;
use crate::config::tls::TlsVersions;
use crate::gate::snapshot::Snapshot;
use crate::model::clock::Now;
use crate::model::clock::Timestamp;
use crate::observe::metrics::Metrics;
use crate::observe::metrics::TlsMetrics;
use crate::proxy::certificate_names::CertificateNames;
use crate::proxy::handshake::ListenerTls;
use crate::proxy::handshake::TlsConfig;
use crate::runtime::reload::Follower;
use arc_swap::ArcSwapOption;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs as crypto;
use rustls::server::ClientHello;
use rustls::server::ResolvesServerCert;
use rustls::sign::CertifiedKey;
use std::net::SocketAddr;
use std::sync::Arc;

/// The TLS settings of all listeners, by their configured addresses. The addresses are fixed at the start.
pub struct Listeners {
    listeners: Vec<(SocketAddr, Arc<ListenerTls>)>,
    metrics: Arc<Metrics>,
}

impl Listeners {
    /// Returns the settings of the listeners of `config`, and reports their certificates.
    ///
    /// # Errors
    /// The TLS library rejects a setting; `config::load` has checked everything that an operator can change.
    pub fn new(config: &Config, metrics: Arc<Metrics>, now: Timestamp) -> Result<Self, rustls::Error> {
        report(config, &metrics.tls, now);
        let listeners = config.listeners.iter();
        let listeners = listeners.map(|listener| {
            let compiled = listener.tls.as_ref().map(compile).transpose()?;
            Ok((listener.address, Arc::new(ArcSwapOption::from(compiled))))
        });
        Ok(Self {
            listeners: listeners.collect::<Result<_, rustls::Error>>()?,
            metrics,
        })
    }

    /// Returns the settings of each listener, in the order of the configuration at the start.
    pub fn each(&self) -> Vec<Arc<ListenerTls>> {
        self.listeners.iter().map(|(_, tls)| Arc::clone(tls)).collect()
    }

    /// Puts the settings of `config` in force for new connections. Sessions in progress keep theirs. A listener that
    /// `config` no longer has keeps its settings until the restart that ends it.
    ///
    /// # Errors
    /// Those of [`Self::new`]; then nothing is changed.
    pub fn replace(&self, config: &Config) -> Result<(), rustls::Error> {
        let compiled: Vec<_> = self
            .listeners
            .iter()
            .filter_map(|(address, current)| {
                let new = config.listeners.iter().find(|new| new.address == *address)?;
                Some(new.tls.as_ref().map(compile).transpose().map(|tls| (current, tls)))
            })
            .collect::<Result<_, _>>()?;
        for (current, new) in compiled {
            current.store(new);
        }
        Ok(())
    }
}

/// Sets the metrics of the certificates of `config`, and logs those that clients do not accept or soon will not.
fn report(config: &Config, metrics: &TlsMetrics, now: Timestamp) {
    metrics.set_certificates(config.certificates().map(|(listener, certificate)| {
        let name = certificate.names.first().map(ToString::to_string).unwrap_or_default();
        (listener.address.to_string(), name, certificate.not_after)
    }));
    for (listener, certificate) in config.certificates() {
        if let Some(problem) = certificate.validity_problem(now) {
            tracing::warn!(
                listener = %listener.address,
                file = %certificate.file.display(),
                names = certificate.names_text(),
                problem = %problem,
                "Clients do not accept this certificate, or soon will not"
            );
        }
    }
}

fn compile(tls: &config::tls::ListenerTls) -> Result<Arc<TlsConfig>, rustls::Error> {
    let versions: &[&rustls::SupportedProtocolVersion] = match tls.versions {
        TlsVersions::Tls12And13 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersions::Tls13 => &[&rustls::version::TLS13],
    };
    let names = tls.certificates.iter().map(|certificate| certificate.names.clone());
    let names = Arc::new(CertificateNames::new(names.collect(), tls.default));
    let mut server = ServerConfig::builder_with_provider(Arc::new(crypto::default_provider()))
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(CertificateByName::new(tls, Arc::clone(&names))?));
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Tickets are encrypted with a key of this process that changes every six hours, so that no session is stored.
    server.ticketer = crypto::Ticketer::new()?;
    Ok(Arc::new(TlsConfig {
        server: Arc::new(server),
        names,
    }))
}

impl Follower for Listeners {
    fn apply(&self, config: &Config, _: &Snapshot, now: Now) -> bool {
        report(config, &self.metrics.tls, now.wall);
        match self.replace(config) {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(error = %error, "Certificates not replaced; those before go on serving");
                false
            }
        }
    }
}

/// Selects a certificate by the name that the client asks for.
#[derive(Debug)]
struct CertificateByName {
    names: Arc<CertificateNames>,
    /// In the order of `names`.
    keys: Vec<Arc<CertifiedKey>>,
}

impl CertificateByName {
    fn new(tls: &config::tls::ListenerTls, names: Arc<CertificateNames>) -> Result<Self, rustls::Error> {
        let keys = tls.certificates.iter().map(|certificate| {
            certified_key(&certificate.chain, certificate.key.expose())
                .map(Arc::new)
                .map_err(|problem| rustls::Error::General(problem.to_owned()))
        });
        Ok(Self {
            keys: keys.collect::<Result<_, _>>()?,
            names,
        })
    }
}

impl ResolvesServerCert for CertificateByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let index = self.names.select(name.as_deref())?;
        self.keys.get(index).map(Arc::clone)
    }
}
