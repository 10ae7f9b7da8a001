//! A client of the admin API.

use super::RawClient;
use super::Response;
use super::RunningGate;
use serde_json::Value;
use std::net::SocketAddr;

/// A client that sends the same bearer token in every request.
#[derive(Clone, Debug)]
pub struct Admin {
    address: SocketAddr,
    token: String,
}

/// One response of the admin API.
#[derive(Debug)]
pub struct AdminResponse {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    /// `null` where the response has no body.
    pub json: Value,
}

impl Admin {
    pub fn new(gate: &RunningGate, token: &str) -> Self {
        Self {
            address: gate.admin(),
            token: token.to_owned(),
        }
    }

    /// Sends one request on a new connection and returns the response. `path` is the part after `/admin/v1`.
    #[track_caller]
    pub fn call(&self, method: &str, path: &str, body: Option<Value>) -> AdminResponse {
        let body = body.map(|body| body.to_string());
        let content = body.as_ref().map_or_else(String::new, |body| {
            format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len())
        });
        let head = format!(
            "{method} /admin/v1{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nConnection: close\r\n{content}\r\n",
            self.token
        );
        let response = RawClient::connect(self.address).exchange(head + body.as_deref().unwrap_or_default());
        AdminResponse::of(response)
    }

    /// Sends a request that must succeed and returns the JSON of the response.
    #[track_caller]
    pub fn perform(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let response = self.call(method, path, body);
        assert!((200..300).contains(&response.status), "{method} {path}: {response:?}");
        response.json
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        self.perform("GET", path, None)
    }

    #[track_caller]
    pub fn post(&self, path: &str, body: Value) -> Value {
        self.perform("POST", path, Some(body))
    }

    /// Sends a POST that must create a record (201) and returns the JSON of the response.
    #[track_caller]
    pub fn create(&self, path: &str, body: Value) -> Value {
        let response = self.call("POST", path, Some(body));
        assert_eq!(response.status, 201, "{path}: {response:?}");
        response.json
    }

    /// Sends a request that must be refused with `status` and with the problem
    /// type (RFC 9457) `slug`, without its `urn:keygate:problem:`.
    #[track_caller]
    pub fn expect_refusal(&self, method: &str, path: &str, body: Option<Value>, status: u16, slug: &str) {
        let response = self.call(method, path, body);
        let kind = format!("urn:keygate:problem:{slug}");
        assert_eq!(
            (response.status, response.json["type"].as_str()),
            (status, Some(&*kind)),
            "{method} {path}: {response:?}"
        );
    }
}

impl AdminResponse {
    #[track_caller]
    pub fn of(response: Response) -> Self {
        let json = if response.body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&response.body).unwrap_or_else(|error| panic!("{error}: {}", response.text()))
        };
        Self {
            status: response.status,
            headers: response.headers,
            json,
        }
    }

    /// Returns every value of the header field `name`, compared without regard to case.
    pub fn headers_named(&self, name: &str) -> Vec<&str> {
        super::http1::named(&self.headers, name)
    }
}
