//! How does the built-in echo upstream respond? With the request that it received, so that a newcomer sees that
//! identity fields were added and the credential was removed. It listens on loopback only, because it shows everything.

use crate::observe::escape;
use axum::Router;
use axum::body::Body;
use axum::body::HttpBody;
use axum::extract::Request;
use axum::response::IntoResponse;
use axum::response::Response;
use http::StatusCode;
use http::header;
use http::request::Parts;
use std::io;
use std::net::Ipv4Addr;
use std::net::TcpListener;
use std::pin::Pin;

/// The maximum number of body bytes in the response. The rest of the body is only counted.
const SHOWN_BYTES_MAX: usize = 1024;

/// Binds a free port of 127.0.0.1 for [`serve`].
///
/// # Errors
/// The system has no free port.
pub fn bind() -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
}

/// Serves on `listener` until `stop` ends and the responses in progress are complete.
///
/// # Errors
/// `listener` is not on loopback, or cannot be used by tokio.
pub async fn serve(listener: TcpListener, stop: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
    if !listener.local_addr()?.ip().is_loopback() {
        let why = "the echo upstream listens on loopback only";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    axum::serve(listener, Router::new().fallback(echo))
        .with_graceful_shutdown(stop)
        .await
}

async fn echo(request: Request) -> Response {
    let (parts, body) = request.into_parts();
    match read(body).await {
        Ok((length, beginning)) => {
            let mut json = Vec::new();
            let value = description(&parts, length, &beginning);
            escape::push_json(&mut json, &value).expect("a JSON value is JSON");
            json.push(b'\n');
            ([(header::CONTENT_TYPE, "application/json")], json).into_response()
        }
        Err(_) => StatusCode::BAD_REQUEST.into_response(),
    }
}

/// Returns the length of `body` and its first [`SHOWN_BYTES_MAX`] bytes.
async fn read(mut body: Body) -> Result<(u64, Vec<u8>), axum::Error> {
    let mut length = 0;
    let mut beginning = Vec::new();
    while let Some(frame) = std::future::poll_fn(|task| Pin::new(&mut body).poll_frame(task)).await {
        if let Some(data) = frame?.data_ref() {
            length += data.len() as u64;
            let room = SHOWN_BYTES_MAX - beginning.len();
            beginning.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
    Ok((length, beginning))
}

fn description(parts: &Parts, body_length: u64, body: &[u8]) -> serde_json::Value {
    let headers: Vec<_> = parts
        .headers
        .iter()
        .map(|(name, value)| [name.as_str().into(), String::from_utf8_lossy(value.as_bytes())])
        .collect();
    serde_json::json!({
        "method": parts.method.as_str(),
        "path": parts.uri.path(),
        "query": parts.uri.query(),
        "headers": headers,
        "body": { "length": body_length, "text": String::from_utf8_lossy(body) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::test_server::exchange;
    use crate::runtime::test_server::with_server;

    /// Returns the response to `request`, which must contain `Connection: close`.
    fn response_to(request: &[u8]) -> serde_json::Value {
        let response = with_server(bind().unwrap(), serve, |address| exchange(address, request));
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        serde_json::from_str(body).unwrap()
    }

    #[test]
    fn the_response_describes_the_received_request() {
        let response = response_to(
            b"POST /v1/a%2Fb?x=1&y HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Two: 1\r\nX-Two: \xFF\r\n\
              Content-Length: 5\r\n\r\nhello",
        );
        assert_eq!(response["method"], "POST");
        assert_eq!(response["path"], "/v1/a%2Fb");
        assert_eq!(response["query"], "x=1&y");
        assert_eq!(response["body"], serde_json::json!({ "length": 5, "text": "hello" }));
        assert_eq!(
            response["headers"],
            serde_json::json!([
                ["host", "a"],
                ["connection", "close"],
                ["x-two", "1"],
                ["x-two", "\u{FFFD}"],
                ["content-length", "5"]
            ])
        );
    }

    #[test]
    fn a_long_body_is_counted_whole_and_shown_in_part() {
        let mut request =
            b"PUT / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for _ in 0..3 {
            request.extend_from_slice(format!("1f4\r\n{}\r\n", "a".repeat(500)).as_bytes());
        }
        request.extend_from_slice(b"0\r\n\r\n");
        let response = response_to(&request);
        assert_eq!(response["body"]["length"], 1500);
        assert_eq!(response["body"]["text"], "a".repeat(1024));
        assert_eq!(response["query"], serde_json::Value::Null);
    }

    #[test]
    fn the_echo_upstream_refuses_to_listen_beyond_loopback() {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let error = runtime.block_on(serve(listener, std::future::pending())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
