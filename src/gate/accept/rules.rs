//! Which methods and header names are special, by the standard and by the configuration?

use crate::config::DEFAULT_METHODS;
use crate::model::identity_field;
use http::HeaderName;
use http::Method;
use std::borrow::Cow;

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
    /// The name of the API key header, folded; see [`fold_name`].
    api_key_folded: Box<str>,
    /// The headers in which upstreams receive claims, those in which issuers send tokens, and those that routes are matched by.
    protected: Vec<HeaderName>,
    /// The methods that routes list beyond the registered ones.
    methods: Vec<Method>,
}

impl AcceptRules {
    /// Compiles the rules. `methods` are all methods that routes list, registered or not; see `Matcher::methods`.
    pub fn new(api_key_header: HeaderName, methods: impl IntoIterator<Item = Method>) -> Self {
        Self {
            api_key_folded: fold_name(api_key_header.as_str()).into(),
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

    /// Returns whether `name` is not a protected name, but equals one when folded; see [`fold_name`]. `name` is in lower
    /// case and not the API key header.
    pub(super) fn is_alias(&self, name: &str) -> bool {
        if has_symbol(name) {
            self.is_protected(name) && !self.protected.iter().any(|header| header == name)
        } else {
            name == &*self.api_key_folded
        }
    }

    /// Adds headers that carry claims to upstreams or tokens of issuers, or that routes are matched by, to the protected
    /// headers.
    #[must_use]
    pub fn with_protected<'h>(mut self, names: impl IntoIterator<Item = &'h HeaderName>) -> Self {
        self.protected.extend(names.into_iter().cloned());
        self
    }

    /// Returns whether `name` equals a protected name when folded; see [`fold_name`].
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

pub(crate) fn is_default_method(method: &Method) -> bool {
    DEFAULT_METHODS.contains(method)
}

/// Returns `name` as the most lenient upstream reads it (S080): in lower case, with `-` for every symbol. CGI, WSGI and PHP read
/// `X_Api_Key` and `X-Api-Key` as one variable, and lighttpd reads `X.Api.Key` as that variable too.
pub fn fold_name(name: &str) -> Cow<'_, str> {
    if has_symbol(name) || name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.bytes().map(|byte| char::from(fold(byte))).collect())
    } else {
        Cow::Borrowed(name)
    }
}

fn folds_to(name: &str, other: &str) -> bool {
    name.bytes().map(fold).eq(other.bytes().map(fold))
}

const fn fold(byte: u8) -> u8 {
    if SYMBOL[byte as usize] {
        b'-'
    } else {
        byte.to_ascii_lowercase()
    }
}

/// Returns whether a symbol other than `-` is in `name`. Without an early exit, because every name of every request is checked.
fn has_symbol(name: &str) -> bool {
    name.bytes().fold(false, |any, byte| any | SYMBOL[usize::from(byte)])
}

/// Indexed by byte: `true` for all but letters, digits and `-`.
const SYMBOL: [bool; 256] = {
    let mut table = [true; 256];
    let mut byte: u8 = 0;
    while byte < 0x80 {
        table[byte as usize] = !byte.is_ascii_alphanumeric() && byte != b'-';
        byte += 1;
    }
    table
};
