//! Keys of clients over HTTP: uploaded, or made here and given away once.

use crate::control::admin::answer::Answer;
use crate::control::admin::answer::Answered;
use crate::control::admin::answer::problem;
use crate::control::admin::body::Create;
use crate::control::admin::body::Nothing;
use crate::control::admin::body::OptionalBody;
use crate::control::admin::clients;
use crate::control::admin::clients::Ending;
use crate::control::admin::idempotency::once;
use crate::control::admin::issuers::Time;
use crate::control::admin::query::Asking;
use crate::control::admin::query::IfMatch;
use crate::control::registry::Mistakes;
use crate::control::registry::Refused;
use crate::control::registry::Registry;
use crate::control::registry::client_keys::AskedClientKey;
use crate::jose::uploaded;
use crate::model::algorithm::Algorithm;
use crate::model::secret::Secret;
use crate::store::record::client::ClientKey;
use axum::extract::Path;
use http::StatusCode;
use serde::Deserialize;
use serde::Serialize;
use utoipa::ToSchema;

/// A public key of a client.
#[derive(Serialize, ToSchema)]
#[schema(as = ClientKey)]
pub(in crate::control::admin) struct View {
    /// What assertions can name it by: its RFC 7638 SHA-256 thumbprint.
    #[schema(example = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs")]
    kid: String,
    /// The same.
    #[schema(example = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs")]
    fingerprint: String,
    /// What assertions may be signed with, the first being the one to use.
    #[schema(example = json!(["ES256"]))]
    algorithms: Vec<String>,
    /// A `PUBLIC KEY` block.
    public_key: String,
    /// Its pair was made here.
    generated: bool,
    created_at: Time,
    revoked_at: Option<Time>,
}

impl View {
    fn of(key: &ClientKey) -> Self {
        Self {
            kid: key.kid.clone(),
            fingerprint: key.kid.clone(),
            algorithms: key.algorithms.iter().map(ToString::to_string).collect(),
            public_key: key.public_pem.clone(),
            generated: key.generated,
            created_at: Time(key.created_at),
            revoked_at: key.revoked_at.map(Time),
        }
    }
}

/// A new key, and the private half where it was made here: the one time that it can be seen.
#[derive(Serialize, ToSchema)]
#[schema(as = NewlyMadeClientKey)]
pub(in crate::control::admin) struct Made<'a> {
    #[serde(flatten)]
    view: View,
    /// A `PRIVATE KEY` block (PKCS #8), where a pair was made. It is kept nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    private_key: Option<&'a str>,
}

/// The keys of a client.
#[derive(Serialize, ToSchema)]
#[schema(as = ClientKeyList)]
pub(in crate::control::admin) struct List {
    items: Vec<View>,
    /// Always `null`: they are all here.
    next: Option<String>,
}

/// A key for a client: exactly one of the two.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewClientKey)]
pub(in crate::control::admin) struct New {
    /// One `PUBLIC KEY` block: P-256, Ed25519 or RSA from 2048 bits.
    #[schema(required = false)]
    public_key: Option<String>,
    /// Make a pair for this algorithm: `ES256`, `RS256`, `PS256` or `EdDSA`.
    #[schema(example = "ES256", required = false)]
    generate: Option<String>,
}

enum Asked {
    Uploaded(uploaded::UploadedKey),
    Generate(Algorithm),
}

impl New {
    fn asked(&self) -> Result<Asked, Refused> {
        let mut mistakes = Mistakes::default();
        let asked = match (&self.public_key, &self.generate) {
            (Some(pem), None) => {
                let read =
                    uploaded::public_key(pem).map_err(|reason| format!("this is no usable public key: {reason}"));
                mistakes.take("/public_key", read).map(Asked::Uploaded)
            }
            (None, Some(text)) => {
                let algorithm = text
                    .parse()
                    .ok()
                    .filter(|it| uploaded::ASSERTION_ALGORITHMS.contains(it));
                let algorithm = algorithm.ok_or("must be `ES256`, `RS256`, `PS256` or `EdDSA`");
                mistakes.take("/generate", algorithm).map(Asked::Generate)
            }
            (Some(_), Some(_)) | (None, None) => {
                mistakes.add("", "has exactly one of `public_key` and `generate`");
                None
            }
        };
        asked.ok_or_else(|| mistakes.into())
    }
}

