//! Which address is the client's, when trusted proxies stand in front of Keygate?

use crate::model::client_address::ClientAddress;
use http::HeaderMap;
use http::header::FORWARDED;
use ipnet::IpNet;
use std::net::IpAddr;
use std::net::SocketAddr;

/// Returns the address of the client. A peer that is not a trusted proxy is the client, and so is a trusted proxy that
/// reports no client.
///
/// Behind a trusted proxy, the client has the rightmost address in `X-Forwarded-For` or `Forwarded` (RFC 7239) that is
/// not a trusted proxy's: the client may have written everything to the left of it. If all are trusted proxies', it has
/// the leftmost.
///
/// The address is unknown where an entry that counts is no address, such as `unknown` or `for=_hidden`: the proxy before
/// it has a client and does not say which. It is unknown too where the two fields lead to different addresses: a proxy
/// appends to one of them, and the client may have sent the other. The address of the proxy would be an unsafe guess,
/// because the proxy is inside the network and the client may not be.
pub fn address(headers: &HeaderMap, peer: IpAddr, trusted: &[IpNet]) -> ClientAddress {
    let peer = peer.to_canonical();
    if !is_trusted(peer, trusted) {
        return ClientAddress::Known(peer);
    }
    let by_x = headers
        .contains_key("x-forwarded-for")
        .then(|| rightmost(headers, "x-forwarded-for", parse_node, peer, trusted));
    let by_standard = headers
        .contains_key(FORWARDED)
        .then(|| rightmost(headers, "forwarded", parse_forwarded, peer, trusted));
    let found = match (by_x, by_standard) {
        (None, None) => Some(peer),
        (Some(address), None) | (None, Some(address)) => address,
        (Some(one), Some(other)) => one.filter(|_| one == other),
    };
    found.map_or(ClientAddress::Unknown { proxy: peer }, ClientAddress::Known)
}

pub(crate) fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|range| range.contains(&address))
}

/// Returns the client in the field `name`; `None` where an entry that counts is no address.
fn rightmost(
    headers: &HeaderMap,
    name: &str,
    parse: fn(&str) -> Option<IpAddr>,
    peer: IpAddr,
    trusted: &[IpNet],
) -> Option<IpAddr> {
    let mut nearest = peer;
    for value in headers.get_all(name).iter().rev() {
        // This also splits at a comma inside quotes. Only the client sends one, to the left of the proxies' entries.
        for entry in value.to_str().ok()?.rsplit(',') {
            nearest = parse(entry.trim_matches([' ', '\t']))?;
            if !is_trusted(nearest, trusted) {
                return Some(nearest);
            }
        }
    }
    Some(nearest)
}

/// Returns whether nobody between the client and Keygate could read the request: it came over loopback from end to end,
/// or through a trusted proxy that reports TLS. Where there are several `X-Forwarded-Proto` and `Forwarded` fields,
/// each must report `https` and nothing else.
pub fn is_confidential(headers: &HeaderMap, peer: IpAddr, trusted: &[IpNet]) -> bool {
    let peer = peer.to_canonical();
    if !is_trusted(peer, trusted) {
        return peer.is_loopback();
    }
    let by_x = headers.get_all("x-forwarded-proto").iter().map(|value| {
        let protocols = value
            .to_str()
            .ok()?
            .split(',')
            .map(|word| word.trim_matches([' ', '\t']));
        let mut protocols = protocols.map(is_https);
        Some(protocols.all(|https| https))
    });
    let by_standard = headers.get_all(FORWARDED).iter().map(|value| {
        let elements = value.to_str().ok()?.split(',');
        let protocols = elements.filter_map(|element| {
            element.split(';').find_map(|pair| {
                let (name, value) = pair.trim_matches([' ', '\t']).split_once('=')?;
                name.eq_ignore_ascii_case("proto").then(|| value.trim_matches('"'))
            })
        });
        protocols
            .map(is_https)
            .fold(None, |all, is_https| Some(all.unwrap_or(true) && is_https))
    });
    let mut reports = by_x.chain(by_standard).peekable();
    match reports.peek() {
        Some(_) => reports.all(|https| https == Some(true)),
        // The proxy does not report a protocol, so both the proxy and its client must be on loopback.
        None => {
            let client = address(headers, peer, trusted).known();
            peer.is_loopback() && client.is_some_and(|client| client.is_loopback())
        }
    }
}

fn is_https(word: &str) -> bool {
    word.eq_ignore_ascii_case("https")
}

