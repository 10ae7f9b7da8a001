//! Is this API key good? For programs that have keys checked in place of proxying their requests.

use crate::control::admin::api_keys;
use crate::control::admin::body::Body;
use crate::control::admin::formats;
use crate::control::admin::formats::KEY_CHARS_MAX;
use crate::control::admin::read;
use crate::control::admin::resource::Resource;
use crate::control::admin::response::AdminResponse;
use crate::control::admin::response::HandlerResult;
use crate::control::admin::response::problem;
use crate::control::admin::state::Api;
use crate::control::key_verdict::KeyQuestion;
use crate::control::key_verdict::LimitLevel;
use crate::control::key_verdict::TooManyWrongKeys;
use crate::control::registry::Registry;
use crate::control::registry::RegistryError;
use crate::control::registry::ValidationErrors;
use crate::model::clock::wait_secs;
use crate::model::secret::Secret;
use axum::extract::State;
use http::HeaderValue;
use http::StatusCode;
use http::header;
use serde::Deserialize;
use serde::Serialize;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::sync::Arc;
use utoipa::ToSchema;

/// A key to verify, and what it is to be used for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeyToVerify)]
pub(super) struct KeyToVerify {
    /// The whole text of the key.
    #[schema(value_type = formats::ApiKeyText)]
    key: String,
    /// The scopes that the use needs, all of them.
    #[schema(value_type = Option<Vec<formats::ScopeToken>>, max_items = 100, example = json!(["orders:read"]), required = false)]
    scopes: Option<Vec<String>>,
    /// The address that used the key. A key with `addresses` is refused without it, and wrong keys are counted for it.
    #[schema(value_type = Option<formats::Address>, required = false)]
    address: Option<String>,
}

/// Whether a key is good, whose it is, and what it has left.
#[derive(Serialize, ToSchema)]
#[schema(as = KeyVerdict)]
pub(super) struct View {
    /// The gate would let a request with it pass that needs these scopes.
    valid: bool,
    /// Why not, in the word of access records and metrics: `api_key_unknown`, `api_key_revoked`, `api_key_expired`,
    /// `api_key_disabled`, `api_key_wrong_address`, `api_key_malformed`, `api_key_checksum`, `insufficient_scope`, `limit_spent`, or what its
    /// subscription is; `null` for a good one.
    #[schema(example = json!(null))]
    reason: Option<&'static str>,
    /// The key, if its text is right, also where it is refused; `null` for one of `api_keys.file`.
    key: Option<api_keys::View>,
    /// The limit of its plan that is closest to exhaustion; `null` where the plan has none.
    limit: Option<LimitView>,
}

/// What a limit has left.
#[derive(Serialize, ToSchema)]
#[schema(as = LimitLevel)]
struct LimitView {
    #[schema(example = "per-key")]
    name: String,
    /// Requests at once.
    #[schema(example = 50)]
    limit: u32,
    #[schema(example = 49)]
    remaining: u32,
    /// Until one more can be made.
    #[schema(example = 1)]
    reset_seconds: u64,
}

impl LimitView {
    fn of(level: LimitLevel) -> Self {
        Self {
            name: level.name,
            limit: level.requests,
            remaining: level.remaining,
            reset_seconds: level.reset_secs,
        }
    }
}

/// Verify an API key
///
/// As the gate would for a request: the text, its expiry and revocation, its addresses, its subscription and these scopes,
/// and one request is spent from the limits of its plan. Routes ask for more. Wrong keys are limited per address. One audit
/// event each. Takes `admin:read`.
#[utoipa::path(post, path = "/admin/v1/keys/verify", tag = "keys", operation_id = "verifyKey",
    request_body = KeyToVerify, responses((status = 200, description = "Whether it is good", body = View)))]
pub(super) async fn verify(
    State(api): State<Arc<Api>>,
    registry: Registry,
    Body { body, .. }: Body<KeyToVerify>,
) -> HandlerResult {
    let text = Secret::new(body.key);
    let (scopes, address) = ValidationErrors::collect(|errors| {
        if !(1..=KEY_CHARS_MAX).contains(&text.expose().chars().count()) {
            errors.add("/key", format!("has 1 to {KEY_CHARS_MAX} characters"));
        }
        let scopes = read::scopes(body.scopes.as_deref(), errors).unwrap_or_default();
        let address: Option<IpAddr> = read::parsed("/address", body.address.as_deref(), errors);
        Some((scopes, address))
    })?;
    let Some(verifier) = &api.parts.keys else {
        let detail = "no gate runs here, so there is nothing that verifies keys: start it";
        return Err(problem(StatusCode::NOT_FOUND, "no-gate", detail));
    };
    let caller = registry.from().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let question = KeyQuestion {
        text: &text,
        address,
        source: address.unwrap_or(caller),
        scopes: &scopes,
    };
    let verdict = verifier.verify(&question, &|organization| registry.sees_organization(organization));
    let verdict = verdict.map_err(too_many)?;
    let id = verdict.key.as_ref().and_then(|key| key.id);
    registry.record_verification(&verdict).await?;
    let key = match id {
        Some(id) => match registry.api_key(&id).await {
            Ok(found) => Some(found.record.view(&registry)),
            Err(RegistryError::NotFound(_)) => None,
            Err(error) => return Err(error.into()),
        },
        None => None,
    };
    Ok(AdminResponse::json(&View {
        valid: verdict.reason.is_none(),
        reason: verdict.reason,
        key,
        limit: verdict.limit.map(LimitView::of),
    }))
}

fn too_many(TooManyWrongKeys { retry_after }: TooManyWrongKeys) -> AdminResponse {
    let secs = wait_secs(retry_after);
    let detail = "too many wrong keys came from this address; a good one is verified at any time";
    problem(StatusCode::TOO_MANY_REQUESTS, "too-many-failures", detail)
        .with(header::RETRY_AFTER, HeaderValue::from(secs))
}
