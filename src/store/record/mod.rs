//! What the store keeps, and what may become of it: records, and their transitions as pure functions given `now`.

pub mod text;
pub mod organization;
pub mod subscription;
pub mod api_key;
pub mod client;
pub mod token;
pub mod audit;

pub use api_key::ApiKeyRecord;
pub use audit::AuditEvent;
pub use audit::NewAuditEvent;
pub use client::ClientRecord;
pub use organization::OrganizationRecord;
pub use subscription::SubscriptionRecord;
pub use token::OpaqueTokenRecord;
pub use token::RevokedTokenRecord;
