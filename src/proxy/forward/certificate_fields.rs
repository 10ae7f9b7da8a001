//! What is an upstream told of the certificate that the client showed?

use crate::gate::authenticate::header_value::header_value;
use crate::model::certificate::ClientCertificate;
use http::HeaderValue;

/// The values of the fields about a client's certificate. Made once for each connection.
#[derive(Clone, Debug)]
pub struct CertificateFields {
    /// The names, joined by commas; `None` for a certificate without names.
    pub names: Option<HeaderValue>,
    /// 64 lower-case hexadecimal digits.
    pub fingerprint: HeaderValue,
}

impl CertificateFields {
    pub fn of(certificate: &ClientCertificate) -> Self {
        // A comma within a URI is encoded, so that no name splits into two.
        let names = certificate.names.iter().map(|name| header_value(&name.to_string()));
        let names: Vec<HeaderValue> = names.collect();
        let joined = names
            .iter()
            .map(HeaderValue::as_bytes)
            .collect::<Vec<_>>()
            .join(&b","[..]);
        let value = HeaderValue::from_bytes(&joined).expect("header values and commas are a header value");
        Self {
            names: (!names.is_empty()).then_some(value),
            fingerprint: header_value(&certificate.fingerprint.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::certificate::CertificateName;
    use crate::model::certificate::Fingerprint;

    #[track_caller]
    fn check(names: &[CertificateName], expected: Option<&str>) {
        let fields = CertificateFields::of(&ClientCertificate {
            names: names.to_vec(),
            fingerprint: Fingerprint::of(b"abc"),
        });
        assert_eq!(fields.names.as_ref().map(|value| value.to_str().unwrap()), expected);
        assert_eq!(
            fields.fingerprint,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn s083_a_name_cannot_split_the_field() {
        let uri = |text: &str| CertificateName::of_uri(text).unwrap();
        check(&[], None);
        let (dns, ip) = (CertificateName::of_host("a.example"), CertificateName::of_host("::1"));
        check(
            &[dns.unwrap(), ip.unwrap(), uri("spiffe://example.org/a")],
            Some("a.example,::1,spiffe://example.org/a"),
        );
        check(
            &[uri("urn:a,spiffe://example.org/admin"), uri("urn:b%2C")],
            Some("urn:a%2Cspiffe://example.org/admin,urn:b%252C"),
        );
    }
}
