//! Which certificates does a listener show, to which names, and which does it ask its clients for?

use crate::config::certificate;
use crate::config::check::Checker;
use crate::config::check::ReferencedFiles;
use crate::config::read::FromText;
use crate::config::read::OneOrMany;
use crate::config::read::Text;
use crate::config::read::TypedNode;
use crate::config::text::mismatch;
use crate::config::tree::NodeId;
use crate::config::tree::printable;
use crate::model::certificate::CertificateName;
use crate::model::clock::Timestamp;
use crate::model::secret::Secret;
use schemars::JsonSchema;
use serde::Deserialize;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// TLS on a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// Never empty.
    pub certificates: Vec<Certificate>,
    /// The index of the certificate for a client that sends no name, or a name that no certificate has. `None`: such a
    /// handshake is refused.
    pub default: Option<usize>,
    pub versions: TlsVersions,
    /// `None`: clients are not asked for a certificate.
    pub clients: Option<ClientAuthentication>,
}

/// Certificates of authorities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorities {
    pub file: PathBuf,
    /// As DER. Empty where the file was not read.
    pub certificates: Vec<Vec<u8>>,
}

/// The certificates that a listener asks its clients for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuthentication {
    pub ca_file: PathBuf,
    /// The certificates of the authorities as DER. Empty where the file was not read.
    pub authorities: Vec<Vec<u8>>,
    pub rule: ClientCertificateRule,
}

/// The treatment of a client without a certificate. A certificate that no authority signed is refused in either case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientCertificateRule {
    #[default]
    Required,
    Optional,
}

/// A certificate chain with its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    pub file: PathBuf,
    pub key_file: PathBuf,
    /// The certificates as DER, the server's first, each followed by its issuer. Empty where the file was not read.
    pub chain: Vec<Vec<u8>>,
    /// The text of the key file, PEM.
    pub key: Secret<Vec<u8>>,
    /// The DNS names and IP addresses of the server's certificate.
    pub names: Vec<CertificateName>,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

/// Why clients do not accept a certificate at a given time, or soon will not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValidityProblem {
    #[error("is not valid yet")]
    NotYetValid,
    #[error("has expired")]
    Expired,
    #[error("expires within 14 days")]
    ExpiresSoon,
}

impl Certificate {
    /// Returns the problem of the certificate's validity at `now`, if there is one.
    pub fn validity_problem(&self, now: Timestamp) -> Option<ValidityProblem> {
        if now < self.not_before {
            Some(ValidityProblem::NotYetValid)
        } else if now >= self.not_after {
            Some(ValidityProblem::Expired)
        } else if self.not_after.saturating_since(now) < SOON {
            Some(ValidityProblem::ExpiresSoon)
        } else {
            None
        }
    }

    /// Returns the names of the certificate, separated by commas.
    pub fn names_text(&self) -> String {
        self.names
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// The rest of a certificate's life that is worth a warning. Renewal by ACME is usually tried 30 days before the end.
const SOON: Duration = Duration::from_secs(14 * 86_400);

/// The TLS versions that a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersions {
    /// TLS 1.2 (RFC 5246) and TLS 1.3 (RFC 8446).
    Tls12And13,
    Tls13,
}

/// TLS on a listener: `certificate` and `private_key` for one certificate, or `certificates` for several.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Tls")]
pub(in crate::config) struct Section {
    /// The certificate and its chain, PEM. It serves every name, also those it does not have.
    certificate: Option<Text<PathBuf>>,
    /// Its private key, PEM.
    private_key: Option<Text<PathBuf>>,
    /// Several certificates; the client's server name (SNI) selects one.
    certificates: Option<TypedNode<Vec<TypedNode<CertificateSection>>>>,
    /// With `certificates`: a name of the certificate for clients that send no server name, or one that no certificate
    /// has. Default `none`: such a handshake is refused.
    default: Option<Text<DefaultCertificate>>,
    /// `"1.2"`, `"1.3"`. Default: both.
    versions: Option<TypedNode<OneOrMany<Text<TlsVersion>>>>,
    /// The authorities that sign clients' certificates, PEM. Default: clients are not asked for one.
    client_ca: Option<Text<PathBuf>>,
    /// With `client_ca`: `required` refuses a client without a certificate, `optional` lets it in. Default `required`.
    client_certificates: Option<TypedNode<ClientCertificateRule>>,
}

/// One certificate of a listener.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Certificate")]
pub(in crate::config) struct CertificateSection {
    /// The certificate and its chain, PEM. Required.
    #[schemars(required)]
    certificate: Option<Text<PathBuf>>,
    /// Its private key, PEM. Required.
    #[schemars(required)]
    private_key: Option<Text<PathBuf>>,
}

/// The certificate for clients that ask for no name, or for one that no certificate has.
#[derive(Debug, PartialEq, Eq)]
enum DefaultCertificate {
    /// Written `none`.
    Refusal,
    Named(CertificateName),
}

impl FromText for DefaultCertificate {
    const DESCRIPTION: &'static str = "a name of a certificate, such as `api.example.com`, or `none`";
    const PATTERN: &'static str = CertificateName::PATTERN;

    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::Refusal),
            _ => CertificateName::from_text(text)
                .map(Self::Named)
                .map_err(|_| mismatch::<Self>()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TlsVersion {
    Tls12,
    Tls13,
}

impl FromText for TlsVersion {
    const DESCRIPTION: &'static str = "a TLS version, `\"1.2\"` or `\"1.3\"`";
    const PATTERN: &'static str = "1\\.[23]";

    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "1.2" => Ok(Self::Tls12),
            "1.3" => Ok(Self::Tls13),
            _ => Err(mismatch::<Self>()),
        }
    }
}

