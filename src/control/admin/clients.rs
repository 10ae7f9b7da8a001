//! Clients over HTTP. The answer that makes a secret has it; no other one does.

use crate::control::admin::answer::Answer;
use crate::control::admin::answer::Answered;
use crate::control::admin::body::Body;
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
use crate::control::registry::clients::AskedChange;
use crate::control::registry::clients::AskedClient;
use crate::control::registry::clients::Authentication;
use crate::control::registry::clients::MadeClient;
use crate::control::registry::jwks_url::JwksUrl;
use crate::control::registry::text::Description;
use crate::control::registry::text::Label;
use crate::model::id::ClientId;
use crate::model::id::SubscriptionId;
use crate::model::scope::Scope;
use crate::model::secret::Secret;
use crate::store::Versioned;
use crate::store::record::ClientRecord;
use crate::store::record::IssuedTokens;
use crate::store::record::client::ClientAuthentication;
use axum::extract::Path;
use serde::Deserialize;
use serde::Serialize;
use utoipa::IntoParams;
use utoipa::ToSchema;

/// A client, without its secret.
#[derive(Serialize, ToSchema)]
#[schema(as = Client)]
pub(in crate::control::admin) struct View {
    /// `client_id`.
    #[schema(example = "client_4Vb8mTq0ZxN7sKe2RcYw1h")]
    id: String,
    /// For people.
    #[schema(example = "nightly export")]
    name: String,
    description: String,
    #[schema(example = "acme")]
    organization: String,
    #[schema(example = "sub_default")]
    subscription: String,
    /// `live` or `sandbox`.
    #[schema(example = "live")]
    environment: &'static str,
    /// `client_secret` or `private_key_jwt`; chosen when it was made, for good.
    #[schema(example = "client_secret")]
    authentication: &'static str,
    /// Where its keys are; `null` where they are here, or it has a secret. That it has one is for good, too.
    #[schema(example = json!(null))]
    jwks_url: Option<String>,
    /// Its secrets that count, the newest first; more than one only while a grace runs.
    secrets: Vec<SecretView>,
    /// The ids of its keys here that count.
    keys: Vec<String>,
    /// The widest its tokens can have, and what they have when none are asked for.
    #[schema(example = json!(["orders:read"]))]
    scopes: Vec<String>,
    /// How long its tokens are good for: `60s`, `5m`, `1h` or `24h`.
    #[schema(example = "1h")]
    token_ttl: &'static str,
    /// `jwt` (RFC 9068) or `opaque`.
    #[schema(example = "jwt")]
    token_format: &'static str,
    /// `active`, `disabled` (gets no tokens until it is active again) or `deleted`.
    #[schema(example = "active")]
    state: &'static str,
    /// Its tokens that were issued before this do not count.
    tokens_not_before: Option<Time>,
    created_at: Time,
    changed_at: Time,
}

/// A client secret; nothing of its text.
#[derive(Serialize, ToSchema)]
#[schema(as = ClientSecret)]
struct SecretView {
    created_at: Time,
    /// From then on it is refused; `null` until it is rotated.
    ends_at: Option<Time>,
}

impl View {
    pub(in crate::control::admin) fn of(record: &ClientRecord, now: crate::model::clock::Timestamp) -> Self {
        let (mut secrets, mut keys, mut jwks_url) = (Vec::new(), Vec::new(), None);
        match &record.authentication {
            ClientAuthentication::ClientSecret { secrets: kept } => {
                let good = kept.iter().filter(|secret| secret.is_good(now));
                secrets.extend(good.map(|secret| SecretView {
                    created_at: Time(secret.created_at),
                    ends_at: secret.ends_at.map(Time),
                }));
            }
            ClientAuthentication::JwksUrl { url } => jwks_url = Some(url.clone()),
            ClientAuthentication::Keys { keys: kept } => {
                let good = kept.iter().filter(|key| key.is_good(now));
                keys.extend(good.map(|key| key.kid.clone()));
            }
        }
        Self {
            id: record.id.to_string(),
            name: record.name.clone(),
            description: record.description.clone(),
            organization: record.organization.to_string(),
            subscription: record.subscription.to_string(),
            environment: environment_word(record.environment),
            authentication: record.authentication.kind().as_str(),
            jwks_url,
            secrets,
            keys,
            scopes: record.scopes.iter().map(Scope::to_string).collect(),
            token_ttl: record.token_ttl.as_str(),
            token_format: record.token_format.as_str(),
            state: record.state.as_str(),
            tokens_not_before: record.tokens_not_before.map(Time),
            created_at: Time(record.created_at),
            changed_at: Time(record.changed_at),
        }
    }
}

