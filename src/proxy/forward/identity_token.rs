//! How does the upstream learn the principal in signed form?

use crate::gate::decide::Permit;
use crate::gate::denial::Denial;
use crate::gate::live::Live;
use crate::gate::snapshot::Snapshot;
use crate::model::clock::Timestamp;
use http::HeaderValue;

/// Returns the identity token for `permit`; `None` where the route needs none.
///
/// # Errors
/// [`Denial::IdentityTokenUnsigned`] where the route needs a token and none can be signed. An upstream that verifies
/// the token would reject the request, and any other would accept a request without identity.
pub fn for_permit(
    permit: &Permit,
    snapshot: &Snapshot,
    live: &Live,
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
