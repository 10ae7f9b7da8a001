//! Clients over HTTP. Only the response that creates a secret contains it.

use crate::control::admin::body::Body;
use crate::control::admin::body::NoBody;
use crate::control::admin::body::OptionalBody;
use crate::control::admin::body::kept_changed_or_removed;
use crate::control::admin::body::kept_or_changed;
use crate::control::admin::change::Change;
use crate::control::admin::formats;
use crate::control::admin::formats::only_word;
use crate::control::admin::idempotency::Idempotency;
use crate::control::admin::jwks_health;
use crate::control::admin::query::CredentialListing;
use crate::control::admin::query::IfMatch;
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
use crate::control::registry::clients::Authentication;
use crate::control::registry::clients::ClientSpec;
use crate::control::registry::clients::ClientUpdate;
use crate::control::registry::clients::ClientWithSecret;
use crate::control::registry::jwks_url::JwksUrl;
use crate::control::registry::text::Description;
use crate::control::registry::text::Label;
use crate::control::standing::SubscriptionCheckError;
use crate::model::algorithm::Algorithm;
use crate::model::id::ClientId;
use crate::model::plan::CredentialKind;
use crate::model::scope::Scope;
use crate::model::secret::Secret;
use crate::model::subscription::Standing;
use crate::store::record::ClientRecord;
use crate::store::record::IssuedTokens;
use crate::store::record::client::ClientAuthentication;
use crate::store::record::client::ClientState;
use axum::extract::Path;
use serde::Deserialize;
use serde::Serialize;
use utoipa::IntoParams;
use utoipa::ToSchema;

/// A client, without its secret.
#[derive(Serialize, ToSchema)]
#[schema(as = Client)]
pub(super) struct View {
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
    /// Where it gets its tokens; `null` where the gate has no token endpoint.
    #[schema(example = "https://auth.example.com/oauth/token")]
    token_endpoint: Option<String>,
    /// What its assertions may be signed with; empty where it has a secret.
    #[schema(example = json!(["RS256", "PS256", "ES256", "EdDSA"]))]
    algorithms: Vec<&'static str>,
    /// Where its keys are; `null` where they are here, or it has a secret. That it has one is for good, too.
    #[schema(example = json!(null))]
    jwks_url: Option<String>,
    /// How the keys behind that URL are, as this gate knows; `null` without one, and where no gate runs.
    jwks: Option<jwks_health::View>,
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
    /// `active`, `disabled` (gets no tokens until it is active again), `cancelled` (its subscription is, so it gets none
    /// for good) or `deleted`.
    #[schema(example = "active")]
    state: &'static str,
    /// `good`, or why its subscription and its plan give it no tokens now: `subscription_pending`,
    /// `subscription_provisioning_failed`, `subscription_cancelled`, `payment_due`, `plan_not_released`, `sandbox_only`,
    /// `plan_gone`, `credential_not_in_plan`.
    #[schema(example = "good")]
    standing: &'static str,
    /// The same for people, and what to do about it; `null` where it is `good`.
    #[schema(example = json!(null))]
    locked: Option<String>,
    /// What a portal offers to replace its credential: `rotate_secret` (its id stays) where it has a secret, else
    /// `regenerate`; `null` while it is locked, and once it is deleted.
    #[schema(example = "rotate_secret")]
    action: Option<&'static str>,
    /// Its tokens that were issued before this do not count.
    tokens_not_before: Option<Time>,
    created_at: Time,
    changed_at: Time,
}

/// A client secret, without its text.
#[derive(Serialize, ToSchema)]
#[schema(as = ClientSecret)]
struct SecretView {
    /// Its obfuscated form, with its last four characters; `null` for one that an earlier version made.
    #[schema(example = "kgs_…aB3x")]
    hint: Option<String>,
    created_at: Time,
    /// From then on it is refused; `null` until it is rotated.
    ends_at: Option<Time>,
}

impl Resource for ClientRecord {
    type View = View;

