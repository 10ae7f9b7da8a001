//! Is a secret anywhere after it was shown once? The test creates and
//! uses every kind, then searches everything that the gate wrote.

use super::ADMIN_TOKEN;
use super::ExampleGate;
use super::PEPPER;
use super::WRAPPING_KEY;
use super::access_token;
use super::text;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keygate::jose::sign::SigningKey;
use keygate::model::algorithm::Algorithm;
use serde_json::json;
use std::path::Path;

const API: &str = "/v1/enrich-lead";

/// A secret, and the forms in which it could appear.
struct Needle {
    what: &'static str,
    forms: Vec<String>,
}

impl Needle {
    fn new(what: &'static str, secret: &str) -> Self {
        let forms = vec![
            secret.to_owned(),
            STANDARD.encode(secret),
            STANDARD_NO_PAD.encode(secret),
            URL_SAFE_NO_PAD.encode(secret),
            url::form_urlencoded::byte_serialize(secret.as_bytes()).collect(),
        ];
        Self { what, forms }
    }

    /// Returns the forms of a PEM file: its lines, the text without line breaks, and the decoded bytes.
    fn of_pem(what: &'static str, pem: &str) -> Self {
        let lines: Vec<&str> = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let mut forms = vec![lines.concat(), latin1(&STANDARD.decode(lines.concat()).unwrap())];
        forms.extend(
            lines
                .iter()
                .filter(|line| line.len() >= 32)
                .map(|line| (*line).to_owned()),
        );
        Self { what, forms }
    }

    fn is_in(&self, hay: &str) -> bool {
        self.forms.iter().any(|form| contains(hay, form))
    }
}

/// Returns each byte as the character of the same number, so that binary content can be searched as text.
fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

fn contains(hay: &str, needle: &str) -> bool {
    assert!(needle.len() >= 16, "too short to search for: {needle}");
    hay.contains(needle)
}

/// Returns the name and content of every file under `folder`.
fn files(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() {
            found.push((path.display().to_string(), latin1(&std::fs::read(&path).unwrap())));
        }
    }
    found
}

