//! How many instructions does a decision take, and the work around a decision in every request? Valgrind counts them,
//! because times depend more on the machine's other load than on the code.
//!
//! Each case runs under callgrind twice, in a process with N operations and in one with 2 N. The difference of the
//! counts is the cost of N operations without their set-up.

use crate::fixture::BenchRequest;
use crate::fixture::Fixture;
use crate::fixture::KEYS_IN_USE;
use crate::fixture::request;
use http::HeaderMap;
use http::Method;
use http::StatusCode;
use http::request::Parts;
use keygate::EndpointAddress;
use keygate::config::RateLimitHeaders;
use keygate::gate::admit;
use keygate::jose::jwks::Jwks;
use keygate::jose::jws::Jws;
use keygate::model::algorithm::Algorithm;
use keygate::model::clock::Timestamp;
use keygate::observe::access::AccessLog;
use keygate::observe::access::AccessRecord;
use keygate::observe::access::Decision;
use keygate::observe::log::Format;
use keygate::observe::metrics::CredentialLabel;
use keygate::proxy::head;
use keygate::proxy::head::HeadLimits;
use keygate::runtime::assemble;
use serde_json::json;
use std::hint::black_box;
use std::io;
use std::process::Command;
use std::time::Duration;

/// Prepares a case. One call of the closure that it returns is one operation.
type Make = fn() -> Box<dyn FnMut()>;

struct Case {
    name: &'static str,
    operations: u64,
    make: Make,
}

const fn case(name: &'static str, make: Make) -> Case {
    Case {
        name,
        operations: 20_000,
        make,
    }
}

/// Returns a case with fewer operations, because each takes long under valgrind.
const fn slow(name: &'static str, make: Make) -> Case {
    Case {
        name,
        operations: 300,
        make,
    }
}

const CASES: [Case; 22] = [
    case("public route", || permitted(Fixture::with_keys(1), &[ask("/v1/open")])),
    case("API key, one of 10", || {
        let fixture = Fixture::with_keys(10);
        let keys = fixture.keys.clone();
        permitted(
            fixture,
            &keys.iter().map(|key| with_key("/v1/plain", key)).collect::<Vec<_>>(),
        )
    }),
    case("API key, one of 1 000 000", || {
        let fixture = Fixture::with_keys(1_000_000);
        let keys = fixture.keys.clone();
        permitted(
            fixture,
            &keys.iter().map(|key| with_key("/v1/plain", key)).collect::<Vec<_>>(),
        )
    }),
    case("token, remembered", || remembered("/v1/plain")),
    case("token, remembered, and a scope", || remembered("/v1/scoped")),
    case("token, remembered, scope and limit", || remembered("/v1/orders/7")),
    case("token of our own, remembered", || {
        let fixture = Fixture::with_own_tokens();
        let token = fixture.own_token();
        permitted(fixture, &[with_token("/v1/own", &token)])
    }),
    slow("token seen first (RS256)", || {
        let fixture = Fixture::with_keys(1);
        let token = fixture.fresh_token("orders:read");
        let parts = request(with_token("/v1/plain", &token));
        fixture.permits(&parts);
        Box::new(move || {
            fixture.forget_token(&token);
            black_box(fixture.decide(black_box(&parts)).is_ok());
        })
    }),
    slow("RS256 alone", rs256_alone),
    case("401, no credential", || {
        refused("credential_missing", ask("/v1/orders/7"))
    }),
    case("401, unknown key", || {
        let stranger = Fixture::with_keys(1);
        refused("api_key_unknown", with_key("/v1/orders/7", &stranger.keys[0]))
    }),
    case("400, two credentials", || {
        let both = BenchRequest {
            api_key: Some("kg_live_x"),
            ..with_token("/v1/orders/7", "a.b.c")
        };
        refused("two_credentials", both)
    }),
    case("404, no route", || refused("no_route", ask("/v2/orders/7"))),
    case("403, scope missing, and its answer", || {
        let fixture = Fixture::with_keys(1);
        let parts = request(with_key("/v1/admin/7", &fixture.keys[0]));
        refusals(fixture, parts)
    }),
    case("401, no credential, and its answer", || {
        refusals(Fixture::with_keys(1), request(ask("/v1/orders/7")))
    }),
    case("429, limit spent, and its answer", || {
        let fixture = Fixture::with_keys(1);
        let parts = request(with_key("/v1/spent", &fixture.keys[0]));
        fixture.permits(&parts);
        refusals(fixture, parts)
    }),
    case("400, two credentials, and its answer", || {
        let both = BenchRequest {
            api_key: Some("kg_live_x"),
            ..with_token("/v1/orders/7", "a.b.c")
        };
        refusals(Fixture::with_keys(1), request(both))
    }),
    case("head checked as bytes", head_checked),
    case("access record, JSON", || recorded(Format::Json)),
    case("access record, text", || recorded(Format::Text)),
    case("metrics of a request", counted),
    case("headers of a limit", limit_headers),
];

