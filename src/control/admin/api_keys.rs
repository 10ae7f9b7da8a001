//! API keys over HTTP. The answer that makes a key has its text; every other one has what it can be recognised by.

use crate::control::admin::answer::Answer;
use crate::control::admin::answer::Answered;
use crate::control::admin::body::Create;
use crate::control::admin::body::CreateFrom;
use crate::control::admin::body::Nothing;
use crate::control::admin::body::OptionalBody;
use crate::control::admin::idempotency::once;
use crate::control::admin::issuers::Time;
use crate::control::admin::query;
use crate::control::admin::query::Asking;
use crate::control::admin::query::IfMatch;
use crate::control::admin::read;
use crate::control::admin::subscriptions::environment_word;
use crate::control::registry::Mistakes;
use crate::control::registry::Refused;
use crate::control::registry::Registry;
use crate::control::registry::api_keys::AskedKey;
use crate::control::registry::api_keys::MadeKey;
use crate::control::registry::api_keys::RegeneratedKey;
use crate::control::registry::text::Label;
use crate::model::api_key::KeyDigest;
use crate::model::api_key::KeyId;
use crate::model::api_key::obfuscated;
use crate::model::clock::Timestamp;
use crate::model::directory::KeyOrigin;
use crate::model::expires;
use crate::model::id::SubscriptionId;
use crate::model::scope::Scope;
use crate::store::Versioned;
use crate::store::record::ApiKeyRecord;
use axum::extract::Path;
use serde::Deserialize;
use serde::Serialize;
use utoipa::IntoParams;
use utoipa::ToSchema;

/// An API key, without its secret.
#[derive(Serialize, ToSchema)]
#[schema(as = ApiKey)]
pub(in crate::control::admin) struct View {
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
    /// `active`, `ending` (good until `revoked_at`), `expired` or `revoked`.
    #[schema(example = "active")]
    state: &'static str,
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

impl View {
    fn of(record: &ApiKeyRecord, prefix: &str, now: Timestamp) -> Self {
        Self {
            id: record.id.to_string(),
            key_hint: match record.origin {
                KeyOrigin::Own => obfuscated(prefix, record.environment, record.id),
                KeyOrigin::Imported => "(imported)".to_owned(),
            },
            name: record.name.clone(),
            organization: record.organization.to_string(),
            subscription: record.subscription.to_string(),
            environment: environment_word(record.environment),
            scopes: record.scopes.iter().map(Scope::to_string).collect(),
            addresses: record.addresses.iter().map(ToString::to_string).collect(),
            state: match (record.is_revoked(now), record.is_expired(now), record.revoked_at) {
                (true, _, _) => "revoked",
                (false, true, _) => "expired",
                (false, false, Some(_)) => "ending",
                (false, false, None) => "active",
            },
            created_at: Time(record.created_at),
            expires_at: record.expires_at.map(Time),
            revoked_at: record.revoked_at.map(Time),
            replaced_by: record.replaced_by.map(|id| id.to_string()),
            last_used_at: record.last_used_at.map(Time),
            imported: record.origin == KeyOrigin::Imported,
        }
    }
}

/// A new API key, and its text: the one time that it can be seen.
#[derive(Serialize, ToSchema)]
#[schema(as = NewlyMadeApiKey)]
pub(in crate::control::admin) struct Made<'a> {
    #[serde(flatten)]
    view: View,
    /// Sent as `x-api-key`. Not in an answer that is replayed for an Idempotency-Key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "kg_live_0123456789abcdef_<43 characters of secret><6 of check>")]
    key: Option<&'a str>,
    /// The key that this one was made in the place of.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    replaces: Option<Replaced>,
}

/// A key that another was made in the place of.
#[derive(Clone, Serialize, ToSchema)]
#[schema(as = ReplacedApiKey)]
struct Replaced {
    #[schema(example = "0123456789abcdef")]
    id: String,
    /// From then on it is refused.
    revoked_at: Option<Time>,
}

