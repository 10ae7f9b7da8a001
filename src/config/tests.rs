//! Does the text of a configuration become the right `Config`? The texts of mistakes are in `tests/data/config`.

use super::*;
use crate::config::Endpoint;
use crate::config::EndpointHost;
use crate::config::error::Place;
use crate::model::plan::Quota;
use proptest::prelude::*;
use std::fmt::Write;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const MINIMAL: &str = "listeners: [{ address: '127.0.0.1:8080' }]\n\
    upstreams: { echo: { builtin: echo } }\n\
    routes: [{ name: a, match: { path: /a }, public: true, upstream: echo }]\n";

fn env(name: &str) -> Option<String> {
    match name {
        "NUMBER" => Some("12".to_owned()),
        "YES" => Some("true".to_owned()),
        "FILE" => Some("file:pepper.txt".to_owned()),
        "YAML" => Some("a, public: true } #".to_owned()),
        "HOST" => Some("orders".to_owned()),
        _ => None,
    }
}

fn parsed(text: &str) -> Result<Config, ConfigErrors> {
    parse(text, Path::new("/etc/keygate/keygate.yaml"), &env)
}

#[track_caller]
fn good(text: &str) -> Config {
    parsed(text).unwrap_or_else(|errors| panic!("{errors}"))
}

#[track_caller]
fn refused_with(text: &str, codes: &[&str]) {
    let errors = parsed(text).map(drop).expect_err("is refused");
    let found: Vec<&str> = errors.iter().map(|error| error.code).collect();
    assert_eq!(found, codes, "{errors}");
}

fn quota(requests: u32, secs: u64, burst: u32) -> Quota {
    Quota {
        requests: NonZeroU32::new(requests).unwrap(),
        period: Duration::from_secs(secs),
        burst: NonZeroU32::new(burst).unwrap(),
    }
}

#[test]
fn an_omitted_key_has_its_default() {
    let config = good(MINIMAL);
    let secs = Duration::from_secs;
    assert_eq!(
        config.requests,
        RequestLimits {
            head_bytes_max: 32 * 1024,
            header_count_max: 100,
            target_bytes_max: 8 * 1024,
            body_bytes_max: 10 * 1024 * 1024,
            credential_bytes_max: 8 * 1024,
            buffer_bytes: 64 * 1024,
            head_timeout: secs(10),
            idle_timeout: secs(75),
            body_read_timeout: secs(30),
            connections_max: 10_000,
            requests_per_connection_max: 10_000,
        }
    );
    assert_eq!(config.admin, None);
    assert_eq!(config.observe.level, "info");
    assert_eq!(config.observe.format, LogFormat::Json);
    assert!(config.observe.access);
    assert_eq!(config.failed_authentication, Some(quota(60, 60, 20)));
    assert!(config.rate_limit_headers.standard && config.rate_limit_headers.legacy);
    assert_eq!(config.api_keys.header, "x-api-key");
    assert_eq!(config.api_keys.prefix, "kg");
    assert!(config.api_keys.pepper.is_none() && config.api_keys.file.is_none());
    assert!(config.trusted_proxies.is_empty());
    let route = &config.routes[0];
    assert_eq!(*route.hosts, [HostPattern::Any]);
    assert!(route.methods.is_empty() && route.reject_query_credentials && !route.forward_credential);
    assert!(!route.allow_encoded_slash && !route.allow_empty_segments);
}

#[test]
fn the_file_of_every_key_gives_the_defaults_it_claims() {
    let read = |file: &str| {
        let text = std::fs::read_to_string(file).unwrap();
        parse(&text, Path::new(file), &env).unwrap_or_else(|errors| panic!("{errors}"))
    };
    let (all, least) = (read("conf/keygate.yaml"), read("conf/minimal.yaml"));
    assert_eq!(all.requests, least.requests);
    assert_eq!(all.shutdown, least.shutdown);
    assert_eq!(all.observe, least.observe);
    assert_eq!(all.failed_authentication, least.failed_authentication);
    assert_eq!(all.rate_limit_headers, least.rate_limit_headers);
    let (full, bare) = (&all.issuers["main"], &least.issuers["main"]);
    let (KeySource::Remote(full_keys), KeySource::Remote(bare_keys)) = (&full.keys, &bare.keys) else {
        panic!("both fetch their keys");
    };
    let mut full_keys = full_keys.clone();
    full_keys.connect.ca_file = None;
    full_keys.connect.proxy = None;
    assert_eq!(full_keys, *bare_keys);
    let full = Issuer {
        keys: bare.keys.clone(),
        required_claims: Vec::new(),
        claim_headers: Vec::new(),
        claim_facts: Vec::new(),
        token_header: None,
        ..full.clone()
    };
    assert_eq!(full, *bare);
    let (full, bare) = (&all.upstreams["orders"], &least.upstreams["orders"]);
    let full = Upstream {
        kind: bare.kind.clone(),
        host: None,
        request_headers: Arc::default(),
        response_headers: Arc::default(),
        credential: None,
        requests_max: None,
        health: None,
        ..full.clone()
    };
    assert_eq!(full, *bare);
}

