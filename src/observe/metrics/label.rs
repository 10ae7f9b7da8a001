//! Which values do the labels of requests and decisions have?

/// The `reason` of an allowed request, the `credential_type` of a request without a credential, the `route` of a
/// request without a route, and the `status_class` of a request without a response.
pub(super) const NONE: &str = "none";
/// A value outside its closed set: any further `method`, or a `reason` that is missing in
/// [`crate::observe::metrics::Reasons`], which is a bug.
pub(super) const OTHER: &str = "other";

/// The `status_class` of a request.
pub(super) const STATUS_CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", NONE];

/// Returns the index of a status in [`STATUS_CLASSES`]; `None` is that of a request without a response.
pub(super) const fn status_class(status: Option<u16>) -> usize {
    match status {
        Some(100..=199) => 0,
        Some(200..=299) => 1,
        Some(300..=399) => 2,
        Some(400..=499) => 3,
        Some(500..=599) => 4,
        Some(_) | None => 5,
    }
}

/// The `credential_type` of a request.
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

/// The `reason` of a request that the gate answered itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerLabel {
    /// A CORS preflight request of a browser.
    Preflight,
    /// A public document, such as a key set.
    Document,
    /// A response of the control side, such as that of the token endpoint, also an error.
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
