//! Which response does a client get when its request is not forwarded? One table maps each reason to status, problem
//! and challenge. The response tells less than the access record: for example, not which check of a token failed.

mod rows;

pub use rows::Challenge;
pub use rows::ErrorScheme;
#[cfg(any(test, feature = "internals"))]
pub use rows::ROWS;
pub use rows::Row;
pub use rows::row;

use crate::config::DEFAULT_METHODS;
use crate::gate::accept::ByteFault;
use crate::gate::answer::Answer;
use crate::gate::authorize::Requirement;
use crate::gate::denial::Denial;
use crate::model::clock::wait_secs;
use crate::model::scope::ScopeSet;
use bytes::Bytes;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::StatusCode;
use http::header;
use std::borrow::Cow;
use std::fmt::Write;
use std::time::Duration;

/// The prefix of the `type` of a problem (RFC 9457 section 3.1.1); the slug of the row follows. A URN, because nothing
/// is served under a `type`.
pub const PROBLEM_PREFIX: &str = "urn:keygate:problem:";

/// The placeholder for the name of the API key header in [`Row::detail`].
const HEADER_MARK: &str = "{header}";

/// The `Retry-After` of every 503.
const RETRY_AFTER_OURS: Duration = Duration::from_secs(5);

/// The credentials that a route accepts, for challenges.
#[derive(Clone, Copy)]
pub struct AcceptedCredentials<'r> {
    /// `true` where `Authorization: Bearer` may carry a credential: a token, or an API key.
    pub bearer: bool,
    pub api_key: bool,
    pub requirement: &'r Requirement,
    /// The URL at which clients read how to get a token (RFC 9728 section 5.1).
    pub resource_metadata: Option<&'r str>,
}

/// The facts of a request that its refusal depends on.
#[derive(Clone, Copy)]
pub struct RefusalContext<'r> {
    /// The credentials that the route accepts; `None` where no route was found.
    pub accepted: Option<AcceptedCredentials<'r>>,
    /// The scheme of the credential, where one was read: an error in a challenge is about the scheme that was used.
    pub scheme: Option<Scheme>,
    /// The name of the API key header.
    pub api_key_header: &'r HeaderName,
    pub request_id: &'r str,
    pub grpc: GrpcForm,
    /// The byte that breaks the rule, where the rule is about one.
    pub fault: Option<ByteFault>,
}

/// The authentication scheme of a credential, as challenges name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Bearer,
    ApiKey,
}

/// The form in which a refusal tells the gRPC status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GrpcForm {
    /// The request is not gRPC.
    #[default]
    Without,
    /// The fields `grpc-status` and `grpc-message` beside the HTTP status: for gRPC over HTTP/1.1, which only
    /// translators speak.
    Beside,
    /// The response is a head alone, with the HTTP status 200 (`Trailers-Only` of gRPC over HTTP/2). With another HTTP
    /// status, clients would ignore `grpc-status`.
    TrailersOnly,
}

/// Returns the answer to a denied request.
pub fn answer(denial: &Denial, context: &RefusalContext<'_>) -> Answer {
    let row = row(denial.reason());
    let status = StatusCode::from_u16(row.status).expect("the table holds statuses; its test reads every row");
    let detail = detail(row, context);
    let body = Bytes::from(problem(
        row,
        &with_particulars(&detail, denial, context),
        denial,
        context,
    ));
    let mut headers = Vec::with_capacity(8);
    headers.push((
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    ));
    headers.push((header::CONTENT_LENGTH, HeaderValue::from(body.len())));
    headers.push((header::CACHE_CONTROL, HeaderValue::from_static("no-store")));
    headers.extend(
        challenges(row, &detail, denial, context)
            .into_iter()
            .flatten()
            .map(|value| (header::WWW_AUTHENTICATE, value)),
    );
    if let Some(after) = retry_after(row, denial) {
        headers.push((header::RETRY_AFTER, HeaderValue::from(wait_secs(after))));
    }
    if let Some(allowed) = allowed(row, denial)
        && let Ok(value) = HeaderValue::from_str(&allowed.iter().map(Method::as_str).collect::<Vec<_>>().join(", "))
    {
        headers.push((header::ALLOW, value));
    }
    if context.grpc != GrpcForm::Without {
        headers.push((
            HeaderName::from_static("grpc-status"),
            HeaderValue::from(grpc_status(row.status)),
        ));
        headers.push((
            HeaderName::from_static("grpc-message"),
            HeaderValue::from_static(row.title),
        ));
    }
    if context.grpc == GrpcForm::TrailersOnly {
        headers.retain(|(name, _)| !matches!(*name, header::CONTENT_TYPE | header::CONTENT_LENGTH | header::ALLOW));
        headers.push((header::CONTENT_TYPE, HeaderValue::from_static("application/grpc")));
        return Answer {
            status: StatusCode::OK,
            headers,
            body: Bytes::new(),
            close: row.close,
        };
    }
    Answer {
        status,
        headers,
        body,
        close: row.close,
    }
}