async fn made(registry: &Registry, asked: Asked) -> Result<AskedClientKey, Answer> {
    match asked {
        Asked::Uploaded(key) => Ok(registry.uploaded_key(key)),
        Asked::Generate(algorithm) => {
            let registry = registry.clone();
            // RSA takes a tenth of a second of computing, in which this thread would answer nobody.
            let made = tokio::task::spawn_blocking(move || registry.generated_key(algorithm)).await;
            made.map_err(|error| error.to_string())
                .and_then(|made| made.map_err(|error| error.to_string()))
                .map_err(|error| {
                    tracing::error!(%error, "Key pair could not be made");
                    let status = StatusCode::SERVICE_UNAVAILABLE;
                    problem(status, "no-key-pair", "no key pair could be made; see the gate's log")
                })
        }
    }
}

/// The keys that a client has here
///
/// Revoked ones are among them.
#[utoipa::path(get, path = "/admin/v1/clients/{id}/keys", tag = "clients", operation_id = "listClientKeys",
    params(("id" = String, Path, description = "`client_id`", example = "client_4Vb8mTq0ZxN7sKe2RcYw1h")),
    responses((status = 200, description = "The keys", body = List),
        (status = 409, description = "Its keys are behind its JWKS URL (`keys-from-url`), or it has a secret (`no-keys`)", body = crate::control::admin::openapi::Problem, content_type = "application/problem+json")))]
pub(in crate::control::admin) async fn list(registry: Registry, Path(text): Path<String>) -> Answered {
    let keys = registry.client_keys(&clients::id(&text)?).await?;
    Ok(Answer::json(&List {
        items: keys.iter().map(View::of).collect(),
        next: None,
    }))
}

/// Give a client one more key
///
/// Upload a public key, or have a pair made: then the private half is in this answer and nowhere else.
#[utoipa::path(post, path = "/admin/v1/clients/{id}/keys", tag = "clients", operation_id = "addClientKey",
    params(("id" = String, Path, description = "`client_id`", example = "client_4Vb8mTq0ZxN7sKe2RcYw1h"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes it once, however often it is sent: 1 to 255 visible ASCII characters")),
    request_body = New, responses((status = 201, description = "It counts from now on", body = Made)))]
pub(in crate::control::admin) async fn add(
    registry: Registry,
    Path(text): Path<String>,
    IfMatch(expected): IfMatch,
    Create { body, remember }: Create<New>,
) -> Answered {
    let id = clients::id(&text)?;
    let asked = body.asked()?;
    // Nobody makes a pair for a client that is not there, or not theirs.
    registry.client(&id).await?;
    let asked = made(&registry, asked).await?;
    let keep = |key: &ClientKey| {
        let remember = remember.as_ref()?;
        Some(remember.answer(&View::of(key), registry.now()))
    };
    let make = registry.add_client_key(&id, asked, expected, &keep);
    once(&registry, remember.as_ref(), make, |made| {
        let body = Made {
            view: View::of(&made.key),
            private_key: made.private_pem.as_ref().map(Secret::expose).map(String::as_str),
        };
        Answer::created(&body).at(made.client.revision)
    })
    .await
}

/// Revoke one key of a client
///
/// The others go on; without any it proves nothing. Tokens that are out stay good until they expire, unless
/// `revoke_tokens`, which ends every token of the client: no token says which key it was got with.
#[utoipa::path(delete, path = "/admin/v1/clients/{id}/keys/{kid}", tag = "clients", operation_id = "revokeClientKey",
    params(("id" = String, Path, description = "`client_id`", example = "client_4Vb8mTq0ZxN7sKe2RcYw1h"),
        ("kid" = String, Path, description = "The key's id", example = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"), Ending),
    responses((status = 200, description = "It is revoked", body = clients::View)))]
pub(in crate::control::admin) async fn remove(
    registry: Registry,
    Path((text, kid)): Path<(String, String)>,
    Asking(ending): Asking<Ending>,
    IfMatch(expected): IfMatch,
    _: OptionalBody<Nothing>,
) -> Answered {
    let id = clients::id(&text)?;
    let fewer = registry.revoke_client_key(&id, &kid, ending.tokens(), expected).await?;
    Ok(Answer::json(&clients::View::of(&fewer.record, registry.now())).at(fewer.revision))
}
