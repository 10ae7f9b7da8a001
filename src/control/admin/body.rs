//! How is a request's body read? As bounded JSON with known members only; each error names its place.

use crate::control::admin::idempotency::Idempotency;
use crate::control::admin::problems::invalid;
use crate::control::admin::response::AdminResponse;
use crate::control::admin::response::problem;
use crate::control::registry::Actor;
use crate::control::registry::ValidationError;
use axum::body::Bytes;
use axum::extract::FromRequest;
use axum::extract::Request;
use http::HeaderMap;
use http::StatusCode;
use http::header;
use serde::Deserialize;
use serde::Deserializer;
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

/// The longest body, in bytes. A PEM key with some texts is far shorter.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// A required body.
pub struct Body<T> {
    pub body: T,
    pub idempotency: Idempotency,
}

/// An optional body. An absent body counts as `{}`.
pub struct OptionalBody<T> {
    pub body: T,
    pub idempotency: Idempotency,
}

/// A body without members: a member that is silently ignored would be a trap.
pub type NoBody = OptionalBody<EmptyBody>;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmptyBody {}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = AdminResponse;

    async fn from_request(request: Request, _: &S) -> Result<Self, AdminResponse> {
        let (body, idempotency) = read(request, Presence::Required).await?;
        Ok(Self { body, idempotency })
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for OptionalBody<T> {
    type Rejection = AdminResponse;

    async fn from_request(request: Request, _: &S) -> Result<Self, AdminResponse> {
        let (body, idempotency) = read(request, Presence::Optional).await?;
        Ok(Self { body, idempotency })
    }
}

/// Reads a member of a change that cannot be removed: a `null` that did nothing would look like a removal.
///
/// # Errors
/// The member is `null`, or no `T`.
pub fn kept_or_changed<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    let removed = "this cannot be removed; leave it out and it stays";
    Option::<T>::deserialize(deserializer)?
        .map(Some)
        .ok_or_else(|| serde::de::Error::custom(removed))
}

/// Reads a member of a change that `null` removes (RFC 7396): it becomes empty.
///
/// # Errors
/// The member is neither `null` nor a `T`.
pub fn kept_changed_or_removed<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de> + Default,
    D: Deserializer<'de>,
{
    Ok(Some(Option::<T>::deserialize(deserializer)?.unwrap_or_default()))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    Required,
    Optional,
}

async fn read<T: DeserializeOwned>(request: Request, presence: Presence) -> Result<(T, Idempotency), AdminResponse> {
    let (parts, body) = request.into_parts();
    let too_large = || {
        let detail = format!("a body has at most {BODY_BYTES_MAX} bytes");
        problem(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", &detail)
    };
    let length = parts.headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > BODY_BYTES_MAX as u64) {
        return Err(too_large());
    }
    // The only other error is a closed connection, and then nobody reads the response.
    let bytes = axum::body::to_bytes(body, BODY_BYTES_MAX)
        .await
        .map_err(|_| too_large())?;
    let has_type = parts.headers.contains_key(header::CONTENT_TYPE);
    let bytes = match (presence, bytes.is_empty() && !has_type) {
        (Presence::Optional, true) => Bytes::from_static(b"{}"),
        (Presence::Optional, false) | (Presence::Required, _) => {
            check_type(&parts.headers)?;
            bytes
        }
    };
    let actor = parts.extensions.get::<Actor>().map_or("", Actor::name);
    let idempotency = Idempotency::read(&parts.headers, actor, &parts.method, parts.uri.path(), &bytes)?;
    Ok((parse(&bytes)?, idempotency))
}

