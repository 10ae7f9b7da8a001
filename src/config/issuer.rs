//! Which authorization servers are trusted, and where are their keys?

use crate::config::check::Checker;
use crate::config::check::values;
use crate::config::discovery::Discovery;
use crate::config::discovery::DiscoverySetting;
use crate::config::introspection;
use crate::config::introspection::Introspection;
use crate::config::listener::timeout;
use crate::config::read::NamedEntries;
use crate::config::read::OneOrMany;
use crate::config::read::OrKeyword;
use crate::config::read::Text;
use crate::config::read::Texts;
use crate::config::read::TypedNode;
use crate::config::reserved_header::is_reserved_header;
use crate::config::route::Route;
use crate::config::rule::Mode;
use crate::config::rule::Rule;
use crate::config::text::ExactText;
use crate::config::text::Tenant;
use crate::config::text::Timeout;
use crate::config::text::TokenType;
use crate::config::text::texts;
use crate::config::tree::NodeId;
use crate::config::tree::printable;
use crate::model::algorithm::Algorithm;
use crate::model::claim::ClaimFact;
use crate::model::claim::ClaimPointer;
use crate::model::issuer::Tenants;
use crate::model::issuer::TokenIssuer;
use crate::model::names::Name;
use http::HeaderName;
use http::header;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// `issuers.<name>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    pub name: Name,
    /// Compared with `iss`, byte by byte. At most two issuers share an `iss`, one with keys and one with introspection:
    /// they may be one server that issues both JWTs and opaque tokens.
    pub issuer: TokenIssuer,
    pub keys: KeySource,
    /// A token's `aud` must contain one of these. `None` is the explicit waiver `audiences: any`. Never empty.
    pub audiences: Option<Vec<String>>,
    /// Default RS256, PS256, ES256, EdDSA. Never empty.
    pub algorithms: Vec<Algorithm>,
    /// Accepted values of the `typ` header parameter, in lower case; the empty text stands for an absent `typ`.
    /// Default `at+jwt`, `application/at+jwt`, `jwt` and absent.
    pub types: Vec<String>,
    /// How far clocks may differ. Default 30 s, at most 120 s.
    pub clock_skew: Duration,
    /// The longest accepted `exp` - `iat`, and the longest stream on a token without `exp`. Default 24 h.
    pub max_lifetime: Duration,
    /// Further required claims, each with its accepted values.
    pub required_claims: Vec<(String, Vec<String>)>,
    /// Claims that may contain the scopes; the first present claim is used.
    /// Default `scope`, `scp`, `permissions`, `roles`.
    pub scope_claims: Vec<String>,
    /// Claims that may contain the client id; the first present claim is used. Default `client_id`, `azp`, `appid`, `cid`.
    pub client_id_claims: Vec<String>,
    /// Claim that contains the organization. Default `org`.
    pub organization_claim: String,
    /// Claims that upstreams receive, each in its own header. No two of one issuer share a header.
    pub claim_headers: Vec<(ClaimPointer, HeaderName)>,
    /// The header in which a proxy in front sends a bare JWT of this issuer, besides `Authorization`.
    pub token_header: Option<HeaderName>,
    /// Default `Enforce`.
    pub mode: Mode,
    /// Every claim, with its value, that rules of routes with this issuer test: sorted, without duplicates. Part of the
    /// issuer, so that a change of the rules invalidates cached tokens.
    pub claim_facts: Vec<ClaimFact>,
}

impl Issuer {
    /// Returns the headers in which upstreams receive claims.
    pub fn claim_header_names(&self) -> impl Iterator<Item = &HeaderName> {
        self.claim_headers.iter().map(|(_, name)| name)
    }
}

/// The source of an issuer's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// PEM public keys, read at start and when the configuration is reloaded. Never empty.
    Pem(Vec<PathBuf>),
    /// A JWK set in a file, read again when it changes.
    File(PathBuf),
    /// A JWK set behind a URL.
    Remote(Box<RemoteKeys>),
    /// No keys: each token is introspected.
    Introspection(Box<Introspection>),
    /// The keys of Keygate itself, for the issuer that `token_endpoint` makes and for no other.
    Own,
}

