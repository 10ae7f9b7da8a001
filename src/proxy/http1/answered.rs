//! What of an upstream's answer reaches the client in its head, and how its body is framed for it.

use crate::gate::accept::syntax;
use crate::gate::answer::Cors;
use crate::gate::answer::cors;
use crate::model::clock::Timestamp;
use crate::proxy::http1::body::Framing;
use crate::proxy::http1::buffer::Buffer;
use crate::proxy::http1::date;
use crate::proxy::http1::response::Head;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::StatusCode;
use http::header;
use httparse::Header;

/// What the gate says in every answer of this request's, in place of what the upstream says under these names.
pub struct Says<'r> {
    pub request_id: Option<(&'r HeaderName, &'r HeaderValue)>,
    /// What is left of the limits; empty where none applies.
    pub limits: Vec<(HeaderName, HeaderValue)>,
    /// The time, where the upstream does not say it.
    pub now: Timestamp,
    /// For pages of other origins, and the fields of the request that asked.
    pub cors: Option<(&'r Cors, &'r HeaderMap)>,
}

/// How the client's side goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DownstreamSide {
    pub is_http10: bool,
    /// Whether its connection may carry another request after this.
    pub keep_alive: bool,
}

/// How a body goes to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reframed {
    /// As it is: nothing, a known length, or until the connection closes.
    Plain,
    Chunked,
}

/// How a body with `framing` is sent to the client, and whether its connection can go on behind it. HTTP/1.0 knows no chunks
/// (RFC 9112 section 6.1): there the connection's end is the body's.
pub fn reframe(framing: Framing, downstream: DownstreamSide) -> (Reframed, bool) {
    match framing {
        Framing::None | Framing::Length(_) => (Reframed::Plain, downstream.keep_alive),
        Framing::Chunked | Framing::UntilClose if downstream.is_http10 => (Reframed::Plain, false),
        Framing::Chunked | Framing::UntilClose => (Reframed::Chunked, downstream.keep_alive),
    }
}

/// Writes an interim answer (RFC 9110 section 15.2), other than 101.
pub fn write_interim(head: &Head<'_, '_>, out: &mut Buffer) {
    status_line(head, out);
    for field in head.fields {
        // It has no body, so nothing in it says where one ends.
        let is_framing = is(field, header::CONTENT_LENGTH.as_str()) || is(field, header::TRANSFER_ENCODING.as_str());
        if !is_framing && !is_hop_by_hop(field) && !is_nominated(field, head) {
            put(out, field.name.as_bytes(), field.value);
        }
    }
    out.put(b"\r\n");
}

/// Writes the head of the final answer.
pub fn write(head: &Head<'_, '_>, says: &Says<'_>, reframed: Reframed, downstream: DownstreamSide, out: &mut Buffer) {
    let switches = head.status == StatusCode::SWITCHING_PROTOCOLS;
    let has_body = !matches!(head.framing, Framing::None);
    let mut length_said = false;
    let mut varies = false;
    let mut is_dated = switches;
    status_line(head, out);
    for field in head.fields {
        if is(field, header::CONTENT_LENGTH.as_str()) {
            // Several that say the same are one. 101 and 204 have none (RFC 9110 section 8.6).
            let may_have = !switches && head.status != StatusCode::NO_CONTENT;
            if may_have && !std::mem::replace(&mut length_said, true) {
                put(out, field.name.as_bytes(), field.value);
            }
            continue;
        }
        if is(field, header::TRANSFER_ENCODING.as_str()) {
            // Of an answer to HEAD, or 304: what GET would bring.
            let may_have = !has_body && !switches && head.status != StatusCode::NO_CONTENT && !downstream.is_http10;
            if may_have {
                put(out, field.name.as_bytes(), field.value);
            }
            continue;
        }
        if is_hop_by_hop(field) || is_nominated(field, head) || is_ours(field, says) {
            continue;
        }
        is_dated |= is(field, header::DATE.as_str());
        if is(field, header::VARY.as_str()) {
            varies |= HeaderValue::from_bytes(field.value).is_ok_and(|value| cors::names_origin(&value));
        }
        put(out, field.name.as_bytes(), field.value);
    }
    if let Some((cors, request)) = says.cors {
        for (name, value) in cors.of_response(request) {
            put(out, name.as_str().as_bytes(), value.as_bytes());
        }
        if cors.varies() && !varies {
            put(out, header::VARY.as_str().as_bytes(), cors::VARY_ORIGIN.as_bytes());
        }
    }
    for (name, value) in &says.limits {
        put(out, name.as_str().as_bytes(), value.as_bytes());
    }
    if let Some((name, value)) = says.request_id {
        put(out, name.as_str().as_bytes(), value.as_bytes());
    }
    if !is_dated {
        put_date(out, says.now);
    }
    if reframed == Reframed::Chunked {
        out.put(b"Transfer-Encoding: chunked\r\n");
    }
    if switches {
        out.put(b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    } else {
        out.put(connection(downstream.keep_alive));
    }
}

/// The last field of a head, and its end.
pub const fn connection(keep_alive: bool) -> &'static [u8] {
    match keep_alive {
        true => b"Connection: keep-alive\r\n\r\n",
        false => b"Connection: close\r\n\r\n",
    }
}

/// Writes one field.
pub fn put(out: &mut Buffer, name: &[u8], value: &[u8]) {
    out.put(name);
    out.put(b": ");
    out.put(value);
    out.put(b"\r\n");
}

/// Writes when the answer was made.
pub fn put_date(out: &mut Buffer, now: Timestamp) {
    date::with(now, |date| put(out, b"Date", date.as_bytes()));
}

