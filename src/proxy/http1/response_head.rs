//! How is the head of a response written for a client, and how is the body framed?

use crate::gate::accept::syntax;
use crate::gate::answer::Answer;
use crate::gate::answer::cors;
use crate::model::clock::Timestamp;
use crate::proxy::forward::date;
use crate::proxy::forward::response_fields::ResponseRules;
use crate::proxy::forward::response_fields::UpstreamFields;
use crate::proxy::forward::response_fields::is_hop_by_hop;
use crate::proxy::head::Framing;
use crate::proxy::http1::buffer::Buffer;
use crate::proxy::http1::response::Head;
use http::HeaderValue;
use http::StatusCode;
use http::header;
use httparse::Header;

/// The protocol version of the client, and the state of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseMode {
    pub is_http10: bool,
    /// `true` if the connection may carry another request after this response.
    pub is_persistent: bool,
}

/// Returns the framing of the body towards the client, and whether the connection persists after the body. For an
/// HTTP/1.0 client, which knows no chunks (RFC 9112 section 6.1), a body of unknown length ends with the connection.
pub fn reframe(framing: Framing, downstream: ResponseMode) -> (Framing, bool) {
    match framing {
        Framing::None | Framing::ContentLength(_) => (framing, downstream.is_persistent),
        Framing::Chunked | Framing::CloseDelimited if downstream.is_http10 => (Framing::CloseDelimited, false),
        Framing::Chunked | Framing::CloseDelimited => (Framing::Chunked, downstream.is_persistent),
    }
}

/// Writes an interim response (RFC 9110 section 15.2) other than 101.
pub fn write_interim(head: &Head<'_, '_>, out: &mut Buffer) {
    status_line(head, out);
    for field in head.fields {
        // Interim responses have no body, so framing fields are dropped.
        let is_framing = is(field, header::CONTENT_LENGTH.as_str()) || is(field, header::TRANSFER_ENCODING.as_str());
        if !is_framing && !is_hop_by_hop(field.name) && !is_connection_option(field, head) {
            put(out, field.name.as_bytes(), field.value);
        }
    }
    out.put(b"\r\n");
}

/// Writes the head of the final response or of a 101. `framing` is the framing of the body towards the client.
pub fn write(
    head: &Head<'_, '_>,
    rules: &ResponseRules<'_>,
    framing: Framing,
    downstream: ResponseMode,
    out: &mut Buffer,
) {
    let switches = head.status == StatusCode::SWITCHING_PROTOCOLS;
    let has_body = !matches!(head.framing, Framing::None);
    let mut has_length = false;
    let mut added = UpstreamFields {
        varies: false,
        lacks_protocol: switches,
    };
    let mut is_dated = switches;
    status_line(head, out);
    for field in head.fields {
        if is(field, header::CONTENT_LENGTH.as_str()) {
            // `Head::parse` accepts equal repetitions: write the first. A 101 or 204 must not have a length (RFC 9110
            // section 8.6).
            let may_have = !switches && head.status != StatusCode::NO_CONTENT;
            if may_have && !std::mem::replace(&mut has_length, true) {
                put(out, field.name.as_bytes(), field.value);
            }
            continue;
        }
        if is(field, header::TRANSFER_ENCODING.as_str()) {
            // In a response to HEAD and in a 304, the field describes the response to GET (RFC 9112 section 6.1).
            let may_have = !has_body && !switches && head.status != StatusCode::NO_CONTENT && !downstream.is_http10;
            if may_have {
                put(out, field.name.as_bytes(), field.value);
            }
            continue;
        }
        if !rules.keeps(field.name, field.value) || is_connection_option(field, head) {
            continue;
        }
        is_dated |= is(field, header::DATE.as_str());
        if is(field, header::VARY.as_str()) {
            added.varies |= HeaderValue::from_bytes(field.value).is_ok_and(|value| cors::names_origin(&value));
        }
        added.lacks_protocol &= !is(field, header::SEC_WEBSOCKET_PROTOCOL.as_str());
        match rules.changed(field.name, field.value) {
            Some(changed) => put(out, field.name.as_bytes(), &changed),
            None => put(out, field.name.as_bytes(), field.value),
        }
    }
    rules.put_added(added, |name, value| {
        put(out, name.as_str().as_bytes(), value.as_bytes())
    });
    if !is_dated {
        put_date(out, rules.now);
    }
    if framing == Framing::Chunked {
        out.put(b"Transfer-Encoding: chunked\r\n");
    }
    if switches {
        out.put(b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    } else {
        out.put(connection_field(downstream.is_persistent));
    }
}

/// Returns the field `Connection`, which is written last, and the empty line that ends the head.
pub const fn connection_field(is_persistent: bool) -> &'static [u8] {
    if is_persistent {
        b"Connection: keep-alive\r\n\r\n"
    } else {
        b"Connection: close\r\n\r\n"
    }
}

/// Writes one field.
pub fn put(out: &mut Buffer, name: &[u8], value: &[u8]) {
    out.put(name);
    out.put(b": ");
    out.put(value);
    out.put(b"\r\n");
}

/// Writes `Date` with the time `now`.
pub fn put_date(out: &mut Buffer, now: Timestamp) {
    date::with(now, |date| put(out, b"Date", date.as_bytes()));
}

/// Writes the status line.
pub fn put_status(out: &mut Buffer, status: StatusCode, reason: &str) {
    out.put(b"HTTP/1.1 ");
    out.put(status.as_str().as_bytes());
    out.put(b" ");
    out.put(reason.as_bytes());
    out.put(b"\r\n");
}

