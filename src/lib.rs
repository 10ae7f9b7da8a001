//! Keygate: a reverse proxy that lets a request through to an API only when it carries exactly one good credential.
//!
//! Two sides, two immutable values between them, one function that decides. The *data side* ([`gate`] decides, [`proxy`] carries) reads a
//! `Snapshot` (compiled from the configuration file) and a `Directory` (compiled from the keys), and `decide` runs the
//! stages in order: accept → intake → authenticate → authorize → limit → forward → observe. It yields a `Permit`,
//! which nothing else can make, or a `Denial`. The *control side* ([`control`]) answers operators. [`runtime`] builds
//! both values, swaps them in whole, and is where the sides meet.
//!
//! Read `gate/decide.rs` first.
//!
//! Invariants:
//! - Nothing is forwarded without a `Permit`; only `decide` makes one.
//! - Deciding is pure: memory in, answer out, `now` as an argument. What needs I/O comes back as a `Need`.
//! - One request sees one `Snapshot` from start to end.
//! - When Keygate itself cannot tell, the answer is 503, never 401 and never through.
#![forbid(unsafe_code)]
// `expect("why it cannot happen")` says what `unwrap` does not; tests may.
#![warn(clippy::unwrap_used)]

pub mod model;
pub mod jose;
pub mod config;
pub mod observe;
pub mod limit;
pub mod upstream;
pub mod gate;
pub mod fetch;
pub mod proxy;
pub mod store;
pub mod control;
pub mod compare;
pub mod runtime;
pub mod explain;
pub mod cli;