/// Writes the first line of an answer.
pub fn put_status(out: &mut Buffer, status: StatusCode, reason: &str) {
    out.put(b"HTTP/1.1 ");
    out.put(status.as_str().as_bytes());
    out.put(b" ");
    out.put(reason.as_bytes());
    out.put(b"\r\n");
}

fn status_line(head: &Head<'_, '_>, out: &mut Buffer) {
    put_status(out, head.status, head.reason);
}

fn is(field: &Header<'_>, name: &str) -> bool {
    field.name.len() == name.len() && field.name.eq_ignore_ascii_case(name)
}

/// What the upstream says about its own connection (RFC 9110 section 7.6.1). Ours is ours to speak of.
fn is_hop_by_hop(field: &Header<'_>) -> bool {
    match field.name.len() {
        7 => is(field, "upgrade") || is(field, "trailer"),
        10 => is(field, "connection") || is(field, "keep-alive"),
        16 => is(field, "proxy-connection"),
        _ => false,
    }
}

fn is_nominated(field: &Header<'_>, head: &Head<'_, '_>) -> bool {
    head.nominates
        && head
            .fields
            .iter()
            .filter(|other| is(other, "connection"))
            .any(|other| syntax::members(other.value).any(|option| option.eq_ignore_ascii_case(field.name.as_bytes())))
}

/// Whether we say it: two answers in one response would be none, and browsers refuse a repeated
/// `Access-Control-Allow-Origin`.
fn is_ours(field: &Header<'_>, says: &Says<'_>) -> bool {
    says.request_id.is_some_and(|(name, _)| is(field, name.as_str()))
        || says.limits.iter().any(|(name, _)| is(field, name.as_str()))
        || (says.cors.is_some() && cors::is_cors_name(field.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::http1::response::NO_FIELDS;
    use http::Method;

    /// What of `head`, the answer to GET, reaches an HTTP/1.1 client that may go on.
    fn relayed(head: &str, says: &Says<'_>) -> String {
        let mut fields = NO_FIELDS;
        let head = Head::parse(head.as_bytes(), &mut fields, &Method::GET).unwrap();
        let downstream = DownstreamSide {
            is_http10: false,
            keep_alive: true,
        };
        let (reframed, keep_alive) = reframe(head.framing, downstream);
        let mut out = Buffer::default();
        let downstream = DownstreamSide {
            is_http10: false,
            keep_alive,
        };
        write(&head, says, reframed, downstream, &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    const NOTHING: Says<'static> = Says {
        request_id: None,
        limits: Vec::new(),
        now: Timestamp::from_unix_secs(784_111_777),
        cors: None,
    };

    #[test]
    fn what_is_about_the_upstreams_connection_stays_there() {
        let head = "HTTP/1.1 200 Fine\r\nServer: x\r\nConnection: close, X-Hop\r\nx-hop: 1\r\nKeep-Alive: timeout=5\r\n\
                    Upgrade: h2\r\nTrailer: a\r\nProxy-Connection: b\r\nDate: x\r\nContent-Length: 2\r\ncontent-length: 2\r\n\r\n";
        assert_eq!(
            relayed(head, &NOTHING),
            "HTTP/1.1 200 Fine\r\nServer: x\r\nDate: x\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n"
        );
    }

    #[test]
    fn what_has_no_body_does_not_say_where_one_ends() {
        let head = "HTTP/1.1 204 No Content\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(
            relayed(head, &NOTHING),
            "HTTP/1.1 204 No Content\r\nDate: x\r\nConnection: keep-alive\r\n\r\n"
        );
        let mut fields = NO_FIELDS;
        let head = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 5\r\n\r\n";
        let head = Head::parse(head.as_bytes(), &mut fields, &Method::GET).unwrap();
        let mut out = Buffer::default();
        write_interim(&head, &mut out);
        assert_eq!(&*out, b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
    }

    #[test]
    fn a_nominated_length_still_says_where_the_body_ends() {
        let head = "HTTP/1.1 200 OK\r\nConnection: content-length, transfer-encoding\r\nContent-Length: 2\r\n\r\n";
        assert!(relayed(head, &NOTHING).contains("\r\nContent-Length: 2\r\n"));
        let head = "HTTP/1.1 200 OK\r\nConnection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert!(relayed(head, &NOTHING).contains("\r\nTransfer-Encoding: chunked\r\n"));
    }

    #[test]
    fn a_body_that_ends_with_its_connection_gets_chunks_and_http_1_0_gets_none() {
        let now = |is_http10| DownstreamSide {
            is_http10,
            keep_alive: true,
        };
        for framing in [Framing::Chunked, Framing::UntilClose] {
            assert_eq!(reframe(framing, now(false)), (Reframed::Chunked, true));
            assert_eq!(reframe(framing, now(true)), (Reframed::Plain, false));
        }
        assert_eq!(reframe(Framing::Length(1), now(true)), (Reframed::Plain, true));
        assert_eq!(
            relayed("HTTP/1.1 200 OK\r\n\r\n", &NOTHING),
            "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n"
        );
    }

    #[test]
    fn s086_what_we_say_is_said_once() {
        let (name, value) = (
            HeaderName::from_static("x-request-id"),
            HeaderValue::from_static("ours"),
        );
        let says = Says {
            request_id: Some((&name, &value)),
            limits: vec![(HeaderName::from_static("ratelimit"), HeaderValue::from_static("ours"))],
            now: NOTHING.now,
            cors: None,
        };
        let head = "HTTP/1.1 200 OK\r\nX-Request-ID: theirs\r\nRateLimit: theirs\r\nRATELIMIT: theirs\r\nDate: x\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(
            relayed(head, &says),
            "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 0\r\nratelimit: ours\r\nx-request-id: ours\r\nConnection: keep-alive\r\n\r\n"
        );
    }
}
