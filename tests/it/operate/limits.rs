//! Limits end to end: which requests share a bucket, which spend, and what do the headers report?

use crate::operate::ISSUER_YAML;
use crate::operate::api_key;
use crate::operate::bearer;
use crate::operate::get;
use crate::operate::put_key;
use crate::operate::put_keys;
use crate::operate::request;
use crate::operate::token;
use crate::support;
use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::RawClient;
use crate::support::RefusingAddress;
use crate::support::Response;
use crate::support::lane::lanes;
use crate::support::still_clock;
use crate::support::wait_until;
use keygate::jose::sign::SigningKey;
use keygate::model::api_key::ApiKeyEnvironment;
use keygate::model::api_key::ApiKeyText;
use keygate::model::clock::ManualClock;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The signing key, the upstream and the configuration of a gate that has not started yet.
struct GateSetup {
    issuer: SigningKey,
    upstream: FakeUpstream,
    gateway: GatewayBuilder,
}

impl GateSetup {
    fn new() -> Self {
        let upstream = FakeUpstream::start();
        let gateway = GatewayBuilder::new()
            .issuer("main", ISSUER_YAML)
            .upstream("only", upstream.address());
        Self {
            issuer: SigningKey::generate_es256().unwrap(),
            upstream,
            gateway,
        }
    }

    /// Returns a gate with one limit on the route `/a`, which accepts JWTs and API keys.
    fn limited(by: &str, quota: &str) -> Self {
        let mut gate = Self::new();
        gate.gateway = gate
            .gateway
            .limit("few", &format!("by: {by}\n{quota}"))
            .route("a", &both_at("/a", "few"));
        gate
    }

    fn top(mut self, yaml: &str) -> Self {
        self.gateway = self.gateway.top(yaml);
        self
    }

    fn start(&self) -> LocalGate {
        self.start_at(&still_clock())
    }

    fn start_at(&self, clock: &Arc<ManualClock>) -> LocalGate {
        let yaml = format!("{}api_keys: {{ file: keys.yaml }}\n", self.gateway.yaml());
        let files = [
            ("issuer.pem", self.issuer.public_pem()),
            ("keys.yaml", "keys: []\n".into()),
        ];
        LocalGate::start_at(
            clock,
            &yaml,
            &files.each_ref().map(|(name, text)| (*name, text.as_str())),
        )
    }

    fn token(&self, more: serde_json::Value) -> String {
        token(&self.issuer, &more)
    }
}

fn both_at(path: &str, limits: &str) -> String {
    format!("match: {{ path: {path} }}\naccept: [jwt, api_key]\nlimits: [{limits}]\nupstream: only")
}

fn open_at(path: &str, limits: &str) -> String {
    format!("match: {{ path: {path} }}\npublic: true\nlimits: [{limits}]\nupstream: only")
}

#[track_caller]
fn number(response: &Response, header: &str) -> u64 {
    let value = response
        .header(header)
        .unwrap_or_else(|| panic!("{header} in {response:?}"));
    value.parse().unwrap()
}

lanes!(s114_of_a_thousand_at_once_exactly_the_burst_pass);
fn s114_of_a_thousand_at_once_exactly_the_burst_pass() {
    let gate = GateSetup::limited("credential", "quota: 100/hour");
    let running = gate.start();
    let ask = request("GET", "/a", &[&bearer(&gate.token(json!({})))]);
    let (passed, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let all_are_there = std::sync::Barrier::new(20);
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                let mut client = RawClient::connect(running.data());
                all_are_there.wait();
                for _ in 0..50 {
                    let response = client.exchange(&ask);
                    match response.status {
                        200 => passed.fetch_add(1, Ordering::SeqCst),
                        429 => refused.fetch_add(1, Ordering::SeqCst),
                        other => panic!("{other}: {}", response.text()),
                    };
                }
            });
        }
    });
    assert_eq!((passed.into_inner(), refused.into_inner()), (100, 900));
    assert_eq!(gate.upstream.received().len(), 100);
    wait_until("all are counted", || {
        running.metric("keygate_limit_decisions_total{limit=\"few\",outcome=\"deny\"}") == 900.0
    });
    assert_eq!(
        running.metric("keygate_limit_decisions_total{limit=\"few\",outcome=\"allow\"}"),
        100.0
    );
    assert_eq!(running.metric("keygate_limit_buckets{limit=\"few\"}"), 1.0);
}

