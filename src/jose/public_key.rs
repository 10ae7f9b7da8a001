//! Which public key is in a JWK (RFC 7518 section 6, RFC 8037 section 2) or in DER, and is the key valid?

use crate::jose::base64url;
use crate::jose::pem_file::PublicDer;
use crate::jose::verifier::Verifier;
use crate::model::algorithm::Algorithm;
use aws_lc_rs::digest;
use aws_lc_rs::signature::RsaSubjectPublicKey;
use serde_json::Map;
use serde_json::Value;

/// The numbers of a public key for an [`Algorithm`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// Big-endian without leading zeros. `n` has 2048 to 8192 bits.
    Rsa {
        n: Box<[u8]>,
        e: Box<[u8]>,
    },
    P256 {
        x: [u8; 32],
        y: [u8; 32],
    },
    P384 {
        x: [u8; 48],
        y: [u8; 48],
    },
    Ed25519 {
        x: [u8; 32],
    },
}

/// RFC 7518 section 3.3 forbids smaller keys.
const RSA_BITS_MIN: usize = 2048;
/// The signature library accepts no larger keys. Each verification with a larger key would be expensive.
const RSA_BITS_MAX: usize = 8192;
/// All exponents in practical use fit. A longer exponent makes verification slow.
const RSA_EXPONENT_BYTES_MAX: usize = 4;

/// The SubjectPublicKeyInfo of a fixed-length key is a constant followed by the key (RFC 5480, RFC 8410).
const SPKI_P256: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01, 0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE,
    0x3D, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];
const SPKI_P384: &[u8] = &[
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01, 0x06, 0x05, 0x2B, 0x81, 0x04, 0x00,
    0x22, 0x03, 0x62, 0x00, 0x04,
];
const SPKI_ED25519: &[u8] = &[0x30, 0x2A, 0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70, 0x03, 0x21, 0x00];
/// OID rsaEncryption (RFC 8017 appendix A.1), as in an AlgorithmIdentifier with NULL parameters.
const RSA_ENCRYPTION: &[u8] = &[
    0x30, 0x0D, 0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01, 0x05, 0x00,
];

