//! Which bucket does a request use? Bucket keys are hashes with a secret key, so that no client can choose or predict
//! them.

use crate::model::api_key::system_random;
use crate::model::client_address::ClientAddress;
use crate::model::hex;
use crate::model::secret::Secret;
use siphasher::sip128::Hasher128;
use siphasher::sip128::SipHasher13;
use std::hash::Hasher;
use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::sync::OnceLock;

/// The secret key of all bucket keys of this process.
static HASH_KEY: OnceLock<HashKey> = OnceLock::new();

/// A secret key of bucket keys.
pub type HashKey = Secret<[u8; 16]>;

/// Returns the secret key of all bucket keys: that of [`install_hash_key`], otherwise a random one.
pub fn hash_key() -> &'static HashKey {
    HASH_KEY.get_or_init(|| {
        let mut key = Secret::new([0; 16]);
        key.change(|bytes| system_random(bytes));
        key
    })
}

/// Makes `key` the secret key of all bucket keys, so that they are those of an earlier process. Returns `false` if another
/// key is in use already: that key stays.
pub fn install_hash_key(key: HashKey) -> bool {
    *HASH_KEY.get_or_init(|| key.clone()) == key
}

/// Returns a hash of `parts` with the secret [`hash_key`]. The length of each part is hashed too, so that `["ab", "c"]` and
/// `["a", "bc"]` differ.
pub fn bucket_key(parts: &[&str]) -> u128 {
    let mut hasher = SipHasher13::new_with_key(hash_key().expose());
    for part in parts {
        hasher.write_usize(part.len());
        hasher.write(part.as_bytes());
    }
    hasher.finish128().as_u128()
}

/// Returns the source of `ip`: the IPv4 address, or the first address of the IPv6 /64. A /64 is the smallest block that
/// a subscriber gets, so a client gains nothing by changing its address within the block (S110).
pub fn source_of(ip: IpAddr) -> IpAddr {
    // An IPv4-mapped IPv6 address is treated as IPv4; otherwise all of them would share one /64.
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
    }
}

/// Returns the bucket key of the source of `client`; see [`source_of`]. The clients that a proxy does not tell apart share a
/// bucket. It is not the proxy's, whose own requests are counted apart.
pub fn source_key(client: ClientAddress) -> u128 {
    match client {
        ClientAddress::Known(ip) => ip_key(ip),
        ClientAddress::Unknown { proxy } => bucket_key(&["behind", &source_of(proxy).to_string()]),
    }
}

fn ip_key(ip: IpAddr) -> u128 {
    let (family, block) = match source_of(ip) {
        IpAddr::V4(ip) => ("ipv4", u64::from(ip.to_bits())),
        IpAddr::V6(ip) => ("ipv6", (ip.to_bits() >> 64) as u64),
    };
    let mut digits = [0; 16];
    hex::write(&block.to_be_bytes(), &mut digits);
    bucket_key(&[
        family,
        std::str::from_utf8(&digits).expect("hexadecimal digits are ASCII"),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_keys_tell_parts_apart() {
        assert_ne!(bucket_key(&["ab", "c"]), bucket_key(&["a", "bc"]));
        assert_ne!(bucket_key(&["ab"]), bucket_key(&["ab", ""]));
        assert_eq!(bucket_key(&["ab", "c"]), bucket_key(&["ab", "c"]));
    }

    #[test]
    fn s110_a_source_is_an_ipv4_address_or_an_ipv6_64() {
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", true),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
            // The 64 bits that are hashed are the same in both families.
            ("0.0.0.1", "0:0:0:1::", false),
        ] {
            let [one, other]: [IpAddr; 2] = [one.parse().unwrap(), other.parse().unwrap()];
            assert_eq!(source_of(one) == source_of(other), same, "{one} {other}");
            assert_eq!(ip_key(one) == ip_key(other), same, "{one} {other}");
            let [behind_one, behind_other] = [one, other].map(|proxy| source_key(ClientAddress::Unknown { proxy }));
            assert_eq!(behind_one == behind_other, same, "{one} {other}");
            assert_ne!(behind_one, source_key(one.into()), "{one}");
        }
        assert_eq!(
            source_of("2001:db8::1:2:3:4".parse().unwrap()),
            "2001:db8::".parse::<IpAddr>().unwrap()
        );
    }
}
