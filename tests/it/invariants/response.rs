//! Does a response head have the same fields and the same end for the upstream, for Keygate and for the client?

use http::HeaderValue;
use http::Method;
use http::StatusCode;
use keygate::model::clock::Timestamp;
use keygate::proxy::forward::response_fields::ResponseRules;
use keygate::proxy::head;
use keygate::proxy::head::Framing;
use keygate::proxy::http1::buffer::Buffer;
use keygate::proxy::http1::response::EMPTY_FIELDS;
use keygate::proxy::http1::response::Head;
use keygate::proxy::http1::response_head;
use keygate::proxy::http1::response_head::ResponseMode;

const REQUEST_ID: &str = "0123456789abcdef";

/// The name and the value of one field.
type Field<'h> = (&'h [u8], &'h [u8]);

/// Checks the first bytes of an upstream. The low bits of the first byte choose the request and its
/// connection, the other bytes are the response.
pub fn check(bytes: &[u8]) {
    let Some((&choice, sent)) = bytes.split_first() else {
        return;
    };
    let Some(end) = head::find_end(sent, 0) else {
        return;
    };
    let method = if choice & 1 == 0 { Method::GET } else { Method::HEAD };
    let downstream = ResponseMode {
        is_http10: choice & 2 != 0,
        is_persistent: choice & 4 != 0,
    };
    let mut fields = EMPTY_FIELDS;
    let Ok(head) = Head::parse(&sent[..end], &mut fields, &method) else {
        return;
    };
    let plain = plain_fields(&sent[..end]);
    let read: Vec<Field<'_>> = head
        .fields
        .iter()
        .map(|field| (field.name.as_bytes(), field.value))
        .collect();
    assert_eq!(read, plain);
    assert_same_framing(&head, &plain, &method);
    if head.status.is_informational() {
        let mut out = Buffer::default();
        response_head::write_interim(&head, &mut out);
        assert_well_formed(&out, head.status);
    } else {
        assert_written_head_is_read_alike(&head, downstream);
    }
}

/// Returns the fields of `head`, split at line ends and at the first colon of each line.
fn plain_fields(head: &[u8]) -> Vec<Field<'_>> {
    let lines = head
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    // Empty lines may stand before the status line.
    let lines = lines.skip_while(|line| line.is_empty()).skip(1);
    let lines = lines.take_while(|line| !line.is_empty());
    lines
        .map(|line| {
            let colon = line
                .iter()
                .position(|byte| *byte == b':')
                .expect("a colon in each field");
            (&line[..colon], line[colon + 1..].trim_ascii())
        })
        .collect()
}

fn values<'h>(fields: &[Field<'h>], name: &str) -> Vec<&'h [u8]> {
    let named = fields
        .iter()
        .filter(|field| field.0.eq_ignore_ascii_case(name.as_bytes()));
    named.map(|field| field.1).collect()
}

/// Asserts that the framing of `head` is that of RFC 9112 section 6.3 for `fields`.
fn assert_same_framing(head: &Head<'_, '_>, fields: &[Field<'_>], method: &Method) {
    let lengths = values(fields, "content-length");
    let codings = values(fields, "transfer-encoding");
    assert!(lengths.is_empty() || codings.is_empty(), "framed twice");
    let ends_with_its_head =
        method == Method::HEAD || head.status.is_informational() || matches!(head.status.as_u16(), 204 | 304);
    match head.framing {
        Framing::None => assert!(ends_with_its_head),
        Framing::ContentLength(length) => {
            for value in &lengths {
                let text = std::str::from_utf8(value).expect("digits");
                assert!(text.bytes().all(|byte| byte.is_ascii_digit()), "{text:?}");
                assert_eq!(text.parse(), Ok(length));
            }
            assert!(!lengths.is_empty() && !ends_with_its_head);
        }
        Framing::Chunked => {
            assert!(codings.len() == 1 && codings[0].eq_ignore_ascii_case(b"chunked") && !ends_with_its_head);
        }
        Framing::CloseDelimited => {
            assert!(lengths.is_empty() && codings.is_empty() && !ends_with_its_head);
        }
    }
}

/// Asserts that another parser reads the head written for the client, with exactly the fields that frame the body.
fn assert_written_head_is_read_alike(head: &Head<'_, '_>, downstream: ResponseMode) {
    let request_id = HeaderValue::from_static(REQUEST_ID);
    let rules = ResponseRules {
        websocket_protocol: None,
        reads_websocket_token: false,
        headers: None,
        paths: None,
        request_id: &request_id,
        limits: Vec::new(),
        now: Timestamp::from_unix_secs(1_700_000_000),
        cors: None,
    };
    let (framing, is_persistent) = response_head::reframe(head.framing, downstream);
    let downstream = ResponseMode {
        is_persistent,
        ..downstream
    };
    let mut out = Buffer::default();
    response_head::write(head, &rules, framing, downstream, &mut out);
    let written = assert_well_formed(&out, head.status);
    let named = |name: &str| values(&written, name);
    assert_eq!(named("x-request-id"), [REQUEST_ID.as_bytes()]);
    assert!(named("keep-alive").is_empty() && named("proxy-connection").is_empty() && named("trailer").is_empty());
    let connection = match (head.status, is_persistent) {
        (StatusCode::SWITCHING_PROTOCOLS, _) => "Upgrade",
        (_, true) => "keep-alive",
        (_, false) => "close",
    };
    assert_eq!(named("connection"), [connection.as_bytes()]);
    assert!(named("content-length").len() <= 1);
    match framing {
        Framing::ContentLength(length) => {
            assert_eq!(named("content-length").len(), 1);
            let said = named("content-length")[0];
            assert_eq!(std::str::from_utf8(said).expect("digits").parse(), Ok(length));
            assert!(named("transfer-encoding").is_empty());
        }
        Framing::Chunked => {
            assert!(!downstream.is_http10, "HTTP/1.0 knows no chunks");
            assert_eq!(named("transfer-encoding"), [b"chunked"]);
            assert!(named("content-length").is_empty());
        }
        Framing::CloseDelimited => {
            assert!(!is_persistent, "the end of the connection is the body's");
            assert!(named("content-length").is_empty() && named("transfer-encoding").is_empty());
        }
        // A response without a body may announce the length that a GET would have.
        Framing::None => {}
    }
}

/// Asserts that `out` is exactly one head of HTTP/1.1 with `status`, and returns its fields.
fn assert_well_formed(out: &[u8], status: StatusCode) -> Vec<Field<'_>> {
    assert_eq!(head::find_end(out, 0), Some(out.len()));
    let mut fields = [httparse::EMPTY_HEADER; 300];
    let mut read = httparse::Response::new(&mut fields);
    assert_eq!(read.parse(out), Ok(httparse::Status::Complete(out.len())));
    assert_eq!((read.version, read.code), (Some(1), Some(status.as_u16())));
    // Every line ends in CRLF, and contains no other CR and no NUL.
    for line in out.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r\n").expect("CRLF");
        assert!(!line.contains(&b'\r') && !line.contains(&0), "{line:?}");
    }
    plain_fields(out)
}
