//! Which header fields identify the client to an upstream?

use http::HeaderName;

/// The prefix of the fields that only Keygate sets. A client's fields with this prefix are dropped on every route.
pub const PREFIX: &str = "x-keygate-";

pub const SUBJECT: HeaderName = HeaderName::from_static("x-keygate-subject");
pub const CLIENT_ID: HeaderName = HeaderName::from_static("x-keygate-client-id");
pub const ORGANIZATION: HeaderName = HeaderName::from_static("x-keygate-organization");
pub const SCOPE: HeaderName = HeaderName::from_static("x-keygate-scope");
pub const CREDENTIAL_TYPE: HeaderName = HeaderName::from_static("x-keygate-credential-type");
pub const CREDENTIAL_ID: HeaderName = HeaderName::from_static("x-keygate-credential-id");
pub const ISSUER: HeaderName = HeaderName::from_static("x-keygate-issuer");
/// The names of the client's certificate, joined by commas.
pub const CERTIFICATE_NAMES: HeaderName = HeaderName::from_static("x-keygate-certificate-names");
/// The SHA-256 fingerprint of the client's certificate.
pub const CERTIFICATE_FINGERPRINT: HeaderName = HeaderName::from_static("x-keygate-certificate-fingerprint");
/// A signed JWT with the values of the other fields.
pub const IDENTITY_TOKEN: HeaderName = HeaderName::from_static("x-keygate-identity-token");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_of_the_family() {
        for name in [
            SUBJECT,
            CLIENT_ID,
            ORGANIZATION,
            SCOPE,
            CREDENTIAL_TYPE,
            CREDENTIAL_ID,
            ISSUER,
            CERTIFICATE_NAMES,
            CERTIFICATE_FINGERPRINT,
            IDENTITY_TOKEN,
        ] {
            assert!(name.as_str().starts_with(PREFIX), "{name}");
        }
    }
}
