//! TLS on the data listeners: which certificate is shown, to whom, until when.

use crate::support::Binary;
use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::RawClient;
use crate::support::api_key;
use crate::support::http2_bridge::Http2Bridge;
use crate::support::raw_client::Transport;
use crate::support::still_clock;
use crate::support::tls_client;
use crate::support::tls_client::Authority;
use crate::support::tls_client::CertificatePem;
use crate::support::wait_until;
use keygate::model::clock::Clock;
use keygate::model::clock::SystemClock;
use keygate::model::clock::Timestamp;
use rcgen::SanType;
use rcgen::date_time_ymd;
use rustls::ClientConfig;
use rustls::version::TLS12;
use rustls::version::TLS13;
use std::io::Write;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

const BOTH: &[&rustls::SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// Starts a gate whose data listener has `tls`, with `certificates` as `NAME.pem` and `NAME.key`.
fn start(
    upstream: &FakeUpstream,
    tls: &str,
    certificates: &[(&str, &CertificatePem)],
    more: &[(&str, &str)],
) -> LocalGate {
    let mut files: Vec<(String, &str)> = more.iter().map(|(name, text)| ((*name).to_owned(), *text)).collect();
    if more.is_empty() {
        files.push(("keys.yaml".to_owned(), "keys: []\n"));
    }
    for (name, pem) in certificates {
        files.push((format!("{name}.pem"), &pem.certificate));
        files.push((format!("{name}.key"), &pem.key));
    }
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), *text)).collect();
    LocalGate::start_with(&config(upstream, tls), &files)
}

fn config(upstream: &FakeUpstream, tls: &str) -> String {
    with_listener(&routes(upstream).yaml(), &format!("tls: {tls}"))
}

fn routes(upstream: &FakeUpstream) -> GatewayBuilder {
    GatewayBuilder::new()
        .top("api_keys: { file: keys.yaml }")
        .upstream("orders", upstream.address())
        .route("open", "match: { path: /open }\npublic: true\nupstream: orders")
        .route(
            "orders",
            "match: { path: \"/{*rest}\" }\naccept: [api_key]\nupstream: orders",
        )
}

/// Returns `yaml` with these lines among the keys of its data listener.
fn with_listener(yaml: &str, lines: &str) -> String {
    let lines = lines.replace('\n', "\n    ");
    yaml.replacen(
        "  - address: 127.0.0.1:0\n",
        &format!("  - address: 127.0.0.1:0\n    {lines}\n"),
        1,
    )
}

const ONE: &str = "{ certificate: one.pem, private_key: one.key }";

#[test]
fn a_request_over_tls_is_decided_and_forwarded_like_any_other() {
    let (upstream, authority) = (FakeUpstream::start(), Authority::new());
    let one = authority.certificate(&["api.example.com"], |_| ());
    let (key, entry) = api_key("");
    let gate = start(
        &upstream,
        ONE,
        &[("one", &one)],
        &[("keys.yaml", &format!("keys:\n{entry}"))],
    );
    for version in [&TLS12, &TLS13] {
        let session = tls_client::connect(&authority.client(&[version]), gate.data(), "api.example.com").unwrap();
        assert_eq!(session.stream.conn.alpn_protocol(), None, "the client offered none");
        let mut client = session.http();
        let request = format!(
            "GET /orders HTTP/1.1\r\nHost: api.example.com\r\nX-Api-Key: {}\r\n\r\n",
            key.expose()
        );
        assert_eq!(client.exchange(&request).status, 200);
        let response = client.exchange("GET /orders HTTP/1.1\r\nHost: api.example.com\r\n\r\n");
        assert_eq!(response.status, 401);
        assert_eq!(gate.record(&response)["reason"], "credential_missing");
    }
    let received = upstream.received();
    assert_eq!(received.len(), 2);
    assert_eq!(received[0].headers_named("x-forwarded-proto"), ["https"]);
    assert_eq!(gate.metric("keygate_tls_handshakes_total{result=\"success\"}"), 2.0);
}

