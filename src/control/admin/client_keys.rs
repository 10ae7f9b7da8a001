//! Keys of clients over HTTP: uploaded, or generated here with the private half returned once.

use crate::control::admin::body::Body;
use crate::control::admin::body::NoBody;
use crate::control::admin::change::Change;
use crate::control::admin::clients;
use crate::control::admin::clients::ClientPath;
use crate::control::admin::clients::TokenParameters;
use crate::control::admin::formats;
use crate::control::admin::idempotency::Idempotency;
use crate::control::admin::query::IfMatch;
use crate::control::admin::query::Parameters;
use crate::control::admin::resource::Resource;
use crate::control::admin::response::AdminResponse;
use crate::control::admin::response::HandlerResult;
use crate::control::admin::response::problem;
use crate::control::admin::revocation::PendingRevocation;
use crate::control::admin::time::Time;
use crate::control::registry::Registry;
use crate::control::registry::ValidationErrors;
use crate::control::registry::client_keys::ClientKeySpec;
use crate::control::registry::client_keys::ClientKeyWithPrivate;
use crate::jose::uploaded;
use crate::jose::uploaded::UploadedKey;
use crate::model::algorithm::ASSERTION_ALGORITHMS;
use crate::model::algorithm::Algorithm;
use crate::model::secret::Secret;
use crate::store::record::client::ClientKey;
use axum::extract::Path;
use http::StatusCode;
use serde::Deserialize;
use serde::Serialize;
use utoipa::IntoParams;
use utoipa::ToSchema;

/// A public key of a client.
#[derive(Serialize, ToSchema)]
#[schema(as = ClientKey)]
pub(super) struct View {
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

impl Resource for ClientKey {
    type View = View;

    fn view(&self, _: &Registry) -> View {
        View {
            kid: self.kid.clone(),
            fingerprint: self.kid.clone(),
            algorithms: self.algorithms.iter().map(ToString::to_string).collect(),
            public_key: self.public_pem.clone(),
            generated: self.generated,
            created_at: Time(self.created_at),
            revoked_at: self.revoked_at.map(Time),
        }
    }
}

/// A new key, and the private half where it was made here: the one time that it can be seen.
#[derive(Serialize, ToSchema)]
#[schema(as = NewlyMadeClientKey)]
pub(super) struct ViewWithPrivate<'a> {
    #[serde(flatten)]
    view: View,
    /// A `PRIVATE KEY` block (PKCS #8), where a pair was made. It is kept nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    private_key: Option<&'a str>,
}

/// The keys of a client.
#[derive(Serialize, ToSchema)]
#[schema(as = ClientKeyList)]
pub(super) struct List {
    items: Vec<View>,
    /// Always `null`: they are all here.
    next: Option<String>,
}

/// A key for a client: exactly one of the two.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewKey {
    /// One `PUBLIC KEY` block: P-256, Ed25519 or RSA from 2048 bits.
    #[schema(value_type = formats::PublicKeyPem, required = false)]
    public_key: Option<String>,
    /// Make a pair for this algorithm: `ES256`, `RS256`, `PS256` or `EdDSA`.
    #[schema(value_type = formats::AssertionAlgorithm, required = false)]
    generate: Option<String>,
}

formats::forms!(
    NewKeyForms,
    NewKey,
    "NewClientKey",
    [
        |body| {
            body.required.push("generate".to_owned());
            body.properties.remove("public_key");
        },
        |body| {
            body.required.push("public_key".to_owned());
            body.properties.remove("generate");
        },
    ]
);

/// The source of a new key.
enum KeySource {
    Uploaded(UploadedKey),
    Generate(Algorithm),
}

impl NewKey {
    fn read(&self, errors: &mut ValidationErrors) -> Option<KeySource> {
        match (&self.public_key, &self.generate) {
            (Some(pem), None) => {
                let read =
                    uploaded::public_key(pem).map_err(|reason| format!("this is no usable public key: {reason}"));
                errors.take("/public_key", read).map(KeySource::Uploaded)
            }
            (None, Some(text)) => {
                let algorithm = text.parse().ok().filter(|it| ASSERTION_ALGORITHMS.contains(it));
                let algorithm = algorithm.ok_or("must be `ES256`, `RS256`, `PS256` or `EdDSA`");
                errors.take("/generate", algorithm).map(KeySource::Generate)
            }
            (Some(_), Some(_)) | (None, None) => {
                errors.add("", "has exactly one of `public_key` and `generate`");
                None
            }
        }
    }
}