/// The location of a JWK set behind a URL, and how and when it is fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteKeys {
    pub at: JwksLocation,
    /// The file of a bearer token for the fetches, read before each one. Never with `allow_http`, nor with discovery.
    pub bearer_token_file: Option<PathBuf>,
    pub connect: ConnectSettings,
    /// Lower bound of the refresh interval, which `Cache-Control` sets. Default 1 min.
    pub min_refresh: Duration,
    /// Upper bound of the refresh interval. Default 1 h.
    pub max_refresh: Duration,
    /// Minimum time between two fetches for an unknown `kid`, failed fetches included. Default 30 s.
    pub cooldown: Duration,
    /// How long a request waits for such a fetch. Default 500 ms.
    pub wait: Duration,
    /// How long the last good set is used while fetches fail. Default 24 h.
    pub max_stale: Duration,
    /// How long the start of the gate waits for the first set. Default 5 s.
    pub start_wait: Duration,
}

impl RemoteKeys {
    /// Returns whether keys that were fetched with the settings of `other` can be kept:
    /// the location and all of `connect` except `timeout` are the same.
    pub fn trusts_like(&self, other: &Self) -> bool {
        let without_timeout = |keys: &Self| ConnectSettings {
            timeout: Duration::ZERO,
            ..keys.connect.clone()
        };
        self.at == other.at
            && self.bearer_token_file == other.bearer_token_file
            && without_timeout(self) == without_timeout(other)
    }
}

/// The party that names the location of the key set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwksLocation {
    /// The configuration: `issuers.<name>.jwks_url`.
    JwksUrl(Url),
    /// The issuer: `issuers.<name>.discovery`.
    Discovery(Discovery),
}

/// How the servers of an issuer may be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectSettings {
    /// Allows `http:`. Default false.
    pub allow_http: bool,
    /// Allows addresses that are private, loopback, link-local or otherwise
    /// not public; checked on the address that is dialled. Default false.
    pub allow_private_addresses: bool,
    /// PEM certificates trusted instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// An HTTP proxy for the requests.
    pub proxy: Option<Url>,
    /// Limit of a whole fetch, discovery included, or of another call. Default 5 s.
    pub timeout: Duration,
}

