//! Which fields do the rules of an upstream and a route set, add and remove, in requests and in responses?

use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::RawClient;
use crate::support::Response;
use crate::support::RunningGate;
use crate::support::lane::lanes;

const UPSTREAM: &str = "\
    set_headers: { x-set: upstream, x-both: upstream, x-gone: upstream }
    add_headers: { x-added: upstream }
    remove_headers: [x-removed]
    response:
      set_headers: { x-set: upstream, x-both: upstream, x-gone: upstream, content-type: application/json }
      add_headers: { x-added: upstream, set-cookie: of=upstream }
      remove_headers: [server, ratelimit, www-authenticate]";

const ROUTE: &str = "\
    set_headers: { x-both: route }
    add_headers: { x-added: route }
    remove_headers: [x-gone]
    response:
      set_headers: { x-both: route }
      add_headers: { x-added: route }
      remove_headers: [x-gone]";

const RESPONSE: &str = "HTTP/1.1 200 OK\r\nServer: secret/1.0\r\nX-Set: a\r\nx-set: b\r\nX-Both: a\r\nX-Gone: a\r\nX-Added: a\r\n\
    X_Set: a\r\nSet-Cookie: a=b\r\nRateLimit: \"theirs\"\r\nWWW-Authenticate: Basic\r\nX-Own: a\r\nContent-Type: text/html\r\n\
    Content-Length: 2\r\n\r\nok";

fn gate(upstream: &FakeUpstream) -> LocalGate {
    let dedented = |text: &str| text.replace("\n    ", "\n").trim().to_owned();
    let settings = format!("endpoints: [\"{}\"]\n{}", upstream.address(), dedented(UPSTREAM));
    let open = "match: { path: /open }\npublic: true\nupstream: api";
    let limited = format!(
        "match: {{ path: /limited }}\npublic: true\nlimits: [all]\nupstream: api\n{}",
        dedented(ROUTE)
    );
    let gate = GatewayBuilder::new()
        .limit("all", "{ by: route, quota: 1000/min }")
        .upstream_with("api", &settings)
        .route("open", open)
        .route("limited", &limited)
        .yaml();
    let gate = LocalGate::start(&gate);
    gate.wait_ready();
    gate
}

fn get(gate: &RunningGate, path: &str) -> Response {
    RawClient::connect(gate.data()).exchange(format!(
        "GET {path} HTTP/1.1\r\nHost: a\r\nX-Set: client\r\nX_Set: client\r\nX-Both: client\r\nX-Gone: client\r\n\
         X-Added: client\r\nX-Removed: client\r\nX-Own: client\r\nConnection: x-both\r\n\r\n"
    ))
}

lanes!(s080_s081_rules_change_requests_and_the_routes_win);
fn s080_s081_rules_change_requests_and_the_routes_win() {
    let upstream = FakeUpstream::start();
    let gate = gate(&upstream);
    for path in ["/open", "/limited"] {
        assert_eq!(get(&gate, path).status, 200);
    }
    let received = upstream.wait_received(2);
    let named = |request: usize, name: &str| received[request].headers_named(name).join(" ");
    for (name, open, limited) in [
        ("x-set", "upstream", "upstream"),
        ("x_set", "", ""),
        // The client's `Connection` removes fields of the client alone.
        ("x-both", "upstream", "route"),
        ("x-gone", "upstream", ""),
        ("x-added", "client upstream", "client upstream route"),
        ("x-removed", "", ""),
        ("x-own", "client", "client"),
    ] {
        assert_eq!(
            (named(0, name).as_str(), named(1, name).as_str()),
            (open, limited),
            "{name}"
        );
    }
}

lanes!(s086_rules_change_responses_and_no_refusal);
fn s086_rules_change_responses_and_no_refusal() {
    let upstream = FakeUpstream::start();
    upstream.respond_with(|_| RESPONSE.into());
    let gate = gate(&upstream);
    let (open, limited) = (get(&gate, "/open"), get(&gate, "/limited"));
    let named = |response: &Response, name: &str| response.headers_named(name).join(" ");
    for (name, of_open, of_limited) in [
        ("x-set", "upstream", "upstream"),
        ("x_set", "", ""),
        ("x-both", "upstream", "route"),
        ("x-gone", "upstream", ""),
        ("x-added", "a upstream", "a upstream route"),
        ("set-cookie", "a=b of=upstream", "a=b of=upstream"),
        ("content-type", "application/json", "application/json"),
        ("content-length", "2", "2"),
        ("server", "", ""),
        ("www-authenticate", "", ""),
        ("x-own", "a", "a"),
    ] {
        assert_eq!(
            (named(&open, name).as_str(), named(&limited, name).as_str()),
            (of_open, of_limited),
            "{name}"
        );
    }
    assert_eq!((open.text().as_str(), limited.text().as_str()), ("ok", "ok"));
    // The upstream's is removed, Keygate's own is not.
    assert_eq!(open.header("ratelimit"), None);
    assert!(
        limited
            .header("ratelimit")
            .is_some_and(|value| value.starts_with("\"all\""))
    );
    let request = "GET /limited HTTP/1.1\r\nHost: a\r\nX-Api-Key: a\r\nAuthorization: Bearer a\r\n\r\n";
    let refusal = RawClient::connect(gate.data()).exchange(request);
    assert_eq!(refusal.status, 400, "{}", refusal.text());
    for name in ["x-set", "x-both", "x-added", "set-cookie"] {
        assert_eq!(refusal.header(name), None, "{name}");
    }
}
