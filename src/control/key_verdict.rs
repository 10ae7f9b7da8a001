//! Is an API key valid now, and what may it still do? The interface of the control side to the gate, which decides.

use crate::model::api_key::KeyId;
use crate::model::scope::ScopeSet;
use crate::model::secret::Secret;
use std::net::IpAddr;
use std::time::Duration;

/// A key as somebody sent it, and what it is to be used for.
pub struct KeyQuestion<'a> {
    pub text: &'a Secret<String>,
    /// The address that used the key; a key with `addresses` is refused without it.
    pub address: Option<IpAddr>,
    /// The address that wrong keys are counted for.
    pub source: IpAddr,
    /// The scopes that the key must have.
    pub scopes: &'a ScopeSet,
}

/// The verdict on a key.
#[derive(Debug)]
pub struct KeyVerdict {
    /// `None` for a valid key, otherwise the word that the gate refuses it with.
    pub reason: Option<&'static str>,
    /// The key, if its text is right; also where it is refused.
    pub key: Option<ProvedKey>,
    /// The state of the plan's limit that is closest to exhaustion, after this use.
    pub limit: Option<LimitLevel>,
}

/// The owner of a text that is right.
#[derive(Debug)]
pub struct ProvedKey {
    /// `None` for a key of `api_keys.file` whose id has another form.
    pub id: Option<KeyId>,
    pub organization: Option<String>,
}

#[derive(Debug)]
pub struct LimitLevel {
    pub name: String,
    /// The number of requests that can be made at once.
    pub requests: u32,
    pub remaining: u32,
    /// The seconds until one more can be made.
    pub reset_secs: u64,
}

/// The refusal of a wrong key from a source that has sent too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyWrongKeys {
    pub retry_after: Duration,
}

/// The verifier of keys. `runtime` implements this trait.
pub trait KeyVerifier: Send + Sync {
    /// Returns the verdict, as of a request with the key that needs these scopes, and spends one request from the limits of
    /// its plan. A key of an organization that `sees` denies is unknown.
    ///
    /// # Errors
    /// The key is wrong, and so were too many from this source before.
    fn verify(
        &self,
        question: &KeyQuestion<'_>,
        sees: &dyn Fn(Option<&str>) -> bool,
    ) -> Result<KeyVerdict, TooManyWrongKeys>;
}
