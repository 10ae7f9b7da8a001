//! How does Keygate verify the endpoints of an upstream, and which certificate does it show them?

use crate::config::certificate;
use crate::config::check::Checker;
use crate::config::check::ReferencedFiles;
use crate::config::endpoint::Endpoint;
use crate::config::endpoint::EndpointHost;
use crate::config::read::FromText;
use crate::config::read::Text;
use crate::config::read::TypedNode;
use crate::config::text::host_name;
use crate::config::text::mismatch;
use crate::config::tls;
use crate::config::tls::Authorities;
use crate::config::tree::NodeId;
use crate::model::secret::Secret;
use schemars::JsonSchema;
use serde::Deserialize;
use std::path::PathBuf;

/// TLS to the `https://` endpoints of an upstream. Certificates are always verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamTls {
    /// The name that certificates must have, and that is asked for (SNI). `None`: the name of each endpoint.
    pub server_name: Option<String>,
    /// The authorities that sign the endpoints' certificates. `None`: those of the system.
    pub authorities: Option<Authorities>,
    /// The certificate that Keygate shows; `None` for none.
    pub client: Option<ClientCredential>,
}

/// A certificate with its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCredential {
    pub file: PathBuf,
    pub key_file: PathBuf,
    /// The certificates as DER, Keygate's first. Empty where the file was not read.
    pub chain: Vec<Vec<u8>>,
    /// The private key as DER.
    pub key: Secret<Vec<u8>>,
}

/// The name of a server in TLS.
#[derive(Debug)]
pub(in crate::config) struct ServerName(String);

impl FromText for ServerName {
    const DESCRIPTION: &'static str = "a host name or an IP address, such as `api.example.com`";
    const PATTERN: &'static str = "[^/@ ]+";

    fn from_text(text: &str) -> Result<Self, String> {
        // pingora would verify another name than one with an underscore.
        let name = host_name(text).filter(|name| !name.contains('_'));
        name.map(Self).ok_or_else(mismatch::<Self>)
    }
}

/// TLS to `https://` endpoints.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "UpstreamTls")]
pub(in crate::config) struct Section {
    /// The name that certificates must have, and that is sent as SNI. Default: the name in `https://`; an address needs one.
    server_name: Option<Text<ServerName>>,
    /// The authorities that sign the endpoints' certificates, PEM. Default: those of the system.
    ca_file: Option<Text<PathBuf>>,
    /// The certificate to show to the endpoints, PEM. With `private_key`.
    certificate: Option<Text<PathBuf>>,
    /// Its private key, PEM.
    private_key: Option<Text<PathBuf>>,
}

/// Returns the settings for the `https://` entries of `endpoints`, and reports an entry without a name.
pub(in crate::config) fn convert(
    written: Option<TypedNode<Section>>,
    endpoints: &[(Endpoint, NodeId)],
    checker: &mut Checker<'_>,
) -> Option<UpstreamTls> {
    let has_tls = endpoints.iter().any(|(endpoint, _)| endpoint.is_tls);
    let tls = match written {
        Some(TypedNode { at, .. }) if !has_tls => {
            let hint = "write the endpoints that speak TLS as `https://host:port`";
            checker.error_with(at, "no-effect", "no endpoint of this upstream speaks TLS", hint);
            return None;
        }
        Some(TypedNode { value: section, at }) => convert_section(section, at, checker)?,
        None => UpstreamTls::default(),
    };
    if tls.server_name.is_none() {
        for (endpoint, at) in endpoints.iter().filter(|(endpoint, _)| endpoint.is_tls) {
            if endpoint.dns_name().is_none() {
                let hint = match endpoint.host {
                    EndpointHost::Srv { .. } => {
                        "write `tls: { server_name: … }` with the name in the certificates; a name in SRV records can be forged"
                    }
                    EndpointHost::Inet { .. } | EndpointHost::Unix { .. } => {
                        "name it by DNS, or write `tls: { server_name: … }` with the name in its certificate"
                    }
                };
                let problem = "without a name, its certificate cannot be verified";
                checker.error_with(*at, "no-server-name", problem, hint);
            }
        }
    }
    has_tls.then_some(tls)
}

fn convert_section(section: Section, at: NodeId, checker: &mut Checker<'_>) -> Option<UpstreamTls> {
    let authorities = section.ca_file.map(|file| tls::authorities(&file, checker));
    let client = match (section.certificate, section.private_key) {
        (None, None) => None,
        (certificate, key) => Some(client(certificate, key, at, checker)),
    };
    Some(UpstreamTls {
        server_name: section.server_name.map(|name| name.take().0),
        authorities: authorities.map_or(Some(None), |read| read.map(Some))?,
        client: client.map_or(Some(None), |read| read.map(Some))?,
    })
}

/// Reads a client certificate and its key, and reports what is missing or wrong.
fn client(
    file: Option<Text<PathBuf>>,
    key_file: Option<Text<PathBuf>>,
    at: NodeId,
    checker: &mut Checker<'_>,
) -> Option<ClientCredential> {
    let pair = tls::read_pair(file, key_file, at, checker)?;
    let mut credential = ClientCredential {
        file: pair.certificate.0.clone(),
        key_file: pair.key.0.clone(),
        chain: Vec::new(),
        key: Secret::new(Vec::new()),
    };
    if checker.files == ReferencedFiles::MayBeMissing {
        return Some(credential);
    }
    credential.chain = match certificate::parse_certificates(&pair.certificate.1) {
        Ok(chain) => chain,
        Err(problem) => {
            pair.report_certificate(&problem, checker);
            return None;
        }
    };
    let pem = pair.key.1.expose();
    credential.key =
        match certificate::certified_key(&credential.chain, pem).and_then(|_| certificate::private_key(pem)) {
            Ok(key) => key,
            Err(problem) => {
                pair.report_key(problem, checker);
                return None;
            }
        };
    Some(credential)
}
