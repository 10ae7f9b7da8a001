//! May the request use the route: with its connection, and with its principal? If so, the result is an [`Entitlement`].

pub mod client_certificate;
pub mod requirement;
pub mod subscription;

pub use client_certificate::CertificateClearance;
pub use client_certificate::CertificateError;
pub use requirement::Forbidden;
pub use requirement::Requirement;
pub use subscription::Plans;
pub use subscription::SubscriptionError;

use crate::gate::authenticate::Principal;
use http::Method;

/// The proof that a request may use its route. Only this stage makes an entitlement.
#[derive(Clone, Debug)]
pub struct Entitlement {
    principal: Option<Principal>,
}

impl Entitlement {
    /// Returns the principal; `None` on a public route, and where a credential from an issuer in
    /// shadow mode failed authentication.
    pub fn principal(&self) -> Option<&Principal> {
        self.principal.as_ref()
    }
}

/// Returns the entitlement to a public route, which needs no credential.
pub fn public(_: CertificateClearance) -> Entitlement {
    Entitlement { principal: None }
}

/// Returns the entitlement of a request that passes in shadow mode although its credential failed authentication. The
/// entitlement has no principal: the request continues as if it had no credential.
pub fn unproved(_: CertificateClearance) -> Entitlement {
    Entitlement { principal: None }
}

/// Checks the rules of a route for `method`. Returns the entitlement, and the refusal by the rules in shadow mode, if
/// any.
///
/// # Errors
/// The refusal by the enforced rules that the principal does not meet.
pub fn authorize(
    _: CertificateClearance,
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