/// A part of the list of keys.
#[derive(Serialize, ToSchema)]
#[schema(as = ApiKeyList)]
pub(in crate::control::admin) struct List {
    items: Vec<View>,
    /// The `after` of the next page; `null` on the last.
    next: Option<String>,
}

/// What an API key is made with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewApiKey)]
pub(in crate::control::admin) struct New {
    /// 1 to 200 characters, for people.
    #[schema(example = "ci", min_length = 1, max_length = 200)]
    name: String,
    /// `90d`, `6mo` (at most 730 days), an instant (RFC 3339), or `never`. There is no default: a key that never expires
    /// is somebody's decision.
    #[schema(example = "90d")]
    expires: String,
    /// Those of the plan when absent; none where the plan leaves them open.
    #[schema(example = json!(["orders:read"]), required = false)]
    scopes: Option<Vec<String>>,
    /// Addresses and ranges that it may be used from; everywhere when absent.
    #[schema(example = json!(["192.0.2.0/24"]), required = false)]
    addresses: Option<Vec<String>>,
    /// `live` or `sandbox`; the subscription's when absent.
    #[schema(example = "live", required = false)]
    environment: Option<String>,
    /// The built-in one, or the only one of the caller's organization, when absent.
    #[schema(example = "sub_default", required = false)]
    subscription: Option<String>,
}

/// What a key of another system is brought along with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ImportedApiKey)]
pub(in crate::control::admin) struct Import {
    /// SHA-256 of the key's whole text: 64 lower-case hexadecimal digits (`printf %s "$KEY" | sha256sum`).
    #[schema(
        example = "ef4be9c2bb3a4ca0e0c5b1ba3b9a4a5a1f4d0d4cdeb7f8e0d3a1e2c1c4b5a697",
        pattern = "^[0-9a-f]{64}$"
    )]
    digest: String,
    /// 1 to 200 characters, for people.
    #[schema(example = "ci", min_length = 1, max_length = 200)]
    name: String,
    /// `90d`, `6mo` (at most 730 days), an instant (RFC 3339), or `never`.
    #[schema(example = "never")]
    expires: String,
    /// Those of the plan when absent; none where the plan leaves them open.
    #[schema(example = json!(["orders:read"]), required = false)]
    scopes: Option<Vec<String>>,
    /// Addresses and ranges that it may be used from; everywhere when absent.
    #[schema(example = json!(["192.0.2.0/24"]), required = false)]
    addresses: Option<Vec<String>>,
    /// `live` or `sandbox`; the subscription's when absent.
    #[schema(example = "live", required = false)]
    environment: Option<String>,
    /// The built-in one, or the only one of the caller's organization, when absent.
    #[schema(example = "sub_default", required = false)]
    subscription: Option<String>,
}

/// How a key is regenerated.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RegenerateApiKey)]
pub(in crate::control::admin) struct Regenerate {
    /// How long the old key stays good: at most `24h`. Not at all when absent.
    #[schema(example = "24h", required = false)]
    grace: Option<String>,
    /// As when making one; as long as the old key was made for when absent.
    #[schema(example = "90d", required = false)]
    expires: Option<String>,
}

/// Which part of the list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::control::admin) struct Listing {
    /// Of this organization alone.
    #[param(required = false)]
    organization: Option<String>,
    /// Of this subscription alone.
    #[param(required = false)]
    subscription: Option<String>,
    /// At most so many items.
    #[param(minimum = 1, maximum = 200, default = 50, required = false)]
    limit: Option<u32>,
    /// `next` of the page before.
    #[param(required = false)]
    after: Option<String>,
}