/// An authorization server whose tokens are trusted.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Issuer")]
pub(in crate::config) struct Section {
    /// Compared with a token's `iss`, byte by byte: a URL, or another text such as `accounts.google.com`. `{tenant}` stands for
    /// one segment of the path of a URL (`https://login.example.com/{tenant}/v2.0`). No two issuers share an `iss`, but for one
    /// with keys and one with `introspection`. Required.
    #[schemars(required)]
    issuer: Option<Text<TokenIssuer>>,
    /// The tenants that `{tenant}` in `issuer` stands for, or `any`: then everybody with a tenant of that provider can get
    /// tokens that count here. Needs keys that all tenants share (`jwks_url`, not `discovery`). Required with `{tenant}`.
    tenants: Option<OrKeyword<Vec<Text<Tenant>>, AnyTenant>>,
    /// A token's `aud` must hold one of these; `any` waives that. Required.
    #[schemars(required)]
    audiences: Option<OrKeyword<Vec<Text<ExactText>>, Any>>,
    /// Default RS256, PS256, ES256, EdDSA.
    algorithms: Option<Texts<Algorithm>>,
    /// Accepted `typ` headers, in any case; `absent` stands for none. Default `at+jwt`, `application/at+jwt`, `jwt`, `absent`.
    types: Option<Texts<TokenType>>,
    /// How far clocks may differ. Default `30s`, at most `120s`.
    clock_skew: Option<Text<Duration>>,
    /// The longest life of a token (`exp` - `iat`) that is believed. Default `24h`.
    max_lifetime: Option<Text<Timeout>>,
    /// Further claims that must be there, each with one of the values listed.
    required_claims: Option<NamedEntries<ExactText, OneOrMany<Text<ExactText>>>>,
    /// Claims that scopes are read from; the first present one counts. Default `scope`, `scp`, `permissions`, `roles`.
    scope_claims: Option<Texts<ExactText>>,
    /// Claims that the client id is read from; the first present one counts. Default `client_id`, `azp`, `appid`, `cid`.
    client_id_claims: Option<Texts<ExactText>>,
    /// Claim that the organization is read from. Default `org`.
    organization_claim: Option<Text<ExactText>>,
    /// By JSON pointer (RFC 6901) the header that tells upstreams the claim: a text, a number, true or false, or an array
    /// of these with commas between, percent-encoded so that no value can split. Anything else is not sent. What clients
    /// send under such a name is dropped on every route.
    claim_headers: Option<NamedEntries<ClaimPointer, Text<HeaderName>>>,
    /// The header in which a proxy in front sends a bare JWT of this issuer: `cf-access-jwt-assertion` (Cloudflare Access),
    /// `x-goog-iap-jwt-assertion` (Google). It counts on routes of this issuer, beside `Authorization`; everywhere else it is
    /// dropped. Default: none.
    token_header: Option<Text<HeaderName>>,
    /// `shadow` lets a request through, without identity, whose token names this issuer and is not good, and counts it
    /// (`outcome="would_deny"`). Anybody can name an issuer, so its routes are open. Default `enforce`.
    mode: Option<Mode>,
    /// PEM public keys, one a file. Exactly one of this, `jwks_file`, `jwks_url`, `discovery` and `introspection`.
    public_key_files: Option<Texts<PathBuf>>,
    /// A JWK set in a file, read again when it changes.
    jwks_file: Option<Text<PathBuf>>,
    /// A JWK set behind a URL.
    jwks_url: Option<Text<Url>>,
    /// The issuer's own document says where its JWK set is: `oauth-authorization-server` (RFC 8414),
    /// `openid-configuration` (OpenID Connect), or `true` to try both in this order. Default false.
    ///
    /// The keys below say how keys are fetched, and stand only beside this or `jwks_url`.
    discovery: Option<TypedNode<DiscoverySetting>>,
    /// No keys: the issuer is asked about each token, for tokens that it alone can read (opaque ones, RFC 7662).
    introspection: Option<TypedNode<introspection::Section>>,
    /// Allows `http:` where keys are fetched. Default false.
    allow_http: Option<bool>,
    /// Allows addresses that are not public (private, loopback, link-local), checked when dialled. Default false.
    allow_private_addresses: Option<bool>,
    /// PEM certificates trusted instead of the system's.
    ca_file: Option<Text<PathBuf>>,
    /// An HTTP proxy for the fetches.
    proxy: Option<Text<Url>>,
    /// Lower bound of the refresh interval that Cache-Control asks for. Default `1m`.
    min_refresh: Option<Text<Timeout>>,
    /// Upper bound of it. Default `1h`.
    max_refresh: Option<Text<Timeout>>,
    /// At most one fetch for an unknown key id per this time. Default `30s`.
    cooldown: Option<Text<Timeout>>,
    /// How long a request waits for such a fetch. Default `500ms`.
    wait: Option<Text<Duration>>,
    /// How long the last good set serves while fetches fail. Default `24h`.
    max_stale: Option<Text<Duration>>,
    /// How long the gate waits at its start for the first set, before it accepts connections without. Default `5s`.
    start_wait: Option<Text<Duration>>,
    /// The file of a bearer token that the server of `jwks_url` asks for (Kubernetes); read before each fetch. Default: none.
    jwks_bearer_token_file: Option<Text<PathBuf>>,
    /// The whole of one fetch, discovery included. Default `5s`.
    timeout: Option<Text<Timeout>>,
}

