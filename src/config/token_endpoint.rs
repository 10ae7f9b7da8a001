//! Under which issuer does Keygate issue tokens, how are they signed, and which assertions are accepted?

use crate::config::ConnectSettings;
use crate::config::Issuer;
use crate::config::KeySource;
use crate::config::api_keys::secret;
use crate::config::check::Checker;
use crate::config::check::OWN_ISSUER;
use crate::config::issuer::clock_skew;
use crate::config::limit::QuotaSection;
use crate::config::limit::convert_quota;
use crate::config::limit::per_minute;
use crate::config::listener::timeout;
use crate::config::read::Text;
use crate::config::read::Texts;
use crate::config::read::TypedNode;
use crate::config::rule::Mode;
use crate::config::text::ExactText;
use crate::config::text::SecretText;
use crate::config::text::Timeout;
use crate::config::text::texts;
use crate::config::token_paths;
use crate::config::token_paths::GlobalEndpoint;
use crate::config::token_paths::GlobalEndpointWord;
use crate::config::token_paths::Section as PathsSection;
use crate::config::token_paths::TokenPaths;
use crate::config::tree::NodeId;
use crate::config::tree::ROOT;
use crate::model::algorithm::Algorithm;
use crate::model::hex;
use crate::model::issuer::IssuerUrl;
use crate::model::issuer::TokenIssuer;
use crate::model::names::Name;
use crate::model::plan::Quota;
use crate::model::secret::Secret;
use schemars::JsonSchema;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;
use url::Host;
use url::Url;

/// `token_endpoint:` at the top of the file. It needs a `store`, and makes
/// the issuer `keygate`, which routes can trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenEndpoint {
    /// `iss` of the tokens and prefix of every URL in the metadata. Plain http on loopback alone.
    pub issuer: IssuerUrl,
    /// The audiences of tokens: `aud` of a token is one or more of these. Default: the issuer.
    pub audiences: Vec<String>,
    /// `aud` of a token that was requested without `resource` (RFC 8707). Some of `audiences`, never none. Default: all.
    pub default_audiences: Vec<String>,
    pub paths: TokenPaths,
    /// The clients that get tokens at the global endpoint. Default: every client.
    pub global_endpoint: GlobalEndpoint,
    /// Algorithm of the tokens' signatures. Default ES256; also RS256, PS256, EdDSA.
    pub algorithm: Algorithm,
    /// Encrypts the files of the signing keys (AES-256-GCM): 32 bytes, written
    /// as 64 hexadecimal digits. `None`: the files are plain PEM of mode 0600.
    pub wrapping_key: Option<Secret<Vec<u8>>>,
    /// How long a key signs. Default 90 days.
    pub rotate_every: Duration,
    /// How long a key is published before it signs: at least as long as clients may cache the key set. Default 1 hour.
    pub publish_before: Duration,
    pub assertion_audience: AssertionAudience,
    /// How far in the future `exp` of an assertion may be. Default 1 h; 5 min in the strict profile.
    pub assertion_max_lifetime: Duration,
    /// `true` where assertions without `jti` are refused. Default `false`; `true` in the strict profile.
    pub require_jti: bool,
    /// How far clocks may differ. Default 30 s, at most 120 s.
    pub clock_skew: Duration,
    /// `true` where secrets are accepted over plain HTTP from any address.
    /// Otherwise only loopback may, and trusted proxies that report `https`.
    pub allow_clear_text: bool,
    /// Requests to the token, introspection and revocation endpoints, per address.
    pub limit: Quota,
    /// Failed authentications per client and source.
    pub failures: Quota,
    /// How the servers with the key sets of clients may be reached.
    pub client_jwks: ConnectSettings,
}

