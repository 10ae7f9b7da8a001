//! How is the head of an upstream's response parsed, and where does its body end (RFC 9112 section 6.3)?

use crate::gate::accept::syntax;
use crate::proxy::head::Framing;
use http::Method;
use http::StatusCode;
use std::mem::MaybeUninit;

/// The limit of fields in a head.
pub const FIELDS_MAX: usize = 256;
/// The limit of bytes in a head.
pub const HEAD_BYTES_MAX: usize = 256 * 1024;

/// The head is malformed, or the end of its body is ambiguous. Forward no part of the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed response")]
pub struct ResponseHeadError;

/// The storage that the fields of a head are parsed into.
pub type Fields<'h> = [MaybeUninit<httparse::Header<'h>>; FIELDS_MAX];

pub const EMPTY_FIELDS: Fields<'static> = [const { MaybeUninit::uninit() }; FIELDS_MAX];

/// The head of a response. Borrows from its bytes.
#[derive(Debug)]
pub struct Head<'f, 'h> {
    pub status: StatusCode,
    pub reason: &'h str,
    pub fields: &'f [httparse::Header<'h>],
    pub framing: Framing,
    /// `true` if version and `Connection` allow another request on the connection (RFC 9112 section 9.3). A
    /// close-delimited body ends the connection nevertheless.
    pub is_persistent: bool,
    /// `true` if `Connection` lists options besides `close` and `keep-alive`: the names of fields that are for this
    /// connection alone (RFC 9110 section 7.6.1).
    pub has_connection_options: bool,
}

impl<'f, 'h> Head<'f, 'h> {
    /// Parses `head`, empty line included: the response to a request with `method`.
    ///
    /// # Errors
    /// The head is malformed, or the end of the body is ambiguous.
    pub fn parse(head: &'h [u8], fields: &'f mut Fields<'h>, method: &Method) -> Result<Self, ResponseHeadError> {
        let mut parsed = httparse::Response::new(&mut []);
        let parser = httparse::ParserConfig::default();
        match parser.parse_response_with_uninit_headers(&mut parsed, head, fields) {
            Ok(httparse::Status::Complete(length)) if length == head.len() => {}
            Ok(_) | Err(_) => return Err(ResponseHeadError),
        }
        let status = parsed
            .code
            .and_then(|code| StatusCode::from_u16(code).ok())
            .ok_or(ResponseHeadError)?;
        let is_http10 = parsed.version == Some(0);
        let mut facts = ResponseFacts::default();
        for field in parsed.headers.iter() {
            facts.note(field)?;
        }
        // A faulty upstream may send a body after a 204 with framing fields. The next request on the connection would
        // receive that body as its response.
        let has_stray_body =
            status == StatusCode::NO_CONTENT && (facts.chunked || facts.length.is_some_and(|length| length > 0));
        Ok(Self {
            status,
            reason: parsed.reason.unwrap_or_default(),
            framing: facts.framing(status, method, is_http10)?,
            is_persistent: !facts.close && !has_stray_body && (!is_http10 || facts.keep_alive),
            has_connection_options: facts.has_connection_options,
            fields: parsed.headers,
        })
    }
}

impl Head<'_, '_> {
    /// Returns the values of `Content-Type`.
    pub fn content_types(&self) -> impl Iterator<Item = &[u8]> {
        let is_type =
            |field: &&httparse::Header<'_>| field.name.len() == 12 && field.name.eq_ignore_ascii_case("content-type");
        self.fields.iter().filter(is_type).map(|field| field.value)
    }

    /// Returns whether `Upgrade` names WebSocket alone (RFC 6455 section 4.2.2), the only protocol that Keygate
    /// switches to. The caller checks the status.
    pub fn switches_to_websocket(&self) -> bool {
        let mut upgrades = self
            .fields
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case("upgrade"));
        let first = upgrades.next();
        first.is_some_and(|field| field.value.eq_ignore_ascii_case(b"websocket")) && upgrades.next().is_none()
    }
}

/// The fields of a head that decide the framing of the body and the persistence of the connection.
#[derive(Default)]
struct ResponseFacts {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    has_connection_options: bool,
}

