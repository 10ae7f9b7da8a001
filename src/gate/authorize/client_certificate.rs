//! Does the certificate of the client's connection meet the requirements of a route?

use crate::config::CertificateRequirement;
use crate::model::certificate::ClientCertificate;
use crate::model::reason::reasons;

/// The proof that the connection of a request meets the route's requirements on certificates, if it has any. Only
/// [`check`] makes it, and each [`Entitlement`](super::Entitlement) takes one.
#[derive(Clone, Copy, Debug)]
pub struct CertificateClearance(());

/// Why the connection of a request does not meet a route's requirements on certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateError {
    /// The client showed no certificate, or the connection has no TLS.
    Missing,
    /// The certificate has none of the required names and fingerprints.
    NotAllowed,
}

reasons! {
    CertificateError {
        Self::Missing => "client_certificate_missing",
        Self::NotAllowed => "client_certificate_not_allowed",
    }
}

/// Checks every requirement. `certificate` is the one that the client showed, which an authority of the listener signed.
/// Does not allocate.
///
/// # Errors
/// There is a requirement and no certificate, or the certificate does not meet every requirement.
pub fn check(
    requirements: &[CertificateRequirement],
    certificate: Option<&ClientCertificate>,
) -> Result<CertificateClearance, CertificateError> {
    if requirements.is_empty() {
        return Ok(CertificateClearance(()));
    }
    let certificate = certificate.ok_or(CertificateError::Missing)?;
    if requirements.iter().all(|requirement| is_met(requirement, certificate)) {
        Ok(CertificateClearance(()))
    } else {
        Err(CertificateError::NotAllowed)
    }
}

/// Returns whether `certificate` meets `requirement`. Names are compared whole, each kind only with its own.
pub fn is_met(requirement: &CertificateRequirement, certificate: &ClientCertificate) -> bool {
    match requirement {
        CertificateRequirement::Any => true,
        CertificateRequirement::OneOf { names, fingerprints } => {
            fingerprints.contains(&certificate.fingerprint) || names.iter().any(|name| certificate.names.contains(name))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::certificate::CertificateName;
    use crate::model::certificate::Fingerprint;

    const MISSING: Result<(), CertificateError> = Err(CertificateError::Missing);
    const NOT_ALLOWED: Result<(), CertificateError> = Err(CertificateError::NotAllowed);

    fn name(text: &str) -> CertificateName {
        CertificateName::of_host(text)
            .or_else(|| CertificateName::of_uri(text))
            .unwrap()
    }

    /// Returns a requirement of one of `names`, or of the fingerprint of one of `ders`.
    fn one_of(names: &[&str], ders: &[&str]) -> CertificateRequirement {
        CertificateRequirement::OneOf {
            names: names.iter().copied().map(name).collect(),
            fingerprints: ders.iter().map(|der| Fingerprint::of(der.as_bytes())).collect(),
        }
    }

    fn certificate(names: &[&str], der: &str) -> ClientCertificate {
        ClientCertificate {
            names: names.iter().copied().map(name).collect(),
            fingerprint: Fingerprint::of(der.as_bytes()),
        }
    }

    #[track_caller]
    fn check_met(
        requirements: &[CertificateRequirement],
        shown: &ClientCertificate,
        expected: Result<(), CertificateError>,
    ) {
        assert_eq!(check(requirements, Some(shown)).map(drop), expected, "{requirements:?}");
        // Without a certificate no requirement is met.
        let without = check(requirements, None).map(drop);
        assert_eq!(without, if requirements.is_empty() { Ok(()) } else { MISSING });
    }

    #[test]
    fn one_name_or_one_fingerprint_is_enough() {
        let shown = certificate(
            &["billing.example.com", "spiffe://example.org/billing", "192.0.2.1"],
            "der",
        );
        for met in [
            CertificateRequirement::Any,
            one_of(&["billing.example.com"], &[]),
            one_of(&["Billing.Example.com"], &[]),
            one_of(&["other.example.com", "spiffe://example.org/billing"], &[]),
            one_of(&["192.0.2.1"], &[]),
            one_of(&[], &["other", "der"]),
            one_of(&["other.example.com"], &["der"]),
            one_of(&["billing.example.com"], &["other"]),
        ] {
            check_met(&[met], &shown, Ok(()));
        }
        check_met(&[], &shown, Ok(()));
    }

    #[test]
    fn a_name_is_compared_whole() {
        let shown = certificate(
            &["billing.example.com", "*.example.org", "spiffe://example.org/billing"],
            "der",
        );
        for unmet in [
            one_of(&["example.com"], &[]),
            one_of(&["a.billing.example.com"], &[]),
            // A wildcard in a certificate is a name of its own.
            one_of(&["a.example.org"], &[]),
            one_of(&["spiffe://example.org/billing/a"], &[]),
            one_of(&["spiffe://example.org/Billing"], &[]),
            one_of(&["spiffe://example.org/"], &[]),
            one_of(&[], &["other"]),
            one_of(&[], &[]),
        ] {
            check_met(&[unmet], &shown, NOT_ALLOWED);
        }
        check_met(&[one_of(&["a"], &[])], &certificate(&[], "der"), NOT_ALLOWED);
    }

    #[test]
    fn every_requirement_must_hold() {
        let shown = certificate(&["a.example", "b.example"], "der");
        let (a, b, c) = (
            one_of(&["a.example"], &[]),
            one_of(&["b.example"], &[]),
            one_of(&["c.example"], &[]),
        );
        check_met(&[a.clone(), b], &shown, Ok(()));
        check_met(&[a.clone(), c.clone()], &shown, NOT_ALLOWED);
        check_met(&[c, a], &shown, NOT_ALLOWED);
    }
}
