//! Which client is it (RFC 6749 section 2.3, RFC 7521 section 4.2)? One proof, by exactly one method.

use crate::control::clients::Client;
use crate::control::token::assertion::Assertion;
use crate::control::token::assertion::Endpoint;
use crate::control::token::client_jwks::Unavailable;
use crate::control::token::error::Authorization;
use crate::control::token::error::TokenEndpointError;
use crate::control::token::request::Form;
use crate::control::token::request::decode;
use crate::control::token::service::Service;
use crate::control::token::service::endpoint;
use crate::jose::uploaded::ASSERTION_TYPE;
use crate::model::api_key::KeyDigest;
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
use std::net::IpAddr;
use std::sync::Arc;

/// What a request claims to be its proof.
pub enum ClientCredential {
    Secret { id: String, secret: Secret<String> },
    Assertion { text: Secret<String>, id: Option<String> },
}

/// A client that has proved itself, and what it proved itself with.
#[derive(Debug)]
pub struct AuthenticatedClient {
    pub client: Arc<Client>,
    proof: Proof,
    /// To be written down as used, once all else holds.
    pub mark: Option<AssertionMark>,
}

#[derive(Debug)]
enum Proof {
    Secret(KeyDigest),
    /// Of an uploaded key.
    Key(String),
    JwksUrl(String),
}

impl AuthenticatedClient {
    pub fn id(&self) -> &ClientId {
        &self.client.record.id
    }