lanes!(s109_a_bucket_is_the_proved_principals_however_the_credential_is_written);
fn s109_a_bucket_is_the_proved_principals_however_the_credential_is_written() {
    let gate = GateSetup::limited("credential", "quota: 3/hour").top("failed_authentication: off");
    let running = gate.start();
    let (good, renewed) = (gate.token(json!({ "jti": "1" })), gate.token(json!({ "jti": "2" })));
    let other = gate.token(json!({ "client_id": "other" }));
    let ask = |header: &str| get(running.data(), "/a", &[header]).status;
    // Requests without a valid credential spend nothing.
    for unproved in [
        "Authorization: Bearer  doubled".to_owned(),
        format!("Authorization: n1 Bearer {good}"),
        format!("Authorization: Bearer {good}x"),
        format!("Authorization: Bearer {}", gate.token(json!({ "exp": 1 }))),
    ] {
        assert!([400, 401].contains(&ask(&unproved)), "{unproved}");
    }
    for scheme in ["Bearer", "bearer", "BEARER"] {
        assert_eq!(ask(&format!("Authorization: {scheme} {good}")), 200);
    }
    for scheme in ["Bearer", "bEaReR"] {
        assert_eq!(ask(&format!("Authorization: {scheme} {good}")), 429);
    }
    assert_eq!(ask(&format!("Authorization:Bearer {good}")), 429, "space or not");
    // A new token of the same client shares the bucket; another client and an API key have their own.
    assert_eq!(ask(&bearer(&renewed)), 429);
    assert_eq!(ask(&bearer(&other)), 200);
    let key = put_key(&running);
    assert_eq!(ask(&api_key(key.expose())), 200);
}

lanes!(s109_by_subject_and_by_client_many_tokens_share);
fn s109_by_subject_and_by_client_many_tokens_share() {
    for (by, same, other) in [
        ("subject", json!({ "client_id": "x" }), json!({ "sub": "x" })),
        ("client", json!({ "sub": "x" }), json!({ "client_id": "x" })),
    ] {
        let gate = GateSetup::limited(by, "quota: 2/hour");
        let running = gate.start();
        let ask = |token: String| get(running.data(), "/a", &[&bearer(&token)]).status;
        assert_eq!(ask(gate.token(json!({}))), 200, "{by}");
        assert_eq!(ask(gate.token(same.clone())), 200, "{by}");
        assert_eq!(ask(gate.token(same)), 429, "{by}");
        assert_eq!(ask(gate.token(json!({}))), 429, "{by}");
        assert_eq!(ask(gate.token(other)), 200, "{by}");
    }
}

lanes!(a_request_that_is_counted_by_a_stand_in_is_in_the_metrics);
fn a_request_that_is_counted_by_a_stand_in_is_in_the_metrics() {
    let gate = GateSetup::limited("[client, ip]", "quota: 3/hour");
    let running = gate.start();
    let stand_ins = || running.count_of_ended("keygate_limit_stand_ins_total{limit=\"few\"}");
    let ask = |more: serde_json::Value| get(running.data(), "/a", &[&bearer(&gate.token(more))]).status;
    let nobody = json!({ "client_id": "" });
    assert_eq!((ask(json!({ "client_id": "x" })), stand_ins()), (200, 0.0));
    for (status, count) in [(200, 1.0), (200, 2.0), (200, 3.0), (429, 4.0)] {
        assert_eq!((ask(nobody.clone()), stand_ins()), (status, count));
    }
}

