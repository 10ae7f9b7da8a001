//! Discovery: does the gate find an issuer's keys, and only through metadata that names this issuer?

use super::*;
use crate::support::RawIssuer;
use crate::support::raw_issuer::Reply;
use crate::support::wait_until;

const OAUTH: &str = "/.well-known/oauth-authorization-server";
const OPENID: &str = "/.well-known/openid-configuration";

fn document(issuer: &str, jwks_uri: &str) -> Reply {
    Reply::ok(&json!({ "issuer": issuer, "jwks_uri": jwks_uri, "grant_types_supported": [] }).to_string())
}

fn discovering(issuer: &str, word: &str) -> String {
    issuer_yaml(
        issuer,
        &format!("discovery: {word}"),
        "cooldown: 1h\nwait: 1ms\ntimeout: 2s",
    )
}

#[test]
fn each_form_finds_the_keys_and_true_tries_them_in_their_order() {
    let key = new_key();
    for (path, word, document_at, targets) in [
        ("", "true", OAUTH.to_owned(), 1),
        ("", "true", OPENID.to_owned(), 2),
        ("/realms/x", "true", format!("{OAUTH}/realms/x"), 1),
        ("/realms/x", "true", format!("/realms/x{OPENID}"), 2),
        ("/realms/x/", "openid-configuration", format!("/realms/x{OPENID}"), 1),
        (
            "/realms/x/",
            "oauth-authorization-server",
            format!("{OAUTH}/realms/x"),
            1,
        ),
    ] {
        let server = RawIssuer::start();
        let issuer = server.url(path);
        server.reply(&document_at, document(&issuer, &server.url("/keys?tenant=secret")));
        server.reply("/keys?tenant=secret", Reply::ok(&set_of(&[&key])));
        let gate = gate("", &discovering(&issuer, word), &[]);
        gate.wait_ready();
        assert_eq!(ask(gate.data(), &token_of(&issuer, &key)).status, 200);
        assert_eq!(server.targets().len(), targets + 1, "{:?}", server.targets());
        assert_eq!(server.targets()[targets - 1], document_at);
        let health = health(&gate);
        assert_eq!(health["source"]["kind"], "discovery");
        assert_eq!(
            health["source"]["jwks_uri"],
            server.url("/keys"),
            "its query is shown to nobody"
        );
        // The gate remembers where it found the document: a refresh fetches the document and the key set, nothing else.
        assert_eq!(refresh(&gate).0, 200);
        assert_eq!(
            server.targets()[targets + 1..],
            [document_at.clone(), "/keys?tenant=secret".to_owned()]
        );
    }
}

