//! Which raw heads pass, and which are refused with which error? A property in `tests/it/properties.rs` checks that
//! another parser reads the same.

use super::*;

const LIMITS: HeadLimits = HeadLimits {
    head_bytes_max: 32 * 1024,
    header_count_max: 100,
    target_bytes_max: 8 * 1024,
};

#[track_caller]
fn check_head(head: &str, expected: Result<Framing, HeadError>) {
    assert_eq!(check(head.as_bytes(), &LIMITS), expected, "{head:?}");
}

/// Checks a request whose fields besides Host are `fields`, each with its CRLF.
#[track_caller]
fn check_fields(fields: &str, expected: Result<Framing, HeadError>) {
    check_head(&format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"), expected);
}

#[track_caller]
fn check_target(target: &str, expected: Result<(), HeadError>) {
    check_head(
        &format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"),
        expected.map(|()| Framing::None),
    );
}

#[test]
fn a_plain_request_passes() {
    check_head("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Ok(Framing::None));
    check_head(
        "GET / HTTP/1.1\r\nhost:a\r\nx-empty:\r\nx-tab: a\tb\r\n\r\n",
        Ok(Framing::None),
    );
    check_head("GET / HTTP/1.0\r\n\r\n", Ok(Framing::None));
    check_head("get / HTTP/1.1\r\nHost: a\r\n\r\n", Ok(Framing::None));
    let with_obs_text = b"GET / HTTP/1.1\r\nHost: a\r\nX-Name: caf\xe9\r\n\r\n";
    assert_eq!(check(with_obs_text, &LIMITS), Ok(Framing::None));
}

#[test]
fn request_lines_have_single_spaces_and_a_token() {
    for line in [
        "",
        "GET",
        "GET /",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET / x HTTP/1.1",
        "G(T / HTTP/1.1",
        " / HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/1.1x",
        "GET / HTTP/11",
        "GET / HTTP/1.",
        "GET / ICY/1.1",
    ] {
        check_head(&format!("{line}\r\nHost: a\r\n\r\n"), Err(HeadError::RequestLine));
    }
    for version in ["HTTP/1.2", "HTTP/2.0", "HTTP/0.9", "HTTP/3.0"] {
        check_head(&format!("GET / {version}\r\nHost: a\r\n\r\n"), Err(HeadError::Version));
    }
    check_head("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Err(HeadError::RequestLine));
    check_head("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", Err(HeadError::Connect));
}

#[test]
fn every_line_ends_in_crlf() {
    for head in [
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\r",
        "GET / HTTP/1.1\r\nHost: a",
        "",
        "\r",
        "GET / HTTP/1.1\r\nHost: a\r\n\r\nx",
        "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        check_head(head, Err(HeadError::LineEnding));
    }
}

#[test]
fn s007_field_names_are_tokens_right_before_the_colon() {
    for field in [
        "X-Api-Key : k",
        "X-Api-Key\t: k",
        ": v",
        "no colon",
        "a b: c",
        "x(: y",
        "x\u{e9}: y",
        "\"a\": b",
        "x\0: y",
    ] {
        check_fields(&format!("{field}\r\n"), Err(HeadError::FieldName));
    }
    check_fields("X: a\r\n b\r\n", Err(HeadError::ObsFold));
    check_fields("X: a\r\n\tb\r\n", Err(HeadError::ObsFold));
    check_head("GET / HTTP/1.1\r\n Host: a\r\n\r\n", Err(HeadError::ObsFold));
}

#[test]
fn s008_values_hold_no_control_bytes() {
    for byte in (0..0x20_u8).chain([0x7F]).filter(|byte| !b"\t\r\n".contains(byte)) {
        check_fields(&format!("X: a{}b\r\n", char::from(byte)), Err(HeadError::FieldValue));
    }
}

#[test]
fn s092_targets_are_paths_or_absolute_urls() {
    for good in [
        "/",
        "/a?b=c",
        "/a%20b",
        "//a",
        "/a|b",
        "http://a/",
        "http://a",
        "HTTP://a/x",
        "https://a?x",
        "/?a=[1]",
        // `gate::accept` reads the path and the query.
        "/a\u{e9}",
        "/a\\b",
        "/<\"`>?<\"`>",
    ] {
        check_target(good, Ok(()));
    }
    for bad in [
        "*",
        "admin",
        "?a",
        "a:443",
        "ftp://a/",
        "http:/a",
        "a/b",
        "\\a",
        "javascript:x",
    ] {
        check_target(bad, Err(HeadError::Target));
    }
    for bad in ["/a\tb", "/\0", "//\u{7f}", "/?\u{1}", "/#\u{1}"] {
        check_target(bad, Err(HeadError::TargetControl));
    }
    for bad in ["/a#b", "/?#", "#"] {
        check_target(bad, Err(HeadError::TargetFragment));
    }
    for bad in [
        "http://",
        "http:///a",
        "http://u@a/",
        "http://a:/",
        "http://a:x/",
        "http://a%2e/",
    ] {
        check_target(bad, Err(HeadError::TargetHost));
    }
    check_head("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Err(HeadError::Target));
}

#[test]
fn s093_exactly_one_host_that_the_target_agrees_with() {
    check_head("GET / HTTP/1.1\r\n\r\n", Err(HeadError::HostMissing));
    check_head("GET http://a/ HTTP/1.1\r\n\r\n", Err(HeadError::HostMissing));
    check_fields("Host: a\r\n", Err(HeadError::HostRepeated));
    check_fields("hOST: b\r\n", Err(HeadError::HostRepeated));
    check_head(
        "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",
        Err(HeadError::HostRepeated),
    );
    for bad in ["", " ", "a b", "a,b", "u@a", "a:", "a/b", "a:b", "[::1"] {
        check_head(
            &format!("GET / HTTP/1.1\r\nHost: {bad}\r\n\r\n"),
            Err(HeadError::HostInvalid),
        );
    }
    check_target("http://b/", Err(HeadError::HostMismatch));
    check_target("http://a:80/", Err(HeadError::HostMismatch));
    check_target("http://a.b/", Err(HeadError::HostMismatch));
    check_head("GET http://a/ HTTP/1.0\r\n\r\n", Ok(Framing::None));
}

#[test]
fn s101_content_length_is_one_number() {
    check_fields("Content-Length: 0\r\n", Ok(Framing::ContentLength(0)));
    check_fields("content-length:\t5 \r\n", Ok(Framing::ContentLength(5)));
    check_fields(
        "Content-Length: 18446744073709551615\r\n",
        Ok(Framing::ContentLength(u64::MAX)),
    );
    for bad in [
        "+5",
        "-5",
        "0x5",
        "5, 5",
        "5,5",
        "",
        "5 5",
        "5.0",
        "18446744073709551616",
        "٥",
        "five",
        "5;",
    ] {
        check_fields(&format!("Content-Length: {bad}\r\n"), Err(HeadError::ContentLength));
    }
    check_fields(
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        Err(HeadError::ContentLengthRepeated),
    );
    check_fields(
        "Content-Length: 5\r\ncontent-length: 6\r\n",
        Err(HeadError::ContentLengthRepeated),
    );
}

#[test]
fn s101_transfer_encoding_is_chunked_alone() {
    check_fields("Transfer-Encoding: chunked\r\n", Ok(Framing::Chunked));
    check_fields("transfer-encoding: Chunked\r\n", Ok(Framing::Chunked));
    for bad in [
        "xchunked",
        "chunked, chunked",
        "gzip, chunked",
        "chunked, identity",
        "identity",
        "",
        "\"chunked\"",
        "chunked;q=1",
        "chunked,",
        ",chunked",
        "chunk",
    ] {
        check_fields(
            &format!("Transfer-Encoding: {bad}\r\n"),
            Err(HeadError::TransferEncoding),
        );
    }
    let twice = "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n";
    check_fields(twice, Err(HeadError::TransferEncodingRepeated));
    for both in [
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
    ] {
        check_fields(both, Err(HeadError::LengthAndEncoding));
    }
    let old = "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    check_head(old, Err(HeadError::TransferEncodingHttp10));
}

#[test]
fn s102_an_upgrade_has_no_body() {
    let websocket = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n";
    check_fields(websocket, Ok(Framing::None));
    check_fields(
        &format!("{websocket}Content-Length: 0\r\n"),
        Ok(Framing::ContentLength(0)),
    );
    check_fields(
        &format!("{websocket}Content-Length: 1\r\n"),
        Err(HeadError::UpgradeWithBody),
    );
    check_fields(
        &format!("{websocket}Transfer-Encoding: chunked\r\n"),
        Err(HeadError::UpgradeWithBody),
    );
    check_fields(
        "Upgrade: websocket\r\nContent-Length: 1\r\n",
        Err(HeadError::UpgradeWithBody),
    );
    check_fields("Upgrade: websocket\r\n", Ok(Framing::None));
    check_fields(
        "Connection: upgrade\r\nUpgrade: h2c, websocket\r\nContent-Length: 1\r\n",
        Err(HeadError::UpgradeWithBody),
    );
    let split = "Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\nContent-Length: 1\r\n";
    check_fields(split, Err(HeadError::UpgradeWithBody));
    check_head(
        "GET / HTTP/1.0\r\nUpgrade: websocket\r\n\r\n",
        Err(HeadError::UpgradeHttp10),
    );
    // Java and curl offer `h2c` on every first request. The offer is dropped, so the request is not an upgrade.
    let h2c = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\nContent-Length: 5\r\n";
    check_fields(h2c, Ok(Framing::ContentLength(5)));
}

#[test]
fn the_only_expectation_is_100_continue() {
    check_fields(
        "Expect: 100-Continue\r\nContent-Length: 5\r\n",
        Ok(Framing::ContentLength(5)),
    );
    for bad in [
        "Expect: 200-ok\r\n",
        "Expect:\r\n",
        "Expect: 100-continue\r\nExpect: 100-continue\r\n",
    ] {
        check_fields(bad, Err(HeadError::Expectation));
    }
    check_head("POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n", Ok(Framing::None));
}

#[test]
fn s107_heads_are_bounded_in_bytes_fields_and_target() {
    let head = |fields: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(fields));
    check_head(&head(99), Ok(Framing::None));
    check_head(&head(100), Err(HeadError::TooManyFields));
    check_head(&head(10_000), Err(HeadError::HeadTooLong));
    let padded = |bytes: usize| {
        let frame = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
        format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(bytes - frame))
    };
    check_head(&padded(32 * 1024), Ok(Framing::None));
    check_head(&padded(32 * 1024 + 1), Err(HeadError::HeadTooLong));
    check_target(&format!("/{}", "a".repeat(8 * 1024 - 1)), Ok(()));
    check_target(&format!("/{}", "a".repeat(8 * 1024)), Err(HeadError::TargetTooLong));
}

#[test]
fn statuses_tell_size_version_method_and_expectation_from_the_rest() {
    let statuses = [
        (HeadError::HeadTooLong, 431),
        (HeadError::TooManyFields, 431),
        (HeadError::TargetTooLong, 414),
        (HeadError::Version, 505),
        (HeadError::Connect, 405),
        (HeadError::Expectation, 417),
        (HeadError::LengthAndEncoding, 400),
        (HeadError::HostMissing, 400),
    ];
    for (error, status) in statuses {
        assert_eq!(
            crate::gate::answer::refusal::row(error.reason()).status,
            status,
            "{error:?}"
        );
    }
}

#[test]
fn the_end_of_a_head_is_found_however_it_arrives() {
    let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody\r\n\r\n";
    let end = head.len() - 8;
    assert_eq!(find_end(head, 0), Some(end));
    for step in 1..head.len() {
        let mut searched = 0;
        let mut arrived = 0;
        let found = loop {
            arrived = (arrived + step).min(head.len());
            if let Some(found) = find_end(&head[..arrived], searched) {
                break found;
            }
            assert!(arrived < end, "step {step}");
            searched = arrived;
        };
        assert_eq!(found, end, "step {step}");
    }
    assert_eq!(find_end(b"GET / HTTP/1.1\r\nHost: a\r\n\r", 0), None);
    assert_eq!(find_end(b"", 0), None);
    assert_eq!(find_end(b"a", 10), None);
}

#[test]
fn a_head_with_bare_line_feeds_is_not_waited_for() {
    assert_eq!(find_end(b"GET / HTTP/1.1\nHost: a\n\n", 0), Some(24));
    assert_eq!(find_end(b"GET / HTTP/1.1\nHost: a\n\r\n", 0), Some(25));
}
