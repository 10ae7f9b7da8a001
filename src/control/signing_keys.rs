//! Which keys sign access tokens: next, active, retired?

#[derive(Debug, Default)]
pub struct SigningKeys {}