    fn view(&self, registry: &Registry) -> View {
        let now = registry.now();
        let (mut secrets, mut keys, mut jwks_url, mut jwks) = (Vec::new(), Vec::new(), None, None);
        match &self.authentication {
            ClientAuthentication::ClientSecret { secrets: stored } => {
                let good = stored.iter().filter(|secret| secret.is_valid(now));
                secrets.extend(good.map(|secret| SecretView {
                    hint: Some(secret.hint.clone()).filter(|hint| !hint.is_empty()),
                    created_at: Time(secret.created_at),
                    ends_at: secret.ends_at.map(Time),
                }));
            }
            ClientAuthentication::JwksUrl { url } => {
                jwks_url = Some(url.clone());
                jwks = registry.jwks_health(&self.id, url).map(jwks_health::View::of);
            }
            ClientAuthentication::Keys { keys: stored } => {
                let good = stored.iter().filter(|key| key.is_valid());
                keys.extend(good.map(|key| key.kid.clone()));
            }
        }
        let kind = self.authentication.kind();
        let checked = registry.check_client(self);
        View {
            id: self.id.to_string(),
            name: self.name.clone(),
            description: self.description.clone(),
            organization: self.organization.to_string(),
            subscription: self.subscription.to_string(),
            environment: environment_word(self.environment),
            authentication: kind.as_str(),
            token_endpoint: registry.token_url(&self.organization),
            algorithms: match kind {
                CredentialKind::PrivateKeyJwt => {
                    let algorithms = registry.assertion_algorithms(&self.subscription);
                    algorithms.into_iter().map(Algorithm::as_str).collect()
                }
                CredentialKind::ClientSecret | CredentialKind::ApiKey => Vec::new(),
            },
            jwks_url,
            jwks,
            secrets,
            keys,
            scopes: self.scopes.iter().map(Scope::to_string).collect(),
            token_ttl: self.token_ttl.as_str(),
            token_format: self.token_format.as_str(),
            state: state_word(self.state, checked),
            standing: standing::word(checked),
            locked: standing::lock(checked),
            action: match self.state {
                ClientState::Active | ClientState::Disabled => checked.is_ok().then(|| standing::action(kind)),
                ClientState::Deleted => None,
            },
            tokens_not_before: self.tokens_not_before.map(Time),
            created_at: Time(self.created_at),
            changed_at: Time(self.changed_at),
        }
    }
}

const STATES: [&str; 4] = ["active", "disabled", "cancelled", "deleted"];

formats::schema!(
    ClientStateWord,
    "active",
    "The state of a client.",
    formats::words(STATES)
);

/// Returns the word for a client's state. A cancelled subscription never comes back, so the client's own state would
/// promise tokens that it cannot get.
fn state_word(state: ClientState, checked: Result<(), SubscriptionCheckError>) -> &'static str {
    let is_cancelled = checked == Err(SubscriptionCheckError::Standing(Standing::Cancelled));
    match state {
        ClientState::Active | ClientState::Disabled if is_cancelled => "cancelled",
        ClientState::Active | ClientState::Disabled | ClientState::Deleted => state.as_str(),
    }
}

/// A client that was given a secret: the one time that it can be seen.
#[derive(Serialize, ToSchema)]
#[schema(as = ClientWithSecret)]
pub(super) struct ViewWithSecret<'a> {
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
pub(super) struct List {
    items: Vec<View>,
    /// The `after` of the next page; `null` on the last.
    next: Option<String>,
}

/// What a client is made with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewClient {
    /// 1 to 200 characters, for people.
    #[schema(value_type = formats::Label)]
    name: String,
    /// At most 1000 characters.
    #[schema(value_type = Option<formats::Description>, required = false)]
    description: Option<String>,
    /// `client_secret`, or `private_key_jwt` (RFC 7523). For good.
    authentication: String,
    /// With `private_key_jwt`: an https URL of its JWK set. Without it, keys are uploaded or made here. For good: one or
    /// the other.
    #[schema(value_type = Option<formats::JwksUrl>, required = false)]
    jwks_url: Option<String>,
    /// The widest its tokens can have; those of the plan when absent, and none where the plan leaves them open.
    #[schema(value_type = Option<Vec<formats::ScopeToken>>, max_items = 100, example = json!(["orders:read"]), required = false)]
    scopes: Option<Vec<String>>,
    /// `60s`, `5m`, `1h` (when absent) or `24h`.
    #[schema(value_type = Option<formats::TokenTtl>, required = false)]
    token_ttl: Option<String>,
    /// `jwt` (when absent) or `opaque`.
    #[schema(value_type = Option<formats::TokenFormat>, required = false)]
    token_format: Option<String>,
    /// `live` or `sandbox`; the subscription's when absent.
    #[schema(value_type = Option<formats::Environment>, required = false)]
    environment: Option<String>,
    /// The built-in one, or the only one of the caller's organization, when absent.
    #[schema(value_type = Option<formats::SubscriptionId>, required = false)]
    subscription: Option<String>,
}

