//! Which proof does a client need for a token, and which did the client need before?

use crate::compare::finding::list_text;
use crate::compare::limit::at_most;
use crate::config::ConnectSettings;
use crate::config::TokenEndpoint;
use crate::config::token_endpoint::AssertionAudience;
use crate::config::token_paths::GlobalEndpoint;

/// Calls `report` with every setting in which `now` requires less than `before`.
pub(in crate::compare) fn compare(
    before: &TokenEndpoint,
    now: &TokenEndpoint,
    report: &mut dyn FnMut([&str; 2], String, String),
) {
    let TokenEndpoint {
        // `route` compares the trust in this issuer and its audiences.
        issuer: _,
        audiences: _,
        default_audiences,
        paths: _,
        global_endpoint,
        // Every supported algorithm is secure, and the storage and rotation of keys require nothing of a client.
        algorithm: _,
        wrapping_key: _,
        rotate_every: _,
        publish_before: _,
        assertion_audience,
        assertion_max_lifetime,
        require_jti,
        clock_skew,
        allow_clear_text,
        limit,
        failures,
        client_jwks,
    } = now;
    let mut report = |key: &str, was: String, is: String| report(["token_endpoint", key], was, is);
    if (before.assertion_audience, *assertion_audience)
        == (AssertionAudience::Issuer, AssertionAudience::IssuerOrEndpoint)
    {
        report(
            "assertion_audience",
            "issuer".to_owned(),
            "issuer_or_endpoint".to_owned(),
        );
    }
    if (before.global_endpoint, *global_endpoint) == (GlobalEndpoint::BuiltInOrganizations, GlobalEndpoint::EveryClient)
    {
        report(
            "global_endpoint",
            "built_in_organizations".to_owned(),
            "every_client".to_owned(),
        );
    }
    let is_new = |audience: &String| !before.default_audiences.contains(audience);
    if default_audiences.iter().any(is_new) {
        report(
            "default_audiences",
            list_text(&before.default_audiences),
            list_text(default_audiences),
        );
    }
    for (key, was, is) in [
        (
            "assertion_max_lifetime",
            before.assertion_max_lifetime,
            *assertion_max_lifetime,
        ),
        ("clock_skew", before.clock_skew, *clock_skew),
    ] {
        if is > was {
            report(key, format!("{was:?}"), format!("{is:?}"));
        }
    }
    let ConnectSettings {
        allow_http,
        allow_private_addresses,
        // The operator chooses the trusted authorities and the proxy. Certificates are verified with any choice.
        ca_file: _,
        proxy: _,
        timeout: _,
    } = client_jwks;
    let was = &before.client_jwks;
    for (key, was, is, strict) in [
        ("require_jti", before.require_jti, *require_jti, true),
        ("allow_clear_text", before.allow_clear_text, *allow_clear_text, false),
        ("client_jwks.allow_http", was.allow_http, *allow_http, false),
        (
            "client_jwks.allow_private_addresses",
            was.allow_private_addresses,
            *allow_private_addresses,
            false,
        ),
    ] {
        if was == strict && is != strict {
            report(key, was.to_string(), is.to_string());
        }
    }
    for (key, was, is) in [
        ("limit", before.limit, *limit),
        ("failures", before.failures, *failures),
    ] {
        if !at_most(&is, &was) {
            report(key, was.to_string(), is.to_string());
        }
    }
}