/// Runs the mode that the command line names, and returns whether it names one. `count [name]` prints the table of the
/// cases whose names contain `name`; `count-one <name> <n>` runs `n` operations of one case, under valgrind.
pub fn run_mode() -> bool {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["count"] => table(""),
        ["count", name] => table(name),
        ["count-one", name, operations] => run(name, operations.parse().expect("a number")),
        _ => return false,
    }
    true
}

fn table(name: &str) {
    println!("| instructions per operation | |\n| --- | ---: |");
    for case in CASES.iter().filter(|case| case.name.contains(name)) {
        let once = counted_by_valgrind(case.name, case.operations);
        let twice = counted_by_valgrind(case.name, 2 * case.operations);
        println!("| {} | {} |", case.name, twice.saturating_sub(once) / case.operations);
    }
}

fn run(name: &str, operations: u64) {
    let case = CASES.iter().find(|case| case.name == name).expect("the name of a case");
    let mut operation = (case.make)();
    for _ in 0..operations {
        operation();
    }
}

fn counted_by_valgrind(name: &str, operations: u64) -> u64 {
    let program = std::env::current_exe().expect("this program");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["count-one", name, &operations.to_string()])
        .output()
        .expect("valgrind is installed");
    let stderr = String::from_utf8_lossy(&output.stderr);
    let collected = stderr.lines().find_map(|line| line.split_once("Collected : "));
    let (_, count) = collected.unwrap_or_else(|| panic!("valgrind says what it collected: {stderr}"));
    count.trim().parse().expect("a number")
}

fn ask(path: &str) -> BenchRequest<'_> {
    BenchRequest {
        path,
        api_key: None,
        token: None,
    }
}

fn with_key<'a>(path: &'a str, key: &'a str) -> BenchRequest<'a> {
    BenchRequest {
        api_key: Some(key),
        ..ask(path)
    }
}

fn with_token<'a>(path: &'a str, token: &'a str) -> BenchRequest<'a> {
    BenchRequest {
        token: Some(token),
        ..ask(path)
    }
}

