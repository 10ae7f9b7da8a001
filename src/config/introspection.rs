//! How does Keygate introspect tokens that only their issuer can read (RFC 7662)? URL, credentials, caching, limits.

use crate::config::api_keys::secret;
use crate::config::check::Checker;
use crate::config::listener::timeout;
use crate::config::read::Text;
use crate::config::read::TypedNode;
use crate::config::text::ExactText;
use crate::config::text::SecretText;
use crate::config::text::Size;
use crate::config::text::Timeout;
use crate::config::tree::NodeId;
use crate::model::algorithm::Algorithm;
use crate::model::secret::Secret;
use schemars::JsonSchema;
use serde::Deserialize;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// `issuers.<name>.introspection`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introspection {
    pub url: Url,
    pub authentication: ClientAuthentication,
    /// Allows `http:`. Default false.
    pub allow_http: bool,
    /// Allows addresses that are private, loopback, link-local or otherwise
    /// not public; checked on the address that is dialled. Default false.
    pub allow_private_addresses: bool,
    /// PEM certificates trusted instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// An HTTP proxy for the calls.
    pub proxy: Option<Url>,
    /// How long the response for an active token is cached; never past its `exp`. Default 30 s, at most 5 min.
    pub cache_ttl: Duration,
    /// How long any other response is cached. Default 5 s, at most 5 min.
    pub negative_ttl: Duration,
    /// Approximate size of the cache of responses, in bytes. Default 16 MiB.
    pub cache_bytes_max: u64,
    /// How long a request waits for a response, and how long one call may take. Default 3 s.
    pub timeout: Duration,
    /// Concurrent calls. Default 64.
    pub concurrency: usize,
    pub breaker: Breaker,
}

/// How Keygate authenticates to the issuer (RFC 7662 section 2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAuthentication {
    Secret(ClientSecret),
    /// `private_key_jwt` (RFC 7523 section 2.2).
    PrivateKey {
        client_id: String,
        key: Box<ClientKey>,
    },
    /// `Authorization: Bearer` (RFC 6750 section 2.1). Visible ASCII.
    BearerToken(Secret<Vec<u8>>),
}

/// The secret of an OAuth client that Keygate is, and how it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSecret {
    /// The client id of Keygate at the issuer.
    pub client_id: String,
    pub secret: Secret<Vec<u8>>,
    pub method: SecretMethod,
}

/// Where in a call the client secret stands, and how it is encoded (RFC 6749 section 2.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(rename = "SecretMethod")]
pub enum SecretMethod {
    /// In `Authorization: Basic`, client id and secret form-encoded first, as the RFC says.
    #[default]
    #[serde(rename = "client_secret_basic")]
    Basic,
    /// In `Authorization: Basic`, as they are, for servers that do not decode what stands in `Basic`.
    #[serde(rename = "client_secret_basic_unencoded")]
    BasicUnencoded,
    /// In the form, beside the token.
    #[serde(rename = "client_secret_post")]
    Post,
}

/// `issuers.<name>.introspection.private_key_jwt`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientKey {
    /// The file that `pem` was read from.
    pub file: PathBuf,
    /// The content of `file`, not yet parsed as a key.
    pub pem: Secret<Vec<u8>>,
    /// The `kid` under which the issuer knows the key. Default: its RFC 7638 thumbprint.
    pub kid: Option<String>,
    /// Default: the algorithm of the key; RS256 for an RSA key.
    pub algorithm: Option<Algorithm>,
    /// `aud` of the assertions. Default: the issuer.
    pub audience: Option<String>,
}

/// The conditions under which calls to a failing endpoint pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// This many failed calls in a row open the breaker. Default 5.
    pub failures: u32,
    /// How long an open breaker stops calls, until a trial call. Default 5 s.
    pub open_for: Duration,
}

/// How the issuer is asked about tokens that it alone can read (RFC 7662).
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Introspection")]
pub(in crate::config) struct Section {
    /// The introspection endpoint. Required.
    #[schemars(required)]
    url: Option<Text<Url>>,
    /// Who Keygate is at the issuer. Required, except with `bearer_token`.
    client_id: Option<Text<ExactText>>,
    /// Its secret: `${NAME}` or `file:path`. Exactly one of this, `private_key_jwt` and `bearer_token`.
    client_secret: Option<Text<SecretText>>,
    /// How the secret is sent: `client_secret_basic`, `client_secret_basic_unencoded` for servers that do not decode what
    /// stands in Basic, or `client_secret_post`. Default `client_secret_basic`.
    authentication: Option<TypedNode<SecretMethod>>,
    /// A key that signs who Keygate is, instead of a secret.
    private_key_jwt: Option<TypedNode<KeySection>>,
    /// A token that is sent as `Authorization: Bearer`, instead of a client's credential: `${NAME}` or `file:path`.
    bearer_token: Option<Text<SecretText>>,
    /// Allows `http:` in `url`. Default false.
    allow_http: Option<bool>,
    /// Allows addresses that are not public (private, loopback, link-local), checked when dialled. Default false.
    allow_private_addresses: Option<bool>,
    /// PEM certificates trusted instead of the system's.
    ca_file: Option<Text<PathBuf>>,
    /// An HTTP proxy for the calls.
    proxy: Option<Text<Url>>,
    /// How long an answer that a token is good is believed; never past its expiry. Default `30s`, at most `5m`.
    cache_ttl: Option<Text<Duration>>,
    /// How long any other answer is believed. Default `5s`, at most `5m`.
    negative_ttl: Option<Text<Duration>>,
    /// Memory for remembered answers, about. Default `16MiB`.
    cache_bytes: Option<Text<Size>>,
    /// How long a request waits for an answer, and how long one call may take. Default `3s`.
    timeout: Option<Text<Timeout>>,
    /// Calls at once. Default 64.
    concurrency: Option<TypedNode<NonZeroU32>>,
    /// When a failing endpoint is left alone.
    breaker: Option<BreakerSection>,
}

