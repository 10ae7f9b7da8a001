//! How do settings and certificates reach the listeners, at the start and when their files change?

use crate::config;
use crate::config::Config;
use crate::config::certificate::certified_key;
use crate::config::tls::ClientAuthentication;
use crate::config::tls::ClientCertificateRule;
use crate::config::tls::TlsVersions;
use crate::gate::snapshot::Snapshot;
use crate::model::clock::Now;
use crate::model::clock::Timestamp;
use crate::observe::metrics::Metrics;
use crate::observe::metrics::TlsMetrics;
use crate::proxy::certificate_names::CertificateNames;
use crate::proxy::listener::ConnectionSettings;
use crate::proxy::listener::ListenerSettings;
use crate::proxy::listener::TlsConfig;
use crate::runtime::reload::Follower;
use arc_swap::ArcSwap;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs as crypto;
use rustls::pki_types::CertificateDer;
use rustls::server::ClientHello;
use rustls::server::NoServerSessionStorage;
use rustls::server::ProducesTickets;
use rustls::server::ResolvesServerCert;
use rustls::server::VerifierBuilderError;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

/// The settings of all listeners. Their addresses are fixed at the start.
pub struct Listeners {
    listeners: Vec<Listener>,
    metrics: Arc<Metrics>,
}

struct Listener {
    address: SocketAddr,
    current: Arc<ListenerSettings>,
    tickets: Mutex<Tickets>,
}

/// The key of a listener's session tickets, which changes every six hours by itself. A ticket is good on its listener alone.
/// It ends when the listener's rule for client certificates changes, because a resumed session has the certificate that
/// an earlier rule accepted (S156). It does not end when a certificate is renewed.
struct Tickets {
    clients: Option<ClientAuthentication>,
    key: Arc<dyn ProducesTickets>,
}

impl Listeners {
    /// Returns the settings of the listeners of `config`, and reports their certificates.
    ///
    /// # Errors
    /// The TLS library rejects a setting; `config::load` has checked everything that an operator can change.
    pub fn new(config: &Config, metrics: Arc<Metrics>, now: Timestamp) -> Result<Self, TlsError> {
        report(config, &metrics.tls, now);
        let listeners = config.listeners.iter();
        let listeners = listeners.map(|listener| {
            let clients = listener.tls.as_ref().and_then(|tls| tls.clients.clone());
            let tickets = Tickets::new(clients)?;
            Ok(Listener {
                address: listener.address,
                current: Arc::new(ArcSwap::from_pointee(compile(listener, &tickets.key)?)),
                tickets: Mutex::new(tickets),
            })
        });
        Ok(Self {
            listeners: listeners.collect::<Result<_, TlsError>>()?,
            metrics,
        })
    }

    /// Returns the settings of each listener, in the order of the configuration at the start.
    pub fn each(&self) -> Vec<Arc<ListenerSettings>> {
        self.listeners
            .iter()
            .map(|listener| Arc::clone(&listener.current))
            .collect()
    }

    /// Puts the settings of `config` in force for new connections. Sessions in progress keep theirs. A listener that
    /// `config` no longer has keeps its settings until the restart that ends it.
    ///
    /// # Errors
    /// Those of [`Self::new`]; then every listener keeps its settings.
    pub fn replace(&self, config: &Config) -> Result<(), TlsError> {
        let mut compiled = Vec::new();
        // Several listeners may have the same address with port 0, so each one is taken once.
        let mut rest: Vec<&config::Listener> = config.listeners.iter().collect();
        for listener in &self.listeners {
            let Some(place) = rest.iter().position(|new| new.address == listener.address) else {
                continue;
            };
            let new = rest.remove(place);
            let mut tickets = listener.tickets.lock().unwrap_or_else(PoisonError::into_inner);
            let clients = new.tls.as_ref().and_then(|tls| tls.clients.as_ref());
            if clients != tickets.clients.as_ref() {
                *tickets = Tickets::new(clients.cloned())?;
            }
            compiled.push((&listener.current, compile(new, &tickets.key)?));
        }
        for (current, new) in compiled {
            current.store(Arc::new(new));
        }
        Ok(())
    }
}

impl Tickets {
    fn new(clients: Option<ClientAuthentication>) -> Result<Self, TlsError> {
        let key = crypto::Ticketer::new()?;
        Ok(Self { clients, key })
    }
}

/// Why the TLS library rejects a setting.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    #[error(transparent)]
    Verifier(#[from] VerifierBuilderError),
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

fn compile(listener: &config::Listener, tickets: &Arc<dyn ProducesTickets>) -> Result<ConnectionSettings, TlsError> {
    let tls = listener.tls.as_ref().map(|tls| compile_tls(tls, tickets));
    Ok(ConnectionSettings {
        tls: tls.transpose()?,
        plain: listener.plain,
        http1: listener.http1,
        addresses: listener.addresses.clone(),
    })
}

fn compile_tls(tls: &config::tls::ListenerTls, tickets: &Arc<dyn ProducesTickets>) -> Result<TlsConfig, TlsError> {
    let versions: &[&rustls::SupportedProtocolVersion] = match tls.versions {
        TlsVersions::Tls12And13 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersions::Tls13 => &[&rustls::version::TLS13],
    };
    let names = tls.certificates.iter().map(|certificate| certificate.names.clone());
    let names = Arc::new(CertificateNames::new(names.collect(), tls.default));
    let provider = Arc::new(crypto::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions)?;
    let server = match &tls.clients {
        None => server.with_no_client_auth(),
        Some(clients) => server.with_client_cert_verifier(verifier(clients, provider)?),
    };
    let mut server = server.with_cert_resolver(Arc::new(CertificateByName::new(tls, Arc::clone(&names))?));
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    server.ticketer = Arc::clone(tickets);
    // Sessions are in tickets alone: a stored session would not end with the key of the tickets.
    server.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(TlsConfig {
        server: Arc::new(server),
        names,
    })
}

/// Returns the verifier of clients' certificates.
fn verifier(
    clients: &ClientAuthentication,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in &clients.authorities {
        roots.add(CertificateDer::from(authority.clone()))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let verifier = match clients.rule {
        ClientCertificateRule::Required => verifier,
        ClientCertificateRule::Optional => verifier.allow_unauthenticated(),
    };
    Ok(verifier.build()?)
}

impl Follower for Listeners {
    fn apply(&self, config: &Config, _: &Snapshot, now: Now) -> Result<(), String> {
        report(config, &self.metrics.tls, now.wall);
        self.replace(config).map_err(|error| {
            tracing::error!(error = %error, "Certificates not replaced; those before go on serving");
            format!("the certificates of listeners are those before: {error}")
        })
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
