//! How is a need met that a decision came back with? By waiting for a fetch, or by asking an issuer.

use crate::gate::authenticate::Need;
use crate::gate::authenticate::introspection::IntrospectionOutcome;
use crate::gate::authenticate::introspection::IssuerVerdict;
use crate::gate::authenticate::introspection::Unavailable;

impl Need {
    /// Brings what is needed, within the issuer's bounds. What an issuer said is for the next decision on the same request.
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