impl TokenEndpoint {
    /// Returns the URL of a built-in path such as `/oauth/token`.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.issuer.as_str().trim_end_matches('/'))
    }

    /// Returns the URL of the global token endpoint.
    pub fn token_url(&self) -> String {
        self.url(&self.paths.token)
    }

    /// Returns the URL of an organization's token endpoint.
    pub fn tenant_token_url(&self, organization: &str) -> String {
        self.url(&self.paths.tenant_token.of(organization))
    }

    /// Returns the audiences of which a token needs one for the admin API: the issuer where tokens can be good for it,
    /// otherwise those that a token has when its client chose none. A token for another API, which could pass it on, is
    /// none for this one.
    pub fn admin_audiences(&self) -> &[String] {
        let issuer = self
            .audiences
            .iter()
            .find(|audience| **audience == self.issuer.as_str());
        issuer.map_or(self.default_audiences.as_slice(), std::slice::from_ref)
    }

    /// Returns the URL by which an organization's clients find its metadata (RFC 8414 section 3): what comes before the
    /// organization in the path of its endpoint, and the organization. `iss` of its tokens is that of all.
    pub fn tenant_issuer(&self, organization: &str) -> String {
        self.url(&format!("{}{organization}", self.paths.tenant_token.before))
    }

    /// Returns [`OWN_ISSUER`] as a name.
    pub fn own_issuer() -> Name {
        OWN_ISSUER.parse().expect("it is a name")
    }

    /// Returns the path of the issuer's URL, without a `/` at its end: usually empty.
    pub fn path_prefix(&self) -> String {
        self.issuer.to_url().path().trim_end_matches('/').to_owned()
    }

    /// Returns the issuer as the data side trusts it. Its tokens have the type of access tokens (RFC 9068 section 2.1).
    /// Every algorithm that can be configured is accepted: after a change of `algorithm`, older tokens stay valid.
    pub fn as_issuer(&self) -> Issuer {
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        Issuer {
            name: Self::own_issuer(),
            issuer: TokenIssuer::Url(self.issuer.clone()),
            keys: KeySource::Own,
            audiences: Some(self.audiences.clone()),
            algorithms: ALGORITHMS.to_vec(),
            types: texts(&["at+jwt"]),
            clock_skew: self.clock_skew,
            max_lifetime: LIFETIME_MAX,
            required_claims: Vec::new(),
            scope_claims: texts(&["scope"]),
            client_id_claims: texts(&["client_id"]),
            organization_claim: "org".to_owned(),
            claim_headers: Vec::new(),
            token_header: None,
            mode: Mode::Enforce,
            claim_facts: Vec::new(),
        }
    }
}

/// Algorithms that Keygate can sign with.
const ALGORITHMS: [Algorithm; 4] = [Algorithm::Es256, Algorithm::Rs256, Algorithm::Ps256, Algorithm::EdDsa];

/// The longest lifetime that a client's tokens can have.
const LIFETIME_MAX: Duration = Duration::from_secs(86_400);

/// The values that are accepted as an assertion's `aud`, which must be a single string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssertionAudience {
    /// The issuer, or the URL of the endpoint that receives the assertion.
    IssuerOrEndpoint,
    /// The issuer alone (rfc7523bis, FAPI 2.0).
    Issuer,
}

