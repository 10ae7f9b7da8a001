//! Maverics: API clients with generated keys, and the programs of Maverics' documentation in four languages.

use super::ExampleGate;
use super::access_token;
use super::claims;
use super::oauth_error;
use super::problem;
use super::text;
use crate::support::Program;
use crate::support::ProgramOutput;
use crate::support::issuer::now;
use keygate::jose::sign::SigningKey;
use keygate::jose::sign::token_id;
use keygate::model::algorithm::Algorithm;
use serde_json::Value;
use serde_json::json;
use std::path::Path;
use std::path::PathBuf;

const API: &str = "/api/v1/apps";
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A program of the documentation: its language, how it starts (`None` where this machine has no such program), and what
/// it prints before the status of the response.
type DocumentedProgram = (&'static str, fn() -> Option<Program>, &'static str);

const PROGRAMS: [DocumentedProgram; 4] = [
    ("Python", || Some(Program::python("maverics/main.py")), ""),
    ("TypeScript", || Some(Program::node("maverics/main.ts")), ""),
    ("Rust", || Some(Program::maverics_rust()), ""),
    ("Go", Program::maverics_go, "status: "),
];

/// A key pair that the gate generated.
struct ClientKeyPair {
    kid: String,
    /// The downloaded private key.
    path: PathBuf,
    signer: SigningKey,
}

