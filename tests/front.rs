//! Runs `it/front` alone.

#[path = "it/support/mod.rs"]
mod support;

#[path = "it/front/mod.rs"]
mod front;
