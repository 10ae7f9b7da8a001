//! Does `keygate explain` print each decision as in `tests/data/explain/*.txt`? `UPDATE_GOLDEN=1` rewrites those files.

use crate::support::LocalGate;
use crate::support::RawClient;
use crate::support::TestIssuer;
use crate::support::issuer;
use crate::support::run_with_input;
use crate::support::wait_until;
use keygate::jose::sign::SigningKey;
use keygate::model::algorithm::Algorithm;
use keygate::model::api_key::ApiKeyEnvironment;
use keygate::model::api_key::ApiKeyText;
use keygate::model::api_key::CredentialDigest;
use serde_json::Value;
use serde_json::json;
use std::fmt::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

/// [`AT`] in seconds since 1970.
const NOW: u64 = 1_795_334_400;
const AT: &str = "2026-11-22T08:00:00Z";

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/explain")
}

struct ExplainFixture {
    folder: tempfile::TempDir,
    key: SigningKey,
    api_key: String,
    revoked: String,
}

impl ExplainFixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        put(
            "keygate.yaml",
            &std::fs::read_to_string(data().join("keygate.yaml")).unwrap(),
        );
        let key = issuer::key(Algorithm::Es256);
        put("a.pem", &key.public_pem());
        put(
            "set.json",
            &json!({ "keys": [{ "kty": "oct", "k": "AAAA" }] }).to_string(),
        );
        put("good.json", &json!({ "keys": [key.public_jwk()] }).to_string());
        let other = issuer::key(Algorithm::EdDsa);
        put("other.json", &json!({ "keys": [other.public_jwk()] }).to_string());
        let make = |byte: u8| ApiKeyText::generate("kg", ApiKeyEnvironment::Test, &mut |bytes| bytes.fill(byte));
        let (good, revoked) = (make(1), make(2));
        let mut keys = "keys:\n".to_owned();
        for (key, more) in [(&good, ""), (&revoked, "    revoked_at: 2026-01-02T00:00:00Z\n")] {
            let digest = CredentialDigest::sha256(key.expose()).to_hex();
            write!(
                keys,
                "  - id: {}\n    digest: sha256:{digest}\n    name: ci\n    env: test\n    scopes: [orders:read, gold]\n    \
                 client: billing\n    created_at: 2026-01-01T00:00:00Z\n    expires_at: 2026-12-01T00:00:00Z\n{more}",
                key.id().as_str()
            )
            .unwrap();
        }
        put("keys.yaml", &keys);
        put("client.pem", &std::fs::read_to_string("conf/dev-tls.pem").unwrap());
        Self {
            key,
            api_key: good.expose().to_owned(),
            revoked: revoked.expose().to_owned(),
            folder,
        }
    }

    /// Returns a valid token with `more` merged into its claims; `null` removes a claim.
    fn token(&self, more: &Value) -> String {
        let mut claims = json!({
            "iss": issuer::ISSUER, "aud": issuer::AUDIENCE, "sub": "alice", "client_id": "app-1", "tier": "gold",
            "scope": "orders:read gold", "iat": NOW - 60, "exp": NOW + 600,
        });
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let claims: Value = claims
            .as_object()
            .unwrap()
            .clone()
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .collect();
        self.key.sign("at+jwt", &claims).unwrap()
    }

    /// Runs `keygate explain` with `input` on stdin. Returns exit code, stdout and stderr.
    fn explain(&self, args: &[&str], input: &str) -> (i32, String, String) {
        let mut command = Command::new(crate::support::program());
        command
            .args(["explain", "--config", "keygate.yaml"])
            .args(if args.contains(&"--at") { &[][..] } else { &["--at", AT] })
            .args(args)
            .current_dir(self.folder.path());
        let output = run_with_input(&mut command, input);
        let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
        let (out, err) = (text(output.stdout), text(output.stderr));
        assert!(!err.contains("panicked"), "{err}");
        (output.status.code().expect("it ends by itself"), out, err)
    }
}