/// Returns the problem details (RFC 9457 section 3.1), with `error` and `error_description` for clients that read OAuth
/// errors (RFC 6750 section 3.1). Texts of the table, names and the request id are not escaped, because they have no
/// byte that JSON escapes.
fn problem(row: &Row, detail: &str, denial: &Denial, context: &RefusalContext<'_>) -> String {
    let mut body = String::with_capacity(512);
    let mut status = itoa::Buffer::new();
    push_all(
        &mut body,
        [
            r#"{"type":""#,
            PROBLEM_PREFIX,
            row.slug,
            r#"","title":""#,
            row.title,
            r#"","status":"#,
            status.format(row.status),
            r#","detail":""#,
            detail,
            r#"","request_id":""#,
            context.request_id,
            r#"""#,
        ],
    );
    if let Some(error) = row.error {
        let pieces = [r#","error":""#, error, r#"","error_description":""#, detail, r#"""#];
        push_all(&mut body, pieces);
    }
    if let Some(needed) = needed(denial, context) {
        let scope = serde_json::Value::from(needed.to_string());
        let _ = write!(body, r#","scope":{scope}"#);
    }
    if let Denial::LimitSpent(spent) = denial {
        push_all(&mut body, [r#","limit":""#, spent.facts().limit.as_str(), r#"""#]);
    }
    body.push_str("}\n");
    body
}

/// Appends `pieces` to `text`. Not with `write!`, which made a refusal take as long as a decision; any client can cause
/// refusals at any rate.
fn push_all<const N: usize>(text: &mut String, pieces: [&str; N]) {
    for piece in pieces {
        text.push_str(piece);
    }
}

/// Returns the scopes of the rules that failed, where more scopes would be enough.
fn needed(denial: &Denial, context: &RefusalContext<'_>) -> Option<ScopeSet> {
    match (denial, context.accepted) {
        (Denial::Forbidden(forbidden), Some(accepted)) if forbidden.is_about_scope() => {
            Some(accepted.requirement.scopes_to_ask_for(*forbidden))
        }
        _ => None,
    }
}

/// Returns `detail`, with the lists of scopes of which one is enough, or with the field or the byte that breaks the rule. Scopes have no
/// byte that JSON escapes (RFC 6749 section 3.3).
fn with_particulars<'d>(detail: &'d str, denial: &Denial, context: &RefusalContext<'_>) -> Cow<'d, str> {
    let mut text = Cow::Borrowed(detail);
    if let (Denial::Forbidden(forbidden), Some(accepted)) = (denial, context.accepted)
        && forbidden.is_about_scope()
    {
        for alternatives in accepted.requirement.alternatives(*forbidden) {
            let names: Vec<String> = alternatives.iter().map(|scope| format!("`{scope}`")).collect();
            let _ = write!(text.to_mut(), " One of {} is enough.", names.join(", "));
        }
    }
    if let Denial::AmbiguousField(ambiguous) = denial {
        let name = escaped(ambiguous.field.name());
        let _ = write!(text.to_mut(), " Its name is `{name}`.");
    }
    if let Some(fault) = context.fault {
        let fault = escaped(&fault.to_string());
        let _ = write!(text.to_mut(), " The byte is {fault}.");
    }
    text
}

/// Returns `text`, which has no control characters, as it stands in a JSON text.
fn escaped(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', r#"\""#)
}

/// Returns the detail of `row` with the name of the API key header filled in.
fn detail<'r>(row: &'r Row, context: &RefusalContext<'_>) -> Cow<'r, str> {
    if row.detail.contains(HEADER_MARK) {
        Cow::Owned(row.detail.replace(HEADER_MARK, context.api_key_header.as_str()))
    } else {
        Cow::Borrowed(row.detail)
    }
}

/// The schemes that the error of a refusal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FaultySchemes {
    bearer: bool,
    api_key: bool,
}

impl FaultySchemes {
    /// Returns the schemes for an error about `scheme`; `used` is the scheme that carried the credential.
    fn of(scheme: ErrorScheme, used: Option<Scheme>) -> Self {
        let used = match scheme {
            ErrorScheme::Bearer => Some(Scheme::Bearer),
            ErrorScheme::ApiKey => Some(Scheme::ApiKey),
            ErrorScheme::Key => Some(used.unwrap_or(Scheme::ApiKey)),
            ErrorScheme::Used => used,
        };
        Self {
            // Where no credential was read, as when a request carries two, the error is about both schemes.
            bearer: used.is_none_or(|used| used == Scheme::Bearer),
            api_key: used.is_none_or(|used| used == Scheme::ApiKey),
        }
    }
}

/// Returns one challenge for each credential type that the route accepts (RFC 9110 section 11.6.1, RFC 6750 section 3);
/// none where no route was found, or where the row has no challenge. Only the challenge of the scheme that was used has the
/// error.
fn challenges(row: &Row, detail: &str, denial: &Denial, context: &RefusalContext<'_>) -> [Option<HeaderValue>; 2] {
    let Some(accepted) = context.accepted else {
        return [None, None];
    };
    let mut parameters = String::new();
    let mut scheme = ErrorScheme::Used;
    match row.challenge {
        Challenge::None => return [None, None],
        Challenge::Bare => {}
        Challenge::Error(of_row) => {
            scheme = of_row;
            let error = row.error.unwrap_or("invalid_request");
            let pieces = [r#", error=""#, error, r#"", error_description=""#, detail, r#"""#];
            push_all(&mut parameters, pieces);
        }
        Challenge::Scope => {
            // Scope tokens hold neither quotes nor backslashes (RFC 6749 section 3.3), so they need no escaping.
            let _ = write!(
                parameters,
                r#", error="insufficient_scope", error_description="{}", scope="{}""#,
                row.detail,
                needed(denial, context).unwrap_or_default()
            );
        }
    }
    let faulty = FaultySchemes::of(scheme, context.scheme);
    let parameters_of = |is_faulty: bool| if is_faulty { parameters.as_str() } else { "" };
    let value = |text: String| HeaderValue::from_maybe_shared(Bytes::from(text)).ok();
    let bearer = || {
        let mut text = String::with_capacity(320);
        push_all(&mut text, [r#"Bearer realm="keygate""#, parameters_of(faulty.bearer)]);
        // RFC 9728 section 5.1. `ResourceUrl` guarantees that a URL has neither quotes nor backslashes.
        if let Some(url) = accepted.resource_metadata {
            push_all(&mut text, [r#", resource_metadata=""#, url, r#"""#]);
        }
        value(text)
    };
    let api_key = || {
        let mut text = String::with_capacity(320);
        let header = context.api_key_header.as_str();
        push_all(
            &mut text,
            [
                r#"ApiKey realm="keygate", header=""#,
                header,
                r#"""#,
                parameters_of(faulty.api_key),
            ],
        );
        value(text)
    };
    [
        accepted.bearer.then(bearer).flatten(),
        accepted.api_key.then(api_key).flatten(),
    ]
}

/// Returns the methods for `Allow` of a 405 (RFC 9110 section 15.5.6): those of the path or, for TRACE and CONNECT, all
/// registered methods.
fn allowed<'d>(row: &Row, denial: &'d Denial) -> Option<&'d [Method]> {
    match denial {
        Denial::MethodNotAllowed(allowed) => Some(allowed),
        _ => (row.status == 405).then_some(&DEFAULT_METHODS),
    }
}

fn retry_after(row: &Row, denial: &Denial) -> Option<Duration> {
    match denial {
        // `admit::headers::refusal_fields` gives `Retry-After` with the other headers of the limit.
        Denial::LimitSpent(_) => None,
        Denial::TooManyFailures { retry_after } => Some(*retry_after),
        _ => (row.status == 503).then_some(RETRY_AFTER_OURS),
    }
}

/// Returns the gRPC code for an HTTP status: that of `http-grpc-status-mapping` of the gRPC project, but
/// `INVALID_ARGUMENT` (3) for 400, which is no fault of the server, `DEADLINE_EXCEEDED` (4) for 408 and 504,
/// `RESOURCE_EXHAUSTED` (8) for 413, 429 and 431, and `UNIMPLEMENTED` (12) for 405.
const fn grpc_status(status: u16) -> u16 {
    match status {
        400 => 3,
        401 => 16,
        403 => 7,
        404 | 405 => 12,
        408 | 504 => 4,
        413 | 429 | 431 => 8,
        502 | 503 => 14,
        _ => 2,
    }
}

#[cfg(test)]
mod tests;