lanes!(s110_an_untrusted_peer_cannot_choose_its_address);
fn s110_an_untrusted_peer_cannot_choose_its_address() {
    let mut gate = GateSetup::new();
    gate.gateway = gate
        .gateway
        .limit("few", "by: ip\nquota: 2/hour")
        .route("a", &open_at("/a", "few"));
    let running = gate.start();
    let mut statuses = Vec::new();
    for (index, name) in [
        "X-Forwarded-For",
        "X-Real-IP",
        "Forwarded",
        "X-Client-IP",
        "True-Client-IP",
    ]
    .iter()
    .enumerate()
    {
        let value = if *name == "Forwarded" {
            format!("for=192.0.2.{index}")
        } else {
            format!("192.0.2.{index}")
        };
        statuses.push(get(running.data(), "/a", &[&format!("{name}: {value}")]).status);
    }
    assert_eq!(statuses, [200, 200, 429, 429, 429]);
}

lanes!(s110_a_trusted_proxy_names_the_client_and_ipv6_counts_by_64);
fn s110_a_trusted_proxy_names_the_client_and_ipv6_counts_by_64() {
    let mut gate = GateSetup::new().top("trusted_proxies: [127.0.0.1/32]");
    gate.gateway = gate
        .gateway
        .limit("few", "by: ip\nquota: 1/hour")
        .route("a", &open_at("/a", "few"));
    let running = gate.start();
    let ask = |from: &str| get(running.data(), "/a", &[&format!("X-Forwarded-For: {from}")]).status;
    for (from, status) in [
        ("192.0.2.1", 200),
        ("192.0.2.2", 200),
        ("192.0.2.1", 429),
        // Entries that the client put before the proxy's are not trusted.
        ("198.51.100.7, 192.0.2.1", 429),
        ("2001:db8:0:1::1", 200),
        ("2001:db8:0:1:ffff::2", 429),
        ("2001:db8:0:2::1", 200),
        ("::ffff:192.0.2.2", 429),
    ] {
        assert_eq!(ask(from), status, "{from}");
    }
}

lanes!(s111_two_limits_and_two_routes_count_for_themselves);
fn s111_two_limits_and_two_routes_count_for_themselves() {
    let mut gate = GateSetup::new();
    gate.gateway = gate
        .gateway
        .limit("tight", "by: subject\nquota: 2/hour")
        .limit("wide", "by: subject\nquota: 4/hour")
        .limit("per-route", "by: [subject, route]\nquota: 1/hour")
        .route("both", &both_at("/both", "tight, wide"))
        .route("wide", &both_at("/wide", "wide"))
        .route("one", &both_at("/one", "per-route"))
        .route("two", &both_at("/two", "per-route"));
    let running = gate.start();
    let good = bearer(&gate.token(json!({})));
    let ask = |path: &str| get(running.data(), path, &[&good]);
    assert_eq!([ask("/both").status, ask("/both").status], [200, 200]);
    let refused = ask("/both");
    assert_eq!((refused.status, &refused.json()["limit"]), (429, &json!("tight")));
    // A request that one limit refused spent nothing of the other.
    assert_eq!([ask("/wide").status, ask("/wide").status], [200, 200]);
    let refused = ask("/wide");
    assert_eq!((refused.status, &refused.json()["limit"]), (429, &json!("wide")));
    // The limit with the longest wait is named: 2/hour refills after 30 minutes, 4/hour after 15.
    assert_eq!(ask("/both").json()["limit"], "tight");
    let per_route = ["/one", "/two", "/one", "/two"].map(|path| ask(path).status);
    assert_eq!(per_route, [200, 200, 429, 429]);
}

lanes!(s111_a_refused_request_spends_nothing);
fn s111_a_refused_request_spends_nothing() {
    let mut gate = GateSetup::new();
    let scoped = format!("{}\nscopes: {{ all: [admin] }}", both_at("/scoped", "few"));
    gate.gateway = gate
        .gateway
        .limit("few", "by: subject\nquota: 2/hour")
        .route("scoped", &scoped)
        .route("a", &both_at("/a", "few"));
    let running = gate.start();
    let good = bearer(&gate.token(json!({})));
    let ask = |path: &str| get(running.data(), path, &[&good]).status;
    assert_eq!([ask("/scoped"), ask("/scoped"), ask("/scoped")], [403, 403, 403]);
    assert_eq!([ask("/a"), ask("/a"), ask("/a")], [200, 200, 429]);
}

