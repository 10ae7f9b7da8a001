//! Which facts does a decision record, allowed or refused?

use crate::gate::admit::PlanLimits;
use crate::gate::answer::BuiltIn;
use crate::gate::answer::refusal::Scheme;
use crate::gate::authenticate::CredentialType;
use crate::gate::authenticate::Identity;
use crate::gate::authenticate::Principal;
use crate::gate::authenticate::introspection::IssuerVerdict;
use crate::gate::snapshot::Route;
use crate::model::names::Name;
use crate::model::subscription::Subscription;
use std::sync::Arc;

/// The facts that a decision has established about one request, for the access record, the metrics and the challenge.
#[derive(Default)]
pub struct DecisionTrace {
    pub route: Option<Arc<Route>>,
    /// The built-in path that the request matches; `route` is then `None`.
    pub built_in: Option<Arc<BuiltIn>>,
    /// The identity that the credential proved, whether it was refused afterwards or not.
    pub owner: Option<CredentialOwner>,
    /// The subscription of the credential, in force.
    pub subscription: Option<Arc<Subscription>>,
    /// The limits of the subscription's plan.
    pub plan_limits: Option<Arc<PlanLimits>>,
    /// The type of the credential: guessed from its form at first, then corrected by authentication.
    pub credential_type: Option<CredentialType>,
    /// The credential is an API key in `Authorization: Bearer`.
    pub is_bearer_key: bool,
    /// The first refusal that shadow mode, or `two_credentials: report`, suppressed.
    pub would_deny: Option<WouldDeny>,
    /// The request has two credentials, and its route has `two_credentials: report`.
    pub reported_two_credentials: bool,
    /// The limit in shadow mode that would have refused the request.
    pub spent_in_shadow: Option<Name>,
    /// The issuer's verdict about the token, where an earlier decision on this request returned a need to introspect.
    // Boxed, because few requests have one, and an exchange without it fits into the allocator's fast path, 1 KiB.
    pub issuer_verdict: Option<Box<IssuerVerdict>>,
    /// An earlier decision on this request returned a need for an issuer in shadow mode. A second need is not returned:
    /// the request then passes in shadow mode.
    pub(super) need_returned: bool,
}

/// The identity that a credential proved.
// One value for both cases: an exchange with two would not fit into the allocator's fast path, 1 KiB.
#[derive(Debug)]
pub enum CredentialOwner {
    /// The credential is valid.
    Principal(Principal),
    /// The credential was refused although its secret or its signature is right. It admits nothing; the access record names its
    /// owner.
    Refused(Arc<Identity>),
}

/// A refusal that was recorded, but did not stop the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WouldDeny {
    /// A word of the closed set of [`crate::gate::denial::Denial::reason`].
    pub reason: &'static str,
    /// The name of the rule, limit or issuer that would have refused; `None` for a rule without a name and for two
    /// credentials.
    pub by: Option<Name>,
}

impl DecisionTrace {
    /// Returns the principal; `None` before authentication has succeeded.
    pub const fn principal(&self) -> Option<&Principal> {
        match &self.owner {
            Some(CredentialOwner::Principal(principal)) => Some(principal),
            Some(CredentialOwner::Refused(_)) | None => None,
        }
    }

    /// Returns the identity that the credential proved, also where it was refused. For the access record.
    pub fn identity(&self) -> Option<&Identity> {
        match &self.owner {
            Some(CredentialOwner::Principal(principal)) => Some(principal.identity()),
            Some(CredentialOwner::Refused(identity)) => Some(identity),
            None => None,
        }
    }

    /// Returns the scheme of the credential; `None` where none was read.
    pub fn scheme(&self) -> Option<Scheme> {
        self.credential_type.map(|credential_type| match credential_type {
            CredentialType::Jwt | CredentialType::Opaque => Scheme::Bearer,
            CredentialType::ApiKey if self.is_bearer_key => Scheme::Bearer,
            CredentialType::ApiKey => Scheme::ApiKey,
        })
    }

    /// Records a suppressed refusal, unless an earlier one was recorded.
    pub(super) fn would_deny(&mut self, reason: &'static str, by: Option<&Name>) {
        self.would_deny.get_or_insert_with(|| WouldDeny {
            reason,
            by: by.cloned(),
        });
    }
}