#[track_caller]
fn client(system: &ExampleGate, more: Value) -> String {
    let mut body = json!({
        "name": "CI deploy bot", "description": "Deploys from CI", "authentication": "private_key_jwt",
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let client = system.admin.create("/clients", body);
    assert_eq!(client.get("client_secret"), None, "passwordless: {client}");
    text(&client["id"])
}

/// Performs the documented steps "Add Key Pair" and "Download Private Key".
#[track_caller]
fn add_key_pair(system: &ExampleGate, client: &str, file: &str) -> ClientKeyPair {
    let path = format!("/clients/{client}/keys");
    let created = system.admin.create(&path, json!({ "generate": "ES256" }));
    let pem = text(&created["private_key"]);
    let signer = SigningKey::from_pkcs8_pem(Algorithm::Es256, &pem).unwrap();
    assert!(
        text(&created["fingerprint"]).contains(signer.kid()),
        "RFC 7638: {created}"
    );
    // The private key is returned at creation only.
    let shown = system.admin.get(&path).to_string();
    assert!(
        shown.contains(&text(&created["kid"])) && !shown.contains("PRIVATE"),
        "{shown}"
    );
    ClientKeyPair {
        kid: text(&created["kid"]),
        path: system.file(file, &pem),
        signer,
    }
}

/// Runs a program with only the three variables that it reads.
#[track_caller]
fn run(program: Program, system: &ExampleGate, client: &str, key: &Path) -> ProgramOutput {
    program
        .env("CLIENT_ID", client)
        .env("KEY_PATH", key)
        .env("TOKEN_URL", format!("{}/oauth/token", system.url))
        .run()
}

/// Runs each of [`PROGRAMS`] that this machine has. Returns its language, its output and the status that it printed.
#[track_caller]
fn run_all(system: &ExampleGate, client: &str, key: &Path) -> Vec<(&'static str, ProgramOutput, String)> {
    let run = |(language, program, before): DocumentedProgram| {
        let output = run(program()?, system, client, key);
        let status = output.stdout.strip_prefix(before).and_then(|rest| rest.get(..4));
        let status = status.unwrap_or_else(|| panic!("{language}: {output:?}")).to_owned();
        Some((language, output, status))
    };
    let outputs: Vec<_> = PROGRAMS.into_iter().filter_map(run).collect();
    assert!(outputs.len() >= PROGRAMS.len() - 1, "only Go may be missing");
    outputs
}

/// Returns the quoted text after `access_token`, in any language's notation for objects.
#[track_caller]
fn printed_token(output: &ProgramOutput) -> String {
    let (_, rest) = output
        .stdout
        .split_once("access_token")
        .unwrap_or_else(|| panic!("{output:?}"));
    let is_token = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    let rest = rest.trim_start_matches(|letter| !is_token(letter));
    rest.split(|letter| !is_token(letter)).next().unwrap().to_owned()
}

/// The Go program is built from that text itself.
#[test]
fn the_programs_equal_the_text_of_the_documentation_except_in_indentation() {
    for (program, document) in [
        ("main.py", include_str!("../../data/maverics/main.py.txt")),
        ("main.ts", include_str!("../../data/maverics/main.ts.txt")),
        ("src/main.rs", include_str!("../../data/maverics/main.rs.txt")),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/clients/maverics")
            .join(program);
        let program = std::fs::read_to_string(path).unwrap();
        let lines = |text: &'static str| text.lines().map(str::trim).collect::<Vec<_>>();
        let written: Vec<&str> = program.lines().map(str::trim).collect();
        assert_eq!(written, lines(document));
    }
}

#[test]
fn the_programs_get_tokens_that_the_api_takes() {
    let system = ExampleGate::start("maverics");
    let discovered = system.get("/.well-known/openid-configuration", "").json();
    assert_eq!(discovered["token_endpoint"], format!("{}/oauth/token", system.url));
    for format in ["jwt", "opaque"] {
        let client = client(&system, json!({ "token_format": format }));
        let pair = add_key_pair(&system, &client, &format!("{format}.pem"));
        for (language, output, status) in run_all(&system, &client, &pair.path) {
            assert!(output.status.success() && status == "200 ", "{language}: {output:?}");
            assert!(
                output.stdout.contains("Bearer") && output.stdout.contains("3600"),
                "{language}: {output:?}"
            );
            let token = printed_token(&output);
            assert_eq!(
                token.matches('.').count(),
                if format == "jwt" { 2 } else { 0 },
                "{language}: {token}"
            );
            assert_eq!(system.with_token(API, &token).status, 200, "{language}");
            let seen = system.upstream.received().pop().unwrap();
            assert_eq!(seen.headers_named("x-keygate-client-id"), [&*client], "{language}");
        }
    }
}

#[test]
fn the_programs_print_the_errors_of_an_unknown_client_and_of_a_wrong_key() {
    let system = ExampleGate::start("maverics");
    let (client, other) = (client(&system, json!({})), client(&system, json!({})));
    let pair = add_key_pair(&system, &client, "client.pem");
    let others = add_key_pair(&system, &other, "other.pem");
    for (client, key, description) in [
        ("client_of-nobody", &pair, "invalid client"),
        (&*client, &others, "invalid JWT signature"),
    ] {
        for (language, output, status) in run_all(&system, client, &key.path) {
            assert_eq!(status, "400 ", "{language}: {output:?}");
            for words in ["invalid_client", description] {
                assert!(output.stdout.contains(words), "{language}: {words}: {output:?}");
            }
        }
    }
}

#[test]
fn every_row_of_the_table_of_errors_is_given_with_its_words() {
    let system = ExampleGate::start("maverics");
    let client = client(&system, json!({}));
    let pair = add_key_pair(&system, &client, "client.pem");
    let good = system.assertion(&client, &pair.signer, None);
    let [head, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else {
        panic!("{good}")
    };
    let description = |assertion: &str| {
        let (error, description) = oauth_error(&system.token_by_assertion(assertion), 400);
        assert_eq!(error, "invalid_client", "{assertion}");
        description
    };

    let stranger = SigningKey::generate_es256().unwrap();
    assert_eq!(
        description(&system.assertion("client_unknown", &pair.signer, None)),
        "invalid client"
    );
    assert_eq!(
        description(&system.assertion(&client, &stranger, None)),
        "invalid JWT signature"
    );
    let tampered = format!("{head}.{payload}.{}A", &signature[..signature.len() - 1]);
    let tampered = if tampered == good {
        format!("{head}.{payload}.{}Q", &signature[..signature.len() - 1])
    } else {
        tampered
    };
    assert!(["invalid JWT signature", "failed to parse JWT"].contains(&&*description(&tampered)));
    for broken in [
        "x",
        "a.b",
        "a.b.c",
        &format!("{head}.{payload}"),
        &format!("{good}.{signature}"),
        &format!("{head}=.{payload}.{signature}"),
        &format!("{head}.not+base64.{signature}"),
    ] {
        assert_eq!(description(broken), "failed to parse JWT", "{broken}");
    }

    let all = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", JWT_BEARER),
        ("client_assertion", &*good),
    ];
    for left_out in 0..all.len() {
        let fields: Vec<_> = (0..all.len())
            .filter(|place| *place != left_out)
            .map(|place| all[place])
            .collect();
        let reply = system.form("/oauth/token", "", &fields);
        let (error, description) = oauth_error(&reply, 400);
        assert_eq!(error, "invalid_request", "without {}", all[left_out].0);
        assert!(!description.is_empty());
    }
    for (place, value) in [(1, "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"), (2, "")] {
        let mut fields = all;
        fields[place].1 = value;
        let reply = system.form("/oauth/token", "", &fields);
        assert_eq!(oauth_error(&reply, 400).0, "invalid_request", "{fields:?}");
    }
    // None of these attempts used up the valid assertion.
    access_token(&system.token_by_assertion(&good));
}

#[test]
fn what_the_document_demands_of_an_assertion_is_demanded() {
    let system = ExampleGate::start("maverics");
    let client = client(&system, json!({}));
    let pair = add_key_pair(&system, &client, "client.pem");
    let endpoint = format!("{}/oauth/token", system.url);
    let ask = |change: Value| {
        let mut claims = json!({ "iss": client, "sub": client, "aud": endpoint, "iat": now(), "exp": now() + 300 });
        claims
            .as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let assertion = pair
            .signer
            .sign_text(r#"{"alg":"ES256","typ":"JWT"}"#, &claims.to_string());
        system.token_by_assertion(&assertion.unwrap())
    };
    // Without `jti`, like the documented programs, and with `jti`. Neither assertion has a `kid`.
    access_token(&ask(json!({})));
    access_token(&ask(json!({ "aud": system.url, "jti": token_id() })));
    access_token(&ask(json!({ "aud": [endpoint], "jti": token_id() })));
    for change in [
        json!({ "iss": "somebody-else" }),
        json!({ "sub": "somebody-else" }),
        json!({ "aud": [endpoint, "https://evil.example"] }),
        json!({ "aud": "https://evil.example/oauth/token" }),
        json!({ "aud": format!("{endpoint}/") }),
        json!({ "exp": now() - 300 }),
        json!({ "exp": now() + 86_400 }),
        json!({ "exp": null }),
    ] {
        assert_eq!(oauth_error(&ask(change.clone()), 400).0, "invalid_client", "{change}");
    }
}

#[test]
fn key_pairs_are_rotated_and_revoked_one_by_one() {
    let system = ExampleGate::start("maverics");
    let client = client(&system, json!({}));
    let old = add_key_pair(&system, &client, "old.pem");
    let issued = access_token(&system.token_by_key(&client, &old.signer, Some(&old.kid)));
    let new = add_key_pair(&system, &client, "new.pem");
    for pair in [&old, &new] {
        for (language, output, status) in run_all(&system, &client, &pair.path) {
            assert_eq!(status, "200 ", "{language}: {output:?}");
        }
    }
    system
        .admin
        .perform("DELETE", &format!("/clients/{client}/keys/{}", old.kid), None);
    for kid in [Some(&*old.kid), None] {
        let reply = system.token_by_key(&client, &old.signer, kid);
        assert_eq!(oauth_error(&reply, 400).0, "invalid_client");
    }
    let output = run(Program::python("maverics/main.py"), &system, &client, &new.path);
    assert!(output.stdout.starts_with("200 "), "the other pair: {output:?}");
    assert_eq!(
        system.with_token(API, &issued).status,
        200,
        "remains valid until it expires"
    );
    let kids = system.admin.get(&format!("/clients/{client}/keys"))["items"].clone();
    let in_use: Vec<&Value> = kids
        .as_array()
        .unwrap()
        .iter()
        .filter(|key| key["revoked_at"].is_null())
        .collect();
    assert_eq!(in_use.len(), 1, "{kids}");
    assert_eq!(in_use[0]["kid"], new.kid);
}

#[test]
fn a_deleted_client_gets_no_more_tokens() {
    let system = ExampleGate::start("maverics");
    for (format, revoke) in [("jwt", false), ("jwt", true), ("opaque", false), ("opaque", true)] {
        let client = client(&system, json!({ "token_format": format }));
        let pair = add_key_pair(&system, &client, "client.pem");
        let issued = access_token(&system.token_by_key(&client, &pair.signer, None));
        assert_eq!(system.with_token(API, &issued).status, 200);
        system
            .admin
            .perform("DELETE", &format!("/clients/{client}?revoke_tokens={revoke}"), None);
        let reply = system.token_by_key(&client, &pair.signer, None);
        assert_eq!(
            oauth_error(&reply, 400),
            ("invalid_client".to_owned(), "invalid client".to_owned())
        );
        // Issued tokens stay valid until they expire, unless the revocation includes them.
        let response = system.with_token(API, &issued);
        if revoke {
            assert_eq!(problem(&response, 401), "invalid-token", "{format}")
        } else {
            assert_eq!(response.status, 200, "{format}")
        }
    }
}

#[test]
fn an_opaque_token_says_nothing_and_is_revoked_like_any_other() {
    let system = ExampleGate::start("maverics");
    let client = client(&system, json!({ "token_format": "opaque" }));
    let pair = add_key_pair(&system, &client, "client.pem");
    let report = system
        .oauth4webapi(&client)
        .env("KEY_PATH", &pair.path)
        .env("ALGORITHM", "ES256")
        .env("THEN", "introspect revoke introspect")
        .run()
        .json();
    let token = text(&report["token"]["access_token"]);
    assert!(token.starts_with("kgt_") && !token.contains('.'), "{token}");
    assert_eq!(report["then"][0]["active"], true, "{report}");
    assert_eq!(report["then"][0]["client_id"], client, "{report}");
    assert_eq!(report["then"][2], json!({ "active": false }), "{report}");
    assert_eq!(problem(&system.with_token(API, &token), 401), "invalid-token");

    let token = access_token(&system.token_by_key(&client, &pair.signer, None));
    assert_eq!(system.with_token(API, &token).status, 200);
    let seen = system.upstream.only_received();
    assert_eq!(seen.headers_named("x-keygate-credential-type"), ["opaque"]);
    system
        .admin
        .post(&format!("/clients/{client}/revoke-tokens"), json!({}));
    assert_eq!(problem(&system.with_token(API, &token), 401), "invalid-token");
}

#[test]
fn the_life_of_a_client_is_in_the_audit_log() {
    let system = ExampleGate::start("maverics");
    let client = client(&system, json!({}));
    let path = format!("/clients/{client}");
    let pair = add_key_pair(&system, &client, "client.pem");
    system
        .admin
        .perform("PATCH", &path, Some(json!({ "description": "another" })));
    system
        .admin
        .perform("DELETE", &format!("{path}/keys/{}", pair.kid), None);
    system.admin.perform("DELETE", &path, None);

    let log = system.admin.get("/audit?limit=200");
    let events: Vec<&Value> = log["items"].as_array().unwrap().iter().collect();
    let of_client = |event: &&&Value| event.to_string().contains(&client);
    let of_client: Vec<&Value> = events.iter().filter(of_client).copied().collect();
    assert_eq!(of_client.len(), 5, "{log}");
    for event in &of_client {
        assert_eq!(event["actor"], "admin.token", "{event}");
        assert_eq!(event["from"], "127.0.0.1", "{event}");
        assert!(event["at"].is_string() && event["action"].is_string(), "{event}");
    }
    let mut actions: Vec<String> = of_client.iter().map(|event| text(&event["action"])).collect();
    actions.sort();
    actions.dedup();
    assert_eq!(actions.len(), 5, "each has a word of its own: {actions:?}");
    let verified = system.admin.get("/audit/verify");
    assert_eq!(verified["state"], "whole", "{verified}");
}

#[test]
fn tokens_are_those_of_rfc_9068() {
    let system = ExampleGate::start("maverics");
    let client = client(&system, json!({}));
    let pair = add_key_pair(&system, &client, "client.pem");
    let token = access_token(&system.token_by_key(&client, &pair.signer, None));
    let claims = claims(&token);
    for (claim, value) in [
        ("iss", &*system.url),
        ("aud", &*system.url),
        ("sub", &*client),
        ("client_id", &*client),
    ] {
        assert_eq!(claims[claim], value, "{claims}");
    }
    for claim in ["exp", "iat"] {
        assert!(claims[claim].is_u64(), "{claims}");
    }
    assert!(claims["jti"].is_string(), "{claims}");
}