lanes!(s115_a_limit_that_a_reload_lowers_neither_goes_negative_nor_locks_out);
fn s115_a_limit_that_a_reload_lowers_neither_goes_negative_nor_locks_out() {
    let upstream = FakeUpstream::start();
    let with = |quota: &str| {
        GatewayBuilder::new()
            .upstream("only", upstream.address())
            .limit("few", &format!("by: ip\n{quota}"))
            .route("a", &open_at("/a", "few"))
            .yaml()
    };
    let clock = still_clock();
    let running = LocalGate::start_at(&clock, &with("quota: 50/hour"), &[]);
    let ask = || get(running.data(), "/a", &[]);
    for _ in 0..40 {
        ask();
    }
    assert_eq!(number(&ask(), "x-ratelimit-remaining"), 9);
    running.reload(&with("quota: 2/s\nburst: 2"));
    let spent = ask();
    assert_eq!((spent.status, number(&spent, "x-ratelimit-remaining")), (429, 0));
    // Of the earlier requests, at most the new burst counts: 2 requests, which refill in 1 s.
    let wait = number(&spent, "retry-after");
    assert!((1..=2).contains(&wait), "locked out for {wait} s");
    clock.advance(Duration::from_secs(wait));
    assert_eq!(ask().status, 200, "the lower limit lets through again");
    // The last request refills in 500 ms at 2/s. At 1000/s, 500 requests refill in that time, and are missing now.
    running.reload(&with("quota: 1000/s"));
    assert_eq!(number(&ask(), "x-ratelimit-remaining"), 499);
    clock.advance(Duration::from_millis(200));
    assert_eq!(
        number(&ask(), "x-ratelimit-remaining"),
        698,
        "the higher limit refills 200 in 200 ms"
    );
}

lanes!(s115_a_fixed_window_admits_its_quota_until_it_ends_also_over_a_reload);
fn s115_a_fixed_window_admits_its_quota_until_it_ends_also_over_a_reload() {
    let upstream = FakeUpstream::start();
    let with = |quota: &str| {
        GatewayBuilder::new()
            .upstream("only", upstream.address())
            .limit("few", &format!("by: ip\n{quota}"))
            .route("a", &open_at("/a", "few"))
            .yaml()
    };
    let clock = still_clock();
    let running = LocalGate::start_at(&clock, &with("quota: 5/hour\nwindow: fixed"), &[]);
    let ask = || get(running.data(), "/a", &[]);
    let mut wait = 0;
    for left in [4, 3, 2, 1, 0, 0] {
        let response = ask();
        wait = number(&response, "x-ratelimit-reset");
        assert!((1..=3_600).contains(&wait), "{wait}");
        assert_eq!(response.header("ratelimit-policy"), Some("\"few\";q=5;w=3600"));
        assert_eq!(
            response.header("ratelimit").unwrap(),
            format!("\"few\";r={left};t={wait}")
        );
        assert_eq!(number(&response, "x-ratelimit-limit"), 5);
        assert_eq!(number(&response, "x-ratelimit-remaining"), left);
    }
    assert_eq!(number(&ask(), "retry-after"), wait);
    running.reload(&with("quota: 6/hour\nwindow: fixed"));
    assert_eq!([ask().status, ask().status], [200, 429]);
    clock.advance(Duration::from_secs(wait - 1));
    assert_eq!(ask().status, 429);
    clock.advance(Duration::from_secs(1));
    assert_eq!(number(&ask(), "x-ratelimit-remaining"), 5);
}