#[test]
fn the_embedded_configuration_is_the_one_of_the_first_start() {
    let text = std::fs::read_to_string("conf/embedded.yaml").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keygate.yaml");
    let config = parse(&text, &file, &|_| None).unwrap();
    assert_eq!(config.listeners[0].address, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(config.admin.unwrap().address, "127.0.0.1:9090".parse().unwrap());
    assert_eq!(config.store.unwrap().path, folder.path().join("keygate.db"));
    let issuer = config.token_endpoint.unwrap().issuer;
    assert_eq!(issuer.as_str(), "http://127.0.0.1:8080");
    assert_eq!(config.limits["demo"].quota, quota(30, 60, 5));
    assert_eq!(config.upstreams["echo"].kind, UpstreamKind::Echo);
    let routes: Vec<(&str, bool, &[AcceptedCredential])> = config
        .routes
        .iter()
        .map(|route| (route.name.as_str(), route.public, &*route.accept))
        .collect();
    let (jwt, key) = (AcceptedCredential::Jwt, AcceptedCredential::ApiKey);
    assert_eq!(
        routes,
        [
            ("public", true, [].as_slice()),
            ("key", false, &[key]),
            ("orders", false, &[jwt, key]),
        ]
    );
}

#[test]
fn a_variable_gives_a_value_and_never_yaml() {
    let limited = |connections: &str| format!("{MINIMAL}requests:\n  connections: {connections}\n");
    assert_eq!(good(&limited("${NUMBER}")).requests.connections_max, 12);
    assert_eq!(good(&limited("${NUMBER}0")).requests.connections_max, 120);
    refused_with(&limited("${YES}"), &["wrong-type"]);
    refused_with(&limited("'12'"), &["wrong-type"]);
    let injected = MINIMAL.replace("name: a", "name: \"${YAML}\"");
    refused_with(&injected, &["bad-value"]);
    let endpoint = MINIMAL.replace("builtin: echo", "endpoints: [\"${HOST}.internal:${NUMBER}\"]");
    assert_eq!(
        good(&endpoint).upstreams["echo"].kind,
        UpstreamKind::Endpoints(vec![Endpoint {
            host: EndpointHost::Inet {
                host: "orders.internal".to_owned(),
                port: 12
            },
            is_tls: false,
            weight: 1
        }])
    );
    refused_with(
        &format!("{MINIMAL}rate_limit_headers:\n  legacy: ${{NUMBER}}\n"),
        &["wrong-type"],
    );
    assert!(
        good(&format!("{MINIMAL}rate_limit_headers:\n  legacy: ${{YES}}\n"))
            .rate_limit_headers
            .legacy
    );
}

#[test]
fn s076_a_secret_is_read_from_its_reference() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keygate.yaml");
    std::fs::write(folder.path().join("pepper.txt"), "of a file\r\n").unwrap();
    let pepper = |written: &str| {
        let text = format!("{MINIMAL}api_keys: {{ pepper: '{written}' }}\n");
        parse(&text, &file, &env).map(|config| config.api_keys.pepper.unwrap().expose().clone())
    };
    assert_eq!(pepper("file:pepper.txt").unwrap(), b"of a file");
    assert_eq!(pepper("${NUMBER}").unwrap(), b"12");
    // A variable cannot make Keygate read a file.
    assert_eq!(pepper("${FILE}").unwrap(), b"file:pepper.txt");
    assert!(pepper("file:pepper").is_err() && pepper("file:").is_err() && pepper("${NONE}").is_err());
}

