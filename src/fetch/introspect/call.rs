//! How is one token introspected (RFC 7662 section 2.1)? One bounded POST.

use crate::config::Introspection;
use crate::config::introspection::ClientAuthentication;
use crate::config::introspection::ClientKey;
use crate::config::introspection::ClientSecret;
use crate::config::introspection::SecretMethod;
use crate::fetch::client::FetchError;
use crate::fetch::client::Target;
use crate::fetch::client::bounded_body;
use crate::fetch::client::check_head;
use crate::fetch::client::check_url;
use crate::fetch::client::client;
use crate::fetch::client::request_error;
use crate::fetch::introspect::CallOutcome;
use crate::gate::authenticate::introspection::RESPONSE_BYTES_MAX;
use crate::gate::authenticate::introspection::ResponseError;
use crate::jose::sign::SignError;
use crate::jose::sign::SigningKey;
use crate::jose::sign::token_id;
use crate::jose::uploaded::ASSERTION_TYPE;
use crate::model::algorithm::Algorithm;
use crate::model::clock::Timestamp;
use crate::model::issuer::TokenIssuer;
use crate::model::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use http::StatusCode;
use http::header::ACCEPT;
use http::header::AUTHORIZATION;
use http::header::CONTENT_TYPE;
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::OnceCell;
use url::form_urlencoded;
use url::form_urlencoded::Serializer;

/// The lifetime of a client assertion, which is sent at once.
const ASSERTION_SECS: u64 = 60;

/// The reason why a call brought no usable response. Operators read it in the log; the client gets only a 503.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("the call failed")]
    Fetch(#[source] FetchError),
    #[error(
        "status {status}: the issuer refused the credential of Keygate itself; check `client_id` and `client_secret`, or `bearer_token`; `authentication` says how a client secret is sent"
    )]
    NotAuthenticated { status: StatusCode },
    #[error("the assertion about who Keygate is cannot be made")]
    Assertion(#[source] SignError),
    #[error(transparent)]
    Response(#[from] ResponseError),
    #[error("the call was stopped")]
    Stopped,
}

impl CallError {
    /// Returns the health of the endpoint, for the breaker. A status that the text of a token can cause (400, 413, 422)
    /// and a response that is too long are no failures: otherwise a client with an odd token could open the breaker.
    pub fn health(&self) -> CallOutcome {
        match self {
            Self::Fetch(FetchError::TooLong { .. }) => CallOutcome::Success,
            Self::Fetch(FetchError::Status { status }) if is_about_token(*status) => CallOutcome::Success,
            Self::Fetch(_) | Self::NotAuthenticated { .. } | Self::Assertion(_) | Self::Response(_) | Self::Stopped => {
                CallOutcome::Failure
            }
        }
    }

    /// Returns whether the endpoint sent a response, though not a usable response.
    pub fn has_response(&self) -> bool {
        match self {
            Self::Fetch(error) => matches!(
                error,
                FetchError::Status { .. }
                    | FetchError::Redirected { .. }
                    | FetchError::Encoded
                    | FetchError::TooLong { .. }
            ),
            Self::NotAuthenticated { .. } | Self::Response(_) => true,
            Self::Assertion(_) | Self::Stopped => false,
        }
    }
}

fn is_about_token(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY
    )
}

impl<'a> From<&'a Introspection> for Target<'a> {
    fn from(settings: &'a Introspection) -> Self {
        Self {
            url: &settings.url,
            allow_http: settings.allow_http,
            allow_private_addresses: settings.allow_private_addresses,
            ca_file: settings.ca_file.as_deref(),
            proxy: settings.proxy.as_ref(),
        }
    }
}

/// The state that all calls to one endpoint share, including the connections.
pub struct Endpoint {
    settings: Arc<Introspection>,
    credential: Arc<ClientCredential>,
    client: OnceCell<reqwest::Client>,
}

impl Endpoint {
    /// Creates an endpoint without connecting.
    pub fn new(settings: Arc<Introspection>, credential: Arc<ClientCredential>) -> Self {
        Self {
            settings,
            credential,
            client: OnceCell::new(),
        }
    }