/// A client that was given a secret: the one time that it can be seen.
#[derive(Serialize, ToSchema)]
#[schema(as = ClientWithSecret)]
pub(in crate::control::admin) struct Made<'a> {
    #[serde(flatten)]
    view: View,
    /// Of a client with `client_secret`. Not in an answer that is replayed for an Idempotency-Key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "kgs_<43 characters>")]
    client_secret: Option<&'a str>,
}

/// A part of the list of clients.
#[derive(Serialize, ToSchema)]
#[schema(as = ClientList)]
pub(in crate::control::admin) struct List {
    items: Vec<View>,
    /// The `after` of the next page; `null` on the last.
    next: Option<String>,
}

/// What a client is made with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewClient)]
pub(in crate::control::admin) struct New {
    /// 1 to 200 characters, for people.
    #[schema(example = "nightly export", min_length = 1, max_length = 200)]
    name: String,
    /// At most 1000 characters.
    #[schema(max_length = 1000, required = false)]
    description: Option<String>,
    /// `client_secret`, or `private_key_jwt` (RFC 7523). For good.
    #[schema(example = "client_secret")]
    authentication: String,
    /// With `private_key_jwt`: an https URL of its JWK set. Without it, keys are uploaded or made here. For good: one or
    /// the other.
    #[schema(example = json!(null), required = false, max_length = 2048)]
    jwks_url: Option<String>,
    /// The widest its tokens can have; those of the plan when absent, and none where the plan leaves them open.
    #[schema(example = json!(["orders:read"]), required = false)]
    scopes: Option<Vec<String>>,
    /// `60s`, `5m`, `1h` (when absent) or `24h`.
    #[schema(example = "1h", required = false)]
    token_ttl: Option<String>,
    /// `jwt` (when absent) or `opaque`.
    #[schema(example = "jwt", required = false)]
    token_format: Option<String>,
    /// `live` or `sandbox`; the subscription's when absent.
    #[schema(example = "live", required = false)]
    environment: Option<String>,
    /// The built-in one, or the only one of the caller's organization, when absent.
    #[schema(example = "sub_default", required = false)]
    subscription: Option<String>,
}

impl New {
    fn asked(&self, registry: &Registry) -> Result<AskedClient, Refused> {
        let mut mistakes = Mistakes::default();
        let name = mistakes.take("/name", Label::parse(&self.name));
        let description = self.description.as_deref().unwrap_or_default();
        let description = mistakes.take("/description", Description::parse(description));
        let authentication = self.authentication(registry, &mut mistakes);
        let scopes = read::scopes(self.scopes.as_deref(), &mut mistakes);
        let token_ttl = read::token_ttl(self.token_ttl.as_deref(), &mut mistakes);
        let token_format = read::token_format(self.token_format.as_deref(), &mut mistakes);
        let environment = read::environment(self.environment.as_deref(), &mut mistakes);
        let subscription = self.subscription.as_ref();
        let subscription = subscription.and_then(|text| mistakes.take("/subscription", text.parse::<SubscriptionId>()));
        let (Some(name), Some(description), Some(authentication)) = (name, description, authentication) else {
            return Err(mistakes.into());
        };
        mistakes.none()?;
        Ok(AskedClient {
            name,
            description,
            authentication,
            scopes,
            token_ttl: token_ttl.unwrap_or_default(),
            token_format: token_format.unwrap_or_default(),
            environment,
            subscription,
        })
    }