/// `audiences: any`.
#[derive(Debug)]
pub(in crate::config) struct Any;

impl crate::config::read::Keyword for Any {
    const KEYWORD: &'static str = "any";
    const ALTERNATIVE: &'static str = "a list of audiences";
}

/// `tenants: any`.
#[derive(Debug)]
pub(in crate::config) struct AnyTenant;

impl crate::config::read::Keyword for AnyTenant {
    const KEYWORD: &'static str = "any";
    const ALTERNATIVE: &'static str = "a list of tenants";
}

/// With more, tokens would be accepted minutes after their expiry; a clock that is further off needs repair.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(120);

/// Keys without meaning unless `jwks_url` or `discovery` is set.
const FETCH_KEYS: [&str; 12] = [
    "allow_http",
    "allow_private_addresses",
    "ca_file",
    "proxy",
    "min_refresh",
    "max_refresh",
    "cooldown",
    "wait",
    "max_stale",
    "start_wait",
    "jwks_bearer_token_file",
    "timeout",
];

/// Keys without meaning where the issuer introspects its tokens.
const JWT_KEYS: [&str; 4] = ["algorithms", "types", "tenants", "token_header"];

pub(in crate::config) fn convert(
    sections: NamedEntries<Name, Section>,
    api_key_header: &HeaderName,
    checker: &mut Checker<'_>,
) -> BTreeMap<Name, Issuer> {
    let mut issuers = BTreeMap::new();
    let mut named: Vec<(TokenIssuer, NodeId, bool)> = Vec::new();
    let mut token_headers: Vec<(HeaderName, NodeId)> = Vec::new();
    for (name, TypedNode { value: mut section, at }) in sections.0 {
        section.issuer = tenants(section.issuer.take(), section.tenants.take(), at, checker);
        if let Some(issuer) = &section.issuer {
            let introspects = checker.tree.entry(at, "introspection").is_some();
            refuse_duplicate(&named, issuer, introspects, checker);
            named.push((issuer.get().clone(), issuer.at, introspects));
        }
        let keys = keys(&mut section, at, checker);
        let headers = claim_headers(section.claim_headers.take(), api_key_header, checker);
        if let Some(header) = &section.token_header {
            check_token_header(header, api_key_header, checker);
            token_headers.push((header.get().clone(), header.at));
        }
        if let Some(issuer) = issuer(name.clone(), keys, headers, section, at, checker) {
            issuers.insert(name, issuer);
        }
    }
    for (header, at) in token_headers {
        if issuers
            .values()
            .flat_map(Issuer::claim_header_names)
            .any(|name| *name == header)
        {
            let problem = checker.with_value(at, "`claim_headers` of an issuer has this header already");
            checker.error_with(at, "duplicate-entry", problem, "one of the two needs another name");
        }
    }
    issuers
}

/// Returns the issuer with its tenants. Reports a template without, and tenants without a template.
fn tenants(
    issuer: Option<Text<TokenIssuer>>,
    written: Option<OrKeyword<Vec<Text<Tenant>>, AnyTenant>>,
    at: NodeId,
    checker: &mut Checker<'_>,
) -> Option<Text<TokenIssuer>> {
    let issuer = issuer?;
    let entry = checker.tree.entry(at, "tenants");
    let is_template = matches!(issuer.get(), TokenIssuer::Template(_));
    let tenants = match (written, entry) {
        (Some(_), Some(entry)) if !is_template => {
            let problem = "`tenants` means nothing where `issuer` has no `{tenant}`";
            checker.error(entry, "only-with-tenant", problem);
            return Some(issuer);
        }
        (Some(OrKeyword::Keyword(_)), Some(entry)) => {
            let problem = "every tenant of this provider can call: whoever registers there gets tokens that count here";
            let hint = "list the tenants, or ask for a claim that only yours can have: `claims: { /tid: [\"…\"] }` on the routes";
            checker.warn(entry, "every-tenant", problem, hint);
            Tenants::Any
        }
        (Some(OrKeyword::Value(list)), _) => {
            let list = checker.distinct(list);
            Tenants::Listed(list.into_iter().map(|tenant| tenant.0).collect())
        }
        (Some(OrKeyword::Keyword(_)), None) | (None, Some(_)) => return None,
        (None, None) if is_template => {
            let hint = "such as `tenants: [0a1b2c3d-…]`; `tenants: any` lets in every tenant of the provider";
            checker.error_with(
                issuer.at,
                "missing-key",
                "`{tenant}` stands for no tenant: `tenants` is missing",
                hint,
            );
            return None;
        }
        (None, None) => return Some(issuer),
    };
    Some(issuer.map(|issuer| issuer.with_tenants(tenants)))
}

