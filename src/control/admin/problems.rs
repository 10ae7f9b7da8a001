//! Which problem does each error of the registry become? One table:
//! status, the stable end of the problem's type, and a remedy.

use crate::control::admin::response::AdminResponse;
use crate::control::admin::response::problem;
use crate::control::admin::response::problem_with;
use crate::control::registry::RegistryError;
use crate::control::registry::ValidationError;
use crate::store::StoreError;
use http::HeaderValue;
use http::StatusCode;
use http::header;
use serde_json::Value;
use serde_json::json;

impl From<RegistryError> for AdminResponse {
    fn from(error: RegistryError) -> Self {
        let detail = error.to_string();
        match &error {
            RegistryError::NotFound(what) => problem(StatusCode::NOT_FOUND, &format!("unknown-{what}"), &detail),
            RegistryError::OperatorsOnly => problem(StatusCode::FORBIDDEN, "operators-only", &detail),
            RegistryError::OtherOrganization => problem(StatusCode::FORBIDDEN, "other-organization", &detail),
            RegistryError::Invalid(errors) => invalid(errors.as_slice()),
            RegistryError::UnresolvedReference(errors) => {
                mistakes(StatusCode::CONFLICT, "unresolved-reference", errors.as_slice())
            }
            RegistryError::BeyondPlan(errors) => mistakes(StatusCode::CONFLICT, "beyond-plan", errors.as_slice()),
            RegistryError::Standing(standing) => {
                let slug = slug(standing.reason().unwrap_or("subscription_not_in_force"));
                problem(StatusCode::CONFLICT, &slug, &detail)
            }
            RegistryError::NotInPlan { allowed, .. } => {
                let allowed: Vec<&str> = allowed.iter().map(|kind| kind.as_str()).collect();
                let more = [("allowed", json!(allowed))];
                problem_with(StatusCode::CONFLICT, "credential-not-in-plan", &detail, &more)
            }
            RegistryError::KeySlotsFull { .. } => problem(StatusCode::CONFLICT, "key-slots-full", &detail),
            RegistryError::Exists(what) => problem(StatusCode::CONFLICT, &format!("{what}-exists"), &detail),
            RegistryError::StateConflict { word, .. } => problem(StatusCode::CONFLICT, &slug(word), &detail),
            RegistryError::IdempotencyKeyReused => {
                problem(StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused", &detail)
            }
            RegistryError::PreconditionFailed => {
                problem(StatusCode::PRECONDITION_FAILED, "precondition-failed", &detail)
            }
            RegistryError::File(_) => problem(StatusCode::CONFLICT, "file-exists", &detail),
            RegistryError::SigningKeys(_) => {
                tracing::error!(error = %detail, "Signing keys cannot be changed");
                unavailable(
                    "signing-keys-unavailable",
                    "the signing keys cannot be changed now; see the gate's log",
                )
            }
            RegistryError::NoTokenEndpoint { .. } => problem(StatusCode::NOT_FOUND, "no-token-endpoint", &detail),
            RegistryError::Store(error) => store(error),
        }
    }
}

/// Returns the problem for an error of the store. The error's text is only logged: it names
/// files, and not every client is an operator.
fn store(error: &StoreError) -> AdminResponse {
    match error {
        StoreError::Conflict(_) => problem(
            StatusCode::CONFLICT,
            "changed-meanwhile",
            "it was changed at the same time, again and again; nothing was written, ask once more",
        ),
        StoreError::Unreadable { .. } => {
            tracing::error!(%error, "Store holds what cannot be read");
            problem(
                StatusCode::INTERNAL_SERVER_ERROR,
                "store-unreadable",
                "the store holds what this version cannot read; see the gate's log",
            )
        }
        StoreError::Unavailable(_) | StoreError::InUse(_) => {
            tracing::error!(%error, "Store did not do what the admin API asked");
            unavailable("store-unavailable", "the store did not answer; see the gate's log")
        }
    }
}

/// Returns 503; the client may try again after five seconds.
fn unavailable(slug: &str, detail: &str) -> AdminResponse {
    problem(StatusCode::SERVICE_UNAVAILABLE, slug, detail).with(header::RETRY_AFTER, HeaderValue::from_static("5"))
}

/// Returns 422 with every mistake and its place.
pub fn invalid(errors: &[ValidationError]) -> AdminResponse {
    mistakes(StatusCode::UNPROCESSABLE_ENTITY, "invalid-request", errors)
}

fn mistakes(status: StatusCode, slug: &str, errors: &[ValidationError]) -> AdminResponse {
    let detail = match errors {
        [only] => format!("{}: {}", place(&only.pointer), only.detail),
        several => format!("{} things are wrong with the request; `errors` has each", several.len()),
    };
    let errors = errors
        .iter()
        .map(|error| json!({ "pointer": error.pointer, "detail": error.detail }));
    let more = [("errors", Value::Array(errors.collect()))];
    problem_with(status, slug, &detail, &more)
}

fn place(pointer: &str) -> &str {
    match pointer {
        "" => "the body",
        pointer => pointer,
    }
}

/// Converts a word of the code (`_`) to the end of a problem type (`-`).
fn slug(word: &str) -> String {
    word.replace('_', "-")
}