    /// Introspects `token` and returns the body of the response, at most [`RESPONSE_BYTES_MAX`] bytes. The whole call,
    /// with name look-up and body, takes at most the configured `timeout`.
    ///
    /// # Errors
    /// If the client assertion cannot be signed, or no such response with status 200 arrives in time.
    pub async fn introspect(&self, token: &str, now: Timestamp) -> Result<Vec<u8>, CallError> {
        let timeout = self.settings.timeout;
        let bounded = tokio::time::timeout(timeout, self.post(token, now)).await;
        bounded.unwrap_or(Err(CallError::Fetch(FetchError::TimedOut { timeout })))
    }

    async fn post(&self, token: &str, now: Timestamp) -> Result<Vec<u8>, CallError> {
        let target = Target::from(&*self.settings);
        check_url(target).map_err(CallError::Fetch)?;
        let create = || client(target, self.settings.concurrency);
        let client = self.client.get_or_try_init(create).await.map_err(CallError::Fetch)?;
        let mut request = client
            .post(self.settings.url.clone())
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(authorization) = self.credential.authorization() {
            request = request.header(AUTHORIZATION, authorization);
        }
        let form = self.form(token, now).map_err(CallError::Assertion)?;
        let sent = request.body(form).send().await;
        let response = sent.map_err(|error| CallError::Fetch(request_error(error)))?;
        let status = response.status();
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(CallError::NotAuthenticated { status });
        }
        // RFC 6749 section 5.2: a client that did not authenticate in `Authorization` may get a 400 for its credential.
        if status == StatusCode::BAD_REQUEST {
            let body = bounded_body(response, RESPONSE_BYTES_MAX).await;
            return Err(match body {
                Ok(body) if is_about_client(&body) => CallError::NotAuthenticated { status },
                Ok(_) | Err(_) => CallError::Fetch(FetchError::Status { status }),
            });
        }
        check_head(status, response.headers(), target.url).map_err(CallError::Fetch)?;
        bounded_body(response, RESPONSE_BYTES_MAX)
            .await
            .map_err(CallError::Fetch)
    }

    fn form(&self, token: &str, now: Timestamp) -> Result<String, SignError> {
        let mut form = Serializer::new(String::new());
        // Form encoding keeps any token within one parameter (S062).
        form.append_pair("token", token);
        form.append_pair("token_type_hint", "access_token");
        self.credential.finish(form, now)
    }
}

/// Returns whether an error response is about Keygate's own credential (RFC 6749 section 5.2), not about the token.
fn is_about_client(body: &[u8]) -> bool {
    let error = serde_json::from_slice::<serde_json::Value>(body).ok();
    let error = error.as_ref().and_then(|body| body.get("error")?.as_str());
    matches!(error, Some("invalid_client" | "unauthorized_client"))
}

/// Keygate's own credential at the endpoint.
pub enum ClientCredential {
    /// The value of `Authorization`.
    Authorization(Secret<Vec<u8>>),
    /// Parameters beside the token; the secret is form-encoded.
    Form {
        client_id: String,
        secret: Secret<String>,
    },
    Key(Box<Signer>),
}

impl ClientCredential {
    /// Prepares the configured credential.
    ///
    /// # Errors
    /// If the private key cannot be parsed, or is not for the configured algorithm.
    pub fn new(settings: &Introspection, issuer: &TokenIssuer) -> Result<Self, SignerError> {
        Ok(match &settings.authentication {
            ClientAuthentication::Secret(client) => Self::of_secret(client),
            ClientAuthentication::BearerToken(token) => {
                Self::Authorization(Secret::new([b"Bearer ", token.expose().as_slice()].concat()))
            }
            ClientAuthentication::PrivateKey { client_id, key } => {
                Self::Key(Box::new(Signer::new(client_id, key, issuer)?))
            }
        })
    }

    /// Prepares a client secret as its method says.
    pub fn of_secret(client: &ClientSecret) -> Self {
        let ClientSecret {
            client_id,
            secret,
            method,
        } = client;
        let encoded = |bytes: &[u8]| form_urlencoded::byte_serialize(bytes).collect::<String>();
        match method {
            // Otherwise a colon would end the id, and a `%` would begin an escape (RFC 6749 section 2.3.1).
            SecretMethod::Basic => {
                let secret = Secret::new(encoded(secret.expose()));
                basic(encoded(client_id.as_bytes()).as_bytes(), secret.expose().as_bytes())
            }
            SecretMethod::BasicUnencoded => basic(client_id.as_bytes(), secret.expose()),
            SecretMethod::Post => Self::Form {
                client_id: client_id.clone(),
                secret: Secret::new(encoded(secret.expose())),
            },
        }
    }

