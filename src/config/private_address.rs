//! Which URLs of issuers are never connected to, because their host is in a network of one's own?

use crate::config::check::Checker;
use crate::config::tree::NodeId;
use crate::model::public_address::not_public_literal;
use url::Host;
use url::Url;

/// The addresses that the fetches of a section reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Reach {
    Public,
    /// A proxy resolves the names, and an address is still checked.
    ByProxy,
    All,
}

impl Reach {
    pub(in crate::config) fn new(allow_private_addresses: Option<bool>, has_proxy: bool) -> Self {
        match (allow_private_addresses, has_proxy) {
            (Some(true), _) => Self::All,
            (Some(false) | None, true) => Self::ByProxy,
            (Some(false) | None, false) => Self::Public,
        }
    }
}

/// Warns of a URL that no fetch connects to: its host is an address that is not public, or `localhost`.
pub(in crate::config) fn warn_of_private(at: NodeId, url: &Url, reach: Reach, checker: &mut Checker<'_>) {
    let is_private = url.host().is_some_and(|host| match (reach, host) {
        (Reach::All, _) => false,
        (Reach::Public, Host::Domain(name)) => name == "localhost",
        (Reach::ByProxy, Host::Domain(_)) => false,
        (Reach::Public | Reach::ByProxy, literal) => not_public_literal(&literal).is_some(),
    });
    if is_private {
        let problem = checker.with_value(at, "the host is not a public address, so it is never connected to");
        let hint = "for a server in your own network, say `allow_private_addresses: true` beside it";
        checker.warn(at, "private-address", problem, hint);
    }
}
