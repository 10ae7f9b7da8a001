//! How does a head of pingora become one that the gate reads, and how is the head for the upstream written?

use crate::gate::accept::HeadError;
use crate::gate::accept::syntax;
use crate::proxy::exchange::Exchange;
use crate::proxy::forward::escape;
use crate::proxy::head::HeadLimits;
use bytes::Bytes;
use bytes::BytesMut;
use http::HeaderMap;
use http::HeaderValue;
use http::Uri;
use http::Version;
use http::header;
use http::request::Parts;
use http::uri::PathAndQuery;
use pingora::http::RequestHeader;

/// The fields that Keygate adds to most requests: room for them, not a limit.
const FIELDS_ADDED: usize = 12;

/// Returns the head that the gate decides. For HTTP/2, the fields are those that the same request has in HTTP/1.1: one
/// `Cookie`, and `Host` in place of `:authority`.
pub fn of_pingora(head: &RequestHeader) -> Parts {
    let mut parts = head.as_owned_parts();
    if parts.version == Version::HTTP_2 {
        join_cookies(&mut parts.headers);
        move_authority(&mut parts);
        escape_target(&mut parts);
    }
    parts
}

/// Escapes the bytes of the target that Keygate's own reader escapes in HTTP/1.1.
fn escape_target(parts: &mut Parts) {
    let Some(target) = parts
        .uri
        .path_and_query()
        .filter(|target| escape::is_needed(target.as_str()))
    else {
        return;
    };
    // Escapes are valid wherever the bytes were.
    if let Ok(escaped) = PathAndQuery::try_from(escape::target(target.as_str())) {
        let mut uri = std::mem::take(&mut parts.uri).into_parts();
        uri.path_and_query = Some(escaped);
        parts.uri = Uri::from_parts(uri).unwrap_or_default();
    }
}

/// Joins the `Cookie` fields: HTTP/2 lets clients send one for each pair, and HTTP/1.1 has a single one (RFC 9113 section
/// 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(header::COOKIE).iter();
    if cookies.nth(1).is_none() {
        return;
    }
    let values: Vec<&[u8]> = headers
        .get_all(header::COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    let joined = HeaderValue::from_bytes(&values.join(&b"; "[..]));
    // Valid values with valid bytes between them are a valid value.
    if let Ok(joined) = joined {
        headers.insert(header::COOKIE, joined);
    }
}

/// Makes `:authority` the `Host` (RFC 9113 section 8.3.1). A request that has both stays as it is: the gate compares them
/// (S093).
fn move_authority(parts: &mut Parts) {
    if parts.headers.contains_key(header::HOST) {
        return;
    }
    let (Some(authority), Some(path)) = (parts.uri.authority(), parts.uri.path_and_query()) else {
        return;
    };
    // An authority is visible ASCII.
    if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
        parts.headers.insert(header::HOST, host);
        parts.uri = Uri::from(path.clone());
    }
}

/// Returns the head of `exchange` for the upstream, in the version of `head`, which pingora was about to send.
///
/// # Errors
/// The target is none: a bug, because it comes from a parsed head.
pub fn for_upstream(exchange: &Exchange, head: &RequestHeader) -> pingora::Result<RequestHeader> {
    let request = exchange.request();
    let is_http2 = head.version == Version::HTTP_2;
    // pingora's own methods write each name twice, in lower case and as HTTP/1.1 would have it.
    let mut headers = HeaderMap::with_capacity(request.headers.len() + FIELDS_ADDED);
    exchange.write_request_fields(|name, value| {
        // HTTP/2 frames bodies itself, and knows no connection fields (RFC 9113 section 8.2.2).
        // `Expect` was answered: pingora forwards no interim response of HTTP/2.
        let is_of_http1 = matches!(
            *name,
            header::TRANSFER_ENCODING | header::CONNECTION | header::UPGRADE | header::EXPECT
        );
        if !(is_http2 && is_of_http1) {
            headers.append(name.clone(), value.into_header_value());
        }
    });
    if is_http2 && accepts_trailers(&request.headers) {
        // The one hop-by-hop field of HTTP/2; a gRPC server may insist on it.
        headers.append(header::TE, HeaderValue::from_static("trailers"));
    }
    // `Parts` has private fields: only the crate `http` can create a value.
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.method = request.method.clone();
    parts.version = head.version;
    parts.headers = headers;
    let mut written = RequestHeader::from(parts);
    written.set_raw_path(exchange.target().as_bytes())?;
    Ok(written)
}

