//! Which addresses can be servers on the public Internet? By the registries of IANA, in every notation.

use ipnet::Ipv4Net;
use ipnet::Ipv6Net;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use url::Host;

/// IPv4 blocks that are not public: the blocks that the IANA special-purpose registry (RFC 6890) does not call globally
/// reachable, multicast, and one address of Azure.
const NOT_PUBLIC_V4: [Ipv4Net; 16] = [
    v4(0, 0, 0, 0, 8),        // this network, RFC 791
    v4(10, 0, 0, 0, 8),       // private, RFC 1918
    v4(100, 64, 0, 0, 10),    // carrier-grade NAT, RFC 6598
    v4(127, 0, 0, 0, 8),      // loopback, RFC 1122
    v4(169, 254, 0, 0, 16),   // link-local and cloud metadata, RFC 3927
    v4(172, 16, 0, 0, 12),    // private, RFC 1918
    v4(192, 0, 0, 0, 24),     // protocol assignments, RFC 6890
    v4(192, 0, 2, 0, 24),     // documentation, RFC 5737
    v4(192, 88, 99, 0, 24),   // 6to4 relays, RFC 7526
    v4(192, 168, 0, 0, 16),   // private, RFC 1918
    v4(198, 18, 0, 0, 15),    // benchmarking, RFC 2544
    v4(198, 51, 100, 0, 24),  // documentation, RFC 5737
    v4(203, 0, 113, 0, 24),   // documentation, RFC 5737
    v4(224, 0, 0, 0, 4),      // multicast, RFC 1112
    v4(240, 0, 0, 0, 4),      // reserved and broadcast, RFC 1112
    v4(168, 63, 129, 16, 32), // Azure platform services, reachable only inside Azure
];

/// Blocks inside 2000::/3 that are not public. IANA assigns global unicast addresses only from 2000::/3; outside it, an
/// address is public only if it embeds a public IPv4 address.
const NOT_PUBLIC_V6: [Ipv6Net; 3] = [
    v6(0x2001, 0, 0, 23),      // protocol assignments, Teredo, benchmarking, ORCHID, RFC 2928
    v6(0x2001, 0x0db8, 0, 32), // documentation, RFC 3849
    v6(0x3fff, 0, 0, 20),      // documentation, RFC 9637
];

const GLOBAL_UNICAST: Ipv6Net = v6(0x2000, 0, 0, 3);
const SIX_TO_FOUR: Ipv6Net = v6(0x2002, 0, 0, 16);
const NAT64: Ipv6Net = v6(0x0064, 0xff9b, 0, 96);

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix_len: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix_len)
}

const fn v6(a: u16, b: u16, c: u16, prefix_len: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), prefix_len)
}

/// Returns whether the address can be a server on the public Internet. An IPv6 address that embeds an IPv4 address
/// (mapped, compatible, 6to4, NAT64) is as public as that IPv4 address, because packets may be delivered there.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !NOT_PUBLIC_V4.iter().any(|block| block.contains(&address)),
        IpAddr::V6(address) => match embedded_v4(address) {
            Some(embedded) => is_public(IpAddr::V4(embedded)),
            None => GLOBAL_UNICAST.contains(&address) && !NOT_PUBLIC_V6.iter().any(|block| block.contains(&address)),
        },
    }
}

fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let octets = address.octets();
    let [.., a, b, c, d] = octets;
    let last = Ipv4Addr::new(a, b, c, d);
    if SIX_TO_FOUR.contains(&address) {
        let [_, _, a, b, c, d, ..] = octets;
        return Some(Ipv4Addr::new(a, b, c, d));
    }
    // `to_ipv4` maps `::` and `::1` to 0.0.0.0 and 0.0.0.1, which are not public.
    address.to_ipv4().or_else(|| NAT64.contains(&address).then_some(last))
}

/// Returns the address that `host` is, unless it is a public one; `None` for a name.
pub fn not_public_literal(host: &Host<&str>) -> Option<IpAddr> {
    let address = match host {
        Host::Domain(_) => return None,
        Host::Ipv4(address) => IpAddr::V4(*address),
        Host::Ipv6(address) => IpAddr::V6(*address),
    };
    (!is_public(address)).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(public: bool, addresses: &str) {
        for text in addresses.split_whitespace() {
            assert_eq!(is_public(text.parse().unwrap()), public, "{text}");
        }
    }

    #[test]
    fn s046_addresses_inside_are_not_public() {
        check(
            false,
            "169.254.169.254 ::1 ::ffff:10.0.0.1 0.0.0.0 100.64.0.1 100.127.255.255",
        );
    }

    #[test]
    fn ipv4_blocks_end_where_their_rfc_says() {
        check(
            false,
            "0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 127.0.0.1 127.255.255.255 169.254.0.0 \
             169.254.255.255 172.16.0.0 172.31.255.255 192.0.0.0 192.0.0.192 192.0.2.1 192.88.99.1 192.168.0.0 \
             192.168.255.255 198.18.0.0 198.19.255.255 198.51.100.7 203.0.113.7 224.0.0.1 239.255.255.255 \
             240.0.0.0 255.255.255.255 168.63.129.16 100.100.100.200",
        );
        check(
            true,
            "1.0.0.0 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 169.253.255.255 \
             169.255.0.0 172.15.255.255 172.32.0.0 191.255.255.255 192.0.1.0 192.0.3.0 192.167.255.255 \
             192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255 8.8.8.8 168.63.129.15 168.63.129.17",
        );
    }

    #[test]
    fn ipv6_is_public_only_in_global_unicast() {
        check(
            false,
            ":: ::1 ::2 100::1 64:ff9b:1::1 fc00::1 fd00:ec2::254 fe80::1 febf::1 fec0::1 ff02::1 ff0e::1 2001::1 \
             2001:2::1 2001:10::1 2001:20::1 2001:1ff:ffff::1 2001:db8::1 3fff::1 3fff:fff::1 4000::1 5f00::1 \
             ::ffff:0:8.8.8.8",
        );
        check(
            true,
            "2000::1 2001:200::1 2606:4700:4700::1111 2a00:1450::1 3ffe::1 3fff:1000::1",
        );
    }

    #[test]
    fn an_embedded_ipv4_address_decides_whether_an_ipv6_address_is_public() {
        check(
            false,
            "::ffff:127.0.0.1 ::ffff:169.254.169.254 ::ffff:0.0.0.0 ::ffff:192.168.0.1 ::10.0.0.1 2002:7f00:1:: \
             2002:a9fe:a9fe::1 2002:a00:1::8.8.8.8 64:ff9b::10.0.0.1 64:ff9b::169.254.169.254",
        );
        check(true, "::ffff:8.8.8.8 ::8.8.8.8 2002:808:808::10.0.0.1 64:ff9b::8.8.8.8");
    }
}
