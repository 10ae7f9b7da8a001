//! Which client sends the request (RFC 6749 section 2.3, RFC 7521 section 4.2)? One credential, by exactly one method.

use crate::control::clients::Client;
use crate::control::standing;
use crate::control::token::assertion::Assertion;
use crate::control::token::assertion::ReceivingEndpoint;
use crate::control::token::error::Authorization;
use crate::control::token::error::TokenEndpointError;
use crate::control::token::request::Form;
use crate::control::token::request::decode;
use crate::control::token::service::Service;
use crate::control::token::service::endpoint;
use crate::jose::current_jwks::CurrentJwks;
use crate::jose::current_jwks::JwksUnavailable;
use crate::jose::jwks::KidMeaning;
use crate::jose::uploaded::ASSERTION_TYPE;
use crate::model::api_key::CredentialDigest;
use crate::model::client_address::ClientAddress;
use crate::model::client_secret;
use crate::model::clock::Now;
use crate::model::clock::Timestamp;
use crate::model::id::ClientId;
use crate::model::names::Name;
use crate::model::secret::Secret;
use crate::store::AssertionMark;
use crate::store::record::client::ClientAuthentication;
use crate::store::record::client::ClientState;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use std::fmt;
use std::sync::Arc;

/// The unverified credential of a request.
pub enum ClientCredential {
    Secret { id: String, secret: Secret<String> },
    Assertion { text: Secret<String>, id: Option<String> },
}

/// An authenticated client and its proof.
#[derive(Debug)]
pub struct AuthenticatedClient {
    pub client: Arc<Client>,
    proof: Proof,
    /// The mark to store once all other checks have passed; `None` without an assertion, or without `jti` in it.
    pub mark: Option<AssertionMark>,
}

#[derive(Debug)]
enum Proof {
    Secret(CredentialDigest),
    /// The `kid` of a registered key.
    Key(String),
    JwksUrl(String),
}

impl AuthenticatedClient {
    pub fn id(&self) -> &ClientId {
        &self.client.record.id
    }

    /// Returns whether the proof is still valid for `client`, the latest revision of the same client: its secret or key
    /// may have ended since, or its JWKS URL may have changed (S134).
    pub fn still_holds(&self, client: &Client, now: Timestamp) -> bool {
        match (&self.proof, &client.record.authentication) {
            (Proof::Secret(digest), ClientAuthentication::ClientSecret { secrets }) => secrets
                .iter()
                .any(|secret| secret.digest == *digest && secret.is_valid(now)),
            (Proof::Key(kid), ClientAuthentication::Keys { .. }) => {
                client.keys().any(|key| key.kid() == Some(kid.as_str()))
            }
            (Proof::JwksUrl(proof_url), ClientAuthentication::JwksUrl { url }) => proof_url == url,
            (Proof::Secret(_) | Proof::Key(_) | Proof::JwksUrl(_), _) => false,
        }
    }
}

impl fmt::Debug for ClientCredential {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret { id, .. } => write!(out, "Secret of {id}"),
            Self::Assertion { .. } => write!(out, "Assertion"),
        }
    }
}

/// Returns whether the request has an `Authorization` field, valid or not.
pub fn authorization(headers: &HeaderMap) -> Authorization {
    if headers.contains_key(AUTHORIZATION) {
        Authorization::Used
    } else {
        Authorization::Absent
    }
}

/// Returns the only credential of the request.
///
/// # Errors
/// There is no credential, more than one, or a malformed one, or `client_id` names another client.
pub fn credential(headers: &HeaderMap, form: &Form) -> Result<ClientCredential, TokenEndpointError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (header, second) = (values.next(), values.next());
    let (assertion, assertion_type) = (form.get("client_assertion"), form.get("client_assertion_type"));
    let secret = form.get("client_secret");
    let has_assertion = assertion.is_some() || assertion_type.is_some();
    let methods = [header.is_some(), second.is_some(), secret.is_some(), has_assertion];
    if methods.into_iter().filter(|used| *used).count() > 1 {
        return Err(TokenEndpointError::SeveralMethods);
    }
    let id = form.get("client_id");
    if let Some(header) = header {
        let (header_id, secret) = parse_basic(header.as_bytes())?;
        return match id {
            Some(id) if id != header_id => Err(TokenEndpointError::OtherClient),
            Some(_) | None => Ok(ClientCredential::Secret { id: header_id, secret }),
        };
    }
    if let Some(secret) = secret {
        let id = id.ok_or(TokenEndpointError::Missing("client_id"))?.to_owned();
        let secret = Secret::new(secret.to_owned());
        return Ok(ClientCredential::Secret { id, secret });
    }
    if !has_assertion {
        return Err(TokenEndpointError::NoAuthentication);
    }
    match assertion_type {
        None => Err(TokenEndpointError::Missing("client_assertion_type")),
        Some(ASSERTION_TYPE) => {
            let text = assertion.ok_or(TokenEndpointError::Missing("client_assertion"))?;
            Ok(ClientCredential::Assertion {
                text: Secret::new(text.to_owned()),
                id: id.map(str::to_owned),
            })
        }
        Some(_) => Err(TokenEndpointError::AssertionType),
    }
}