/// Returns the TLS settings of a listener, or `None` after reporting what is missing or wrong.
pub(in crate::config) fn convert(
    TypedNode { value: section, at }: TypedNode<Section>,
    checker: &mut Checker<'_>,
) -> Option<ListenerTls> {
    let versions = versions(section.versions, checker);
    let clients = clients(section.client_ca, section.client_certificates, checker);
    if let Some(list) = section.certificates {
        for one in [&section.certificate, &section.private_key].into_iter().flatten() {
            let problem = "this is one certificate, and `certificates` lists several".to_owned();
            checker.error_conflict(one.at, "two-forms", problem, list.at);
        }
        let places: Vec<NodeId> = list.value.iter().map(|entry| entry.at).collect();
        let certificates: Vec<Certificate> = list
            .value
            .into_iter()
            .filter_map(|entry| certificate(entry.value.certificate, entry.value.private_key, entry.at, checker))
            .collect();
        // With a certificate left out, its name may be the one of `default`.
        if certificates.len() != places.len() || certificates.is_empty() {
            return None;
        }
        let default = default(section.default, &certificates, checker)?;
        warn_of_unselected(&certificates, &places, default, checker);
        return Some(ListenerTls {
            certificates,
            default,
            versions,
            clients: clients?,
        });
    }
    // The value of `certificates` was rejected and reported already.
    if checker.tree.entry(at, "certificates").is_some() {
        return None;
    }
    let only = certificate(section.certificate, section.private_key, at, checker)?;
    let default = match section.default.as_ref().map(|default| (default.get(), default.at)) {
        None => Some(0),
        Some((DefaultCertificate::Refusal, _)) => None,
        Some((DefaultCertificate::Named(_), at)) => {
            let hint = "leave it out: the only certificate serves every name; or write `none`";
            checker.error_with(at, "no-effect", "there is only one certificate", hint);
            None
        }
    };
    let certificates = vec![only];
    warn_of_unselected(
        &certificates,
        &[checker.tree.first_of(at, &["certificate"])],
        default,
        checker,
    );
    Some(ListenerTls {
        certificates,
        default,
        versions,
        clients: clients?,
    })
}

/// Returns the certificates to ask clients for; `Some(None)` for none.
fn clients(
    ca: Option<Text<PathBuf>>,
    rule: Option<TypedNode<ClientCertificateRule>>,
    checker: &mut Checker<'_>,
) -> Option<Option<ClientAuthentication>> {
    let Some(ca) = ca else {
        if let Some(rule) = rule {
            let hint = "name the authorities that sign clients' certificates, or remove the key";
            checker.error_with(rule.at, "no-effect", "there is no `client_ca`", hint);
            return None;
        }
        return Some(None);
    };
    let Authorities { file, certificates } = authorities(&ca, checker)?;
    Some(Some(ClientAuthentication {
        ca_file: file,
        authorities: certificates,
        rule: rule.map(|rule| rule.value).unwrap_or_default(),
    }))
}