/// Returns the one item of a list field, and its parameters `names`.
#[track_caller]
fn item(field: &str, names: [&str; 2]) -> (String, [u64; 2]) {
    let list = sfv::Parser::new(field).parse::<sfv::List>().unwrap();
    let [sfv::ListEntry::Item(item)] = list.as_slice() else {
        panic!("{field} is not one item");
    };
    let parameter = |name: &str| {
        let value = item.params.get(name).unwrap_or_else(|| panic!("{field} has no {name}"));
        u64::try_from(i64::from(value.as_integer().unwrap())).unwrap()
    };
    (
        item.bare_item.as_string().unwrap().as_str().to_owned(),
        names.map(parameter),
    )
}

lanes!(s116_headers_are_structured_fields_and_waiting_as_told_is_enough);
fn s116_headers_are_structured_fields_and_waiting_as_told_is_enough() {
    let gate = GateSetup::limited("credential", "quota: 60/min\nburst: 2");
    let clock = still_clock();
    let running = gate.start_at(&clock);
    let good = bearer(&gate.token(json!({})));
    let ask = || get(running.data(), "/a", &[&good]);
    for left in [1, 0] {
        let response = ask();
        assert_eq!(response.status, 200);
        assert_eq!(
            item(response.header("ratelimit-policy").unwrap(), ["q", "w"]),
            ("few".to_owned(), [2, 2])
        );
        let (name, [r, t]) = item(response.header("ratelimit").unwrap(), ["r", "t"]);
        assert_eq!((name.as_str(), r, t), ("few", left, 1));
        assert_eq!(number(&response, "x-ratelimit-limit"), 2);
        assert_eq!(
            (
                number(&response, "x-ratelimit-remaining"),
                number(&response, "x-ratelimit-reset")
            ),
            (left, 1)
        );
        assert_eq!(response.header("retry-after"), None);
    }
    let refused = ask();
    assert_eq!(refused.status, 429);
    let (_, [r, t]) = item(refused.header("ratelimit").unwrap(), ["r", "t"]);
    let wait = number(&refused, "retry-after");
    assert_eq!((r, t, wait), (0, 1, 1));
    assert_eq!(refused.header("cache-control"), Some("no-store"));
    assert_eq!(refused.json()["type"], "urn:keygate:problem:limit-spent");
    clock.advance(Duration::from_secs(wait));
    assert_eq!(ask().status, 200, "waited {wait} s as told");
}

lanes!(s116_a_request_that_fails_further_on_was_spent_and_says_so);
fn s116_a_request_that_fails_further_on_was_spent_and_says_so() {
    let refusing = RefusingAddress::new();
    let yaml = GatewayBuilder::new()
        .limit("few", "by: ip\nquota: 3/hour")
        .upstream("gone", refusing.address())
        .route("a", "match: { path: /a }\npublic: true\nlimits: [few]\nupstream: gone");
    let running = LocalGate::start(&yaml.yaml());
    for left in [2, 1, 0] {
        let response = get(running.data(), "/a", &[]);
        assert_eq!(response.status, 502, "{}", response.text());
        assert_eq!(number(&response, "x-ratelimit-remaining"), left);
        assert_eq!(number(&response, "x-ratelimit-limit"), 3);
        let standard = response.header("ratelimit").unwrap();
        assert!(standard.starts_with(&format!("\"few\";r={left};t=")), "{standard}");
        assert!(response.header("ratelimit-policy").is_some() && response.header("retry-after").is_none());
    }
    assert_eq!(get(running.data(), "/a", &[]).status, 429);
}