#[test]
fn s064_s143_no_secret_is_anywhere_but_in_the_answer_that_gave_it() {
    // Every kind of credential in one gate, with wrapped signing keys.
    let system = ExampleGate::start_changed("sixtyfour", |yaml| {
        let yaml = yaml.replace(
            "credentials: [private_key_jwt, api_key]",
            "credentials: [private_key_jwt, client_secret, api_key]",
        );
        yaml.replace(
            "  algorithm: RS256",
            "  algorithm: RS256\n  wrapping_key: \"${KEYGATE_WRAPPING_KEY}\"",
        )
    });
    let admin = &system.admin;
    let scopes = json!(["full_access"]);
    let mut needles = vec![
        Needle::new("admin token", ADMIN_TOKEN),
        Needle::new("pepper", PEPPER),
        Needle::new("wrapping key", WRAPPING_KEY),
    ];
    // The responses by name, except those that deliver a secret.
    let mut outputs: Vec<(String, String)> = Vec::new();

    // Keys: created, used, regenerated, then sent with a typo, in the query and as a bearer token.
    let created = admin.create("/keys", json!({ "name": "one", "expires": "90d", "scopes": scopes }));
    let (key_id, key) = (text(&created["id"]), text(&created["key"]));
    assert_eq!(system.with_key(API, &key).status, 200);
    let regenerated = admin.post(&format!("/keys/{key_id}/regenerate"), json!({}));
    let second = text(&regenerated["key"]);
    assert_eq!(system.with_key(API, &second).status, 200);
    for key in [&key, &second] {
        needles.push(Needle::new("API key", key));
        // The part after the prefix and the public id.
        needles.push(Needle::new("secret of an API key", key.rsplit('_').next().unwrap()));
        let mistaken = format!(
            "{}{}",
            &key[..key.len() - 1],
            if key.ends_with('0') { '1' } else { '0' }
        );
        for (what, response) in [
            ("a revoked or good key", system.with_key(API, key)),
            ("a mistyped key", system.with_key(API, &mistaken)),
            ("a key in the query", system.get(&format!("{API}?api_key={key}"), "")),
            ("a key as a bearer token", system.with_token(API, key)),
        ] {
            outputs.push((what.to_owned(), text_of(&response)));
        }
    }

    // A client with a secret: both ways to send it, a rotation, a wrong secret.
    let body = json!({ "name": "two", "authentication": "client_secret", "scopes": scopes });
    let created = admin.create("/clients", body);
    let (id, secret) = (text(&created["id"]), text(&created["client_secret"]));
    let token = access_token(&system.token_by_secret("/oauth/token", &id, &secret, ""));
    let posted = [
        ("grant_type", "client_credentials"),
        ("client_id", &*id),
        ("client_secret", &*secret),
    ];
    let posted = access_token(&system.form("/oauth/token", "", &posted));
    let rotated = text(&admin.post(&format!("/clients/{id}/secret/rotate"), json!({}))["client_secret"]);
    let opaque = json!({ "token_format": "opaque" });
    outputs.push((
        "a client".to_owned(),
        admin
            .perform("PATCH", &format!("/clients/{id}"), Some(opaque))
            .to_string(),
    ));
    let opaque = access_token(&system.token_by_secret("/oauth/token", &id, &rotated, ""));
    for secret in [&secret, &rotated] {
        needles.push(Needle::new("client secret", secret));
        needles.push(Needle::new("client id and secret", &format!("{id}:{secret}")));
    }
    let refused = system.token_by_secret("/oauth/token", &id, &secret, "");
    assert_eq!(refused.status, 401);
    outputs.push(("an old secret".to_owned(), refused.json.to_string()));
    // A common mistake: id and secret swapped.
    let refused = system.token_by_secret("/oauth/token", &rotated, &id, "");
    outputs.push(("a secret for an id".to_owned(), refused.json.to_string()));
    let in_query = system.request("POST", &format!("/oauth/token?client_secret={rotated}"), "", "");
    assert_eq!(in_query.status, 400, "{}", in_query.text());
    outputs.push(("a secret in the query".to_owned(), text_of(&in_query)));

    // A client with a key pair that the gate generated.
    let body = json!({ "name": "three", "authentication": "private_key_jwt", "scopes": scopes });
    let key_client = text(&admin.create("/clients", body)["id"]);
    for algorithm in ["ES256", "RS256"] {
        let created = admin.create(&format!("/clients/{key_client}/keys"), json!({ "generate": algorithm }));
        let pem = text(&created["private_key"]);
        let signer = SigningKey::from_pkcs8_pem(algorithm.parse::<Algorithm>().unwrap(), &pem).unwrap();
        let assertion = system.assertion(&key_client, &signer, None);
        access_token(&system.token_by_assertion(&assertion));
        // A private key is uploaded instead of the public one.
        let uploaded = admin.call(
            "POST",
            &format!("/clients/{key_client}/keys"),
            Some(json!({ "public_key": pem })),
        );
        assert_eq!(uploaded.status, 422, "{uploaded:?}");
        outputs.push(("an uploaded private key".to_owned(), uploaded.json.to_string()));
        needles.push(Needle::of_pem("private key of a client", &pem));
        needles.push(Needle::new("client assertion", &assertion));
    }

    // Tokens: used, introspected, revoked.
    for (what, token) in [
        ("access token", &token),
        ("access token", &posted),
        ("opaque token", &opaque),
    ] {
        assert_eq!(system.with_token(API, token).status, 200, "{what}");
        let basic = format!(
            "Authorization: Basic {}\r\n",
            STANDARD.encode(format!("{id}:{rotated}"))
        );
        let reply = system.form("/oauth/introspect", &basic, &[("token", token)]);
        assert_eq!(reply.json["active"], true, "{reply:?}");
        outputs.push((format!("introspection of an {what}"), reply.json.to_string()));
        let reply = system.form("/oauth/revoke", &basic, &[("token", token)]);
        assert_eq!(reply.status, 200, "{reply:?}");
        let response = system.with_token(API, token);
        assert_eq!(response.status, 401, "{what}: {}", response.text());
        outputs.push((format!("a revoked {what}"), text_of(&response)));
        outputs.push((
            "a token in the query".to_owned(),
            text_of(&system.get(&format!("{API}?access_token={token}"), "")),
        ));
        needles.push(Needle::new(what, token));
    }

    // With `admin.token` there is no first administrator, whose secret would be written down.
    let file = system.gate.folder().join("sixtyfour.db.first-administrator");
    assert!(!file.exists());

    // Everything that the admin API and the data side return afterwards.
    for path in [
        "/organizations",
        "/subscriptions",
        "/plans",
        "/keys",
        "/clients",
        "/signing-keys",
        "/audit?limit=200",
        "/audit/verify",
        "/openapi.json",
        &format!("/clients/{key_client}/keys"),
        &format!("/clients/{id}"),
        &format!("/keys/{key_id}"),
    ] {
        outputs.push((format!("GET {path}"), admin.get(path).to_string()));
    }
    let backup = admin.perform("POST", "/backup", Some(json!({ "path": "copy.db" })));
    outputs.push(("backup".to_owned(), backup.to_string()));
    for path in ["/metrics", "/readyz", "/livez"] {
        outputs.push((
            path.to_owned(),
            text_of(&crate::support::get(system.gate.admin(), path)),
        ));
    }
    for path in ["/oauth/jwks", "/.well-known/oauth-authorization-server"] {
        outputs.push((path.to_owned(), text_of(&system.get(path, ""))));
    }
    outputs.push(("logs and access records".to_owned(), system.gate.output()));

    let files = files(system.gate.folder());
    let named = |end: &str| files.iter().any(|(name, _)| name.ends_with(end));
    for end in [
        "sixtyfour.db",
        "sixtyfour.db-wal",
        "sixtyfour.db.revocations",
        "copy.db",
    ] {
        assert!(
            named(end),
            "{end}: {:?}",
            files.iter().map(|(name, _)| name).collect::<Vec<_>>()
        );
    }
    assert!(files.iter().any(|(name, _)| name.contains("-signing-keys/")));
    for (name, content) in &files {
        // The gate's own private keys are wrapped.
        assert!(!contains(content, "-----BEGIN PRIVATE KEY-----"), "{name}");
        assert!(!contains(content, "\"client_secret\":\"kgs_"), "{name}");
    }
    // The search itself works: it finds the public parts.
    let is_in = |texts: &[(String, String)]| texts.iter().any(|(_, text)| contains(text, &key_client));
    assert!(is_in(&files) && is_in(&outputs));

    for (place, content) in outputs.iter().chain(&files) {
        for needle in &needles {
            assert!(!needle.is_in(content), "{} in {place}", needle.what);
        }
    }
}

/// Returns the body, then the header fields.
fn text_of(response: &crate::support::Response) -> String {
    let mut outputs = latin1(&response.body);
    for (name, value) in &response.headers {
        outputs.push_str(&format!("\n{name}: {value}"));
    }
    outputs
}

#[test]
fn what_would_give_a_secret_away_is_found() {
    let needle = Needle::new("a key", "kg_live_0123456789abcdef_secret");
    for text in [
        "x kg_live_0123456789abcdef_secret y".to_owned(),
        STANDARD.encode("kg_live_0123456789abcdef_secret"),
    ] {
        assert!(needle.is_in(&text), "{text}");
    }
    assert!(!needle.is_in("kg_live_0123456789abcdef_secre"));
    let pem = include_str!("../../data/jose/p256.private.pem");
    let needle = Needle::of_pem("a private key", pem);
    assert!(needle.is_in(pem));
    assert!(needle.is_in(&pem.replace('\n', "")));
    assert!(!needle.is_in(include_str!("../../data/jose/p256.public.pem")));
}
