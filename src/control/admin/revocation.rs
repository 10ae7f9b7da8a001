//! What is the response to a revocation? The record as stored, or 202 while the store cannot be written.

use crate::control::admin::resource::Resource;
use crate::control::admin::response::AdminResponse;
use crate::control::registry::Registry;
use crate::control::registry::RevocationOutcome;
use crate::store::revocations::Durability;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

/// A revocation that is in force on this gate while its store cannot be written. The store gets it as soon as it can.
#[derive(Serialize, ToSchema)]
pub(super) struct PendingRevocation {
    /// The key, client or subscription that was named.
    #[schema(example = "0123456789abcdef")]
    id: String,
    /// `true`: it is in the log of revocations on the disk, and survives a restart. `false`: only the memory of this gate has
    /// it; a restart before the store can be written would put the credential in force again.
    durable: bool,
    /// The same for people.
    #[schema(
        example = "in force on this gate; the store cannot be written, so it is kept in the log of revocations until then"
    )]
    detail: &'static str,
}

impl AdminResponse {
    /// Returns 200 with the record, or 202 if the store lacks the revocation.
    pub(super) fn revocation<R: Resource>(registry: &Registry, outcome: RevocationOutcome<R>) -> Self {
        match outcome {
            RevocationOutcome::Stored(record) => Self::record(registry, &record),
            RevocationOutcome::Pending { id, durability } => Self {
                status: StatusCode::ACCEPTED,
                ..Self::json(&PendingRevocation {
                    id,
                    durable: durability.survives_restart(),
                    detail: detail(durability),
                })
            },
        }
    }
}

const fn detail(durability: Durability) -> &'static str {
    match durability {
        Durability::Log => {
            "in force on this gate; the store cannot be written, so it is kept in the log of revocations until then"
        }
        Durability::Memory => {
            "in force on this gate, in its memory alone: neither the store nor the log of revocations can be written; do not \
             restart the gate before they can"
        }
    }
}
