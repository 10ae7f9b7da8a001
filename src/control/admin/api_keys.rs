//! API keys over HTTP. The response that creates a key contains its text; all others contain only a hint of it.

use crate::control::admin::body::Body;
use crate::control::admin::body::OptionalBody;
use crate::control::admin::body::kept_changed_or_removed;
use crate::control::admin::body::kept_or_changed;
use crate::control::admin::change::Change;
use crate::control::admin::formats;
use crate::control::admin::idempotency::Idempotency;
use crate::control::admin::query::CredentialListing;
use crate::control::admin::query::Parameters;
use crate::control::admin::read;
use crate::control::admin::resource::Resource;
use crate::control::admin::response::AdminResponse;
use crate::control::admin::response::HandlerResult;
use crate::control::admin::response::environment_word;
use crate::control::admin::revocation::PendingRevocation;
use crate::control::admin::standing;
use crate::control::admin::time::Time;
use crate::control::registry::Condition;
use crate::control::registry::Registry;
use crate::control::registry::RegistryError;
use crate::control::registry::ValidationErrors;
use crate::control::registry::api_keys::ApiKeyReplacement;
use crate::control::registry::api_keys::ApiKeySpec;
use crate::control::registry::api_keys::ApiKeyUpdate;
use crate::control::registry::api_keys::ApiKeyWithText;
use crate::control::registry::text::Label;
use crate::model::api_key::CredentialDigest;
use crate::model::api_key::KeyId;
use crate::model::clock::Timestamp;
use crate::model::directory::ApiKeyOrigin;
use crate::model::lifetime;
use crate::model::plan::CredentialKind;
use crate::model::scope::Scope;
use crate::store::record::ApiKeyRecord;
use crate::store::record::ApiKeyState;
use axum::extract::Path;
use serde::Deserialize;
use serde::Serialize;
use utoipa::IntoParams;
use utoipa::ToSchema;

/// An API key, without its secret.
#[derive(Serialize, ToSchema)]
#[schema(as = ApiKey)]
pub(super) struct View {
    /// The 16 characters between the second and the third `_` of its text.
    #[schema(example = "0123456789abcdef")]
    id: String,
    /// What it can be recognised by; nothing of its secret.
    #[schema(example = "kg_live_0123456789abcdef_…")]
    key_hint: String,
    /// For people.
    #[schema(example = "ci")]
    name: String,
    #[schema(example = "acme")]
    organization: String,
    #[schema(example = "sub_default")]
    subscription: String,
    /// `live` or `sandbox`.
    #[schema(example = "live")]
    environment: &'static str,
    #[schema(example = json!(["orders:read"]))]
    scopes: Vec<String>,
    /// Where it may be used from; everywhere when empty.
    #[schema(example = json!(["192.0.2.0/24"]))]
    addresses: Vec<String>,
    /// `active`, `disabled` (refused until it is active again), `ending` (good until `revoked_at`), `expired` or `revoked`.
    #[schema(example = "active")]
    state: &'static str,
    /// `good`, or why its subscription and its plan do not let it be used now, as with clients.
    #[schema(example = "good")]
    standing: &'static str,
    /// The same for people, and what to do about it; `null` where it is `good`.
    #[schema(example = json!(null))]
    locked: Option<String>,
    /// `regenerate`: what a portal offers to replace it; `null` while it is locked, and once it was replaced or revoked.
    #[schema(example = "regenerate")]
    action: Option<&'static str>,
    created_at: Time,
    /// The first instant at which it is refused; `null`: never.
    expires_at: Option<Time>,
    /// The first instant at which it is revoked; in the future while a grace runs.
    revoked_at: Option<Time>,
    /// The key that was made in its place.
    #[schema(example = json!(null))]
    replaced_by: Option<String>,
    /// To the minute, and some minutes late.
    last_used_at: Option<Time>,
    /// Brought along from another system.
    imported: bool,
}

impl Resource for ApiKeyRecord {
    type View = View;

