//! Resource indicators (RFC 8707): a client chooses what its token is good for.

use super::fixture::*;
use keygate::control::token::own_tokens::verify;
use keygate::store::Store;
use keygate::store::record::client::TokenFormat;
use serde_json::Value;
use serde_json::json;

const ORDERS: &str = "https://orders.example";
const BILLING: &str = "https://billing.example/v1";
const URN: &str = "urn:example:reports";

fn gate() -> Gate {
    Gate::with(|endpoint| {
        endpoint.audiences = [ORDERS, BILLING, URN, "plain"].map(str::to_owned).to_vec();
        endpoint.default_audiences = [ORDERS, "plain"].map(str::to_owned).to_vec();
    })
}

fn ask(gate: &Gate, secret: &str, resources: &[&str]) -> TokenResponse {
    let resources = resources.iter().map(|resource| ("resource", *resource));
    gate.post(
        TOKEN,
        &with_secret("a", secret)
            .into_iter()
            .chain(resources)
            .collect::<Vec<_>>(),
    )
}

#[test]
fn section_2_resource_chooses_among_the_audiences() {
    let gate = gate();
    let secret = gate.secret_client("a");
    let check = |resources: &[&str], expected: Value| {
        assert_eq!(
            ask(&gate, &secret, resources).claims()["aud"],
            expected,
            "{resources:?}"
        );
    };
    check(&[], json!([ORDERS, "plain"]));
    check(&[""], json!([ORDERS, "plain"]));
    check(&[ORDERS], json!(ORDERS));
    check(&["https://orders.example/"], json!(ORDERS));
    check(&[BILLING], json!(BILLING));
    check(&[URN], json!(URN));
    check(&[BILLING, ORDERS], json!([ORDERS, BILLING]));
    check(&[BILLING, BILLING, ""], json!(BILLING));
    let refused = |resources: &[&str], description: &str| {
        let response = ask(&gate, &secret, resources);
        assert_eq!(response.error(), (400, "invalid_target", description), "{resources:?}");
    };
    for unknown in [
        "https://other.example",
        "https://orders.example/v1",
        "https://ORDERS.example",
        "https://billing.example/v1/",
        "urn:example:report",
    ] {
        refused(&[unknown], "no tokens are issued here for this resource");
        refused(&[ORDERS, unknown], "no tokens are issued here for this resource");
    }
    for malformed in ["plain", "/v1", "https://orders.example#a", "https://orders.example/a b"] {
        refused(&[malformed], "resource must be an absolute URI without a fragment");
        refused(
            &[malformed, ORDERS],
            "resource must be an absolute URI without a fragment",
        );
    }
}

/// The assertion of a refused request can be used again, as after every other refusal of what was asked for.
#[test]
fn a_refused_resource_uses_no_assertion_up() {
    let gate = gate();
    let key = gate.key_client("k", keygate::model::algorithm::Algorithm::Es256);
    let assertion = signed(&key, &claims("k"));
    let with = |resource| gate.post(TOKEN, &[asserting(&assertion), vec![("resource", resource)]].concat());
    assert_eq!(with("https://other.example").error().1, "invalid_target");
    assert_eq!(with(ORDERS).claims()["aud"], ORDERS);
}

#[test]
fn an_opaque_token_and_its_introspection_say_what_was_chosen() {
    let gate = gate();
    let secret = gate.secret_client("a");
    gate.change("a", |record| record.token_format = TokenFormat::Opaque);
    let token = ask(&gate, &secret, &[BILLING]).token().to_owned();
    let client = [("client_id", "a"), ("client_secret", secret.as_str())];
    let form = [&client[..], &[("token", &token)]].concat();
    assert_eq!(gate.post("/oauth/introspect", &form).json["aud"], BILLING);
    assert_eq!(
        verify(&gate.control, &token, gate.clock_now()).unwrap().audiences,
        [BILLING]
    );
    let contents = gate.runtime.block_on(gate.store.contents()).unwrap();
    assert_eq!(contents.opaque_tokens[0].audiences, [BILLING]);
}
