//! May a web page of another origin call this route, and which headers does its browser need (Fetch standard, "CORS
//! protocol")?

use crate::config;
use crate::config::AcceptedCredential;
use crate::config::HostPattern;
use crate::config::cors::Origins;
use crate::gate::accept::Hosts;
use crate::gate::accept::Inbound;
use crate::gate::answer::Answer;
use crate::gate::denial::CorsError;
use bytes::Bytes;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::StatusCode;
use http::header;

/// The headers that Keygate sets and that a page may read by default, to learn why and until when it was refused.
const EXPOSED: [HeaderName; 5] = [
    header::WWW_AUTHENTICATE,
    header::RETRY_AFTER,
    HeaderName::from_static("ratelimit"),
    HeaderName::from_static("ratelimit-policy"),
    HeaderName::from_static("x-request-id"),
];

const FAMILY: &str = "access-control-";

/// The CORS rules of a route, compiled. Browsers show responses only to pages of the origins that the rules allow. CORS
/// does not protect the API: a client other than a browser can send any request, and needs a credential all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    pub responses: ResponseCors,
    methods: Box<[Method]>,
    headers: Box<[HeaderName]>,
    allow_methods: HeaderValue,
    allow_headers: HeaderValue,
    max_age: HeaderValue,
}

/// The part of the rules that is about responses other than to a preflight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseCors {
    /// The allowed origins; `None` for every origin.
    origins: Option<Box<[HeaderValue]>>,
    credentials: bool,
    expose: HeaderValue,
}

/// A preflight: a request that a browser sends to learn whether a page may send the request that the preflight
/// announces.
#[derive(Debug)]
pub struct Preflight<'r> {
    origin: &'r HeaderValue,
    /// The method of the announced request.
    pub method: Method,
}

impl<'r> Preflight<'r> {
    /// Returns the preflight in `inbound`: an OPTIONS with one `Origin` and one `Access-Control-Request-Method`, and
    /// without a credential, because browsers send no credential in a preflight (Fetch standard, "CORS-preflight
    /// fetch"). Returns `None` for every other OPTIONS, which needs a credential (S097).
    pub fn of(inbound: &Inbound<'r>, api_key_header: &HeaderName) -> Option<Self> {
        let headers = inbound.headers();
        if inbound.method() != Method::OPTIONS
            || headers.contains_key(header::AUTHORIZATION)
            || headers.contains_key(api_key_header)
        {
            return None;
        }
        let method = only(headers, &header::ACCESS_CONTROL_REQUEST_METHOD)?;
        Some(Self {
            origin: only(headers, &header::ORIGIN)?,
            method: Method::from_bytes(method.as_bytes()).ok()?,
        })
    }
}

/// Returns the value of a header that occurs exactly once, otherwise `None`.
fn only<'r>(headers: &'r HeaderMap, name: &HeaderName) -> Option<&'r HeaderValue> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value),
        (None, _) | (Some(_), Some(_)) => None,
    }
}

impl Cors {
    /// Compiles the rules of a route that accepts the credentials `accept`, API keys as `api_keys` says. Unless the
    /// configuration lists other headers, pages may send the headers of these credentials and `Content-Type`.
    pub fn compile(settings: &config::Cors, accept: &[AcceptedCredential], api_keys: &config::ApiKeys) -> Self {
        let headers = settings.headers.clone().unwrap_or_else(|| {
            let mut needed: Vec<HeaderName> = accept
                .iter()
                .map(|accept| match accept {
                    AcceptedCredential::Jwt => header::AUTHORIZATION,
                    AcceptedCredential::ApiKey => api_keys.header.clone(),
                })
                .collect();
            if api_keys.bearer && !accept.is_empty() && !needed.contains(&header::AUTHORIZATION) {
                needed.push(header::AUTHORIZATION);
            }
            needed.push(header::CONTENT_TYPE);
            needed
        });
        let origins = match &settings.origins {
            Origins::Any => None,
            Origins::Listed(origins) => Some(
                origins
                    .iter()
                    .map(|origin| HeaderValue::from_str(origin.as_str()).expect("an origin is visible ASCII"))
                    .collect(),
            ),
        };
        let exposed = EXPOSED;
        let expose = settings.expose.as_deref().unwrap_or(&exposed);
        Self {
            responses: ResponseCors {
                origins,
                credentials: settings.credentials,
                expose: list(expose.iter().map(HeaderName::as_str)),
            },
            allow_methods: list(settings.methods.iter().map(Method::as_str)),
            allow_headers: list(headers.iter().map(HeaderName::as_str)),
            max_age: HeaderValue::from(settings.max_age.as_secs()),
            methods: settings.methods.clone().into(),
            headers: headers.into(),
        }
    }

