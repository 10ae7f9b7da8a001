//! Does an upstream receive its own credential, in place of the client's, and nobody else?

use crate::support::Binary;
use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::RawClient;
use crate::support::Response;
use crate::support::RunningGate;
use crate::support::get;
use crate::support::lane::lanes;
use crate::support::still_clock;
use crate::support::wait_until;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

lanes!(s085_the_credential_of_an_upstream_goes_to_it_alone);
fn s085_the_credential_of_an_upstream_goes_to_it_alone() {
    let (own, other) = (FakeUpstream::start(), FakeUpstream::start());
    let endpoints = |upstream: &FakeUpstream| format!("endpoints: [\"{}\"]\n", upstream.address());
    let credential = "credential: { scheme: Bearer, value: the-upstreams-own }";
    let api_key = "credential: { header: x-api-key, value: the-upstreams-key }";
    let route = |path: &str, upstream: &str| format!("match: {{ path: {path} }}\npublic: true\nupstream: {upstream}");
    let gate = GatewayBuilder::new()
        .top("log: { level: trace }")
        .upstream_with("own", &(endpoints(&own) + credential))
        .upstream_with("key", &(endpoints(&own) + api_key))
        .upstream_with("other", &endpoints(&other))
        .route("own", &route("/own", "own"))
        .route("key", &route("/key", "key"))
        .route("other", &route("/other", "other"))
        .yaml();
    let gate = LocalGate::start(&gate);
    gate.wait_ready();
    for path in ["/own", "/key", "/other"] {
        let response = RawClient::connect(gate.data()).exchange(format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer of-the-client\r\n\r\n"
        ));
        assert_eq!(response.status, 200, "{}", response.text());
    }
    let (received, elsewhere) = (own.wait_received(2), other.wait_received(1));
    assert_eq!(received[0].headers_named("authorization"), ["Bearer the-upstreams-own"]);
    assert_eq!(received[0].headers_named("x-api-key"), [""; 0]);
    assert_eq!(received[1].headers_named("authorization"), [""; 0]);
    assert_eq!(received[1].headers_named("x-api-key"), ["the-upstreams-key"]);
    assert_eq!(elsewhere[0].headers_named("authorization"), [""; 0]);
    let records = gate.wait_access_records(3);
    assert!(!format!("{records:?}").contains("the-upstreams"), "{records:?}");
}

#[test]
fn a_rotated_credential_in_a_file_is_sent_from_the_next_request_on() {
    let upstream = FakeUpstream::start();
    let settings = format!(
        "endpoints: [\"{}\"]\ncredential: {{ scheme: Bearer, value: \"file:token\" }}",
        upstream.address()
    );
    let yaml = GatewayBuilder::new()
        .upstream_with("own", &settings)
        .route("own", "match: { path: /own }\npublic: true\nupstream: own");
    let gate = LocalGate::start_with(&yaml.yaml(), &[("token", "first\n")]);
    gate.wait_ready();
    let send = || RawClient::connect(gate.data()).exchange("GET /own HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(send().status, 200);
    gate.replace_file("token", "second\n");
    gate.check_files();
    assert_eq!(send().status, 200);
    // What cannot be a value changes nothing.
    gate.replace_file("token", "two\nlines\n");
    gate.check_files();
    assert_eq!(send().status, 200);
    let sent: Vec<String> = upstream
        .received()
        .iter()
        .flat_map(|request| request.headers_named("authorization").into_iter().map(str::to_owned))
        .collect();
    assert_eq!(sent, ["Bearer first", "Bearer second", "Bearer second"]);
}

/// A token endpoint whose tokens are `token-1`, `token-2` … with `lifetime`.
fn token_endpoint(lifetime: u32) -> FakeUpstream {
    let endpoint = FakeUpstream::start();
    let count = AtomicUsize::new(0);
    endpoint.respond_with(move |_| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        let body =
            format!("{{\"access_token\":\"token-{number}\",\"token_type\":\"Bearer\",\"expires_in\":{lifetime}}}");
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    });
    endpoint
}

