//! Which hosts does no listener serve? A TLS listener refuses the handshake for a server name without a certificate.

use crate::config::HostPattern;
use crate::config::Listener;
use crate::config::check::Checker;
use crate::config::parts::Parts;
use crate::config::read::TypedNode;
use crate::config::route::LocatedRoute;
use crate::config::tree::NodeId;
use crate::config::tree::ROOT;
use crate::model::certificate::CertificateName;
use std::net::IpAddr;

/// Warns of the hosts of a route for which no connection is made, or none with the client certificate that the route asks
/// for.
pub(in crate::config) fn warn(located: &LocatedRoute, listeners: &[TypedNode<Listener>], checker: &mut Checker<'_>) {
    if let Some(at) = checker.tree.descend(located.at, &["match", "host"]) {
        for host in &located.route.hosts {
            warn_of_host(at, host, listeners, checker);
        }
    }
    warn_of_certificate_hosts(located, listeners, checker);
}

/// Warns of resources whose metadata nobody can fetch: they are answered at the host of the resource alone.
pub(in crate::config) fn warn_of_resources(parts: &Parts<'_>, checker: &mut Checker<'_>) {
    for resource in parts.resources.values() {
        let host = HostPattern::Exact(resource.url.host().to_owned());
        if let Some(at) = checker
            .tree
            .descend(ROOT, &["resources", resource.name.as_str(), "url"])
        {
            warn_of_host(at, &host, parts.listeners, checker);
        }
    }
}

/// Returns the address that `host` is.
fn address_of(host: &HostPattern) -> Option<IpAddr> {
    match host {
        HostPattern::Exact(host) => host.trim_matches(['[', ']']).parse().ok(),
        HostPattern::Any | HostPattern::Suffix(_) => None,
    }
}

/// Returns whether a listener completes handshakes with clients that want `host`.
fn is_served(host: &HostPattern, listener: &Listener) -> bool {
    match &listener.tls {
        None => true,
        Some(tls) if tls.default.is_some() => true,
        // A client sends no server name for an address (RFC 6066 section 3).
        Some(_) if address_of(host).is_some() => false,
        Some(tls) => {
            let mut names = tls.certificates.iter().flat_map(|certificate| &certificate.names);
            // Files that were not read have no names.
            let read = tls.certificates.iter().all(|certificate| !certificate.chain.is_empty());
            !read
                || names.any(|name| match host {
                    HostPattern::Any => matches!(name, CertificateName::Dns(_) | CertificateName::Wildcard(_)),
                    HostPattern::Exact(host) => name.covers(host),
                    HostPattern::Suffix(parent) => name.to_string().ends_with(&format!(".{parent}")),
                })
        }
    }
}

/// Warns of a host for which every listener refuses the handshake.
fn warn_of_host(at: NodeId, host: &HostPattern, listeners: &[TypedNode<Listener>], checker: &mut Checker<'_>) {
    if listeners.iter().any(|listener| is_served(host, &listener.value)) {
        return;
    }
    let text = match host {
        HostPattern::Any => "*".to_owned(),
        HostPattern::Exact(name) => name.clone(),
        HostPattern::Suffix(parent) => format!("*.{parent}"),
    };
    let (problem, hint) = match address_of(host) {
        Some(_) => (
            format!("a client sends no server name for an address, so no connection is made for `{text}`"),
            "say which certificate of a listener is the `tls.default`, for clients without a server name",
        ),
        None => (
            format!("no certificate of a listener is for `{text}`, so no connection is made for it"),
            "add a certificate for it to `tls.certificates`, or say which is the `tls.default`",
        ),
    };
    checker.warn(at, "host-without-certificate", problem, hint);
}

/// Warns of a required client certificate where no listener that asks for one serves a host of the route.
fn warn_of_certificate_hosts(located: &LocatedRoute, listeners: &[TypedNode<Listener>], checker: &mut Checker<'_>) {
    let asks = |listener: &&TypedNode<Listener>| listener.value.tls.as_ref().is_some_and(|tls| tls.clients.is_some());
    let mut asking = listeners.iter().filter(asks).peekable();
    // `client_certificates::warn_of_unreachable` tells of no such listener at all.
    if located.route.client_certificates.is_empty() || asking.peek().is_none() {
        return;
    }
    let is_reached = |listener: &TypedNode<Listener>| {
        let mut hosts = located.route.hosts.iter();
        hosts.any(|host| is_served(host, &listener.value))
    };
    if !asking.any(is_reached) {
        let at = checker.tree.first_of(located.at, &["client_certificates", "match"]);
        let problem =
            "no listener that asks clients for a certificate serves a host of this route, so every request is refused";
        let hint = "give a listener for these hosts `tls.client_ca`";
        checker.warn(at, "refuses-everybody", problem, hint);
    }
}
