//! What is known about a principal? Computed when a credential is validated, and shared by later requests with the same
//! credential.

use crate::config::LimitBy;
use crate::gate::authenticate::PickedClaims;
use crate::gate::authenticate::header_value::header_value;
use crate::limit::key::bucket_key;
use crate::model::api_key::KeyId;
use crate::model::clock::Timestamp;
use crate::model::names::Name;
use crate::model::scope::Scope;
use crate::model::scope::ScopeSet;
use http::HeaderValue;

/// The type of a credential. A closed set; the text is a metric label and a header value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CredentialType {
    #[default]
    Jwt,
    /// A bearer token that was looked up: in the directory, or by introspection.
    Opaque,
    ApiKey,
}

impl CredentialType {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Jwt => "jwt",
            Self::Opaque => "opaque",
            Self::ApiKey => "api_key",
        }
    }
}

/// The contents of a verified token, or of an introspection response.
#[derive(Clone, Debug, Default)]
pub struct TokenIdentity {
    pub credential_type: CredentialType,
    /// The `iss`, where the issuer is a template of many; otherwise `None`.
    pub tenant_issuer: Option<String>,
    pub subject: Option<String>,
    pub client_id: Option<String>,
    pub organization: Option<String>,
    /// The `jti`, where present.
    pub token_id: Option<String>,
    pub scopes: ScopeSet,
    /// The members of `aud`.
    pub audiences: Vec<String>,
    /// The claims that rules check and upstreams receive; see [`crate::gate::authenticate::ClaimPicks`].
    pub claims: PickedClaims,
    /// The `iat`, where present.
    pub issued_at: Option<Timestamp>,
    pub expires_at: Timestamp,
    /// The last instant at which the token is valid: `expires_at` plus the issuer's skew.
    pub usable_until: Timestamp,
}

/// The contents of a verified API key.
#[derive(Clone, Debug, Default)]
pub struct ApiKeyIdentity {
    pub key_id: String,
    pub client_id: Option<String>,
    pub organization: Option<String>,
    pub scopes: ScopeSet,
    /// `None` for a key that never expires.
    pub expires_at: Option<Timestamp>,
}

/// The identity that later stages read. Header values and bucket keys are computed here, once, so that a
/// cached credential costs no allocation.
#[derive(Debug)]
pub struct Identity {
    pub credential_type: CredentialType,
    pub subject: Option<Box<str>>,
    pub client_id: Option<Box<str>>,
    pub organization: Option<Box<str>>,
    /// The `jti` of a token, or the public id of a key.
    pub credential_id: Option<Box<str>>,
    pub issuer: Option<Name>,
    pub scopes: ScopeSet,
    pub audiences: Box<[Box<str>]>,
    /// The `iat` of a token, where present.
    pub issued_at: Option<Timestamp>,
    /// The credential's own expiry; `None` for a key that never expires.
    pub expires_at: Option<Timestamp>,
    /// The end of streams that were opened with the credential (S038); `None` for a key that never expires.
    pub usable_until: Option<Timestamp>,
    /// The claims that rules check and upstreams receive; an API key has none.
    pub claims: PickedClaims,
    /// The headers for the upstream.
    pub headers: IdentityHeaders,
    pub buckets: BucketKeys,
}

/// The values of the `x-keygate-*` headers. `None`: the header is not sent.
#[derive(Clone, Debug, Default)]
pub struct IdentityHeaders {
    pub subject: Option<HeaderValue>,
    pub client_id: Option<HeaderValue>,
    pub organization: Option<HeaderValue>,
    pub scope: Option<HeaderValue>,
    pub credential_id: Option<HeaderValue>,
    pub issuer: Option<HeaderValue>,
}

impl IdentityHeaders {
    fn bytes(&self) -> usize {
        let Self {
            subject,
            client_id,
            organization,
            scope,
            credential_id,
            issuer,
        } = self;
        let values = [subject, client_id, organization, scope, credential_id, issuer];
        // Cloning a `HeaderValue` allocates once more, for its reference count.
        let value = |value: &HeaderValue| heap_bytes(value.len()) + heap_bytes(size_of::<[usize; 3]>());
        values.into_iter().flatten().map(value).sum()
    }
}

