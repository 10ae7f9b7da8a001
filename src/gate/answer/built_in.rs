//! Which paths does the gate answer itself, and with which responses? They exist where the configuration enables them,
//! and have their own names in records and metrics.

use crate::config::BuiltInPath;
use crate::config::built_in::BuiltInRoute;
use crate::config::built_in::ControlEndpoint;
use crate::config::built_in::EndpointKind;
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
    /// The routes by path; several routes of one path differ by host. Every request looks a path
    /// up, and no request adds one.
    by_path: HashMap<Box<str>, Vec<Arc<BuiltIn>>, RandomState>,
    /// The routes with a variable segment.
    by_segment: Vec<(BuiltInPath, Arc<BuiltIn>)>,
}

/// One of the gate's own paths.
pub struct BuiltIn {
    pub name: Name,
    pub metrics: Arc<RouteMetrics>,
    /// The host; `None` for every host.
    host: Option<Box<str>>,
    source: AnswerSource,
}

/// The source of the answers on a path.
#[derive(Clone)]
pub enum AnswerSource {
    Document(Document),
    /// The control side.
    Control(ControlEndpoint),
}

/// A public JSON document.
#[derive(Clone)]
pub enum Document {
    /// Unchanged while the configuration is.
    Fixed { json: Bytes, max_age: HeaderValue },
    /// Replaced while it is served.
    Changing {
        json: Arc<ArcSwap<Bytes>>,
        max_age: HeaderValue,
    },
}

/// The methods of a document (RFC 9110 section 9.3).
const METHODS: [Method; 2] = [Method::GET, Method::HEAD];
const POST: [Method; 1] = [Method::POST];

/// The allowed origin of public documents: a client in a browser may look up its issuer.
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

    /// Returns the built-in route for `path` (in normal form) at `host` (lower case, without port). Built-in routes
    /// precede all configured routes, so that neither a catch-all nor a more specific host takes their requests.
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
    pub const fn source(&self) -> &AnswerSource {
        &self.source
    }

    /// Returns the methods of the path.
    pub const fn methods(&self) -> &'static [Method] {
        match &self.source {
            AnswerSource::Document(_) => &METHODS,
            AnswerSource::Control(endpoint) => match endpoint.kind {
                EndpointKind::Metadata => &METHODS,
                EndpointKind::Token | EndpointKind::Introspection | EndpointKind::Revocation => &POST,
            },
        }
    }

    /// Returns whether anybody may read the response, pages of any origin included.
    pub const fn is_public(&self) -> bool {
        match &self.source {
            AnswerSource::Document(_) => true,
            AnswerSource::Control(endpoint) => matches!(endpoint.kind, EndpointKind::Metadata),
        }
    }
}

impl Document {
    /// Returns the document. `head` leaves out the body and keeps its length (RFC 9110 section 9.3.2).
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
    /// Returns the answer to a preflight. Every page may send any headers: the document is
    /// public, and no header changes it.
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