/// Returns the spec of an uploaded key, or generates a pair.
async fn new_key(registry: &Registry, source: KeySource) -> Result<ClientKeySpec, AdminResponse> {
    match source {
        KeySource::Uploaded(key) => Ok(registry.uploaded_key(key)),
        KeySource::Generate(algorithm) => {
            let registry = registry.clone();
            // An RSA pair takes a tenth of a second of computing, which would block this thread's other requests.
            let made = tokio::task::spawn_blocking(move || registry.generate_key(algorithm)).await;
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

/// The key of a client in a path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct KeyPath {
    /// `client_id`
    #[param(inline, value_type = formats::ClientId, example = "client_4Vb8mTq0ZxN7sKe2RcYw1h")]
    id: String,
    /// The key's id
    #[param(example = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs")]
    kid: String,
}

/// The keys that a client has here
///
/// Revoked ones are among them.
#[utoipa::path(get, path = "/admin/v1/clients/{id}/keys", tag = "clients", operation_id = "listClientKeys",
    params(ClientPath), responses((status = 200, description = "The keys", body = List),
        (status = 409, description = "Its keys are behind its JWKS URL (`keys-from-url`), or it has a secret (`no-keys`)", body = crate::control::admin::openapi::Problem, content_type = "application/problem+json")))]
pub(super) async fn list(registry: Registry, Path(client): Path<ClientPath>) -> HandlerResult {
    let keys = registry.client_keys(&client.id()?).await?;
    Ok(AdminResponse::json(&List {
        items: keys.iter().map(|key| key.view(&registry)).collect(),
        next: None,
    }))
}

/// Give a client one more key
///
/// Upload a public key, or have a pair made: then the private half is in this answer and nowhere else.
#[utoipa::path(post, path = "/admin/v1/clients/{id}/keys", tag = "clients", operation_id = "addClientKey",
    params(ClientPath, Idempotency),
    request_body = NewKeyForms, responses((status = 201, description = "It counts from now on", body = ViewWithPrivate)))]
pub(super) async fn add(
    Change(registry, client, expected, Body { body, idempotency }): Change<ClientPath, Body<NewKey>>,
) -> HandlerResult {
    let id = client.id()?;
    let source = ValidationErrors::collect(|errors| body.read(errors))?;
    // Check first: do not generate a pair for a client that does not exist or is not visible.
    registry.client(&id).await?;
    let key = new_key(&registry, source).await?;
    let stored_response = idempotency.stored_response(&registry);
    let make = registry.add_client_key(&id, key, expected, &stored_response);
    let respond = |made: ClientKeyWithPrivate| {
        let body = ViewWithPrivate {
            view: made.key.view(&registry),
            private_key: made.private_pem.as_ref().map(Secret::expose).map(String::as_str),
        };
        AdminResponse::created(&body).with_revision(made.client.revision)
    };
    idempotency.run_once(&registry, make, respond).await
}

/// Revoke one key of a client
///
/// The others go on; without any it proves nothing. Tokens that are out stay good until they expire, unless
/// `revoke_tokens`, which ends every token of the client: no token says which key it was got with.
#[utoipa::path(delete, path = "/admin/v1/clients/{id}/keys/{kid}", tag = "clients", operation_id = "revokeClientKey",
    params(KeyPath, TokenParameters),
    responses((status = 200, description = "It is revoked", body = clients::View),
        (status = 202, description = "In force on this gate; its store cannot be written now", body = PendingRevocation)))]
pub(super) async fn remove(
    registry: Registry,
    Path(path): Path<KeyPath>,
    Parameters(tokens): Parameters<TokenParameters>,
    IfMatch(expected): IfMatch,
    _: NoBody,
) -> HandlerResult {
    let id = ClientPath { id: path.id }.id()?;
    let changed = registry
        .revoke_client_key(&id, &path.kid, tokens.issued(), expected)
        .await?;
    Ok(AdminResponse::revocation(&registry, changed))
}
