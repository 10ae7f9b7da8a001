//! Which facts does a decision record, allowed or refused?

use crate::gate::admit::PlanLimits;
use crate::gate::answer::BuiltIn;
use crate::gate::authenticate::CredentialType;
use crate::gate::authenticate::Principal;
use crate::gate::authenticate::introspection::IssuerVerdict;
use crate::gate::snapshot::Route;
use crate::model::names::Name;
use crate::model::subscription::Subscription;
use std::sync::Arc;

/// The facts that a decision has established about one request, for the access record, the metrics and the challenge.
#[derive(Default)]
pub struct Trail {
    pub route: Option<Arc<Route>>,
    /// The path of the gate's own that the request is for, in place of a route.
    pub built_in: Option<Arc<BuiltIn>>,
    pub principal: Option<Principal>,
    /// The subscription that admits the principal.
    pub subscription: Option<Arc<Subscription>>,
    /// The limits of the subscription's plan.
    pub plan_limits: Option<Arc<PlanLimits>>,
    /// The type of the credential. Set before the credential is validated, and corrected afterwards.
    pub credential_type: Option<CredentialType>,
    /// The first refusal that shadow mode suppressed.
    pub would_deny: Option<WouldDeny>,
    /// The request has two credentials, and the route reports this in place of a refusal.
    pub reported_two_credentials: bool,
    /// The limit in shadow mode that would have refused.
    pub spent_in_shadow: Option<Name>,
    /// The issuer's verdict about the token, where an earlier decision on this request needed an introspection.
    pub issuer_verdict: Option<IssuerVerdict>,
    /// An earlier decision on this request returned a need of an issuer in shadow mode. The need
    /// was met since, or cannot be met.
    pub(super) need_returned: bool,
}

/// A refusal that shadow mode suppressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WouldDeny {
    /// A word of the closed set of [`crate::gate::denial::Denial::reason`].
    pub reason: &'static str,
    /// The name of the rule, limit or issuer that refuses, where it has a name.
    pub by: Option<Name>,
}

impl Trail {
    /// Records a refusal in shadow mode, unless an earlier refusal was recorded.
    pub(super) fn would_deny(&mut self, reason: &'static str, by: Option<&Name>) {
        self.would_deny.get_or_insert_with(|| WouldDeny {
            reason,
            by: by.cloned(),
        });
    }
}