/// Issues access tokens to machine clients (RFC 6749 section 4.4) and makes an issuer of the name `keygate`, which routes
/// can trust. Answered at `/oauth/token`, `/oauth/introspect`, `/oauth/revoke` and `/oauth/jwks` of every listener.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TokenEndpoint")]
pub(in crate::config) struct Section {
    /// `iss` of the tokens, such as `https://auth.example.com`: https, but for loopback hosts. A change ends every token that is out.
    /// Required.
    #[schemars(required)]
    issuer: Option<Text<IssuerUrl>>,
    /// `aud` of the tokens, and what routes ask for. A client chooses among them with `resource` (RFC 8707). Default: the issuer.
    audiences: Option<Texts<ExactText>>,
    /// Those of `audiences` that a token is good for when its client chooses none. Default: all of them.
    default_audiences: Option<Texts<ExactText>>,
    /// Where clients ask for tokens, below the issuer's path.
    paths: Option<TypedNode<PathsSection>>,
    /// The clients that get tokens at the global endpoint: `every_client`, or `built_in_organizations` (`default` and
    /// `operators`): the clients of other organizations then ask at their organization's endpoint alone. Default
    /// `every_client`.
    global_endpoint: Option<GlobalEndpointWord>,
    /// What tokens are signed with: ES256, RS256, PS256 or EdDSA. Default ES256.
    algorithm: Option<Text<Algorithm>>,
    /// What the files of the signing keys are encrypted with: 64 hexadecimal digits, as `${NAME}` or `file:path`. Default:
    /// they are plain files that nobody else can read (mode 0600).
    wrapping_key: Option<Text<SecretText>>,
    /// How long a key signs. Default `90d`.
    rotate_every: Option<Text<Timeout>>,
    /// How long a key is published before it signs. Default `1h`.
    publish_before: Option<Text<Duration>>,
    /// `strict` stands for `assertion_audience: issuer`, `assertion_max_lifetime: 5m` and `require_jti: true` (FAPI 2.0);
    /// each of them can be said otherwise beside it.
    profile: Option<Profile>,
    /// What `aud` of an assertion may be: `issuer_or_endpoint` or `issuer`. Default `issuer_or_endpoint`.
    assertion_audience: Option<AudienceWord>,
    /// The furthest away that `exp` of an assertion may be. Default `1h`.
    assertion_max_lifetime: Option<Text<Timeout>>,
    /// Refuses assertions without `jti`. One that has it counts once, whatever this says. Default false.
    require_jti: Option<bool>,
    /// How far clocks may differ. Default `30s`, at most `120s`.
    clock_skew: Option<Text<Duration>>,
    /// Takes secrets over plain HTTP from others than loopback and trusted proxies that say `https`. Default false.
    allow_clear_text: Option<TypedNode<bool>>,
    /// Requests for tokens, introspection and revocation per address. Default `600/min` with a burst of 100.
    limit: Option<TypedNode<QuotaSection>>,
    /// Failed authentications per client and source. Default `10/min` with a burst of 20.
    failures: Option<TypedNode<QuotaSection>>,
    /// How the key sets behind the URLs of clients are reached.
    client_jwks: Option<ClientJwksSection>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "TokenProfile")]
enum Profile {
    Strict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "AssertionAudience")]
enum AudienceWord {
    IssuerOrEndpoint,
    Issuer,
}

/// How the key sets behind the URLs of clients are reached.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ClientJwks")]
struct ClientJwksSection {
    /// Allows `http:`. Default false.
    allow_http: Option<bool>,
    /// Allows addresses that are not public (private, loopback, link-local), checked when dialled. Default false.
    allow_private_addresses: Option<bool>,
    /// PEM certificates trusted instead of the system's.
    ca_file: Option<Text<PathBuf>>,
    /// An HTTP proxy for the fetches.
    proxy: Option<Text<Url>>,
    /// The whole of one fetch. Default `5s`.
    timeout: Option<Text<Timeout>>,
}

/// Enough for many clients behind one address, and a limit for a client that requests a token for every call.
const LIMIT: Quota = per_minute(600, 100);
/// Enough for mistyped secrets, and too few to guess a secret (S139).
const FAILURES: Quota = per_minute(10, 20);

