//! Which records does the store have, and how may they change? The changes are pure functions given `now`.

pub mod text;
pub mod kind;
pub mod organization;
pub mod subscription;
pub mod api_key;
pub mod client;
pub mod client_changes;
pub mod token;
pub mod audit;
pub mod limit;

pub use api_key::ApiKeyChange;
pub use api_key::ApiKeyError;
pub use api_key::ApiKeyRecord;
pub use api_key::ApiKeyState;
#[cfg(any(test, feature = "internals"))]
pub use api_key::NewApiKey;
pub use audit::AuditEvent;
pub use audit::NewAuditEvent;
pub use client::ClientRecord;
pub use client_changes::ClientChange;
pub use client_changes::ClientError;
pub use client_changes::IssuedTokens;
#[cfg(any(test, feature = "internals"))]
pub use client_changes::NewClient;
pub use kind::Record;
pub use limit::LimitCounts;
pub use organization::OrganizationError;
pub use organization::OrganizationRecord;
pub use organization::OrganizationState;
pub use subscription::SubscriptionError;
pub use subscription::SubscriptionRecord;
pub use token::OpaqueTokenRecord;
pub use token::RevokedTokenRecord;
