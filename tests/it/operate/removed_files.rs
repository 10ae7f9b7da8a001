//! Files of a running gate that are removed: a removal is noticed by itself, is refused, and changes nothing.

use crate::operate::REFUSED;
use crate::operate::bearer;
use crate::operate::condition;
use crate::operate::get;
use crate::operate::token;
use crate::support::Binary;
use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::wait_until;
use keygate::jose::sign::SigningKey;
use serde_json::json;

const LAST_SUCCESS: &str = "keygate_config_last_reload_success";

#[test]
fn a_removed_file_is_a_refused_reload_that_changes_nothing() {
    let upstream = FakeUpstream::start();
    let issuer = SigningKey::generate_es256().unwrap();
    let trusted = |url: &str, keys: &str| format!("issuer: {url}\naudiences: [https://api.test]\n{keys}");
    let yaml = GatewayBuilder::new()
        .top("api_keys: { file: keys.yaml, pepper: \"file:pepper\" }\ninclude: routes.yaml")
        .issuer(
            "main",
            &trusted("https://issuer.test", "public_key_files: [issuer.pem]"),
        )
        .issuer("set", &trusted("https://set.test", "jwks_file: jwks.json"))
        .upstream("only", upstream.address())
        .route(
            "only",
            "match: { path: /a }\naccept: [jwt]\nissuers: [main]\nupstream: only",
        )
        .yaml();
    let tls = "listeners:\n  - address: 127.0.0.1:0\n    tls: { certificate: tls.pem, private_key: tls.key }\n";
    let yaml = yaml.replacen("listeners:\n", tls, 1);
    let jwks = json!({ "keys": [issuer.public_jwk()] }).to_string();
    let files = [
        (
            "routes.yaml",
            "routes: [{ name: more, match: { path: /b }, public: true, upstream: only }]\n",
        ),
        ("keys.yaml", "keys: []\n"),
        ("pepper", "a-pepper-of-the-tests-0123456789"),
        ("issuer.pem", &issuer.public_pem()),
        ("jwks.json", &jwks),
        ("tls.pem", include_str!("../../../conf/dev-tls.pem")),
        ("tls.key", include_str!("../../../conf/dev-tls.private.pem")),
    ];
    let gate = LocalGate::start_with(&yaml, &files);
    let ready = || crate::support::get(gate.admin(), "/readyz");
    for name in ["keygate.yaml"].into_iter().chain(files.map(|(name, _)| name)) {
        let path = gate.folder().join(name);
        let text = std::fs::read(&path).unwrap();
        let refused = gate.metric(REFUSED);
        std::fs::remove_file(&path).unwrap();
        // An editor may have removed the file only to write it anew.
        gate.check_files();
        assert_eq!(gate.metric(REFUSED), refused, "{name}");
        gate.check_files();
        assert_eq!(gate.metric(REFUSED), refused + 1.0, "{name}");
        assert_eq!(gate.metric(LAST_SUCCESS), 0.0, "{name}");
        assert_eq!(
            (ready().status, &ready().json()["status"]),
            (200, &"degraded".into()),
            "{name}"
        );
        let which = if name == "keys.yaml" { "keys_file" } else { "config" };
        let condition = condition(&gate, which);
        assert!(
            condition["detail"].as_str().unwrap().contains(name),
            "{name}: {condition}"
        );
        gate.check_files();
        assert_eq!(gate.metric(REFUSED), refused + 1.0, "{name} is refused once");
        gate.replace_file(name, std::str::from_utf8(&text).unwrap());
        wait_until(&format!("{name} is back"), || {
            gate.check_files();
            gate.metric(LAST_SUCCESS) == 1.0
        });
        assert_eq!(ready().json()["status"], "ok", "{name}");
    }
}

#[test]
fn the_program_notices_a_removed_configuration_by_itself() {
    let upstream = FakeUpstream::start();
    let issuer = SigningKey::generate_es256().unwrap();
    let yaml = GatewayBuilder::new()
        .issuer("main", super::ISSUER_YAML)
        .upstream("only", upstream.address())
        .route("only", "match: { path: /a }\naccept: [jwt]\nupstream: only")
        .yaml();
    let binary = Binary::start_with(&yaml, &[("issuer.pem", &issuer.public_pem())]);
    std::fs::remove_file(binary.folder().join("keygate.yaml")).unwrap();
    wait_until("it is refused", || binary.metric(REFUSED) == 1.0);
    let good = bearer(&token(&issuer, &json!({})));
    assert_eq!(get(binary.data(), "/a", &[&good]).status, 200);
    binary.replace_file("keygate.yaml", &yaml);
    wait_until("it is back", || binary.metric(LAST_SUCCESS) == 1.0);
}
