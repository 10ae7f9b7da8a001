//! Who changed what, when, from where? A chain of events, each holding the hash of the one before (S154).

use crate::model::clock::Timestamp;
use crate::model::names::Name;
use crate::store::record::text;
use serde::Deserialize;
use serde::Serialize;
use std::net::IpAddr;

/// A change that is about to be made; the store gives it its place in the chain. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAuditEvent {
    pub at: Timestamp,
    /// Who: a client's id, `admin.token`, `local` (whoever may open the store's files), `gate` (a schedule).
    pub actor: String,
    /// From where; `None` for what did not come over the network.
    pub from: Option<IpAddr>,
    /// What: `client.create`, `api_key.revoke`, …
    pub action: &'static str,
    /// The id of what was changed.
    pub target: String,
    /// Whose it is; `None` for what is the gate's.
    pub organization: Option<Name>,
    /// What else is worth knowing: names, scopes, expiry.
    pub details: serde_json::Value,
}

/// One link of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEvent {
    /// From 1, without gaps.
    pub sequence: u64,
    #[serde(with = "text::millis")]
    pub at: Timestamp,
    pub actor: String,
    pub from: Option<IpAddr>,
    pub action: String,
    pub target: String,
    #[serde(with = "text::optional")]
    pub organization: Option<Name>,
    pub details: serde_json::Value,
    /// Of the event before, hexadecimal; 64 zeros for the first.
    pub previous_hash: String,
    /// SHA-256 over everything above.
    pub hash: String,
}