/// Returns the name, the arguments and the stdin of each case; stdin is
/// the credential where the arguments contain `--token-file -` or `--key-file -`.
fn cases(fixture: &ExplainFixture) -> Vec<(&'static str, Vec<&'static str>, String)> {
    let token = |more: Value| fixture.token(&more);
    let good = token(json!({}));
    let (head, signature) = good.rsplit_once('.').unwrap();
    let (header, _) = head.split_once('.').unwrap();
    let other_payload = issuer::base64url(json!({ "iss": issuer::ISSUER, "exp": NOW + 60 }).to_string().as_bytes());
    let orders = vec!["--route", "orders", "--token-file", "-"];
    let remote = json!({ "iss": "https://remote.example.test" });
    let keyed = |more: &[&'static str]| {
        let mut args = vec!["--route", "orders", "--key-file", "-"];
        args.extend(more);
        args
    };
    let wrong_secret = {
        let same_id = ApiKeyText::generate("kg", ApiKeyEnvironment::Test, &mut {
            let mut calls = 0;
            move |bytes: &mut [u8]| {
                calls += 1;
                bytes.fill(if calls <= 16 { 1 } else { 9 });
            }
        });
        same_id.expose().to_owned()
    };
    let none = String::new;
    vec![
        ("token-allowed", orders.clone(), good.clone()),
        (
            "token-without-a-client",
            orders.clone(),
            fixture.token(&json!({ "client_id": null })),
        ),
        (
            "token-expired",
            orders.clone(),
            token(json!({ "exp": NOW - 10_800, "iat": NOW - 14_400, "scope": "other" })),
        ),
        (
            "token-lives-too-long",
            orders.clone(),
            token(json!({ "exp": NOW + 200_000 })),
        ),
        (
            "token-not-yet-valid",
            orders.clone(),
            token(json!({ "nbf": NOW + 300 })),
        ),
        (
            "token-of-another-issuer",
            orders.clone(),
            token(json!({ "iss": "https://evil.example/\u{1b}[2J" })),
        ),
        (
            "token-for-somebody-else",
            orders.clone(),
            token(json!({ "aud": ["https://other.example", "x"] })),
        ),
        (
            "token-lacks-a-claim",
            orders.clone(),
            token(json!({ "tier": "bronze" })),
        ),
        (
            "token-lacks-a-scope",
            orders.clone(),
            token(json!({ "scope": "gold orders:write" })),
        ),
        (
            "token-changed",
            orders.clone(),
            format!("{header}.{other_payload}.{signature}"),
        ),
        ("token-broken", orders.clone(), "a.b".to_owned()),
        (
            "token-of-another-type",
            orders.clone(),
            fixture.key.sign("JWT", &json!({ "iss": issuer::ISSUER })).unwrap(),
        ),
        (
            "keys-not-there",
            vec!["--route", "remote", "--token-file", "-"],
            token(remote.clone()),
        ),
        (
            "keys-given",
            vec!["--route", "remote", "--token-file", "-", "--jwks", "remote=good.json"],
            token(remote.clone()),
        ),
        (
            "keys-given-without-the-one",
            vec!["--route", "remote", "--token-file", "-", "--jwks", "remote=other.json"],
            token(remote),
        ),
        ("no-credential", vec!["--route", "orders"], none()),
        ("key-allowed", keyed(&[]), fixture.api_key.clone()),
        (
            "key-with-several-upstreams",
            vec!["--route", "split", "--key-file", "-"],
            fixture.api_key.clone(),
        ),
        (
            "several-upstreams-and-the-header-that-decides",
            vec!["--route", "canary", "--header", "x-tenant: acme"],
            none(),
        ),
        (
            "several-upstreams-and-the-address-that-decides",
            vec!["--route", "canary"],
            none(),
        ),
        ("key-revoked", keyed(&[]), fixture.revoked.clone()),
        ("key-with-a-wrong-secret", keyed(&[]), wrong_secret),
        (
            "key-expired",
            keyed(&["--at", "2026-12-01T00:00:00Z"]),
            fixture.api_key.clone(),
        ),
        (
            "key-where-a-token-is-asked-for",
            vec!["--route", "remote", "--key-file", "-"],
            fixture.api_key.clone(),
        ),
        ("two-credentials", keyed(&["--token", "abc"]), fixture.api_key.clone()),
        (
            "public",
            vec!["--request", "GET https://anywhere.example/status"],
            none(),
        ),
        (
            "what-reaches-the-upstream",
            vec![
                "--request",
                "POST https://API.example.test:443/v1/orders/%37?a=b",
                "--header",
                "X-Keygate-Subject: root",
                "--header",
                "Cookie: session=s3cret",
                "--header",
                "X-Forwarded-For: 1.1.1.1",
                "--from",
                "192.0.2.7",
                "--token-file",
                "-",
            ],
            good.clone(),
        ),
        (
            "dot-segments",
            vec!["--request", "GET https://api.example.test/v1/orders/../../admin"],
            none(),
        ),
        (
            "no-route",
            vec!["--request", "GET https://api.example.test/nothing"],
            none(),
        ),
        (
            "another-method",
            vec!["--request", "DELETE https://api.example.test/v1/orders/7"],
            none(),
        ),
        (
            "near-miss",
            vec!["--request", "GET https://api.example.test/v1/orders/OPEN"],
            none(),
        ),
        (
            "query-credential",
            vec![
                "--request",
                "GET https://api.example.test/v1/orders/7?access_token=s3cret",
            ],
            none(),
        ),
        (
            "two-hosts",
            vec!["--route", "status", "--header", "Host: a", "--header", "Host: b"],
            none(),
        ),
        (
            "preflight",
            vec![
                "--request",
                "OPTIONS https://api.example.test/v1/orders/7",
                "--header",
                "Origin: https://app.example.test",
                "--header",
                "Access-Control-Request-Method: GET",
            ],
            none(),
        ),
        (
            "policy-met-but-for-what-only-counts",
            vec!["--route", "policy", "--token-file", "-"],
            good.clone(),
        ),
        (
            "policy-not-met",
            vec!["--request", "POST http://a.test/policy", "--token-file", "-"],
            token(json!({ "org": "acme" })),
        ),
        ("certificate-not-there", vec!["--route", "certificate"], none()),
        (
            "certificate-allowed",
            vec!["--route", "certificate", "--client-certificate", "client.pem"],
            none(),
        ),
        (
            "certificate-not-allowed",
            vec![
                "--route",
                "both",
                "--client-certificate",
                "client.pem",
                "--token-file",
                "-",
            ],
            good.clone(),
        ),
        (
            "conditions-met",
            vec!["--route", "version-2", "--from", "10.1.2.3"],
            none(),
        ),
        (
            "conditions-not-met",
            vec![
                "--request",
                "GET https://a.test/versions?dry+run=no",
                "--header",
                "X-Version: 2",
            ],
            none(),
        ),
        (
            "condition-given-twice",
            vec![
                "--request",
                "GET https://a.test/versions",
                "--header",
                "X-Version: 2",
                "--header",
                "x-version: 1",
            ],
            none(),
        ),
        (
            "address-not-allowed",
            vec!["--route", "version-2", "--from", "10.9.0.1"],
            none(),
        ),
        (
            "json",
            vec!["--route", "orders", "--token-file", "-", "--output", "json"],
            token(json!({ "exp": NOW - 31 })),
        ),
    ]
}

