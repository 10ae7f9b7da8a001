//! How does Keygate tell upstreams the identity of a principal? In a signed token with a short lifetime.

use crate::config::check::Checker;
use crate::config::read::Text;
use crate::config::read::TypedNode;
use crate::config::text::ExactText;
use crate::config::tree::NodeId;
use crate::config::tree::ROOT;
use crate::model::algorithm::Algorithm;
use crate::model::issuer::IssuerUrl;
use schemars::JsonSchema;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// `identity_token:` at the top of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityToken {
    /// `iss` of the tokens.
    pub issuer: IssuerUrl,
    /// Algorithm of the tokens' signatures. Default ES256.
    pub algorithm: Algorithm,
    /// PEM, PKCS #8. `None`: Keygate generates an ES256 key at the first start and keeps it in `state_dir`, if set.
    pub signing_key_file: Option<PathBuf>,
    /// Lifetime of a token. Default 60 s, from 10 s to 10 min.
    pub ttl: Duration,
}

/// A signed token that tells upstreams who called; a route opts in with an `identity_token` of its own.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "IdentityToken")]
pub(in crate::config) struct Section {
    /// `iss` of the tokens: a name of this gateway's own, such as `https://gate.example.com`. Required.
    #[schemars(required)]
    issuer: Option<Text<IssuerUrl>>,
    /// What they are signed with. Default ES256.
    algorithm: Option<Text<Algorithm>>,
    /// The private key (PEM, PKCS #8), readable by its owner and its group alone; read again when it changes. Default: an
    /// ES256 key that is made at the first start and kept in `state_dir`; without that folder, one for each start.
    signing_key_file: Option<Text<PathBuf>>,
    /// How long a token is good for, from `10s` to `10m`; one is sent until half of it is left. Default `60s`.
    ttl: Option<Text<Duration>>,
}

/// What a route says of it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RouteIdentityToken")]
pub(in crate::config) struct RouteSection {
    /// `aud` of the tokens: the upstream's name, such as `https://orders.internal`. Required.
    #[schemars(required)]
    audience: Option<Text<ExactText>>,
}

const TTL_DEFAULT: Duration = Duration::from_secs(60);
/// Half of it must outlast the way to the upstream and the difference of two clocks.
const TTL_MIN: Duration = Duration::from_secs(10);
/// A leaked token can be valid for this long, even if its credential is revoked meanwhile.
const TTL_MAX: Duration = Duration::from_secs(600);

pub(in crate::config) fn convert(
    TypedNode { value: section, at }: TypedNode<Section>,
    checker: &mut Checker<'_>,
) -> Option<IdentityToken> {
    let issuer = checker.need(
        at,
        "issuer",
        section.issuer,
        "such as `issuer: https://gate.example.com`",
    );
    let algorithm = section
        .algorithm
        .as_ref()
        .map(|algorithm| (*algorithm.get(), algorithm.at));
    if let Some((algorithm, algorithm_at)) = algorithm
        && algorithm != Algorithm::Es256
        && checker.tree.entry(at, "signing_key_file").is_none()
    {
        let problem = checker.with_value(algorithm_at, "a key that is made here is one for ES256");
        let hint = "give it a key of its own: `signing_key_file: identity.pem`";
        checker.error_with(algorithm_at, "missing-key", problem, hint);
    }
    let signing_key_file = section.signing_key_file.map(|file| checker.existing_file(&file));
    let ttl = section.ttl.map_or(TTL_DEFAULT, |ttl| {
        if !(TTL_MIN..=TTL_MAX).contains(ttl.get()) {
            let problem = checker.with_value(ttl.at, "an identity token lives between 10s and 10m");
            checker.error(ttl.at, "out-of-range", problem);
        }
        ttl.take()
    });
    Some(IdentityToken {
        issuer: issuer?.take(),
        algorithm: section.algorithm.map_or(Algorithm::Es256, Text::take),
        signing_key_file,
        ttl,
    })
}

/// Returns the audience of a route's identity tokens.
pub(in crate::config) fn of_route(
    TypedNode { value: section, at }: TypedNode<RouteSection>,
    checker: &mut Checker<'_>,
) -> Option<Box<str>> {
    require_signer(at, checker);
    let hint = "the upstream's name, such as `audience: https://orders.internal`";
    let audience = checker.need(at, "audience", section.audience, hint)?;
    Some(audience.take().0.into())
}

/// Reports a route with identity tokens where `identity_token` is missing at the top of the file.
fn require_signer(at: NodeId, checker: &mut Checker<'_>) {
    if checker.tree.entry(ROOT, "identity_token").is_none() {
        let hint = "`identity_token: { issuer: … }` at the top of the file says in whose name";
        checker.error_with(
            at,
            "no-identity-token",
            "nothing says in whose name such tokens are signed",
            hint,
        );
    }
}
