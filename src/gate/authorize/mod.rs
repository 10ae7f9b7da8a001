//! Whether that principal may; gives [`Entitlement`].

pub mod requirement;
pub mod subscription;

pub use requirement::Forbidden;
pub use requirement::Requirement;
pub use subscription::Plans;
pub use subscription::SubscriptionError;

use crate::gate::authenticate::Principal;
use http::Method;

/// That a request may use its route. Only this stage makes one.
#[derive(Clone, Debug)]
pub struct Entitlement {
    principal: Option<Principal>,
}

impl Entitlement {
    /// Whoever was proved; `None` on a public route, and where the issuer of a credential that is not good is only tried
    /// out.
    pub fn principal(&self) -> Option<&Principal> {
        self.principal.as_ref()
    }
}

/// A public route asks for nothing and learns nothing.
pub fn public() -> Entitlement {
    Entitlement { principal: None }
}

/// A credential of an issuer in shadow mode that is not good: its request goes on as if it had shown none. Who it says it
/// is from was not proved, so there is no principal.
pub fn unproved() -> Entitlement {
    Entitlement { principal: None }
}

/// Checks the route's rules for `method`. Beside the entitlement comes what a rule in shadow mode would have refused.
///
/// # Errors
/// Which rules do not hold.
pub fn authorize(
    principal: Principal,
    requirement: &Requirement,
    method: &Method,
) -> Result<(Entitlement, Option<Forbidden>), Forbidden> {
    let verdict = requirement.check(principal.identity(), method);
    if let Some(forbidden) = verdict.enforced {
        return Err(forbidden);
    }
    let entitlement = Entitlement {
        principal: Some(principal),
    };
    Ok((entitlement, verdict.shadow))
}