/// Writes a whole answer after which the connection closes. For a request without a valid head.
pub fn write_closing(answer: &Answer, now: Timestamp, out: &mut Buffer) {
    put_status(out, answer.status, answer.status.canonical_reason().unwrap_or_default());
    for (name, value) in &answer.headers {
        put(out, name.as_str().as_bytes(), value.as_bytes());
    }
    put_date(out, now);
    out.put(connection_field(false));
    out.put(&answer.body);
}

fn status_line(head: &Head<'_, '_>, out: &mut Buffer) {
    put_status(out, head.status, head.reason);
}

fn is(field: &Header<'_>, name: &str) -> bool {
    field.name.len() == name.len() && field.name.eq_ignore_ascii_case(name)
}

fn is_connection_option(field: &Header<'_>, head: &Head<'_, '_>) -> bool {
    head.has_connection_options
        && head
            .fields
            .iter()
            .filter(|other| is(other, "connection"))
            .any(|other| syntax::members(other.value).any(|option| option.eq_ignore_ascii_case(field.name.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::http1::response::EMPTY_FIELDS;
    use http::HeaderName;
    use http::Method;

    /// Returns the head as written to a persistent HTTP/1.1 client; `head` is the response to GET.
    fn relayed(head: &str, rules: &ResponseRules<'_>) -> String {
        let mut fields = EMPTY_FIELDS;
        let head = Head::parse(head.as_bytes(), &mut fields, &Method::GET).unwrap();
        let downstream = ResponseMode {
            is_http10: false,
            is_persistent: true,
        };
        let (framing, is_persistent) = reframe(head.framing, downstream);
        let mut out = Buffer::default();
        let downstream = ResponseMode {
            is_http10: false,
            is_persistent,
        };
        write(&head, rules, framing, downstream, &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    /// Returns rules that add a request id and nothing else.
    fn rules(request_id: &HeaderValue) -> ResponseRules<'_> {
        ResponseRules {
            websocket_protocol: None,
            reads_websocket_token: false,
            headers: None,
            paths: None,
            request_id,
            limits: Vec::new(),
            now: Timestamp::from_unix_secs(784_111_777),
            cors: None,
        }
    }

    static ID: HeaderValue = HeaderValue::from_static("ours");

    #[test]
    fn hop_by_hop_fields_of_a_response_are_dropped() {
        let head = "HTTP/1.1 200 Fine\r\nServer: x\r\nConnection: close, X-Hop\r\nx-hop: 1\r\nKeep-Alive: timeout=5\r\n\
                    Upgrade: h2\r\nTrailer: a\r\nProxy-Connection: b\r\nDate: x\r\nContent-Length: 2\r\ncontent-length: 2\r\n\r\n";
        assert_eq!(
            relayed(head, &rules(&ID)),
            "HTTP/1.1 200 Fine\r\nServer: x\r\nDate: x\r\nContent-Length: 2\r\nx-request-id: ours\r\nConnection: keep-alive\r\n\r\n"
        );
    }

    #[test]
    fn a_response_without_body_has_no_framing_fields() {
        let head = "HTTP/1.1 204 No Content\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(
            relayed(head, &rules(&ID)),
            "HTTP/1.1 204 No Content\r\nDate: x\r\nx-request-id: ours\r\nConnection: keep-alive\r\n\r\n"
        );
        let mut fields = EMPTY_FIELDS;
        let head = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 5\r\n\r\n";
        let head = Head::parse(head.as_bytes(), &mut fields, &Method::GET).unwrap();
        let mut out = Buffer::default();
        write_interim(&head, &mut out);
        assert_eq!(&*out, b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
    }

    #[test]
    fn connection_cannot_nominate_framing_fields() {
        let head = "HTTP/1.1 200 OK\r\nConnection: content-length, transfer-encoding\r\nContent-Length: 2\r\n\r\n";
        assert!(relayed(head, &rules(&ID)).contains("\r\nContent-Length: 2\r\n"));
        let head = "HTTP/1.1 200 OK\r\nConnection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert!(relayed(head, &rules(&ID)).contains("\r\nTransfer-Encoding: chunked\r\n"));
    }

    #[test]
    fn a_body_that_ends_with_its_connection_gets_chunks_and_http_1_0_gets_none() {
        let mode = |is_http10| ResponseMode {
            is_http10,
            is_persistent: true,
        };
        for framing in [Framing::Chunked, Framing::CloseDelimited] {
            assert_eq!(reframe(framing, mode(false)), (Framing::Chunked, true));
            assert_eq!(reframe(framing, mode(true)), (Framing::CloseDelimited, false));
        }
        assert_eq!(
            reframe(Framing::ContentLength(1), mode(true)),
            (Framing::ContentLength(1), true)
        );
        assert_eq!(
            relayed("HTTP/1.1 200 OK\r\n\r\n", &rules(&ID)),
            "HTTP/1.1 200 OK\r\nx-request-id: ours\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n"
        );
    }

    #[test]
    fn s086_added_fields_replace_the_upstreams() {
        let rules = ResponseRules {
            limits: vec![(HeaderName::from_static("ratelimit"), HeaderValue::from_static("ours"))],
            ..rules(&ID)
        };
        let head = "HTTP/1.1 200 OK\r\nX-Request-ID: theirs\r\nRateLimit: theirs\r\nRATELIMIT: theirs\r\nDate: x\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(
            relayed(head, &rules),
            "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 0\r\nratelimit: ours\r\nx-request-id: ours\r\nConnection: keep-alive\r\n\r\n"
        );
    }
}