    fn view(&self, registry: &Registry) -> View {
        let now = registry.now();
        let checked = registry.check_key(self);
        let is_replaceable = checked.is_ok() && self.is_replaceable(now);
        View {
            id: self.id.to_string(),
            key_hint: self.origin.hint(&registry.key_prefix(), self.environment, self.id),
            name: self.name.clone(),
            organization: self.organization.to_string(),
            subscription: self.subscription.to_string(),
            environment: environment_word(self.environment),
            scopes: self.scopes.iter().map(Scope::to_string).collect(),
            addresses: self.addresses.iter().map(ToString::to_string).collect(),
            state: state_word(self, now),
            standing: standing::word(checked),
            locked: standing::lock(checked),
            action: is_replaceable.then(|| standing::action(CredentialKind::ApiKey)),
            created_at: Time(self.created_at),
            expires_at: self.expires_at.map(Time),
            revoked_at: self.revoked_at.map(Time),
            replaced_by: self.replaced_by.map(|id| id.to_string()),
            last_used_at: self.last_used_at.map(Time),
            imported: self.origin == ApiKeyOrigin::Imported,
        }
    }
}

const STATES: [&str; 5] = ["active", "disabled", "ending", "expired", "revoked"];

formats::schema!(ApiKeyStateWord, "active", "The state of a key.", formats::words(STATES));

/// Returns the word for a key's state: of several reasons to refuse it, the one that the gate gives.
fn state_word(key: &ApiKeyRecord, now: Timestamp) -> &'static str {
    if key.is_revoked(now) {
        return "revoked";
    }
    if key.is_expired(now) {
        return "expired";
    }
    match (key.state, key.revoked_at) {
        (ApiKeyState::Disabled, _) => "disabled",
        (ApiKeyState::Active, Some(_)) => "ending",
        (ApiKeyState::Active, None) => "active",
    }
}

/// A new API key, and its text: the one time that it can be seen.
#[derive(Serialize, ToSchema)]
#[schema(as = NewlyMadeApiKey)]
pub(super) struct ViewWithText<'a> {
    #[serde(flatten)]
    view: View,
    /// Sent as `x-api-key`. Not in an answer that is replayed for an Idempotency-Key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "kg_live_0123456789abcdef_<43 characters of secret><6 of check>")]
    key: Option<&'a str>,
    /// The key that this one was made in the place of.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    replaces: Option<Predecessor>,
}

/// A key that another was made in the place of.
#[derive(Clone, Serialize, ToSchema)]
#[schema(as = ReplacedApiKey)]
struct Predecessor {
    #[schema(example = "0123456789abcdef")]
    id: String,
    /// From then on it is refused.
    revoked_at: Option<Time>,
}

/// A part of the list of keys.
#[derive(Serialize, ToSchema)]
#[schema(as = ApiKeyList)]
pub(super) struct List {
    items: Vec<View>,
    /// The `after` of the next page; `null` on the last.
    next: Option<String>,
}

/// What an API key is made with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewApiKey)]
pub(super) struct NewKey {
    /// 1 to 200 characters, for people.
    #[schema(value_type = formats::Label)]
    name: String,
    /// `90d`, `6mo` (at most 730 days), an instant (RFC 3339), or `never`. There is no default: a key that never expires
    /// is somebody's decision.
    #[schema(value_type = formats::Expiry)]
    expires: String,
    /// Those of the plan when absent; none where the plan leaves them open.
    #[schema(value_type = Option<Vec<formats::ScopeToken>>, max_items = 100, example = json!(["orders:read"]), required = false)]
    scopes: Option<Vec<String>>,
    /// Addresses and ranges that it may be used from; everywhere when absent.
    #[schema(value_type = Option<Vec<formats::AddressRange>>, max_items = 100, example = json!(["192.0.2.0/24"]), required = false)]
    addresses: Option<Vec<String>>,
    /// `live` or `sandbox`; the subscription's when absent.
    #[schema(value_type = Option<formats::Environment>, required = false)]
    environment: Option<String>,
    /// The built-in one, or the only one of the caller's organization, when absent.
    #[schema(value_type = Option<formats::SubscriptionId>, required = false)]
    subscription: Option<String>,
}