#[test]
fn a_document_about_another_issuer_is_not_believed() {
    let key = new_key();
    let server = RawIssuer::start();
    let issuer = server.url("/a");
    server.reply("/keys", Reply::ok(&set_of(&[&key])));
    let keys = server.url("/keys");
    for (name, reply, message) in [
        ("another", document(&server.url("/b"), &keys), "it is about the issuer"),
        (
            "a slash more",
            document(&format!("{issuer}/"), &keys),
            "it is about the issuer",
        ),
        (
            "upper case",
            document(&issuer.to_uppercase(), &keys),
            "it is about the issuer",
        ),
        (
            "a template",
            document(&format!("https://evil.example/#{issuer}"), &keys),
            "it is about the issuer",
        ),
        (
            "none",
            Reply::ok(&json!({ "jwks_uri": keys }).to_string()),
            "no `issuer`",
        ),
        (
            "twice",
            Reply::ok(&format!(r#"{{"issuer":"x","issuer":"{issuer}","jwks_uri":"{keys}"}}"#)),
            "twice",
        ),
        (
            "no address",
            Reply::ok(&json!({ "issuer": issuer }).to_string()),
            "no `jwks_uri`",
        ),
        ("HTML", Reply::ok("<html>"), "not JSON"),
        (
            "long",
            Reply::ok(&" ".repeat(1024 * 1024 + 1)),
            "longer than 1048576 bytes",
        ),
        ("elsewhere", Reply::status("302 Found\r\nLocation: /c"), "redirected to"),
        ("a file", document(&issuer, "file:///etc/passwd"), "no http"),
    ] {
        server.reply(&format!("/a{OPENID}"), reply);
        let gate = gate("", &discovering(&issuer, "openid-configuration"), &[]);
        wait_until("tried", || fetches(&gate, "failure") + fetches(&gate, "rejected") > 0.0);
        let health = health(&gate);
        assert!(
            health["last_error"].as_str().unwrap().contains(message),
            "{name}: {health}"
        );
        assert_eq!(health["state"], "no_keys", "{name}");
        assert_eq!(ask(gate.data(), &token_of(&issuer, &key)).status, 503, "{name}");
    }
    assert!(!server.targets().contains(&"/keys".to_owned()), "no document led there");
}

#[test]
fn a_document_that_stops_being_good_changes_nothing_and_a_new_address_replaces_the_set_whole() {
    let (old, new) = (new_key(), new_key());
    let server = RawIssuer::start();
    let issuer = server.url("");
    server.reply(OAUTH, document(&issuer, &server.url("/old")));
    server.reply("/old", Reply::ok(&set_of(&[&old])));
    server.reply("/new", Reply::ok(&set_of(&[&new])));
    let gate = gate("", &discovering(&issuer, "true"), &[]);
    gate.wait_ready();
    for reply in [
        document("https://evil.example", &server.url("/new")),
        Reply::status("500 Internal Server Error"),
        Reply::ok("{"),
        document(&issuer, "https://user@evil.example/jwks"),
        Reply::Hang,
    ] {
        server.reply(OAUTH, reply.clone());
        let (status, response) = refresh(&gate);
        assert_eq!(status, 502, "{reply:?}: {response}");
        assert_eq!(ask(gate.data(), &token_of(&issuer, &old)).status, 200, "{reply:?}");
    }
    assert!(!server.targets().contains(&"/new".to_owned()));
    server.reply(OAUTH, document(&issuer, &server.url("/new")));
    assert_eq!(refresh(&gate).0, 200);
    assert_eq!(ask(gate.data(), &token_of(&issuer, &new)).status, 200);
    assert_eq!(
        ask(gate.data(), &token_of(&issuer, &old)).status,
        401,
        "nothing of the old set is left"
    );
    assert_eq!(health(&gate)["source"]["jwks_uri"], server.url("/new"));
}

#[test]
fn s046_s047_where_a_document_leads_is_checked_like_a_configured_url() {
    let key = new_key();
    // The proxy resolves names, so `issuer.invalid` needs no address here; the gate itself checks literal addresses.
    let proxy = RawIssuer::start();
    let issuer = "http://issuer.invalid";
    for (jwks_uri, message) in [
        (
            "http://169.254.169.254/latest/meta-data/",
            "169.254.169.254 is not a public address",
        ),
        ("http://[::ffff:10.0.0.1]/jwks", "is not a public address"),
        ("http://2130706433/jwks", "127.0.0.1 is not a public address"),
    ] {
        proxy.reply(&format!("{issuer}{OPENID}"), document(issuer, jwks_uri));
        let yaml = format!(
            "issuer: {issuer}\naudiences: [{AUDIENCE}]\ndiscovery: openid-configuration\nallow_http: true\nproxy: http://{}",
            proxy.address()
        );
        let gate = gate("", &yaml, &[]);
        wait_until("tried", || fetches(&gate, "rejected") > 0.0);
        let health = health(&gate);
        assert!(
            health["last_error"].as_str().unwrap().contains(message),
            "{jwks_uri}: {health}"
        );
    }
    assert!(
        proxy.targets().iter().all(|targets| targets.ends_with(OPENID)),
        "{:?}",
        proxy.targets()
    );

    // The document comes over TLS, but its `jwks_uri` is plain HTTP, which the issuer's section does not allow.
    let plain = RawIssuer::start();
    plain.reply("/jwks", Reply::ok(&set_of(&[&key])));
    let (server, authority) = RawIssuer::start_tls("localhost", 2999);
    let issuer = server.url("");
    server.reply("/jwks", Reply::ok(&set_of(&[&key])));
    server.reply(OPENID, document(&issuer, &plain.url("/jwks")));
    let yaml = format!(
        "issuer: {issuer}\naudiences: [{AUDIENCE}]\ndiscovery: true\nallow_private_addresses: true\nca_file: ca.pem"
    );
    let gate = gate("", &yaml, &[("ca.pem", &authority)]);
    wait_until("tried", || fetches(&gate, "rejected") > 0.0);
    let message = health(&gate)["last_error"].clone();
    assert!(message.as_str().unwrap().contains("`allow_http`"), "{message}");
    assert!(plain.targets().is_empty());
    server.reply(OPENID, document(&issuer, &server.url("/jwks")));
    assert_eq!(refresh(&gate).0, 200);
    assert_eq!(ask(gate.data(), &token_of(&issuer, &key)).status, 200);
}

#[test]
fn s054_a_token_that_names_a_template_of_the_issuer_is_refused_before_any_fetch() {
    let key = new_key();
    let server = RawIssuer::start();
    let issuer = server.url("");
    server.reply(OAUTH, document(&issuer, &server.url("/jwks")));
    server.reply("/jwks", Reply::ok(&set_of(&[&key])));
    let gate = gate(
        "",
        &discovering(&issuer, "true").replace("cooldown: 1h", "cooldown: 50ms"),
        &[],
    );
    gate.wait_ready();
    let targets = server.targets();
    let host = server.address();
    for iss in [
        format!("http://evil.example/#{issuer}"),
        format!("https://evil.example/#.{host}"),
        format!("{issuer}#"),
        format!("{issuer}/"),
        format!("{issuer}?x"),
        format!("http://user@{host}"),
        issuer.to_uppercase(),
        String::new(),
    ] {
        let response = ask(gate.data(), &token_of(&iss, &key));
        assert_eq!(response.status, 401, "{iss}: {}", response.text());
        assert!(response.text().contains("invalid_token"), "{}", response.text());
    }
    assert_eq!(server.targets(), targets);
    assert_eq!(ask(gate.data(), &token_of(&issuer, &key)).status, 200);
}