/// Reports a header that cannot carry a token, because it means something else.
fn check_token_header(header: &Text<HeaderName>, api_key_header: &HeaderName, checker: &mut Checker<'_>) {
    let is_free = may_carry_claim(header.get()) || TOKEN_HEADERS.contains(&header.get().as_str());
    if !is_free || header.get() == api_key_header {
        let problem = checker.with_value(header.at, "this header means something else and cannot carry a token");
        let hint =
            "the header that the proxy in front sets, such as `cf-access-jwt-assertion`; `Authorization` counts anyway";
        checker.error_with(header.at, "reserved-header", problem, hint);
    }
}

/// Headers in which a well-known proxy (oauth2-proxy) sends tokens, though others of their family are reserved.
const TOKEN_HEADERS: [&str; 2] = ["x-forwarded-access-token", "x-forwarded-id-token"];

/// Reports a second issuer with the same `iss`: chance would decide which issuer's settings apply to a token (S075 is the
/// same rule for API keys). One issuer with keys and one with introspection may share a URL: the token's form decides.
fn refuse_duplicate(
    known: &[(TokenIssuer, NodeId, bool)],
    issuer: &Text<TokenIssuer>,
    introspects: bool,
    checker: &mut Checker<'_>,
) {
    let same = |(known, _, introspected): &&(TokenIssuer, NodeId, bool)| {
        known.overlaps(issuer.get()) && *introspected == introspects
    };
    let Some(&(ref other, first, _)) = known.iter().find(same) else {
        return;
    };
    let problem = if other == issuer.get() {
        "another issuer has this URL already"
    } else {
        "another issuer has the same `iss` for a tenant"
    };
    let problem = checker.with_value(issuer.at, problem);
    checker.error_conflict(issuer.at, "duplicate-issuer", problem, first);
}

fn issuer(
    name: Name,
    keys: Option<KeySource>,
    claim_headers: Vec<(ClaimPointer, HeaderName)>,
    section: Section,
    at: NodeId,
    checker: &mut Checker<'_>,
) -> Option<Issuer> {
    let url = checker.need(at, "issuer", section.issuer, "the `iss` of its tokens");
    let hint = "the `aud` of tokens meant for these APIs; `audiences: any` waives the check";
    let audiences = checker.need(at, "audiences", section.audiences, hint);
    let clock_skew = clock_skew(section.clock_skew, "tokens", checker);
    let audiences = match audiences? {
        OrKeyword::Keyword(_) => None,
        OrKeyword::Value(audiences) => Some(texts(checker.distinct(audiences))),
    };
    let required_claims = section.required_claims.map(|claims| claims.0).unwrap_or_default();
    Some(Issuer {
        name,
        issuer: url?.take(),
        keys: keys?,
        audiences,
        algorithms: section.algorithms.map_or_else(
            || vec![Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es256, Algorithm::EdDsa],
            |algorithms| checker.distinct(algorithms.value),
        ),
        types: match section.types {
            Some(types) => checker.distinct(types.value).into_iter().map(|kind| kind.0).collect(),
            None => ["at+jwt", "application/at+jwt", "jwt", ""].map(str::to_owned).to_vec(),
        },
        clock_skew,
        max_lifetime: timeout(section.max_lifetime, Duration::from_secs(86_400)),
        required_claims: required_claims
            .into_iter()
            .map(|(claim, wanted)| (claim.0, texts(values(wanted.value.0))))
            .collect(),
        scope_claims: claims(section.scope_claims, &["scope", "scp", "permissions", "roles"], checker),
        client_id_claims: claims(
            section.client_id_claims,
            // Of Entra's tokens, version 1 has `appid`; Okta's have `cid`.
            &["client_id", "azp", "appid", "cid"],
            checker,
        ),
        organization_claim: section
            .organization_claim
            .map_or_else(|| "org".to_owned(), |claim| claim.take().0),
        claim_headers,
        token_header: section.token_header.map(Text::take),
        mode: section.mode.unwrap_or_default(),
        claim_facts: Vec::new(),
    })
}