/// What a key of another system is brought along with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ImportedApiKey)]
pub(super) struct ImportedKey {
    /// SHA-256 of the key's whole text: 64 lower-case hexadecimal digits (`printf %s "$KEY" | sha256sum`).
    #[schema(value_type = formats::ApiKeyDigest)]
    digest: String,
    /// 1 to 200 characters, for people.
    #[schema(value_type = formats::Label)]
    name: String,
    #[schema(value_type = formats::Expiry)]
    expires: String,
    /// Those of the plan when absent; none where the plan leaves them open.
    #[schema(value_type = Option<Vec<formats::ScopeToken>>, max_items = 100, example = json!(["orders:read"]), required = false)]
    scopes: Option<Vec<String>>,
    /// Addresses and ranges that it may be used from; everywhere when absent.
    #[schema(value_type = Option<Vec<formats::AddressRange>>, max_items = 100, example = json!(["192.0.2.0/24"]), required = false)]
    addresses: Option<Vec<String>>,
    /// `live` or `sandbox`; the subscription's when absent.
    #[schema(value_type = Option<formats::Environment>, required = false)]
    environment: Option<String>,
    /// The built-in one, or the only one of the caller's organization, when absent.
    #[schema(value_type = Option<formats::SubscriptionId>, required = false)]
    subscription: Option<String>,
}

/// What is to be other than it was; what is absent stays, and `null` removes (RFC 7396).
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ApiKeyChange)]
pub(super) struct KeyChange {
    /// 1 to 200 characters, for people.
    #[serde(default, deserialize_with = "kept_or_changed")]
    #[schema(value_type = formats::Label, required = false)]
    name: Option<String>,
    /// As when making one, from now on. An expired key stays expired: regenerate it.
    #[serde(default, deserialize_with = "kept_or_changed")]
    #[schema(value_type = formats::Expiry, required = false)]
    expires: Option<String>,
    /// In place of those that it has.
    #[serde(default, deserialize_with = "kept_or_changed")]
    #[schema(value_type = Vec<formats::ScopeToken>, max_items = 100, example = json!(["orders:read"]), required = false)]
    scopes: Option<Vec<String>>,
    /// Addresses and ranges that it may be used from, in place of those that it has; everywhere when `null` or empty.
    #[serde(default, deserialize_with = "kept_changed_or_removed")]
    #[schema(value_type = Option<Vec<formats::AddressRange>>, max_items = 100, example = json!(["192.0.2.0/24"]), required = false)]
    addresses: Option<Vec<String>>,
    /// `active` or `disabled`.
    #[serde(default, deserialize_with = "kept_or_changed")]
    #[schema(value_type = formats::CredentialSwitch, required = false)]
    state: Option<String>,
}

impl KeyChange {
    fn read(&self, now: Timestamp, errors: &mut ValidationErrors) -> ApiKeyUpdate {
        let (name, expires) = (self.name.as_deref(), self.expires.as_deref());
        let active = self.state.as_deref().map(|text| match text {
            "active" => Ok(true),
            "disabled" => Ok(false),
            _ => Err("must be `active` or `disabled`; POST …/revoke revokes a key"),
        });
        ApiKeyUpdate {
            name: name.and_then(|text| errors.take("/name", Label::parse(text))),
            expires_at: expires.and_then(|text| errors.take("/expires", lifetime::instant(text, now))),
            scopes: read::scopes(self.scopes.as_deref(), errors),
            addresses: self
                .addresses
                .as_ref()
                .map(|texts| read::addresses(Some(texts), errors)),
            active: active.and_then(|active| errors.take("/state", active)),
        }
    }
}

/// How a key is regenerated.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RegenerateApiKey)]
pub(super) struct Regeneration {
    /// How long the old key stays good: at most `24h`. Not at all when absent.
    #[schema(value_type = Option<formats::GracePeriod>, required = false)]
    grace: Option<String>,
    /// As when making one; as long as the old key was made for when absent.
    #[schema(value_type = Option<formats::Expiry>, required = false)]
    expires: Option<String>,
}

