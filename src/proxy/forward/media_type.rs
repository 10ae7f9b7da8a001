//! Is a request a gRPC call, and is a response a stream?

use http::HeaderMap;
use http::StatusCode;
use http::header;

const GRPC: &[u8] = b"application/grpc";
const EVENT_STREAM: &[u8] = b"text/event-stream";

/// Returns whether a request is a gRPC call.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| is_grpc_type(value.as_bytes()))
}

/// Returns whether `value` is `application/grpc`, with a suffix for the format of messages or without. `grpc-web` is
/// another protocol.
fn is_grpc_type(value: &[u8]) -> bool {
    is(value, GRPC) && matches!(value.get(GRPC.len()), None | Some(b';' | b'+' | b' ' | b'\t'))
}

/// Returns whether a response may last without limit: a tunnel, server-sent events or gRPC. `content_types` are the
/// values of its `Content-Type`.
pub fn is_stream<'v>(status: StatusCode, mut content_types: impl Iterator<Item = &'v [u8]>) -> bool {
    status == StatusCode::SWITCHING_PROTOCOLS || content_types.any(|value| is(value, EVENT_STREAM) || is(value, GRPC))
}

/// Returns whether `value` begins with `name`, in any case (RFC 9110 section 8.3.1).
fn is(value: &[u8], name: &[u8]) -> bool {
    value
        .get(..name.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_request_is_a_grpc_call_by_its_content_type() {
        let grpc = |value: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.extend(value.map(|value| (header::CONTENT_TYPE, HeaderValue::from_static(value))));
            is_grpc(&headers)
        };
        assert!(grpc(Some("application/grpc")));
        assert!(grpc(Some("Application/gRPC+proto")));
        assert!(!grpc(Some("application/grp")));
        assert!(!grpc(Some("application/json")));
        assert!(!grpc(None));
    }

    #[test]
    fn a_tunnel_events_and_grpc_are_streams() {
        let stream = |status: StatusCode, values: &[&'static str]| {
            is_stream(status, values.iter().map(|value| value.as_bytes()))
        };
        assert!(stream(StatusCode::SWITCHING_PROTOCOLS, &[]));
        assert!(stream(StatusCode::OK, &["text/event-stream;charset=utf-8"]));
        assert!(stream(StatusCode::OK, &["TEXT/EVENT-STREAM"]));
        assert!(stream(StatusCode::OK, &["application/grpc"]));
        assert!(stream(StatusCode::OK, &["text/plain", "application/grpc"]));
        assert!(!stream(StatusCode::OK, &["text/plain"]));
        assert!(!stream(StatusCode::OK, &[]));
    }
}