/// Parses Basic credentials (RFC 7617 section 2), each half form-encoded (RFC 6749 section 2.3.1). Ids and secrets of
/// this gate contain no characters that the encoding changes, so client programs without the encoding work too.
fn parse_basic(value: &[u8]) -> Result<(String, Secret<String>), TokenEndpointError> {
    let (scheme, credentials) = value.split_at_checked(6).ok_or(TokenEndpointError::Scheme)?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return Err(TokenEndpointError::Scheme);
    }
    let text = STANDARD.decode(credentials.trim_ascii());
    let text = Secret::new(text.map_err(|_| TokenEndpointError::MalformedBasic)?);
    let colon = text.expose().iter().position(|byte| *byte == b':');
    let (id, secret) = text.expose().split_at(colon.ok_or(TokenEndpointError::MalformedBasic)?);
    let id = decode(id).ok_or(TokenEndpointError::MalformedBasic)?;
    let secret = decode(&secret[1..]).ok_or(TokenEndpointError::MalformedBasic)?;
    Ok((id, Secret::new(secret)))
}

/// The circumstances of an authentication.
#[derive(Clone, Copy, Debug)]
pub struct AuthContext<'a> {
    pub endpoint: ReceivingEndpoint<'a>,
    pub source: ClientAddress,
    pub now: Now,
}

impl Service {
    /// Refuses a client with too many failures from this source, before its credential is compared: otherwise guessing
    /// could go on.
    ///
    /// # Errors
    /// [`TokenEndpointError::TooManyFailures`], or there is no token endpoint.
    fn check_failures(&self, client: &ClientId, context: AuthContext<'_>) -> Result<(), TokenEndpointError> {
        let settings = self.settings();
        let quota = &endpoint(&settings)?.failures;
        match self
            .failures
            .retry_after(client, context.source, quota, context.now.tick)
        {
            Some(retry_after) => Err(TokenEndpointError::TooManyFailures { retry_after }),
            None => Ok(()),
        }
    }

    /// Counts a failed authentication and returns `error`.
    fn count_failure(
        &self,
        client: &ClientId,
        context: AuthContext<'_>,
        error: TokenEndpointError,
    ) -> TokenEndpointError {
        if let Some(endpoint) = &self.settings().token_endpoint {
            self.failures
                .count(client, context.source, &endpoint.failures, context.now.tick);
        }
        error
    }
}

/// Authenticates the client. This does not mark an assertion as used: see [`AuthenticatedClient::mark`].
///
/// # Errors
/// The credential is not valid, or cannot be validated now.
pub(super) async fn authenticate(
    service: &Service,
    credential: ClientCredential,
    context: AuthContext<'_>,
) -> Result<AuthenticatedClient, TokenEndpointError> {
    match credential {
        ClientCredential::Secret { id, secret } => authenticate_by_secret(service, &id, &secret, context),
        ClientCredential::Assertion { text, id } => {
            authenticate_by_assertion(service, &text, id.as_deref(), context).await
        }
    }
}

fn authenticate_by_secret(
    service: &Service,
    id: &str,
    secret: &Secret<String>,
    context: AuthContext<'_>,
) -> Result<AuthenticatedClient, TokenEndpointError> {
    // No client can have a malformed id, so the shorter response time reveals nothing.
    let id: ClientId = id.parse().map_err(|_| TokenEndpointError::UnknownClient)?;
    service.check_failures(&id, context)?;
    let digest = client_secret::digest(&service.control.settings.load().digester, secret.expose());
    let client = find_client(service, &id, context.endpoint);
    let proved = match &client {
        Ok(client) => match &client.record.authentication {
            ClientAuthentication::ClientSecret { secrets } => {
                let mut proved = Err(TokenEndpointError::WrongSecret);
                // Compare all secrets: the response time must not reveal which of two matched.
                for secret in secrets {
                    if (secret.digest == digest) & secret.is_valid(context.now.wall) {
                        proved = Ok(());
                    }
                }
                proved
            }
            ClientAuthentication::JwksUrl { .. } | ClientAuthentication::Keys { .. } => {
                compare_with_dummy(&digest);
                Err(TokenEndpointError::WrongMethod)
            }
        },
        Err(error) => {
            compare_with_dummy(&digest);
            Err(*error)
        }
    };
    match (client, proved) {
        (Ok(client), Ok(())) => Ok(AuthenticatedClient {
            client,
            proof: Proof::Secret(digest),
            mark: None,
        }),
        (_, Err(error)) | (Err(error), Ok(())) => Err(service.count_failure(&id, context, error)),
    }
}