/// Returns a high estimate of the memory that an allocation of `bytes` takes: allocators round up by about an eighth,
/// and to 16 bytes at least.
pub(super) const fn heap_bytes(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        _ => bytes + bytes / 8 + 16,
    }
}

/// The 128-bit hashes that limits count by. Each process has its own key for the hash, so no client can choose
/// identities that share a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketKeys {
    pub credential: u128,
    pub client: u128,
    pub subject: u128,
    pub organization: u128,
}

/// The property that a limit counts by in place of one that a principal does not have; see [`Identity::stand_in`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandIn {
    Client,
    Subject,
    /// The API key itself.
    Key,
    /// All tokens of the issuer that have neither.
    Issuer,
}

impl StandIn {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Subject => "subject",
            Self::Key => "key",
            Self::Issuer => "issuer",
        }
    }
}

impl Identity {
    /// Returns what the bucket key of `by` is made of, if the principal does not have that property; `None` if it has.
    pub fn stand_in(&self, by: LimitBy) -> Option<StandIn> {
        let is_key = self.credential_type == CredentialType::ApiKey;
        let owner = match (&self.client_id, &self.subject) {
            (None, _) if is_key => StandIn::Key,
            (Some(_), _) => StandIn::Client,
            (None, Some(_)) => StandIn::Subject,
            (None, None) => StandIn::Issuer,
        };
        // The organization of a key falls back to the key, see `of_api_key`.
        let of_organization = if is_key { StandIn::Key } else { owner };
        let (has, stand_in) = match by {
            LimitBy::Credential => (is_key || owner != StandIn::Issuer, owner),
            LimitBy::Client => (self.client_id.is_some(), owner),
            // The subject of a key is its client or itself, for upstreams that want one.
            LimitBy::Subject => (self.subject.is_some() && !is_key, owner),
            LimitBy::Organization => (self.organization.is_some(), of_organization),
            LimitBy::Ip | LimitBy::Route => (true, owner),
        };
        (!has).then_some(stand_in)
    }

    pub fn of_token(issuer: Name, token: TokenIdentity) -> Self {
        // A limit by credential counts all tokens of a client together: more tokens must not give more buckets.
        let owner = token
            .client_id
            .as_deref()
            .or(token.subject.as_deref())
            .unwrap_or_default();
        // Two tenants may have the same subject: their limits are counted apart, and upstreams are told the tenant.
        let realm = token.tenant_issuer.as_deref().unwrap_or(issuer.as_str());
        let buckets = BucketKeys {
            credential: bucket_key(&["token", realm, owner]),
            client: bucket_key(&["client", realm, token.client_id.as_deref().unwrap_or(owner)]),
            subject: bucket_key(&["subject", realm, token.subject.as_deref().unwrap_or(owner)]),
            organization: bucket_key(&["organization", realm, token.organization.as_deref().unwrap_or(owner)]),
        };
        let headers = IdentityHeaders {
            subject: token.subject.as_deref().map(header_value),
            client_id: token.client_id.as_deref().map(header_value),
            organization: token.organization.as_deref().map(header_value),
            scope: scope_value(&token.scopes),
            credential_id: token.token_id.as_deref().map(header_value),
            issuer: Some(header_value(realm)),
        };
        Self {
            credential_type: token.credential_type,
            subject: token.subject.map(Into::into),
            client_id: token.client_id.map(Into::into),
            organization: token.organization.map(Into::into),
            credential_id: token.token_id.map(Into::into),
            issuer: Some(issuer),
            scopes: token.scopes,
            audiences: token.audiences.into_iter().map(Into::into).collect(),
            issued_at: token.issued_at,
            expires_at: Some(token.expires_at),
            usable_until: Some(token.usable_until),
            claims: token.claims,
            headers,
            buckets,
        }
    }

