//! Does a proxy pass requests that it must refuse? Such a proxy is faster because it checks less.

use crate::credentials::api_keys;
use crate::credentials::bearer;
use crate::credentials::claims;
use crate::credentials::sign;
use crate::credentials::x_api_key;
use crate::exchange::Exchange;
use crate::load::Load;
use crate::peers::Checks;
use crate::rows::BenchInputs;
use crate::rows::ORDERS;
use serde_json::Value;
use std::net::SocketAddr;

/// A request that must not reach the upstream.
#[derive(Clone)]
pub struct BadRequest {
    what: &'static str,
    header: Option<String>,
}

/// Returns requests without a token, and with tokens that each break one rule.
pub fn bad_tokens(material: &BenchInputs) -> Vec<BadRequest> {
    let issuer = &material.issuer;
    let with = |name: &str, value: Value| {
        let mut claims = claims(0);
        claims[name] = value;
        sign(&issuer.rs256, &claims)
    };
    let bad = |what, token: String| BadRequest {
        what,
        header: Some(bearer(&token)),
    };
    let expired = claims(0)["iat"].as_u64().expect("seconds") - 600;
    // For a bad signature, join the payload of one valid token and the signature of another.
    let (payload, _) = material.token().rsplit_once('.').expect("a token has dots");
    let signed = with("sub", "mallory".into());
    let (_, signature) = signed.rsplit_once('.').expect("a token has dots");
    vec![
        BadRequest {
            what: "no token",
            header: None,
        },
        bad("an expired token", with("exp", expired.into())),
        bad("a token without expiry", with("exp", Value::Null)),
        bad(
            "a token for another audience",
            with("aud", "https://other.example".into()),
        ),
        bad("a token of another issuer", with("iss", "https://other.example".into())),
        bad(
            "a token without the scope",
            with("scope", "orders:write xorders:read".into()),
        ),
        bad("a bad signature", format!("{payload}.{signature}")),
        bad("a stranger's signature", sign(&issuer.stranger, &claims(0))),
    ]
}

pub fn bad_keys(material: &BenchInputs) -> Vec<BadRequest> {
    let good = &material.keys[0];
    vec![
        BadRequest {
            what: "no key",
            header: None,
        },
        BadRequest {
            what: "an unknown key",
            header: Some(x_api_key(&api_keys(1)[0])),
        },
        BadRequest {
            what: "the beginning of a key",
            header: Some(x_api_key(&good[..good.len() - 1])),
        },
    ]
}

/// Returns the names of the requests in `bad` that the proxy at `address` passes.
pub fn lets_through(load: &Load, address: SocketAddr, bad: &[BadRequest]) -> Vec<&'static str> {
    let passed = bad.iter().filter(|bad| {
        let headers: Vec<String> = bad.header.iter().cloned().collect();
        let mut session = load.session(address, 1);
        session.status(&Exchange::new(ORDERS, &headers, 0)) < 400
    });
    passed.map(|bad| bad.what).collect()
}

/// Returns the requests that a proxy with these checks must refuse.
pub fn bad(material: &BenchInputs, checks: Checks) -> Vec<BadRequest> {
    match checks {
        Checks::Nothing => Vec::new(),
        Checks::ApiKey => bad_keys(material),
        Checks::Token | Checks::TokenLimitLog => bad_tokens(material),
    }
}