/// Spends the time of a comparison if there is no secret to compare (S133).
fn compare_with_dummy(digest: &CredentialDigest) {
    std::hint::black_box(*digest == CredentialDigest::DUMMY);
}

async fn authenticate_by_assertion(
    service: &Service,
    text: &Secret<String>,
    claimed: Option<&str>,
    context: AuthContext<'_>,
) -> Result<AuthenticatedClient, TokenEndpointError> {
    let assertion = Assertion::parse(text.expose())?;
    if claimed.is_some_and(|claimed| claimed != assertion.client()) {
        return Err(TokenEndpointError::OtherClient);
    }
    let id: ClientId = assertion
        .client()
        .parse()
        .map_err(|_| TokenEndpointError::UnknownClient)?;
    service.check_failures(&id, context)?;
    // A wrong signature has an error of its own, because authors of client programs need to know. The error reveals
    // that the client exists, so an equal response time for unknown clients would gain nothing.
    let fails = |error| service.count_failure(&id, context, error);
    let client = find_client(service, &id, context.endpoint).map_err(fails)?;
    let proof = match &client.record.authentication {
        ClientAuthentication::Keys { .. } => {
            let signer = assertion.signer(client.keys());
            let signer = signer.ok_or_else(|| fails(TokenEndpointError::BadSignature))?;
            Proof::Key(signer.kid().unwrap_or_default().to_owned())
        }
        ClientAuthentication::JwksUrl { url } => {
            verify_with_fetched_keys(service, &id, url, &assertion)
                .await?
                .then_some(())
                .ok_or_else(|| fails(TokenEndpointError::BadSignature))?;
            Proof::JwksUrl(url.clone())
        }
        ClientAuthentication::ClientSecret { .. } => return Err(fails(TokenEndpointError::WrongMethod)),
    };
    // The client is authenticated from here on; later errors do not count as guesses.
    let algorithms = standing::assertion_algorithms(&service.control, &client.record.subscription);
    if !algorithms.contains(&assertion.algorithm()) {
        return Err(TokenEndpointError::AlgorithmNotInPlan);
    }
    let settings = service.settings();
    let organization = &client.record.organization;
    let mark = assertion.check(
        endpoint(&settings)?,
        context.endpoint,
        &id,
        organization,
        context.now.wall,
    )?;
    Ok(AuthenticatedClient { client, proof, mark })
}

async fn verify_with_fetched_keys(
    service: &Service,
    id: &ClientId,
    url: &str,
    assertion: &Assertion<'_>,
) -> Result<bool, TokenEndpointError> {
    let unavailable = |error| match error {
        JwksUnavailable::Fetch { retry_after } => TokenEndpointError::KeysUnavailable { retry_after },
        JwksUnavailable::Recent { retry_after } => TokenEndpointError::KeysRecent { retry_after },
    };
    let keys = service.client_jwks.keys(id, url, assertion.kid()).await;
    let CurrentJwks { jwks, is_latest } = keys.map_err(unavailable)?;
    if assertion.signer(jwks.keys()).is_some() {
        return Ok(true);
    }
    // Only an assertion whose `kid` says nothing needs a newer set here: for an unknown `kid`, `keys` has already fetched.
    let names_key = |kid| KidMeaning::of(kid, jwks.keys()) != KidMeaning::Nothing;
    if is_latest || assertion.kid().is_some_and(names_key) {
        return Ok(false);
    }
    let newer = service.client_jwks.newer(id, url, &jwks).await.map_err(unavailable)?;
    Ok(assertion.signer(newer.keys()).is_some())
}

/// Returns the client if it exists, is not deleted, and may use `at`: an organization's endpoint is for its own clients,
/// and the global one for those of `token_endpoint.global_endpoint`.
fn find_client(service: &Service, id: &ClientId, at: ReceivingEndpoint<'_>) -> Result<Arc<Client>, TokenEndpointError> {
    let client = service
        .control
        .clients
        .get(id)
        .ok_or(TokenEndpointError::UnknownClient)?;
    if client.record.state == ClientState::Deleted {
        return Err(TokenEndpointError::UnknownClient);
    }
    let own = &client.record.organization;
    let is_served = match at {
        ReceivingEndpoint::TenantToken { organization } => organization.parse::<Name>().as_ref() == Ok(own),
        ReceivingEndpoint::Token => endpoint(&service.settings())?.global_endpoint.serves(own),
        ReceivingEndpoint::Other { .. } => true,
    };
    if is_served {
        Ok(client)
    } else {
        Err(TokenEndpointError::WrongTenant)
    }
}

#[cfg(test)]
mod tests;
