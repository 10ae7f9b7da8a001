//! What is kept of an API key, and what may become of it?

use crate::model::api_key::KeyDigest;
use crate::model::api_key::KeyEnvironment;
use crate::model::api_key::KeyId;
use crate::model::clock::Timestamp;
use crate::model::directory::KeyOrigin;
use crate::model::id::SubscriptionId;
use crate::model::names::Name;
use crate::model::scope::ScopeSet;
use crate::store::record::text;
use ipnet::IpNet;
use serde::Deserialize;
use serde::Serialize;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKeyRecord {
    #[serde(with = "text")]
    pub id: KeyId,
    #[serde(with = "text::digest")]
    pub digest: KeyDigest,
    #[serde(with = "text")]
    pub origin: KeyOrigin,
    #[serde(with = "text")]
    pub environment: KeyEnvironment,
    pub name: String,
    #[serde(with = "text")]
    pub organization: Name,
    #[serde(with = "text")]
    pub subscription: SubscriptionId,
    #[serde(with = "text")]
    pub scopes: ScopeSet,
    /// Where it may be used from; everywhere when empty.
    #[serde(with = "text::list")]
    pub addresses: Vec<IpNet>,
    #[serde(with = "text::millis")]
    pub created_at: Timestamp,
    /// The first instant at which it is refused; `None` for never.
    #[serde(with = "text::optional_millis")]
    pub expires_at: Option<Timestamp>,
    /// The first instant at which it is revoked; in the future while a grace runs that was asked for.
    #[serde(with = "text::optional_millis")]
    pub revoked_at: Option<Timestamp>,
    /// The key that was made in its place.
    #[serde(with = "text::optional")]
    pub replaced_by: Option<KeyId>,
    /// To the minute, written lazily.
    #[serde(with = "text::optional_millis")]
    pub last_used_at: Option<Timestamp>,
}