impl ResponseFacts {
    fn note(&mut self, field: &httparse::Header<'_>) -> Result<(), ResponseHeadError> {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        match field.name.len() {
            14 if is("content-length") => {
                // Equal repetitions are one length (RFC 9110 section 8.6), which is written once.
                let length = syntax::length(field.value).ok_or(ResponseHeadError)?;
                if self.length.replace(length).is_some_and(|before| before != length) {
                    return Err(ResponseHeadError);
                }
            }
            17 if is("transfer-encoding") => {
                if self.chunked || !field.value.eq_ignore_ascii_case(b"chunked") {
                    return Err(ResponseHeadError);
                }
                self.chunked = true;
            }
            10 if is("connection") => {
                for option in syntax::members(field.value) {
                    if option.eq_ignore_ascii_case(b"close") {
                        self.close = true;
                    } else if option.eq_ignore_ascii_case(b"keep-alive") {
                        self.keep_alive = true;
                    } else {
                        self.has_connection_options = true;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn framing(&self, status: StatusCode, method: &Method, is_http10: bool) -> Result<Framing, ResponseHeadError> {
        match (self.length, self.chunked) {
            // Two parsers could disagree on the end of the body (RFC 9112 section 6.1), as in response splitting.
            (Some(_), true) => Err(ResponseHeadError),
            (None, true) if is_http10 => Err(ResponseHeadError),
            _ if method == Method::HEAD || has_no_body(status) => Ok(Framing::None),
            (None, true) => Ok(Framing::Chunked),
            (Some(length), false) => Ok(Framing::ContentLength(length)),
            (None, false) => Ok(Framing::CloseDelimited),
        }
    }
}

/// Returns whether responses with `status` end with their head (RFC 9112 section 6.3).
fn has_no_body(status: StatusCode) -> bool {
    status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the framing, and whether the connection persists.
    fn read(head: &str, method: Method) -> Result<(Framing, bool), ResponseHeadError> {
        let mut fields = EMPTY_FIELDS;
        Head::parse(head.as_bytes(), &mut fields, &method).map(|head| (head.framing, head.is_persistent))
    }

    #[track_caller]
    fn check(head: &str, expected: Result<(Framing, bool), ResponseHeadError>) {
        assert_eq!(read(&format!("{head}\r\n\r\n"), Method::GET), expected, "{head:?}");
    }

    #[test]
    fn the_head_determines_the_framing_of_the_body() {
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 5",
            Ok((Framing::ContentLength(5), true)),
        );
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\ncontent-length: 5",
            Ok((Framing::ContentLength(5), true)),
        );
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked",
            Ok((Framing::Chunked, true)),
        );
        check("HTTP/1.1 200 OK", Ok((Framing::CloseDelimited, true)));
        check("HTTP/1.1 200", Ok((Framing::CloseDelimited, true)));
        check(
            "HTTP/1.0 200 OK\r\nContent-Length: 5",
            Ok((Framing::ContentLength(5), false)),
        );
        check(
            "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: Keep-Alive",
            Ok((Framing::ContentLength(5), true)),
        );
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: x, Close",
            Ok((Framing::ContentLength(5), false)),
        );
        for status in ["100 Continue", "103 Early Hints", "204 No Content", "304 Not Modified"] {
            // A 204 may not have these fields: the body that they announce may follow.
            let persists = !status.starts_with("204");
            for framed in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
                check(&format!("HTTP/1.1 {status}\r\n{framed}"), Ok((Framing::None, persists)));
            }
            check(
                &format!("HTTP/1.1 {status}\r\nContent-Length: 0"),
                Ok((Framing::None, true)),
            );
        }
        let to_head = read("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Method::HEAD);
        assert_eq!(to_head, Ok((Framing::None, true)));
    }

    #[test]
    fn s101_an_ambiguous_response_head_is_refused() {
        for broken in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
            "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6",
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 6",
            "HTTP/1.1 200 OK\r\nContent-Length: +5",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked",
            "HTTP/1.1 200 OK\r\nA : b",
            "HTTP/1.1 200 OK\r\nA: b\r\n c",
            "HTTP/1.1 200 OK\r\nno colon",
            "HTTP/1.1 20 OK",
            "HTTP/1.1 099 OK",
            "HTTP/2 200 OK",
            "ICY 200 OK",
        ] {
            check(broken, Err(ResponseHeadError));
        }
    }
}
