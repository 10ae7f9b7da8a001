//! `keygate token`: a bearer token of the development issuer.

use crate::cli::args::Token;
use crate::cli::data_folder::DEV_AUDIENCE;
use crate::cli::data_folder::DEV_ISSUER;
use crate::cli::data_folder::DataFolder;
use crate::config;
use crate::model::clock::Clock;
use crate::model::clock::SystemClock;
use crate::model::clock::Timestamp;
use crate::model::scope::ScopeSet;
use std::error::Error;
use std::time::Duration;

/// The gate believes no longer lifetime (`max_lifetime`).
const EXPIRES_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A token for what was asked.
///
/// # Errors
/// A duration or scope that does not parse, or no development set-up to sign for.
pub fn token(asked: &Token) -> Result<String, Box<dyn Error>> {
    let expires = config::parse_duration(&asked.expires).map_err(|error| format!("--expires: {error}"))?;
    if expires.is_zero() || expires > EXPIRES_MAX {
        return Err("--expires: a development token is good for at least 1s and at most 24h".into());
    }
    let scopes = ScopeSet::parse_list(&asked.scopes.join(" ")).map_err(|error| format!("--scope: {error}"))?;
    let key = DataFolder::locate(asked.data_dir.as_deref())?.signing_key()?;
    let claims = claims(asked, &scopes, SystemClock::new().now().wall, expires);
    Ok(key.sign("at+jwt", &claims)?)
}

/// Claims of an RFC 9068 access token (section 2.2).
fn claims(asked: &Token, scopes: &ScopeSet, now: Timestamp, expires: Duration) -> serde_json::Value {
    let id: u128 = rand_id();
    serde_json::json!({
        "iss": DEV_ISSUER,
        "aud": DEV_AUDIENCE,
        "sub": asked.subject,
        "client_id": asked.client,
        "scope": scopes.to_string(),
        "iat": now.as_unix_secs(),
        "exp": now.saturating_add(expires).as_unix_secs(),
        "jti": format!("{id:032x}"),
    })
}

fn rand_id() -> u128 {
    let mut id = [0; 16];
    aws_lc_rs::rand::fill(&mut id).expect("the operating system gives random bytes");
    u128::from_be_bytes(id)
}