    /// Returns the answer to a preflight: 204 with all allowed methods and headers, the same for all preflights of an
    /// origin. `headers` are those of the preflight.
    ///
    /// # Errors
    /// The origin, the method or a header is not allowed.
    pub fn answer(&self, preflight: &Preflight<'_>, headers: &HeaderMap) -> Result<Answer, CorsError> {
        let origin = self.responses.allowed(preflight.origin).ok_or(CorsError::Origin)?;
        // GET includes HEAD. `Access-Control-Allow-Methods` need not list HEAD: browsers send CORS-safelisted methods
        // without it (Fetch standard, "CORS-preflight fetch").
        let of_get = preflight.method == Method::HEAD && self.methods.contains(&Method::GET);
        if !self.methods.contains(&preflight.method) && !of_get {
            return Err(CorsError::Method);
        }
        for value in headers.get_all(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            let names = value.to_str().map_err(|_| CorsError::Header)?.split(',');
            let mut names = names
                .map(|name| name.trim_matches([' ', '\t']))
                .filter(|name| !name.is_empty());
            if !names.all(|name| {
                self.headers
                    .iter()
                    .any(|known| known.as_str().eq_ignore_ascii_case(name))
            }) {
                return Err(CorsError::Header);
            }
        }
        // `Access-Control-Request-Private-Network` is not answered: the CORS rules of a route must not also allow pages
        // of the internet to call a private network.
        let mut response = vec![
            (header::ACCESS_CONTROL_ALLOW_ORIGIN, origin),
            (header::ACCESS_CONTROL_ALLOW_METHODS, self.allow_methods.clone()),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, self.allow_headers.clone()),
            (header::ACCESS_CONTROL_MAX_AGE, self.max_age.clone()),
            (header::VARY, VARY_OF_PREFLIGHT),
        ];
        if self.responses.credentials {
            response.push((header::ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE));
        }
        Ok(Answer {
            status: StatusCode::NO_CONTENT,
            headers: response,
            body: Bytes::new(),
            close: false,
        })
    }
}

impl ResponseCors {
    /// Returns the CORS headers of a response on the route, other than to a preflight; refusals get them too. `request`
    /// are the headers of the request. Returns no headers for an origin that is not allowed, so that its page sees only
    /// a network error.
    pub fn fields(&self, request: &HeaderMap) -> impl Iterator<Item = (HeaderName, HeaderValue)> + use<> {
        let origin = only(request, &header::ORIGIN).and_then(|origin| self.allowed(origin));
        let readable = origin.is_some();
        [
            origin.map(|origin| (header::ACCESS_CONTROL_ALLOW_ORIGIN, origin)),
            readable.then(|| (header::ACCESS_CONTROL_EXPOSE_HEADERS, self.expose.clone())),
            (readable && self.credentials).then_some((header::ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE)),
        ]
        .into_iter()
        .flatten()
    }

    /// Adds the CORS fields of a refusal to `answer`; `request` are the headers of the request. Without them, a browser hides
    /// the refusal from the page that sent the request.
    pub fn put(&self, answer: &mut Answer, request: &HeaderMap) {
        answer.headers.extend(self.fields(request));
        if self.varies() {
            answer.headers.push((header::VARY, VARY_ORIGIN));
        }
    }

