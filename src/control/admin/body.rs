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
use http::Method;
use http::StatusCode;
use http::header;
use serde::Deserialize;
use serde::Deserializer;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;
use utoipa::PartialSchema;
use utoipa::ToSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;

/// The longest body, in bytes. A PEM key with some texts is far shorter.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// A required body.
pub struct Body<T> {
    pub body: T,
    pub idempotency: Idempotency,
}

/// An optional body. An absent body counts as `{}`, and so does `null`, which programs write for it.
pub struct OptionalBody<T> {
    pub body: T,
    pub idempotency: Idempotency,
}

/// A body without members: a member that is silently ignored would be a trap.
pub type NoBody = OptionalBody<EmptyBody>;

#[derive(serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EmptyBody {}

/// A body that is parsed by serde, and whose members are known by its schema.
pub trait RequestBody: DeserializeOwned + PartialSchema {}

impl<T: DeserializeOwned + PartialSchema> RequestBody for T {}

impl<T: RequestBody, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = AdminResponse;

    async fn from_request(request: Request, _: &S) -> Result<Self, AdminResponse> {
        let (body, idempotency) = read(request, Presence::Required).await?;
        Ok(Self { body, idempotency })
    }
}

impl<T: RequestBody, S: Send + Sync> FromRequest<S> for OptionalBody<T> {
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

async fn read<T: RequestBody>(request: Request, presence: Presence) -> Result<(T, Idempotency), AdminResponse> {
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
            check_type(&parts.method, &parts.headers)?;
            bytes
        }
    };
    let bytes = match presence {
        Presence::Optional if bytes.trim_ascii() == b"null" => Bytes::from_static(b"{}"),
        Presence::Optional | Presence::Required => bytes,
    };
    let actor = parts.extensions.get::<Actor>().map_or("", Actor::name);
    let idempotency = Idempotency::read(&parts.headers, actor, &parts.method, parts.uri.path(), &bytes)?;
    Ok((parse(&bytes)?, idempotency))
}

/// Checks for exactly one `Content-Type`, `application/json`; its parameters have no meaning (RFC 8259 section 11). A
/// change may also be `application/merge-patch+json`, which it is (RFC 7396).
fn check_type(method: &Method, headers: &HeaderMap) -> Result<(), AdminResponse> {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let is_json = match (values.next(), values.next()) {
        (Some(only), None) => {
            let value = only.to_str().unwrap_or_default();
            let kind = value.split(';').next().unwrap_or_default().trim();
            let is_patch = *method == Method::PATCH && kind.eq_ignore_ascii_case("application/merge-patch+json");
            is_patch || kind.eq_ignore_ascii_case("application/json")
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

fn parse<T: RequestBody>(bytes: &[u8]) -> Result<T, AdminResponse> {
    check_members(bytes, &T::schema())?;
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().clone();
        mistake(&path, error.inner())
    })?;
    deserializer.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

/// Checks that the body is an object with every required member and no unknown one. Serde would stop at the first mistake,
/// and would take an array for an object.
fn check_members(bytes: &[u8], schema: &RefOr<Schema>) -> Result<(), AdminResponse> {
    let RefOr::T(Schema::Object(schema)) = schema else {
        return Ok(());
    };
    let members = match serde_json::from_slice(bytes) {
        Ok(Value::Object(members)) => members,
        Ok(_) => {
            let detail = "must be an object".to_owned();
            let pointer = String::new();
            return Err(invalid(&[ValidationError { pointer, detail }]));
        }
        // Serde tells what is wrong with the text.
        Err(_) => return Ok(()),
    };
    let mut mistakes = Vec::new();
    let mut add = |name: &str, detail: String| {
        let mut pointer = String::new();
        push_member(&mut pointer, name);
        mistakes.push(ValidationError { pointer, detail });
    };
    for name in schema.required.iter().filter(|name| !members.contains_key(*name)) {
        add(name, "is missing".to_owned());
    }
    let known: Vec<String> = schema.properties.keys().map(|name| format!("`{name}`")).collect();
    for name in members.keys().filter(|name| !schema.properties.contains_key(*name)) {
        let detail = match known.as_slice() {
            [] => "is unknown; the body has no members".to_owned(),
            known => format!("is unknown; the members are {}", known.join(", ")),
        };
        add(name, detail);
    }
    if mistakes.is_empty() {
        Ok(())
    } else {
        Err(invalid(&mistakes))
    }
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
    let detail = plain(&error.to_string());
    let mut pointer = String::new();
    for segment in path.iter() {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } => push_member(&mut pointer, key),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    // For a repeated member the path ends above the member, which serde names only in its message.
    if let Some((name, _)) = detail
        .strip_prefix("duplicate field `")
        .and_then(|rest| rest.split_once('`'))
        && !ends_with_member(&pointer, name)
    {
        push_member(&mut pointer, name);
    }
    invalid(&[ValidationError { pointer, detail }])
}

/// Returns the message of serde without the place in the text, which the pointer says, and without names of this program's
/// types.
fn plain(message: &str) -> String {
    let (message, _) = message.rsplit_once(" at line ").unwrap_or((message, ""));
    match message.split_once("expected struct ") {
        Some((start, _)) => format!("{start}expected an object"),
        None => message.to_owned(),
    }
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

    #[derive(serde::Deserialize, Debug, ToSchema)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "what is read is not looked at here")]
    struct Key {
        name: String,
        #[serde(default)]
        scopes: Vec<String>,
    }

    #[test]
    fn every_missing_and_every_unknown_member_is_told_at_once() {
        let response = parse::<Key>(br#"{"nam": "a", "scope": []}"#).unwrap_err();
        let body: Value = serde_json::from_slice(&response.body).unwrap();
        let errors = body["errors"].as_array().unwrap();
        let pointers: Vec<&str> = errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect();
        assert_eq!(pointers, ["/name", "/nam", "/scope"]);
    }

    #[test]
    fn no_message_names_a_type_of_this_program() {
        assert_eq!(
            plain("invalid type: null, expected struct Key at line 1 column 4"),
            "invalid type: null, expected an object"
        );
        assert_eq!(
            plain("invalid length 0, expected struct Key with 2 elements at line 1 column 2"),
            "invalid length 0, expected an object"
        );
        assert_eq!(
            plain("invalid type: a, expected a string"),
            "invalid type: a, expected a string"
        );
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
        check("{}", 422, Some("/name"), "is missing");
        check(
            r#"{"name": "a", "scope": []}"#,
            422,
            Some("/scope"),
            "the members are `name`, `scopes`",
        );
        check(r#"{"name": "a", "a/~b": 1}"#, 422, Some("/a~1~0b"), "is unknown");
        check(r#"{"name": "a", "name": "b"}"#, 422, Some("/name"), "duplicate field");
        for other in ["[]", r#"["a", []]"#, "null", "5", r#""a""#] {
            check(other, 422, Some(""), "must be an object");
        }
        check("", 400, None, "EOF");
        check(r#"{"name": "a""#, 400, None, "line 1 column");
        check(r#"{"name": "a"} x"#, 400, None, "trailing characters");
        check(r#"{"name": "a",}"#, 400, None, "trailing comma");
        check("{'name': 1}", 400, None, "line 1 column 2");
        check("name=a", 400, None, "not JSON");
    }
}