formats::forms!(
    NewClientForms,
    NewClient,
    "NewClient",
    [
        |body| {
            only_word(body, "authentication", CredentialKind::ClientSecret.as_str());
            body.properties.remove("jwks_url");
        },
        |body| only_word(body, "authentication", CredentialKind::PrivateKeyJwt.as_str()),
    ]
);

impl NewClient {
    fn read(&self, registry: &Registry, errors: &mut ValidationErrors) -> Option<ClientSpec> {
        let name = errors.take("/name", Label::parse(&self.name));
        let description = self.description.as_deref().unwrap_or_default();
        let description = errors.take("/description", Description::parse(description));
        let authentication = self.authentication(registry, errors);
        let scopes = read::scopes(self.scopes.as_deref(), errors);
        let token_ttl = read::token_ttl(self.token_ttl.as_deref(), errors);
        let token_format = read::token_format(self.token_format.as_deref(), errors);
        let environment = read::environment(self.environment.as_deref(), errors);
        let subscription = read::parsed("/subscription", self.subscription.as_deref(), errors);
        Some(ClientSpec {
            name: name?,
            description: description?,
            authentication: authentication?,
            scopes,
            token_ttl: token_ttl.unwrap_or_default(),
            token_format: token_format.unwrap_or_default(),
            environment,
            subscription,
        })
    }

    fn authentication(&self, registry: &Registry, errors: &mut ValidationErrors) -> Option<Authentication> {
        match (self.authentication.as_str(), &self.jwks_url) {
            ("client_secret", None) => Some(Authentication::ClientSecret),
            ("client_secret", Some(_)) => {
                errors.add("/jwks_url", "stands only beside `private_key_jwt`");
                None
            }
            ("private_key_jwt", None) => Some(Authentication::Keys),
            ("private_key_jwt", Some(url)) => {
                let url = errors.take("/jwks_url", JwksUrl::parse(url, registry.allows_http_jwks()))?;
                Some(Authentication::JwksUrl(url))
            }
            _ => {
                errors.add("/authentication", "must be `client_secret` or `private_key_jwt`");
                None
            }
        }
    }
}

/// What is to be other than it was; what is absent stays, and `null` removes (RFC 7396).
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ClientChange)]
pub(super) struct ClientChange {
    /// 1 to 200 characters, for people.
    #[serde(default, deserialize_with = "kept_or_changed")]
    #[schema(value_type = formats::Label, required = false)]
    name: Option<String>,
    /// At most 1000 characters; `null` removes it.
    #[serde(default, deserialize_with = "kept_changed_or_removed")]
    #[schema(value_type = Option<formats::Description>, required = false)]
    description: Option<String>,
    /// The widest its tokens can have from now on.
    #[serde(default, deserialize_with = "kept_or_changed")]
    #[schema(value_type = Vec<formats::ScopeToken>, max_items = 100, example = json!(["orders:read"]), required = false)]
    scopes: Option<Vec<String>>,
    /// `60s`, `5m`, `1h` or `24h`.
    #[serde(default, deserialize_with = "kept_or_changed")]
    #[schema(value_type = formats::TokenTtl, required = false)]
    token_ttl: Option<String>,
    /// `jwt` or `opaque`.
    #[serde(default, deserialize_with = "kept_or_changed")]
    #[schema(value_type = formats::TokenFormat, required = false)]
    token_format: Option<String>,
    /// `active` or `disabled`.
    #[serde(default, deserialize_with = "kept_or_changed")]
    #[schema(value_type = formats::CredentialSwitch, required = false)]
    state: Option<String>,
    /// Another https URL, for a client that has one.
    #[serde(default, deserialize_with = "kept_or_changed")]
    #[schema(value_type = formats::JwksUrl, required = false)]
    jwks_url: Option<String>,
}

