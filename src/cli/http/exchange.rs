//! How is one request sent to a URL that a person named, and its response read?

use crate::fetch::client::FetchError;
use crate::fetch::client::Target;
use crate::fetch::client::bounded_body;
use crate::fetch::client::client;
use crate::fetch::client::request_error;
use http::Method;
use reqwest::RequestBuilder;
use serde_json::Value;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use url::Url;

/// Longer than a gate takes: it cuts a response off after 30 s.
pub const TIMEOUT: Duration = Duration::from_secs(35);

/// Where a request goes.
#[derive(Clone, Copy)]
pub struct Destination<'a> {
    pub url: &'a Url,
    /// Authorities trusted instead of the system's.
    pub ca_file: Option<&'a Path>,
}

/// The status and the body of a response.
pub struct RawResponse {
    pub status: u16,
    pub body: Vec<u8>,
}

/// Returns the JSON of a body: null where it is empty, `None` where it is not JSON.
pub fn read_json(body: &[u8]) -> Option<Value> {
    match body {
        [] => Some(Value::Null),
        body => serde_json::from_slice(body).ok(),
    }
}

/// Sends one request, to which `complete` adds its fields and its body, and reads the response.
///
/// # Errors
/// No response, or one whose body is longer than `bytes_max`.
pub async fn send(
    method: Method,
    to: Destination<'_>,
    bytes_max: usize,
    complete: impl FnOnce(RequestBuilder) -> RequestBuilder,
) -> Result<RawResponse, FetchError> {
    let target = Target {
        url: to.url,
        // The person who runs the command chose the URL, so it may be anywhere.
        allow_http: true,
        allow_private_addresses: true,
        ca_file: to.ca_file,
        proxy: None,
    };
    let request = client(target, 0).await?.request(method, to.url.clone());
    let response = complete(request).send().await.map_err(request_error)?;
    Ok(RawResponse {
        status: response.status().as_u16(),
        body: bounded_body(response, bytes_max).await?,
    })
}

/// Returns whether a credential sent to `url` leaves this machine unencrypted.
pub fn exposes_credentials(url: &str) -> bool {
    url.starts_with("http://") && !is_loopback(url)
}

fn is_loopback(url: &str) -> bool {
    let authority = url.split('/').nth(2).unwrap_or_default();
    let with_port = |text: &str| {
        text.parse::<SocketAddr>()
            .is_ok_and(|address| address.ip().is_loopback())
    };
    let bare = |text: &str| {
        let text = text.trim_start_matches('[').trim_end_matches(']');
        text.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    };
    authority == "localhost" || authority.starts_with("localhost:") || with_port(authority) || bare(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_leaves_the_machine_unencrypted_is_noticed() {
        for here in [
            "http://127.0.0.1:9090",
            "http://localhost:9090/",
            "http://localhost",
            "http://[::1]:9090",
            "http://[::1]",
            "http://127.0.0.2",
            "https://10.0.0.1:9090",
        ] {
            assert!(!exposes_credentials(here), "{here}");
        }
        for away in [
            "http://10.0.0.1:9090",
            "http://localhost.evil.example",
            "http://[2001:db8::1]:1",
            "http://",
        ] {
            assert!(exposes_credentials(away), "{away}");
        }
    }
}
