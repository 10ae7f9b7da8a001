//! Does Keygate reach only the servers whose certificates prove who they are?

use super::GET;
use super::POST;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::RawClient;
use crate::support::Response;
use crate::support::http2_upstream::Http2Upstream;
use crate::support::lane::lanes;
use crate::support::tls_client::Authority;
use crate::support::tls_upstream::TlsUpstream;

/// Returns a configuration with one open route to the upstream of `section`.
fn config(section: &str) -> String {
    GatewayBuilder::new()
        .upstream_with("api", section)
        .route("open", "match: { path: \"/{*rest}\" }\npublic: true\nupstream: api")
        .yaml()
}

fn get(gate: &LocalGate) -> Response {
    RawClient::connect(gate.data()).exchange(GET)
}

/// Returns a name of loopback that a certificate can have, with the port of `upstream`.
fn named(upstream: &TlsUpstream) -> String {
    format!("https://localhost:{}", upstream.address().port())
}

lanes!(an_endpoint_with_a_good_certificate_is_reached_by_its_name);
fn an_endpoint_with_a_good_certificate_is_reached_by_its_name() {
    let authority = Authority::new();
    let upstream = TlsUpstream::start(&authority.certificate(&["localhost"], |_| ()), None);
    let section = format!("endpoints: [\"{}\"]\ntls: {{ ca_file: ca.pem }}", named(&upstream));
    let gate = LocalGate::start_with(&config(&section), &[("ca.pem", &authority.pem)]);
    gate.wait_ready();
    crate::support::wait_until("the endpoint's name is resolved", || get(&gate).status == 200);
    for _ in 0..3 {
        assert_eq!(get(&gate).text(), "localhost, no certificate");
    }
    let handshakes = upstream.handshakes();
    assert!(handshakes <= 2, "{handshakes}: each worker keeps its connection");
}

lanes!(a_certificate_that_proves_nothing_is_refused_and_recorded);
fn a_certificate_that_proves_nothing_is_refused_and_recorded() {
    let (authority, other) = (Authority::new(), Authority::new());
    let wrong_name = TlsUpstream::start(&authority.certificate(&["other.example"], |_| ()), None);
    let right = TlsUpstream::start(&authority.certificate(&["api.example"], |_| ()), None);
    let by_address = |upstream: &TlsUpstream| format!("endpoints: [\"https://{}\"]", upstream.address());
    for (upstream, tls, files) in [
        (
            &wrong_name,
            "tls: { server_name: api.example, ca_file: ca.pem }",
            &authority.pem,
        ),
        (&right, "tls: { server_name: api.example, ca_file: ca.pem }", &other.pem),
        (
            &right,
            "tls: { server_name: other.example, ca_file: ca.pem }",
            &authority.pem,
        ),
        // The authorities of the system.
        (&right, "tls: { server_name: api.example }", &authority.pem),
    ] {
        let section = format!("{}\n{tls}", by_address(upstream));
        let gate = LocalGate::start_with(&config(&section), &[("ca.pem", files)]);
        gate.wait_ready();
        let response = get(&gate);
        assert_eq!(response.status, 502, "{tls}");
        let record = gate.record(&response);
        assert_eq!(record["upstream_failure"], "tls", "{tls}");
        assert_eq!(record["endpoint"], upstream.address().to_string());
    }
}

lanes!(an_endpoint_at_an_address_is_verified_by_the_name_of_the_settings);
fn an_endpoint_at_an_address_is_verified_by_the_name_of_the_settings() {
    let authority = Authority::new();
    let upstream = TlsUpstream::start(&authority.certificate(&["api.example"], |_| ()), None);
    let section = format!(
        "endpoints: [\"https://{}\"]\ntls: {{ server_name: api.example, ca_file: ca.pem }}",
        upstream.address()
    );
    let gate = LocalGate::start_with(&config(&section), &[("ca.pem", &authority.pem)]);
    gate.wait_ready();
    assert_eq!(get(&gate).text(), "api.example, no certificate");
}