pub(in crate::config) fn convert(
    TypedNode { value: section, at }: TypedNode<Section>,
    checker: &mut Checker<'_>,
) -> Option<TokenEndpoint> {
    if checker.tree.entry(ROOT, "store").is_none() {
        let hint = "say where clients and keys are kept: `store: { path: keygate.db }`";
        checker.error_with(
            at,
            "no-store",
            "tokens are issued to clients, and there is no store of them",
            hint,
        );
    }
    let hint = "such as `issuer: https://auth.example.com`";
    let issuer = checker.need(at, "issuer", section.issuer, hint);
    if let Some(issuer) = &issuer {
        check_issuer(issuer, checker);
    }
    let algorithm = section.algorithm.map_or(Algorithm::Es256, |algorithm| {
        if !ALGORITHMS.contains(algorithm.get()) {
            let problem = checker.with_value(algorithm.at, "tokens are not signed with this here");
            checker.error_with(algorithm.at, "bad-value", problem, "one of ES256, RS256, PS256, EdDSA");
        }
        algorithm.take()
    });
    let wrapping_key = section.wrapping_key.and_then(|key| {
        let at = key.at;
        secret(at, key.take(), checker).and_then(|key| wrapping_key(at, &key, checker))
    });
    let rotate_at = section.rotate_every.as_ref().map(|every| every.at);
    let publish_at = section.publish_before.as_ref().map(|before| before.at);
    let rotate_every = timeout(section.rotate_every, Duration::from_secs(90 * 86_400));
    let publish_before = section.publish_before.map_or(Duration::from_secs(3_600), Text::take);
    if publish_before >= rotate_every
        && let Some(at) = publish_at.or(rotate_at)
    {
        let problem = "`publish_before` is not less than `rotate_every`";
        checker.error_with(at, "bounds-swapped", problem, "the defaults are `1h` and `90d`");
    }
    let strict = section.profile.is_some();
    let usual_lifetime = if strict { 300 } else { 3_600 };
    let clock_skew = clock_skew(section.clock_skew, "assertions", checker);
    if let Some(clear_text) = &section.allow_clear_text
        && clear_text.value
    {
        let problem = "client secrets and tokens may come over plain HTTP, from anywhere";
        let hint = "put TLS in front, name that proxy in `trusted_proxies`, then remove this";
        checker.warn(clear_text.at, "clear-text-secrets", problem, hint);
    }
    let client_jwks = section.client_jwks.unwrap_or_default();
    let client_jwks = ConnectSettings {
        allow_http: client_jwks.allow_http.unwrap_or(false),
        allow_private_addresses: client_jwks.allow_private_addresses.unwrap_or(false),
        ca_file: client_jwks.ca_file.map(|file| checker.existing_file(&file)),
        proxy: client_jwks.proxy.map(Text::take),
        timeout: timeout(client_jwks.timeout, Duration::from_secs(5)),
    };
    let (audiences, default_audiences) = audiences(section.audiences, section.default_audiences, at, checker);
    let limit = convert_quota(section.limit, LIMIT);
    let failures = convert_quota(section.failures, FAILURES);
    let paths = token_paths::convert(section.paths, checker);
    let issuer = issuer?.take();
    let audiences = audiences.unwrap_or_else(|| vec![issuer.as_str().to_owned()]);
    Some(TokenEndpoint {
        default_audiences: default_audiences.unwrap_or_else(|| audiences.clone()),
        audiences,
        issuer,
        paths,
        global_endpoint: section
            .global_endpoint
            .map_or(GlobalEndpoint::EveryClient, GlobalEndpoint::from),
        algorithm,
        wrapping_key,
        rotate_every,
        publish_before,
        assertion_audience: match section.assertion_audience {
            Some(AudienceWord::Issuer) => AssertionAudience::Issuer,
            Some(AudienceWord::IssuerOrEndpoint) => AssertionAudience::IssuerOrEndpoint,
            None if strict => AssertionAudience::Issuer,
            None => AssertionAudience::IssuerOrEndpoint,
        },
        assertion_max_lifetime: timeout(section.assertion_max_lifetime, Duration::from_secs(usual_lifetime)),
        require_jti: section.require_jti.unwrap_or(strict),
        clock_skew,
        allow_clear_text: section.allow_clear_text.is_some_and(|allow| allow.value),
        limit,
        failures,
        client_jwks,
    })
}