impl PublicKey {
    /// Reads `kty` and the members that the key type requires.
    ///
    /// # Errors
    /// The reason, for the operator.
    pub fn from_jwk(jwk: &Map<String, Value>) -> Result<Self, &'static str> {
        match (text(jwk, "kty")?, jwk.get("crv").and_then(Value::as_str)) {
            ("RSA", _) => Self::rsa(&bytes(jwk, "n")?, &bytes(jwk, "e")?),
            ("EC", Some("P-256")) => Self::p256(&bytes(jwk, "x")?, &bytes(jwk, "y")?),
            ("EC", Some("P-384")) => Self::p384(&bytes(jwk, "x")?, &bytes(jwk, "y")?),
            ("OKP", Some("Ed25519")) => Self::ed25519(&bytes(jwk, "x")?),
            ("EC" | "OKP", _) => Err("a curve other than P-256, P-384 and Ed25519"),
            ("oct", _) => Err("a symmetric key"),
            _ => Err("a key type other than RSA, EC and OKP"),
        }
    }

    /// Reads the DER of a public key.
    ///
    /// # Errors
    /// The reason, for the operator.
    pub fn from_der(der: &PublicDer) -> Result<Self, &'static str> {
        match der {
            PublicDer::Pkcs1(der) => Self::rsa_from_der(der),
            PublicDer::Spki(der) => Self::from_spki(der),
        }
    }

    /// Reads a SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// The reason, for the operator.
    pub fn from_spki(der: &[u8]) -> Result<Self, &'static str> {
        if let Some(point) = der.strip_prefix(SPKI_P256) {
            let (x, y) = point.split_at_checked(32).ok_or("a truncated key")?;
            Self::p256(x, y)
        } else if let Some(point) = der.strip_prefix(SPKI_P384) {
            let (x, y) = point.split_at_checked(48).ok_or("a truncated key")?;
            Self::p384(x, y)
        } else if let Some(x) = der.strip_prefix(SPKI_ED25519) {
            Self::ed25519(x)
        } else if names_rsa_encryption(der) {
            Self::rsa_from_der(der)
        } else {
            Err("a key other than RSA, P-256, P-384 and Ed25519")
        }
    }

    fn rsa_from_der(der: &[u8]) -> Result<Self, &'static str> {
        let key = RsaSubjectPublicKey::from_der(der).map_err(|_| "not a usable RSA key")?;
        Self::rsa(
            key.modulus().big_endian_without_leading_zero(),
            key.exponent().big_endian_without_leading_zero(),
        )
    }

    fn rsa(n: &[u8], e: &[u8]) -> Result<Self, &'static str> {
        // Some libraries prepend a zero byte, although RFC 7518 section 6.3.1.1 forbids that. The number is the same.
        let (n, e) = (without_leading_zeros(n), without_leading_zeros(e));
        let bits = n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize);
        if bits < RSA_BITS_MIN {
            return Err("an RSA key below 2048 bits");
        }
        if bits > RSA_BITS_MAX {
            return Err("an RSA key above 8192 bits");
        }
        if n.last().is_none_or(|last| last % 2 == 0) {
            return Err("an RSA key with an even modulus");
        }
        if e.len() > RSA_EXPONENT_BYTES_MAX || e == [1] || e.last().is_none_or(|last| last % 2 == 0) {
            return Err("an RSA key whose exponent is not an odd number from 3 to 2^32");
        }
        let (n, e) = (n.into(), e.into());
        Self::Rsa { n, e }.check("not a usable RSA key")
    }

    fn p256(x: &[u8], y: &[u8]) -> Result<Self, &'static str> {
        // RFC 7518 section 6.2.1.2 forbids shorter or longer coordinates.
        let (x, y) = (fixed(x)?, fixed(y)?);
        Self::P256 { x, y }.check("not a point of P-256")
    }

    fn p384(x: &[u8], y: &[u8]) -> Result<Self, &'static str> {
        let (x, y) = (fixed(x)?, fixed(y)?);
        Self::P384 { x, y }.check("not a point of P-384")
    }

    fn ed25519(x: &[u8]) -> Result<Self, &'static str> {
        Self::Ed25519 { x: fixed(x)? }.check("not an Ed25519 key")
    }

    /// Returns `self` if the signature library accepts the key, otherwise `reason`. Only the library checks that a
    /// point is on its curve.
    fn check(self, reason: &'static str) -> Result<Self, &'static str> {
        match self.verifier(self.algorithms()[0]) {
            Some(_) => Ok(self),
            None => Err(reason),
        }
    }

    /// Returns the algorithms that fit the key's type; one at least.
    pub const fn algorithms(&self) -> &'static [Algorithm] {
        match self {
            Self::Rsa { .. } => &[
                Algorithm::Rs256,
                Algorithm::Rs384,
                Algorithm::Rs512,
                Algorithm::Ps256,
                Algorithm::Ps384,
                Algorithm::Ps512,
            ],
            Self::P256 { .. } => &[Algorithm::Es256],
            Self::P384 { .. } => &[Algorithm::Es384],
            Self::Ed25519 { .. } => &[Algorithm::EdDsa],
        }
    }

    /// Returns a verifier for this key and `algorithm`; `None` if they do not fit or the library rejects the key.
    pub fn verifier(&self, algorithm: Algorithm) -> Option<Verifier> {
        match (self, algorithm) {
            (Self::Rsa { n, e }, algorithm) => Verifier::rsa(n, e, algorithm),
            (Self::P256 { x, y }, Algorithm::Es256) => Verifier::p256(&point(x, y)),
            (Self::P384 { x, y }, Algorithm::Es384) => Verifier::p384(&point(x, y)),
            (Self::Ed25519 { x }, Algorithm::EdDsa) => Verifier::ed25519(x),
            (Self::P256 { .. } | Self::P384 { .. } | Self::Ed25519 { .. }, _) => None,
        }
    }

    /// Returns the members that RFC 7638 section 3.2 requires (RFC 8037 section 2 for OKP), in its order.
    pub fn to_jwk(&self) -> Map<String, Value> {
        let members: &[(&str, String)] = &match self {
            Self::Rsa { n, e } => vec![
                ("e", base64url::encode(e)),
                ("kty", "RSA".to_owned()),
                ("n", base64url::encode(n)),
            ],
            Self::P256 { x, y } => ec_members("P-256", x, y),
            Self::P384 { x, y } => ec_members("P-384", x, y),
            Self::Ed25519 { x } => vec![
                ("crv", "Ed25519".to_owned()),
                ("kty", "OKP".to_owned()),
                ("x", base64url::encode(x)),
            ],
        };
        members
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Value::String(value.clone())))
            .collect()
    }

    /// Returns the SHA-256 thumbprint in base64url (RFC 7638 section 3).
    pub fn thumbprint(&self) -> String {
        let text = Value::Object(self.to_jwk()).to_string();
        base64url::encode(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
    }
}

/// Returns whether the outer SEQUENCE begins with rsaEncryption. The header of the SEQUENCE has three bytes for small
/// keys and four for others.
fn names_rsa_encryption(spki: &[u8]) -> bool {
    [3, 4]
        .into_iter()
        .any(|start| spki.get(start..).is_some_and(|inner| inner.starts_with(RSA_ENCRYPTION)))
}

fn ec_members(curve: &str, x: &[u8], y: &[u8]) -> Vec<(&'static str, String)> {
    vec![
        ("crv", curve.to_owned()),
        ("kty", "EC".to_owned()),
        ("x", base64url::encode(x)),
        ("y", base64url::encode(y)),
    ]
}

/// Returns an uncompressed point (SEC 1 section 2.3.3).
fn point(x: &[u8], y: &[u8]) -> Vec<u8> {
    [&[0x04], x, y].concat()
}

fn without_leading_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeros..]
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], &'static str> {
    bytes
        .try_into()
        .map_err(|_| "a coordinate of another length than its curve's")
}

fn text<'a>(jwk: &'a Map<String, Value>, name: &str) -> Result<&'a str, &'static str> {
    jwk.get(name)
        .and_then(Value::as_str)
        .ok_or("a member that its key type needs is missing or no string")
}

fn bytes(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, &'static str> {
    base64url::decode(text(jwk, name)?).map_err(|_| "a member that is not base64url without padding")
}