    /// Returns a high estimate of the memory of this identity in bytes, with the overhead of its allocations. Every new
    /// field must be added here: this number bounds the cache of tokens.
    pub fn bytes(&self) -> usize {
        let Self {
            credential_type: _,
            subject,
            client_id,
            organization,
            credential_id,
            // The configuration shares the issuer's name.
            issuer: _,
            scopes,
            audiences,
            issued_at: _,
            expires_at: _,
            usable_until: _,
            claims,
            headers,
            buckets: _,
        } = self;
        let names = [subject, client_id, organization, credential_id].into_iter().flatten();
        let names: usize = names.map(|name| heap_bytes(name.len())).sum();
        let scopes: usize = scopes
            .iter()
            .map(|scope| size_of::<Scope>() + heap_bytes(scope.as_str().len()))
            .sum();
        let audiences: usize = audiences
            .iter()
            .map(|audience| size_of::<Box<str>>() + heap_bytes(audience.len()))
            .sum();
        heap_bytes(size_of::<Self>())
            + names
            + heap_bytes(scopes)
            + heap_bytes(audiences)
            + heap_bytes(claims.bytes())
            + headers.bytes()
    }

    /// Returns the issuer as upstreams and records name it: by its name or, of a template, by the `iss`. `None` for an API key.
    pub fn issuer_text(&self) -> Option<&str> {
        self.headers.issuer.as_ref()?.to_str().ok()
    }

    /// Returns the id of the API key; `None` for a token.
    pub fn api_key_id(&self) -> Option<KeyId> {
        match self.credential_type {
            CredentialType::ApiKey => self.credential_id.as_deref()?.parse().ok(),
            CredentialType::Jwt | CredentialType::Opaque => None,
        }
    }

    pub fn of_api_key(key: ApiKeyIdentity) -> Self {
        let owner = key.key_id.as_str();
        let client = key.client_id.as_deref();
        let buckets = BucketKeys {
            credential: bucket_key(&["api_key", owner]),
            client: bucket_key(&["api_key_client", client.unwrap_or(owner)]),
            subject: bucket_key(&["api_key_subject", client.unwrap_or(owner)]),
            organization: bucket_key(&["api_key_organization", key.organization.as_deref().unwrap_or(owner)]),
        };
        let headers = IdentityHeaders {
            subject: Some(header_value(client.unwrap_or(owner))),
            client_id: client.map(header_value),
            organization: key.organization.as_deref().map(header_value),
            scope: scope_value(&key.scopes),
            credential_id: Some(header_value(owner)),
            issuer: None,
        };
        Self {
            credential_type: CredentialType::ApiKey,
            subject: Some(client.unwrap_or(owner).into()),
            client_id: client.map(Into::into),
            organization: key.organization.map(Into::into),
            credential_id: Some(key.key_id.into()),
            issuer: None,
            scopes: key.scopes,
            audiences: Box::default(),
            issued_at: None,
            expires_at: key.expires_at,
            usable_until: key.expires_at,
            claims: PickedClaims::default(),
            headers,
            buckets,
        }
    }
}

