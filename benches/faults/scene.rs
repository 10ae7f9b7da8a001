//! How does one run go: endpoints, a proxy, load, and in the middle of it a fault?

use crate::authority::Certificates;
use crate::authority::NAME;
use crate::endpoint::Behaviour;
use crate::endpoint::Endpoint;
use crate::endpoint::pause;
use crate::fault::Fault;
use crate::load::Load;
use crate::load::Row;
use crate::name_server::NameServer;
use crate::proxies::Proxy;
use crate::proxies::Target;
use crate::witness::Witness;
use crate::witness::is_served;
use rustix::process::Signal;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

/// The time that a run goes on after the fault.
const AFTERWARDS: Duration = Duration::from_secs(6);

/// Plays `fault` in front of `proxy`.
///
/// # Errors
/// The proxy is not installed.
pub fn play(fault: Fault, proxy: Proxy) -> Result<Row, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let certificates = Certificates::make(folder.path());
    let pem = fault.uses_tls().then_some(certificates.right.as_path());
    let addresses = free_addresses(fault.endpoints());
    let mut endpoints: Vec<Endpoint> = addresses.iter().map(|address| Endpoint::start(*address, pem)).collect();
    let names = NameServer::start();
    names.set_addresses(NAME, &addresses.iter().filter_map(ipv4).collect::<Vec<_>>());
    let target = Target {
        fault,
        endpoints: &addresses,
        name_server: names.address(),
        certificates: &certificates,
    };
    let running = proxy.start(folder.path(), &target)?;
    wait_until_served(running.address);
    let load = Load::start(running.address, fault.ends() + AFTERWARDS, folder.path());
    let witness = Witness::start(running.address);
    pause(Fault::begins());
    let began = Instant::now();
    begin(fault, &mut endpoints, &names, &certificates);
    pause(fault.ends() - Fault::begins());
    let ended = Instant::now();
    end(fault, &mut endpoints, &names, &certificates);
    let mut row = load.finish();
    // While all are killed, nobody can serve.
    let serves = if fault == Fault::AllKilled { ended } else { began };
    row.last_failure = witness.finish().map(|last| last.saturating_duration_since(serves));
    Ok(row)
}

fn begin(fault: Fault, endpoints: &mut [Endpoint], names: &NameServer, certificates: &Certificates) {
    let first = &mut endpoints[0];
    match fault {
        Fault::None => {}
        Fault::Killed => first.kill(),
        Fault::Stopped => first.signal(Signal::STOP),
        Fault::ResetMidBody => first.behave(Behaviour::ResetMidBody),
        Fault::Garbage => first.behave(Behaviour::Garbage),
        Fault::AllKilled => endpoints.iter_mut().for_each(Endpoint::kill),
        Fault::NoNameServer => names.set_silent(true),
        Fault::WrongName => restart(first, Some(&certificates.wrong)),
        Fault::Slow => first.behave(Behaviour::Slow),
    }
}

fn end(fault: Fault, endpoints: &mut [Endpoint], names: &NameServer, certificates: &Certificates) {
    let first = &mut endpoints[0];
    match fault {
        Fault::None => {}
        Fault::Killed => restart(first, None),
        Fault::Stopped => first.signal(Signal::CONT),
        Fault::ResetMidBody | Fault::Garbage | Fault::Slow => first.behave(Behaviour::Well),
        Fault::AllKilled => endpoints.iter_mut().for_each(|endpoint| restart(endpoint, None)),
        Fault::NoNameServer => names.set_silent(false),
        Fault::WrongName => restart(first, Some(&certificates.right)),
    }
}

/// Starts the endpoint anew at its address.
fn restart(endpoint: &mut Endpoint, pem: Option<&Path>) {
    let address = endpoint.address();
    if endpoint.is_running() {
        endpoint.kill();
    }
    *endpoint = Endpoint::start(address, pem);
}

/// Returns addresses of 127.0.0.0/8 with one port, which is free on all of them.
fn free_addresses(count: u8) -> Vec<SocketAddr> {
    let ip = |index: u8| IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2 + index));
    loop {
        let first = TcpListener::bind((ip(0), 0)).expect("a port");
        let port = first.local_addr().expect("an address").port();
        let all: Vec<SocketAddr> = (0..count).map(|index| SocketAddr::new(ip(index), port)).collect();
        let others: Result<Vec<TcpListener>, _> = all[1..].iter().map(TcpListener::bind).collect();
        if others.is_ok() {
            return all;
        }
    }
}

fn ipv4(address: &SocketAddr) -> Option<Ipv4Addr> {
    match address.ip() {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    }
}

/// Waits until the proxy has served some requests in a row: its first checks have passed.
fn wait_until_served(address: SocketAddr) {
    let begun = Instant::now();
    let mut in_a_row = 0;
    while in_a_row < 20 {
        in_a_row = if is_served(address) { in_a_row + 1 } else { 0 };
        assert!(begun.elapsed() < Duration::from_secs(30), "nothing is served");
        pause(Duration::from_millis(50));
    }
}