impl New {
    fn asked(&self, now: Timestamp) -> Result<AskedKey, Refused> {
        let mut mistakes = Mistakes::default();
        let name = mistakes.take("/name", Label::parse(&self.name));
        let expires_at = mistakes.take("/expires", expires::instant(&self.expires, now));
        let scopes = read::scopes(self.scopes.as_deref(), &mut mistakes);
        let addresses = read::addresses(self.addresses.as_deref(), &mut mistakes);
        let environment = read::environment(self.environment.as_deref(), &mut mistakes);
        let subscription = self.subscription.as_ref();
        let subscription = subscription.and_then(|text| mistakes.take("/subscription", text.parse::<SubscriptionId>()));
        let (Some(name), Some(expires_at)) = (name, expires_at) else {
            return Err(mistakes.into());
        };
        mistakes.none()?;
        Ok(AskedKey {
            name,
            expires_at,
            scopes,
            addresses,
            environment,
            subscription,
        })
    }
}

fn id(text: &str) -> Result<KeyId, Refused> {
    text.parse().map_err(|_| Refused::NotFound("key"))
}

/// How keys are shown by this registry.
#[derive(Clone)]
struct Shown {
    prefix: String,
    now: Timestamp,
}

impl Shown {
    fn by(registry: &Registry) -> Self {
        Self {
            prefix: registry.key_prefix(),
            now: registry.now(),
        }
    }

    fn view(&self, record: &ApiKeyRecord) -> View {
        View::of(record, &self.prefix, self.now)
    }

    fn told(&self, found: &Versioned<ApiKeyRecord>) -> Answer {
        Answer::json(&self.view(&found.record)).at(found.revision)
    }

    fn made(&self, made: &MadeKey, replaces: Option<Replaced>) -> Answer {
        Answer::created(&Made {
            view: self.view(&made.key.record),
            key: Some(made.text.expose()),
            replaces,
        })
        .at(made.key.revision)
    }
}

/// Every API key
///
/// Without their secrets. Expired and revoked ones are among them.
#[utoipa::path(get, path = "/admin/v1/keys", tag = "keys", operation_id = "listKeys",
    params(Listing), responses((status = 200, description = "A part of the list", body = List)))]
pub(in crate::control::admin) async fn list(registry: Registry, Asking(asked): Asking<Listing>) -> Answered {
    let page = query::page(asked.limit, asked.after)?;
    let organization = query::parsed("organization", asked.organization.as_deref())?;
    let subscription = query::parsed("subscription", asked.subscription.as_deref())?;
    let found = registry.api_keys(organization, subscription, &page).await?;
    let shown = Shown::by(&registry);
    Ok(query::listed(
        found,
        &page,
        |found| found.record.id.to_string(),
        |found| shown.view(&found.record),
    ))
}

/// One API key
#[utoipa::path(get, path = "/admin/v1/keys/{id}", tag = "keys", operation_id = "showKey",
    params(("id" = String, Path, description = "The key's id", example = "0123456789abcdef")),
    responses((status = 200, description = "The key, without its secret", body = View)))]
pub(in crate::control::admin) async fn show(registry: Registry, Path(text): Path<String>) -> Answered {
    let found = registry.api_key(&id(&text)?).await?;
    Ok(Shown::by(&registry).told(&found))
}

/// Make an API key
///
/// Its text is in this answer and nowhere else.
#[utoipa::path(post, path = "/admin/v1/keys", tag = "keys", operation_id = "createKey",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes it once, however often it is sent: 1 to 255 visible ASCII characters")),
    request_body = New, responses((status = 201, description = "It is made, and counts", body = Made)))]
pub(in crate::control::admin) async fn create(registry: Registry, Create { body, remember }: Create<New>) -> Answered {
    let asked = body.asked(registry.now())?;
    let shown = Shown::by(&registry);
    let keep = |made: &Versioned<ApiKeyRecord>| {
        let remember = remember.as_ref()?;
        Some(remember.answer(&shown.view(&made.record), shown.now))
    };
    let make = registry.create_api_key(&asked, &keep);
    once(&registry, remember.as_ref(), make, |made| shown.made(&made, None)).await
}

/// Bring along an API key of another system
///
/// By its SHA-256: its owner goes on using it, and it never comes here.
#[utoipa::path(post, path = "/admin/v1/keys/import", tag = "keys", operation_id = "importKey",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes it once, however often it is sent: 1 to 255 visible ASCII characters")),
    request_body = Import, responses((status = 201, description = "It counts from now on", body = View)))]
