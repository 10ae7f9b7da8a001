//! May a web page of another origin call this route, and which headers must its browser get (Fetch
//! standard, section 3.2: the CORS protocol)?
//!
//! CORS does not protect the API: a client that is not a browser sends any request, and needs a credential like every
//! other client. CORS lets browsers show responses to pages of the origins that the operator named, and to no others.

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

/// The headers that Keygate sets and a page may read by default: the reason of a refusal, and the time to retry.
const EXPOSED: [HeaderName; 5] = [
    header::WWW_AUTHENTICATE,
    header::RETRY_AFTER,
    HeaderName::from_static("ratelimit"),
    HeaderName::from_static("ratelimit-policy"),
    HeaderName::from_static("x-request-id"),
];

const FAMILY: &str = "access-control-";

/// The CORS rules of a route, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// The allowed origins; `None` for every origin.
    origins: Option<Box<[HeaderValue]>>,
    methods: Box<[Method]>,
    headers: Box<[HeaderName]>,
    credentials: bool,
    allow_methods: HeaderValue,
    allow_headers: HeaderValue,
    expose: HeaderValue,
    max_age: HeaderValue,
}

/// A preflight: the request by which a browser asks whether a page may send another request.
#[derive(Debug)]
pub struct Preflight<'r> {
    origin: &'r HeaderValue,
    /// The method of the announced request, with which its route is looked up.
    pub method: Method,
}

impl<'r> Preflight<'r> {
    /// Returns the preflight in `inbound`: an OPTIONS with one `Origin`, one `Access-Control-Request-Method` and no
    /// credential, which browsers never send in a preflight (Fetch standard, section 4.8). Returns `None` for any other
    /// request, even an OPTIONS that is nearly a preflight; it needs a credential (S097).
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

/// Returns the value of a header that occurs once.
fn only<'r>(headers: &'r HeaderMap, name: &HeaderName) -> Option<&'r HeaderValue> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value),
        (None, _) | (Some(_), Some(_)) => None,
    }
}

impl Cors {
    /// Compiles the rules of a route that accepts the credentials `accept`, keys in the header `api_key_header`. Pages
    /// may send the headers of these credentials unless the configuration lists others.
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

    /// Returns the answer to a preflight: 204 with the allowed methods and headers, the same for
    /// every client with the same origin.
    ///
    /// # Errors
    /// The origin, method or header that is not allowed. The refusal lists nothing as allowed.
    pub fn answer(&self, preflight: &Preflight<'_>, headers: &HeaderMap) -> Result<Answer, CorsError> {
        let origin = self.allowed(preflight.origin).ok_or(CorsError::Origin)?;
        // Browsers announce HEAD like GET, and do not check safe-listed methods against the response (section 2.2.1).
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
        // `Access-Control-Request-Private-Network` is not answered: access from the internet to a private network is
        // not a side effect of a route's CORS rules.
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

    /// Returns the CORS headers of every other response on the route, refusals included, to a request with these
    /// headers. Returns none for an origin that is not allowed, so that its page sees a failure and nothing else.
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

    /// Returns whether responses differ by origin, as caches must be told (Fetch standard, section 3.2.5).
    pub const fn varies(&self) -> bool {
        self.origins.is_some()
    }

    /// Returns the value of `Access-Control-Allow-Origin` for `origin`: always a value of the
    /// configuration, compared byte by byte.
    fn allowed(&self, origin: &HeaderValue) -> Option<HeaderValue> {
        match &self.origins {
            None => Some(ANY),
            Some(listed) => listed.iter().find(|listed| *listed == origin).cloned(),
        }
    }
}

/// Returns whether `name` is a CORS header. On a route with CORS, the gate drops those of the
/// upstream and sets its own.
pub fn is_cors_name(name: &str) -> bool {
    let start = name.as_bytes().get(..FAMILY.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(FAMILY.as_bytes()))
}

/// Returns whether `vary` already names `Origin`.
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
