//! Does a parsed token contain exactly its text, and does only a signed one verify?

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keygate::config;
use keygate::gate::authenticate::token::ParsedToken;
use keygate::gate::authenticate::token::TokenRules;
use keygate::jose::jwks::Jwks;
use keygate::jose::jws::Jws;
use keygate::model::clock::Timestamp;
use serde_json::Value;
use std::path::Path;
use std::sync::LazyLock;

/// Signed tokens, one for each kind of key: seeds for the fuzzer, and the only tokens that verify with [`KEYS`].
const SIGNED: [&str; 3] = [
    include_str!("../../fuzz/corpus/token/es256"),
    include_str!("../../fuzz/corpus/token/rs256"),
    include_str!("../../fuzz/corpus/token/eddsa"),
];
const KEYS: &str = include_str!("../../fuzz/corpus/jwks/three-keys.json");

/// A time at which [`SIGNED`] is valid.
const NOW: Timestamp = Timestamp::from_unix_secs(1_800_000_000);

/// Checks a bearer token.
pub fn check(token: &[u8]) {
    let Ok(token) = std::str::from_utf8(token) else {
        return;
    };
    let Ok(jws) = Jws::parse(token) else {
        return;
    };
    let Ok(parsed) = ParsedToken::read(&jws) else {
        return;
    };
    assert!(token.len() <= Jws::BYTES_MAX);
    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = parts[..] else {
        panic!("{} parts", parts.len());
    };
    // Another decoder and encoder reproduce each part: there is no second spelling.
    let decoded = [header, payload, signature].map(|part| URL_SAFE_NO_PAD.decode(part).expect("base64url"));
    assert_eq!(
        decoded.each_ref().map(|bytes| URL_SAFE_NO_PAD.encode(bytes)).join("."),
        token
    );
    assert_eq!(decoded[1], jws.payload());
    let [header, payload] = [&decoded[0], &decoded[1]].map(|bytes| {
        let value: Value = serde_json::from_slice(bytes).expect("JSON");
        assert!(value.is_object());
        value
    });
    assert_eq!(header["alg"].as_str().map(str::parse), Some(Ok(parsed.algorithm())));
    assert_eq!(header.get("kid").and_then(Value::as_str), parsed.kid());
    assert!(header.get("crit").is_none() && header.get("b64").is_none());
    assert_eq!(payload["iss"].as_str(), Some(parsed.issuer()));
    // The token reads the same after another JSON writer has written its header and payload.
    let text = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let rewritten = format!("{}.{}.{signature}", text(&header), text(&payload));
    if rewritten.len() <= Jws::BYTES_MAX {
        let again = Jws::parse(&rewritten).expect("its parts can be written");
        let again = ParsedToken::read(&again).expect("what it says can be said");
        assert_eq!(again.issuer(), parsed.issuer());
        assert_eq!((again.kid(), again.algorithm()), (parsed.kid(), parsed.algorithm()));
    }
    if parsed.verify(&RULES.0, &RULES.1, NOW).is_ok() {
        let signing_input = |token: &'static str| token.trim_end().rsplit_once('.').map(|(input, _)| input);
        let input = token.rsplit_once('.').map(|(input, _)| input);
        assert!(
            SIGNED.iter().any(|signed| signing_input(signed) == input),
            "forged: {token}"
        );
    }
}

static RULES: LazyLock<(TokenRules, Jwks)> = LazyLock::new(|| {
    let yaml = "listeners: [{ address: '127.0.0.1:1' }]\n\
        issuers: { main: { issuer: 'https://issuer.example', audiences: any, jwks_url: 'https://issuer.example/jwks' } }\n\
        upstreams: { u: { builtin: echo } }\n\
        routes: [{ name: r, match: { path: /a }, accept: [jwt], upstream: u }]\n";
    let config = config::parse(yaml, Path::new("issuer.yaml"), &|_| None).unwrap_or_else(|errors| panic!("{errors}"));
    let keys = Jwks::parse(KEYS.as_bytes()).expect("our own keys");
    (TokenRules::compile(&config.issuers["main"]), keys)
});

#[test]
fn the_tokens_that_may_verify_do() {
    for signed in SIGNED {
        let jws = Jws::parse(signed.trim_end()).unwrap();
        let parsed = ParsedToken::read(&jws).unwrap();
        assert!(parsed.verify(&RULES.0, &RULES.1, NOW).is_ok(), "{signed}");
    }
}
