//! Which client certificates does a route ask for? The certificate belongs to the connection, so public routes may ask too.

use crate::config::Listener;
use crate::config::check::Checker;
use crate::config::read::FromText;
use crate::config::read::Keyword;
use crate::config::read::OrKeyword;
use crate::config::read::Texts;
use crate::config::read::TypedNode;
use crate::config::text::mismatch;
use crate::config::tree::NodeId;
use crate::model::certificate::CertificateName;
use crate::model::certificate::Fingerprint;
use schemars::JsonSchema;
use serde::Deserialize;

/// A requirement on the certificate that the client showed in the handshake. No certificate meets none of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateRequirement {
    /// Any certificate that an authority of the listener signed.
    Any,
    /// A certificate with one of the names, or one of the fingerprints. One of the two lists may be empty.
    OneOf {
        names: Vec<CertificateName>,
        fingerprints: Vec<Fingerprint>,
    },
}

/// Certificates that pass: those with one of the names, or one of the fingerprints.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ClientCertificates")]
pub(in crate::config) struct Section {
    /// DNS names, IP addresses and URIs such as SPIFFE IDs, each compared whole with the certificate's subject alternative
    /// names.
    names: Option<Texts<RequiredName>>,
    /// SHA-256 digests of certificates as DER: 64 hexadecimal digits, colons between bytes or none.
    fingerprints: Option<Texts<Fingerprint>>,
}

/// `client_certificates: any`.
#[derive(Debug)]
pub(in crate::config) struct AnyCertificate;

impl Keyword for AnyCertificate {
    const KEYWORD: &'static str = "any";
    const ALTERNATIVE: &'static str = "a map with `names` or `fingerprints`";
}

/// The value of `client_certificates` on a route and in the defaults.
pub(in crate::config) type Written = TypedNode<OrKeyword<Section, AnyCertificate>>;

/// A name that a certificate must have. Never a wildcard.
#[derive(Debug, PartialEq)]
pub(in crate::config) struct RequiredName(CertificateName);

impl FromText for RequiredName {
    const DESCRIPTION: &'static str =
        "a DNS name, an IP address or a URI, such as `billing.example.com` or `spiffe://example.org/billing`";
    const PATTERN: &'static str = "[^\\n* ]+";

    fn from_text(text: &str) -> Result<Self, String> {
        if text.contains('*') {
            return Err(
                "names are compared whole, without wildcards\nlist each name, or write `client_certificates: any`"
                    .to_owned(),
            );
        }
        let is_port = |rest: &str| rest.bytes().all(|byte| byte.is_ascii_digit());
        let name = match CertificateName::of_host(text) {
            Some(name) => Some(name),
            None if text.split_once(':').is_some_and(|(_, rest)| is_port(rest)) => {
                return Err(format!("{}\nwrite the name without a port", mismatch::<Self>()));
            }
            None => CertificateName::of_uri(text),
        };
        name.map(Self).ok_or_else(mismatch::<Self>)
    }
}

impl FromText for Fingerprint {
    const DESCRIPTION: &'static str = "a SHA-256 fingerprint: 64 hexadecimal digits, colons between bytes or none";
    const PATTERN: &'static str = "[0-9A-Fa-f:]+";

    fn from_text(text: &str) -> Result<Self, String> {
        Self::parse(text).ok_or_else(|| {
            format!(
                "{}\n`openssl x509 -noout -fingerprint -sha256 -in client.pem` prints it",
                mismatch::<Self>()
            )
        })
    }
}

/// Returns the requirement. An empty map was reported when it was read.
pub(in crate::config) fn convert(written: Written, checker: &mut Checker<'_>) -> CertificateRequirement {
    let section = match written.value {
        OrKeyword::Keyword(_) => return CertificateRequirement::Any,
        OrKeyword::Value(section) => section,
    };
    let names = section.names.map(|names| checker.distinct(names.value));
    let fingerprints = section
        .fingerprints
        .map(|fingerprints| checker.distinct(fingerprints.value));
    CertificateRequirement::OneOf {
        names: names.unwrap_or_default().into_iter().map(|name| name.0).collect(),
        fingerprints: fingerprints.unwrap_or_default(),
    }
}

/// Warns of the requirements at `places` if no listener asks its clients for a certificate: no request can meet them.
pub(in crate::config) fn warn_of_unreachable(
    places: &[NodeId],
    listeners: &[TypedNode<Listener>],
    checker: &mut Checker<'_>,
) {
    let asks = |listener: &TypedNode<Listener>| listener.value.tls.as_ref().is_some_and(|tls| tls.clients.is_some());
    if listeners.iter().any(asks) {
        return;
    }
    for &at in places {
        let problem = "no listener asks clients for a certificate, so every request is refused";
        checker.warn(at, "refuses-everybody", problem, "give a listener `tls.client_ca`");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_dns_name_an_address_or_a_uri_and_never_a_wildcard() {
        let parsed = |text: &str| RequiredName::from_text(text).map(|name| name.0);
        for (text, expected) in [
            (
                "Billing.example.com",
                CertificateName::Dns("billing.example.com".to_owned()),
            ),
            ("localhost", CertificateName::Dns("localhost".to_owned())),
            ("192.0.2.1", CertificateName::Ip("192.0.2.1".parse().unwrap())),
            ("2001:DB8::1", CertificateName::Ip("2001:db8::1".parse().unwrap())),
            (
                "spiffe://example.org/Billing",
                CertificateName::Uri("spiffe://example.org/Billing".to_owned()),
            ),
            ("urn:uuid:1", CertificateName::Uri("urn:uuid:1".to_owned())),
        ] {
            assert_eq!(parsed(text), Ok(expected), "{text}");
        }
        for bad in [
            "",
            "*",
            "*.example.com",
            "spiffe://example.org/*",
            "a b",
            "a..b",
            "billing:8443",
            "billing:",
            "/billing",
            "spiffe://a b",
            "b\u{fc}cher.example",
        ] {
            assert!(parsed(bad).is_err(), "{bad:?}");
        }
    }
}