lanes!(s116_each_family_of_headers_can_be_switched_off_and_then_the_upstreams_fields_pass);
fn s116_each_family_of_headers_can_be_switched_off_and_then_the_upstreams_fields_pass() {
    const STANDARD: [&str; 2] = ["ratelimit", "ratelimit-policy"];
    const LEGACY: [&str; 3] = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];
    const THEIRS: [(&str, &str); 2] = [("ratelimit", "\"theirs\";r=1;t=1"), ("x-ratelimit-limit", "77")];
    for (standard, legacy) in [(true, true), (true, false), (false, true), (false, false)] {
        let gate = GateSetup::limited("credential", "quota: 1/hour").top(&format!(
            "rate_limit_headers: {{ standard: {standard}, legacy: {legacy} }}"
        ));
        gate.upstream.respond_with(|_| {
            b"HTTP/1.1 200 OK\r\nRateLimit: \"theirs\";r=1;t=1\r\nX-RateLimit-Limit: 77\r\nContent-Length: 0\r\n\r\n".to_vec()
        });
        let running = gate.start();
        let good = bearer(&gate.token(json!({})));
        for status in [200, 429] {
            let response = get(running.data(), "/a", &[&good]);
            assert_eq!(response.status, status);
            assert_eq!(response.header("retry-after").is_some(), status == 429);
            for (names, on) in [(&STANDARD[..], standard), (&LEGACY[..], legacy)] {
                for name in names {
                    let theirs = THEIRS.into_iter().find(|(theirs, _)| theirs == name);
                    let theirs = theirs.map(|(_, value)| value);
                    let field = response.header(name);
                    if on {
                        assert!(field.is_some() && field != theirs, "{name} {status}: {response:?}");
                    } else {
                        // The upstream answers only the request that is allowed.
                        let passed = theirs.filter(|_| status == 200);
                        assert_eq!(field, passed, "{name} {status} {standard} {legacy}: {response:?}");
                    }
                }
            }
        }
    }
}

lanes!(s117_failures_are_limited_and_a_good_credential_from_there_still_passes);
fn s117_failures_are_limited_and_a_good_credential_from_there_still_passes() {
    let gate = GateSetup::limited("credential", "quota: 100/hour").top("failed_authentication: { quota: 5/hour }");
    let running = gate.start();
    let good = bearer(&gate.token(json!({})));
    let bad = bearer(&gate.token(json!({ "exp": 1 })));
    let ask = |header: &str| get(running.data(), "/a", &[header]);
    for _ in 0..5 {
        assert_eq!(ask(&bad).status, 401);
    }
    for _ in 0..3 {
        let response = ask(&bad);
        assert_eq!(
            (response.status, &response.json()["type"]),
            (429, &json!("urn:keygate:problem:too-many-failures"))
        );
        assert!(number(&response, "retry-after") >= 1);
        assert_eq!(response.header("www-authenticate"), None);
        assert_eq!(ask(&good).status, 200);
    }
}

lanes!(s117_thousands_of_failures_lock_nobody_out_and_tell_nothing);
/// Sends 2000 failures from one IPv4 address, then 2000 from two addresses of one IPv6 /64.
fn s117_thousands_of_failures_lock_nobody_out_and_tell_nothing() {
    let gate = GateSetup::limited("credential", "quota: 10000/hour")
        .top("failed_authentication: { quota: 60/hour, burst: 20 }\ntrusted_proxies: [127.0.0.0/8]");
    let running = gate.start();
    let good = bearer(&gate.token(json!({})));
    let key = put_key(&running);
    let bad = bearer(&format!("{}AAAA", gate.token(json!({}))));
    let mut client = RawClient::connect(running.data());
    let mut ask = |from: &str, header: &str| {
        let from = format!("X-Forwarded-For: {from}");
        client.exchange(request("GET", "/a", &[&from, header])).status
    };
    for sources in [["203.0.113.7"; 2], ["2001:db8:0:1::1", "2001:db8:0:1:ffff::9"]] {
        let mut refused = [0; 2];
        for attempt in 0..2_000 {
            match ask(sources[attempt % 2], [&bad, "x-api-key: kg_live_x"][attempt / 2 % 2]) {
                401 => refused[0] += 1,
                429 => refused[1] += 1,
                other => panic!("{other}"),
            }
            if attempt % 100 == 99 {
                assert_eq!(ask(sources[0], &good), 200, "after {attempt} failures");
                assert_eq!(ask(sources[1], &api_key(key.expose())), 200, "after {attempt} failures");
            }
        }
        assert_eq!(
            refused,
            [20, 1_980],
            "{sources:?}: the burst, and no refill while the clock stands still"
        );
    }
    // The next /64 has its own count.
    assert_eq!(ask("2001:db8:0:2::1", &bad), 401);
}