lanes!(keygate_shows_its_certificate_to_an_upstream_that_wants_one_and_takes_up_a_new_one);
fn keygate_shows_its_certificate_to_an_upstream_that_wants_one_and_takes_up_a_new_one() {
    let (authority, clients, strangers) = (Authority::new(), Authority::new(), Authority::new());
    let upstream = TlsUpstream::start(&authority.certificate(&["api.example"], |_| ()), Some(&clients));
    let (own, other) = (
        clients.certificate(&["keygate.example"], |_| ()),
        strangers.certificate(&["keygate.example"], |_| ()),
    );
    let section = format!(
        "endpoints: [\"https://{}\"]\n\
         tls: {{ server_name: api.example, ca_file: ca.pem, certificate: own.pem, private_key: own.key }}",
        upstream.address()
    );
    let files = [
        ("ca.pem", authority.pem.as_str()),
        ("own.pem", &other.certificate),
        ("own.key", &other.key),
    ];
    let gate = LocalGate::start_with(&config(&section), &files);
    gate.wait_ready();
    assert_eq!(
        RawClient::connect(gate.data()).exchange(POST).status,
        502,
        "of an authority that it does not trust"
    );
    gate.replace_file("own.key", &own.key);
    gate.replace_file("own.pem", &own.certificate);
    gate.check_files();
    assert_eq!(get(&gate).text(), "api.example, certificate");
}

lanes!(connections_are_shared_only_between_equal_identities);
fn connections_are_shared_only_between_equal_identities() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let upstream = TlsUpstream::start(&authority.certificate(&["api.example"], |_| ()), None);
    let own = clients.certificate(&["keygate.example"], |_| ());
    let section = |more: &str| {
        format!(
            "endpoints: [\"https://{}\"]\ntls: {{ server_name: api.example, ca_file: ca.pem{more} }}",
            upstream.address()
        )
    };
    let yaml = |more: &str| {
        GatewayBuilder::new()
            .upstream_with("api", &section(""))
            .upstream_with("other", &section(more))
            .route("a", "match: { path: /a }\npublic: true\nupstream: api")
            .route("b", "match: { path: /b }\npublic: true\nupstream: other")
            .yaml()
    };
    let files = [
        ("ca.pem", authority.pem.as_str()),
        ("own.pem", &own.certificate),
        ("own.key", &own.key),
    ];
    let gate = LocalGate::start_with(&yaml(", certificate: own.pem, private_key: own.key"), &files);
    gate.wait_ready();
    // Of one client, so that one worker has all connections.
    let mut client = RawClient::connect(gate.data());
    for path in ["/a", "/b", "/a", "/b"] {
        client.exchange(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
    }
    assert_eq!(upstream.handshakes(), 2, "one for each identity");
    // Changed files are another identity: the connections that were made with the old ones carry nothing more.
    gate.reload(&yaml(""));
    client.exchange("GET /b HTTP/1.1\r\nHost: a\r\n\r\n");
    let shared = upstream.handshakes();
    assert!(shared <= 3, "{shared}");
}

lanes!(an_upstream_of_http2_over_tls_is_verified_like_any_other);
fn an_upstream_of_http2_over_tls_is_verified_like_any_other() {
    let (authority, other) = (Authority::new(), Authority::new());
    let upstream = Http2Upstream::start_tls(&authority.certificate(&["api.example"], |_| ()));
    let section = format!(
        "endpoints: [\"https://{}\"]\nprotocol: h2\ntls: {{ server_name: api.example, ca_file: ca.pem }}",
        upstream.address()
    );
    let gate = LocalGate::start_with(&config(&section), &[("ca.pem", &authority.pem)]);
    gate.wait_ready();
    for _ in 0..2 {
        let response = get(&gate);
        assert_eq!((response.status, response.text().as_str()), (200, "ok"));
    }
    let received = upstream.take_received();
    assert_eq!(received[0].head.uri.scheme_str(), Some("https"));
    let gate = LocalGate::start_with(&config(&section), &[("ca.pem", &other.pem)]);
    gate.wait_ready();
    let response = get(&gate);
    assert_eq!(response.status, 502);
    assert_eq!(gate.record(&response)["upstream_failure"], "tls");
    assert!(upstream.take_received().is_empty());
}
