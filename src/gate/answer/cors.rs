//! May a web page of another origin call this route, and what does its browser have to be told (Fetch standard,
//! section 3.2: the CORS protocol)?
//!
//! Nothing of this protects the API: a program that is no browser sends what it likes, and is asked for a credential
//! like everybody else. It lets browsers show answers to the pages that the operator named, and to no others.

use crate::config;
use crate::config::AcceptedCredential;
use crate::config::cors::Origins;
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

/// What Keygate itself says in headers, so that a page can read why it was refused and when to come back.
const EXPOSED: [HeaderName; 5] = [
    header::WWW_AUTHENTICATE,
    header::RETRY_AFTER,
    HeaderName::from_static("ratelimit"),
    HeaderName::from_static("ratelimit-policy"),
    HeaderName::from_static("x-request-id"),
];

const FAMILY: &str = "access-control-";

/// What a route says about pages of other origins, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// `None`: every origin.
    origins: Option<Box<[HeaderValue]>>,
    methods: Box<[Method]>,
    headers: Box<[HeaderName]>,
    credentials: bool,
    allow_methods: HeaderValue,
    allow_headers: HeaderValue,
    expose: HeaderValue,
    max_age: HeaderValue,
}

/// A request by which a browser asks whether it may send another one.
#[derive(Debug)]
pub struct Preflight<'r> {
    origin: &'r HeaderValue,
    /// Of the request that would follow: what a route is looked for with.
    pub method: Method,
}

impl<'r> Preflight<'r> {
    /// `None` for every request that is not exactly a preflight (S097): OPTIONS with one `Origin` and one
    /// `Access-Control-Request-Method`, and no credential, which browsers never put there (Fetch standard,
    /// section 4.8). Such a request is no more than an OPTIONS like any other, and asked for its credential.
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

/// The value of a header that is there once.
fn only<'r>(headers: &'r HeaderMap, name: &HeaderName) -> Option<&'r HeaderValue> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value),
        (None, _) | (Some(_), Some(_)) => None,
    }
}

impl Cors {
    /// `accept` is what the route accepts, `api_key_header` where keys travel: the headers a page cannot do without.
    pub fn compile(settings: &config::Cors, accept: &[AcceptedCredential], api_key_header: &HeaderName) -> Self {
        let headers = settings.headers.clone().unwrap_or_else(|| {
            let needed = accept.iter().map(|accept| match accept {
                AcceptedCredential::Jwt => header::AUTHORIZATION,
                AcceptedCredential::ApiKey => api_key_header.clone(),
            });
            needed.chain([header::CONTENT_TYPE]).collect()
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
        Self {
            origins,
            allow_methods: list(settings.methods.iter().map(Method::as_str)),
            allow_headers: list(headers.iter().map(HeaderName::as_str)),
            expose: list(
                settings
                    .expose
                    .as_deref()
                    .unwrap_or(&EXPOSED)
                    .iter()
                    .map(HeaderName::as_str),
            ),
            max_age: HeaderValue::from(settings.max_age.as_secs()),
            methods: settings.methods.clone().into(),
            headers: headers.into(),
            credentials: settings.credentials,
        }
    }

    /// The answer to a preflight: 204 with what is allowed. It is the same for everybody who asks with the same origin.
    ///
    /// # Errors
    /// The origin, method or header that a page may not use. Then nothing at all is said to be allowed.
    pub fn answer(&self, preflight: &Preflight<'_>, headers: &HeaderMap) -> Result<Answer, CorsError> {
        let origin = self.allowed(preflight.origin).ok_or(CorsError::Origin)?;
        // A browser asks for HEAD as for GET; what is safe-listed (section 2.2.1) it does not even look up.
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
        // `Access-Control-Request-Private-Network` is not answered: whether pages of the internet may reach into a
        // network is nothing that a route should decide in passing.
        let mut response = vec![
            (header::ACCESS_CONTROL_ALLOW_ORIGIN, origin),
            (header::ACCESS_CONTROL_ALLOW_METHODS, self.allow_methods.clone()),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, self.allow_headers.clone()),
            (header::ACCESS_CONTROL_MAX_AGE, self.max_age.clone()),
            (header::VARY, VARY_OF_PREFLIGHT),
        ];
        if self.credentials {
            response.push((header::ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE));
        }
        Ok(Answer {
            status: StatusCode::NO_CONTENT,
            headers: response,
            body: Bytes::new(),
            close: false,
        })
    }

    /// What every other answer on the route says, refusals among them, to a request with these headers: at most one of
    /// each. Nothing for an origin that is not allowed, so that its page learns no more than that it failed.
    pub fn of_response(&self, request: &HeaderMap) -> impl Iterator<Item = (HeaderName, HeaderValue)> + use<> {
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

    /// Whether answers differ by origin, so that a cache must know (Fetch standard, section 3.2.5).
    pub const fn varies(&self) -> bool {
        self.origins.is_some()
    }

    /// What `Access-Control-Allow-Origin` says to `origin`: always a value of the configuration, compared byte by byte.
    fn allowed(&self, origin: &HeaderValue) -> Option<HeaderValue> {
        match &self.origins {
            None => Some(ANY),
            Some(listed) => listed.iter().find(|listed| *listed == origin).cloned(),
        }
    }
}

/// Whether `name` is of the headers that the gate speaks for on a route with CORS, so that an upstream's are dropped.
pub fn is_cors_name(name: &str) -> bool {
    let start = name.as_bytes().get(..FAMILY.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(FAMILY.as_bytes()))
}

/// Whether `vary` says already that `Origin` changes the answer.
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
