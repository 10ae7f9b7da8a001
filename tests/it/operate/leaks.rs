//! What does the program print about requests? Never a credential, a raw control character, or a new metric series.

use crate::operate::ISSUER_YAML;
use crate::operate::api_key;
use crate::operate::bearer;
use crate::operate::claims;
use crate::operate::create_key;
use crate::operate::get;
use crate::operate::keys_command;
use crate::operate::request;
use crate::operate::token;
use crate::support::Binary;
use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::KillAtEnd;
use crate::support::RawClient;
use crate::support::RunningGate;
use crate::support::wait_for;
use crate::support::wait_until;
use keygate::jose::sign::SigningKey;
use keygate::model::api_key::ApiKeyText;
use keygate::model::api_key::system_random;
use serde_json::Value;
use serde_json::json;
use std::collections::BTreeSet;

/// Returns a random text that occurs nowhere else.
fn marker() -> String {
    let mut bytes = [0_u8; 12];
    system_random(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the parts of a credential that must appear nowhere. The beginning
/// of a credential may appear: it shows the type and the id of a key.
fn distinctive(credential: &str) -> Vec<String> {
    match credential.rsplit_once('.') {
        // The signature of a token, and the payload before it.
        Some((signed, signature)) => {
            let payload = signed.rsplit('.').next().unwrap_or_default();
            let mut parts = vec![signature.to_owned(), payload.to_owned()];
            parts.retain(|part| part.len() >= 12);
            parts
        }
        // The secret of an API key.
        None if credential.starts_with("kg_") => vec![credential[25..].to_owned(), credential[25..45].to_owned()],
        None => vec![credential.to_owned()],
    }
}

fn gateway(level: &str, upstream: &FakeUpstream) -> String {
    GatewayBuilder::new()
        .top(&format!(
            "log: {{ level: {level} }}\nfailed_authentication: off\napi_keys: {{ file: keys.yaml, pepper: \"file:pepper\" }}"
        ))
        .issuer("main", ISSUER_YAML)
        .upstream("only", upstream.address())
        .upstream("dead", "127.0.0.1:1".parse().unwrap())
        .route("both", "match: { path: \"/both/{*rest}\" }\naccept: [jwt, api_key]\nupstream: only")
        .route("jwt", "match: { path: /jwt }\naccept: [jwt]\nupstream: only")
        .route("key", "match: { path: /key }\naccept: [api_key]\nupstream: only")
        .route("dead", "match: { path: /dead }\naccept: [jwt, api_key]\nupstream: dead")
        .route("scoped", "match: { path: /scoped }\naccept: [jwt, api_key]\nscopes: { all: [admin] }\nupstream: only")
        .route("open", "match: { path: /open }\npublic: true\nupstream: only")
        .route(
            "passing",
            "match: { path: /passing }\naccept: [jwt, api_key]\nforward_credential: true\nquery_credentials: ignore\nupstream: only",
        )
        .yaml()
}

const PEPPER: &str = "pepper-nobody-may-read-0123456789";

/// Returns requests with `credential` in every place where a client can put a credential.
fn requests_with(credential: &str) -> Vec<Vec<u8>> {
    let headers = [
        bearer(credential),
        api_key(credential),
        format!("authorization: bearer {credential}"),
        format!("Authorization: {credential}"),
        format!("Authorization: Basic {credential}"),
        format!("Authorization: Bearer {credential} {credential}"),
        format!("Authorization: Bearer  {credential}"),
        format!("Authorization: Bearer {credential}\u{7}"),
        format!("Authorization: Bearer {credential}\u{e9}"),
        format!("X-Api-Key: {credential}, {credential}"),
        format!("X_Api_Key: {credential}"),
        format!("X-Api-Key : {credential}"),
        format!("Proxy-Authorization: Bearer {credential}"),
        format!("Cookie: session={credential}"),
        format!("Connection: {credential}"),
        format!("Expect: {credential}"),
        format!("Transfer-Encoding: {credential}"),
        format!("Content-Length: {credential}"),
        format!("Authorization: Bearer {credential}{}", "a".repeat(9000)),
        format!("X-Api-Key: {}{credential}", "b".repeat(40_000)),
        format!("Authorization: Bearer {credential}\r\nX-Api-Key: {credential}"),
        format!("Authorization: Bearer {credential}\r\nAuthorization: Bearer {credential}"),
        format!("traceparent: {credential}"),
        format!(" folded: {credential}"),
        format!("no colon {credential}"),
    ];
    let mut all = Vec::new();
    for path in [
        "/both/x",
        "/jwt",
        "/key",
        "/dead",
        "/scoped",
        "/open",
        "/passing",
        "/nowhere",
        "/both/../x",
    ] {
        for header in &headers[..6] {
            all.push(request("GET", path, &[header]).into_bytes());
        }
    }
    for header in &headers {
        all.push(request("POST", "/both/x", &[header]).into_bytes());
    }
    for name in [
        "access_token",
        "api_key",
        "apikey",
        "key",
        "x-api-key",
        "API-KEY",
        "token",
        "api%5fkey",
        "key[]",
    ] {
        for path in ["/both/x", "/open", "/passing", "/nowhere"] {
            all.push(request("GET", &format!("{path}?a=b&{name}={credential}"), &[]).into_bytes());
        }
    }
    // Outside the places of credentials, the log masks only text that looks like a key or a token.
    if !keygate::observe::redact::has_credential(credential) {
        return all;
    }
    for head in [
        format!("{credential}\r\n\r\n"),
        format!("{credential} / HTTP/1.1\r\nHost: a\r\n\r\n"),
        format!("GET /open HTTP/1.1 {credential}\r\nHost: a\r\n\r\n"),
        format!("GET /open HTTP/1.1\nAuthorization: Bearer {credential}\n\n"),
        format!("GET /open HTTP/9.{credential}\r\nHost: a\r\n\r\n"),
        format!("GET /open HTTP/1.1\r\nHost: a\r\nHost: {credential}\r\n\r\n"),
        format!("GET http://user:{credential}@api.test/open HTTP/1.1\r\nHost: api.test\r\n\r\n"),
        format!("GET /open#{credential} HTTP/1.1\r\nHost: api.test\r\n\r\n"),
    ] {
        all.push(head.into_bytes());
    }
    all
}

/// Sends all requests and returns all responses.
fn send_all(binary: &RunningGate, credential: &str) -> String {
    let mut responses = String::new();
    for bytes in requests_with(credential) {
        let mut client = RawClient::connect(binary.data());
        client.send(&bytes);
        client.finish_sending();
        // Some connections end without a response.
        if let Ok(response) = client.try_receive() {
            responses.push_str(&format!("{:?}\n{}\n", response.headers, response.text()));
        }
    }
    responses
}

#[track_caller]
fn assert_absent(secrets: &[String], text: &str, place: &str) {
    for secret in secrets {
        for part in distinctive(secret) {
            if let Some(at) = text.find(&part) {
                let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
                let rest = text[at..].find('\n').map_or(text.len(), |end| at + end);
                panic!("{place} says {part}:\n{}", &text[line..rest]);
            }
        }
    }
}

#[track_caller]
fn check_leaks(level: &str) {
    let upstream = FakeUpstream::start();
    let issuer = SigningKey::generate_es256().unwrap();
    let other = SigningKey::generate_es256().unwrap();
    let files = [
        ("issuer.pem", issuer.public_pem()),
        ("keys.yaml", "keys: []\n".into()),
        ("pepper", PEPPER.into()),
    ];
    let binary = Binary::start_with(
        &gateway(level, &upstream),
        &files.each_ref().map(|(name, text)| (*name, text.as_str())),
    );
    let key = create_key(binary.folder(), &[]);
    let revoked = create_key(binary.folder(), &[]);
    let listed = keys_command(binary.folder(), &["revoke", "--yes", &revoked[8..24]]);
    let with_key = request("GET", "/key", &[&api_key(&key)]);
    RawClient::connect(binary.data()).exchange_until(&with_key, 200, &[401]);
    let mut secrets = vec![
        key.clone(),
        revoked,
        ApiKeyText::generate("kg", "test".parse().unwrap(), &mut system_random)
            .expose()
            .to_owned(),
        token(&issuer, &json!({ "jti": marker() })),
        token(&issuer, &json!({ "exp": 1, "jti": marker() })),
        token(&issuer, &json!({ "aud": "elsewhere", "jti": marker() })),
        token(&other, &json!({ "jti": marker() })),
        format!("e30.e30.{}", marker()),
        marker(),
    ];
    // A valid key with a typo contains nearly the whole secret.
    secrets.push(format!("{}A", &key[..key.len() - 1]));
    let mut responses = String::new();
    for secret in &secrets {
        responses.push_str(&send_all(&binary, secret));
    }
    secrets.push(PEPPER.to_owned());
    secrets.push(issuer.to_pkcs8_pem().unwrap().expose()[60..110].replace('\n', ""));
    // Waits until the last record is written.
    assert_eq!(get(binary.data(), "/open", &["User-Agent: the-end"]).status, 200);
    binary.wait_for_output("the-end");
    let records = binary.access_records();
    assert!(records.len() > 500, "{}", records.len());
    for status in [200, 400, 401, 403, 404, 502] {
        assert!(
            records.iter().any(|record| record["status"] == status),
            "no {status} among them"
        );
    }
    assert_absent(&secrets, &binary.output(), "the log");
    assert_absent(&secrets, &responses, "an answer");
    assert_absent(
        &secrets,
        &crate::support::get(binary.admin(), "/metrics").text(),
        "/metrics",
    );
    assert_absent(
        &secrets,
        &crate::support::get(binary.admin(), "/readyz").text(),
        "/readyz",
    );
    assert_absent(
        &secrets,
        &std::fs::read_to_string(binary.folder().join("keys.yaml")).unwrap(),
        "the keys file",
    );
    assert_absent(&secrets, &format!("{listed:?}"), "`keys revoke`");
    assert_absent(
        &secrets,
        &format!("{:?}", keys_command(binary.folder(), &["list"])),
        "`keys list`",
    );
    // Only the route with `forward_credential` sends a credential to the upstream.
    for received in upstream.received() {
        if received.target().starts_with("/passing") {
            continue;
        }
        for name in ["authorization", "x-api-key"] {
            let public = received.target() == "/open";
            assert!(
                received.headers_named(name).is_empty(),
                "{name} at {} {public}",
                received.target()
            );
        }
    }
    let detail = upstream.address().to_string();
    assert!(
        !responses.contains(&detail) && !responses.contains("127.0.0.1:1"),
        "an answer names an upstream"
    );
}

#[test]
fn s064_s143_no_credential_in_anything_that_is_written() {
    check_leaks("info");
}

#[test]
fn s064_s143_no_credential_in_a_debug_log() {
    check_leaks("debug");
}

#[test]
fn s064_s143_no_credential_in_a_trace_log() {
    check_leaks("trace");
}

#[test]
fn s143_a_credential_where_no_credential_belongs_is_not_repeated_in_the_log() {
    let upstream = FakeUpstream::start();
    let issuer = SigningKey::generate_es256().unwrap();
    let files = [
        ("issuer.pem", issuer.public_pem()),
        ("keys.yaml", "keys: []\n".into()),
        ("pepper", PEPPER.into()),
    ];
    let binary = Binary::start_with(
        &gateway("info", &upstream),
        &files.each_ref().map(|(name, text)| (*name, text.as_str())),
    );
    let secrets = [
        create_key(binary.folder(), &[]),
        token(&issuer, &json!({ "jti": marker() })),
    ];
    for secret in &secrets {
        for target in [
            format!("/both/{secret}"),
            format!("/{secret}"),
            format!("/open?page={secret}"),
            format!("/open?{secret}"),
        ] {
            get(binary.data(), &target, &[]);
        }
        get(binary.data(), "/open", &[&format!("User-Agent: curl {secret}")]);
        get(binary.data(), "/open", &[&format!("X-Request-Id: {secret}")]);
        get(binary.data(), "/open", &[&format!("Host: {secret}")]);
        get(binary.data(), "/open", &[&format!("Host: {secret}.example")]);
    }
    binary.wait_access_records(2 * 8);
    assert_absent(&secrets, &binary.output(), "the log");
}

#[test]
fn s144_control_characters_of_strangers_are_escaped_in_the_log() {
    let hostile = "\u{1b}[31mred\r\n{\"level\":\"ERROR\"}\0\u{202e}\u{9b}x";
    let upstream = FakeUpstream::start();
    let issuer = SigningKey::generate_es256().unwrap();
    for format in ["json", "text"] {
        let yaml = GatewayBuilder::new()
            .top(&format!(
                "log: {{ level: trace, format: {format} }}\nfailed_authentication: off"
            ))
            .issuer("main", ISSUER_YAML)
            .upstream("only", upstream.address())
            .route("jwt", "match: { path: /jwt }\naccept: [jwt]\nupstream: only")
            .route(
                "open",
                "match: { path: \"/open/{*rest}\" }\npublic: true\nupstream: only",
            )
            .yaml();
        let output = match format {
            "json" => {
                let binary = Binary::start_with(&yaml, &[("issuer.pem", &issuer.public_pem())]);
                hostile_requests(binary.data(), &issuer, hostile);
                binary.wait_for_output("the-end");
                let accepted = binary
                    .access_records()
                    .iter()
                    .filter(|record| record["subject"] == hostile)
                    .count();
                assert_eq!(accepted, 1, "the record has the subject whole");
                binary.output()
            }
            // `Binary` reads the addresses from JSON lines.
            _ => {
                let folder = tempfile::tempdir().unwrap();
                std::fs::write(folder.path().join("keygate.yaml"), &yaml).unwrap();
                std::fs::write(folder.path().join("issuer.pem"), issuer.public_pem()).unwrap();
                let child = std::process::Command::new(crate::support::program())
                    .args(["run", "--config", "keygate.yaml"])
                    .current_dir(folder.path())
                    .stdout(std::fs::File::create(folder.path().join("out")).unwrap())
                    .stderr(std::fs::File::create(folder.path().join("err")).unwrap())
                    .spawn()
                    .unwrap();
                let child = KillAtEnd(child);
                let read = |name: &str| String::from_utf8(std::fs::read(folder.path().join(name)).unwrap()).unwrap();
                let address = wait_for("it listens", || data_address(&read("err")));
                hostile_requests(address, &issuer, hostile);
                wait_until("the last record is there", || read("out").contains("the-end"));
                drop(child);
                read("out") + &read("err")
            }
        };
        assert!(output.contains("red"), "{format}");
        let raw = |c: &char| (c.is_control() && *c != '\n') || ['\u{202e}', '\u{2028}'].contains(c);
        let found = output.chars().find(raw);
        assert_eq!(found, None, "{format}");
        if format == "json" {
            for line in output.lines() {
                let read: Result<Value, _> = serde_json::from_str(line);
                assert!(read.is_ok(), "{line}");
            }
        } else {
            assert!(!output.lines().any(|line| line.starts_with("{\"level\"")), "{output}");
        }
    }
}

/// Returns the address of the data listener in a log of text lines.
fn data_address(log: &str) -> Option<std::net::SocketAddr> {
    let end = log.rfind('\n')?;
    let line = log[..end]
        .lines()
        .find(|line| line.contains("Listening") && line.contains("data"))?;
    let (_, address) = line.split_once("127.0.0.1:")?;
    let port = address.split(|sign: char| !sign.is_ascii_digit()).next()?;
    format!("127.0.0.1:{port}").parse().ok()
}

fn hostile_requests(address: std::net::SocketAddr, issuer: &SigningKey, hostile: &str) {
    let signed =
        |header: Value, claims: Value| bearer(&issuer.sign_text(&header.to_string(), &claims.to_string()).unwrap());
    let good = json!({ "alg": "ES256", "typ": "at+jwt", "kid": issuer.kid() });
    let mut bad_kid = good.clone();
    bad_kid["kid"] = hostile.into();
    for header in [
        signed(
            good.clone(),
            claims(&json!({ "sub": hostile, "client_id": hostile, "jti": hostile })),
        ),
        signed(good.clone(), claims(&json!({ "iss": hostile }))),
        signed(bad_kid, claims(&json!({}))),
    ] {
        get(address, "/jwt", &[&header]);
    }
    for target in [
        "/open/%1b%5b31mred",
        "/open/%0d%0ared",
        "/open/%00red",
        "/open/%e2%80%ae",
        "/open/x?a=%1b%5b31m%0a",
    ] {
        get(address, target, &[]);
    }
    for bytes in [
        "GET /open/\u{1b}[31mred HTTP/1.1\r\nHost: a\r\n\r\n",
        "\u{1b}[31mred /open HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /open/x HTTP/1.1\r\nHost: \u{1b}[31mred\r\n\r\n",
        "GET /open/x HTTP/1.1\r\nHost: a\r\nUser-Agent: \u{1b}[31mred\r\n\r\n",
        "GET /open/x HTTP/1.1\r\nHost: a\r\nUser-Agent: \u{202e}red\u{9b}\r\n\r\n",
        "GET /open/x HTTP/1.1\r\nHost: a\r\nX-Request-Id: a\u{1b}[31mred\r\n\r\n",
        "GET /open/x HTTP/1.1\r\nHost: a\r\nX: a\0red\r\n\r\n",
    ] {
        let mut client = RawClient::connect(address);
        client.send(bytes).finish_sending();
        let _ = client.try_receive();
    }
    get(address, "/open/x", &["User-Agent: the-end"]);
}

#[test]
fn s145_nothing_a_request_says_becomes_a_series() {
    let upstream = FakeUpstream::start();
    let issuer = SigningKey::generate_es256().unwrap();
    let files = [
        ("issuer.pem", issuer.public_pem()),
        ("keys.yaml", "keys: []\n".into()),
        ("pepper", PEPPER.into()),
    ];
    let binary = Binary::start_with(
        &gateway("info", &upstream),
        &files.each_ref().map(|(name, text)| (*name, text.as_str())),
    );
    let text = || crate::support::get(binary.admin(), "/metrics").text();
    let series = || -> BTreeSet<String> {
        let text = text();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        samples
            .map(|line| line.rsplit_once(' ').unwrap().0.to_owned())
            .collect()
    };
    let asks = |index: usize, client: &mut RawClient| {
        let random = marker();
        let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": random }).to_string();
        let unknown_kid = bearer(
            &issuer
                .sign_text(
                    &header,
                    &claims(&json!({ "iss": format!("https://{random}") })).to_string(),
                )
                .unwrap(),
        );
        let request = match index % 5 {
            0 => request("GET", &format!("/both/{random}?{random}={random}"), &[]),
            1 => request("GET", "/jwt", &[&unknown_kid]),
            2 => request(
                "GET",
                "/jwt",
                &[&bearer(&token(
                    &issuer,
                    &json!({ "client_id": random, "sub": random, "scope": random }),
                ))],
            ),
            3 => request(
                "GET",
                &format!("/{random}"),
                &[&format!("Host: {random}.test"), &format!("User-Agent: {random}")],
            ),
            _ => request("GET", "/key", &[&api_key(&random)]),
        };
        client.exchange(request);
    };
    let mut client = RawClient::connect(binary.data());
    for index in 0..10 {
        asks(index, &mut client);
    }
    // Each unknown method has its own connection, because the gate may close the connection after the refusal.
    let odd = |index: usize| {
        let mut client = RawClient::connect(binary.data());
        client.send(request(&format!("M{index}"), "/open", &[]));
        let _ = client.try_receive();
    };
    odd(0);
    binary.wait_access_records(11);
    let before = series();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = RawClient::connect(binary.data());
                for index in 0..2500 {
                    asks(index, &mut client);
                }
            });
        }
    });
    for index in 1..50 {
        odd(index);
    }
    binary.wait_access_records(10_060);
    assert_eq!(series(), before);
}
