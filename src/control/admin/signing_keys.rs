//! Signing keys over HTTP: listing and rotating them. Private halves are never shown.

use crate::control::admin::body::OptionalBody;
use crate::control::admin::response::AdminResponse;
use crate::control::admin::response::HandlerResult;
use crate::control::admin::time::Time;
use crate::control::registry::Registry;
use crate::control::registry::signing_keys::Rotation;
use crate::control::signing_keys::schedule::RotationKey;
use crate::control::signing_keys::schedule::Stage;
use serde::Deserialize;
use serde::Serialize;
use utoipa::ToSchema;

/// A key that access tokens are, were or will be signed with.
#[derive(Serialize, ToSchema)]
#[schema(as = SigningKey)]
pub(super) struct View {
    #[schema(example = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs")]
    kid: String,
    #[schema(example = "ES256")]
    algorithm: &'static str,
    /// `next` (published, and signs from `signs_from`), `active`, or `retired` (published until its last token ends).
    #[schema(example = "active")]
    state: &'static str,
    /// When it was made and published.
    created_at: Time,
    /// It signs from then on.
    signs_from: Option<Time>,
    /// It signed until then.
    signs_until: Option<Time>,
    /// Its last token is over by then.
    published_until: Option<Time>,
}

impl View {
    fn of(key: &RotationKey) -> Self {
        let (state, signs_from, signs_until, published_until) = match key.stage {
            Stage::Next { signs_from } => ("next", Some(signs_from), None, None),
            Stage::Active { since } => ("active", Some(since), None, None),
            Stage::Retired { since, until } => ("retired", None, Some(since), Some(until)),
        };
        Self {
            kid: key.kid.clone(),
            algorithm: key.algorithm.as_str(),
            state,
            created_at: Time(key.published_at),
            signs_from: signs_from.map(Time),
            signs_until: signs_until.map(Time),
            published_until: published_until.map(Time),
        }
    }
}

/// Every signing key.
#[derive(Serialize, ToSchema)]
#[schema(as = SigningKeyList)]
pub(super) struct List {
    items: Vec<View>,
    /// Always `null`: they are all here.
    next: Option<String>,
}

/// How signing keys are rotated.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RotateSigningKeys)]
pub(super) struct RotationBody {
    /// For a private key that others have: the new one signs at once, and the ones before it verify nothing any more, so
    /// that every token that is out ends. When absent, the new one signs once it has been published long enough.
    #[schema(required = false)]
    leaked: Option<bool>,
}

/// Every signing key that is published
///
/// For operators.
#[utoipa::path(get, path = "/admin/v1/signing-keys", tag = "signing-keys", operation_id = "listSigningKeys",
    responses((status = 200, description = "The keys, in the order in which they were published", body = List),
        (status = 404, description = "There is no token endpoint (`no-token-endpoint`), or no store (`no-store`)", body = crate::control::admin::openapi::Problem, content_type = "application/problem+json")))]
pub(super) async fn list(registry: Registry) -> HandlerResult {
    let keys = registry.signing_keys()?;
    Ok(AdminResponse::json(&List {
        items: keys.iter().map(View::of).collect(),
        next: None,
    }))
}

/// Rotate the signing keys now
///
/// Publishes a new key, which signs once everybody had time to fetch it; where one is on its way already, it is that one.
/// For operators.
#[utoipa::path(post, path = "/admin/v1/signing-keys/rotate", tag = "signing-keys", operation_id = "rotateSigningKeys",
    request_body = Option<RotationBody>, responses((status = 200, description = "The new key", body = View)))]
pub(super) async fn rotate(registry: Registry, OptionalBody { body, .. }: OptionalBody<RotationBody>) -> HandlerResult {
    let rotation = match body.leaked {
        Some(true) => Rotation::Leaked,
        Some(false) | None => Rotation::Published,
    };
    let key = registry.rotate_signing_keys(rotation).await?;
    Ok(AdminResponse::json(&View::of(&key)))
}
