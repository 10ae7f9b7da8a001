//! Keys of clients: which may be uploaded, which are returned once, and is a client without keys refused tokens?

use super::fixture::Gate;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keygate::jose::sign::SigningKey;
use keygate::model::algorithm::Algorithm;
use serde_json::json;
use std::path::Path;
use std::path::PathBuf;

fn key_client(gate: &Gate) -> String {
    gate.create(
        "/clients",
        json!({ "name": "p", "authentication": "private_key_jwt", "scopes": ["a"] }),
    )
    .id()
}

/// Returns the status of a token request with an assertion signed by `key`.
fn status(gate: &Gate, client: &str, key: &SigningKey) -> u16 {
    let now = gate.now().as_unix_secs();
    let claims = json!({
        "iss": client, "sub": client, "aud": "https://auth.example.com", "iat": now, "exp": now + 60,
        "jti": keygate::jose::sign::token_id(),
    });
    let assertion = key.sign("JWT", &claims).unwrap();
    let response = gate.token_request(&[
        ("grant_type", "client_credentials"),
        (
            "client_assertion_type",
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        ),
        ("client_assertion", &assertion),
    ]);
    response.status
}

#[test]
fn s055_what_is_uploaded_is_exactly_one_public_key() {
    let gate = Gate::new();
    let client = key_client(&gate);
    let path = format!("/clients/{client}/keys");
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let public = key.public_pem();
    let private = key.to_pkcs8_pem().unwrap();
    let certificate = public.replace("PUBLIC KEY", "CERTIFICATE");
    let p384 = SigningKey::generate(Algorithm::Es384).unwrap().public_pem();
    for (pem, reason) in [
        (private.expose().clone(), "a private key"),
        (format!("{public}{}", private.expose()), "a private key"),
        (format!("{certificate}{certificate}"), "a chain of certificates"),
        (certificate, "a certificate"),
        (format!("{public}{public}"), "more than one PEM block"),
        (p384, "P-384"),
        (String::new(), "no PEM block"),
        ("x".repeat(9_000), "longer than any public key"),
    ] {
        let response = gate.post(&path, json!({ "public_key": pem }));
        assert_eq!(response.pointers(), ["/public_key"]);
        assert!(response.text.contains(reason), "{}", response.text);
        assert!(
            !response.text.contains("BEGIN"),
            "what was sent is not sent back: {}",
            response.text
        );
    }
    for body in [json!({}), json!({ "public_key": public, "generate": "ES256" })] {
        assert_eq!(gate.post(&path, body).pointers(), [""]);
    }
    for bad in ["ES384", "HS256", "none", "es256", ""] {
        assert_eq!(
            gate.post(&path, json!({ "generate": bad })).pointers(),
            ["/generate"],
            "{bad}"
        );
    }
    let created = gate.create(&path, json!({ "public_key": public }));
    assert_eq!(
        (&created.json["kid"], &created.json["fingerprint"]),
        (&key.kid().into(), &key.kid().into())
    );
    assert!(created.json.get("private_key").is_none());
    assert_eq!(status(&gate, &client, &key), 200);
    gate.post(&path, json!({ "public_key": public }))
        .expect_refusal(409, "key-exists");
}

#[test]
fn s064_the_private_key_of_a_pair_is_in_one_response_and_in_no_file() {
    let gate = Gate::new();
    let mut secrets = Vec::new();
    for algorithm in ["ES256", "RS256", "PS256", "EdDSA"] {
        let client = key_client(&gate);
        let created = gate.create(&format!("/clients/{client}/keys"), json!({ "generate": algorithm }));
        let pem = created.json["private_key"].as_str().unwrap();
        let key = SigningKey::from_pkcs8_pem(algorithm.parse().unwrap(), pem).unwrap();
        let base64: Vec<&str> = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        assert!(!base64.is_empty());
        secrets.push(STANDARD.decode(base64.concat()).unwrap());
        secrets.extend(base64.iter().map(|line| line.as_bytes().to_vec()));
        assert_eq!(
            (created.json["kid"].as_str(), &created.json["algorithms"]),
            (Some(key.kid()), &json!([algorithm]))
        );
        assert_eq!(status(&gate, &client, &key), 200, "{algorithm}");
        for path in [
            format!("/clients/{client}"),
            format!("/clients/{client}/keys"),
            "/audit".to_owned(),
        ] {
            let response = gate.get(&path);
            assert!(
                !response.text.contains("PRIVATE") && !response.text.contains("private_key\":"),
                "{path}"
            );
        }
    }
    let files = files_below(gate.folder.path());
    assert!(files.iter().any(|path| path.ends_with("keygate.db")), "{files:?}");
    for path in files {
        let bytes = std::fs::read(&path).unwrap();
        for secret in &secrets {
            // Some last lines are a few characters long, which other text may contain too.
            let is_found = secret.len() >= 20 && bytes.windows(secret.len()).any(|window| window == secret);
            assert!(!is_found, "{}", path.display());
        }
    }
}

/// Returns every file in `folder` and in the folders below.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files
}

#[test]
fn revoking_one_key_leaves_the_others() {
    let gate = Gate::new();
    let client = key_client(&gate);
    let path = format!("/clients/{client}/keys");
    let keys: Vec<SigningKey> = (0..3)
        .map(|_| SigningKey::generate(Algorithm::Es256).unwrap())
        .collect();
    for key in &keys {
        gate.create(&path, json!({ "public_key": key.public_pem() }));
    }
    gate.perform("DELETE", &format!("{path}/{}", keys[1].kid()), None);
    let statuses: Vec<u16> = keys.iter().map(|key| status(&gate, &client, key)).collect();
    assert_eq!((statuses[0], statuses[2]), (200, 200));
    assert_ne!(statuses[1], 200);
    gate.call("DELETE", &format!("{path}/{}", keys[1].kid()), None)
        .expect_refusal(409, "key-revoked");
    gate.call("DELETE", &format!("{path}/none"), None)
        .expect_refusal(404, "unknown-key");
    gate.post(&path, json!({ "public_key": keys[1].public_pem() }))
        .expect_refusal(409, "key-revoked");
    // A client has at most ten active keys: two are left from above.
    for _ in 0..8 {
        gate.create(&path, json!({ "generate": "ES256" }));
    }
    gate.post(&path, json!({ "generate": "ES256" }))
        .expect_refusal(409, "too-many-keys");
}

#[test]
fn s153_a_client_without_any_key_proves_nothing() {
    let gate = Gate::new();
    let client = key_client(&gate);
    let path = format!("/clients/{client}/keys");
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    assert_ne!(status(&gate, &client, &key), 200, "before its first");
    gate.create(&path, json!({ "public_key": key.public_pem() }));
    assert_eq!(status(&gate, &client, &key), 200);
    let fewer = gate.perform("DELETE", &format!("{path}/{}?revoke_tokens=true", key.kid()), None);
    assert_eq!(fewer["keys"], json!([]));
    assert!(fewer["tokens_not_before"].is_string());
    assert_ne!(status(&gate, &client, &key), 200, "after its last");
    let bare = [("grant_type", "client_credentials"), ("client_id", client.as_str())];
    assert_ne!(gate.token_request(&bare).status, 200);
}
