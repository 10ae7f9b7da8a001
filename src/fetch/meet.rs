//! How is the [`Need`] of a decision met? By waiting for a fetch of keys, or by introspecting the token.

use crate::gate::authenticate::Need;
use crate::gate::authenticate::introspection::IntrospectionOutcome;
use crate::gate::authenticate::introspection::IssuerVerdict;
use crate::gate::authenticate::introspection::Unavailable;

impl Need {
    /// Waits for a fetch of the missing keys, or introspects the token, within the issuer's time limits. Returns the
    /// verdict on an introspected token, which is an input of the next decision on the same request; otherwise `None`.
    pub async fn meet(self) -> Option<IssuerVerdict> {
        match self {
            Self::Keys { keys, attempt, wait } => {
                keys.wait_for_attempt(attempt, wait).await;
                None
            }
            Self::Introspection { issuer, token } => {
                let outcome: IntrospectionOutcome = match issuer.introspection() {
                    Some(introspection) => introspection.introspect(token).await,
                    None => Err(Unavailable::NoResponse),
                };
                let issuer = issuer.uid();
                Some(IssuerVerdict { issuer, outcome })
            }
        }
    }
}