/// Returns the audiences that tokens can have, and those that they have by default, if the file names any. Reports a default
/// that is not among the former. Warns of tokens that have several audiences although nobody chose that: each of the APIs
/// could use such a token at the others.
fn audiences(
    written: Option<Texts<ExactText>>,
    defaults: Option<Texts<ExactText>>,
    at: NodeId,
    checker: &mut Checker<'_>,
) -> (Option<Vec<String>>, Option<Vec<String>>) {
    let Some(defaults) = defaults else {
        if let Some(written) = &written
            && written.value.len() > 1
            && checker.tree.entry(at, "default_audiences").is_none()
        {
            let problem = "a token whose client names no `resource` is good for all of these";
            let hint = "say which in `default_audiences`; an API that gets such a token could use it at the others";
            checker.warn(written.at, "several-audiences", problem, hint);
        }
        return (written.map(|audiences| texts(checker.distinct(audiences.value))), None);
    };
    let Some(written) = written else {
        if checker.tree.entry(at, "audiences").is_none() {
            let problem = "`default_audiences` are some of `audiences`, which are not there";
            checker.error_with(defaults.at, "missing-key", problem, "add `audiences`");
        }
        return (None, None);
    };
    let known = texts(checker.distinct(written.value));
    for audience in &defaults.value {
        if !known.contains(&audience.get().0) {
            let problem = checker.with_value(audience.at, "is not among `audiences`");
            let hint = format!("they are: {}", known.join(", "));
            checker.error_with(audience.at, "unknown-audience", problem, hint);
        }
    }
    let defaults = texts(checker.distinct(defaults.value));
    for audience in &known {
        if !defaults.contains(audience) && resource_of(audience).is_none() {
            let problem = format!("no token can be good for `{audience}`: a `resource` is an absolute URI");
            let hint = "name it in `default_audiences` too, or give it the form of a URI (RFC 8707 section 2)";
            checker.warn(at, "audience-out-of-reach", problem, hint);
        }
    }
    (Some(known), Some(defaults))
}

/// Returns `text` as the identifier of a resource: an absolute URI without a fragment (RFC 8707 section 2). An empty path
/// and `/` are the same there (RFC 3986 section 6.2.3), and programs that build URLs write the second.
pub fn resource_of(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once(':')?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let fits = !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    let without_path = text.strip_suffix('/');
    let is_root = |text: &&str| {
        text.split_once("://")
            .is_some_and(|(_, host)| !host.contains(['/', '?']))
    };
    (is_scheme && fits).then(|| without_path.filter(is_root).unwrap_or(text))
}