/// Returns the address of `for=` in `element`. RFC 7239 section 4 allows `for=` once in an element, and empty pairs.
fn parse_forwarded(element: &str) -> Option<IpAddr> {
    let mut found = None;
    let pairs = element.split(';').map(|pair| pair.trim_matches([' ', '\t']));
    for pair in pairs.filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=')?;
        if name.eq_ignore_ascii_case("for") && found.replace(value).is_some() {
            return None;
        }
    }
    let value = found?;
    let unquoted = value.strip_prefix('"').and_then(|inner| inner.strip_suffix('"'));
    parse_node(unquoted.unwrap_or(value))
}

/// Returns the address in `text`, which may have a port, and brackets around an IPv6 address. `None` for obfuscated
/// names and `unknown` (RFC 7239 section 6).
fn parse_node(text: &str) -> Option<IpAddr> {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    let address = text.parse::<IpAddr>().ok();
    let address = address.or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    address.or_else(bracketed).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;
    use http::HeaderValue;

    fn trusted() -> Vec<IpNet> {
        let ranges = ["10.0.0.0/8", "fd00::/8"];
        ranges.iter().map(|range| range.parse().unwrap()).collect()
    }

    fn header_map(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[track_caller]
    fn check(peer: &str, fields: &[(&str, &str)], expected: &str) {
        let expected = ClientAddress::Known(expected.parse().unwrap());
        let found = address(&header_map(fields), peer.parse().unwrap(), &trusted());
        assert_eq!(found, expected, "{peer} {fields:?}");
    }

    /// Checks that the client behind the trusted proxy 10.0.0.1 has no known address.
    #[track_caller]
    fn check_unknown(fields: &[(&str, &str)]) {
        let proxy = "10.0.0.1".parse().unwrap();
        let found = address(&header_map(fields), proxy, &trusted());
        assert_eq!(found, ClientAddress::Unknown { proxy }, "{fields:?}");
    }

    const XFF: &str = "x-forwarded-for";

    #[test]
    fn s082_s110_fields_of_an_untrusted_peer_are_ignored() {
        check(
            "203.0.113.9",
            &[(XFF, "1.1.1.1"), ("forwarded", "for=1.1.1.1")],
            "203.0.113.9",
        );
        check("::ffff:203.0.113.9", &[(XFF, "1.1.1.1")], "203.0.113.9");
        check("::1", &[(XFF, "1.1.1.1")], "::1");
    }

    #[test]
    fn behind_trusted_proxies_the_rightmost_untrusted_address_counts() {
        check("10.0.0.1", &[], "10.0.0.1");
        check("10.0.0.1", &[(XFF, "1.1.1.1")], "1.1.1.1");
        check("::ffff:10.0.0.1", &[(XFF, "1.1.1.1")], "1.1.1.1");
        check("10.0.0.1", &[(XFF, "6.6.6.6, 1.1.1.1")], "1.1.1.1");
        check("10.0.0.1", &[(XFF, "6.6.6.6, 1.1.1.1,10.0.0.2 , 10.0.0.3")], "1.1.1.1");
        check("10.0.0.1", &[(XFF, "6.6.6.6"), (XFF, "1.1.1.1, 10.0.0.2")], "1.1.1.1");
        check("10.0.0.1", &[(XFF, "1.1.1.1"), (XFF, "10.0.0.2")], "1.1.1.1");
        check("10.0.0.1", &[(XFF, "10.0.0.9, 10.0.0.2")], "10.0.0.9");
        check("fd00::1", &[(XFF, "[2001:db8::7]:4711")], "2001:db8::7");
        check("fd00::1", &[(XFF, "1.1.1.1:99")], "1.1.1.1");
        check("fd00::1", &[(XFF, "::ffff:1.1.1.1")], "1.1.1.1");
    }

    #[test]
    fn forwarded_is_read_like_x_forwarded_for() {
        check(
            "10.0.0.1",
            &[("forwarded", "for=6.6.6.6, For=1.1.1.1;proto=https;by=10.0.0.1")],
            "1.1.1.1",
        );
        check(
            "10.0.0.1",
            &[("forwarded", "for=\"[2001:db8::7]:4711\"")],
            "2001:db8::7",
        );
        check("10.0.0.1", &[("forwarded", "for=\"evil, for=1.1.1.1")], "1.1.1.1");
        // Pairs may be empty (RFC 7239 section 4).
        for element in ["for=1.1.1.1;", ";for=1.1.1.1", "for=1.1.1.1;;proto=https"] {
            check("10.0.0.1", &[("forwarded", element)], "1.1.1.1");
        }
    }

    #[test]
    fn s082_s110_a_proxy_that_does_not_name_its_client_is_not_the_client() {
        for bad in [
            "unknown",
            "",
            "_hidden",
            "1.1.1.1, nonsense",
            "1.1.1",
            "1.1.1.1,",
            "caf\u{e9}",
            // The proxy 10.0.0.2 has a client too, and names none.
            "1.1.1.1, x, 10.0.0.2",
            "unknown, 10.0.0.2",
        ] {
            check_unknown(&[(XFF, bad)]);
        }
        for bad in [
            "for=unknown",
            "for=_hidden",
            "for=\"_hidden\"",
            "for=",
            "for",
            "",
            "for=1.1.1.1;x",
            "for=1.1.1.1;for=2.2.2.2",
            "proto=https",
            "for=1.1.1.1, for=unknown",
            "for=1.1.1.1, for=_SEVKISEK, for=10.0.0.2",
        ] {
            check_unknown(&[("forwarded", bad)]);
        }
        // The client wrote what is to the left of a client's address.
        check("10.0.0.1", &[(XFF, "unknown, 1.1.1.1, 10.0.0.2")], "1.1.1.1");
        check("10.0.0.1", &[("forwarded", "for=_hidden, for=1.1.1.1")], "1.1.1.1");
    }

    #[test]
    fn fields_that_disagree_leave_the_address_in_dispute() {
        for forwarded in ["for=2.2.2.2", "for=10.0.0.1", "for=unknown", ""] {
            check_unknown(&[(XFF, "1.1.1.1"), ("forwarded", forwarded)]);
        }
        check_unknown(&[(XFF, "unknown"), ("forwarded", "for=1.1.1.1")]);
        check_unknown(&[(XFF, "unknown"), ("forwarded", "for=unknown")]);
        check("10.0.0.1", &[(XFF, "1.1.1.1"), ("forwarded", "for=1.1.1.1")], "1.1.1.1");
    }

    #[test]
    fn only_tls_or_loopback_from_end_to_end_is_confidential() {
        let check = |peer: &str, fields: &[(&str, &str)], expected: bool| {
            let trusted: Vec<IpNet> = ["10.0.0.0/8", "127.0.0.2/32"]
                .map(|range| range.parse().unwrap())
                .to_vec();
            let found = is_confidential(&header_map(fields), peer.parse().unwrap(), &trusted);
            assert_eq!(found, expected, "{peer} {fields:?}");
        };
        check("127.0.0.1", &[], true);
        check("::1", &[], true);
        check("::ffff:127.0.0.1", &[], true);
        check("192.0.2.1", &[], false);
        // Reports of an untrusted peer are ignored.
        check("192.0.2.1", &[("x-forwarded-proto", "https")], false);
        check("192.0.2.1", &[("forwarded", "proto=https")], false);
        check("10.0.0.1", &[("x-forwarded-proto", "https")], true);
        check("10.0.0.1", &[("x-forwarded-proto", "HTTPS , https")], true);
        check("10.0.0.1", &[("forwarded", "for=192.0.2.1;proto=https")], true);
        check("10.0.0.1", &[("forwarded", "for=192.0.2.1; Proto=\"https\"")], true);
        for fields in [
            &[][..],
            &[("x-forwarded-proto", "http")],
            &[("x-forwarded-proto", "https, http")],
            &[("x-forwarded-proto", "http"), ("x-forwarded-proto", "https")],
            &[("x-forwarded-proto", "https"), ("forwarded", "proto=http")],
            &[("x-forwarded-proto", "https"), ("forwarded", "for=192.0.2.1")],
            &[("x-forwarded-proto", "\u{e9}")],
            &[("x-forwarded-proto", "")],
            &[("forwarded", "for=192.0.2.1")],
            &[("forwarded", "proto=https, proto=http")],
        ] {
            check("10.0.0.1", fields, false);
        }
        // Where a proxy on loopback reports no protocol, the client must be on loopback too.
        check("127.0.0.2", &[], true);
        check("127.0.0.2", &[("x-forwarded-for", "127.0.0.1")], true);
        check("127.0.0.2", &[("x-forwarded-for", "192.0.2.1")], false);
        check("127.0.0.2", &[("x-forwarded-for", "unknown")], false);
        check("127.0.0.2", &[("forwarded", "for=_hidden")], false);
        check(
            "127.0.0.2",
            &[("x-forwarded-for", "127.0.0.1"), ("x-forwarded-proto", "http")],
            false,
        );
    }
}
