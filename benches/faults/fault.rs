//! Which faults are there, and when does each begin and end?

use std::time::Duration;

/// A fault of the first endpoint, unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing happens.
    None,
    /// SIGKILL: connections are refused.
    Killed,
    /// SIGSTOP: connections are taken, and nothing is said.
    Stopped,
    /// The connection is reset in the middle of the response's body.
    ResetMidBody,
    /// Bytes that are no HTTP.
    Garbage,
    /// All endpoints are killed.
    AllKilled,
    /// The name server is silent.
    NoNameServer,
    /// The endpoint's certificate is for another name.
    WrongName,
    /// One of four endpoints takes 300 ms for each request.
    Slow,
}

impl Fault {
    pub const ALL: [Self; 9] = [
        Self::None,
        Self::Killed,
        Self::Stopped,
        Self::ResetMidBody,
        Self::Garbage,
        Self::AllKilled,
        Self::NoNameServer,
        Self::WrongName,
        Self::Slow,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Killed => "killed",
            Self::Stopped => "stopped (SIGSTOP)",
            Self::ResetMidBody => "reset mid-body",
            Self::Garbage => "garbage",
            Self::AllKilled => "all killed",
            Self::NoNameServer => "DNS failing",
            Self::WrongName => "certificate's wrong name",
            Self::Slow => "one slow of four",
        }
    }

    /// Returns the number of endpoints.
    pub fn endpoints(self) -> u8 {
        if self == Self::Slow { 4 } else { 2 }
    }

    pub fn uses_tls(self) -> bool {
        self == Self::WrongName
    }

    pub fn uses_names(self) -> bool {
        self == Self::NoNameServer
    }

    /// Returns when the fault begins, after the first request.
    pub const fn begins() -> Duration {
        Duration::from_secs(4)
    }

    /// Returns when it ends. Names fail for longer: addresses are looked up every ten seconds.
    pub fn ends(self) -> Duration {
        if self.uses_names() {
            Duration::from_secs(20)
        } else {
            Duration::from_secs(8)
        }
    }
}