/// A key that signs who Keygate is (RFC 7523).
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PrivateKeyJwt")]
pub(in crate::config) struct KeySection {
    /// PEM file of the private key (PKCS #8, not encrypted). Required.
    #[schemars(required)]
    key_file: Option<Text<PathBuf>>,
    /// What the issuer calls the key. Default: its RFC 7638 thumbprint.
    kid: Option<Text<ExactText>>,
    /// Default: what the key is for; RS256 for an RSA key.
    algorithm: Option<Text<Algorithm>>,
    /// `aud` of what is signed. Default: the issuer's URL; some servers want the token endpoint's or the introspection endpoint's.
    audience: Option<Text<ExactText>>,
}

/// When a failing endpoint is left alone.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Breaker")]
pub(in crate::config) struct BreakerSection {
    /// So many failed calls in a row, and none is made for a while: requests are answered 503 at once. Default 5.
    failures: Option<NonZeroU32>,
    /// For how long; then one call is tried. Default `5s`.
    open_for: Option<Text<Timeout>>,
}

/// With a longer time, a revoked token would be accepted for too long, or a token that was rejected by mistake stay
/// rejected.
const TTL_MAX: Duration = Duration::from_secs(300);
/// A larger number is a mistake: the calls share one connection pool and one thread.
const CONCURRENCY_MAX: u32 = 4096;
/// A smaller cache holds no response.
const CACHE_BYTES_MIN: u64 = 64 << 10;

pub(in crate::config) fn convert(
    TypedNode { value: mut section, at }: TypedNode<Section>,
    checker: &mut Checker<'_>,
) -> Option<Introspection> {
    let authentication = authentication(&mut section, at, checker);
    let url = checker.need(at, "url", section.url, "the issuer's introspection endpoint");
    let allow_http = section.allow_http.unwrap_or(false);
    if let Some(url) = &url {
        refuse_plain_http(
            url,
            allow_http,
            "tokens sent without TLS could be read by anyone",
            checker,
        );
    }
    for ttl in [&section.cache_ttl, &section.negative_ttl].into_iter().flatten() {
        if *ttl.get() > TTL_MAX {
            let problem = checker.with_value(ttl.at, "an answer is believed for at most 5m");
            checker.error_with(ttl.at, "out-of-range", problem, "a revoked token would go on passing");
        }
    }
    if let Some(concurrency) = &section.concurrency
        && concurrency.value.get() > CONCURRENCY_MAX
    {
        let problem = format!("at most {CONCURRENCY_MAX} calls at once");
        checker.error(concurrency.at, "out-of-range", problem);
    }
    if let Some(size) = &section.cache_bytes
        && size.get().0 < CACHE_BYTES_MIN
    {
        checker.error(size.at, "out-of-range", "at least `64KiB`, or nothing is remembered");
    }
    let breaker = section.breaker.unwrap_or_default();
    let secs = Duration::from_secs;
    Some(Introspection {
        url: url?.take(),
        authentication: authentication?,
        allow_http,
        allow_private_addresses: section.allow_private_addresses.unwrap_or(false),
        ca_file: section.ca_file.map(|file| checker.existing_file(&file)),
        proxy: section.proxy.map(Text::take),
        cache_ttl: section.cache_ttl.map_or(secs(30), Text::take),
        negative_ttl: section.negative_ttl.map_or(secs(5), Text::take),
        cache_bytes_max: section.cache_bytes.map_or(16 << 20, |size| size.take().0),
        timeout: timeout(section.timeout, secs(3)),
        concurrency: section.concurrency.map_or(64, |concurrency| {
            usize::try_from(concurrency.value.get()).unwrap_or(usize::MAX)
        }),
        breaker: Breaker {
            failures: breaker.failures.map_or(5, NonZeroU32::get),
            open_for: timeout(breaker.open_for, secs(5)),
        },
    })
}