    /// Returns `form` with the parameters of the credential.
    ///
    /// # Errors
    /// The client assertion cannot be signed.
    pub fn finish(&self, mut form: Serializer<'_, String>, now: Timestamp) -> Result<String, SignError> {
        match self {
            Self::Authorization(_) => {}
            Self::Form { client_id, secret } => {
                form.append_pair("client_id", client_id);
                // The secret is bytes, encoded already: a serializer of pairs takes texts only.
                let pairs = form.finish();
                return Ok(format!("{pairs}&client_secret={}", secret.expose()));
            }
            Self::Key(signer) => {
                form.append_pair("client_id", &signer.client_id);
                form.append_pair("client_assertion_type", ASSERTION_TYPE);
                form.append_pair("client_assertion", &signer.assertion(now)?);
            }
        }
        Ok(form.finish())
    }

    /// Returns the value of `Authorization`, marked as a secret for the logs of the HTTP client.
    pub fn authorization(&self) -> Option<HeaderValue> {
        match self {
            Self::Authorization(value) => {
                let mut value =
                    HeaderValue::from_bytes(value.expose()).expect("base64, or the visible ASCII of the configuration");
                value.set_sensitive(true);
                Some(value)
            }
            Self::Form { .. } | Self::Key(_) => None,
        }
    }
}

/// Returns the credential as `Basic` (RFC 7617 section 2).
fn basic(id: &[u8], secret: &[u8]) -> ClientCredential {
    let pair = Secret::new([id, b":", secret].concat());
    ClientCredential::Authorization(Secret::new(
        format!("Basic {}", STANDARD.encode(pair.expose())).into_bytes(),
    ))
}

/// The reason why a private key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("introspection.private_key_jwt: {}", file.display())]
pub struct SignerError {
    file: PathBuf,
    #[source]
    source: SignError,
}

/// Signs client assertions for Keygate (RFC 7523 section 3).
pub struct Signer {
    client_id: String,
    audience: String,
    kid: String,
    key: SigningKey,
}

impl Signer {
    fn new(client_id: &str, key: &ClientKey, issuer: &TokenIssuer) -> Result<Self, SignerError> {
        let failed = |source| SignerError {
            file: key.file.clone(),
            source,
        };
        let text = std::str::from_utf8(key.pem.expose()).map_err(|_| failed(SignError::Pem("not PEM")))?;
        let read = |algorithm| SigningKey::from_pkcs8_pem(algorithm, text);
        let signing = match key.algorithm {
            Some(algorithm) => read(algorithm),
            // The key type determines the algorithm. For RSA, RS256: every server supports it.
            None => read(Algorithm::Rs256)
                .or_else(|_| read(Algorithm::Es256))
                .or_else(|_| read(Algorithm::Es384))
                .or_else(|_| read(Algorithm::EdDsa)),
        };
        let signing = signing.map_err(failed)?;
        Ok(Self {
            client_id: client_id.to_owned(),
            audience: key.audience.clone().unwrap_or_else(|| issuer.as_str().to_owned()),
            kid: key.kid.clone().unwrap_or_else(|| signing.kid().to_owned()),
            key: signing,
        })
    }

