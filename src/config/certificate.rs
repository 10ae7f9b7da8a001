//! What does a certificate file hold, and which names does the certificate have?

use crate::config::read::FromText;
use crate::config::text::mismatch;
use crate::model::certificate::CertificateName;
use crate::model::certificate::ClientCertificate;
use crate::model::certificate::Fingerprint;
use crate::model::clock::Timestamp;
use crate::model::secret::Secret;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

impl FromText for CertificateName {
    const DESCRIPTION: &'static str = "a name in a certificate, such as `api.example.com` or `*.example.com`";
    const PATTERN: &'static str = "[^\\n ]+";

    fn from_text(text: &str) -> Result<Self, String> {
        CertificateName::of_host(text).ok_or_else(mismatch::<Self>)
    }
}

/// A certificate file that was read.
#[derive(Debug)]
pub struct Chain {
    /// The certificates as DER, the server's first.
    pub der: Vec<Vec<u8>>,
    pub names: Vec<CertificateName>,
    /// The DNS names by which no client asks for the certificate: addresses, and texts that are no DNS names.
    pub odd_names: Vec<String>,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

/// Parses a chain of PEM certificates, the server's first.
///
/// # Errors
/// The problem, for the operator: no certificate, a block that is none, or a first certificate without names.
pub fn parse_chain(pem: &[u8]) -> Result<Chain, String> {
    let der = parse_certificates(pem)?;
    let (_, certificate) =
        parse_x509_certificate(&der[0]).map_err(|_| "the first certificate is no X.509 certificate")?;
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let alternatives = alternatives.map_or(&[][..], |names| &names.value.general_names);
    let names: Vec<CertificateName> = alternatives.iter().filter_map(general_name).collect();
    // An address that is stated as an address too is there for clients of old.
    let is_stated = |text: &str| {
        let addresses = alternatives.iter().filter_map(|name| match name {
            GeneralName::IPAddress(bytes) => ip_name(bytes),
            _ => None,
        });
        let name = CertificateName::of_host(text);
        name.is_some_and(|name| addresses.into_iter().any(|address| address == name))
    };
    let odd_names = alternatives.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) if CertificateName::of_dns(name).is_none() && !is_stated(name) => {
            Some((*name).to_owned())
        }
        _ => None,
    });
    let odd_names = odd_names.collect();
    if names.is_empty() {
        return Err("the first certificate has no DNS name and no IP address (subject alternative name)".to_owned());
    }
    let validity = certificate.validity();
    let (not_before, not_after) = (
        timestamp(validity.not_before.timestamp()),
        timestamp(validity.not_after.timestamp()),
    );
    Ok(Chain {
        der,
        names,
        odd_names,
        not_before,
        not_after,
    })
}

/// Parses the PEM certificates of authorities.
///
/// # Errors
/// The problem, for the operator: no certificate, a block that is none, or a certificate that cannot be an authority.
pub fn parse_authorities(pem: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let authorities = parse_certificates(pem)?;
    let mut roots = RootCertStore::empty();
    for (index, authority) in authorities.iter().enumerate() {
        roots
            .add(CertificateDer::from(authority.clone()))
            .map_err(|_| format!("certificate {} of it cannot be an authority", index + 1))?;
    }
    Ok(authorities)
}

/// Returns at least one certificate as DER, in the order of the file.
///
/// # Errors
/// The problem, for the operator: no certificate, or a block that is none.
pub(in crate::config) fn parse_certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let der: Vec<Vec<u8>> = CertificateDer::pem_slice_iter(pem)
        .map(|certificate| certificate.map(|certificate| certificate.to_vec()))
        .collect::<Result<_, _>>()
        .map_err(|_| "this is no PEM".to_owned())?;
    if der.is_empty() {
        return Err("there is no `CERTIFICATE` block in it".to_owned());
    }
    for (index, certificate) in der.iter().enumerate() {
        parse_x509_certificate(certificate)
            .map_err(|_| format!("certificate {} of it is no X.509 certificate", index + 1))?;
    }
    Ok(der)
}