/// Returns how Keygate authenticates. Reports none or several: there must be exactly one way (RFC 6749 section 2.3).
fn authentication(section: &mut Section, at: NodeId, checker: &mut Checker<'_>) -> Option<ClientAuthentication> {
    let ways = ["client_secret", "private_key_jwt", "bearer_token"];
    let written = ways.map(|key| Some((key, checker.tree.entry(at, key)?)));
    let written: Vec<(&str, NodeId)> = written.into_iter().flatten().collect();
    let way = match written.as_slice() {
        [] => {
            let hint =
                "`client_secret: \"${NAME}\"`, `private_key_jwt: { key_file: … }` or `bearer_token: \"file:path\"`";
            checker.error_with(at, "missing-key", "nothing says how Keygate proves who it is", hint);
            return None;
        }
        [(way, _)] => *way,
        [(first, _), (second, second_at), ..] => {
            let problem = format!("has both `{first}` and `{second}`, and a client proves itself in one way");
            checker.error_with(*second_at, "two-authentications", problem, "remove one of the two");
            return None;
        }
    };
    let useless = match way {
        "bearer_token" => ["client_id", "authentication"].as_slice(),
        "private_key_jwt" => &["authentication"],
        _ => &[],
    };
    for key in useless {
        if let Some(entry) = checker.tree.entry(at, key) {
            let problem = format!("`{key}` means nothing beside `{way}`");
            checker.error_with(entry, "only-with-client-secret", problem, "remove it");
        }
    }
    if way == "bearer_token" {
        let written = section.bearer_token.take()?;
        return bearer_token(written, checker).map(ClientAuthentication::BearerToken);
    }
    let hint = "who Keygate is at the issuer; it has to be registered there";
    let client_id = checker.need(at, "client_id", section.client_id.take(), hint);
    if let Some(key) = section.private_key_jwt.take() {
        let key = Box::new(client_key(key, checker)?);
        let client_id = client_id?.take().0;
        return Some(ClientAuthentication::PrivateKey { client_id, key });
    }
    let method = section.authentication.take().map(|method| method.value);
    let method = method.unwrap_or_default();
    let client = client_secret(client_id?, section.client_secret.take()?, method, checker);
    client.map(ClientAuthentication::Secret)
}

/// Reports an `http` URL of a server to which secrets go.
pub(in crate::config) fn refuse_plain_http(
    url: &Text<Url>,
    allow_http: bool,
    problem: &str,
    checker: &mut Checker<'_>,
) {
    if url.get().scheme() == "http" && !allow_http {
        let hint = "use https, or say `allow_http: true` beside it";
        checker.error_with(url.at, "plain-http", checker.with_value(url.at, problem), hint);
    }
}

/// Returns the client and its secret. Reports a client id that its method cannot carry.
pub(in crate::config) fn client_secret(
    client_id: Text<ExactText>,
    written: Text<SecretText>,
    method: SecretMethod,
    checker: &mut Checker<'_>,
) -> Option<ClientSecret> {
    let secret = secret(written.at, written.take(), checker)?;
    if method == SecretMethod::BasicUnencoded && client_id.get().0.contains(':') {
        let problem = checker.with_value(client_id.at, "an unencoded `:` would end the client id in Basic");
        let hint = "use `client_secret_basic` or `client_secret_post` (RFC 7617 section 2)";
        checker.error_with(client_id.at, "bad-value", problem, hint);
    }
    Some(ClientSecret {
        client_id: client_id.take().0,
        secret,
        method,
    })
}

/// Returns the token. Reports bytes that cannot stand in `Authorization`.
fn bearer_token(written: Text<SecretText>, checker: &mut Checker<'_>) -> Option<Secret<Vec<u8>>> {
    let at = written.at;
    let token = secret(at, written.take(), checker)?;
    if !token.expose().iter().all(u8::is_ascii_graphic) {
        let problem = "a bearer token is one line of visible ASCII without blanks";
        let hint = "the token alone, without `Bearer` before it (RFC 6750 section 2.1)";
        checker.error_with(at, "bad-value", problem, hint);
        return None;
    }
    Some(token)
}

fn client_key(
    TypedNode { value: mut section, at }: TypedNode<KeySection>,
    checker: &mut Checker<'_>,
) -> Option<ClientKey> {
    let hint = "the private key, PEM (PKCS #8)";
    let written = checker.need(at, "key_file", section.key_file.take(), hint)?;
    let (file, pem) = checker.read_file(&written)?;
    Some(convert_key(section, file, pem))
}

fn convert_key(section: KeySection, file: PathBuf, pem: Vec<u8>) -> ClientKey {
    ClientKey {
        file,
        pem: Secret::new(pem),
        kid: section.kid.map(|kid| kid.take().0),
        algorithm: section.algorithm.map(Text::take),
        audience: section.audience.map(|audience| audience.take().0),
    }
}
