//! May a fetch connect to this address? The check applies to the resolved
//! address, so no name can lead to an internal address (S046).

use crate::model::public_address::is_public;
use crate::model::public_address::not_public_literal;
use reqwest::dns::Addrs;
use reqwest::dns::Name;
use reqwest::dns::Resolve;
use reqwest::dns::Resolving;
use std::net::IpAddr;
use std::net::SocketAddr;

/// The addresses that a fetch may connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressPolicy {
    /// Addresses for which [`is_public`] holds.
    PublicOnly,
    /// Any address: the issuer has `allow_private_addresses`, or a proxy makes the connection.
    Any,
}

/// A reason not to connect to a host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("{address} is not a public address, and the issuer does not have `allow_private_addresses`")]
    NotPublic { address: IpAddr },
    #[error("the name `{host}` has no address")]
    NoAddress { host: String },
}

/// Checks a host that is a literal address: the HTTP client does not call [`Resolver`] for it. Accepts every name.
///
/// # Errors
/// If `policy` forbids the address.
pub fn check_literal(host: &url::Host<&str>, policy: AddressPolicy) -> Result<(), AddressError> {
    match (policy, not_public_literal(host)) {
        (AddressPolicy::PublicOnly, Some(address)) => Err(AddressError::NotPublic { address }),
        (AddressPolicy::PublicOnly, None) | (AddressPolicy::Any, _) => Ok(()),
    }
}

/// Returns the `addresses` of `host` that `policy` allows.
///
/// # Errors
/// If `policy` allows none of them, or `addresses` is empty.
pub fn allowed(
    host: &str,
    addresses: impl Iterator<Item = SocketAddr>,
    policy: AddressPolicy,
) -> Result<Vec<SocketAddr>, AddressError> {
    let (allowed, refused): (Vec<_>, Vec<_>) =
        addresses.partition(|address| policy == AddressPolicy::Any || is_public(address.ip()));
    match (allowed.is_empty(), refused.first()) {
        (false, _) => Ok(allowed),
        (true, Some(refused)) => Err(AddressError::NotPublic { address: refused.ip() }),
        (true, None) => Err(AddressError::NoAddress { host: host.to_owned() }),
    }
}

/// Resolves names for the HTTP client. The client connects to the checked
/// addresses: a second look-up could return other addresses (DNS rebinding).
#[derive(Clone, Copy, Debug)]
pub struct Resolver {
    pub policy: AddressPolicy,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = self.policy;
        Box::pin(async move {
            // The client replaces port 0 with the port of the URL.
            let resolved = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let addresses: Addrs = Box::new(allowed(name.as_str(), resolved, policy)?.into_iter());
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_host_is_checked_in_every_notation() {
        for text in [
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://0177.0.0.1/",
            "https://127.1/",
            "https://[::1]/",
            "https://[::ffff:a00:1]/",
            "https://0/",
            "https://169.254.169.254./",
        ] {
            let url: url::Url = text.parse().unwrap();
            let host = url.host().unwrap();
            assert!(
                matches!(
                    check_literal(&host, AddressPolicy::PublicOnly),
                    Err(AddressError::NotPublic { .. })
                ),
                "{text} is {host}"
            );
            assert_eq!(check_literal(&host, AddressPolicy::Any), Ok(()), "{text}");
        }
        let public: url::Url = "https://8.8.8.8/".parse().unwrap();
        assert_eq!(
            check_literal(&public.host().unwrap(), AddressPolicy::PublicOnly),
            Ok(())
        );
    }

    #[test]
    fn only_the_public_addresses_of_a_name_are_dialled() {
        let inside: SocketAddr = "10.0.0.1:0".parse().unwrap();
        let outside: SocketAddr = "8.8.8.8:0".parse().unwrap();
        let of = |addresses: &[SocketAddr], policy| allowed("name", addresses.iter().copied(), policy);
        assert_eq!(of(&[inside, outside], AddressPolicy::PublicOnly), Ok(vec![outside]));
        assert_eq!(of(&[inside, outside], AddressPolicy::Any), Ok(vec![inside, outside]));
        assert_eq!(
            of(&[inside], AddressPolicy::PublicOnly),
            Err(AddressError::NotPublic { address: inside.ip() })
        );
        assert_eq!(
            of(&[], AddressPolicy::Any),
            Err(AddressError::NoAddress {
                host: "name".to_owned()
            })
        );
    }
}