    /// Returns whether responses differ by origin. Such responses need `Vary: Origin` (Fetch standard, "CORS protocol
    /// and HTTP caches").
    pub const fn varies(&self) -> bool {
        self.origins.is_some()
    }

    /// Returns the value of `Access-Control-Allow-Origin` for `origin`: `*` or the equal value of the configuration,
    /// never the text of the request. `None` where `origin` is not allowed.
    fn allowed(&self, origin: &HeaderValue) -> Option<HeaderValue> {
        match &self.origins {
            None => Some(ANY),
            Some(listed) => listed.iter().find(|listed| *listed == origin).cloned(),
        }
    }
}

/// Returns whether `name` is a CORS header. On a route with CORS, the gate drops the CORS headers of the upstream and
/// sets its own.
pub fn is_cors_name(name: &str) -> bool {
    let start = name.as_bytes().get(..FAMILY.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(FAMILY.as_bytes()))
}

/// Returns whether `vary` already includes `Origin`, by name or as `*`.
pub fn names_origin(vary: &HeaderValue) -> bool {
    vary.to_str().is_ok_and(|text| {
        text.split(',')
            .map(str::trim)
            .any(|name| name == "*" || name.eq_ignore_ascii_case("origin"))
    })
}

pub const VARY_ORIGIN: HeaderValue = HeaderValue::from_static("Origin");
const VARY_OF_PREFLIGHT: HeaderValue =
    HeaderValue::from_static("Origin, Access-Control-Request-Method, Access-Control-Request-Headers");
const ANY: HeaderValue = HeaderValue::from_static("*");
const TRUE: HeaderValue = HeaderValue::from_static("true");

fn list<'n>(names: impl Iterator<Item = &'n str>) -> HeaderValue {
    let text = names.collect::<Vec<_>>().join(", ");
    HeaderValue::from_str(&text).expect("names of methods and headers are tokens")
}

/// The CORS rules of the refusals that precede the choice of a route: those on which the routes of a host agree. Where they
/// differ, a refusal has no CORS headers, because it would tell a page about routes that the page may not call.
#[derive(Debug, Default)]
pub struct HostCors(Hosts<Agreement>);

impl HostCors {
    /// Adds a route at `hosts`; empty for any host.
    pub fn add(&mut self, hosts: &[HostPattern], cors: Option<&Cors>) {
        let any = [HostPattern::Any];
        let hosts = if hosts.is_empty() { &any } else { hosts };
        for host in hosts {
            let agreed = self.0.of_mut(host);
            *agreed = std::mem::take(agreed).with(cors.map(|cors| &cors.responses));
        }
    }

    /// Returns the rules on which all routes that `host` can reach agree.
    pub fn of(&self, host: &str) -> Option<&ResponseCors> {
        let mut first: Option<&Agreement> = None;
        let differ = self.0.find(host, |agreed| match (first, agreed) {
            (_, Agreement::NoRoute) => None,
            (None, agreed) => {
                first = Some(agreed);
                None
            }
            (Some(first), agreed) => (first != agreed).then_some(()),
        });
        match (differ, first?) {
            (None, Agreement::Rules(rules)) => Some(rules),
            (None | Some(()), Agreement::NoRoute | Agreement::Rules(_) | Agreement::Differ) => None,
        }
    }
}

/// The rules on which several routes agree.
#[derive(Debug, Default, PartialEq, Eq)]
enum Agreement {
    /// There is no route.
    #[default]
    NoRoute,
    Rules(ResponseCors),
    /// The routes differ, or have no rules.
    Differ,
}

impl Agreement {
    fn with(self, cors: Option<&ResponseCors>) -> Self {
        match (self, cors) {
            (Self::NoRoute, Some(cors)) => Self::Rules(cors.clone()),
            (Self::Rules(rules), Some(cors)) if rules == *cors => Self::Rules(rules),
            (Self::NoRoute | Self::Rules(_) | Self::Differ, _) => Self::Differ,
        }
    }
}

#[cfg(test)]
mod tests;