pub(in crate::control::admin) async fn import(
    registry: Registry,
    Create { body, remember }: Create<Import>,
) -> Answered {
    let mut mistakes = Mistakes::default();
    let digest = mistakes.take("/digest", KeyDigest::from_hex(&body.digest));
    let new = New {
        name: body.name,
        expires: body.expires,
        scopes: body.scopes,
        addresses: body.addresses,
        environment: body.environment,
        subscription: body.subscription,
    };
    let asked = match (new.asked(registry.now()), digest) {
        (Ok(asked), Some(digest)) => (asked, digest),
        (Ok(_), None) => return Err(Refused::from(mistakes).into()),
        (Err(Refused::Invalid(more)), _) => {
            for mistake in more.as_slice() {
                mistakes.add(&mistake.pointer, &mistake.detail);
            }
            return Err(Refused::from(mistakes).into());
        }
        (Err(refused), _) => return Err(refused.into()),
    };
    let shown = Shown::by(&registry);
    let keep = |made: &Versioned<ApiKeyRecord>| {
        let remember = remember.as_ref()?;
        Some(remember.answer(&shown.view(&made.record), shown.now))
    };
    let make = registry.import_api_key(&asked.0, asked.1, &keep);
    once(&registry, remember.as_ref(), make, |made| {
        Answer::created(&shown.view(&made.record)).at(made.revision)
    })
    .await
}

/// Revoke an API key
///
/// It is refused from this instant, whatever grace it had.
#[utoipa::path(post, path = "/admin/v1/keys/{id}/revoke", tag = "keys", operation_id = "revokeKey",
    params(("id" = String, Path, description = "The key's id", example = "0123456789abcdef")),
    responses((status = 200, description = "It is revoked", body = View)))]
pub(in crate::control::admin) async fn revoke(
    registry: Registry,
    Path(text): Path<String>,
    IfMatch(expected): IfMatch,
    _: OptionalBody<Nothing>,
) -> Answered {
    let revoked = registry.revoke_api_key(&id(&text)?, expected).await?;
    Ok(Shown::by(&registry).told(&revoked))
}

/// Make an API key in the place of another
///
/// The old one is refused from this instant, or after a grace that was asked for. The new one may do the same.
#[utoipa::path(post, path = "/admin/v1/keys/{id}/regenerate", tag = "keys", operation_id = "regenerateKey",
    params(("id" = String, Path, description = "The old key's id", example = "0123456789abcdef"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes it once, however often it is sent: 1 to 255 visible ASCII characters")),
    request_body = Option<Regenerate>, responses((status = 201, description = "The new key counts", body = Made)))]
pub(in crate::control::admin) async fn regenerate(
    registry: Registry,
    Path(text): Path<String>,
    IfMatch(expected): IfMatch,
    CreateFrom { body, remember }: CreateFrom<Regenerate>,
) -> Answered {
    let id = id(&text)?;
    let mut mistakes = Mistakes::default();
    let grace = read::grace(body.grace.as_deref(), &mut mistakes);
    let expires = body.expires.as_deref();
    let expires = expires.map(|text| mistakes.take("/expires", expires::instant(text, registry.now())));
    mistakes.none()?;
    let shown = Shown::by(&registry);
    let keep = |made: &Versioned<ApiKeyRecord>| {
        let remember = remember.as_ref()?;
        Some(remember.answer(&shown.view(&made.record), shown.now))
    };
    let make = registry.regenerate_api_key(&id, grace, expires.flatten(), expected, &keep);
    let told = |regenerated: RegeneratedKey| {
        let old = &regenerated.replaced.record;
        let replaces = Replaced {
            id: old.id.to_string(),
            revoked_at: old.revoked_at.map(Time),
        };
        shown.made(&regenerated.made, Some(replaces))
    };
    once(&registry, remember.as_ref(), make, told).await
}
