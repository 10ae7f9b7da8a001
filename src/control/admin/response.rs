//! How does the admin API respond? With JSON, and with problem details (RFC 9457) for errors.

use crate::model::api_key::ApiKeyEnvironment;
use crate::observe::escape;
use crate::store::Revision;
use axum::response::IntoResponse;
use axum::response::Response;
use http::HeaderName;
use http::HeaderValue;
use http::StatusCode;
use http::header;
use serde::Serialize;
use serde_json::Value;

/// A response of the admin API.
#[derive(Debug)]
pub struct AdminResponse {
    pub status: StatusCode,
    pub content_type: &'static str,
    /// The header fields besides `Content-Type`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Vec<u8>,
}

/// The result of a handler; a refusal is a response too.
pub type HandlerResult = Result<AdminResponse, AdminResponse>;

impl AdminResponse {
    /// Returns 200 with `value`. Hidden characters in texts of others (key ids, errors) are escaped.
    pub fn json(value: &impl Serialize) -> Self {
        Self {
            status: StatusCode::OK,
            content_type: "application/json",
            headers: Vec::new(),
            body: json_line(value),
        }
    }

    /// Returns 201 with `value`.
    pub fn created(value: &impl Serialize) -> Self {
        Self {
            status: StatusCode::CREATED,
            ..Self::json(value)
        }
    }

    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Adds the revision of the record as `ETag`, for `If-Match` of the next change (RFC 9110 section 8.8.3).
    pub fn with_revision(self, revision: Revision) -> Self {
        let tag = HeaderValue::from_str(&format!("\"{}\"", revision.0)).expect("digits are no control characters");
        self.with(header::ETAG, tag)
    }
}

impl IntoResponse for AdminResponse {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        for (name, value) in self.headers {
            headers.append(name, value);
        }
        response
    }
}

/// Returns the word of the API for an environment. Texts of keys contain `test` instead of `sandbox`.
pub const fn environment_word(environment: ApiKeyEnvironment) -> &'static str {
    match environment {
        ApiKeyEnvironment::Live => "live",
        ApiKeyEnvironment::Test => "sandbox",
    }
}

/// Returns `value` as one line of JSON.
pub fn json_line(value: &impl Serialize) -> Vec<u8> {
    let mut body = Vec::new();
    escape::push_json(&mut body, value).expect("names, numbers and texts are JSON");
    body.push(b'\n');
    body
}

/// Returns a problem for people and programs; `slug` ends the `type`, which is stable.
pub fn problem(status: StatusCode, slug: &str, detail: &str) -> AdminResponse {
    problem_with(status, slug, detail, &[])
}

/// Returns a problem with further members (RFC 9457 section 3.2).
pub fn problem_with(status: StatusCode, slug: &str, detail: &str, more: &[(&str, Value)]) -> AdminResponse {
    let mut members = serde_json::json!({
        "type": format!("urn:keygate:problem:{slug}"),
        "title": status.canonical_reason().unwrap_or_default(),
        "status": status.as_u16(),
        "detail": detail,
    });
    for (name, value) in more {
        members[*name] = value.clone();
    }
    let mut response = AdminResponse::json(&members);
    response.status = status;
    response.content_type = "application/problem+json";
    response
}
