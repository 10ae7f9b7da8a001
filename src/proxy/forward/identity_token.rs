//! Which signed token tells the upstream the principal?

use crate::gate::decide::Permit;
use crate::gate::denial::Denial;
use crate::gate::live::LiveState;
use crate::gate::snapshot::Snapshot;
use crate::model::clock::Timestamp;
use http::HeaderValue;

/// Returns the identity token for `permit`; `None` if the route sends none or the permit has no principal.
///
/// # Errors
/// [`Denial::IdentityTokenUnsigned`] if the token cannot be signed. Without the token, an upstream that verifies it
/// would reject the request, and any other upstream would accept a request without identity.
pub fn for_permit(
    permit: &Permit,
    snapshot: &Snapshot,
    live: &LiveState,
    now: Timestamp,
) -> Result<Option<HeaderValue>, Denial> {
    let (Some(audience), Some(principal)) = (&permit.route().identity_audience, permit.principal()) else {
        return Ok(None);
    };
    let signer = snapshot.signer.as_ref().ok_or(Denial::IdentityTokenUnsigned)?;
    let token = live
        .identity_tokens
        .token(signer, principal.shared_identity(), audience, now);
    token.map(Some).map_err(|_| Denial::IdentityTokenUnsigned)
}
