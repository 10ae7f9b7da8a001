//! Which response has each row of the refusal table that a client can cause over a connection? (S142, S143)
//!
//! `tests/data/refusals.txt` holds the responses; `UPDATE_GOLDEN=1` rewrites it.

use crate::front::Gate;
use crate::front::get_with;
use crate::front::protected;
use crate::front::refusals::Gates;
use crate::front::refusals::NOT_OVER_THE_WIRE;
use crate::front::refusals::RefusalCase;
use crate::front::refusals::leaves_out;
use crate::front::request_id;
use crate::support::lane::Lane;
use crate::support::lane::lanes;
use keygate::gate::answer::refusal::ROWS;
use serde_json::json;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt::Write;

const GOLDEN: &str = "tests/data/refusals.txt";

/// Returns a response in the form of the golden file, without the parts that differ between runs.
fn golden_text(case: &RefusalCase) -> String {
    let mut text = format!("== {}\n{}\n", case.reason, case.response.status);
    for (name, value) in &case.response.headers {
        let name = name.to_lowercase();
        let value = match name.as_str() {
            "date" | "x-request-id" => "…",
            _ => value,
        };
        let _ = writeln!(text, "{name}: {}", without_seconds(&name, value));
    }
    let body = case.response.text().replace(request_id(&case.response), "…");
    text + "\n" + &body + "\n"
}

/// Returns `value` without the seconds that depend on how long ago the quota was spent.
fn without_seconds(name: &str, value: &str) -> String {
    match name {
        "retry-after" if value.len() > 2 => "…".to_owned(),
        "x-ratelimit-reset" => "…".to_owned(),
        "ratelimit" => value
            .rsplit_once("t=")
            .map_or(value.to_owned(), |(rest, _)| format!("{rest}t=…")),
        _ => value.to_owned(),
    }
}