    fn assertion(&self, now: Timestamp) -> Result<String, SignError> {
        let now = now.as_unix_secs();
        let header = json!({ "alg": self.key.algorithm().as_str(), "kid": self.kid, "typ": "JWT" });
        let claims = json!({
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": self.audience,
            "jti": token_id(),
            "iat": now,
            "exp": now + ASSERTION_SECS,
        });
        self.key.sign_text(&header.to_string(), &claims.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::introspection::Breaker;
    use crate::jose::jws::Jws;
    use proptest::prelude::*;
    use serde_json::Value;
    use std::time::Duration;

    fn settings(authentication: ClientAuthentication) -> Introspection {
        Introspection {
            url: "https://idp.example/i".parse().unwrap(),
            authentication,
            allow_http: false,
            allow_private_addresses: false,
            ca_file: None,
            proxy: None,
            cache_ttl: Duration::from_secs(30),
            negative_ttl: Duration::from_secs(5),
            cache_bytes_max: 1 << 20,
            timeout: Duration::from_secs(3),
            concurrency: 4,
            breaker: Breaker {
                failures: 5,
                open_for: Duration::from_secs(5),
            },
        }
    }

    const ID: &str = "key gate:1";

    fn by_secret(method: SecretMethod) -> Introspection {
        settings(ClientAuthentication::Secret(ClientSecret {
            client_id: ID.to_owned(),
            secret: Secret::new(b"p@ss:w%rd+ /&=".to_vec()),
            method,
        }))
    }

    fn credential(settings: &Introspection) -> Result<ClientCredential, SignerError> {
        ClientCredential::new(settings, &"https://idp.example".parse().unwrap())
    }

    fn form_of(token: &str) -> Vec<(String, String)> {
        let settings = by_secret(SecretMethod::Basic);
        let credential = Arc::new(credential(&settings).unwrap());
        let form = Endpoint::new(Arc::new(settings), credential)
            .form(token, Timestamp::default())
            .unwrap();
        assert!(form.bytes().all(|byte| byte.is_ascii_graphic()), "{form:?}");
        form_urlencoded::parse(form.as_bytes()).into_owned().collect()
    }

    fn expected(token: &str) -> Vec<(String, String)> {
        [("token", token), ("token_type_hint", "access_token")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec()
    }

    #[test]
    fn s062_a_token_stays_one_parameter() {
        for token in ["a&token=b", "a%26b", "a\r\nx: y", "a b", "a+b=c;d", "\0", "é", ""] {
            assert_eq!(form_of(token), expected(token), "{token:?}");
        }
    }

    proptest! {
        #[test]
        fn any_token_is_sent_unchanged(token in ".*") {
            prop_assert_eq!(form_of(&token), expected(&token));
        }
    }

    /// Returns the decoded value of `Authorization`, and the form beside the token.
    fn sent(authentication: ClientAuthentication) -> (Option<String>, String) {
        let settings = settings(authentication);
        let credential = Arc::new(credential(&settings).unwrap());
        let authorization = credential.authorization().map(|value| {
            assert!(value.is_sensitive());
            let text = value.to_str().unwrap();
            match text.strip_prefix("Basic ") {
                Some(pair) => format!("Basic {}", String::from_utf8(STANDARD.decode(pair).unwrap()).unwrap()),
                None => text.to_owned(),
            }
        });
        let form = Endpoint::new(Arc::new(settings), credential).form("t", Timestamp::default());
        let form = form.unwrap();
        let rest = form.strip_prefix("token=t&token_type_hint=access_token").unwrap();
        (authorization, rest.to_owned())
    }

    #[test]
    fn id_and_secret_are_encoded_as_the_method_says() {
        let by = |method| sent(by_secret(method).authentication);
        assert_eq!(
            by(SecretMethod::Basic),
            (
                Some("Basic key+gate%3A1:p%40ss%3Aw%25rd%2B+%2F%26%3D".to_owned()),
                String::new()
            )
        );
        assert_eq!(
            by(SecretMethod::BasicUnencoded),
            (Some(format!("Basic {ID}:p@ss:w%rd+ /&=")), String::new())
        );
        assert_eq!(
            by(SecretMethod::Post),
            (
                None,
                "&client_id=key+gate%3A1&client_secret=p%40ss%3Aw%25rd%2B+%2F%26%3D".to_owned()
            )
        );
        assert_eq!(
            sent(ClientAuthentication::BearerToken(Secret::new(b"abc.def=".to_vec()))),
            (Some("Bearer abc.def=".to_owned()), String::new())
        );
    }

    #[test]
    fn an_error_about_the_client_is_told_from_one_about_the_token() {
        assert!(is_about_client(br#"{"error":"invalid_client"}"#));
        assert!(is_about_client(
            br#"{"error":"unauthorized_client","error_description":"no"}"#
        ));
        for other in [
            &br#"{"error":"invalid_request"}"#[..],
            b"{}",
            b"",
            b"invalid_client",
            b"[]",
            br#"{"error":1}"#,
        ] {
            assert!(!is_about_client(other), "{other:?}");
        }
    }

    fn by_key(pem: &str, algorithm: Option<Algorithm>) -> Introspection {
        settings(ClientAuthentication::PrivateKey {
            client_id: ID.to_owned(),
            key: Box::new(ClientKey {
                file: "client.pem".into(),
                pem: Secret::new(pem.as_bytes().to_vec()),
                kid: None,
                algorithm,
                audience: None,
            }),
        })
    }

    #[test]
    fn the_key_type_determines_the_algorithm() {
        for (pem, algorithm) in [
            (
                include_str!("../../../tests/data/jose/rsa2048.private.pem"),
                Algorithm::Rs256,
            ),
            (
                include_str!("../../../tests/data/jose/p256.private.pem"),
                Algorithm::Es256,
            ),
            (
                include_str!("../../../tests/data/jose/p384.private.pem"),
                Algorithm::Es384,
            ),
            (
                include_str!("../../../tests/data/jose/ed25519.private.pem"),
                Algorithm::EdDsa,
            ),
        ] {
            let Ok(ClientCredential::Key(signer)) = credential(&by_key(pem, None)) else {
                panic!("{algorithm}: it is a key");
            };
            assert_eq!(signer.key.algorithm(), algorithm);
            assert_eq!(signer.kid, signer.key.kid());
            assert_eq!(signer.audience, "https://idp.example");
        }
        let rsa = include_str!("../../../tests/data/jose/rsa2048.private.pem");
        assert!(credential(&by_key(rsa, Some(Algorithm::Ps256))).is_ok());
        assert!(credential(&by_key(rsa, Some(Algorithm::Es256))).is_err());
        for bad in [
            include_str!("../../../tests/data/jose/p256.public.pem"),
            include_str!("../../../tests/data/jose/p256.sec1.private.pem"),
            include_str!("../../../tests/data/jose/p256.certificate.pem"),
            "",
        ] {
            assert!(credential(&by_key(bad, None)).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_assertion_is_valid_for_a_minute_and_has_its_own_id() {
        let pem = include_str!("../../../tests/data/jose/p256.private.pem");
        let Ok(ClientCredential::Key(signer)) = credential(&by_key(pem, None)) else {
            panic!("it is a key");
        };
        let now = Timestamp::from_unix_secs(1_800_000_000);
        let claims = || -> Value {
            let assertion = signer.assertion(now).unwrap();
            serde_json::from_slice(Jws::parse(&assertion).unwrap().payload()).unwrap()
        };
        let (one, other) = (claims(), claims());
        assert_eq!(one["iat"], 1_800_000_000_u64);
        assert_eq!(one["exp"], 1_800_000_060_u64);
        for name in ["iss", "sub"] {
            assert_eq!(one[name], "key gate:1", "{name}");
        }
        assert_eq!(one["aud"], "https://idp.example");
        assert_eq!(one["jti"].as_str().map(str::len), Some(22));
        assert_ne!(one["jti"], other["jti"]);
    }

    #[test]
    fn errors_that_a_token_can_cause_are_no_failures_of_the_endpoint() {
        let status = |code: u16| {
            let status = StatusCode::from_u16(code).unwrap();
            CallError::Fetch(FetchError::Status { status })
        };
        for code in [400, 413, 422] {
            assert_eq!(status(code).health(), CallOutcome::Success, "{code}");
        }
        for code in [404, 429, 500, 502, 503] {
            assert_eq!(status(code).health(), CallOutcome::Failure, "{code}");
        }
        let too_long = CallError::Fetch(FetchError::TooLong { bytes_max: 1 });
        assert_eq!(too_long.health(), CallOutcome::Success);
        let status = StatusCode::UNAUTHORIZED;
        assert_eq!(CallError::NotAuthenticated { status }.health(), CallOutcome::Failure);
        assert_eq!(
            CallError::Response(ResponseError::NoActive).health(),
            CallOutcome::Failure
        );
    }
}