/// Warns of a loopback issuer URL with a port that no listener has: clients on this machine would not find the token
/// endpoint. Other URLs may lead to a proxy, which is unknown here.
pub(in crate::config) fn warn_of_port(endpoint: Option<&TokenEndpoint>, ports: &[u16], checker: &mut Checker<'_>) {
    let Some(url) = endpoint.map(|endpoint| endpoint.issuer.to_url()) else {
        return;
    };
    // Port 0 may become any port.
    let known = !ports.is_empty() && !ports.contains(&0);
    let Some(port) = url
        .port_or_known_default()
        .filter(|port| known && !ports.contains(port))
    else {
        return;
    };
    let section = checker.tree.entry(ROOT, "token_endpoint");
    if let Some(at) = section.and_then(|section| checker.tree.entry(section, "issuer"))
        && url.scheme() == "http"
        && is_loopback(&url)
    {
        let problem = format!("no listener has the port {port}, so clients do not find the token endpoint by this URL");
        let hint = "give the port of one of `listeners`; behind a proxy, the https URL by which clients reach it";
        checker.warn(at, "issuer-port", problem, hint);
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Reports an issuer URL that is unsafe, because tokens and secrets travel to URLs below it, or has an unusual path.
fn check_issuer(issuer: &Text<IssuerUrl>, checker: &mut Checker<'_>) {
    let url = issuer.get().to_url();
    let loopback = is_loopback(&url);
    if url.scheme() == "http" && !loopback {
        let problem = checker.with_value(issuer.at, "clients would send their secrets in clear text");
        checker.error_with(
            issuer.at,
            "plain-http",
            problem,
            "use https; http is for 127.0.0.1 and localhost",
        );
    }
    // Requests are matched in normal form, so the URLs in the metadata must be in that form too.
    let text = issuer.get().as_str();
    let path = url.path().trim_end_matches('/');
    if !text.trim_end_matches('/').ends_with(path) || path.contains(['%', '{', '}']) || path.contains("//") {
        let problem = checker.with_value(issuer.at, "the path of an issuer here is plain segments");
        checker.error_with(issuer.at, "bad-value", problem, "such as `https://example.com/auth`");
    }
}

/// Parses the wrapping key, and reports a text that is not 64 hexadecimal digits.
fn wrapping_key(at: NodeId, written: &Secret<Vec<u8>>, checker: &mut Checker<'_>) -> Option<Secret<Vec<u8>>> {
    let digits = written.expose();
    // With `ReferencedFiles::MayBeMissing` the secret is empty.
    if digits.is_empty() {
        return None;
    }
    let lower = Secret::new(digits.to_ascii_lowercase());
    let key = hex::read::<32>(lower.expose()).map(|key| Secret::new(key.to_vec()));
    if key.is_none() {
        let problem = "a wrapping key is 64 hexadecimal digits";
        checker.error_with(
            at,
            "wrapping-key",
            problem,
            "such as the output of `openssl rand -hex 32`",
        );
    }
    key
}

/// Adds the token endpoint's issuer to those of the file, and reports another issuer with its name or URL.
pub(in crate::config) fn add_own_issuer(
    token_endpoint: Option<&TokenEndpoint>,
    issuers: &mut std::collections::BTreeMap<Name, Issuer>,
    checker: &mut Checker<'_>,
) {
    let name = TokenEndpoint::own_issuer();
    let Some(endpoint_at) = checker.tree.entry(ROOT, "token_endpoint") else {
        return;
    };
    let sections: Vec<NodeId> = checker.tree.sections("issuers").collect();
    let taken = sections
        .into_iter()
        .find_map(|section| checker.tree.entry(section, OWN_ISSUER));
    if let Some(at) = taken {
        let whereabouts = checker.tree.whereabouts(endpoint_at, at);
        let problem = format!("`{OWN_ISSUER}` is the issuer that `token_endpoint` ({whereabouts}) makes");
        checker.error_with(at, "reserved-name", problem, "choose another name");
        return;
    }
    let Some(token_endpoint) = token_endpoint else {
        return;
    };
    // With two issuers of one URL, chance would decide which issuer's settings apply to a token.
    let is_same = |other: &&Issuer| other.issuer.is_named_by(token_endpoint.issuer.as_str());
    if let Some(other) = issuers.values().find(is_same) {
        let at = checker.tree.entry(endpoint_at, "issuer").unwrap_or(endpoint_at);
        let problem = format!("`issuers.{}` has this URL already", other.name);
        let hint = "tokens of this gate are trusted as `issuers: [keygate]`; remove the other one";
        checker.error_with(at, "duplicate-issuer", problem, hint);
    }
    issuers.insert(name, token_endpoint.as_issuer());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc8707_section_2_a_resource_is_an_absolute_uri_without_a_fragment() {
        for (text, expected) in [
            ("https://api.example.com", Some("https://api.example.com")),
            ("https://api.example.com/", Some("https://api.example.com")),
            ("https://api.example.com/v1/", Some("https://api.example.com/v1/")),
            ("https://api.example.com?a=/", Some("https://api.example.com?a=/")),
            ("urn:example:orders", Some("urn:example:orders")),
            ("spiffe://example.org/orders", Some("spiffe://example.org/orders")),
            ("orders", None),
            ("/orders", None),
            ("//api.example.com", None),
            ("https:", None),
            (":orders", None),
            ("1a:b", None),
            ("https://api.example.com#a", None),
            ("https://api.example.com#", None),
            ("https://api.example.com/a b", None),
            ("https://api.example.com/\u{e9}", None),
            ("", None),
        ] {
            assert_eq!(resource_of(text), expected, "{text}");
        }
    }
}
