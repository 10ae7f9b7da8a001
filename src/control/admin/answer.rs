//! What does the admin API answer with? JSON, and problem details (RFC 9457) where something is wrong.

use crate::observe::escape;
use http::HeaderName;
use http::HeaderValue;
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;

/// An answer, not yet on its way.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub content_type: &'static str,
    /// Beside `Content-Type`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// 200 with `value`. Hidden characters of strangers' texts (key ids, errors) are escaped.
    pub fn json(value: &impl Serialize) -> Self {
        let mut body = Vec::new();
        escape::push_json(&mut body, value).expect("names, numbers and texts are JSON");
        body.push(b'\n');
        Self {
            status: StatusCode::OK,
            content_type: "application/json",
            headers: Vec::new(),
            body,
        }
    }

    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// What went wrong, for people and for programs; `slug` ends the `type`, which is stable.
pub fn problem(status: StatusCode, slug: &str, detail: &str) -> Answer {
    problem_with(status, slug, detail, &[])
}

/// The same with further members (RFC 9457 section 3.2).
pub fn problem_with(status: StatusCode, slug: &str, detail: &str, more: &[(&str, Value)]) -> Answer {
    let mut members = serde_json::json!({
        "type": format!("urn:keygate:problem:{slug}"),
        "title": status.canonical_reason().unwrap_or_default(),
        "status": status.as_u16(),
        "detail": detail,
    });
    for (name, value) in more {
        members[*name] = value.clone();
    }
    let mut answer = Answer::json(&members);
    answer.status = status;
    answer.content_type = "application/problem+json";
    answer
}
