//! Fuzz target: does any input break an invariant of `tests/it/invariants/credential.rs`?
#![no_main]

#[path = "../../it/invariants/mod.rs"]
#[allow(dead_code)]
mod invariants;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| invariants::credential::check(bytes));
