//! Which properties of the bearer of a valid credential does a program get?

use crate::gate::authenticate::Identity;
use crate::model::scope::Scope;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

/// The bearer of a valid credential. A property that the credential lacks is `None`.
#[derive(Clone, Copy, Debug)]
pub struct Principal<'e>(pub(super) &'e Identity);

impl<'e> Principal<'e> {
    /// Returns the type of the credential: `jwt`, `opaque` or `api_key`.
    pub fn credential_type(&self) -> &'static str {
        self.0.credential_type.as_str()
    }

    /// Returns the public id of the credential: `jti` of a token (RFC 7519 section 4.1.7), or the id of an API key.
    pub fn credential_id(&self) -> Option<&'e str> {
        self.0.credential_id.as_deref()
    }

    /// Returns the name of the issuer in the configuration or, of an issuer with tenants, the `iss` of the token; `None` for an
    /// API key.
    pub fn issuer(&self) -> Option<&'e str> {
        self.0.issuer_text()
    }

    /// Returns `sub` of a token (RFC 7519 section 4.1.2); for an API key, the client, or else the id of the key.
    pub fn subject(&self) -> Option<&'e str> {
        self.0.subject.as_deref()
    }

    /// Returns the client of the credential: for a token the first claim that is present of the issuer's
    /// `client_id_claims`, by default `client_id` (RFC 9068 section 2.2) or `azp`.
    pub fn client_id(&self) -> Option<&'e str> {
        self.0.client_id.as_deref()
    }

    /// Returns the organization of the client.
    pub fn organization(&self) -> Option<&'e str> {
        self.0.organization.as_deref()
    }

    /// Returns whether the credential has `scope`; `false` for a text that is not a scope (RFC 6749 section 3.3).
    pub fn has_scope(&self, scope: &str) -> bool {
        scope.parse::<Scope>().is_ok_and(|scope| self.0.scopes.contains(&scope))
    }

    /// Returns the time at which the credential expires: `exp` of a token, or `max_lifetime` after the introspection of
    /// a token without `exp`. Returns `None` for an API key that never expires.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.0
            .expires_at
            .and_then(|at| UNIX_EPOCH.checked_add(Duration::from_millis(at.as_unix_millis())))
    }
}
