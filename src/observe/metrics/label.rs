//! Which words do the labels of requests and decisions have?

/// `reason` of what was let through, `credential_type` of a request without a credential, and `route` of one without a
/// route.
pub(super) const NONE: &str = "none";
/// Stands for words that are not in the set they should be from. Seen in a graph, it is a mistake of ours.
pub(super) const OTHER: &str = "other";

/// How a request tried to prove itself, as a label.
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

/// What the gate answered itself, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerLabel {
    /// A browser's question whether a page may send a request.
    Preflight,
    /// A public document on a path of the gate's own.
    Document,
    /// An answer of the control side, such as the token endpoint; a refusal too.
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