/// Sets `claim_facts` of each issuer to the claims that the rules of its routes test.
pub(in crate::config) fn note_claim_facts<'r>(
    issuers: &mut BTreeMap<Name, Issuer>,
    routes: impl Iterator<Item = &'r Route>,
) {
    for route in routes {
        let facts: Vec<ClaimFact> = route.rules.iter().flat_map(Rule::claim_facts).collect();
        for name in &route.issuers {
            if let Some(issuer) = issuers.get_mut(name) {
                issuer.claim_facts.extend_from_slice(&facts);
            }
        }
    }
    for issuer in issuers.values_mut() {
        issuer.claim_facts.sort_unstable();
        issuer.claim_facts.dedup();
    }
}

fn claim_headers(
    written: Option<NamedEntries<ClaimPointer, Text<HeaderName>>>,
    api_key_header: &HeaderName,
    checker: &mut Checker<'_>,
) -> Vec<(ClaimPointer, HeaderName)> {
    let mut headers: Vec<(ClaimPointer, HeaderName)> = Vec::new();
    for (pointer, name) in written.map(|headers| headers.0).unwrap_or_default() {
        let TypedNode { value: name, at } = name.value;
        if !may_carry_claim(&name.0) || name.0 == *api_key_header {
            let problem = checker.with_value(at, "this header means something else and cannot carry a claim");
            checker.error_with(
                at,
                "reserved-header",
                problem,
                "a name of your own, such as `x-user-email`",
            );
        }
        if let Some((other, _)) = headers.iter().find(|(_, known)| *known == name.0) {
            let problem = checker.with_value(at, "another claim of this issuer goes into this header already");
            let hint = format!("the other one is `{}`", printable(other.as_str()));
            checker.error_with(at, "duplicate-entry", problem, hint);
        }
        headers.push((pointer, name.0));
    }
    headers
}

/// Returns whether `name` has no other meaning: clients' headers with the name of
/// one that carries a claim are dropped on every route.
fn may_carry_claim(name: &HeaderName) -> bool {
    const STANDARD: [HeaderName; 18] = [
        header::AGE,
        header::ALLOW,
        header::ALT_SVC,
        header::CACHE_CONTROL,
        header::DATE,
        header::DNT,
        header::EXPECT,
        header::FROM,
        header::LINK,
        header::LOCATION,
        header::MAX_FORWARDS,
        header::ORIGIN,
        header::PRAGMA,
        header::RANGE,
        header::REFERER,
        header::USER_AGENT,
        header::VARY,
        header::VIA,
    ];
    // Content and its negotiation, CORS, preconditions, browsers' own headers, gRPC, client addresses, overrides of
    // method or URL, rate limits, traces.
    const FAMILIES: [&str; 19] = [
        "accept",
        "access-control-",
        "content-",
        "if-",
        "proxy-",
        "sec-",
        "grpc-",
        "x-forwarded",
        "x-original-",
        "x-rewrite-",
        "x-http-method",
        "x-method-",
        "x-real-ip",
        "x-client-",
        "x-cluster-client-",
        "true-client-",
        "x-request-",
        "x-ratelimit-",
        "trace",
    ];
    !is_reserved_header(name)
        && !STANDARD.contains(name)
        && !FAMILIES.iter().any(|family| name.as_str().starts_with(family))
}