fn accepts_trailers(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::TE)
        .iter()
        .any(|value| syntax::members(value.as_bytes()).any(|member| member.eq_ignore_ascii_case(b"trailers")))
}

/// Returns the parts of a head of HTTP/2 that a refusal and its record are made of, as HTTP/1.1 would write them.
pub(super) fn as_text(head: &RequestHeader) -> Bytes {
    let mut text = BytesMut::new();
    text.extend_from_slice(head.method.as_str().as_bytes());
    text.extend_from_slice(b" ");
    text.extend_from_slice(head.raw_path());
    text.extend_from_slice(b" HTTP/2\r\n");
    let authority = head.uri.authority().map(|authority| authority.as_str().as_bytes());
    let hosts = head.headers.get_all(header::HOST).iter().map(HeaderValue::as_bytes);
    let origins = head.headers.get_all(header::ORIGIN).iter().map(HeaderValue::as_bytes);
    let hosts = hosts.chain(authority.filter(|_| !head.headers.contains_key(header::HOST)));
    for (name, value) in hosts
        .map(|host| ("host", host))
        .chain(origins.map(|origin| ("origin", origin)))
    {
        text.extend_from_slice(name.as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value);
        text.extend_from_slice(b"\r\n");
    }
    text.freeze()
}

/// Checks the size of a head that arrived over HTTP/2: the size that it has in HTTP/1.1, with `:authority` as `Host`.
pub(super) fn check_size(head: &RequestHeader, limits: &HeadLimits) -> Result<(), HeadError> {
    let authority = head
        .uri
        .authority()
        .filter(|_| !head.headers.contains_key(header::HOST));
    let of_host = authority.map_or(0, |host| host.as_str().len() + "host: \r\n".len());
    let fields = head.headers.iter();
    let of_fields: usize = fields
        .map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len())
        .sum();
    // HTTP/2 splits `Cookie`, and the gate joins it (RFC 9113 section 8.2.3).
    let crumbs = head.headers.get_all(header::COOKIE).iter().count().saturating_sub(1);
    let of_crumbs = crumbs * ("cookie: \r\n".len() - "; ".len());
    let of_line = head.method.as_str().len() + head.raw_path().len() + "  HTTP/1.1\r\n\r\n".len();
    if of_line + of_host + of_fields - of_crumbs > limits.head_bytes_max {
        return Err(HeadError::HeadTooLong);
    }
    if head.headers.len() - crumbs + usize::from(authority.is_some()) > limits.header_count_max {
        return Err(HeadError::TooManyFields);
    }
    if head.raw_path().len() > limits.target_bytes_max {
        return Err(HeadError::TargetTooLong);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(version: Version, target: &str, fields: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().version(version).uri(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let head: RequestHeader = request.body(()).unwrap().into_parts().0.into();
        of_pingora(&head)
    }

    #[test]
    fn the_cookies_of_http2_are_one_field() {
        let two = [("cookie", "a=1"), ("x", "1"), ("cookie", "b=2")];
        let joined = parts(Version::HTTP_2, "http://a/", &two);
        let cookies: Vec<_> = joined.headers.get_all("cookie").iter().collect();
        assert_eq!(cookies, ["a=1; b=2"]);
        let one = parts(Version::HTTP_2, "http://a/", &[("cookie", "a=1")]);
        assert_eq!(one.headers["cookie"], "a=1");
        // HTTP/1.1 is forwarded as it was sent.
        let old = parts(Version::HTTP_11, "/", &two);
        assert_eq!(old.headers.get_all("cookie").iter().count(), 2);
    }

    #[test]
    fn s093_the_authority_of_http2_is_the_host_unless_there_is_one() {
        let moved = parts(Version::HTTP_2, "https://a.example:8443/b?c", &[]);
        assert_eq!(moved.headers["host"], "a.example:8443");
        assert_eq!(moved.uri, "/b?c");
        let both = parts(Version::HTTP_2, "https://a.example/b", &[("host", "other.example")]);
        assert_eq!(both.headers["host"], "other.example");
        assert_eq!(both.uri, "https://a.example/b");
        let absolute = parts(Version::HTTP_11, "http://a.example/b", &[]);
        assert!(!absolute.headers.contains_key("host"));
    }
}