/// Reads certificates of authorities, and reports what is wrong with them.
pub(in crate::config) fn authorities(file: &Text<PathBuf>, checker: &mut Checker<'_>) -> Option<Authorities> {
    let (path, pem) = checker.read_file(file)?;
    let certificates = match checker.files {
        ReferencedFiles::MayBeMissing => Ok(Vec::new()),
        ReferencedFiles::MustExist | ReferencedFiles::MustExistButKeys => certificate::parse_authorities(&pem),
    };
    match certificates {
        Ok(certificates) => Some(Authorities {
            file: path,
            certificates,
        }),
        Err(problem) => {
            let problem = checker.with_value(file.at, &problem);
            let hint = "a PEM file with the certificates of the authorities";
            checker.error_with(file.at, "bad-certificate", problem, hint);
            None
        }
    }
}

fn versions(written: Option<TypedNode<OneOrMany<Text<TlsVersion>>>>, checker: &mut Checker<'_>) -> TlsVersions {
    let Some(TypedNode {
        value: OneOrMany(versions),
        at,
    }) = written
    else {
        return TlsVersions::Tls12And13;
    };
    let has = |version| versions.iter().any(|written| *written.get() == version);
    match (has(TlsVersion::Tls12), has(TlsVersion::Tls13)) {
        (_, false) => {
            let hint = "write `versions: [\"1.2\", \"1.3\"]`, or `versions: \"1.3\"`";
            checker.error_with(at, "bad-value", "TLS 1.3 cannot be left out", hint);
            TlsVersions::Tls12And13
        }
        (true, true) => TlsVersions::Tls12And13,
        (false, true) => TlsVersions::Tls13,
    }
}

/// Returns the index of the default certificate in `certificates`; `Some(None)` where there is none.
fn default(
    written: Option<Text<DefaultCertificate>>,
    certificates: &[Certificate],
    checker: &mut Checker<'_>,
) -> Option<Option<usize>> {
    let Some(written) = written else {
        return Some(None);
    };
    let DefaultCertificate::Named(name) = written.get() else {
        return Some(None);
    };
    // A file that was not read has no names.
    if checker.files == ReferencedFiles::MayBeMissing {
        return Some(Some(0));
    }
    let found = certificates
        .iter()
        .position(|certificate| certificate.names.contains(name));
    if found.is_none() {
        let problem = checker.with_value(written.at, "no certificate of this listener has this name");
        let names: Vec<String> = certificates
            .iter()
            .flat_map(|one| one.names.iter().map(ToString::to_string))
            .collect();
        checker.error_with(
            written.at,
            "unknown-name",
            problem,
            format!("they have: {}", names.join(", ")),
        );
    }
    found.map(Some)
}

/// Reads a certificate and its key, and reports what is missing or wrong.
fn certificate(
    file: Option<Text<PathBuf>>,
    key_file: Option<Text<PathBuf>>,
    at: NodeId,
    checker: &mut Checker<'_>,
) -> Option<Certificate> {
    let pair = read_pair(file, key_file, at, checker)?;
    let mut certificate = Certificate {
        file: pair.certificate.0.clone(),
        key_file: pair.key.0.clone(),
        chain: Vec::new(),
        key: pair.key.1.clone(),
        names: Vec::new(),
        not_before: Timestamp::default(),
        not_after: Timestamp::default(),
    };
    if checker.files == ReferencedFiles::MayBeMissing {
        return Some(certificate);
    }
    match certificate::parse_chain(&pair.certificate.1) {
        Ok(chain) => {
            for name in &chain.odd_names {
                warn_of_odd_name(name, pair.certificate_at, checker);
            }
            certificate.chain = chain.der;
            certificate.names = chain.names;
            certificate.not_before = chain.not_before;
            certificate.not_after = chain.not_after;
        }
        Err(problem) => {
            pair.report_certificate(&problem, checker);
            return None;
        }
    }
    if let Err(problem) = certificate::certified_key(&certificate.chain, certificate.key.expose()) {
        pair.report_key(problem, checker);
        return None;
    }
    Some(certificate)
}

/// The files of a certificate and its private key.
pub(in crate::config) struct PairFiles {
    /// The path, and the text of the file.
    pub certificate: (PathBuf, Vec<u8>),
    pub key: (PathBuf, Secret<Vec<u8>>),
    certificate_at: NodeId,
    key_at: NodeId,
}