lanes!(s142_every_refusal_says_what_the_table_says_in_answer_record_and_metric);
fn s142_every_refusal_says_what_the_table_says_in_answer_record_and_metric() {
    let gates = Gates::start();
    let case = gates.cause_all();

    let elsewhere: BTreeSet<&str> = NOT_OVER_THE_WIRE.iter().map(|(reason, _)| *reason).collect();
    let seen: BTreeSet<&str> = case.iter().map(|case| case.reason).collect();
    let rows: BTreeSet<&str> = ROWS.iter().map(|row| row.reason).collect();
    let lane = Lane::current();
    let left_out = rows.iter().copied().filter(|reason| leaves_out(lane, reason).is_some());
    let elsewhere: BTreeSet<&str> = elsewhere.into_iter().chain(left_out).collect();
    assert_eq!(seen.union(&elsewhere).copied().collect::<BTreeSet<_>>(), rows);
    assert_eq!(seen.intersection(&elsewhere).count(), 0);

    let mut golden = String::new();
    for row in ROWS {
        let Some(case) = case.iter().find(|case| case.reason == row.reason) else {
            continue;
        };
        let (response, record) = (&case.response, &case.record);
        assert_eq!(
            (response.status, &record["status"]),
            (row.status, &json!(row.status)),
            "{}",
            row.reason
        );
        let denied = gates.main.denied(row.reason) + gates.odd.denied(row.reason);
        let is_late = record["decision"] == "error";
        assert_eq!(denied >= 1.0, !is_late, "{}: {denied}", row.reason);
        check_rfcs(case);
        golden.push_str(&golden_text(case));
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() && lane == Lane::Own {
        std::fs::write(GOLDEN, &golden).unwrap();
    }
    let expected = std::fs::read_to_string(GOLDEN).unwrap();
    let expected: Vec<String> = rows_of(&expected)
        .filter(|row| leaves_out(lane, row.split('\n').next().unwrap()).is_none())
        .map(|row| comparable(row, lane))
        .collect();
    let rendered: Vec<String> = rows_of(&golden).map(|row| comparable(row, lane)).collect();
    for (rendered, expected) in rendered.iter().zip(&expected) {
        assert_eq!(rendered, expected);
    }
    assert_eq!(rendered.len(), expected.len());

    for gate in [&gates.main, &gates.odd] {
        let output = gate.running.output();
        for secret in [&gate.token, &gate.key].into_iter().chain(gates.keys.values()) {
            assert!(!output.contains(secret.as_str()), "a credential is in the log");
        }
    }
}

/// Returns the rows of a golden text, each from its reason on.
fn rows_of(golden: &str) -> impl Iterator<Item = &str> {
    golden.split("== ").map(str::trim_end).filter(|row| !row.is_empty())
}

/// Returns a row as it is compared on `lane`: pingora's lanes may close a connection that Keygate's own keeps, and HTTP/2
/// has no `Connection`. pingora adds `Date` also where the head was refused.
fn comparable(row: &str, lane: Lane) -> String {
    let is_own = matches!(lane, Lane::Own | Lane::OwnTls);
    row.lines()
        .filter(|line| is_own || !["connection: ", "date: "].iter().any(|name| line.starts_with(name)))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Checks the requirements of RFC 9110, 6750 and 9457, and that the refusal repeats no long word of the request.
#[track_caller]
fn check_rfcs(case: &RefusalCase) {
    let (reason, response) = (case.reason, &case.response);
    assert_eq!(
        response.header("content-type"),
        Some("application/problem+json"),
        "{reason}"
    );
    assert_eq!(response.header("cache-control"), Some("no-store"), "{reason}");
    assert_eq!(
        response.header("content-length"),
        Some(&*response.body.len().to_string()),
        "{reason}"
    );
    let problem = response.json();
    for member in ["type", "title", "detail", "request_id"] {
        assert!(
            problem[member].as_str().is_some_and(|text| !text.is_empty()),
            "{reason}: {problem}"
        );
    }
    assert_eq!(problem["status"], response.status, "{reason}");
    let challenges = response.headers_named("www-authenticate");
    // RFC 9110 section 15.5.2: a 401 has a challenge.
    assert!(response.status != 401 || !challenges.is_empty(), "{reason}");
    for challenge in challenges {
        let (scheme, parameters) = parse_challenge(challenge);
        assert!(["Bearer", "ApiKey"].contains(&&*scheme), "{reason}: {challenge}");
        assert_eq!(
            parameters.get("realm").map(String::as_str),
            Some("keygate"),
            "{reason}: {challenge}"
        );
        if !parameters.contains_key("error") {
            // Of another scheme than the one that was used, or there was no credential.
            assert!(!parameters.contains_key("error_description") && !parameters.contains_key("scope"));
            continue;
        }
        assert_eq!(
            parameters.get("error").map(String::as_str),
            problem["error"].as_str(),
            "{reason}: {challenge}"
        );
        let described = problem["error_description"].as_str();
        assert_eq!(
            parameters.get("error_description").map(String::as_str),
            described,
            "{reason}: {challenge}"
        );
        assert_eq!(
            parameters.contains_key("scope"),
            response.status == 403,
            "{reason}: {challenge}"
        );
    }
    let retries = response
        .header("retry-after")
        .map(|value| value.parse::<u64>().unwrap());
    assert_eq!(
        retries.is_some_and(|secs| secs >= 1),
        matches!(response.status, 429 | 503),
        "{reason}"
    );
    assert_eq!(response.header("allow").is_some(), response.status == 405, "{reason}");
    let request = String::from_utf8_lossy(&case.request).into_owned();
    let rendered = format!("{:?} {}", response.headers, response.text());
    let words = request.split(|char: char| char.is_whitespace() || "=,;".contains(char));
    for word in words.filter(|word| word.len() > 20) {
        assert!(!rendered.contains(word), "{reason} repeats {word}");
    }
}

/// Parses `auth-scheme 1*SP #auth-param` (RFC 9110 section 11.6.1), every value a quoted-string (section 5.6.4).
#[track_caller]
fn parse_challenge(text: &str) -> (String, BTreeMap<String, String>) {
    let (scheme, mut rest) = text.split_once(' ').unwrap();
    let mut parameters = BTreeMap::new();
    loop {
        let (name, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("{text}"));
        assert!(
            name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
            "{text}"
        );
        let mut value = String::new();
        let mut chars = after.chars();
        loop {
            match chars.next() {
                Some('"') => break,
                Some('\\') => value.push(chars.next().unwrap()),
                Some(char) if char == '\t' || !char.is_control() => value.push(char),
                other => panic!("{other:?} in {text}"),
            }
        }
        assert_eq!(parameters.insert(name.to_owned(), value), None, "{text}");
        rest = match chars.as_str() {
            "" => return (scheme.to_owned(), parameters),
            more => more.strip_prefix(", ").unwrap_or_else(|| panic!("{text}")),
        };
    }
}

lanes!(every_refusal_of_a_request_can_be_read_by_the_pages_of_its_host);
/// A browser hides a response without CORS fields from the page, which then sees a network error in place of the reason.
fn every_refusal_of_a_request_can_be_read_by_the_pages_of_its_host() {
    const PAGE: &str = "https://app.test";
    let gates = Gates::start_for(Some(PAGE));
    for case in gates.cause_all() {
        // The head says no one host, or not whose page it is; or no head was read.
        let is_unread = matches!(
            case.reason,
            "head_timeout" | "host_invalid" | "host_missing" | "host_repeated" | "line_ending" | "too_many_connections"
        );
        let origin = case.response.header("access-control-allow-origin");
        // A preflight of another origin, which must not read anything.
        let is_other = case.reason == "cors_origin";
        assert_eq!(
            origin,
            (!is_unread && !is_other).then_some(PAGE),
            "{}: {:?}",
            case.reason,
            case.response.headers
        );
        let varies = case.response.headers_named("vary") == ["Origin"];
        assert_eq!(varies, !is_unread, "{}", case.reason);
    }
}

// It is about `Connection` and the end of a connection, which HTTP/2 has for all streams at once.
lanes!(a_refusal_costs_the_client_its_request_and_not_its_connection: own, own_tls, filter_http1);
fn a_refusal_costs_the_client_its_request_and_not_its_connection() {
    let gate = Gate::start_with(|gate| {
        gate.limit("once", "by: route\nquota: 1/hour\nburst: 1").route(
            "limited",
            "match: { path: /limited }\npublic: true\nlimits: [once]\nupstream: up",
        )
    });
    let good = format!("Authorization: Bearer {}\r\n", gate.token);
    assert_eq!(gate.exchange(get_with("/limited", "")).status, 200);
    let mut client = gate.connect();
    for _ in 0..2 {
        for (target, fields, status) in [
            ("/both/a", "", 401),
            ("/both/a", "Authorization: Bearer a.b.c\r\n", 401),
            ("/scoped/a", &*good, 403),
            ("/limited", "", 429),
            ("/both/a", "Authorization: Bearer a\r\nx-api-key: b\r\n", 400),
            ("/both/a?api_key=x", "", 400),
            ("/open/%2e%2e/a", "", 400),
            ("/nowhere", "", 404),
            ("/both/a", &*good, 200),
        ] {
            let response = client.exchange(get_with(target, fields));
            assert_eq!(
                (response.status, response.header("connection")),
                (status, Some("keep-alive")),
                "{target} {fields}"
            );
        }
    }
    // All requests used the client's one connection; `Connection: close` ends it.
    let response = client.exchange(get_with("/both/a", "Connection: close\r\n"));
    assert_eq!((response.status, response.header("connection")), (401, Some("close")));
    assert!(client.is_closed());
}

// It is about bytes of a head that frames cannot carry.
lanes!(a_refused_head_closes_the_connection_and_is_counted_and_recorded: own, own_tls, filter_http1);
fn a_refused_head_closes_the_connection_and_is_counted_and_recorded() {
    let gates = Gates::start();
    for (reason, request) in gates.heads() {
        let mut client = gates.main.connect();
        // The refused head is the second on its connection.
        assert_eq!(client.exchange(get_with("/nowhere", "")).status, 404);
        let (counted, pipelined) = (gates.main.denied(reason), get_with("/open/smuggled", ""));
        client.send(&request);
        if reason != "head_timeout" {
            client.send(&pipelined);
        }
        let response = client.receive();
        assert_eq!(response.header("connection"), Some("close"), "{reason}");
        assert!(client.is_closed(), "{reason}");
        let record = gates.main.record(request_id(&response));
        assert_eq!(
            (&record["reason"], &record["decision"]),
            (&json!(reason), &json!("deny")),
            "{reason}"
        );
        assert_eq!(gates.main.denied(reason), counted + 1.0, "{reason}");
        let series = format!("keygate_heads_refused_total{{reason=\"{reason}\"}}");
        assert_eq!(gates.main.running.metric(&series), counted + 1.0, "{reason}");
    }
    assert!(gates.main.upstream.received().is_empty());
}

lanes!(scopes_and_names_of_the_configuration_are_quoted_in_challenges);
/// The operator chooses the header's name and the scopes; challenges and problems stay well-formed with any of them.
fn scopes_and_names_of_the_configuration_are_quoted_in_challenges() {
    let gate = Gate::start_as("x!#$%&'*+.^`|~key", |gate| {
        let scopes = "scopes: { all: [\"a:b\", \"c/d\", \"e~!#$%&'()*+,;<=>?@[]^`{|}\"] }";
        gate.route("odd", &format!("{}\n{scopes}", protected("odd", "[jwt, api_key]")))
    });
    let request = get_with("/odd/a", &format!("Authorization: Bearer {}\r\n", gate.token));
    let response = gate.refuses(request, 403, "insufficient_scope");
    let challenges = response.headers_named("www-authenticate");
    let (_, parameters) = parse_challenge(challenges[0]);
    assert_eq!(parameters["scope"], response.json()["scope"].as_str().unwrap());
    assert!(
        parameters["scope"].contains("e~!#$%&'()*+,;<=>?@[]^`{|}"),
        "{challenges:?}"
    );
    let (_, parameters) = parse_challenge(challenges[1]);
    assert_eq!(parameters["header"], "x!#$%&'*+.^`|~key");
}
