//! Which OAuth client is Keygate itself at an authorization server, to get access tokens for an upstream (RFC 6749 section 4.4)?

use crate::config::check::Checker;
use crate::config::introspection;
use crate::config::introspection::ClientSecret;
use crate::config::introspection::SecretMethod;
use crate::config::issuer::ConnectSettings;
use crate::config::listener::timeout;
use crate::config::read::Text;
use crate::config::read::Texts;
use crate::config::read::TypedNode;
use crate::config::text::ExactText;
use crate::config::text::SecretText;
use crate::config::text::Timeout;
use crate::model::scope::Scope;
use schemars::JsonSchema;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// `upstreams.<name>.credential.oauth_client`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OauthClient {
    pub token_url: Url,
    pub client: ClientSecret,
    /// The scopes to ask for. Empty for those that the server gives by itself.
    pub scopes: Vec<Scope>,
    /// The `audience` that some servers ask for.
    pub audience: Option<String>,
    /// The `resource` (RFC 8707).
    pub resource: Option<String>,
    pub connect: ConnectSettings,
}

impl OauthClient {
    /// Returns whether `other` gets the same tokens: it differs in nothing but its secret and how it connects.
    pub fn asks_like(&self, other: &Self) -> bool {
        (&self.token_url, &self.client.client_id, &self.scopes)
            == (&other.token_url, &other.client.client_id, &other.scopes)
            && (&self.audience, &self.resource) == (&other.audience, &other.resource)
    }
}

/// An OAuth client of Keygate's own, which gets access tokens by `client_credentials` (RFC 6749 section 4.4).
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "OauthClient")]
pub(in crate::config) struct Section {
    /// The token endpoint. Required.
    #[schemars(required)]
    token_url: Option<Text<Url>>,
    /// Who Keygate is at the server. Required.
    #[schemars(required)]
    client_id: Option<Text<ExactText>>,
    /// Its secret: `${NAME}` or `file:path`. Required.
    #[schemars(required)]
    client_secret: Option<Text<SecretText>>,
    /// How the secret is sent: `client_secret_basic`, `client_secret_basic_unencoded` for servers that do not decode what
    /// stands in Basic, or `client_secret_post`. Default `client_secret_basic`.
    authentication: Option<SecretMethod>,
    /// The scopes to ask for. Default: none, and the server chooses.
    scopes: Option<Texts<Scope>>,
    /// The `audience` to ask for, as Auth0 wants it. Default: none.
    audience: Option<Text<ExactText>>,
    /// The `resource` to ask for (RFC 8707). Default: none.
    resource: Option<Text<ExactText>>,
    /// Allows `http:` in `token_url`. Default false.
    allow_http: Option<bool>,
    /// Allows addresses that are not public (private, loopback, link-local), checked when dialled. Default false.
    allow_private_addresses: Option<bool>,
    /// PEM certificates trusted instead of the system's.
    ca_file: Option<Text<PathBuf>>,
    /// An HTTP proxy for the calls.
    proxy: Option<Text<Url>>,
    /// How long one call may take. Default `5s`.
    timeout: Option<Text<Timeout>>,
}

/// Returns the client. Reports what is missing, and a secret that would be sent in clear text.
pub(in crate::config) fn convert(
    TypedNode { value: section, at }: TypedNode<Section>,
    checker: &mut Checker<'_>,
) -> Option<OauthClient> {
    let token_url = checker.need(at, "token_url", section.token_url, "the server's token endpoint");
    let hint = "who Keygate is at the server; it has to be registered there";
    let client_id = checker.need(at, "client_id", section.client_id, hint);
    let secret = checker.need(
        at,
        "client_secret",
        section.client_secret,
        "such as `client_secret: \"${NAME}\"`",
    );
    let allow_http = section.allow_http.unwrap_or(false);
    if let Some(url) = &token_url {
        introspection::refuse_plain_http(
            url,
            allow_http,
            "a secret sent without TLS could be read by anyone",
            checker,
        );
    }
    let scopes = section.scopes.map(|scopes| checker.distinct(scopes.value));
    let method = section.authentication.unwrap_or_default();
    let client = introspection::client_secret(client_id?, secret?, method, checker);
    let text = |written: Option<Text<ExactText>>| written.map(|written| written.take().0);
    Some(OauthClient {
        token_url: token_url?.take(),
        client: client?,
        scopes: scopes.unwrap_or_default(),
        audience: text(section.audience),
        resource: text(section.resource),
        connect: ConnectSettings {
            allow_http,
            allow_private_addresses: section.allow_private_addresses.unwrap_or(false),
            ca_file: section.ca_file.map(|file| checker.existing_file(&file)),
            proxy: section.proxy.map(Text::take),
            timeout: timeout(section.timeout, Duration::from_secs(5)),
        },
    })
}