/// Returns a well-formed key with the id `id` and a new secret.
fn key_with_id(id: &str) -> ApiKeyText {
    const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    // `generate` takes the number of a character from each random byte, first for the id.
    let numbers = id
        .bytes()
        .map(|char| BASE62.iter().position(|base| *base == char).unwrap());
    let mut numbers = numbers.map(|number| number as u8);
    ApiKeyText::generate("kg", ApiKeyEnvironment::Live, &mut |bytes| {
        let [byte] = bytes else {
            panic!("one byte at a time, not {}", bytes.len())
        };
        *byte = numbers.next().unwrap_or(7);
    })
}

lanes!(a_key_with_the_id_of_another_key_reaches_the_comparison_of_its_secret);
fn a_key_with_the_id_of_another_key_reaches_the_comparison_of_its_secret() {
    let gate = GateSetup::limited("credential", "quota: 100/hour").top("failed_authentication: off");
    let running = gate.start();
    let known = put_key(&running);
    let response = get(
        running.data(),
        "/a",
        &[&api_key(key_with_id(known.id().as_str()).expose())],
    );
    assert_eq!(running.record(&response)["reason"], "api_key_wrong_secret");
}

lanes!(s118_a_429_for_failures_does_not_tell_whether_a_key_exists);
fn s118_a_429_for_failures_does_not_tell_whether_a_key_exists() {
    let gate = GateSetup::limited("credential", "quota: 100/hour").top("failed_authentication: { quota: 1/hour }");
    let running = gate.start();
    let (known, entry) = support::api_key("");
    let (revoked, revoked_entry) = support::api_key("revoked_at: 2026-01-02T00:00:00Z");
    put_keys(&running, &[entry, revoked_entry]);
    let (known, revoked) = (known.expose(), revoked.expose());
    assert_eq!(get(running.data(), "/a", &[&api_key(known)]).status, 200);
    for status in [401, 429] {
        assert_eq!(get(running.data(), "/a", &[&api_key("kg_live_x")]).status, status);
    }
    // A known id with a wrong secret, an unknown id, a revoked key, text that is no key, and a key that is cut short.
    let (unknown, _) = support::api_key("");
    let wrong = key_with_id(&known[8..24]);
    assert!(wrong.expose()[..25] == known[..25] && wrong.expose() != known);
    let mut seen = Vec::new();
    for guess in [
        wrong.expose(),
        unknown.expose(),
        revoked,
        "kg_live_x",
        &known[..known.len() - 1],
    ] {
        let response = get(running.data(), "/a", &[&api_key(guess)]);
        let mut body = response.json();
        body["request_id"] = json!(null);
        let headers: Vec<_> = response
            .headers
            .iter()
            .filter(|(name, _)| !["x-request-id", "date"].contains(&&*name.to_ascii_lowercase()))
            .cloned()
            .collect();
        seen.push((response.status, body, headers));
    }
    assert_eq!(seen[0].0, 429);
    assert!(seen.iter().all(|response| *response == seen[0]), "{seen:#?}");
    // The valid key still passes.
    assert_eq!(get(running.data(), "/a", &[&api_key(known)]).status, 200);
}

lanes!(missing_credentials_are_no_guesses);
fn missing_credentials_are_no_guesses() {
    let gate = GateSetup::limited("credential", "quota: 100/hour").top("failed_authentication: { quota: 1/hour }");
    let running = gate.start();
    for _ in 0..5 {
        assert_eq!(get(running.data(), "/a", &[]).status, 401);
    }
    assert_eq!(get(running.data(), "/a", &[&bearer("x.y.z")]).status, 401);
    assert_eq!(get(running.data(), "/a", &[&bearer("x.y.z")]).status, 429);
}