/// Returns the configured clock skew, or 30 s. Reports a skew over the maximum, which
/// would keep `objects` ("tokens", "assertions") valid for too long.
pub(in crate::config) fn clock_skew(
    written: Option<Text<Duration>>,
    objects: &str,
    checker: &mut Checker<'_>,
) -> Duration {
    written.map_or(Duration::from_secs(30), |skew| {
        if *skew.get() > CLOCK_SKEW_MAX {
            let problem = checker.with_value(skew.at, "a clock skew is at most 120s");
            let hint = format!("{objects} would be good long after they expired");
            checker.error_with(skew.at, "out-of-range", problem, hint);
        }
        skew.take()
    })
}

fn claims(written: Option<Texts<ExactText>>, default: &[&str], checker: &mut Checker<'_>) -> Vec<String> {
    match written {
        Some(claims) => texts(checker.distinct(claims.value)),
        None => default.iter().map(|&claim| claim.to_owned()).collect(),
    }
}

/// Returns the source of the issuer's keys. Reports none or several: there must be exactly one of five.
fn keys(section: &mut Section, at: NodeId, checker: &mut Checker<'_>) -> Option<KeySource> {
    let sources = [
        "discovery",
        "jwks_url",
        "jwks_file",
        "public_key_files",
        "introspection",
    ];
    let off = section
        .discovery
        .as_ref()
        .is_some_and(|discovery| discovery.value == DiscoverySetting::Off);
    let written: Vec<&str> = sources
        .into_iter()
        .filter(|key| checker.tree.entry(at, key).is_some() && !(off && *key == "discovery"))
        .collect();
    match written.as_slice() {
        [] => {
            let hint = "one of `discovery: true`, `jwks_url`, `jwks_file` and `public_key_files`, or `introspection`";
            checker.error_with(at, "missing-key", "nothing says where its keys are", hint);
            return None;
        }
        [_] => {}
        [..] => {
            let problem = format!("has {}, and can have only one of them", written.join(" and "));
            checker.error(at, "two-key-sources", problem);
            return None;
        }
    }
    if !(written.contains(&"jwks_url") || written.contains(&"discovery")) {
        for key in FETCH_KEYS {
            if let Some(entry) = checker.tree.entry(at, key) {
                let problem = format!("`{key}` means nothing without `jwks_url` or `discovery`");
                checker.error(entry, "only-with-jwks-url", problem);
            }
        }
    }
    if written.contains(&"introspection") {
        for key in JWT_KEYS {
            if let Some(entry) = checker.tree.entry(at, key) {
                let problem =
                    format!("`{key}` is about tokens that Keygate reads, and this issuer is asked about its own");
                checker.error(entry, "not-with-introspection", problem);
            }
        }
    }
    if let Some(introspection) = section.introspection.take() {
        return introspection::convert(introspection, checker)
            .map(|introspection| KeySource::Introspection(Box::new(introspection)));
    }
    if let Some(files) = section.public_key_files.take() {
        return Some(KeySource::Pem(
            files.value.iter().map(|file| checker.existing_file(file)).collect(),
        ));
    }
    if let Some(file) = section.jwks_file.take() {
        return Some(KeySource::File(checker.existing_file(&file)));
    }
    let at = keys_at(section, checker)?;
    Some(KeySource::Remote(Box::new(remote_keys(at, section, checker))))
}

