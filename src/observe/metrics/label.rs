//! Which words do the labels of requests and decisions have?

/// `reason` of an allowed request, `credential_type` of a request
/// without a credential, and `route` of a request without a route.
pub(super) const NONE: &str = "none";
/// Stands for a word outside its closed set. Its appearance in a graph is a bug of Keygate.
pub(super) const OTHER: &str = "other";

/// The type of a request's credential, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialLabel {
    None,
    Jwt,
    Opaque,
    ApiKey,
}

impl CredentialLabel {
    pub(super) const ALL: [Self; 4] = [Self::None, Self::Jwt, Self::Opaque, Self::ApiKey];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::None => NONE,
            Self::Jwt => "jwt",
            Self::Opaque => "opaque",
            Self::ApiKey => "api_key",
        }
    }
}

/// The kind of an answer of the gate, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerLabel {
    /// A CORS preflight request of a browser.
    Preflight,
    /// A public document on a path of the gate.
    Document,
    /// A response of the control side, such as the token endpoint; a refusal too.
    Endpoint,
}

impl AnswerLabel {
    pub(super) const ALL: [Self; 3] = [Self::Preflight, Self::Document, Self::Endpoint];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Preflight => "preflight",
            Self::Document => "document",
            Self::Endpoint => "endpoint",
        }
    }
}
