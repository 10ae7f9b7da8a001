//! Fuzz target: does any input break an invariant of `tests/it/invariants/query.rs`?
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_invariants::query::check(bytes));
