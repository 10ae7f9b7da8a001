//! Which bytes may a client leave raw in its target, what does the upstream receive for them, and what does a refusal say?

use crate::front::Gate;
use crate::front::get_with;
use crate::support::RawClient;
use crate::support::lane::lanes;

/// The treatment of a byte.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// The upstream receives this in its place.
    Forwarded(String),
    /// The reason of the refusal.
    Refused(&'static str),
}

fn unchanged(byte: u8) -> Fate {
    Fate::Forwarded(char::from(byte).to_string())
}

fn escaped(byte: u8) -> Fate {
    Fate::Forwarded(format!("%{byte:02X}"))
}

/// Returns the fate of a byte that ends a target for some parsers, wherever it stands; `None` for other bytes.
fn anywhere(byte: u8) -> Option<Fate> {
    Some(Fate::Refused(match byte {
        b'\r' | b'\n' => "line_ending",
        b' ' => "request_line",
        0x00..=0x1F | 0x7F => "target_control_byte",
        b'#' => "target_fragment",
        // Alone, it is not UTF-8.
        0x80.. => "target_invalid_utf8",
        _ => return None,
    }))
}

fn in_query(byte: u8) -> Fate {
    anywhere(byte).unwrap_or_else(|| match byte {
        b'"' | b'<' | b'>' => escaped(byte),
        _ => unchanged(byte),
    })
}

fn in_path(byte: u8) -> Fate {
    anywhere(byte).unwrap_or_else(|| match byte {
        b'%' => Fate::Refused("path_invalid_escape"),
        b'\\' => Fate::Refused("path_backslash"),
        b'"' | b'<' | b'>' | b'[' | b']' | b'^' | b'`' | b'{' | b'|' | b'}' => escaped(byte),
        _ => unchanged(byte),
    })
}

#[track_caller]
fn check(gate: &Gate, client: &mut RawClient, before: &str, byte: u8, after: &str, expected: &Fate) {
    let target = [before.as_bytes(), &[byte], after.as_bytes()].concat();
    let request = [b"GET ", &*target, b" HTTP/1.1\r\nHost: gate.test\r\n\r\n"].concat();
    let received = gate.upstream.received().len();
    let response = client.exchange(&request);
    let found = match response.status {
        200 => {
            let received = gate.upstream.received().pop().unwrap();
            let target = received.target();
            let middle = target.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
            Fate::Forwarded(middle.unwrap_or_else(|| panic!("{target}")).to_owned())
        }
        status => {
            assert_eq!(status, 400, "0x{byte:02X}");
            assert_eq!(gate.upstream.received().len(), received, "0x{byte:02X}");
            let record = gate.running.record(&response);
            let reason = record["reason"].as_str().unwrap().to_owned();
            let Fate::Refused(expected) = expected else {
                panic!("0x{byte:02X}: {reason}");
            };
            assert_eq!(reason, *expected, "0x{byte:02X}");
            if reason != "request_line" {
                let (part, offset) = match &*reason {
                    "line_ending" => ("head", "GET ".len() + before.len()),
                    reason if reason.starts_with("path_") => ("path", before.len()),
                    _ => ("target", before.len()),
                };
                let shown = if byte.is_ascii_graphic() {
                    format!(" (`{}`)", char::from(byte))
                } else {
                    String::new()
                };
                let place = format!("The byte is 0x{byte:02X}{shown}, at offset {offset} of the {part}.");
                let problem = response.json();
                let detail = problem["detail"].as_str().unwrap();
                assert!(detail.ends_with(&place), "{detail}");
            }
            Fate::Refused(expected)
        }
    };
    assert_eq!(found, *expected, "0x{byte:02X}");
}

// It is about bytes of a head, most of which frames cannot carry.
lanes!(each_byte_of_a_query_is_forwarded_or_refused_with_its_place: own, own_tls, filter_http1);
fn each_byte_of_a_query_is_forwarded_or_refused_with_its_place() {
    let gate = Gate::start();
    let mut client = gate.connect();
    for byte in 0..=0xFF {
        check(&gate, &mut client, "/open/a?q=x", byte, "y", &in_query(byte));
    }
}

// It is about bytes of a head, most of which frames cannot carry.
lanes!(each_byte_of_a_path_is_forwarded_or_refused_with_its_place: own, own_tls, filter_http1);
fn each_byte_of_a_path_is_forwarded_or_refused_with_its_place() {
    let gate = Gate::start();
    let mut client = gate.connect();
    for byte in 0..=0xFF {
        check(&gate, &mut client, "/open/x", byte, "y", &in_path(byte));
    }
}

lanes!(bytes_that_clients_leave_raw_reach_the_upstream);
fn bytes_that_clients_leave_raw_reach_the_upstream() {
    let gate = Gate::start();
    let mut client = gate.connect();
    for (query, forwarded) in [
        // curl -g, browsers.
        ("q={a}|[b]^`\\'~", "q={a}|[b]^`\\'~"),
        ("q=caf\u{e9}&\u{85}\u{a0}\u{2028}", "q=caf%C3%A9&%C2%85%C2%A0%E2%80%A8"),
        ("a=%zz&b=%", "a=%zz&b=%"),
    ] {
        let response = client.exchange(get_with(&format!("/open/a?{query}"), ""));
        assert_eq!(response.status, 200, "{query}: {}", response.text());
        let received = gate.upstream.received().pop().unwrap();
        assert_eq!(received.target(), format!("/open/a?{forwarded}"));
    }
}

// The library that reads frames refuses `"`.
lanes!(a_query_of_prometheus_reaches_the_upstream: own, own_tls, filter_http1);
fn a_query_of_prometheus_reaches_the_upstream() {
    let gate = Gate::start();
    let query = r#"query=sum(rate(http_requests_total{job="api",code=~"5..|4.."}[5m]))<1"#;
    for target in [format!("/open/a?{query}"), format!("http://gate.test/open/a?{query}")] {
        assert_eq!(gate.exchange(get_with(&target, "")).status, 200);
        let received = gate.upstream.received().pop().unwrap();
        let expected = query.replace('"', "%22").replace('<', "%3C");
        assert_eq!(received.target(), format!("/open/a?{expected}"));
    }
}