fn scope_value(scopes: &ScopeSet) -> Option<HeaderValue> {
    (!scopes.is_empty()).then(|| header_value(&scopes.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(change: impl FnOnce(&mut TokenIdentity)) -> Identity {
        let mut token = TokenIdentity::default();
        change(&mut token);
        Identity::of_token("main".parse().unwrap(), token)
    }

    #[test]
    fn an_allocation_counts_with_its_overhead() {
        for (bytes, expected) in [(0, 0), (1, 17), (8, 25), (16, 34), (800, 916)] {
            assert_eq!(heap_bytes(bytes), expected, "{bytes}");
        }
    }

    #[test]
    fn every_part_of_an_identity_counts() {
        // A value, and the reference count that its first clone allocates.
        let header = |length: usize| heap_bytes(length) + heap_bytes(size_of::<[usize; 3]>());
        let base = heap_bytes(size_of::<Identity>()) + header("main".len());
        assert_eq!(identity(|_| ()).bytes(), base);
        let text = |change: fn(&mut TokenIdentity)| identity(change).bytes() - base;
        let expected = heap_bytes(5) + header(5);
        assert_eq!(text(|token| token.subject = Some("alice".to_owned())), expected);
        assert_eq!(text(|token| token.client_id = Some("alice".to_owned())), expected);
        assert_eq!(text(|token| token.organization = Some("alice".to_owned())), expected);
        assert_eq!(text(|token| token.token_id = Some("alice".to_owned())), expected);
        let scopes = 2 * size_of::<Scope>() + heap_bytes(1) + heap_bytes(2);
        assert_eq!(
            text(|token| token.scopes = ScopeSet::parse_list("a bc").unwrap()),
            heap_bytes(scopes) + header(4)
        );
        let audiences = 2 * size_of::<Box<str>>() + heap_bytes(1) + heap_bytes(2);
        assert_eq!(
            text(|token| token.audiences = vec!["a".to_owned(), "bc".to_owned()]),
            heap_bytes(audiences)
        );
    }

    /// Two principals that differ only in what stands in for a property have different buckets, and the other way round.
    #[test]
    fn what_stands_in_for_a_property_is_what_the_bucket_is_made_of() {
        let token = |client: Option<&str>, subject: Option<&str>, organization: Option<&str>| {
            identity(|token| {
                token.client_id = client.map(str::to_owned);
                token.subject = subject.map(str::to_owned);
                token.organization = organization.map(str::to_owned);
            })
        };
        let key = |id: &str, client: Option<&str>, organization: Option<&str>| {
            Identity::of_api_key(ApiKeyIdentity {
                key_id: id.to_owned(),
                client_id: client.map(str::to_owned),
                organization: organization.map(str::to_owned),
                ..ApiKeyIdentity::default()
            })
        };
        let all = [
            LimitBy::Credential,
            LimitBy::Client,
            LimitBy::Subject,
            LimitBy::Organization,
        ];
        let check = |identity: &Identity, expected: [Option<StandIn>; 4]| {
            assert_eq!(all.map(|by| identity.stand_in(by)), expected, "{identity:?}");
            for by in [LimitBy::Ip, LimitBy::Route] {
                assert_eq!(identity.stand_in(by), None);
            }
        };
        let (client, subject) = (Some(StandIn::Client), Some(StandIn::Subject));
        let (own, issuer) = (Some(StandIn::Key), Some(StandIn::Issuer));
        check(&token(Some("c"), Some("s"), Some("o")), [None; 4]);
        check(&token(Some("c"), None, None), [None, None, client, client]);
        check(&token(None, Some("s"), None), [None, subject, None, subject]);
        check(&token(None, None, Some("o")), [issuer, issuer, issuer, None]);
        check(&token(None, None, None), [issuer; 4]);
        check(&key("k", Some("c"), Some("o")), [None, None, client, None]);
        check(&key("k", Some("c"), None), [None, None, client, own]);
        check(&key("k", None, None), [None, own, own, own]);
        let same = |one: &Identity, other: &Identity| {
            let buckets = |identity: &Identity| {
                let BucketKeys {
                    credential,
                    client,
                    subject,
                    organization,
                } = identity.buckets;
                [credential, client, subject, organization]
            };
            let (one, other) = (buckets(one), buckets(other));
            [0, 1, 2, 3].map(|index: usize| one[index] == other[index])
        };
        let alice = token(None, Some("alice"), None);
        assert_eq!(same(&alice, &token(None, Some("bob"), None)), [false; 4]);
        let one = token(Some("c"), None, None);
        assert_eq!(
            same(&one, &token(Some("c"), Some("s"), None)),
            [true, true, false, true]
        );
        assert_eq!(same(&key("k", None, None), &key("l", None, None)), [false; 4]);
        let first = key("k", Some("c"), None);
        assert_eq!(same(&first, &key("l", Some("c"), None)), [false, true, true, false]);
        assert_eq!(same(&token(None, None, None), &token(None, None, None)), [true; 4]);
    }

    #[test]
    fn an_identity_without_scopes_sends_no_scope() {
        assert_eq!(identity(|_| ()).headers.scope, None);
        let headers = identity(|token| token.scopes = ScopeSet::parse_list("b a").unwrap()).headers;
        assert_eq!(headers.scope.unwrap(), "a b");
    }
}