#[test]
fn the_server_name_selects_the_certificate_and_an_unknown_one_is_refused() {
    let (upstream, authority) = (FakeUpstream::start(), Authority::new());
    let one = authority.certificate(&["api.example.com"], |_| ());
    let two = authority.certificate(&["*.example.com", "example.org"], |_| ());
    let list = "certificates: [{ certificate: one.pem, private_key: one.key }, { certificate: two.pem, private_key: two.key }]";
    let files = [("one", &one), ("two", &two)];
    let gate = start(&upstream, &format!("{{ {list} }}"), &files, &[]);
    let client = authority.client(BOTH);
    let shown = |gate: &LocalGate, name: &str| {
        tls_client::connect(&client, gate.data(), name).map(|session| session.server_certificate())
    };
    let der = |pem: &CertificatePem| pem_der(&pem.certificate);
    assert_eq!(
        shown(&gate, "api.example.com").unwrap(),
        der(&one),
        "an exact name goes before a wildcard"
    );
    assert_eq!(shown(&gate, "API.EXAMPLE.COM").unwrap(), der(&one));
    assert_eq!(shown(&gate, "www.example.com").unwrap(), der(&two));
    assert_eq!(shown(&gate, "example.org").unwrap(), der(&two));
    for unknown in ["example.com", "a.b.example.com", "other.example.net", "127.0.0.1"] {
        assert!(shown(&gate, unknown).is_err(), "{unknown}");
    }
    wait_failures(&gate, 4.0);
    // With a default, a client without a server name gets that certificate; its own check of the name is its own matter.
    gate.reload(&config(&upstream, &format!("{{ {list}, default: example.org }}")));
    assert!(
        shown(&gate, "127.0.0.1").is_err(),
        "the client finds the certificate unfit"
    );
    wait_failures(&gate, 5.0);
}

/// Waits until `count` handshakes have failed: a client knows before the gate does.
#[track_caller]
fn wait_failures(gate: &LocalGate, count: f64) {
    wait_until(&format!("{count} failed handshakes"), || {
        gate.metric("keygate_tls_handshakes_total{result=\"failure\"}") == count
    });
}

#[test]
fn a_client_chooses_http2_or_http1() {
    let (upstream, authority) = (FakeUpstream::start(), Authority::new());
    let one = authority.certificate(&["api.example.com"], |_| ());
    let gate = start(&upstream, ONE, &[("one", &one)], &[]);
    let get = "GET /open HTTP/1.1\r\nHost: api.example.com\r\n\r\n";
    for (offered, chosen) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1", "h2"], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        let mut config = ClientConfig::clone(&authority.client(BOTH));
        config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
        let session = tls_client::connect(&Arc::new(config), gate.data(), "api.example.com").unwrap();
        let agreed = session.stream.conn.alpn_protocol();
        assert_eq!(agreed, chosen.map(str::as_bytes), "{offered:?}");
        if chosen != Some("h2") {
            assert_eq!(session.http().exchange(get).status, 200, "{offered:?}");
        }
    }
    // RFC 7301 section 3.2: without a protocol in common, there is no session.
    let mut config = ClientConfig::clone(&authority.client(BOTH));
    config.alpn_protocols = vec![b"h3".to_vec()];
    assert!(tls_client::connect(&Arc::new(config), gate.data(), "api.example.com").is_err());

    let response = over_http2(&authority, &gate).exchange(get);
    assert_eq!(response.status, 200);
    let received = upstream.received().pop().unwrap();
    assert_eq!(received.headers_named("x-forwarded-proto"), ["https"]);
    assert_eq!(received.headers_named("host"), ["api.example.com"]);
}

#[test]
fn a_client_without_tls_is_told_to_use_it() {
    let (upstream, authority) = (FakeUpstream::start(), Authority::new());
    let one = authority.certificate(&["api.example.com"], |_| ());
    let gate = start(&upstream, ONE, &[("one", &one)], &[]);
    let mut client = RawClient::connect(gate.data());
    let response = client.exchange("GET /open HTTP/1.1\r\nHost: api.example.com\r\n\r\n");
    assert_eq!((response.status, response.header("connection")), (400, Some("close")));
    assert!(response.text().contains("use `https://`"), "{}", response.text());
    assert_eq!(gate.record(&response)["reason"], "plain_http");
    assert!(client.is_closed());
    assert!(upstream.received().is_empty());
}

