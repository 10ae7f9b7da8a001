//! How does Keygate get the access token for an upstream (RFC 6749 section 4.4)? One background task per OAuth client fetches
//! it, and the next one ahead of its end.

use crate::config::OauthClient;
use crate::fetch::client::FetchError;
use crate::fetch::client::Target;
use crate::fetch::client::bounded_body;
use crate::fetch::client::check_head;
use crate::fetch::client::check_url;
use crate::fetch::client::client;
use crate::fetch::client::request_error;
use crate::fetch::introspect::ClientCredential;
use crate::fetch::schedule::backoff;
use crate::fetch::source::random;
use crate::gate::upstream_credential::ClientToken;
use crate::gate::upstream_credential::HeldToken;
use crate::jose::sign::SignError;
use crate::model::clock::Clock;
use crate::model::clock::Now;
use crate::model::scope::Scope;
use crate::model::secret::Secret;
use crate::observe::log::ErrorChain;
use crate::observe::metrics::TokenFetchResult;
use crate::observe::metrics::TokenMetrics;
use crate::observe::ready::Condition;
use crate::observe::ready::Readiness;
use http::HeaderValue;
use http::StatusCode;
use http::header::ACCEPT;
use http::header::AUTHORIZATION;
use http::header::CONTENT_TYPE;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use url::form_urlencoded::Serializer;

/// A longer response is no token response.
const RESPONSE_BYTES_MAX: usize = 64 * 1024;
/// A longer token is in no head that servers read.
const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// The lifetime that is assumed where the server does not say; the token is used on after it, until another one is there.
const UNKNOWN_LIFETIME: Duration = Duration::from_secs(300);
/// A token that is valid for longer is replaced after this time all the same: it may have been revoked.
const REFRESH_MAX: Duration = Duration::from_secs(86_400);
/// The part of its lifetime after which a token is replaced.
const REFRESH_AT: f64 = 0.8;
/// The time before the end of a token that is left for attempts which fail.
const LEFT_FOR_RETRIES: Duration = Duration::from_secs(30);