impl ClientChange {
    fn read(&self, registry: &Registry, errors: &mut ValidationErrors) -> ClientUpdate {
        let name = self.name.as_deref();
        let description = self.description.as_deref();
        let url = self.jwks_url.as_deref();
        let active = self.state.as_deref().map(|text| match text {
            "active" => Ok(true),
            "disabled" => Ok(false),
            _ => Err("must be `active` or `disabled`; DELETE deletes a client"),
        });
        ClientUpdate {
            name: name.and_then(|text| errors.take("/name", Label::parse(text))),
            description: description.and_then(|text| errors.take("/description", Description::parse(text))),
            scopes: read::scopes(self.scopes.as_deref(), errors),
            token_ttl: read::token_ttl(self.token_ttl.as_deref(), errors),
            token_format: read::token_format(self.token_format.as_deref(), errors),
            jwks_url: url.and_then(|text| errors.take("/jwks_url", JwksUrl::parse(text, registry.allows_http_jwks()))),
            active: active.and_then(|active| errors.take("/state", active)),
        }
    }
}

/// How a secret is rotated.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RotateClientSecret)]
pub(super) struct Rotation {
    /// How long the old secret stays good: at most `24h`. Not at all when absent.
    #[schema(value_type = Option<formats::GracePeriod>, required = false)]
    grace: Option<String>,
}

/// How a client is regenerated.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RegenerateClient)]
pub(super) struct Regeneration {
    /// End the old client's tokens as well; otherwise they stay good until they expire.
    #[schema(required = false)]
    revoke_tokens: Option<bool>,
}

/// What becomes of tokens that are out.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TokenParameters {
    /// End the client's tokens as well; otherwise they stay good until they expire.
    #[param(default = false, required = false)]
    revoke_tokens: Option<bool>,
}

impl TokenParameters {
    pub(super) fn issued(&self) -> IssuedTokens {
        issued_tokens(self.revoke_tokens)
    }
}

const fn issued_tokens(revoke: Option<bool>) -> IssuedTokens {
    match revoke {
        Some(true) => IssuedTokens::End,
        Some(false) | None => IssuedTokens::Stay,
    }
}

/// The client in a path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct ClientPath {
    /// `client_id`
    #[param(inline, value_type = formats::ClientId, example = "client_4Vb8mTq0ZxN7sKe2RcYw1h")]
    pub id: String,
}

impl ClientPath {
    pub(super) fn id(&self) -> Result<ClientId, RegistryError> {
        self.id.parse().map_err(|_| RegistryError::NotFound("client"))
    }
}

fn new_client_response(registry: &Registry, made: &ClientWithSecret) -> AdminResponse {
    let body = ViewWithSecret {
        view: made.client.record.view(registry),
        client_secret: made.secret.as_ref().map(Secret::expose).map(String::as_str),
    };
    AdminResponse::created(&body).with_revision(made.client.revision)
}

/// Every client
///
/// Without their secrets. Deleted ones are among them, for those who look for where a token came from.
#[utoipa::path(get, path = "/admin/v1/clients", tag = "clients", operation_id = "listClients",
    params(CredentialListing,
        ("state" = inline(Option<ClientStateWord>), Query, description = "In this `state` alone."),
        ("after" = inline(Option<formats::ClientId>), Query, description = "`next` of the page before.")),
    responses((status = 200, description = "A part of the list", body = List)))]
pub(super) async fn list(registry: Registry, Parameters(query): Parameters<CredentialListing>) -> HandlerResult {
    let (filter, page, wanted) = query.read::<ClientId>(&STATES)?;
    let state = |client: &ClientRecord| state_word(client.state, registry.check_client(client));
    let condition = |client: &ClientRecord| wanted.has(&client.name, state(client));
    let condition: Option<Condition<'_, _>> = (!wanted.is_any()).then_some(&condition);
    let found = registry.clients(filter, &page, condition).await?;
    Ok(AdminResponse::record_page(&registry, found, &page))
}

/// One client
#[utoipa::path(get, path = "/admin/v1/clients/{id}", tag = "clients", operation_id = "showClient",
    params(ClientPath), responses((status = 200, description = "The client, without its secret", body = View)))]
pub(super) async fn show(registry: Registry, Path(client): Path<ClientPath>) -> HandlerResult {
    let found = registry.client(&client.id()?).await?;
    Ok(AdminResponse::record(&registry, &found))
}

/// Make a client
///
/// Its secret, if it is to have one, is in this answer and nowhere else.
#[utoipa::path(post, path = "/admin/v1/clients", tag = "clients", operation_id = "createClient",
    params(Idempotency),
    request_body = NewClientForms, responses((status = 201, description = "It is made, and gets tokens", body = ViewWithSecret)))]
