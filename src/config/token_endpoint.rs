//! In whose name Keygate issues tokens, how they are signed, and what assertions it takes for them.

use crate::config::Dial;
use crate::model::algorithm::Algorithm;
use crate::model::issuer::IssuerUrl;
use crate::model::names::Name;
use crate::model::plan::Quota;
use crate::model::secret::Secret;
use std::time::Duration;

/// `token_endpoint:` at the top of the file. It needs a `store`, and makes an issuer of the name [`OWN_ISSUER`] that
/// routes can trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenEndpoint {
    /// `iss` of the tokens; every URL in the metadata begins with it. Plain http on loopback alone.
    pub issuer: IssuerUrl,
    /// `aud` of the tokens. Default: the issuer.
    pub audiences: Vec<String>,
    /// What tokens are signed with. Default ES256; also RS256, PS256, EdDSA.
    pub algorithm: Algorithm,
    /// What the files of the signing keys are encrypted with (AES-256-GCM): 32 bytes as 64 hexadecimal digits in the
    /// file. `None`: they are plain PEM of mode 0600.
    pub wrapping_key: Option<Secret<Vec<u8>>>,
    /// Default 90 days.
    pub rotate_every: Duration,
    /// How long a key is published before it signs: at least as long as anybody may keep the key set. Default 1 hour.
    pub publish_before: Duration,
    pub assertion_audience: AssertionAudience,
    /// Default 1 h; 5 min in the strict profile.
    pub assertion_max_lifetime: Duration,
    /// Default `false`; `true` in the strict profile.
    pub require_jti: bool,
    /// How far clocks may differ: default 30 s.
    pub clock_skew: Duration,
    /// Secrets are taken over plain HTTP from others than loopback and trusted proxies that say `https`.
    pub allow_clear_text: bool,
    /// Requests to the token, introspection and revocation endpoints, per address.
    pub limit: Quota,
    /// Failed authentications per client and source.
    pub failures: Quota,
    /// How the key sets behind the URLs of clients are reached; all else is as for issuers.
    pub client_jwks: Dial,
}

/// The issuer that the token endpoint makes.
pub const OWN_ISSUER: &str = "keygate";

impl TokenEndpoint {
    /// The URL of a path that is answered here, such as `/oauth/token`.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.issuer.as_str().trim_end_matches('/'))
    }

    pub fn own_issuer() -> Name {
        OWN_ISSUER.parse().expect("it is a name")
    }
}

/// What `aud` of an assertion may be: always a single string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssertionAudience {
    /// The issuer, or the URL of the endpoint that was asked.
    IssuerOrEndpoint,
    /// The issuer alone (rfc7523bis, FAPI 2.0).
    Issuer,
}
