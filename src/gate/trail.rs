//! What does a decision leave behind, however it ended?

use crate::gate::admit::PlanLimits;
use crate::gate::answer::BuiltIn;
use crate::gate::authenticate::CredentialType;
use crate::gate::authenticate::Principal;
use crate::gate::authenticate::introspection::IssuerVerdict;
use crate::gate::snapshot::Route;
use crate::model::names::Name;
use crate::model::subscription::Subscription;
use std::sync::Arc;

/// The facts of one request that a decision has found out: for the access record, the metrics and the challenge.
#[derive(Default)]
pub struct Trail {
    pub route: Option<Arc<Route>>,
    /// The path of the gate's own that was found instead of a route.
    pub built_in: Option<Arc<BuiltIn>>,
    pub principal: Option<Principal>,
    /// The subscription that lets the principal in.
    pub subscription: Option<Arc<Subscription>>,
    /// The limits of its plan.
    pub plan_limits: Option<Arc<PlanLimits>>,
    /// The kind of credential that was shown, before it was proved.
    pub credential_type: Option<CredentialType>,
    /// The first thing that would have refused the request, were it not in shadow mode.
    pub would_deny: Option<WouldDeny>,
    /// Two credentials came, and the route reports that in place of refusing it.
    pub reported_two_credentials: bool,
    /// The limit in shadow mode that would have refused.
    pub spent_in_shadow: Option<Name>,
    /// What the issuer said that was asked for this request, as a decision before this one needed.
    pub issuer_verdict: Option<IssuerVerdict>,
    /// A need of an issuer in shadow mode was returned before. It has been met since, or cannot be.
    pub(super) need_returned: bool,
}

/// What would have refused a request, were it not in shadow mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WouldDeny {
    /// Of the same closed set as [`crate::gate::denial::Denial::reason`].
    pub reason: &'static str,
    /// The rule, limit or issuer, where it has a name.
    pub by: Option<Name>,
}

impl Trail {
    /// Notes a refusal in shadow mode; the first one stays.
    pub(super) fn would_deny(&mut self, reason: &'static str, by: Option<&Name>) {
        self.would_deny.get_or_insert_with(|| WouldDeny {
            reason,
            by: by.cloned(),
        });
    }
}
