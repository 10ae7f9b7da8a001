//! Which name servers are asked for the names of an upstream's endpoints?

use crate::config::check::Checker;
use crate::config::endpoint::Endpoint;
use crate::config::read::FromText;
use crate::config::read::Texts;
use crate::config::text::mismatch;
use crate::config::tree::NodeId;
use std::net::IpAddr;
use std::net::SocketAddr;

/// The port of DNS without another one (RFC 1035 section 4.2).
const DNS_PORT: u16 = 53;

/// The address of a name server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct NameServer(SocketAddr);

impl FromText for NameServer {
    const DESCRIPTION: &'static str = "the address of a name server, such as `10.0.0.2` or `127.0.0.1:8600`";
    const PATTERN: &'static str = "[0-9a-fA-F.:\\[\\]]+";

    fn from_text(text: &str) -> Result<Self, String> {
        let with_port = text.parse().ok().filter(|address: &SocketAddr| address.port() != 0);
        let address = with_port.or_else(|| Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, DNS_PORT)));
        address.map(Self).ok_or_else(mismatch::<Self>)
    }
}

/// Returns the name servers; none for those of the system.
pub(in crate::config) fn convert(
    written: Option<Texts<NameServer>>,
    endpoints: &[(Endpoint, NodeId)],
    checker: &mut Checker<'_>,
) -> Box<[SocketAddr]> {
    let Some(written) = written else {
        return Box::default();
    };
    if !endpoints.iter().any(|(endpoint, _)| endpoint.host.name().is_some()) {
        let hint = "name an endpoint by DNS, or remove it";
        checker.error_with(written.at, "no-effect", "no endpoint has a name to look up", hint);
    }
    written.value.into_iter().map(|server| server.take().0).collect()
}