/// Returns an operation that decides on the requests in turn, at most [`KEYS_IN_USE`] different ones.
fn permitted(fixture: Fixture, asks: &[BenchRequest<'_>]) -> Box<dyn FnMut()> {
    let requests: Vec<Parts> = asks.iter().take(KEYS_IN_USE).map(|ask| request(*ask)).collect();
    requests.iter().for_each(|parts| fixture.permits(parts));
    let mut next = 0;
    Box::new(move || {
        next = (next + 1) % requests.len();
        black_box(fixture.decide(black_box(&requests[next])).is_ok());
    })
}

fn remembered(path: &'static str) -> Box<dyn FnMut()> {
    let fixture = Fixture::with_keys(1);
    let token = fixture.fresh_token("orders:read orders:write");
    permitted(fixture, &[with_token(path, &token)])
}

fn refused(reason: &str, ask: BenchRequest<'_>) -> Box<dyn FnMut()> {
    let fixture = Fixture::with_keys(1);
    let parts = request(ask);
    fixture.denies(&parts, reason);
    Box::new(move || {
        black_box(fixture.decide(black_box(&parts)).is_err());
    })
}

fn refusals(fixture: Fixture, parts: Parts) -> Box<dyn FnMut()> {
    assert_ne!(fixture.refusal(&parts).status, StatusCode::OK);
    Box::new(move || {
        black_box(fixture.refusal(black_box(&parts)));
    })
}

/// Returns an operation that verifies a signature: the lower bound for a token that is seen first.
fn rs256_alone() -> Box<dyn FnMut()> {
    let fixture = Fixture::with_keys(1);
    let token = fixture.fresh_token("orders:read").leak();
    let set = json!({ "keys": [crate::fixture::rsa().public_jwk()] }).to_string();
    let jwks = Jwks::parse(set.as_bytes()).expect("our own key set");
    let jws = Jws::parse(token).expect("our own token");
    Box::new(move || {
        let keys = jwks
            .find(jws.header().kid.as_deref(), Algorithm::Rs256)
            .expect("its key");
        assert!(black_box(&jws).signer(keys.iter()).is_ok());
    })
}

/// Returns an operation that checks a head with an API key and the fields that the Python library `requests` sends.
fn head_checked() -> Box<dyn FnMut()> {
    let head = b"GET /v1/orders/7?page=2 HTTP/1.1\r\nHost: api.example\r\nUser-Agent: python-requests/2.31.0\r\n\
        Accept-Encoding: gzip, deflate, br\r\nAccept: */*\r\nConnection: keep-alive\r\n\
        X-Api-Key: kg_live_0123456789abcdef_0123456789012345678901234567890123456789012345678\r\n\r\n";
    let limits = HeadLimits {
        head_bytes_max: 16_384,
        header_count_max: 100,
        target_bytes_max: 8_192,
    };
    Box::new(move || {
        assert_eq!(head::find_end(black_box(head), 0), Some(head.len()));
        assert!(head::check(black_box(head), &limits).is_ok());
    })
}

fn recorded(format: Format) -> Box<dyn FnMut()> {
    let metrics = assemble::metrics(Timestamp::from_unix_secs(0));
    let log = AccessLog::start(io::sink(), format, metrics.logs.access_records_dropped.clone()).expect("a thread");
    let mut millis = 1_800_000_000_000;
    let endpoint = EndpointAddress::Inet(([10, 0, 0, 7], 8080).into());
    Box::new(move || {
        millis += 1;
        log.write(black_box(&AccessRecord {
            time: Timestamp::from_unix_millis(millis),
            request_id: "0123456789abcdef0123456789abcdef",
            peer: Some(([192, 0, 2, 1], 34_567).into()),
            client: Some([192, 0, 2, 1].into()),
            method: Some("GET"),
            host: Some("api.example"),
            path: Some("/v1/orders/7"),
            query: Some("page=2"),
            route: Some("orders"),
            status: Some(200),
            decision: Decision::Allow,
            credential_type: Some("jwt"),
            subject: Some("alice"),
            client_id: Some("shop"),
            credential_id: Some("0123456789abcdef"),
            issuer: Some("main"),
            upstream: Some("orders"),
            endpoint: Some(&endpoint),
            bytes_out: 1234,
            duration: Duration::from_micros(1_234),
            upstream_duration: Some(Duration::from_micros(987)),
            trace_id: Some("0123456789abcdef0123456789abcdef"),
            user_agent: Some("curl/8.5.0"),
            ..AccessRecord::default()
        }));
    })
}

fn counted() -> Box<dyn FnMut()> {
    let metrics = assemble::metrics(Timestamp::from_unix_secs(0));
    let (route, limit) = (metrics.requests.of_route("orders"), metrics.limits.of("per-key"));
    let upstream = metrics.upstreams.of("orders");
    Box::new(move || {
        let _open = metrics.requests.start();
        route.request(black_box(&Method::GET), Some(200), Duration::from_micros(1_234));
        route.count_allowed(black_box(CredentialLabel::Jwt));
        limit.count_allowed();
        upstream.observe_response(Some(200), Duration::from_micros(987));
    })
}

fn limit_headers() -> Box<dyn FnMut()> {
    let fixture = Fixture::with_keys(1);
    let parts = request(with_key("/v1/orders/7", &fixture.keys[0]));
    let permit = fixture.decide(&parts);
    let admission = permit.ok().expect("a good key").admission().clone();
    let families = RateLimitHeaders {
        standard: true,
        legacy: false,
    };
    let mut headers = HeaderMap::with_capacity(8);
    Box::new(move || {
        for (name, value) in admit::headers::admission_fields(black_box(&admission), families) {
            headers.insert(name, value);
        }
    })
}