/// Returns the configuration of a gate whose upstream `own` gets its token at `endpoint`. The route `/other` has another
/// upstream.
fn with_client(endpoint: &FakeUpstream, upstream: &FakeUpstream, more: &str) -> String {
    let settings = format!(
        "endpoints: [\"{}\"]\ncredential:\n  oauth_client:\n    token_url: http://{}/token\n    client_id: kg\n    \
         client_secret: \"file:secret\"\n    allow_http: true\n    allow_private_addresses: true\n{more}",
        upstream.address(),
        endpoint.address()
    );
    GatewayBuilder::new()
        .upstream_with("own", &settings)
        .upstream("other", upstream.address())
        .route("own", "match: { path: /own }\npublic: true\nupstream: own")
        .route("other", "match: { path: /other }\npublic: true\nupstream: other")
        .yaml()
}

fn send(gate: &RunningGate, path: &str) -> Response {
    RawClient::connect(gate.data()).exchange(format!(
        "GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer of-the-client\r\n\r\n"
    ))
}

/// Waits until the upstream's token is there.
#[track_caller]
fn wait_for_token(gate: &RunningGate) {
    wait_until("there is a token", || send(gate, "/own").status == 200);
}

lanes!(s085_an_access_token_of_keygates_own_goes_to_its_upstream_alone);
fn s085_an_access_token_of_keygates_own_goes_to_its_upstream_alone() {
    let (endpoint, upstream, clock) = (token_endpoint(3600), FakeUpstream::start(), still_clock());
    let more = "    scopes: [orders:read, orders:write]\n    audience: https://a.test/?b&c\n    resource: urn:orders\n";
    let yaml = with_client(&endpoint, &upstream, more);
    let gate = LocalGate::start_at(&clock, &yaml, &[("secret", "s3cr:et\n")]);
    wait_for_token(&gate);
    let asked = endpoint.only_received();
    assert_eq!((asked.method(), asked.target()), ("POST", "/token"));
    assert_eq!(asked.headers_named("authorization"), ["Basic a2c6czNjciUzQWV0"]);
    assert_eq!(
        String::from_utf8(asked.body).unwrap(),
        "grant_type=client_credentials&scope=orders%3Aread+orders%3Awrite&audience=https%3A%2F%2Fa.test%2F%3Fb%26c&resource=urn%3Aorders"
    );
    assert_eq!(send(&gate, "/other").status, 200);
    let last = |count: usize| {
        let received = upstream.received();
        let last = &received[received.len() - count];
        last.headers_named("authorization").join(" ")
    };
    assert_eq!((last(2).as_str(), last(1).as_str()), ("Bearer token-1", ""));

    // An upstream that refuses the token has it replaced, not for each request.
    upstream.respond_with(|_| {
        b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\nContent-Length: 0\r\n\r\n".to_vec()
    });
    let refused = send(&gate, "/own");
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, None));
    assert_eq!(send(&gate, "/other").header("www-authenticate"), Some("Bearer"));
    assert_eq!(endpoint.received().len(), 1);
    clock.advance(Duration::from_secs(30));
    assert_eq!(send(&gate, "/own").status, 401);
    endpoint.wait_received(2);
    wait_until("the new token is sent", || {
        send(&gate, "/own");
        last(1) == "Bearer token-2"
    });
    assert_eq!(endpoint.received().len(), 2);
    let refusals = gate.metric("keygate_upstream_credential_refusals_total{upstream=\"own\"}");
    assert!(refusals >= 3.0, "{refusals}");
    assert_eq!(
        gate.metric("keygate_upstream_credential_remaining_seconds{upstream=\"own\"}"),
        3600.0
    );
}

