//! How is a request head parsed that `head::check` accepted?

use crate::proxy::forward::escape;
use bytes::Bytes;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::Request;
use http::Version;
use http::header;
use http::request::Parts;
use std::mem::MaybeUninit;

/// The limit of fields in a head: the largest value that the configuration accepts for `requests.head_count`.
const FIELDS_MAX: usize = 256;

/// The head passed `head::check` but exceeds a limit of `httparse` or `http` (256 fields, names and targets of 64 KiB).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the head cannot be read")]
pub struct RequestHeadError;

/// Parses `head`, empty line included. Values are not copied: they share the bytes of `head`.
///
/// # Errors
/// The head is malformed, has more than 256 fields, or has a name or a target longer than the crate `http` accepts
/// (64 KiB).
pub fn parse(head: &Bytes) -> Result<Parts, RequestHeadError> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(head, &mut fields) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) | Err(_) => return Err(RequestHeadError),
    }
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(RequestHeadError);
    };
    let mut headers = HeaderMap::with_capacity(parsed.headers.len());
    for field in parsed.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| RequestHeadError)?;
        let value = HeaderValue::from_maybe_shared(head.slice_ref(field.value)).map_err(|_| RequestHeadError)?;
        headers.try_append(name, value).map_err(|_| RequestHeadError)?;
    }
    // `Parts` has private fields: only the crate `http` can create a value.
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = Method::from_bytes(method.as_bytes()).map_err(|_| RequestHeadError)?;
    parts.uri = escape::uri(head, target).map_err(|_| RequestHeadError)?;
    parts.version = match version {
        0 => Version::HTTP_10,
        _ => Version::HTTP_11,
    };
    parts.headers = headers;
    add_host(&mut parts);
    Ok(parts)
}

/// Gives a request of HTTP/1.0 without `Host` the host of its target in absolute form: it is matched by that host, so the
/// upstream has to receive it too.
fn add_host(parts: &mut Parts) {
    if parts.version != Version::HTTP_10 || parts.headers.contains_key(header::HOST) {
        return;
    }
    let authority = parts.uri.authority();
    // An authority is visible ASCII.
    if let Some(host) = authority.and_then(|host| HeaderValue::from_str(host.as_str()).ok()) {
        parts.headers.insert(header::HOST, host);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_text(head: &str) -> Result<Parts, RequestHeadError> {
        parse(&Bytes::copy_from_slice(head.as_bytes()))
    }

    #[test]
    fn a_head_is_read_as_it_is() {
        let parts =
            parse_text("PATCH /a%2Fb?c=d HTTP/1.1\r\nHost: a.example\r\nX-A:  1 \r\nx-a: 2\r\nEmpty:\r\n\r\n").unwrap();
        assert_eq!((parts.method, parts.version), (Method::PATCH, Version::HTTP_11));
        assert_eq!((parts.uri.path(), parts.uri.query()), ("/a%2Fb", Some("c=d")));
        let values: Vec<_> = parts.headers.get_all("x-a").iter().collect();
        assert_eq!(values, ["1", "2"]);
        assert_eq!((parts.headers.len(), parts.headers["empty"].as_bytes()), (4, &b""[..]));
        assert_eq!(parse_text("GET / HTTP/1.0\r\n\r\n").unwrap().version, Version::HTTP_10);
        assert_eq!(
            parse_text("GET http://a/b HTTP/1.1\r\nHost: a\r\n\r\n")
                .unwrap()
                .uri
                .authority()
                .unwrap(),
            "a"
        );
    }

    #[test]
    fn anything_but_one_whole_head_is_refused() {
        for head in [
            "",
            "GET / HTTP/1.1\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n",
            "GET / HTTP/1.1\r\n\r\nGET",
            "GET\r\n\r\n",
        ] {
            assert_eq!(parse_text(head).unwrap_err(), RequestHeadError, "{head:?}");
        }
        let long = "n".repeat(65_536);
        assert!(parse_text(&format!("GET / HTTP/1.1\r\n{}: 1\r\n\r\n", &long[..65_535])).is_ok());
        assert!(parse_text(&format!("GET / HTTP/1.1\r\n{long}: 1\r\n\r\n")).is_err());
        // `URI_BYTES_MAX` of `config::listener`.
        assert!(parse_text(&format!("GET /{} HTTP/1.1\r\n\r\n", &long[..65_533])).is_ok());
        assert!(parse_text(&format!("GET /{} HTTP/1.1\r\n\r\n", &long[..65_534])).is_err());
        assert!(parse_text(&format!("GET / HTTP/1.1\r\n{}\r\n", "A: 1\r\n".repeat(257))).is_err());
        assert!(parse_text(&format!("GET / HTTP/1.1\r\n{}\r\n", "A: 1\r\n".repeat(256))).is_ok());
    }
}