#[test]
fn paths_are_relative_to_the_folder_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("keys.yaml"), "").unwrap();
    let text = format!("{MINIMAL}api_keys: {{ file: keys.yaml }}\n");
    let path = folder.path().join("keygate.yaml");
    std::fs::write(&path, &text).unwrap();
    assert_eq!(
        load(&path).unwrap().api_keys.file,
        Some(folder.path().join("keys.yaml"))
    );
    let absolute = text.replace("keys.yaml", folder.path().join("keys.yaml").to_str().unwrap());
    assert_eq!(good(&absolute).api_keys.file, Some(folder.path().join("keys.yaml")));
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_without_a_place() {
    let folder = tempfile::tempdir().unwrap();
    let check = |bytes: Option<&[u8]>, code: &str| {
        let path = folder.path().join(code);
        if let Some(bytes) = bytes {
            std::fs::write(&path, bytes).unwrap();
        }
        let errors = load(&path).map(drop).unwrap_err();
        let error = errors.iter().next().unwrap();
        assert_eq!((error.code, error.place), (code, None), "{errors}");
    };
    check(None, "unreadable-file");
    check(Some(b"listeners: \xFF"), "not-utf8");
    check(Some(&vec![b'#'; 1024 * 1024 + 1]), "file-too-big");
}

#[test]
fn s149_a_yaml_bomb_is_refused() {
    refused_with(&"[".repeat(10_000), &["too-deep"]);
    refused_with(&"{a: ".repeat(10_000), &["too-deep"]);
    refused_with(&"- ".repeat(10_000), &["too-deep"]);
    let block: String = (0..10_000).fold(String::new(), |mut text, depth| {
        if text.len() < 900_000 {
            writeln!(text, "{}a:", " ".repeat(depth)).unwrap();
        }
        text
    });
    refused_with(&block, &["too-deep"]);
    // Each line names the line before nine times.
    let mut laughs = "a0: &a0 [x]\n".to_owned();
    for line in 1..30 {
        let earlier = vec![format!("*a{}", line - 1); 9].join(", ");
        writeln!(laughs, "a{line}: &a{line} [{earlier}]").unwrap();
    }
    refused_with(&laughs, &["too-big"]);
    // One long text, repeated often.
    let long = format!("a: &a '{}'\nb: [{}]\n", "x".repeat(10_000), "*a, ".repeat(1_000));
    refused_with(&long, &["too-big"]);
    // Each anchor is one level deeper than the anchor that it names.
    let mut deep = "a0: &a0 [x]\n".to_owned();
    for line in 1..100 {
        writeln!(deep, "a{line}: &a{line} [*a{}]", line - 1).unwrap();
    }
    refused_with(&deep, &["too-deep"]);
    refused_with(&" ".repeat(1024 * 1024 + 1), &["file-too-big"]);
}

#[test]
fn an_alias_repeats_what_its_anchor_holds() {
    let text = MINIMAL.replace(
        "builtin: echo } }",
        "&echo builtin: echo }, b: &b { endpoints: ['a:80'] }, c: *b }",
    );
    let text = text.replace("&echo ", "");
    let config = good(&text);
    assert_eq!(config.upstreams["c"].kind, config.upstreams["b"].kind);
}

#[test]
fn at_most_a_hundred_mistakes_are_looked_for() {
    let mut text = MINIMAL.to_owned();
    for key in 0..5_000 {
        writeln!(text, "unknown{key}: 1").unwrap();
    }
    let errors = parsed(&text).map(drop).unwrap_err();
    assert_eq!(errors.iter().count(), 100);
    assert!(
        errors
            .to_string()
            .ends_with("100 errors or more; the search stopped here")
    );
}

#[test]
fn mistakes_come_in_the_order_of_the_file() {
    let text = format!("zzz: 1\n{}aaa: 1\n", MINIMAL.replace("/a", "a"));
    let errors = parsed(&text).map(drop).unwrap_err();
    let places: Vec<Place> = errors.iter().filter_map(|error| error.place).collect();
    assert_eq!(places.len(), 3, "{errors}");
    assert!(places.is_sorted(), "{errors}");
}

#[test]
fn a_mistake_at_the_end_is_a_place_in_the_file() {
    for (text, line, column) in [
        ("a: 1\n.", 2, 2),
        ("a: 1\r\n.", 2, 2),
        ("a: 1\r.", 2, 2),
        ("a: [", 1, 5),
        ("a: [\n", 2, 1),
        ("", 1, 1),
    ] {
        let errors = parsed(text).map(drop).unwrap_err();
        let end = Place { line, column };
        assert!(
            errors.iter().all(|error| error.place <= Some(end)),
            "{text:?}: {errors}"
        );
    }
}