fn keys_at(section: &mut Section, checker: &mut Checker<'_>) -> Option<JwksLocation> {
    let allow_http = section.allow_http.unwrap_or(false);
    let hint = "use https, or say `allow_http: true` beside it";
    if let Some(url) = section.jwks_url.take() {
        if url.get().scheme() == "http" && !allow_http {
            let problem = checker.with_value(url.at, "keys fetched without TLS could be anyone's");
            checker.error_with(url.at, "plain-http", problem, hint);
        }
        return Some(JwksLocation::JwksUrl(url.take()));
    }
    let discovery = section.discovery.take()?;
    // Without an issuer there is no URL to discover; the missing `issuer` is reported elsewhere.
    let issuer = section.issuer.as_ref()?;
    let url = match issuer.get() {
        TokenIssuer::Url(url) => url,
        TokenIssuer::Text(_) => {
            let problem = "`discovery` reads a document under the issuer's URL, and this issuer is no URL";
            checker.error_with(
                discovery.at,
                "discovery-without-url",
                problem,
                "say where the keys are: `jwks_url`",
            );
            return None;
        }
        TokenIssuer::Template(_) => {
            let problem = "`discovery` reads the document of one issuer, and this one stands for many";
            let hint = "`jwks_url`, with the keys that all tenants share; or one entry of `issuers` for each tenant";
            checker.error_with(discovery.at, "discovery-without-url", problem, hint);
            return None;
        }
    };
    if url.to_url().scheme() == "http" && !allow_http {
        let problem = checker.with_value(issuer.at, "keys discovered without TLS could be anyone's");
        checker.error_with(issuer.at, "plain-http", problem, hint);
    }
    discovery.value.convert(url).map(JwksLocation::Discovery)
}

fn remote_keys(at: JwksLocation, section: &mut Section, checker: &mut Checker<'_>) -> RemoteKeys {
    let secs = Duration::from_secs;
    let min_at = section.min_refresh.as_ref().map(|min| min.at);
    let max_at = section.max_refresh.as_ref().map(|max| max.at);
    let min_refresh = timeout(section.min_refresh.take(), secs(60));
    let max_refresh = timeout(section.max_refresh.take(), secs(3_600));
    if min_refresh > max_refresh
        && let Some(at) = min_at.or(max_at)
    {
        let hint = "the defaults are `1m` and `1h`";
        checker.error_with(at, "bounds-swapped", "`min_refresh` is more than `max_refresh`", hint);
    }
    RemoteKeys {
        bearer_token_file: bearer_token_file(section, matches!(at, JwksLocation::Discovery(_)), checker),
        at,
        connect: ConnectSettings {
            allow_http: section.allow_http.unwrap_or(false),
            allow_private_addresses: section.allow_private_addresses.unwrap_or(false),
            ca_file: section.ca_file.take().map(|file| checker.existing_file(&file)),
            proxy: section.proxy.take().map(Text::take),
            timeout: timeout(section.timeout.take(), secs(5)),
        },
        min_refresh,
        max_refresh,
        cooldown: timeout(section.cooldown.take(), secs(30)),
        wait: section.wait.take().map_or(Duration::from_millis(500), Text::take),
        max_stale: section.max_stale.take().map_or(secs(86_400), Text::take),
        start_wait: section.start_wait.take().map_or(secs(5), Text::take),
    }
}

/// Returns the file of the bearer token for `jwks_url`. Reports one beside `discovery`, where the issuer's document would
/// choose the server that gets the token, and one that would be sent without TLS.
fn bearer_token_file(section: &mut Section, is_discovered: bool, checker: &mut Checker<'_>) -> Option<PathBuf> {
    let written = section.jwks_bearer_token_file.take()?;
    if is_discovered {
        let problem = "`jwks_bearer_token_file` beside `discovery`: the issuer's document would say who gets the token";
        let hint = "use `jwks_url`, such as `https://kubernetes.default.svc/openid/v1/jwks`";
        checker.error_with(written.at, "only-with-jwks-url", problem, hint);
    }
    if section.allow_http == Some(true) {
        let problem = "a token is sent over TLS alone, and `allow_http: true` stands beside it";
        checker.error_with(written.at, "plain-http", problem, "remove one of the two");
    }
    Some(checker.existing_file(&written))
}