#[test]
fn each_decision_is_told_as_it_is_kept_in_the_golden_files() {
    let fixture = ExplainFixture::new();
    let mut wrong = String::new();
    for (name, args, input) in cases(&fixture) {
        let (code, out, err) = fixture.explain(&args, &input);
        let verdict = format!("exit {code}\n{out}{err}");
        // The output contains no credential, no secret part of one, and no upstream credential of the file.
        let secrets = [
            input.as_str(),
            input.rsplit(['.', '_']).next().unwrap_or_default(),
            "s3cret",
            "a-shared-secret",
        ];
        for secret in secrets.into_iter().filter(|secret| secret.len() > 3) {
            assert!(!verdict.contains(secret), "{name} tells {secret}: {verdict}");
        }
        assert!(!verdict.contains('\u{1b}'), "{name}: {verdict:?}");
        let golden = data().join(format!("{name}.txt"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &verdict).unwrap();
        } else if verdict != std::fs::read_to_string(&golden).unwrap_or_default() {
            writeln!(wrong, "{name}:\n{verdict}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn what_is_not_understood_is_2_and_says_why() {
    let fixture = ExplainFixture::new();
    for (args, word) in [
        (
            &["--route", "ordres"][..],
            "no route is named `ordres`; there are orders, remote, policy, open, status, certificate, both",
        ),
        (&["--request", "https://a.example/"], "write a method and a URL"),
        (&["--request", "GET /orders"], "write a method and a URL"),
        (&["--route", "orders", "--header", "x"], "write `Name: value`"),
        (&["--route", "orders", "--token-file", "absent"], "absent: "),
        (&["--route", "orders", "--client-certificate", "absent"], "absent: "),
        (
            &["--route", "orders", "--client-certificate", "a.pem"],
            "a.pem: there is no `CERTIFICATE` block in it",
        ),
        (&["--route", "orders", "--jwks", "main"], "write ISSUER=FILE"),
        (
            &["--route", "orders", "--jwks", "mian=good.json"],
            "there is no such issuer; there are main, remote",
        ),
        (&["--route", "orders", "--jwks", "remote=a.pem"], "--jwks remote: "),
        (&["--route", "orders", "--jwks", "remote=set.json"], "private parts"),
        (
            &["--route", "orders", "--header", "x: \u{1}"],
            "no HTTP parser would take this header value",
        ),
        (&[], "required arguments were not provided"),
        (
            &["--route", "orders", "--request", "GET http://a/"],
            "cannot be used with",
        ),
    ] {
        let (code, out, err) = fixture.explain(args, "");
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}: {err}");
        assert!(err.contains(word), "{word:?} in {err}");
    }
    std::fs::write(fixture.folder.path().join("keygate.yaml"), "routes: 1").unwrap();
    let (code, _, err) = fixture.explain(&["--route", "orders"], "");
    assert!(code == 2 && err.contains("keygate.yaml:1:1"), "{err}");
}

#[test]
fn nothing_is_left_behind_and_the_answer_is_the_same_every_time() {
    let fixture = ExplainFixture::new();
    let files = || {
        let mut names: Vec<_> = std::fs::read_dir(fixture.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    let (before, token) = (files(), fixture.token(&json!({})));
    let args = ["--route", "orders", "--token-file", "-", "--output", "json"];
    let first = fixture.explain(&args, &token);
    assert_eq!(first.0, 0, "{first:?}");
    for _ in 0..3 {
        assert_eq!(fixture.explain(&args, &token), first);
    }
    assert_eq!(files(), before);
    let verdict: Value = serde_json::from_str(&first.1).unwrap();
    assert_eq!(verdict["outcome"], "allowed");
    let stages: Vec<&str> = verdict["stages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stage| stage["stage"].as_str().unwrap())
        .collect();
    assert_eq!(stages, ["accept", "intake", "authenticate", "authorize", "limit"]);
}

/// `explain` reads the keys that the gate stored on disk, and agrees with the running gate about each request.
#[test]
fn the_verdict_is_that_of_a_running_gate_and_keys_that_it_kept_are_used() {
    let key = issuer::key(Algorithm::Es256);
    let published = TestIssuer::start(&[&key]);
    let indented = published.yaml("").trim_end().replace('\n', "\n    ");
    let yaml = format!(
        "state_dir: state\nlisteners: [{{ address: '127.0.0.1:0' }}]\nadmin: {{ address: '127.0.0.1:0' }}\n\
         issuers:\n  main:\n    {indented}\nupstreams: {{ echo: {{ builtin: echo }} }}\nroutes:\n  - name: a\n    \
         match: {{ host: a.test, path: '/a/{{id}}' }}\n    accept: [jwt]\n    scopes: {{ all: ['orders:read'] }}\n    \
         upstream: echo\n"
    );
    let gate = LocalGate::start_with(&yaml, &[]);
    gate.wait_ready();
    let stored = gate.folder().join("state/issuers/main.json");
    wait_until("the keys are stored", || stored.is_file());
    let now = issuer::now();
    let token = |change: Value| issuer::token(&key, &issuer::claims_with(change));
    let good = token(json!({}));
    for (path, token) in [
        ("/a/1", good.clone()),
        ("/a/1", token(json!({ "exp": now - 1000 }))),
        ("/a/1", token(json!({ "scope": "other" }))),
        ("/a/1", token(json!({ "aud": "other" }))),
        ("/a/1", token(json!({ "iss": "https://other.test" }))),
        ("/a/1", token(json!({ "nbf": "soon" }))),
        ("/a/1", format!("{good}x")),
        ("/a/1", "a b".to_owned()),
        ("/a/../a", good.clone()),
        ("/b", good.clone()),
    ] {
        let head = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer {token}\r\n\r\n");
        let response = RawClient::connect(gate.data()).exchange(head);
        let output = Command::new(crate::support::program())
            .args([
                "explain",
                "--config",
                "keygate.yaml",
                "--output",
                "json",
                "--token",
                &token,
            ])
            .args(["--request", &format!("GET http://a.test{path}")])
            .current_dir(gate.folder())
            .output()
            .unwrap();
        let verdict: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        let status = verdict["status"].as_u64().unwrap_or(200);
        assert_eq!(
            u64::from(response.status),
            status,
            "{path}: {} {verdict}",
            response.text()
        );
        if response.status != 200 {
            assert_eq!(verdict["problem"]["type"], response.json()["type"], "{path}");
        }
        assert_eq!(output.status.code(), Some(i32::from(response.status != 200)));
        // The access record agrees too.
        let (record, reason) = (gate.record(&response), &verdict["reason"]);
        assert_eq!(record["status"], response.status, "{record}");
        assert!(
            reason.is_null() || record.to_string().contains(reason.as_str().unwrap()),
            "{record} {reason}"
        );
    }
    assert_eq!(published.fetches(), 1, "explaining asks nobody");
}