    fn authentication(&self, registry: &Registry, mistakes: &mut Mistakes) -> Option<Authentication> {
        match (self.authentication.as_str(), &self.jwks_url) {
            ("client_secret", None) => Some(Authentication::ClientSecret),
            ("client_secret", Some(_)) => {
                mistakes.add("/jwks_url", "stands only beside `private_key_jwt`");
                None
            }
            ("private_key_jwt", None) => Some(Authentication::Keys),
            ("private_key_jwt", Some(url)) => {
                let url = mistakes.take("/jwks_url", JwksUrl::parse(url, registry.allows_http_jwks()))?;
                Some(Authentication::JwksUrl(url))
            }
            _ => {
                mistakes.add("/authentication", "must be `client_secret` or `private_key_jwt`");
                None
            }
        }
    }
}

/// What is to be other than it was; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ClientChange)]
pub(in crate::control::admin) struct Change {
    /// 1 to 200 characters, for people.
    #[schema(example = "nightly export", min_length = 1, max_length = 200, required = false)]
    name: Option<String>,
    /// At most 1000 characters.
    #[schema(max_length = 1000, required = false)]
    description: Option<String>,
    /// The widest its tokens can have from now on.
    #[schema(example = json!(["orders:read"]), required = false)]
    scopes: Option<Vec<String>>,
    /// `60s`, `5m`, `1h` or `24h`.
    #[schema(example = "1h", required = false)]
    token_ttl: Option<String>,
    /// `jwt` or `opaque`.
    #[schema(example = "jwt", required = false)]
    token_format: Option<String>,
    /// `active` or `disabled`.
    #[schema(example = "disabled", required = false)]
    state: Option<String>,
    /// Another https URL, for a client that has one.
    #[schema(example = json!(null), required = false, max_length = 2048)]
    jwks_url: Option<String>,
}

impl Change {
    fn asked(&self, registry: &Registry) -> Result<AskedChange, Refused> {
        let mut mistakes = Mistakes::default();
        let name = self.name.as_deref();
        let description = self.description.as_deref();
        let url = self.jwks_url.as_deref();
        let active = self.state.as_deref().map(|text| match text {
            "active" => Ok(true),
            "disabled" => Ok(false),
            _ => Err("must be `active` or `disabled`; DELETE deletes a client"),
        });
        let asked = AskedChange {
            name: name.and_then(|text| mistakes.take("/name", Label::parse(text))),
            description: description.and_then(|text| mistakes.take("/description", Description::parse(text))),
            scopes: read::scopes(self.scopes.as_deref(), &mut mistakes),
            token_ttl: read::token_ttl(self.token_ttl.as_deref(), &mut mistakes),
            token_format: read::token_format(self.token_format.as_deref(), &mut mistakes),
            jwks_url: url
                .and_then(|text| mistakes.take("/jwks_url", JwksUrl::parse(text, registry.allows_http_jwks()))),
            active: active.and_then(|active| mistakes.take("/state", active)),
        };
        mistakes.none()?;
        Ok(asked)
    }
}

/// How a secret is rotated.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RotateClientSecret)]
pub(in crate::control::admin) struct Rotate {
    /// How long the old secret stays good: at most `24h`. Not at all when absent.
    #[schema(example = "24h", required = false)]
    grace: Option<String>,
}

/// How a client is regenerated.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RegenerateClient)]
pub(in crate::control::admin) struct Regenerate {
    /// End the old client's tokens as well; otherwise they stay good until they expire.
    #[schema(required = false)]
    revoke_tokens: Option<bool>,
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

/// What becomes of tokens that are out.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::control::admin) struct Ending {
    /// End the client's tokens as well; otherwise they stay good until they expire.
    #[param(default = false, required = false)]
    revoke_tokens: Option<bool>,
}

