//! Does the client have the current representation already? Then the response is 304 without a body (RFC 9110 section
//! 13.1.2).

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderMap;
use http::HeaderValue;
use http::Method;
use http::StatusCode;
use http::header;

/// Answers a GET or HEAD with 304 if `If-None-Match` names the `ETag` of the response.
pub(super) async fn not_modified(request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let condition = if reads && request.headers().contains_key(header::IF_NONE_MATCH) {
        request.headers().clone()
    } else {
        HeaderMap::new()
    };
    let mut response = next.run(request).await;
    let is_current = response.status() == StatusCode::OK
        && response
            .headers()
            .get(header::ETAG)
            .is_some_and(|tag| names(&condition, tag));
    if is_current {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = Body::empty();
        response.headers_mut().remove(header::CONTENT_TYPE);
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    response
}

/// Returns whether `If-None-Match` among `headers` is `*` or has `tag`, by weak comparison.
fn names(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH).iter();
    let mut listed = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    // The tags of this API are digits in quotes, so a comma only separates.
    listed.any(|listed| {
        let listed = listed.trim_ascii();
        listed == b"*" || listed.strip_prefix(b"W/").unwrap_or(listed) == tag.as_bytes()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_named_by_itself_in_a_list_weakly_or_by_any() {
        let check = |values: &[&str], expected: bool| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::IF_NONE_MATCH, HeaderValue::from_str(value).unwrap());
            }
            assert_eq!(
                names(&headers, &HeaderValue::from_static("\"3\"")),
                expected,
                "{values:?}"
            );
        };
        for good in [
            &["\"3\""][..],
            &["W/\"3\""],
            &["\"1\", \"3\""],
            &["\"1\"", "\"3\""],
            &["*"],
        ] {
            check(good, true);
        }
        for bad in [&[][..], &["\"4\""], &["3"], &["\"33\""], &[""]] {
            check(bad, false);
        }
    }
}
