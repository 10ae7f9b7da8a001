//! An authorization server whose tokens are trusted, and where its keys are.

use crate::model::algorithm::Algorithm;
use crate::model::issuer::IssuerUrl;
use crate::model::names::Name;
use std::path::PathBuf;
use std::time::Duration;

/// `issuers.<name>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    pub name: Name,
    /// Compared with `iss`, byte by byte. No two issuers share one.
    pub issuer: IssuerUrl,
    pub keys: KeySource,
    /// A token's `aud` must hold one of these. `None` is the visible waiver `audiences: any`. Never empty.
    pub audiences: Option<Vec<String>>,
    /// Default RS256, PS256, ES256, EdDSA. Never empty.
    pub algorithms: Vec<Algorithm>,
    /// Accepted `typ` headers, compared in lower case; the empty text stands for an absent `typ`.
    /// Default `at+jwt`, `application/at+jwt`, `jwt` and absent.
    pub types: Vec<String>,
    /// Default 30 s, at most 120 s.
    pub clock_skew: Duration,
    /// The longest `exp` - `iat` believed. Default 24 h.
    pub max_lifetime: Duration,
    /// Further claims that must be there, each with one of these values.
    pub required_claims: Vec<(String, Vec<String>)>,
    /// Claims that scopes are read from, the first present one counts. Default `scope`, `scp`, `permissions`, `roles`.
    pub scope_claims: Vec<String>,
    /// Claims the client id is read from, the first present one counts. Default `client_id`, `azp`.
    pub client_id_claims: Vec<String>,
    /// Claim the organization is read from. Default `org`.
    pub organization_claim: String,
}

/// Where an issuer's keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// PEM public keys, read at start and when the configuration is reloaded. Never empty.
    Pem(Vec<PathBuf>),
    /// A JWK set in a file, read again when it changes.
    File(PathBuf),
    /// A JWK set behind a URL.
    Url(Box<JwksUrl>),
}

/// `issuers.<name>.jwks_url` and the keys beside it that say how it is fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwksUrl {
    pub url: url::Url,
    /// Allows `http:`. Default false.
    pub allow_http: bool,
    /// Allows addresses that are private, loopback, link-local or otherwise not public; checked on the address that is
    /// dialled. Default false.
    pub allow_private_addresses: bool,
    /// PEM certificates trusted instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// An HTTP proxy for the fetches.
    pub proxy: Option<url::Url>,
    /// Lower bound of the refresh interval that Cache-Control can ask for. Default 1 min.
    pub min_refresh: Duration,
    /// Upper bound of it. Default 1 h.
    pub max_refresh: Duration,
    /// At most one fetch for an unknown `kid` per this time, counting attempts. Default 30 s.
    pub cooldown: Duration,
    /// How long a request waits for such a fetch. Default 500 ms.
    pub wait: Duration,
    /// How long the last good set serves while fetches fail. Default 24 h.
    pub max_stale: Duration,
    /// The whole of one fetch. Default 5 s.
    pub timeout: Duration,
}
