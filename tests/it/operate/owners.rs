//! Whose credential was refused? The access record says it, where the credential proved it.

use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::RawClient;
use crate::support::api_key;
use crate::support::api_key_entry;
use crate::support::issuer;
use crate::support::lane::lanes;
use crate::support::with_other_secret;
use keygate::model::algorithm::Algorithm;
use serde_json::Value;
use serde_json::json;

lanes!(the_record_of_a_refused_credential_says_whose_it_was);
fn the_record_of_a_refused_credential_says_whose_it_was() {
    let upstream = FakeUpstream::start();
    let signer = issuer::key(Algorithm::Es256);
    let (revoked, _) = api_key("");
    let entry = api_key_entry(
        &revoked,
        "revoked_at: 2026-01-02T00:00:00Z\nclient: billing\norganization: acme",
    );
    let yaml = GatewayBuilder::new()
        .top("api_keys: { file: keys.yaml }")
        .top("failed_authentication: off")
        .issuer(
            "main",
            &format!(
                "issuer: {}\naudiences: [api]\njwks_file: jwks.json\nrequired_claims: {{ tier: [gold] }}",
                issuer::ISSUER
            ),
        )
        .upstream("api", upstream.address())
        .route("a", "match: { path: /a }\naccept: [jwt, api_key]\nupstream: api")
        .yaml();
    let jwks = json!({ "keys": [signer.public_jwk()] }).to_string();
    let gate = LocalGate::start_with(
        &yaml,
        &[("keys.yaml", &format!("keys:\n{entry}")), ("jwks.json", &jwks)],
    );
    let record = |field: &str| -> Value {
        let mut client = RawClient::connect(gate.data());
        let response = client.exchange(format!("GET /a HTTP/1.1\r\nHost: localhost\r\n{field}\r\n\r\n"));
        assert_eq!(response.status, 401);
        gate.record(&response)
    };

    let key = record(&format!("x-api-key: {}", revoked.expose()));
    assert_eq!(key["reason"], "api_key_revoked");
    assert_eq!(key["credential_id"], revoked.id().as_str(), "{key:#}");
    assert_eq!(
        (&key["client_id"], &key["organization"]),
        (&json!("billing"), &json!("acme"))
    );
    let guessed = record(&format!("x-api-key: {}", with_other_secret(revoked.expose())));
    assert_eq!(guessed["reason"], "api_key_wrong_secret");
    assert_eq!(
        (&guessed["credential_id"], &guessed["client_id"]),
        (&Value::Null, &Value::Null)
    );

    let token = |change: Value| {
        let mut claims = issuer::claims_with(json!({ "aud": "api", "tier": "gold", "jti": "t-1", "org": "acme" }));
        claims
            .as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        issuer::token(&signer, &claims)
    };
    let now = issuer::now();
    for (change, reason, claim) in [
        (
            json!({ "exp": now - 600, "iat": now - 1_000 }),
            "token_expired",
            Some("exp"),
        ),
        (json!({ "aud": "elsewhere" }), "wrong_audience", Some("aud")),
        (
            json!({ "roles": 7, "scope": null }),
            "token_claim_invalid",
            Some("roles"),
        ),
        (json!({ "tier": "tin" }), "token_required_claim", Some("tier")),
        (json!({ "exp": null }), "token_claim_missing", Some("exp")),
        (json!({ "nbf": now + 600 }), "token_not_yet_valid", Some("nbf")),
    ] {
        let record = record(&format!("Authorization: Bearer {}", token(change)));
        assert_eq!(
            (record["reason"].as_str(), record["claim"].as_str()),
            (Some(reason), claim),
            "{record:#}"
        );
        let owner = ["issuer", "subject", "client_id", "organization", "credential_id"].map(|name| &record[name]);
        assert_eq!(owner, ["main", "alice", "app-1", "acme", "t-1"], "{record:#}");
    }
    // Nothing is said of what is not proved.
    let forged = issuer::token(&issuer::key(Algorithm::EdDsa), &issuer::claims());
    let forged = record(&format!("Authorization: Bearer {forged}"));
    assert_eq!(
        (&forged["subject"], &forged["issuer"]),
        (&Value::Null, &Value::Null),
        "{forged:#}"
    );
}
