//! A route: what it matches, what it asks for, where it leads.

use crate::model::names::Name;
use crate::model::scope::Scope;
use http::Method;

/// One entry of `routes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub name: Name,
    pub hosts: Vec<HostPattern>,
    pub path: PathPattern,
    /// Empty: every method that HTTP registers (RFC 9110 section 9).
    pub methods: Vec<Method>,
    /// Credential types that count. Empty only on a public route.
    pub accept: Vec<Accept>,
    pub public: bool,
    /// Whose tokens count. Never empty where `accept` has `Jwt`, empty elsewhere.
    pub issuers: Vec<Name>,
    /// Replaces the issuers' audiences on this route.
    pub audiences: Option<Vec<String>>,
    /// Every one of these is needed.
    pub scopes_all: Vec<Scope>,
    /// One of these is needed, where there are any.
    pub scopes_any: Vec<Scope>,
    pub limits: Vec<Name>,
    pub upstream: Name,
    /// Cut off the front of the path before it is forwarded; matches whole segments. Starts with `/`, does not end
    /// with it.
    pub strip_prefix: Option<String>,
    /// The credential reaches the upstream. Default false.
    pub forward_credential: bool,
    /// `access_token`, `api_key` … in the query are answered with 400. Default true.
    pub reject_query_credentials: bool,
    /// `%2F` in the path is accepted and forwarded as it is.
    pub allow_encoded_slash: bool,
    /// `//` in the path is accepted and forwarded as it is.
    pub allow_empty_segments: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Accept {
    Jwt,
    ApiKey,
}

/// Lower case, without port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    Any,
    Exact(String),
    /// `*.example.com` is `Suffix("example.com")`: one or more labels before it, not the name itself.
    Suffix(String),
}

/// A path as people write it: `/v1/orders/{id}`, `/v1/{*rest}`. `{name}` is one segment, `{*name}` is the rest, one
/// character at least; everything else is literal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathPattern(String);

/// Why a text is not a [`PathPattern`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathPatternError {
    #[error("a path starts with `/`")]
    NoLeadingSlash,
    #[error("a path cannot hold {0}")]
    Forbidden(&'static str),
    #[error("braces are written `{{name}}` for one whole segment or `{{*name}}` for the rest, which comes last")]
    Braces,
}

impl PathPattern {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for PathPattern {
    type Err = PathPatternError;

    fn from_str(text: &str) -> Result<Self, PathPatternError> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err(PathPatternError::NoLeadingSlash);
        };
        // The same forms that `accept` refuses in requests: such a pattern would never match, or not as it reads.
        if text.bytes().any(|byte| byte <= 0x20 || byte >= 0x7F) {
            return Err(PathPatternError::Forbidden(
                "spaces, control characters or non-ASCII (write these percent-encoded)",
            ));
        }
        for (needle, what) in [
            ("\\", "`\\`"),
            ("?", "a query"),
            ("#", "a fragment"),
            ("//", "an empty segment"),
        ] {
            if text.contains(needle) {
                return Err(PathPatternError::Forbidden(what));
            }
        }
        if rest.split('/').any(|segment| segment == "." || segment == "..") {
            return Err(PathPatternError::Forbidden("`.` or `..` segments"));
        }
        let mut segments = rest.split('/').peekable();
        while let Some(segment) = segments.next() {
            if !segment.contains(['{', '}']) {
                continue;
            }
            let inner = segment.strip_prefix('{').and_then(|inner| inner.strip_suffix('}'));
            let name = match inner {
                Some(inner) => match inner.strip_prefix('*') {
                    Some(_) if segments.peek().is_some() => return Err(PathPatternError::Braces),
                    Some(name) => name,
                    None => inner,
                },
                None => return Err(PathPatternError::Braces),
            };
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                return Err(PathPatternError::Braces);
            }
        }
        Ok(Self(text.to_owned()))
    }
}