#[test]
fn a_secret_without_an_end_is_too_long() {
    let text = format!("{MINIMAL}api_keys: {{ pepper: 'file:/dev/zero' }}\n");
    refused_with(&text, &["unresolved-secret"]);
}

#[test]
fn a_byte_order_mark_is_no_content() {
    good(&format!("\u{FEFF}{MINIMAL}"));
}

#[test]
fn a_route_names_the_issuers_that_count() {
    let text = "listeners: [{ address: '127.0.0.1:8080' }]\n\
        issuers:\n  b: { issuer: 'https://b.example', audiences: any, jwks_url: 'https://b.example' }\n  \
        a: { issuer: 'https://a.example', audiences: any, jwks_url: 'https://a.example' }\n\
        upstreams: { echo: { builtin: echo } }\n\
        routes:\n  - { name: all, match: { path: /a }, accept: [jwt], upstream: echo }\n  \
        - { name: one, match: { path: /b }, accept: [jwt], issuers: [b], upstream: echo }\n";
    let config = good(text);
    let names = |route: usize| {
        config.routes[route]
            .issuers
            .iter()
            .map(Name::as_str)
            .collect::<Vec<_>>()
    };
    assert_eq!(names(0), ["a", "b"]);
    assert_eq!(names(1), ["b"]);
    assert_eq!(config.issuers["a"].audiences, None);
}

#[test]
fn failed_authentications_are_limited_unless_switched_off_by_name() {
    let failed = |written: &str| good(&format!("{MINIMAL}failed_authentication: {written}\n")).failed_authentication;
    assert_eq!(failed("off"), None);
    assert_eq!(failed("{ quota: 10/min }"), Some(quota(10, 60, 10)));
    assert_eq!(failed("{ quota: 100/min }"), Some(quota(100, 60, 20)));
    assert_eq!(failed("{ quota: 100/min, burst: 40 }"), Some(quota(100, 60, 40)));
    assert_eq!(failed("{ burst: 5 }"), Some(quota(60, 60, 5)));
    refused_with(&format!("{MINIMAL}failed_authentication: false\n"), &["wrong-type"]);
    refused_with(
        &format!("{MINIMAL}failed_authentication: {{ burst: 61 }}\n"),
        &["bounds-swapped"],
    );
}

#[test]
fn a_head_larger_than_the_parser_takes_cannot_be_configured() {
    let requests = |written: &str| format!("{MINIMAL}requests: {{ {written} }}\n");
    refused_with(&requests("head_bytes: 1MiB"), &["out-of-range"]);
    refused_with(&requests("head_count: 257"), &["out-of-range"]);
    refused_with(&requests("head_bytes: 256KiB, target_bytes: 65537"), &["out-of-range"]);
    // The longest URI is two bytes less than 64 KiB.
    for (written, bytes) in [("64KiB", 65_534), ("65534", 65_534), ("65533", 65_533)] {
        let limits = good(&requests(&format!("head_bytes: 256KiB, target_bytes: {written}"))).requests;
        assert_eq!(limits.target_bytes_max, bytes, "{written}");
    }
    let limits = good(&requests("head_bytes: 1023KiB, head_count: 256")).requests;
    assert_eq!((limits.head_bytes_max, limits.header_count_max), (1023 << 10, 256));
}

proptest! {
    #[test]
    fn parsing_never_panics(text in "[a-z0-9:{}\\[\\],\"'&*!|>#%@` \n\t-]{0,200}") {
        let _ = parsed(&text);
    }

    /// Any text in the place of a value is accepted or rejected, without a panic.
    #[test]
    fn any_value_in_any_place_never_panics(at in 0_usize..60, value in "[ -~]{0,20}") {
        let text = std::fs::read_to_string("conf/keygate.yaml").unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let with_value: Vec<usize> = (0..lines.len()).filter(|&line| {
            !lines[line].trim_start().starts_with('#') && lines[line].contains(": ")
        }).collect();
        let line = with_value[at % with_value.len()];
        let (key, _) = lines[line].split_once(": ").unwrap();
        lines[line] = format!("{key}: {value}");
        let _ = parse(&lines.join("\n"), &PathBuf::from("conf/keygate.yaml"), &env);
    }
}