impl NewKey {
    fn read(&self, now: Timestamp, errors: &mut ValidationErrors) -> Option<ApiKeySpec> {
        let name = errors.take("/name", Label::parse(&self.name));
        let expires_at = errors.take("/expires", lifetime::instant(&self.expires, now));
        let scopes = read::scopes(self.scopes.as_deref(), errors);
        let addresses = read::addresses(self.addresses.as_deref(), errors);
        let environment = read::environment(self.environment.as_deref(), errors);
        let subscription = read::parsed("/subscription", self.subscription.as_deref(), errors);
        Some(ApiKeySpec {
            name: name?,
            expires_at: expires_at?,
            scopes,
            addresses,
            environment,
            subscription,
        })
    }
}

/// The key in a path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct KeyPath {
    /// The key's id
    #[param(inline, value_type = formats::ApiKeyId, example = "0123456789abcdef")]
    id: String,
}

impl KeyPath {
    fn id(&self) -> Result<KeyId, RegistryError> {
        self.id.parse().map_err(|_| RegistryError::NotFound("key"))
    }
}

fn new_key_response(registry: &Registry, made: &ApiKeyWithText, replaces: Option<Predecessor>) -> AdminResponse {
    AdminResponse::created(&ViewWithText {
        view: made.key.record.view(registry),
        key: Some(made.text.expose()),
        replaces,
    })
    .with_revision(made.key.revision)
}

/// Every API key
///
/// Without their secrets. Expired and revoked ones are among them.
#[utoipa::path(get, path = "/admin/v1/keys", tag = "keys", operation_id = "listKeys",
    params(CredentialListing,
        ("state" = inline(Option<ApiKeyStateWord>), Query, description = "In this `state` alone."),
        ("after" = inline(Option<formats::ApiKeyId>), Query, description = "`next` of the page before.")),
    responses((status = 200, description = "A part of the list", body = List)))]
pub(super) async fn list(registry: Registry, Parameters(query): Parameters<CredentialListing>) -> HandlerResult {
    let (filter, page, wanted) = query.read::<KeyId>(&STATES)?;
    let now = registry.now();
    let condition = |key: &ApiKeyRecord| wanted.has(&key.name, state_word(key, now));
    let condition: Option<Condition<'_, _>> = (!wanted.is_any()).then_some(&condition);
    let found = registry.api_keys(filter, &page, condition).await?;
    Ok(AdminResponse::record_page(&registry, found, &page))
}

/// One API key
#[utoipa::path(get, path = "/admin/v1/keys/{id}", tag = "keys", operation_id = "showKey",
    params(KeyPath), responses((status = 200, description = "The key, without its secret", body = View)))]
pub(super) async fn show(registry: Registry, Path(key): Path<KeyPath>) -> HandlerResult {
    let found = registry.api_key(&key.id()?).await?;
    Ok(AdminResponse::record(&registry, &found))
}

/// Make an API key
///
/// Its text is in this answer and nowhere else.
#[utoipa::path(post, path = "/admin/v1/keys", tag = "keys", operation_id = "createKey",
    params(Idempotency),
    request_body = NewKey, responses((status = 201, description = "It is made, and counts", body = ViewWithText)))]
pub(super) async fn create(registry: Registry, Body { body, idempotency }: Body<NewKey>) -> HandlerResult {
    let spec = ValidationErrors::collect(|errors| body.read(registry.now(), errors))?;
    let stored_response = idempotency.stored_response(&registry);
    let make = registry.create_api_key(&spec, &stored_response);
    idempotency
        .run_once(&registry, make, |made| new_key_response(&registry, &made, None))
        .await
}

/// Bring along an API key of another system
///
/// By its SHA-256: its owner goes on using it, and it never comes here.
#[utoipa::path(post, path = "/admin/v1/keys/import", tag = "keys", operation_id = "importKey",
    params(Idempotency),
    request_body = ImportedKey, responses((status = 201, description = "It counts from now on", body = View)))]