/// Parses the certificate that a client showed, as DER. Returns it with the time at which it expires; `None` for bytes that
/// are no certificate, and for a certificate with names that cannot be read.
pub fn parse_client_certificate(der: &[u8]) -> Option<(ClientCertificate, Timestamp)> {
    let (_, parsed) = parse_x509_certificate(der).ok()?;
    let names = parsed.subject_alternative_name().ok()?;
    let names = names.map_or(&[][..], |names| &names.value.general_names);
    let certificate = ClientCertificate {
        names: names.iter().filter_map(client_name).collect(),
        fingerprint: Fingerprint::of(der),
    };
    Some((certificate, timestamp(parsed.validity().not_after.timestamp())))
}

/// Parses the first certificate of a PEM file as that of a client.
///
/// # Errors
/// The problem, for the operator: no certificate, a block that is none, or names that cannot be read.
pub fn read_client_certificate(pem: &[u8]) -> Result<ClientCertificate, String> {
    let der = parse_certificates(pem)?;
    let parsed = parse_client_certificate(&der[0]).ok_or("the names of the first certificate cannot be read")?;
    Ok(parsed.0)
}

fn timestamp(secs: i64) -> Timestamp {
    Timestamp::from_unix_secs(u64::try_from(secs).unwrap_or(0))
}

fn general_name(name: &GeneralName<'_>) -> Option<CertificateName> {
    match name {
        GeneralName::DNSName(name) => CertificateName::of_host(name),
        GeneralName::IPAddress(bytes) => ip_name(bytes),
        _ => None,
    }
}

/// Returns a name by which a client can be known. Unlike a name of a server it may be a URI, and a DNS name in the form of
/// an address is none.
fn client_name(name: &GeneralName<'_>) -> Option<CertificateName> {
    match name {
        GeneralName::DNSName(name) => CertificateName::of_dns(name),
        GeneralName::IPAddress(bytes) => ip_name(bytes),
        GeneralName::URI(uri) => CertificateName::of_uri(uri),
        _ => None,
    }
}

fn ip_name(bytes: &[u8]) -> Option<CertificateName> {
    let address = match *bytes {
        [a, b, c, d] => [a, b, c, d].into(),
        _ => <[u8; 16]>::try_from(bytes).ok()?.into(),
    };
    Some(CertificateName::Ip(address))
}

/// Returns the chain with its key, in the form that TLS uses.
///
/// # Errors
/// The problem of the key, for the operator: no private key in it, an unusable key, or the key of another certificate.
pub fn certified_key(chain: &[Vec<u8>], key: &[u8]) -> Result<CertifiedKey, &'static str> {
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| "there is no private key in it (PEM, not encrypted)")?;
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)
        .map_err(|_| "a key that TLS cannot use: RSA, ECDSA P-256, P-384, P-521 or Ed25519")?;
    let chain = chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        // `Unknown`: the key's type cannot tell its public key; the handshake will.
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(certified),
        Err(_) => Err("this is the key of another certificate"),
    }
}