/// Returns a client that speaks HTTP/2 with `gate`, and asked for `api.example.com`.
fn over_http2(authority: &Authority, gate: &LocalGate) -> RawClient {
    let bridge = Http2Bridge::connect_tls(&authority.client(BOTH), gate.data(), "api.example.com");
    RawClient::over(gate.data(), Transport::Http2(Box::new(bridge)))
}

/// The client that everybody has at hand.
#[test]
fn curl_speaks_http2() {
    let (upstream, authority) = (FakeUpstream::start(), Authority::new());
    let one = authority.certificate(&["localhost"], |_| ());
    let gate = start(&upstream, ONE, &[("one", &one)], &[]);
    std::fs::write(gate.folder().join("ca.pem"), &authority.pem).unwrap();
    for (protocol, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", protocol, "--cacert"])
            .arg(gate.folder().join("ca.pem"))
            .args(["--write-out", "\n%{http_version} %{http_code}"])
            .arg(format!("https://localhost:{}/open", gate.data().port()))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(
            text,
            format!("ok\n{version} 200"),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn s093_a_request_for_a_host_with_another_certificate_is_misdirected() {
    let (upstream, authority) = (FakeUpstream::start(), Authority::new());
    let one = authority.certificate(&["api.example.com", "www.example.com"], |_| ());
    let two = authority.certificate(&["admin.example.com"], |_| ());
    let tls = "{ certificates: [{ certificate: one.pem, private_key: one.key }, { certificate: two.pem, private_key: two.key }], default: api.example.com }";
    let gate = start(&upstream, tls, &[("one", &one), ("two", &two)], &[]);
    let config = authority.client(BOTH);
    let session = tls_client::connect(&config, gate.data(), "api.example.com").unwrap();
    let mut client = session.http();
    let mut of_http2 = over_http2(&authority, &gate);
    for (host, status) in [
        ("api.example.com", 200),
        ("API.example.com:443", 200),
        // The same certificate, so the client has authenticated this server too (RFC 9110 section 7.4).
        ("www.example.com", 200),
        ("admin.example.com", 421),
        // The default certificate, which is the connection's.
        ("unknown.example.net", 200),
    ] {
        for client in [&mut client, &mut of_http2] {
            let response = client.exchange(format!("GET /open HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            assert_eq!(response.status, status, "{host}");
            if status == 421 {
                assert_eq!(gate.record(&response)["reason"], "misdirected");
            }
        }
    }
    // HTTP/1.0 has no host that could contradict the name.
    let response = client.exchange("GET /open HTTP/1.0\r\n\r\n");
    assert_eq!(response.status, 200);
    // Without a server name, as from a load balancer that re-encrypts, every host is served.
    let session = tls_client::connect_without_name(&config, gate.data()).unwrap();
    let response = session
        .http()
        .exchange("GET /open HTTP/1.1\r\nHost: admin.example.com\r\n\r\n");
    assert_eq!(response.status, 200);
}

#[test]
fn a_renewed_certificate_is_shown_to_new_connections_and_old_ones_go_on() {
    let (upstream, authority) = (FakeUpstream::start(), Authority::new());
    let old = authority.certificate(&["api.example.com"], |_| ());
    let gate = start(&upstream, ONE, &[("one", &old)], &[]);
    let connect = || tls_client::connect(&authority.client(BOTH), gate.data(), "api.example.com").unwrap();
    let mut before = connect().http();
    let get = "GET /open HTTP/1.1\r\nHost: api.example.com\r\n\r\n";
    assert_eq!(before.exchange(get).status, 200);
    let new = authority.certificate(&["api.example.com"], |_| ());
    gate.replace_file("one.key", &new.key);
    gate.check_files();
    assert_eq!(
        connect().server_certificate(),
        pem_der(&old.certificate),
        "the key alone fits no certificate"
    );
    gate.replace_file("one.pem", &new.certificate);
    // A refused configuration is loaded again at every eighth check, two seconds later.
    (0..8).for_each(|_| gate.check_files());
    assert_eq!(connect().server_certificate(), pem_der(&new.certificate));
    assert_eq!(before.exchange(get).status, 200);
}

#[test]
fn a_listener_for_tls_1_3_refuses_tls_1_2() {
    let (upstream, authority) = (FakeUpstream::start(), Authority::new());
    let one = authority.certificate(&["api.example.com"], |_| ());
    let tls = "{ certificate: one.pem, private_key: one.key, versions: \"1.3\" }";
    let gate = start(&upstream, tls, &[("one", &one)], &[]);
    assert!(tls_client::connect(&authority.client(&[&TLS12]), gate.data(), "api.example.com").is_err());
    assert!(tls_client::connect(&authority.client(&[&TLS13]), gate.data(), "api.example.com").is_ok());
}

#[test]
fn a_client_that_is_not_tls_or_sends_nothing_is_closed() {
    let (upstream, authority) = (FakeUpstream::start(), Authority::new());
    let one = authority.certificate(&["api.example.com"], |_| ());
    let gate = start(&upstream, ONE, &[("one", &one)], &[]);
    let mut plain = RawClient::connect(gate.data());
    plain.send("SSH-2.0-x\r\n".to_lowercase());
    assert!(plain.try_receive().is_err());
    wait_until("the handshake is counted", || {
        gate.metric("keygate_tls_handshakes_total{result=\"failure\"}") >= 1.0
    });
    gate.reload(&format!(
        "{}requests: {{ head_timeout: 1ms }}\n",
        config(&upstream, ONE)
    ));
    assert!(RawClient::connect(gate.data()).is_closed());
    wait_until("the handshake is counted", || {
        gate.metric("keygate_tls_handshakes_total{result=\"timeout\"}") >= 1.0
    });
    assert!(upstream.received().is_empty());
}

#[test]
fn the_end_of_a_session_is_announced_so_that_no_cut_passes_for_it() {
    let (upstream, authority) = (FakeUpstream::start(), Authority::new());
    let one = authority.certificate(&["api.example.com"], |_| ());
    let gate = start(&upstream, ONE, &[("one", &one)], &[]);
    for request in [
        "GET /open HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET /open HTTP/9.9\r\n\r\n",
    ] {
        let mut session = tls_client::connect(&authority.client(BOTH), gate.data(), "api.example.com").unwrap();
        session.stream.write_all(request.as_bytes()).unwrap();
        // Without close_notify this read fails with `UnexpectedEof`.
        std::io::Read::read_to_end(&mut session.stream, &mut Vec::new()).unwrap();
    }
}

#[test]
fn a_session_is_resumed_by_any_worker() {
    let (upstream, authority) = (FakeUpstream::start(), Authority::new());
    let one = authority.certificate(&["api.example.com"], |_| ());
    let gate = start(&upstream, ONE, &[("one", &one)], &[]);
    for version in [&TLS12, &TLS13] {
        let config = authority.client(&[version]);
        let resumed = (0..9).filter(|_| {
            let session = tls_client::connect(&config, gate.data(), "api.example.com").unwrap();
            let resumed = session.is_resumed();
            // The ticket comes after the handshake, with the first response at the latest.
            let response = session.http().exchange("GET /open HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(response.status, 200);
            resumed
        });
        assert_eq!(resumed.count(), 8, "{version:?}");
    }
}

/// Returns the status of a request on a new connection, or `None` where the server refuses the handshake. In TLS 1.3 the
/// client learns of the refusal after its own side of the handshake has ended.
fn status(gate: &LocalGate, config: &Arc<ClientConfig>) -> Option<u16> {
    let session = tls_client::connect(config, gate.data(), "api.example.com").ok()?;
    let mut client = session.http();
    client.send("GET /open HTTP/1.1\r\nHost: api.example.com\r\n\r\n");
    client.try_receive().ok().map(|response| response.status)
}

#[test]
fn a_client_certificate_is_verified_and_needed_where_the_listener_says_so() {
    let upstream = FakeUpstream::start();
    let (server, clients, strangers) = (Authority::new(), Authority::new(), Authority::new());
    let one = server.certificate(&["api.example.com"], |_| ());
    let good = clients.certificate(&["billing.example.com"], |_| ());
    let foreign = strangers.certificate(&["billing.example.com"], |_| ());
    let expired = clients.certificate(&["billing.example.com"], |params| {
        params.not_after = date_time_ymd(2020, 1, 1)
    });
    let tls = |rule: &str| format!("{{ certificate: one.pem, private_key: one.key, client_ca: ca.pem{rule} }}");
    let files = [("keys.yaml", "keys: []\n"), ("ca.pem", clients.pem.as_str())];
    let gate = start(&upstream, &tls(""), &[("one", &one)], &files);
    for version in [&TLS12, &TLS13] {
        let versions = &[version][..];
        let (none, good) = (server.client(versions), server.client_with(versions, &good));
        let (foreign, expired) = (
            server.client_with(versions, &foreign),
            server.client_with(versions, &expired),
        );
        gate.reload(&config(&upstream, &tls("")));
        let required = [&none, &good, &foreign, &expired].map(|client| status(&gate, client));
        assert_eq!(required, [None, Some(200), None, None], "{version:?}");
        gate.reload(&config(&upstream, &tls(", client_certificates: optional")));
        let optional = [&none, &good, &foreign, &expired].map(|client| status(&gate, client));
        assert_eq!(optional, [Some(200), Some(200), None, None], "{version:?}");
    }
}

#[test]
fn s156_a_ticket_ends_with_the_authorities_of_its_client_certificate_and_with_its_expiry() {
    let upstream = FakeUpstream::start();
    let (server, old, new) = (Authority::new(), Authority::new(), Authority::new());
    let one = server.certificate(&["api.example.com"], |_| ());
    let tls = "{ certificate: one.pem, private_key: one.key, client_ca: ca.pem }";
    let files = |ca: &str| [("keys.yaml", "keys: []\n".to_owned()), ("ca.pem", ca.to_owned())];
    for version in [&TLS12, &TLS13] {
        let clock = still_clock();
        let files = files(&old.pem);
        let mut all = vec![("one.pem", one.certificate.as_str()), ("one.key", one.key.as_str())];
        all.extend(files.iter().map(|(name, text)| (*name, text.as_str())));
        let gate = LocalGate::start_at(&clock, &config(&upstream, tls), &all);
        let client = server.client_with(&[version], &old.certificate(&["a.example.com"], |_| ()));
        let is_resumed =
            || tls_client::connect(&client, gate.data(), "api.example.com").map(|session| session.is_resumed());
        assert_eq!(status(&gate, &client), Some(200));
        assert!(is_resumed().unwrap(), "{version:?}");
        // The server's certificate alone is renewed.
        let renewed = server.certificate(&["api.example.com"], |_| ());
        gate.replace_file("one.pem", &renewed.certificate);
        gate.replace_file("one.key", &renewed.key);
        (0..9).for_each(|_| gate.check_files());
        assert_eq!(status(&gate, &client), Some(200));
        assert!(is_resumed().unwrap(), "{version:?}: a renewal ends no session");
        gate.replace_file("ca.pem", &new.pem);
        gate.check_files();
        assert_eq!(status(&gate, &client), None, "{version:?}: the authority is gone");
        // The clock of the gate passes the expiry of a certificate, whose session would be resumed unverified.
        gate.replace_file("ca.pem", &old.pem);
        gate.check_files();
        let client = server.client_with(
            &[version],
            &old.certificate(&["a.example.com"], |params| {
                params.not_after = date_time_ymd(2100, 1, 1);
            }),
        );
        assert_eq!(status(&gate, &client), Some(200));
        clock.set_wall(Timestamp::from_unix_secs(4_102_444_800));
        assert_eq!(status(&gate, &client), None, "{version:?}: the certificate has expired");
    }
}

/// A gate whose routes ask for client certificates, and clients with and without one.
struct CertificateGate {
    upstream: FakeUpstream,
    gate: LocalGate,
    server: Authority,
    clients: Authority,
    api_key: String,
    billing: CertificatePem,
}

const SPIFFE: &str = "spiffe://example.org/billing";

impl CertificateGate {
    /// Starts a gate with these lines among the keys of its listener.
    fn start(lines: &str) -> Self {
        let (upstream, server, clients) = (FakeUpstream::start(), Authority::new(), Authority::new());
        let one = server.certificate(&["api.example.com"], |_| ());
        let billing = clients.certificate(&["Billing.example.com", "192.0.2.1"], |params| {
            params.subject_alt_names.push(SanType::URI(SPIFFE.try_into().unwrap()));
        });
        let (key, entry) = api_key("");
        let public = |path: &str, more: &str| {
            format!("match: {{ path: /{path} }}\npublic: true\nupstream: orders\nclient_certificates: {more}")
        };
        let config = routes(&upstream)
            .route("by-name", &public("name", "{ names: [a.example, billing.example.com] }"))
            .route("by-address", &public("address", "{ names: [192.0.2.1] }"))
            .route("by-uri", &public("uri", &format!("{{ names: [{SPIFFE:?}] }}")))
            .route(
                "by-fingerprint",
                &public("fingerprint", &format!("{{ fingerprints: [{:?}] }}", fingerprint(&billing).to_uppercase())),
            )
            .route("any", &public("any", "any"))
            .route("other", &public("other", "{ names: [other.example.com] }"))
            .route(
                "key",
                "match: { path: /key }\naccept: [api_key]\nupstream: orders\nclient_certificates: { names: [billing.example.com] }",
            )
            .yaml();
        let tls =
            "tls: { certificate: one.pem, private_key: one.key, client_ca: ca.pem, client_certificates: optional }";
        let files = [
            ("keys.yaml", &*format!("keys:\n{entry}")),
            ("ca.pem", &clients.pem),
            ("one.pem", &one.certificate),
            ("one.key", &one.key),
        ];
        let gate = LocalGate::start_with(&with_listener(&config, &format!("{tls}\n{lines}")), &files);
        Self {
            upstream,
            gate,
            server,
            clients,
            api_key: key.expose().to_owned(),
            billing,
        }
    }

    /// Returns the status of a request for `path`, and the reason of a refusal.
    fn ask(&self, client: &Arc<ClientConfig>, path: &str, more: &str) -> (u16, String) {
        let session = tls_client::connect(client, self.gate.data(), "api.example.com").unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: api.example.com\r\n{more}\r\n");
        let response = session.http().exchange(request);
        let reason = self.gate.record(&response)["reason"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        (response.status, reason)
    }
}

const ALLOWED: (u16, &str) = (200, "");
const MISSING: (u16, &str) = (403, "client_certificate_missing");
const NOT_ALLOWED: (u16, &str) = (403, "client_certificate_not_allowed");

/// Runs `test` on a gate whose HTTP/1.1 is Keygate's own, and on one whose HTTP/1.1 is pingora's.
fn with_certificate_gates(test: impl Fn(&CertificateGate)) {
    for lines in ["http1: own", "http1: pingora"] {
        test(&CertificateGate::start(lines));
    }
}

fn fingerprint(pem: &CertificatePem) -> String {
    keygate::model::certificate::Fingerprint::of(&pem_der(&pem.certificate)).to_string()
}

#[test]
fn a_route_asks_for_a_certificate_by_name_address_uri_or_fingerprint() {
    with_certificate_gates(|gates| {
        for version in [&TLS12, &TLS13] {
            let versions = &[version][..];
            let without = gates.server.client(versions);
            let billing = gates.server.client_with(versions, &gates.billing);
            // Its names are other ones, or look like those that are asked for.
            let stranger = gates
                .clients
                .certificate(&["a.billing.example.com", "*.example.com"], |params| {
                    let address = "192.0.2.1".try_into().unwrap();
                    let longer = format!("{SPIFFE}/a").as_str().try_into().unwrap();
                    params
                        .subject_alt_names
                        .extend([SanType::DnsName(address), SanType::URI(longer)]);
                });
            let stranger = gates.server.client_with(versions, &stranger);
            let check = |client: &Arc<ClientConfig>, path: &str, more: &str, expected: (u16, &str)| {
                let found = gates.ask(client, path, more);
                assert_eq!((found.0, &*found.1), expected, "{path} {version:?}");
            };
            for path in ["/name", "/address", "/uri", "/fingerprint", "/any"] {
                check(&billing, path, "", ALLOWED);
                check(&without, path, "", MISSING);
                let expected = if path == "/any" { ALLOWED } else { NOT_ALLOWED };
                check(&stranger, path, "", expected);
            }
            check(&billing, "/other", "", NOT_ALLOWED);
            check(&without, "/open", "", ALLOWED);
            // The certificate is asked for beside the credential, and never instead of it.
            let key = format!("X-Api-Key: {}\r\n", gates.api_key);
            check(&billing, "/key", &key, ALLOWED);
            check(&billing, "/key", "", (401, "credential_missing"));
            check(&without, "/key", &key, MISSING);
            check(&stranger, "/key", &key, NOT_ALLOWED);
        }
    });
}

#[test]
fn a_refusal_for_the_certificate_is_a_problem_without_a_challenge() {
    with_certificate_gates(|gates| {
        for (client, slug) in [
            (gates.server.client(BOTH), "client-certificate-missing"),
            (
                gates.server.client_with(BOTH, &gates.billing),
                "client-certificate-not-allowed",
            ),
        ] {
            let session = tls_client::connect(&client, gates.gate.data(), "api.example.com").unwrap();
            let response = session
                .http()
                .exchange("GET /other HTTP/1.1\r\nHost: api.example.com\r\n\r\n");
            assert_eq!(response.status, 403);
            assert_eq!(response.header("www-authenticate"), None);
            let body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
            assert_eq!(body["type"], format!("urn:keygate:problem:{slug}"));
            assert!(body["detail"].as_str().unwrap().contains("connect"), "{body}");
        }
        assert!(gates.upstream.received().is_empty());
    });
}

#[test]
fn the_upstream_is_told_the_certificate_and_what_a_client_sends_is_dropped() {
    with_certificate_gates(|gates| {
        let forged = "X-Keygate-Certificate-Names: admin\r\nX-Keygate-Certificate-Fingerprint: 00\r\n";
        let nameless = gates.clients.certificate(&[], |_| ());
        let comma = gates.clients.certificate(&[], |params| {
            let uri = "urn:a,spiffe://example.org/admin".try_into().unwrap();
            params.subject_alt_names.push(SanType::URI(uri));
        });
        let names = format!("billing.example.com,192.0.2.1,{SPIFFE}");
        for (certificate, names) in [
            (None, None),
            (Some(&gates.billing), Some(&*names)),
            (Some(&nameless), None),
            (Some(&comma), Some("urn:a%2Cspiffe://example.org/admin")),
        ] {
            let client = match certificate {
                Some(certificate) => gates.server.client_with(BOTH, certificate),
                None => gates.server.client(BOTH),
            };
            assert_eq!(gates.ask(&client, "/open", forged).0, 200);
            let received = gates.upstream.received().pop().unwrap();
            let told = |name: &str| received.headers_named(name).join("|");
            assert_eq!(told("x-keygate-certificate-names"), names.unwrap_or_default());
            let expected = certificate.map(fingerprint).unwrap_or_default();
            assert_eq!(told("x-keygate-certificate-fingerprint"), expected);
        }
    });
}

#[test]
fn a_client_certificate_counts_over_http2_too() {
    let gates = CertificateGate::start("");
    let ask = |client: &Arc<ClientConfig>, path: &str| {
        let bridge = Http2Bridge::connect_tls(client, gates.gate.data(), "api.example.com");
        let mut client = RawClient::over(gates.gate.data(), Transport::Http2(Box::new(bridge)));
        let response = client.exchange(format!("GET {path} HTTP/1.1\r\nHost: api.example.com\r\n\r\n"));
        let reason = gates.gate.record(&response)["reason"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        (response.status, reason)
    };
    let (none, billing) = (
        gates.server.client(BOTH),
        gates.server.client_with(BOTH, &gates.billing),
    );
    let as_text = |(status, reason): (u16, &str)| (status, reason.to_owned());
    assert_eq!(ask(&none, "/name"), as_text(MISSING));
    assert_eq!(ask(&billing, "/other"), as_text(NOT_ALLOWED));
    assert!(gates.upstream.received().is_empty());
    assert_eq!(ask(&billing, "/name"), as_text(ALLOWED));
    let received = gates.upstream.only_received();
    let told = received.headers_named("x-keygate-certificate-fingerprint");
    assert_eq!(told, [fingerprint(&gates.billing)]);
}

#[test]
fn a_certificate_that_ends_soon_is_named_in_the_log() {
    let (upstream, authority) = (FakeUpstream::start(), Authority::new());
    let tomorrow = Duration::from_secs(SystemClock::new().now().wall.as_unix_secs() + 86_400);
    let soon = authority.certificate(&["api.example.com"], |params| {
        params.not_after = date_time_ymd(1970, 1, 1) + tomorrow;
    });
    let files = [
        ("keys.yaml", "keys: []\n"),
        ("one.pem", &*soon.certificate),
        ("one.key", &*soon.key),
    ];
    let gate = Binary::start_with(&config(&upstream, ONE), &files);
    gate.wait_for_output("Clients do not accept this certificate, or soon will not");
    let text = gate.output();
    let line = text.lines().find(|line| line.contains("or soon will not")).unwrap();
    for part in ["one.pem", "api.example.com", "expires within 14 days"] {
        assert!(line.contains(part), "{part}: {line}");
    }
}

#[test]
fn a_connection_over_the_limit_gets_no_handshake() {
    let (upstream, authority) = (FakeUpstream::start(), Authority::new());
    let one = authority.certificate(&["api.example.com"], |_| ());
    let config = format!("{}requests: {{ connections: 1 }}\n", config(&upstream, ONE));
    let files = [
        ("keys.yaml", "keys: []\n"),
        ("one.pem", &*one.certificate),
        ("one.key", &*one.key),
    ];
    let gate = LocalGate::start_with(&config, &files);
    let client = authority.client(BOTH);
    let first = tls_client::connect(&client, gate.data(), "api.example.com").unwrap();
    assert!(tls_client::connect(&client, gate.data(), "api.example.com").is_err());
    assert_eq!(
        gate.metric("keygate_connections_refused_total{reason=\"too_many_connections\"}"),
        1.0
    );
    assert_eq!(gate.metric("keygate_tls_handshakes_total{result=\"success\"}"), 1.0);
    let mut first = first.http();
    let request = "GET /open HTTP/1.1\r\nHost: api.example.com\r\n\r\n";
    assert_eq!(first.exchange(request).status, 200);
}

#[test]
fn a_handshake_in_progress_does_not_hold_up_the_end_of_the_program() {
    let (upstream, authority) = (FakeUpstream::start(), Authority::new());
    let one = authority.certificate(&["api.example.com"], |_| ());
    let files = [
        ("keys.yaml", "keys: []\n"),
        ("one.pem", &*one.certificate),
        ("one.key", &*one.key),
    ];
    let yaml = format!("{}requests: {{ head_timeout: 10m }}\n", config(&upstream, ONE));
    let gate = Binary::start_with(&yaml, &files);
    let silent = RawClient::connect(gate.data());
    wait_until("the connection is open", || {
        gate.metric("keygate_connections_open") == 1.0
    });
    gate.stop();
    drop(silent);
}

#[test]
fn s156_a_resumed_session_has_its_certificate() {
    with_certificate_gates(|gates| {
        for version in [&TLS12, &TLS13] {
            let client = gates.server.client_with(&[version], &gates.billing);
            for resumed in [false, true] {
                let session = tls_client::connect(&client, gates.gate.data(), "api.example.com").unwrap();
                assert_eq!(session.is_resumed(), resumed, "{version:?}");
                let mut client = session.http();
                for (path, status) in [("/uri", 200), ("/other", 403)] {
                    let response = client.exchange(format!("GET {path} HTTP/1.1\r\nHost: api.example.com\r\n\r\n"));
                    assert_eq!(response.status, status, "{path} {version:?}");
                }
                let received = gates.upstream.received().pop().unwrap();
                let told = received.headers_named("x-keygate-certificate-fingerprint");
                assert_eq!(told, [fingerprint(&gates.billing)]);
            }
        }
    });
}

#[test]
fn a_connection_without_tls_has_no_certificate() {
    let upstream = FakeUpstream::start();
    let route = "match: { path: /any }\npublic: true\nupstream: orders\nclient_certificates: any";
    let config = routes(&upstream).route("any", route).yaml();
    let gate = LocalGate::start_with(&config, &[("keys.yaml", "keys: []\n")]);
    let response = RawClient::connect(gate.data()).exchange("GET /any HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(response.status, 403);
    assert_eq!(gate.record(&response)["reason"], "client_certificate_missing");
}

fn pem_der(pem: &str) -> Vec<u8> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}