pub(super) async fn import(registry: Registry, Body { body, idempotency }: Body<ImportedKey>) -> HandlerResult {
    let key = NewKey {
        name: body.name,
        expires: body.expires,
        scopes: body.scopes,
        addresses: body.addresses,
        environment: body.environment,
        subscription: body.subscription,
    };
    let (digest, spec) = ValidationErrors::collect(|errors| {
        let digest = errors.take("/digest", CredentialDigest::from_hex(&body.digest));
        let spec = key.read(registry.now(), errors);
        digest.zip(spec)
    })?;
    let stored_response = idempotency.stored_response(&registry);
    let make = registry.import_api_key(&spec, digest, &stored_response);
    idempotency
        .run_once(&registry, make, |key| AdminResponse::created_record(&registry, &key))
        .await
}

/// Change an API key
///
/// Its text stays. A disabled key is refused from this instant, and what it has open ends, until it is active again.
#[utoipa::path(patch, path = "/admin/v1/keys/{id}", tag = "keys", operation_id = "changeKey",
    params(KeyPath),
    request_body(content(
        (KeyChange = "application/json"),
        (KeyChange = "application/merge-patch+json"),
    )), responses((status = 200, description = "It is changed", body = View)))]
pub(super) async fn change(
    Change(registry, key, expected, Body { body, .. }): Change<KeyPath, Body<KeyChange>>,
) -> HandlerResult {
    let id = key.id()?;
    let update = ValidationErrors::collect(|errors| Some(body.read(registry.now(), errors)))?;
    let changed = registry.change_api_key(&id, &update, expected).await?;
    Ok(AdminResponse::record(&registry, &changed))
}

/// Revoke an API key
///
/// It is refused from this instant, whatever grace it had, also where the store cannot be written.
#[utoipa::path(post, path = "/admin/v1/keys/{id}/revoke", tag = "keys", operation_id = "revokeKey",
    params(KeyPath), responses((status = 200, description = "It is revoked", body = View),
        (status = 202, description = "In force on this gate; its store cannot be written now", body = PendingRevocation)))]
pub(super) async fn revoke(Change(registry, key, expected, _): Change<KeyPath>) -> HandlerResult {
    let revoked = registry.revoke_api_key(&key.id()?, expected).await?;
    Ok(AdminResponse::revocation(&registry, revoked))
}

/// Make an API key in the place of another
///
/// The old one is refused from this instant, or after a grace that was asked for. The new one may do the same.
#[utoipa::path(post, path = "/admin/v1/keys/{id}/regenerate", tag = "keys", operation_id = "regenerateKey",
    params(("id" = inline(formats::ApiKeyId), Path, description = "The old key's id", example = "0123456789abcdef"),
        Idempotency),
    request_body = Option<Regeneration>, responses((status = 201, description = "The new key counts", body = ViewWithText)))]
pub(super) async fn regenerate(
    Change(registry, key, expected, OptionalBody { body, idempotency }): Change<KeyPath, OptionalBody<Regeneration>>,
) -> HandlerResult {
    let id = key.id()?;
    let (grace, expires_at) = ValidationErrors::collect(|errors| {
        let grace = read::grace(body.grace.as_deref(), errors);
        let expires = body.expires.as_deref();
        let expires = expires.map(|text| errors.take("/expires", lifetime::instant(text, registry.now())));
        Some((grace, expires.flatten()))
    })?;
    let stored_response = idempotency.stored_response(&registry);
    let make = registry.regenerate_api_key(&id, grace, expires_at, expected, &stored_response);
    let respond = |replacement: ApiKeyReplacement| {
        let old = &replacement.replaced.record;
        let replaces = Predecessor {
            id: old.id.to_string(),
            revoked_at: old.revoked_at.map(Time),
        };
        new_key_response(&registry, &replacement.new, Some(replaces))
    };
    idempotency.run_once(&registry, make, respond).await
}