impl Ending {
    pub(in crate::control::admin) fn tokens(&self) -> IssuedTokens {
        tokens(self.revoke_tokens)
    }
}

const fn tokens(revoke: Option<bool>) -> IssuedTokens {
    match revoke {
        Some(true) => IssuedTokens::End,
        Some(false) | None => IssuedTokens::Stay,
    }
}

pub(in crate::control::admin) fn id(text: &str) -> Result<ClientId, Refused> {
    text.parse().map_err(|_| Refused::NotFound("client"))
}

fn told(registry: &Registry, found: &Versioned<ClientRecord>) -> Answer {
    Answer::json(&View::of(&found.record, registry.now())).at(found.revision)
}

fn with_secret(registry: &Registry, made: &MadeClient) -> Answer {
    let body = Made {
        view: View::of(&made.client.record, registry.now()),
        client_secret: made.secret.as_ref().map(Secret::expose).map(String::as_str),
    };
    Answer::created(&body).at(made.client.revision)
}

/// Every client
///
/// Without their secrets. Deleted ones are among them, for those who look for where a token came from.
#[utoipa::path(get, path = "/admin/v1/clients", tag = "clients", operation_id = "listClients",
    params(Listing), responses((status = 200, description = "A part of the list", body = List)))]
pub(in crate::control::admin) async fn list(registry: Registry, Asking(asked): Asking<Listing>) -> Answered {
    let page = query::page(asked.limit, asked.after)?;
    let organization = query::parsed("organization", asked.organization.as_deref())?;
    let subscription = query::parsed("subscription", asked.subscription.as_deref())?;
    let found = registry.clients(organization, subscription, &page).await?;
    Ok(query::listed(
        found,
        &page,
        |found| found.record.id.to_string(),
        |found| View::of(&found.record, registry.now()),
    ))
}

/// One client
#[utoipa::path(get, path = "/admin/v1/clients/{id}", tag = "clients", operation_id = "showClient",
    params(("id" = String, Path, description = "`client_id`", example = "client_4Vb8mTq0ZxN7sKe2RcYw1h")),
    responses((status = 200, description = "The client, without its secret", body = View)))]
pub(in crate::control::admin) async fn show(registry: Registry, Path(text): Path<String>) -> Answered {
    let found = registry.client(&id(&text)?).await?;
    Ok(told(&registry, &found))
}

/// Make a client
///
/// Its secret, if it is to have one, is in this answer and nowhere else.
#[utoipa::path(post, path = "/admin/v1/clients", tag = "clients", operation_id = "createClient",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes it once, however often it is sent: 1 to 255 visible ASCII characters")),
    request_body = New, responses((status = 201, description = "It is made, and gets tokens", body = Made)))]
pub(in crate::control::admin) async fn create(registry: Registry, Create { body, remember }: Create<New>) -> Answered {
    let asked = body.asked(&registry)?;
    let keep = |made: &Versioned<ClientRecord>| {
        let remember = remember.as_ref()?;
        Some(remember.answer(&View::of(&made.record, registry.now()), registry.now()))
    };
    let make = registry.create_client(&asked, &keep);
    once(&registry, remember.as_ref(), make, |made| with_secret(&registry, &made)).await
}

/// Change a client
///
/// Tokens that are out keep what they were issued with.
#[utoipa::path(patch, path = "/admin/v1/clients/{id}", tag = "clients", operation_id = "changeClient",
    params(("id" = String, Path, description = "`client_id`", example = "client_4Vb8mTq0ZxN7sKe2RcYw1h")),
    request_body = Change, responses((status = 200, description = "It is changed", body = View)))]
pub(in crate::control::admin) async fn change(
    registry: Registry,
    Path(text): Path<String>,
    IfMatch(expected): IfMatch,
    Body(body): Body<Change>,
) -> Answered {
    let id = id(&text)?;
    let asked = body.asked(&registry)?;
    let changed = registry.change_client(&id, &asked, expected).await?;
    Ok(told(&registry, &changed))
}

