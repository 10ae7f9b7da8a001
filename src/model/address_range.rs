//! How is a range of addresses compared with addresses? In the family that peers have: IPv4 for IPv4-mapped addresses.

use ipnet::IpNet;
use ipnet::Ipv4Net;
use std::net::Ipv6Addr;

/// The length of `::ffff:0:0/96`, which holds the IPv4-mapped addresses (RFC 4291 section 2.5.5.2).
const MAPPED_PREFIX: u8 = 96;

/// Returns the IPv4 range of a range of IPv4-mapped addresses, and any other range unchanged. An address of a peer on a
/// socket for both families is IPv4 once it is canonical, so no peer is in a range of mapped addresses.
pub fn canonical(range: IpNet) -> IpNet {
    let IpNet::V6(mapped) = range else {
        return range;
    };
    let prefix = mapped.prefix_len().checked_sub(MAPPED_PREFIX);
    let address = Ipv6Addr::to_ipv4_mapped(&mapped.addr());
    match (address, prefix) {
        (Some(address), Some(prefix)) => Ipv4Net::new(address, prefix).map_or(range, IpNet::V4),
        (Some(_) | None, _) => range,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_mapped_addresses_is_the_ipv4_range() {
        for (text, expected) in [
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:192.0.2.1/128", "192.0.2.1/32"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("::/95", "::/95"),
            ("::ffff:0:0/97", "0.0.0.0/1"),
            ("::fffe:10.0.0.0/104", "::fffe:a00:0/104"),
            ("fd00::/8", "fd00::/8"),
            ("10.0.0.0/8", "10.0.0.0/8"),
        ] {
            assert_eq!(canonical(text.parse().unwrap()).to_string(), expected, "{text}");
        }
    }
}
