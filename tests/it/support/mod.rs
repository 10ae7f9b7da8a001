//! Shared parts of the integration tests: HTTP clients, upstreams and issuers, gates to test, and configuration text.

mod admin;
mod api_key;
mod binary;
pub mod browser;
pub mod control;
mod fake_upstream;
pub mod faulty_endpoint;
mod free_address;
mod gateway;
mod http1;
pub mod http2_bridge;
pub mod http2_upstream;
pub mod lane;
mod local_gate;
pub mod name_server;
pub mod output;
mod program;
pub mod issuer;
pub mod raw_http2;
pub mod raw_issuer;
pub mod provider;
pub mod raw_client;
mod refusing_address;
mod running_gate;
mod shell;
pub mod tls_client;
pub mod tls_upstream;
pub mod yaml_bombs;

pub use admin::Admin;
pub use admin::AdminResponse;
pub use api_key::api_key;
pub use api_key::api_key_entry;
pub use api_key::with_other_secret;
pub use binary::Binary;
pub use binary::folder_with;
pub use fake_upstream::FakeUpstream;
pub use fake_upstream::ReceivedRequest;
pub use free_address::free_address;
pub use gateway::GatewayBuilder;
pub use http1::Response;
pub use issuer::TestIssuer;
pub use local_gate::LocalGate;
pub use local_gate::still_clock;
pub use program::Program;
pub use program::ProgramOutput;
pub use program::run_with_input;
pub use provider::Provider;
pub use raw_client::RawClient;
pub use raw_client::get;
pub use raw_issuer::RawIssuer;
pub use refusing_address::RefusingAddress;
pub use running_gate::RunningGate;
pub use running_gate::StartGate;
pub use shell::Shell;

use std::path::PathBuf;
use std::process::Child;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

/// The time after which a wait fails its test. Far longer than any
/// wait needs, so that no test fails because the machine is busy.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `holds` returns `true`.
///
/// # Panics
/// When [`PATIENCE`] ends first; the message contains `what`.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    wait_for(what, || holds().then_some(()));
}

/// Waits until `find` returns a value, and returns the value.
///
/// # Panics
/// When [`PATIENCE`] ends first; the message contains `what`.
#[track_caller]
pub fn wait_for<T>(what: &str, find: impl FnMut() -> Option<T>) -> T {
    poll(PATIENCE, find).unwrap_or_else(|| panic!("never: {what}"))
}

/// Calls `find` until `find` returns a value, and returns the value; `None` when `patience` ends first.
#[expect(clippy::disallowed_methods, reason = "the pause between two polls of a condition")]
pub fn poll<T>(patience: Duration, mut find: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience;
    loop {
        let found = find();
        if found.is_some() || Instant::now() >= deadline {
            return found;
        }
        // Leaves the processor to the program under test.
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sets the flag when dropped, so that threads that loop until the flag is set also end when an assertion fails.
pub struct StopAtEnd<'a>(pub &'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Kills the child process when dropped, so that the process ends also when an assertion fails.
pub struct KillAtEnd(pub Child);

impl Drop for KillAtEnd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns the path of the program under test. `KEYGATE_TEST_BINARY` selects another build, such as a release build.
pub fn program() -> PathBuf {
    std::env::var_os("KEYGATE_TEST_BINARY").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_keygate")), PathBuf::from)
}

/// Returns the folder of the test programs in other languages.
///
/// # Panics
/// When `node_modules` is missing.
#[track_caller]
pub fn clients() -> PathBuf {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients"));
    let installed = folder.join("node_modules").is_dir();
    assert!(
        installed,
        "their packages are missing: run tests/run, or `npm ci` in tests/clients"
    );
    folder
}