/// Reads the files of a certificate and its private key, and reports what is missing.
pub(in crate::config) fn read_pair(
    file: Option<Text<PathBuf>>,
    key_file: Option<Text<PathBuf>>,
    at: NodeId,
    checker: &mut Checker<'_>,
) -> Option<PairFiles> {
    let file = checker.need(at, "certificate", file, "the certificate and its chain, PEM");
    let key_file = checker.need(at, "private_key", key_file, "the certificate's private key, PEM");
    let (file, key_file) = (file?, key_file?);
    let (certificate, key) = (checker.read_file(&file), checker.read_file(&key_file));
    let (certificate, (key_path, key)) = (certificate?, key?);
    Some(PairFiles {
        certificate,
        key: (key_path, Secret::new(key)),
        certificate_at: file.at,
        key_at: key_file.at,
    })
}

impl PairFiles {
    pub(in crate::config) fn report_certificate(&self, problem: &str, checker: &mut Checker<'_>) {
        let problem = checker.with_value(self.certificate_at, problem);
        let hint = "a PEM file with the certificate itself first, then those of its issuers";
        checker.error_with(self.certificate_at, "bad-certificate", problem, hint);
    }

    pub(in crate::config) fn report_key(&self, problem: &str, checker: &mut Checker<'_>) {
        let problem = checker.with_value(self.key_at, problem);
        checker.error_conflict(self.key_at, "bad-private-key", problem, self.certificate_at);
    }
}

/// Warns of a DNS name by which no client asks for the certificate at `at`.
fn warn_of_odd_name(name: &str, at: NodeId, checker: &mut Checker<'_>) {
    let shown = printable(name);
    let (problem, hint) = match name.parse::<IpAddr>() {
        Ok(_) => (
            format!(
                "`{shown}` is a DNS name in this certificate, and clients look for an address among its IP addresses"
            ),
            format!("have the certificate issued with `IP:{shown}` in place of `DNS:{shown}` (RFC 9525 section 6.3)"),
        ),
        Err(_) => (
            format!("`{shown}` is a DNS name in this certificate by which no client asks for it"),
            "a host name, or one with `*.` in front, which stands for one label (RFC 9525 section 6.3)".to_owned(),
        ),
    };
    checker.warn(at, "certificate-name", problem, hint);
}

/// Warns of certificates that no client is shown: each of their names selects an earlier one, or is an address, for which
/// a client sends no server name (RFC 6066 section 3). `places` are those of the certificates.
fn warn_of_unselected(
    certificates: &[Certificate],
    places: &[NodeId],
    default: Option<usize>,
    checker: &mut Checker<'_>,
) {
    let is_selected_by =
        |name: &&CertificateName| matches!(name, CertificateName::Dns(_) | CertificateName::Wildcard(_));
    let mut known: Vec<&CertificateName> = Vec::new();
    for (index, (certificate, at)) in certificates.iter().zip(places).enumerate() {
        let names: Vec<&CertificateName> = certificate.names.iter().filter(is_selected_by).collect();
        let has_new = names.iter().any(|name| !known.contains(name));
        // A file that was not read has no names.
        if !has_new && default != Some(index) && !certificate.chain.is_empty() {
            let (problem, hint) = if names.is_empty() {
                (
                    "no client is shown this certificate: none of its names can be a server name (SNI), which an address never is",
                    "say that it is the `tls.default`, or have it issued with a DNS name",
                )
            } else {
                (
                    "no client is shown this certificate: certificates before it have all of its names",
                    "remove one of them; of two with the same name the first is shown",
                )
            };
            checker.warn(*at, "certificate-never-shown", problem, hint);
        }
        known.extend(names);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_valid_from_its_first_instant_until_its_last_with_a_warning_14_days_before() {
        let at = Timestamp::from_unix_secs;
        let (from, until) = (1_000_000_000, 1_100_000_000);
        let certificate = Certificate {
            file: PathBuf::new(),
            key_file: PathBuf::new(),
            chain: Vec::new(),
            key: Secret::new(Vec::new()),
            names: Vec::new(),
            not_before: at(from),
            not_after: at(until),
        };
        let soon = until - 14 * 86_400;
        for (now, expected) in [
            (from - 1, Some(ValidityProblem::NotYetValid)),
            (from, None),
            (soon, None),
            (soon + 1, Some(ValidityProblem::ExpiresSoon)),
            (until - 1, Some(ValidityProblem::ExpiresSoon)),
            (until, Some(ValidityProblem::Expired)),
        ] {
            assert_eq!(certificate.validity_problem(at(now)), expected, "{now}");
        }
    }
}