/// The reason why an attempt brought no token. Operators read it in the log; clients get only a 503.
#[derive(Debug, thiserror::Error)]
enum TokenFetchError {
    #[error("the call failed")]
    Fetch(#[source] FetchError),
    #[error("the credential of Keygate itself cannot be made")]
    Credential(#[source] SignError),
    #[error("status {status}, error `{code}`: the server refused Keygate as its client")]
    Refused { status: StatusCode, code: String },
    #[error("the response is not a JSON object with an `access_token`")]
    NoToken,
    #[error("`token_type` is not Bearer")]
    TokenType,
    #[error("`access_token` cannot stand in a header")]
    TokenText,
}

impl TokenFetchError {
    fn result(&self) -> TokenFetchResult {
        match self {
            Self::Fetch(_) | Self::Credential(_) => TokenFetchResult::Failure,
            Self::Refused { .. } | Self::NoToken | Self::TokenType | Self::TokenText => TokenFetchResult::Rejected,
        }
    }
}

/// Returns the name of the condition in `/readyz` that an upstream's token is there.
pub fn condition_name(upstream: &str) -> String {
    format!("{CONDITION_PREFIX}{upstream}")
}

/// The beginning of the names of these conditions.
pub const CONDITION_PREFIX: &str = "upstream_credential:";

/// Keeps `token` of the upstream `name` up to date, until aborted. Sets the upstream's condition in `readiness`: a gate
/// without a token still serves every other upstream, so it is degraded.
pub async fn run(
    name: &str,
    token: Arc<ClientToken>,
    clock: Arc<dyn Clock>,
    metrics: TokenMetrics,
    readiness: Arc<Readiness>,
) {
    let condition = condition_name(name);
    let (mut failures, mut has_expired) = (0_u32, false);
    if token.is_usable(clock.now().tick) {
        readiness.set(&condition, Condition::Ok, "token fetched");
    } else {
        readiness.set(&condition, Condition::Degraded, "no token yet");
    }
    let endpoint = Endpoint::new(token.settings());
    loop {
        let started = clock.now();
        token.start_attempt(started.tick);
        let pause = match endpoint.fetch(started).await {
            Ok((held, lifetime)) => {
                let is_change = failures > 0 || !token.is_usable(started.tick);
                token.replace(held);
                metrics.count_fetch(TokenFetchResult::Success);
                readiness.set(&condition, Condition::Ok, "token fetched");
                if is_change {
                    tracing::info!(upstream = name, failures, "Upstream credential fetched");
                } else {
                    tracing::debug!(upstream = name, "Upstream credential replaced");
                }
                (failures, has_expired) = (0, false);
                refresh_after(lifetime, random())
            }
            Err(error) => {
                metrics.count_fetch(error.result());
                failures = failures.saturating_add(1);
                let error = ErrorChain(&error).to_string();
                let is_usable = token.is_usable(clock.now().tick);
                if failures == 1 {
                    tracing::warn!(upstream = name, error, "Upstream credential cannot be fetched");
                } else {
                    tracing::debug!(
                        upstream = name,
                        failures,
                        error,
                        "Upstream credential still cannot be fetched"
                    );
                }
                if !is_usable && !has_expired {
                    has_expired = true;
                    tracing::error!(
                        upstream = name,
                        error,
                        "No upstream credential; its requests are refused"
                    );
                }
                let state = if is_usable {
                    "the token before is used"
                } else {
                    "no token"
                };
                readiness.set(&condition, Condition::Degraded, format!("{state}: {error}"));
                backoff(failures, random())
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = token.fetch_requested() => {}
        }
    }
}

/// Returns the time after which a token is replaced: most of its `lifetime`, and early enough for attempts that fail.
/// Spread by up to a tenth, so that replicas do not ask together. `random` is in 0..1.
fn refresh_after(lifetime: Option<Duration>, random: f64) -> Duration {
    let lifetime = lifetime.unwrap_or(UNKNOWN_LIFETIME);
    let latest = lifetime.saturating_sub(LEFT_FOR_RETRIES).max(lifetime / 2);
    let after = lifetime.mul_f64(REFRESH_AT).min(latest).min(REFRESH_MAX);
    after.mul_f64(1.0 - 0.1 * random).max(Duration::from_secs(1))
}

/// The token endpoint of one client.
struct Endpoint<'s> {
    settings: &'s OauthClient,
    credential: ClientCredential,
}

impl<'s> Endpoint<'s> {
    fn new(settings: &'s OauthClient) -> Self {
        Self {
            settings,
            credential: ClientCredential::of_secret(&settings.client),
        }
    }

    /// Fetches a token. Returns it and its lifetime, if the server says it. The whole call takes at most the configured
    /// `timeout`.
    async fn fetch(&self, now: Now) -> Result<(HeldToken, Option<Duration>), TokenFetchError> {
        let timeout = self.settings.connect.timeout;
        let bounded = tokio::time::timeout(timeout, self.post(now)).await;
        let body = bounded.unwrap_or(Err(TokenFetchError::Fetch(FetchError::TimedOut { timeout })))?;
        let (value, lifetime) = read(body.expose())?;
        let held = HeldToken {
            value,
            // The lifetime begins before the response was sent.
            expires_at: lifetime.map(|lifetime| now.tick.saturating_add(lifetime)),
        };
        Ok((held, lifetime))
    }

    async fn post(&self, now: Now) -> Result<Secret<Vec<u8>>, TokenFetchError> {
        let target = Target::new(&self.settings.token_url, &self.settings.connect);
        check_url(target).map_err(TokenFetchError::Fetch)?;
        // A client for each call: calls are rare, and a changed file of authorities counts from the next one on.
        let client = client(target, 0).await.map_err(TokenFetchError::Fetch)?;
        let mut request = client
            .post(self.settings.token_url.clone())
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(authorization) = self.credential.authorization() {
            request = request.header(AUTHORIZATION, authorization);
        }
        let form = self.form(now)?;
        let sent = request.body(form).send().await;
        let response = sent.map_err(|error| TokenFetchError::Fetch(request_error(error)))?;
        let status = response.status();
        if matches!(
            status,
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
        ) {
            let body = bounded_body(response, RESPONSE_BYTES_MAX).await.unwrap_or_default();
            return Err(TokenFetchError::Refused {
                status,
                code: error_code(&body),
            });
        }
        check_head(status, response.headers(), target.url).map_err(TokenFetchError::Fetch)?;
        let body = bounded_body(response, RESPONSE_BYTES_MAX).await;
        body.map(Secret::new).map_err(TokenFetchError::Fetch)
    }

    fn form(&self, now: Now) -> Result<String, TokenFetchError> {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if !self.settings.scopes.is_empty() {
            let scopes: Vec<&str> = self.settings.scopes.iter().map(Scope::as_str).collect();
            form.append_pair("scope", &scopes.join(" "));
        }
        for (name, value) in [
            ("audience", &self.settings.audience),
            ("resource", &self.settings.resource),
        ] {
            if let Some(value) = value {
                form.append_pair(name, value);
            }
        }
        self.credential
            .finish(form, now.wall)
            .map_err(TokenFetchError::Credential)
    }
}

/// Reads a token response (RFC 6749 section 5.1). Returns the value of `Authorization` and the token's lifetime.
fn read(body: &[u8]) -> Result<(HeaderValue, Option<Duration>), TokenFetchError> {
    let response: Value = serde_json::from_slice(body).map_err(|_| TokenFetchError::NoToken)?;
    let token = response["access_token"].as_str().ok_or(TokenFetchError::NoToken)?;
    if !response["token_type"]
        .as_str()
        .is_some_and(|kind| kind.eq_ignore_ascii_case("bearer"))
    {
        return Err(TokenFetchError::TokenType);
    }
    if token.is_empty() || token.len() > TOKEN_BYTES_MAX || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(TokenFetchError::TokenText);
    }
    let text = Secret::new(format!("Bearer {token}"));
    let mut value = HeaderValue::from_str(text.expose()).map_err(|_| TokenFetchError::TokenText)?;
    value.set_sensitive(true);
    // Some servers write the number as a text.
    let secs = match &response["expires_in"] {
        Value::Number(number) => number.as_f64().filter(|secs| *secs >= 0.0),
        Value::String(text) => text.parse::<u32>().ok().map(f64::from),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    let lifetime = secs.map(|secs| Duration::try_from_secs_f64(secs).unwrap_or(Duration::MAX));
    Ok((value, lifetime))
}

/// Returns the `error` of a refusal (RFC 6749 section 5.2), if it is such a word: other texts may repeat what was sent.
fn error_code(body: &[u8]) -> String {
    let response: Option<Value> = serde_json::from_slice(body).ok();
    let code = response.as_ref().and_then(|response| response["error"].as_str());
    let is_word = |code: &&str| code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    code.filter(is_word).unwrap_or("none").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_replaced_well_before_its_end() {
        let secs = Duration::from_secs;
        for (lifetime, earliest, latest) in [
            (Some(secs(3600)), secs(2592), secs(2880)),
            (Some(secs(100)), secs(63), secs(70)),
            (Some(secs(60)), secs(27), secs(30)),
            (Some(secs(10)), Duration::from_millis(4_500), secs(5)),
            (Some(secs(0)), secs(1), secs(1)),
            (Some(Duration::MAX), secs(77_760), secs(86_400)),
            (None, secs(216), secs(240)),
        ] {
            assert_eq!(refresh_after(lifetime, 1.0), earliest, "{lifetime:?}");
            assert_eq!(refresh_after(lifetime, 0.0), latest, "{lifetime:?}");
        }
    }

    #[track_caller]
    fn check(body: &str, expected: Result<(&str, Option<u64>), TokenFetchResult>) {
        let found = read(body.as_bytes());
        let found = found.as_ref().map_err(TokenFetchError::result);
        let found =
            found.map(|(value, lifetime)| (value.to_str().unwrap(), lifetime.map(|lifetime| lifetime.as_secs())));
        assert_eq!(found, expected, "{body}");
    }

    #[test]
    fn a_token_response_is_read_as_in_rfc6749_section_5_1() {
        let response = |rest: &str| format!("{{\"access_token\":\"a.b~c\",\"token_type\":\"bEARER\"{rest}}}");
        check(&response(""), Ok(("Bearer a.b~c", None)));
        check(
            &response(",\"expires_in\":3600,\"scope\":\"a\""),
            Ok(("Bearer a.b~c", Some(3600))),
        );
        check(&response(",\"expires_in\":\"3599\""), Ok(("Bearer a.b~c", Some(3599))));
        check(&response(",\"expires_in\":59.9"), Ok(("Bearer a.b~c", Some(59))));
        check(&response(",\"expires_in\":1e300"), Ok(("Bearer a.b~c", Some(u64::MAX))));
        for unreadable in ["-1", "null", "[]", "\"soon\""] {
            check(
                &response(&format!(",\"expires_in\":{unreadable}")),
                Ok(("Bearer a.b~c", None)),
            );
        }
        let refused = Err(TokenFetchResult::Rejected);
        for body in [
            "",
            "[]",
            "{}",
            "<html>",
            "{\"access_token\":\"a\"}",
            "{\"access_token\":\"a\",\"token_type\":\"DPoP\"}",
            "{\"access_token\":\"\",\"token_type\":\"Bearer\"}",
            "{\"access_token\":\"a b\",\"token_type\":\"Bearer\"}",
            "{\"access_token\":\"a\\r\\nx: y\",\"token_type\":\"Bearer\"}",
            "{\"access_token\":1,\"token_type\":\"Bearer\"}",
        ] {
            check(body, refused);
        }
        let long = "a".repeat(TOKEN_BYTES_MAX + 1);
        check(
            &format!("{{\"access_token\":\"{long}\",\"token_type\":\"Bearer\"}}"),
            refused,
        );
    }

    #[test]
    fn s143_the_token_is_never_printed_and_a_refusal_is_a_word() {
        let (value, _) = read(b"{\"access_token\":\"s3cret\",\"token_type\":\"Bearer\"}").unwrap();
        assert_eq!(format!("{value:?}"), "Sensitive");
        for (body, code) in [
            (r#"{"error":"invalid_client"}"#, "invalid_client"),
            (r#"{"error":"the secret s3cret is wrong"}"#, "none"),
            ("s3cret", "none"),
        ] {
            assert_eq!(error_code(body.as_bytes()), code);
        }
    }
}
