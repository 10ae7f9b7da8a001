//! Opaque tokens: does the gate introspect them as RFC 7662 says, as seldom as it may, and believe only valid responses?

mod fixture;
mod responses;
mod cache;
mod calls;
mod issuers;
mod authentication;
mod provider;
