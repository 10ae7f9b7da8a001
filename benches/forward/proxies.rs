//! Which proxy is between the client and the upstream, and how does it start?

use crate::gate::Gate;
use crate::gate::Records;
use crate::gate::Setup;
use crate::peers::Addresses;
use crate::peers::Checks;
use crate::peers::envoy;
use crate::peers::envoy::Envoy;
use crate::peers::haproxy;
use crate::peers::haproxy::HaProxy;
use crate::peers::nginx;
use crate::peers::nginx::Nginx;
use crate::process::Process;
use crate::process::ProcessLauncher;
use crate::rows::BenchInputs;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;

/// A proxy, started once for all of its rows. Variants with `New` are for rows in which every token is new: the tokens
/// would evict the cached tokens of other rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// The upstream itself.
    Direct,
    Bare,
    Tuned,
    Keygate,
    KeygateNew,
    /// With 10 more routes.
    Keygate10,
    /// With 10 000 more routes.
    Keygate10000,
    /// With access records in a file.
    KeygateLog,
    Nginx,
    Haproxy,
    Envoy,
    EnvoyNew,
}

impl Proxy {
    /// All proxies, in the order of their start.
    pub const ALL: [Self; 12] = [
        Self::Direct,
        Self::Bare,
        Self::Tuned,
        Self::Keygate,
        Self::KeygateNew,
        Self::Keygate10,
        Self::Keygate10000,
        Self::KeygateLog,
        Self::Nginx,
        Self::Haproxy,
        Self::Envoy,
        Self::EnvoyNew,
    ];

    /// Returns whether `cargo test --benches` starts the proxy: not if other software is necessary, or if the start
    /// takes long without optimization.
    pub fn is_tested(self) -> bool {
        match self {
            Self::Direct
            | Self::Bare
            | Self::Tuned
            | Self::Keygate
            | Self::KeygateNew
            | Self::Keygate10
            | Self::KeygateLog => true,
            Self::Keygate10000 | Self::Nginx | Self::Haproxy | Self::Envoy | Self::EnvoyNew => false,
        }
    }
}

/// A running proxy. Dropping it ends the proxy.
pub enum RunningProxy {
    Direct(SocketAddr),
    Bare(Process),
    Keygate(Gate),
    Nginx(Nginx),
    HaProxy(HaProxy),
    Envoy(Envoy),
}

impl RunningProxy {
    /// Starts a proxy.
    ///
    /// # Errors
    /// If the program of the proxy is missing. The message says how to install it.
    pub fn start(
        proxy: Proxy,
        under: &ProcessLauncher,
        upstream: SocketAddr,
        material: &BenchInputs,
    ) -> Result<Self, String> {
        let trusted = material.peer_config(upstream);
        let keygate = |setup| Self::Keygate(Gate::start(under, &trusted, &setup));
        let role = upstream.to_string();
        match proxy {
            Proxy::Direct => Ok(Self::Direct(upstream)),
            Proxy::Bare => {
                let program = std::env::current_exe().expect("this program has a path");
                Ok(Self::Bare(start_bare(under, &program, &["bare", &role])))
            }
            Proxy::Tuned => {
                let program =
                    tuned().ok_or("bare pingora, tuned, is left out: cargo bench --bench 'forward*' builds it")?;
                Ok(Self::Bare(start_bare(under, &program, &["serve", &role])))
            }
            Proxy::Keygate | Proxy::KeygateNew => Ok(keygate(Setup::default())),
            Proxy::Keygate10 => Ok(keygate(Setup {
                routes: 10,
                ..Setup::default()
            })),
            Proxy::Keygate10000 => Ok(keygate(Setup {
                routes: 10_000,
                ..Setup::default()
            })),
            Proxy::KeygateLog => Ok(keygate(Setup {
                records: Records::File,
                ..Setup::default()
            })),
            Proxy::Nginx => nginx::start(under, upstream).map(Self::Nginx),
            Proxy::Haproxy => haproxy::start(under, &trusted).map(Self::HaProxy),
            Proxy::Envoy | Proxy::EnvoyNew => envoy::start(under, &trusted).map(Self::Envoy),
        }
    }

    /// Returns the proxy's process; `None` for [`Proxy::Direct`].
    pub fn process(&self) -> Option<&Process> {
        match self {
            Self::Direct(_) => None,
            Self::Bare(process) => Some(process),
            Self::Keygate(gate) => Some(&gate.process),
            Self::Nginx(nginx) => Some(&nginx.process),
            Self::HaProxy(haproxy) => Some(&haproxy.process),
            Self::Envoy(envoy) => Some(&envoy.process),
        }
    }

    pub fn address(&self, checks: Checks) -> SocketAddr {
        let one_of = |addresses: &Addresses| addresses[checks as usize];
        match self {
            Self::Direct(upstream) => *upstream,
            Self::Bare(process) => process.address(),
            Self::Keygate(gate) => gate.process.address(),
            Self::Nginx(nginx) => nginx.process.address(),
            Self::HaProxy(haproxy) => one_of(&haproxy.addresses),
            Self::Envoy(envoy) => one_of(&envoy.addresses),
        }
    }
}

fn start_bare(under: &ProcessLauncher, program: &Path, role: &[&str]) -> Process {
    let mut command = under.command(program);
    command.args(role).stdin(Stdio::null()).stdout(Stdio::null());
    Process::start(&mut command, |line| line.strip_prefix("listening on ")?.parse().ok())
}

/// Returns the newest program `forward_tuned` in the folder of this program.
fn tuned() -> Option<PathBuf> {
    let this = std::env::current_exe().ok()?;
    let beside = std::fs::read_dir(this.parent()?).ok()?;
    let programs = beside.flatten().map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("forward_tuned-")) && path.extension().is_none()
    });
    programs.max_by_key(|path| path.metadata().and_then(|meta| meta.modified()).ok())
}