/// Checks for exactly one `Content-Type`, `application/json`; its parameters have no meaning (RFC 8259 section 11).
fn check_type(headers: &HeaderMap) -> Result<(), AdminResponse> {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let is_json = match (values.next(), values.next()) {
        (Some(only), None) => {
            let value = only.to_str().unwrap_or_default();
            let kind = value.split(';').next().unwrap_or_default().trim();
            kind.eq_ignore_ascii_case("application/json")
        }
        _ => false,
    };
    if is_json {
        return Ok(());
    }
    Err(problem(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported-media-type",
        "send the body as JSON, with `Content-Type: application/json`",
    ))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, AdminResponse> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().clone();
        mistake(&path, error.inner())
    })?;
    deserializer.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

fn malformed(error: &serde_json::Error) -> AdminResponse {
    let detail = format!("the body is not JSON: {error}");
    problem(StatusCode::BAD_REQUEST, "malformed-json", &detail)
}

/// Returns 400 for a body that is not JSON, or 422 with the place of the member that does not fit.
fn mistake(path: &serde_path_to_error::Path, error: &serde_json::Error) -> AdminResponse {
    if !error.is_data() {
        return malformed(error);
    }
    let detail = error.to_string();
    let mut pointer = String::new();
    for segment in path.iter() {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } => push_member(&mut pointer, key),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    // For a missing or repeated member the path ends above the member, which serde names only in its message.
    for start in ["missing field `", "unknown field `", "duplicate field `"] {
        if let Some((name, _)) = detail.strip_prefix(start).and_then(|rest| rest.split_once('`'))
            && !ends_with_member(&pointer, name)
        {
            push_member(&mut pointer, name);
        }
    }
    invalid(&[ValidationError { pointer, detail }])
}

/// Appends a member to a JSON pointer, with the escapes of RFC 6901 section 3.
fn push_member(pointer: &mut String, name: &str) {
    pointer.push('/');
    pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
}

fn ends_with_member(pointer: &str, name: &str) -> bool {
    let mut member = String::new();
    push_member(&mut member, name);
    pointer.ends_with(&member)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[derive(serde::Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "what is read is not looked at here")]
    struct Key {
        name: String,
        #[serde(default)]
        scopes: Vec<String>,
    }

    #[track_caller]
    fn check(text: &str, status: u16, pointer: Option<&str>, detail: &str) {
        let response = parse::<Key>(text.as_bytes()).unwrap_err();
        let body: Value = serde_json::from_slice(&response.body).unwrap();
        assert_eq!(response.status.as_u16(), status, "{text}: {body}");
        let found = body.pointer("/errors/0/pointer").and_then(Value::as_str);
        assert_eq!(found, pointer, "{text}: {body}");
        assert!(body.to_string().contains(detail), "{text}: {body}");
    }

    #[test]
    fn an_error_in_a_body_has_its_place() {
        assert!(parse::<Key>(br#" {"name": "a", "scopes": ["b"]} "#).is_ok());
        check(r#"{"name": 5}"#, 422, Some("/name"), "expected a string");
        check(
            r#"{"name": "a", "scopes": ["b", 5]}"#,
            422,
            Some("/scopes/1"),
            "expected a string",
        );
        check(r#"{"name": null}"#, 422, Some("/name"), "null");
        check("{}", 422, Some("/name"), "missing field");
        check(
            r#"{"name": "a", "scope": []}"#,
            422,
            Some("/scope"),
            "expected `name` or `scopes`",
        );
        check(r#"{"name": "a", "a/~b": 1}"#, 422, Some("/a~1~0b"), "unknown field");
        check(r#"{"name": "a", "name": "b"}"#, 422, Some("/name"), "duplicate field");
        check("[]", 422, Some(""), "");
        check("null", 422, Some(""), "expected");
        check("", 400, None, "EOF");
        check(r#"{"name": "a""#, 400, None, "line 1 column");
        check(r#"{"name": "a"} x"#, 400, None, "trailing characters");
        check(r#"{"name": "a",}"#, 400, None, "trailing comma");
        check("{'name': 1}", 400, None, "line 1 column 2");
        check("name=a", 400, None, "not JSON");
    }
}