#[test]
fn a_start_waits_for_the_first_token() {
    let (endpoint, upstream) = (FakeUpstream::start(), FakeUpstream::start());
    let (asked, was_asked) = mpsc::channel::<()>();
    let was_asked = Mutex::new(was_asked);
    endpoint.respond_with(move |_| {
        // A gate that does not wait is asked meanwhile.
        let _ = was_asked.lock().unwrap().recv_timeout(Duration::from_millis(200));
        b"HTTP/1.1 200 OK\r\nContent-Length: 42\r\n\r\n{\"access_token\":\"t\",\"token_type\":\"Bearer\"}".to_vec()
    });
    let gate = LocalGate::start_with(&with_client(&endpoint, &upstream, ""), &[("secret", "s3cret")]);
    let status = send(&gate, "/own").status;
    let _ = asked.send(());
    assert_eq!(status, 200);
}

#[test]
fn s143_without_a_token_requests_are_503_and_the_log_says_why_without_a_secret() {
    let (endpoint, upstream) = (FakeUpstream::start(), FakeUpstream::start());
    endpoint.respond_with(|_| {
        let body = r#"{"error":"invalid_client","error_description":"not s3cret"}"#;
        format!(
            "HTTP/1.1 401 Unauthorized\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    });
    let more = "    authentication: client_secret_post\n";
    let yaml = format!("log: {{ level: trace }}\n{}", with_client(&endpoint, &upstream, more));
    let gate = Binary::start_with(&yaml, &[("secret", "s3cret")]);
    gate.wait_for_output("No upstream credential; its requests are refused");
    let refusal = send(&gate, "/own");
    assert_eq!(
        (refusal.status, refusal.header("retry-after")),
        (503, Some("5")),
        "{}",
        refusal.text()
    );
    assert_eq!(gate.record(&refusal)["reason"], "no_upstream_credential");
    assert_eq!(send(&gate, "/other").status, 200);
    let form = String::from_utf8(endpoint.received().remove(0).body).unwrap();
    assert_eq!(form, "grant_type=client_credentials&client_id=kg&client_secret=s3cret");
    // The other upstreams are served, so the gate is degraded and not unready.
    let ready = get(gate.admin(), "/readyz");
    assert_eq!(ready.status, 200);
    let conditions = ready.json()["conditions"].as_array().unwrap().clone();
    let own = conditions
        .iter()
        .find(|condition| condition["name"] == "upstream_credential:own")
        .unwrap();
    assert_eq!(own["status"], "degraded");
    assert!(own["detail"].as_str().unwrap().contains("invalid_client"), "{own}");
    let body = r#"{"access_token":"t0ken","token_type":"bearer"}"#;
    endpoint
        .respond_with(move |_| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes());
    wait_for_token(&gate);
    wait_until("ready", || !get(gate.admin(), "/readyz").text().contains("degraded"));
    gate.wait_for_output("Upstream credential fetched");
    let output = gate.output();
    assert!(!output.contains("s3cret") && !output.contains("t0ken"), "{output}");
}

#[test]
fn a_token_outlives_reloads_and_is_replaced_ahead_of_its_end() {
    let (endpoint, upstream, clock) = (token_endpoint(3600), FakeUpstream::start(), still_clock());
    let yaml = with_client(&endpoint, &upstream, "");
    let gate = LocalGate::start_at(&clock, &yaml, &[("secret", "first")]);
    wait_for_token(&gate);
    gate.reload(&yaml.replace("path: /other", "path: /renamed"));
    assert_eq!((send(&gate, "/renamed").status, send(&gate, "/own").status), (200, 200));
    assert_eq!(endpoint.received().len(), 1);
    // The token is good, whatever the secret is now; the new secret gets the next one.
    gate.replace_file("secret", "second");
    gate.check_files();
    assert_eq!(send(&gate, "/own").status, 200);
    let asked = endpoint.wait_received(2);
    assert_ne!(
        asked[0].headers_named("authorization"),
        asked[1].headers_named("authorization")
    );
    // Another client's token is none of this one's.
    clock.advance(Duration::from_secs(3600));
    assert_eq!(send(&gate, "/own").status, 503);

    let short = token_endpoint(2);
    let gate = LocalGate::start_with(&with_client(&short, &upstream, ""), &[("secret", "first")]);
    wait_for_token(&gate);
    short.wait_received(3);
    wait_for_token(&gate);
}
