//! Which paths does the gate answer itself, and with which responses? Built-in routes have names of their own in access
//! records and metrics.

use crate::config::BuiltInPath;
use crate::config::built_in::BuiltInRoute;
use crate::config::built_in::ControlEndpoint;
use crate::config::built_in::EndpointKind;
use crate::config::built_in::RESERVED_PREFIX;
use crate::gate::answer::Answer;
use crate::model::names::Name;
use crate::observe::metrics::RouteMetrics;
use arc_swap::ArcSwap;
use bytes::Bytes;
use foldhash::fast::RandomState;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::StatusCode;
use http::header;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// The built-in routes of a snapshot.
#[derive(Debug, Default)]
pub struct BuiltIns {
    /// The routes by path; routes of the same path differ by host. The hash is fast, because every request looks up its
    /// path, and need not resist attacks, because the keys come from the configuration.
    by_path: HashMap<Box<str>, Vec<Arc<BuiltIn>>, RandomState>,
    /// The routes with a variable segment. They exist only beside routes in `by_path`.
    by_segment: Vec<(BuiltInPath, Arc<BuiltIn>)>,
}

/// A path that the gate answers itself.
pub struct BuiltIn {
    pub name: Name,
    pub metrics: Arc<RouteMetrics>,
    /// The host; `None` for every host.
    host: Option<Box<str>>,
    source: AnswerSource,
}

/// The source of the responses of a built-in path.
#[derive(Clone)]
pub enum AnswerSource {
    Document(Document),
    /// The control side.
    Control(ControlEndpoint),
}

/// A public JSON document.
#[derive(Clone)]
pub enum Document {
    /// Compiled from the configuration.
    Fixed { json: Bytes, max_age: HeaderValue },
    /// Replaced while the configuration stays the same: the key set.
    Changing {
        json: Arc<ArcSwap<Bytes>>,
        max_age: HeaderValue,
    },
}

/// The methods of a document.
const METHODS: [Method; 2] = [Method::GET, Method::HEAD];
const POST: [Method; 1] = [Method::POST];

/// The `Access-Control-Allow-Origin` of public documents: clients in browsers read metadata and keys, too.
pub const ANY: HeaderValue = HeaderValue::from_static("*");

impl BuiltIns {
    pub fn new(built_ins: impl IntoIterator<Item = (BuiltInRoute, Arc<RouteMetrics>, AnswerSource)>) -> Self {
        let mut all = Self::default();
        for (route, metrics, source) in built_ins {
            let built_in = Arc::new(BuiltIn {
                name: route.name,
                metrics,
                host: route.host.map(Into::into),
                source,
            });
            match route.path {
                BuiltInPath::Exact(path) => all.by_path.entry(path.into()).or_default().push(built_in),
                path @ BuiltInPath::Segment { .. } => all.by_segment.push((path, built_in)),
            }
        }
        all
    }

    /// Returns the built-in route for `path` (in normal form) at `host` (lower case, without port). The caller looks up
    /// built-in routes before configured routes, so that neither a catch-all nor a more specific host takes their
    /// requests.
    pub fn find(&self, host: &str, path: &str) -> Option<&Arc<BuiltIn>> {
        if self.by_path.is_empty() {
            return None;
        }
        let at_path = self.by_path.get(path).into_iter().flatten();
        let with_segment = self.by_segment.iter().filter(|(own, _)| own.matches(path));
        at_path
            .chain(with_segment.map(|(_, built_in)| built_in))
            .find(|built_in| built_in.host.as_deref().is_none_or(|own| own == host))
    }
}

impl BuiltIn {
    /// Returns the name without the prefix that all built-in routes have, such as `token`.
    pub fn short_name(&self) -> &str {
        let name = self.name.as_str();
        name.strip_prefix(RESERVED_PREFIX).unwrap_or(name)
    }

    pub const fn source(&self) -> &AnswerSource {
        &self.source
    }

    /// Returns the methods that the path serves.
    pub const fn methods(&self) -> &'static [Method] {
        match &self.source {
            AnswerSource::Document(_) => &METHODS,
            AnswerSource::Control(endpoint) => match endpoint.kind {
                EndpointKind::Metadata => &METHODS,
                EndpointKind::Token | EndpointKind::Introspection | EndpointKind::Revocation => &POST,
            },
        }
    }

    /// Returns whether pages of every origin may read the response.
    pub const fn is_public(&self) -> bool {
        match &self.source {
            AnswerSource::Document(_) => true,
            AnswerSource::Control(endpoint) => matches!(endpoint.kind, EndpointKind::Metadata),
        }
    }
}

impl Document {
    /// Returns the response with the document. With `head`, the body is empty and `Content-Length` is still the length
    /// of the document (RFC 9110 section 9.3.2).
    pub fn answer(&self, head: bool) -> Answer {
        let (json, max_age) = match self {
            Self::Fixed { json, max_age } => (json.clone(), max_age),
            Self::Changing { json, max_age } => (Bytes::clone(&json.load()), max_age),
        };
        Answer {
            status: StatusCode::OK,
            headers: vec![
                (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
                (header::CONTENT_LENGTH, HeaderValue::from(json.len())),
                (header::CACHE_CONTROL, max_age.clone()),
                (header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY),
            ],
            body: if head { Bytes::new() } else { json },
            close: false,
        }
    }
}

impl BuiltIn {
    /// Returns the CORS field of a refusal: pages may read why they do not get a public document.
    pub fn fields(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> + use<> {
        self.is_public()
            .then_some((header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY))
            .into_iter()
    }

    /// Returns the answer to a preflight. Pages of every origin may send any header, because the document is public and
    /// the same for every request. `*` does not include `Authorization` (Fetch standard, "CORS-preflight fetch").
    pub fn preflight(&self, request: &http::HeaderMap) -> Answer {
        let mut headers: Vec<(HeaderName, HeaderValue)> = vec![
            (header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY),
            (
                header::ACCESS_CONTROL_ALLOW_METHODS,
                HeaderValue::from_static("GET, HEAD"),
            ),
        ];
        if request.contains_key(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.push((header::ACCESS_CONTROL_ALLOW_HEADERS, ANY));
        }
        Answer {
            status: StatusCode::NO_CONTENT,
            headers,
            body: Bytes::new(),
            close: false,
        }
    }
}

impl fmt::Debug for BuiltIn {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("BuiltIn")
            .field("name", &self.name)
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}
