//! Is an accepted credential the only one in the request, and byte for byte the field's?

use http::HeaderName;
use http::HeaderValue;
use http::Request;
use keygate::config::AcceptedCredential;
use keygate::config::route::TwoCredentials;
use keygate::gate::accept::AcceptRules;
use keygate::gate::accept::Inbound;
use keygate::gate::intake;
use keygate::gate::intake::Credential;
use keygate::gate::intake::IntakeError;
use keygate::gate::intake::IntakeRules;
use keygate::gate::intake::QueryCredentials;
use keygate::gate::intake::RouteAccess;
use std::net::IpAddr;
use std::net::Ipv4Addr;

const BYTES_MAX: usize = 256;
const KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Checks a value of `Authorization`, and the same value in `x-api-key`.
pub fn check(value: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(value) else {
        return;
    };
    let bearer = extract(&[("authorization", &value)]);
    if let Ok(token) = &bearer {
        let (scheme, rest) = value.as_bytes().split_at(6);
        assert!(scheme.eq_ignore_ascii_case(b"bearer"));
        assert_eq!(rest, [b" ", token.as_bytes()].concat(), "one space and the token");
        assert_token68(token);
    }
    let key = extract(&[("x-api-key", &value)]);
    if let Ok(key) = &key {
        assert_eq!(key.as_bytes(), value.as_bytes());
        assert!(key.bytes().all(|byte| byte.is_ascii_graphic() && byte != b','));
    }
    for credential in [&bearer, &key].into_iter().flatten() {
        assert!(!credential.is_empty() && credential.len() <= BYTES_MAX);
    }
    // A second credential field is refused, whatever is in the two (S001 to S006).
    let other = HeaderValue::from_static("");
    for (fields, expected) in [
        (
            [("authorization", &value), ("x-api-key", &other)],
            IntakeError::TwoCredentials,
        ),
        (
            [("authorization", &other), ("x-api-key", &value)],
            IntakeError::TwoCredentials,
        ),
        (
            [("authorization", &value), ("authorization", &value)],
            IntakeError::AuthorizationRepeated,
        ),
        (
            [("x-api-key", &value), ("x-api-key", &other)],
            IntakeError::ApiKeyRepeated,
        ),
    ] {
        assert_eq!(extract(&fields), Err(expected));
    }
}

/// Asserts RFC 9110 section 11.2.
fn assert_token68(token: &str) {
    let unpadded = token.trim_end_matches('=');
    assert!(!unpadded.is_empty() && !unpadded.contains('='));
    let symbol = |character: char| "-._~+/".contains(character);
    assert!(
        unpadded
            .chars()
            .all(|character| character.is_ascii_alphanumeric() || symbol(character))
    );
}

/// Returns the credential of a request with `fields` on a route that accepts both types.
fn extract(fields: &[(&str, &HeaderValue)]) -> Result<String, IntakeError> {
    let mut request = Request::get("/").header("host", "a");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let parts = request.body(()).expect("a request").into_parts().0;
    let accept = AcceptRules::new(KEY, []);
    let inbound = Inbound::new(&parts, IpAddr::V4(Ipv4Addr::LOCALHOST), &[], &accept).expect("unambiguous");
    let rules = IntakeRules {
        access: RouteAccess::Protected(vec![AcceptedCredential::Jwt, AcceptedCredential::ApiKey]),
        credential_bytes_max: BYTES_MAX,
        query_credentials: QueryCredentials::Reject,
        two_credentials: TwoCredentials::Refuse,
        bearer_key_prefix: None,
        token_headers: Box::default(),
        websocket_token: false,
    };
    intake::credential(&inbound, &rules, |_| false).map(|intake| match intake.credential {
        Some(Credential::Bearer(text)) => text.into_owned(),
        Some(Credential::ApiKey(text)) => text.to_owned(),
        None => panic!("a field is there, so a credential is"),
    })
}
