//! What does the upstream get, signed, about who called? Takes a `Permit`.

use crate::gate::decide::Permit;
use crate::gate::denial::Denial;
use crate::gate::live::Live;
use crate::gate::snapshot::Snapshot;
use crate::model::clock::Timestamp;
use http::HeaderValue;

/// The identity token for what is permitted; `None` where the route wants none.
///
/// # Errors
/// [`Denial::IdentityTokenUnsigned`] when there has to be one and there is none: an upstream that asks for it would
/// refuse the request, and one that does not would let it in without.
pub fn vouch(permit: &Permit, snapshot: &Snapshot, live: &Live, now: Timestamp) -> Result<Option<HeaderValue>, Denial> {
    let (Some(audience), Some(principal)) = (&permit.route().identity_audience, permit.principal()) else {
        return Ok(None);
    };
    let signer = snapshot.signer.as_ref().ok_or(Denial::IdentityTokenUnsigned)?;
    let token = live
        .identity_tokens
        .token(signer, principal.shared_identity(), audience, now);
    token.map(Some).map_err(|_| Denial::IdentityTokenUnsigned)
}
