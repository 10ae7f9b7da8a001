//! Why did an operation fail? The admin API turns each error into a response.

use crate::control::standing::SubscriptionCheckError;
use crate::model::names::Name;
use crate::model::plan::CredentialKind;
use crate::model::subscription::Standing;
use crate::store::StoreError;
use std::fmt::Display;

/// One validation error of a request, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidationError {
    /// A JSON pointer into the request's body (RFC 6901); empty for the whole body.
    pub pointer: String,
    pub detail: String,
}

/// All validation errors of a request, collected so that the client can correct them at once.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ValidationErrors(Vec<ValidationError>);

impl ValidationErrors {
    pub fn add(&mut self, pointer: &str, detail: impl Display) {
        self.0.push(ValidationError {
            pointer: pointer.to_owned(),
            detail: detail.to_string(),
        });
    }

    /// Returns the value of `read`, or records its error and returns `None`.
    pub fn take<T, E: Display>(&mut self, pointer: &str, read: Result<T, E>) -> Option<T> {
        read.map_err(|error| self.add(pointer, error)).ok()
    }

    /// Runs `read` and returns its value.
    ///
    /// # Errors
    /// [`RegistryError::Invalid`] with all errors that `read` recorded.
    pub fn collect<T>(read: impl FnOnce(&mut Self) -> Option<T>) -> Result<T, RegistryError> {
        Self::collect_as(RegistryError::Invalid, read)
    }

    /// Runs `read` and returns its value.
    ///
    /// # Errors
    /// `error` of all errors that `read` recorded.
    pub fn collect_as<T>(
        error: fn(Self) -> RegistryError,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Result<T, RegistryError> {
        let mut errors = Self::default();
        match read(&mut errors) {
            Some(value) if errors.0.is_empty() => Ok(value),
            Some(_) | None => Err(error(errors)),
        }
    }

    /// Returns one error.
    pub fn one(pointer: &str, detail: impl Display) -> Self {
        let mut errors = Self::default();
        errors.add(pointer, detail);
        errors
    }

    pub fn as_slice(&self) -> &[ValidationError] {
        &self.0
    }
}

/// Why an operation failed. Nothing was changed, with one exception: after
/// [`RegistryError::Store`] the first of several steps may be in force (a backup, a
/// key rotation, a cancellation), or the revocation log may lack a change in force.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Also for records of another organization.
    #[error("there is no {0} of this id")]
    NotFound(&'static str),
    /// Only operators may do this: an organization must not approve or pay for its own subscription.
    #[error("only operators may do this: clients of the organization `operators`, `admin.token`, and the command line")]
    OperatorsOnly,
    /// A record would be created in another organization.
    #[error("this organization is not yours")]
    OtherOrganization,
    #[error("the request is not valid")]
    Invalid(ValidationErrors),
    /// The body names a record or a plan that is not there, or leaves open which one is meant.
    #[error("the request names what is not there")]
    UnresolvedReference(ValidationErrors),
    /// The body asks for something that the plan does not give.
    #[error("the plan does not give this")]
    BeyondPlan(ValidationErrors),
    /// The subscription allows no credentials of this environment, temporarily or for good.
    #[error("{}", SubscriptionCheckError::Standing(*.0))]
    Standing(Standing),
    #[error("plan `{plan}` gives no {kind} credentials; it gives {}", words(.allowed))]
    NotInPlan {
        kind: CredentialKind,
        plan: Name,
        allowed: Vec<CredentialKind>,
    },
    #[error("the subscription has {max} API keys already, which is all that its plan gives; revoke or regenerate one")]
    KeySlotsFull { max: u32 },
    #[error("there is a {0} of this id already")]
    Exists(&'static str),
    /// The record's state does not allow the operation. `word` is stable, and ends the problem's type.
    #[error("{detail}")]
    StateConflict { word: &'static str, detail: String },
    /// The idempotency key was used for another request.
    #[error("this Idempotency-Key was used for another request; use a new one for a new request")]
    IdempotencyKeyReused,
    #[error("it was changed since the revision in If-Match; read it again")]
    PreconditionFailed,
    #[error("no such file can be written here: {0}")]
    File(String),
    /// The signing keys cannot be read or written.
    #[error("the signing keys cannot be changed: {0}")]
    SigningKeys(String),
    #[error("{0}")]
    NoTokenEndpoint(&'static str),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RegistryError {
    /// Returns [`Self::Invalid`] with one mistake.
    pub fn invalid(pointer: &str, detail: impl Display) -> Self {
        Self::Invalid(ValidationErrors::one(pointer, detail))
    }

    /// Returns [`Self::UnresolvedReference`] at one place.
    pub fn unresolved(pointer: &str, detail: impl Display) -> Self {
        Self::UnresolvedReference(ValidationErrors::one(pointer, detail))
    }

    /// Returns [`Self::BeyondPlan`] at one place.
    pub fn beyond_plan(pointer: &str, detail: impl Display) -> Self {
        Self::BeyondPlan(ValidationErrors::one(pointer, detail))
    }

    /// Returns [`Self::StateConflict`].
    pub fn state_conflict(word: &'static str, detail: impl Display) -> Self {
        let detail = detail.to_string();
        Self::StateConflict { word, detail }
    }
}

/// Returns a list of the kinds, for a message.
fn words(kinds: &[CredentialKind]) -> String {
    let words: Vec<String> = kinds.iter().map(|kind| format!("`{kind}`")).collect();
    if words.is_empty() {
        "none at all".to_owned()
    } else {
        words.join(", ")
    }
}
