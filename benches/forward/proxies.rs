//! What is between the client and the upstream, and how is it started?

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
use crate::process::Under;
use crate::rows::Material;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;

/// What is started, once for all of its rows. With `New` behind it: for rows of tokens that are never seen again, which
/// would drive those out that others are to find remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// The upstream itself.
    Direct,
    Bare,
    Tuned,
    Keygate,
    KeygateNew,
    /// With so many routes.
    Keygate10,
    Keygate10000,
    /// Its access records go to a file.
    KeygateLog,
    Nginx,
    Haproxy,
    Envoy,
    EnvoyNew,
}

impl Proxy {
    /// In this order they are started.
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

    /// Whether `cargo test` starts it: Keygate and what it is made of, and not what takes long without optimization.
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

/// A proxy that was started; ends with this.
pub enum RunningPeer {
    Direct(SocketAddr),
    Bare(Process),
    Keygate(Gate),
    Nginx(Nginx),
    HaProxy(HaProxy),
    Envoy(Envoy),
}

impl RunningPeer {
    /// # Errors
    /// It is not there; says how to get it.
    pub fn start(proxy: Proxy, under: &Under, upstream: SocketAddr, material: &Material) -> Result<Self, String> {
        let trusted = material.trusted(upstream);
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

    /// None where there is nothing between client and upstream.
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

fn start_bare(under: &Under, program: &Path, role: &[&str]) -> Process {
    let mut command = under.command(program);
    command.args(role).stdin(Stdio::null()).stdout(Stdio::null());
    Process::start(&mut command, |line| line.strip_prefix("listening on ")?.parse().ok())
}

/// The program beside this one: built with it, newest first.
fn tuned() -> Option<PathBuf> {
    let this = std::env::current_exe().ok()?;
    let beside = std::fs::read_dir(this.parent()?).ok()?;
    let programs = beside.flatten().map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("forward_tuned-")) && path.extension().is_none()
    });
    programs.max_by_key(|path| path.metadata().and_then(|meta| meta.modified()).ok())
}
