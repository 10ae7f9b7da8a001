//! Does the request have exactly one reading, and which route is it for?

pub mod syntax;
pub mod head_error;
pub mod authority;
pub mod upgrade;
pub mod client;
pub mod normalize;
pub mod rules;
pub mod fields;
pub mod hygiene;
pub mod hosts;
pub mod inbound;
pub mod matched_field;
mod slot;
pub mod matcher;
pub mod error;
pub mod fault;

pub use error::AcceptError;
pub use fault::ByteFault;
pub use fields::FieldOccurrence;
pub use fields::Fields;
pub use head_error::HeadError;
pub use hosts::Hosts;
pub use inbound::Inbound;
pub use matched_field::AmbiguousField;
pub use matcher::Lookup;
pub use matcher::Matcher;
pub use normalize::Oddities;
pub use rules::AcceptRules;
