//! How is an organization, the holder of subscriptions, stored?

use crate::model::clock::Timestamp;
use crate::model::names::Name;
use crate::store::record::text;
use serde::Deserialize;
use serde::Serialize;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrganizationRecord {
    /// Used in the path `/t/{organization}/oauth/token` and in the claim `org`.
    #[serde(with = "text")]
    pub id: Name,
    /// The name for people.
    pub name: String,
    #[serde(with = "text::millis")]
    pub created_at: Timestamp,
}