    /// Whether what was proved would still be a proof for `client`, which is the same one as it is now: a secret that was
    /// rotated or a key that was revoked since is none (S134).
    pub fn still_holds(&self, client: &Client, now: Timestamp) -> bool {
        match (&self.proof, &client.record.authentication) {
            (Proof::Secret(digest), ClientAuthentication::ClientSecret { secrets }) => secrets
                .iter()
                .any(|secret| secret.digest == *digest && secret.is_valid(now)),
            (Proof::Key(kid), ClientAuthentication::Keys { .. }) => {
                client.keys(now).any(|key| key.kid() == Some(kid.as_str()))
            }
            (Proof::JwksUrl(proved), ClientAuthentication::JwksUrl { url }) => proved == url,
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

/// Whether the request tried `Authorization`, well or badly.
pub fn authorization(headers: &HeaderMap) -> Authorization {
    if headers.contains_key(AUTHORIZATION) {
        Authorization::Used
    } else {
        Authorization::Absent
    }
}

/// The one proof of the request.
///
/// # Errors
/// None, more than one, or one that is not written as it must be.
pub fn credential(headers: &HeaderMap, form: &Form) -> Result<ClientCredential, TokenEndpointError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (header, second) = (values.next(), values.next());
    let (assertion, assertion_type) = (form.get("client_assertion"), form.get("client_assertion_type"));
    let secret = form.get("client_secret");
    let asserts = assertion.is_some() || assertion_type.is_some();
    let methods = [header.is_some(), second.is_some(), secret.is_some(), asserts];
    if methods.into_iter().filter(|used| *used).count() > 1 {
        return Err(TokenEndpointError::SeveralMethods);
    }
    let id = form.get("client_id");
    if let Some(header) = header {
        let (named, secret) = basic(header.as_bytes())?;
        return match id {
            Some(id) if id != named => Err(TokenEndpointError::OtherClient),
            Some(_) | None => Ok(ClientCredential::Secret { id: named, secret }),
        };
    }
    if let Some(secret) = secret {
        let id = id.ok_or(TokenEndpointError::Missing("client_id"))?.to_owned();
        let secret = Secret::new(secret.to_owned());
        return Ok(ClientCredential::Secret { id, secret });
    }
    if !asserts {
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

/// RFC 7617 section 2, each half form-encoded (RFC 6749 section 2.3.1). Our ids and secrets have no character that the
/// encoding changes, so programs that forget it are understood as well.
fn basic(value: &[u8]) -> Result<(String, Secret<String>), TokenEndpointError> {
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

/// Who asks where, and when.
#[derive(Clone, Copy, Debug)]
pub struct AuthContext<'a> {
    pub endpoint: Endpoint<'a>,
    /// Only clients of this organization are known here; `None`: all are.
    pub tenant: Option<&'a str>,
    pub source: IpAddr,
    pub now: Now,
}

impl Service {
    /// # Errors
    /// The client has failed too often from there: then nothing is compared, or guessing could go on.
    fn check_failures(&self, client: &ClientId, context: AuthContext<'_>) -> Result<(), TokenEndpointError> {
        let settings = self.settings();
        let quota = &endpoint(&settings)?.failures;
        match self.failures.spent(client, context.source, quota, context.now.tick) {
            Some(retry_after) => Err(TokenEndpointError::TooManyFailures { retry_after }),
            None => Ok(()),
        }
    }

    /// Counts a guess, and gives the error back.
    fn failed(&self, client: &ClientId, context: AuthContext<'_>, error: TokenEndpointError) -> TokenEndpointError {
        if let Some(endpoint) = &self.settings().token_endpoint {
            self.failures
                .count(client, context.source, &endpoint.failures, context.now.tick);
        }
        error
    }
}

/// Proves the client. An assertion that is used up by this is not marked yet: see [`AuthenticatedClient::mark`].
///
/// # Errors
/// Why it is not proved, or cannot be now.
pub(super) async fn authenticate(
    service: &Service,
    credential: ClientCredential,
    context: AuthContext<'_>,
) -> Result<AuthenticatedClient, TokenEndpointError> {
    match credential {
        ClientCredential::Secret { id, secret } => by_secret(service, &id, &secret, context),
        ClientCredential::Assertion { text, id } => by_assertion(service, &text, id.as_deref(), context).await,
    }
}

fn by_secret(
    service: &Service,
    id: &str,
    secret: &Secret<String>,
    context: AuthContext<'_>,
) -> Result<AuthenticatedClient, TokenEndpointError> {
    // No client can have such an id, so there is nothing to find out by its taking less work.
    let id: ClientId = id.parse().map_err(|_| TokenEndpointError::UnknownClient)?;
    service.check_failures(&id, context)?;
    let digest = client_secret::digest(&service.control.settings.load().digester, secret.expose());
    let known = known(service, &id, context.tenant);
    let proved = match &known {
        Ok(client) => match &client.record.authentication {
            ClientAuthentication::ClientSecret { secrets } => {
                let mut proved = Err(TokenEndpointError::WrongSecret);
                // All are compared: which of two it was is nobody's business either.
                for secret in secrets {
                    if (secret.digest == digest) & secret.is_valid(context.now.wall) {
                        proved = Ok(());
                    }
                }
                proved
            }
            ClientAuthentication::JwksUrl { .. } | ClientAuthentication::Keys { .. } => {
                compare_with_none(&digest);
                Err(TokenEndpointError::WrongMethod)
            }
        },
        Err(error) => {
            compare_with_none(&digest);
            Err(*error)
        }
    };
    match (known, proved) {
        (Ok(client), Ok(())) => Ok(AuthenticatedClient {
            client,
            proof: Proof::Secret(digest),
            mark: None,
        }),
        (_, Err(error)) | (Err(error), Ok(())) => Err(service.failed(&id, context, error)),
    }
}

/// The work of a comparison where there is nothing to compare with (S133).
fn compare_with_none(digest: &KeyDigest) {
    std::hint::black_box(*digest == KeyDigest::DUMMY);
}

async fn by_assertion(
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
    // A stranger is told here whether a client exists, because the authors of clients need to be; so nothing is gained by
    // taking as long for one that does not.
    let fails = |error| service.failed(&id, context, error);
    let client = known(service, &id, context.tenant).map_err(fails)?;
    let proof = match &client.record.authentication {
        ClientAuthentication::Keys { .. } => {
            let signer = assertion.signer(client.keys(context.now.wall));
            let signer = signer.ok_or_else(|| fails(TokenEndpointError::BadSignature))?;
            Proof::Key(signer.kid().unwrap_or_default().to_owned())
        }
        ClientAuthentication::JwksUrl { url } => {
            signed_with_fetched(service, &id, url, &assertion)
                .await?
                .then_some(())
                .ok_or_else(|| fails(TokenEndpointError::BadSignature))?;
            Proof::JwksUrl(url.clone())
        }
        ClientAuthentication::ClientSecret { .. } => return Err(fails(TokenEndpointError::WrongMethod)),
    };
    // From here on the client speaks; what is wrong now is no guess.
    let settings = service.settings();
    let mark = assertion.check(endpoint(&settings)?, context.endpoint, &id, context.now.wall)?;
    Ok(AuthenticatedClient { client, proof, mark })
}

async fn signed_with_fetched(
    service: &Service,
    id: &ClientId,
    url: &str,
    assertion: &Assertion<'_>,
) -> Result<bool, TokenEndpointError> {
    let keys = service.client_jwks.keys(id, url, assertion.kid()).await;
    let keys = keys.map_err(|Unavailable { retry_after }| TokenEndpointError::KeysUnavailable { retry_after })?;
    if assertion.signer(keys.keys()).is_some() {
        return Ok(true);
    }
    // Without a name in the assertion nothing has said yet that the set may be old.
    if assertion.kid().is_some() {
        return Ok(false);
    }
    let newer = service.client_jwks.newer(id, url, &keys).await;
    Ok(newer.is_some_and(|newer| assertion.signer(newer.keys()).is_some()))
}

/// A client that is known where it is asked for. Deleted ones are not.
fn known(service: &Service, id: &ClientId, tenant: Option<&str>) -> Result<Arc<Client>, TokenEndpointError> {
    let client = service
        .control
        .clients
        .get(id)
        .ok_or(TokenEndpointError::UnknownClient)?;
    if client.record.state == ClientState::Deleted {
        return Err(TokenEndpointError::UnknownClient);
    }
    let elsewhere = |tenant: &str| tenant.parse::<Name>().as_ref() != Ok(&client.record.organization);
    if tenant.is_some_and(elsewhere) {
        return Err(TokenEndpointError::WrongTenant);
    }
    Ok(client)
}
