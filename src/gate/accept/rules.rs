//! Which methods and header names are special, by the standard and by the configuration?

use crate::model::identity_field;
use http::HeaderName;
use http::Method;

/// The headers that proxies and upstreams base decisions on: the credential, the host, the client's address, the
/// length of the body.
const PROTECTED: [&str; 7] = [
    "authorization",
    "proxy-authorization",
    "host",
    "forwarded",
    "x-real-ip",
    "content-length",
    "transfer-encoding",
];
const PROTECTED_PREFIXES: [&str; 2] = [identity_field::PREFIX, "x-forwarded-"];

/// The rules of the accept stage, compiled once per configuration.
#[derive(Clone, Debug)]
pub struct AcceptRules {
    api_key_header: HeaderName,
    /// The name of the API key header, with each `_` replaced by `-`.
    api_key_folded: Box<str>,
    /// The headers in which upstreams receive claims, and those in which issuers send tokens.
    protected: Vec<HeaderName>,
    /// The methods that routes list beyond the registered ones.
    methods: Vec<Method>,
}

impl AcceptRules {
    /// Compiles the rules. `methods` are all methods that routes list, registered or not; see `Matcher::methods`.
    pub fn new(api_key_header: HeaderName, methods: impl IntoIterator<Item = Method>) -> Self {
        Self {
            api_key_folded: api_key_header.as_str().replace('_', "-").into(),
            api_key_header,
            protected: Vec::new(),
            methods: methods
                .into_iter()
                .filter(|method| !is_default_method(method))
                .collect(),
        }
    }

    pub(super) fn is_api_key_header(&self, name: &HeaderName) -> bool {
        // The length first: comparing custom names costs a call, and nearly all differ in length.
        name.as_str().len() == self.api_key_folded.len() && *name == self.api_key_header
    }

    /// Returns whether `name` is not a protected name, but equals one when `_` is read as `-`. `name` is in lower case
    /// and not the API key header. Of the protected names, only the API key header's may contain `_`.
    pub(super) fn is_alias(&self, name: &str) -> bool {
        if name.as_bytes().contains(&b'_') {
            self.is_protected(name)
        } else {
            name == &*self.api_key_folded
        }
    }

    /// Adds headers that carry claims to upstreams, or tokens of issuers, to the protected headers.
    #[must_use]
    pub fn with_protected<'h>(mut self, names: impl IntoIterator<Item = &'h HeaderName>) -> Self {
        self.protected.extend(names.into_iter().cloned());
        self
    }

    /// Returns whether `name` equals a protected name when `_` is read as `-`.
    pub(super) fn is_protected(&self, name: &str) -> bool {
        let starts_with = |prefix: &str| name.get(..prefix.len()).is_some_and(|start| folds_to(start, prefix));
        PROTECTED.iter().any(|protected| folds_to(name, protected))
            || PROTECTED_PREFIXES.iter().any(|prefix| starts_with(prefix))
            || folds_to(name, self.api_key_header.as_str())
            || self.protected.iter().any(|header| folds_to(name, header.as_str()))
    }

    /// Returns whether some route lists the unregistered `method`.
    pub(super) fn lists(&self, method: &Method) -> bool {
        self.methods.contains(method)
    }
}

/// The methods of a route without a list: those of RFC 9110 section 9.3 and PATCH (RFC 5789), without CONNECT and
/// TRACE. These two are never served: CONNECT makes a tunnel, TRACE echoes credentials.
pub(crate) const DEFAULT_METHODS: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::OPTIONS,
    Method::PATCH,
];

pub(crate) fn is_default_method(method: &Method) -> bool {
    DEFAULT_METHODS.contains(method)
}

/// Returns whether two names are equal when case is ignored and `_` is read as `-`.
fn folds_to(name: &str, other: &str) -> bool {
    let fold = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    name.bytes().map(fold).eq(other.bytes().map(fold))
}