/// Returns the private key of a PEM file as DER.
///
/// # Errors
/// The problem, for the operator.
pub(in crate::config) fn private_key(pem: &[u8]) -> Result<Secret<Vec<u8>>, &'static str> {
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| "there is no private key in it (PEM, not encrypted)")?;
    Ok(Secret::new(key.secret_der().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn self_signed(names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let certified = rcgen::generate_simple_self_signed(names).unwrap();
        (certified.cert.pem(), certified.signing_key.serialize_pem())
    }

    #[test]
    fn a_chain_has_the_names_of_its_first_certificate() {
        let (first, key) = self_signed(&["api.example.com", "*.example.org", "192.0.2.1"]);
        let (second, other_key) = self_signed(&["ca.example.com"]);
        let chain = parse_chain(format!("{first}{second}").as_bytes()).unwrap();
        let names: Vec<String> = chain.names.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["api.example.com", "*.example.org", "192.0.2.1"]);
        assert_eq!(chain.der.len(), 2);
        assert!(certified_key(&chain.der, key.as_bytes()).is_ok());
        let wrong = certified_key(&chain.der, other_key.as_bytes()).map(drop);
        assert_eq!(wrong, Err("this is the key of another certificate"));
        let none = certified_key(&chain.der, first.as_bytes()).map(drop);
        assert_eq!(none, Err("there is no private key in it (PEM, not encrypted)"));
    }

    #[test]
    fn dns_names_that_are_addresses_or_none_are_odd() {
        let ia5 = |text: &str| rcgen::SanType::DnsName(rcgen::string::Ia5String::try_from(text).unwrap());
        let mut params =
            rcgen::CertificateParams::new(vec!["api.example.com".to_owned(), "192.0.2.1".to_owned()]).unwrap();
        let odd = ["127.0.0.1", "::1", "api*.example.com", "a b", "example.com."];
        params.subject_alt_names.extend(odd.map(ia5));
        // The address is among the IP addresses too.
        params.subject_alt_names.push(ia5("192.0.2.1"));
        let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let chain = parse_chain(certificate.pem().as_bytes()).unwrap();
        assert_eq!(chain.odd_names, odd);
        let (usual, _) = self_signed(&["api.example.com", "*.example.org", "192.0.2.1"]);
        assert_eq!(parse_chain(usual.as_bytes()).unwrap().odd_names, [""; 0]);
    }

    #[test]
    fn a_file_without_a_usable_certificate_is_refused_with_its_problem() {
        let check = |pem: &str, expected: &str| {
            let problem = parse_chain(pem.as_bytes()).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        };
        check("", "no `CERTIFICATE` block");
        check(
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "no X.509 certificate",
        );
        check("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", "no PEM");
        check(&self_signed(&[]).0, "no DNS name");
    }

    #[test]
    fn a_client_has_dns_names_addresses_and_uris_and_no_name_that_passes_for_another_kind() {
        let mut params = rcgen::CertificateParams::new(vec!["Billing.example.com".to_owned()]).unwrap();
        let ia5 = |text: &str| rcgen::string::Ia5String::try_from(text).unwrap();
        params.subject_alt_names.extend([
            rcgen::SanType::IpAddress("192.0.2.1".parse().unwrap()),
            rcgen::SanType::IpAddress("2001:db8::1".parse().unwrap()),
            rcgen::SanType::URI(ia5("spiffe://example.org/billing")),
            // None of these is a name.
            rcgen::SanType::DnsName(ia5("192.0.2.2")),
            rcgen::SanType::DnsName(ia5("a b")),
            rcgen::SanType::URI(ia5("fe80::1")),
            rcgen::SanType::URI(ia5("/billing")),
            rcgen::SanType::Rfc822Name(ia5("billing@example.com")),
        ]);
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let der = certificate.der();
        let (client, expiry) = parse_client_certificate(der).unwrap();
        let names: Vec<String> = client.names.iter().map(ToString::to_string).collect();
        assert_eq!(
            names,
            [
                "billing.example.com",
                "192.0.2.1",
                "2001:db8::1",
                "spiffe://example.org/billing"
            ]
        );
        assert_eq!(client.fingerprint, Fingerprint::of(der));
        assert_eq!(expiry, Timestamp::from_unix_secs(1_893_456_000));
        assert_eq!(parse_client_certificate(&der[1..]), None);
        assert_eq!(parse_client_certificate(b""), None);
    }

    #[test]
    fn a_client_whose_names_cannot_be_read_has_no_certificate() {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        let subject_alternative_name = &[2, 5, 29, 17];
        let broken = rcgen::CustomExtension::from_oid_content(subject_alternative_name, vec![0x30, 0x05, 0x82]);
        params.custom_extensions.push(broken);
        let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        assert_eq!(parse_client_certificate(certificate.der()), None);
    }
}