pub(super) async fn create(registry: Registry, Body { body, idempotency }: Body<NewClient>) -> HandlerResult {
    let spec = ValidationErrors::collect(|errors| body.read(&registry, errors))?;
    let stored_response = idempotency.stored_response(&registry);
    let make = registry.create_client(&spec, &stored_response);
    idempotency
        .run_once(&registry, make, |made| new_client_response(&registry, &made))
        .await
}

/// Change a client
///
/// Tokens that are out keep what they were issued with.
#[utoipa::path(patch, path = "/admin/v1/clients/{id}", tag = "clients", operation_id = "changeClient",
    params(ClientPath),
    request_body(content(
        (ClientChange = "application/json"),
        (ClientChange = "application/merge-patch+json"),
    )), responses((status = 200, description = "It is changed", body = View)))]
pub(super) async fn change(
    Change(registry, client, expected, Body { body, .. }): Change<ClientPath, Body<ClientChange>>,
) -> HandlerResult {
    let id = client.id()?;
    let update = ValidationErrors::collect(|errors| Some(body.read(&registry, errors)))?;
    let changed = registry.change_client(&id, &update, expected).await?;
    Ok(AdminResponse::record(&registry, &changed))
}

/// Delete a client
///
/// For good: it gets no tokens any more. Those that are out stay good until they expire, unless `revoke_tokens`.
#[utoipa::path(delete, path = "/admin/v1/clients/{id}", tag = "clients", operation_id = "deleteClient",
    params(ClientPath, TokenParameters), responses((status = 200, description = "It is deleted", body = View),
        (status = 202, description = "In force on this gate; its store cannot be written now", body = PendingRevocation)))]
pub(super) async fn delete(
    registry: Registry,
    Path(client): Path<ClientPath>,
    Parameters(tokens): Parameters<TokenParameters>,
    IfMatch(expected): IfMatch,
    _: NoBody,
) -> HandlerResult {
    let deleted = registry.delete_client(&client.id()?, tokens.issued(), expected).await?;
    Ok(AdminResponse::revocation(&registry, deleted))
}

/// Give a client another secret
///
/// Its id stays. The old secret ends at once, or after a grace that was asked for.
#[utoipa::path(post, path = "/admin/v1/clients/{id}/secret/rotate", tag = "clients", operation_id = "rotateClientSecret",
    params(ClientPath),
    request_body = Option<Rotation>, responses((status = 201, description = "The new secret counts", body = ViewWithSecret)))]
pub(super) async fn rotate_secret(
    Change(registry, client, expected, OptionalBody { body, .. }): Change<ClientPath, OptionalBody<Rotation>>,
) -> HandlerResult {
    let id = client.id()?;
    let grace = ValidationErrors::collect(|errors| Some(read::grace(body.grace.as_deref(), errors)))?;
    let rotated = registry.rotate_client_secret(&id, grace, expected).await?;
    Ok(new_client_response(&registry, &rotated))
}

/// Make a client in the place of another
///
/// With a new id and, where it has one, a new secret; the old one is deleted. A JWKS URL stays; a client with keys here
/// begins without any, and none of the old ones can be uploaded again.
#[utoipa::path(post, path = "/admin/v1/clients/{id}/secret/regenerate", tag = "clients", operation_id = "regenerateClient",
    params(ClientPath, Idempotency),
    request_body = Option<Regeneration>, responses((status = 201, description = "The new client gets tokens", body = ViewWithSecret)))]
pub(super) async fn regenerate(
    Change(registry, client, expected, OptionalBody { body, idempotency }): Change<
        ClientPath,
        OptionalBody<Regeneration>,
    >,
) -> HandlerResult {
    let id = client.id()?;
    let stored_response = idempotency.stored_response(&registry);
    let make = registry.regenerate_client(&id, issued_tokens(body.revoke_tokens), expected, &stored_response);
    idempotency
        .run_once(&registry, make, |made| new_client_response(&registry, &made))
        .await
}

/// End every token that a client has got
///
/// It may get new ones.
#[utoipa::path(post, path = "/admin/v1/clients/{id}/revoke-tokens", tag = "clients", operation_id = "revokeClientTokens",
    params(ClientPath), responses((status = 200, description = "They are refused from now on", body = View),
        (status = 202, description = "In force on this gate; its store cannot be written now", body = PendingRevocation)))]
pub(super) async fn revoke_tokens(Change(registry, client, expected, _): Change<ClientPath>) -> HandlerResult {
    let ended = registry.revoke_client_tokens(&client.id()?, expected).await?;
    Ok(AdminResponse::revocation(&registry, ended))
}