/// Delete a client
///
/// For good: it gets no tokens any more. Those that are out stay good until they expire, unless `revoke_tokens`.
#[utoipa::path(delete, path = "/admin/v1/clients/{id}", tag = "clients", operation_id = "deleteClient",
    params(("id" = String, Path, description = "`client_id`", example = "client_4Vb8mTq0ZxN7sKe2RcYw1h"), Ending),
    responses((status = 200, description = "It is deleted", body = View)))]
pub(in crate::control::admin) async fn delete(
    registry: Registry,
    Path(text): Path<String>,
    Asking(ending): Asking<Ending>,
    IfMatch(expected): IfMatch,
    _: OptionalBody<Nothing>,
) -> Answered {
    let deleted = registry.delete_client(&id(&text)?, ending.tokens(), expected).await?;
    Ok(told(&registry, &deleted))
}

/// Give a client another secret
///
/// Its id stays. The old secret ends at once, or after a grace that was asked for.
#[utoipa::path(post, path = "/admin/v1/clients/{id}/secret/rotate", tag = "clients", operation_id = "rotateClientSecret",
    params(("id" = String, Path, description = "`client_id`", example = "client_4Vb8mTq0ZxN7sKe2RcYw1h")),
    request_body = Option<Rotate>, responses((status = 201, description = "The new secret counts", body = Made)))]
pub(in crate::control::admin) async fn rotate_secret(
    registry: Registry,
    Path(text): Path<String>,
    IfMatch(expected): IfMatch,
    OptionalBody(body): OptionalBody<Rotate>,
) -> Answered {
    let id = id(&text)?;
    let mut mistakes = Mistakes::default();
    let grace = read::grace(body.grace.as_deref(), &mut mistakes);
    mistakes.none()?;
    let rotated = registry.rotate_client_secret(&id, grace, expected).await?;
    Ok(with_secret(&registry, &rotated))
}

/// Make a client in the place of another
///
/// With a new id and a new secret; the old one is deleted.
#[utoipa::path(post, path = "/admin/v1/clients/{id}/secret/regenerate", tag = "clients", operation_id = "regenerateClient",
    params(("id" = String, Path, description = "`client_id`", example = "client_4Vb8mTq0ZxN7sKe2RcYw1h"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes it once, however often it is sent: 1 to 255 visible ASCII characters")),
    request_body = Option<Regenerate>, responses((status = 201, description = "The new client gets tokens", body = Made)))]
pub(in crate::control::admin) async fn regenerate(
    registry: Registry,
    Path(text): Path<String>,
    IfMatch(expected): IfMatch,
    CreateFrom { body, remember }: CreateFrom<Regenerate>,
) -> Answered {
    let id = id(&text)?;
    let keep = |made: &Versioned<ClientRecord>| {
        let remember = remember.as_ref()?;
        Some(remember.answer(&View::of(&made.record, registry.now()), registry.now()))
    };
    let make = registry.regenerate_client(&id, tokens(body.revoke_tokens), expected, &keep);
    once(&registry, remember.as_ref(), make, |made| with_secret(&registry, &made)).await
}

/// End every token that a client has got
///
/// It may get new ones.
#[utoipa::path(post, path = "/admin/v1/clients/{id}/revoke-tokens", tag = "clients", operation_id = "revokeClientTokens",
    params(("id" = String, Path, description = "`client_id`", example = "client_4Vb8mTq0ZxN7sKe2RcYw1h")),
    responses((status = 200, description = "They are refused from now on", body = View)))]
pub(in crate::control::admin) async fn revoke_tokens(
    registry: Registry,
    Path(text): Path<String>,
    IfMatch(expected): IfMatch,
    _: OptionalBody<Nothing>,
) -> Answered {
    let ended = registry.revoke_client_tokens(&id(&text)?, expected).await?;
    Ok(told(&registry, &ended))
}
