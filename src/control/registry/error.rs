//! Why was it not done? For the admin API, which makes an answer of it, and for whoever reads that.

use crate::model::names::Name;
use crate::model::plan::CredentialKind;
use crate::model::subscription::Standing;
use crate::store::StoreError;
use std::fmt::Display;

/// One thing that is wrong with what was asked, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// A JSON pointer into the request's body (RFC 6901), or the name of a query parameter.
    pub pointer: String,
    pub detail: String,
}

/// Everything that is wrong, collected, so that nobody mends one thing at a time.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Mistakes(Vec<Mistake>);

impl Mistakes {
    pub fn add(&mut self, pointer: &str, detail: impl Display) {
        self.0.push(Mistake {
            pointer: pointer.to_owned(),
            detail: detail.to_string(),
        });
    }

    /// The value, or `None` and one mistake more.
    pub fn take<T, E: Display>(&mut self, pointer: &str, read: Result<T, E>) -> Option<T> {
        read.map_err(|error| self.add(pointer, error)).ok()
    }

    /// Returns what `read` makes of a request, or everything that it found wrong with it.
    ///
    /// # Errors
    /// [`RegistryError::Invalid`] where there are mistakes.
    pub fn collect<T>(read: impl FnOnce(&mut Self) -> Option<T>) -> Result<T, RegistryError> {
        let mut mistakes = Self::default();
        match read(&mut mistakes) {
            Some(value) if mistakes.0.is_empty() => Ok(value),
            Some(_) | None => Err(RegistryError::Invalid(mistakes)),
        }
    }

    pub fn as_slice(&self) -> &[Mistake] {
        &self.0
    }
}

/// Why an operation was refused. Nothing was changed, but for [`RegistryError::Store`] of a log that could not be written.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Also what belongs to an organization that the actor has nothing to do with.
    #[error("there is no {0} of this id")]
    NotFound(&'static str),
    /// What only operators may: whoever could approve or pay for their own subscription would need no operator.
    #[error("only operators may do this: clients of the organization `operators`, `admin.token`, and the command line")]
    OperatorsOnly,
    /// Making something in another organization.
    #[error("this organization is not yours")]
    OtherOrganization,
    #[error("the request is not valid")]
    Invalid(Mistakes),
    /// No credentials of this environment under this subscription, for now or for good.
    #[error("{}", standing_detail(*.0))]
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
    /// `word` is stable, and ends the problem's type.
    #[error("{detail}")]
    StateConflict { word: &'static str, detail: String },
    /// The same idempotency key with another request.
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
    Off(&'static str),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RegistryError {
    /// One mistake.
    pub fn invalid(pointer: &str, detail: impl Display) -> Self {
        let mut mistakes = Mistakes::default();
        mistakes.add(pointer, detail);
        Self::Invalid(mistakes)
    }

    /// A state that does not allow it.
    pub fn state_conflict(word: &'static str, detail: impl Display) -> Self {
        let detail = detail.to_string();
        Self::StateConflict { word, detail }
    }
}

fn words(kinds: &[CredentialKind]) -> String {
    let words: Vec<String> = kinds.iter().map(|kind| format!("`{kind}`")).collect();
    if words.is_empty() {
        "none at all".to_owned()
    } else {
        words.join(", ")
    }
}

/// What a developer can do about it.
const fn standing_detail(standing: Standing) -> &'static str {
    match standing {
        Standing::Good => "the subscription is in force",
        Standing::Pending => {
            "the subscription waits for approval; credentials can be made once an operator approves it"
        }
        Standing::ProvisioningFailed => {
            "the subscription could not be set up; credentials can be made once an operator has mended and approved it"
        }
        Standing::Cancelled => "the subscription is cancelled, for good; make another one",
        Standing::PaymentDue => {
            "the subscription is not paid for; until it is, only credentials of the environment `sandbox` can be made"
        }
        Standing::NotReleased => {
            "the plan is not released; until it is, only credentials of the environment `sandbox` can be made"
        }
        Standing::SandboxOnly => {
            "this is a sandbox subscription; only credentials of the environment `sandbox` can be made"
        }
        Standing::PlanGone => {
            "the subscription's plan is not in the configuration any more; put it back or change the plan"
        }
    }
}
