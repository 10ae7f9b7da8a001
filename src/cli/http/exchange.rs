//! How does a command send one request to a URL that its user chose, and read the response?

use crate::fetch::client::FetchError;
use crate::fetch::client::Target;
use crate::fetch::client::bounded_body;
use crate::fetch::client::client;
use crate::fetch::client::request_error;
use crate::observe::log::ErrorChain;
use http::Method;
use reqwest::RequestBuilder;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use url::Host;
use url::Url;

/// The timeout of a call. Longer than the 30 s after which the gate's admin listener closes a connection.
pub const TIMEOUT: Duration = Duration::from_secs(35);

/// Sends one request, after `complete` has added its fields and body, and returns the status and the body of the
/// response. The certificates in `ca_file` are trusted in place of the system's.
///
/// # Errors
/// If there is no response, or its body is longer than `bytes_max`.
pub async fn send(
    method: Method,
    url: &Url,
    ca_file: Option<&Path>,
    bytes_max: usize,
    complete: impl FnOnce(RequestBuilder) -> RequestBuilder,
) -> Result<(u16, Vec<u8>), FetchError> {
    let target = Target {
        url,
        // The user of the command chose the URL, so any address is allowed.
        allow_http: true,
        allow_private_addresses: true,
        ca_file,
        proxy: None,
    };
    let request = client(target, 0).await?.request(method, url.clone());
    let response = complete(request).send().await.map_err(request_error)?;
    let status = response.status().as_u16();
    Ok((status, bounded_body(response, bytes_max).await?))
}

/// Asks for `url` without a credential, and waits at most `limit`. Returns the status and the body of the response.
///
/// # Errors
/// Why there is no response, for people.
pub fn get(url: &Url, bytes_max: usize, limit: Duration) -> Result<(u16, Vec<u8>), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start a runtime: {error}"))?;
    let sending = send(Method::GET, url, None, bytes_max, |request| request.timeout(limit));
    runtime
        .block_on(sending)
        .map_err(|error| ErrorChain(&error).to_string())
}

/// Returns the JSON value of a body: null for an empty body, `None` if the body is not JSON.
pub fn read_json(body: &[u8]) -> Option<Value> {
    match body {
        [] => Some(Value::Null),
        body => serde_json::from_slice(body).ok(),
    }
}

/// Returns whether a credential sent to `url` leaves this machine unencrypted.
pub fn exposes_credentials(url: &str) -> bool {
    let is_loopback = |url: Url| match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    url.starts_with("http://") && !url.parse().is_ok_and(is_loopback)
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
