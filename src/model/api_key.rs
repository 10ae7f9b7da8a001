//! How is an API key built, and how is its digest made?
//!
//! ```text
//! kg_live_0123456789abcdef_<43 characters of secret><6 characters of checksum>
//! ```
//! For secret scanners, with the default prefix: `\bkg_(live|test)_[0-9A-Za-z]{16}_[0-9A-Za-z]{49}\b`. The
//! last six characters are the CRC-32 (IEEE) of everything before them, in base 62 (digits, upper case,
//! lower case; most significant first). With the checksum a scanner can tell a key from a similar text, and
//! a mistyped key costs no look-up. The checksum protects nothing: only the secret does.

use crate::model::hex;
use crate::model::secret::Secret;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest;
use aws_lc_rs::hmac;
use std::fmt;
use std::str::FromStr;

const ID_CHARS: usize = 16;
/// 62^43 is just above 2^256.
const SECRET_CHARS: usize = 43;
/// 62^6 is above 2^32.
const CHECKSUM_CHARS: usize = 6;
const PREFIX_CHARS_MAX: usize = 16;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Returns whether `text` can be the first part of keys: 1 to 16 lower-case letters or digits, a letter first.
pub fn is_key_prefix(text: &str) -> bool {
    text.len() <= PREFIX_CHARS_MAX
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// The environment of a key. It is part of the key's text, so that nobody mistakes a test key for a live one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApiKeyEnvironment {
    Live,
    Test,
}

impl ApiKeyEnvironment {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
        }
    }
}

impl FromStr for ApiKeyEnvironment {
    type Err = KeyEnvironmentError;

    fn from_str(text: &str) -> Result<Self, KeyEnvironmentError> {
        match text {
            "live" => Ok(Self::Live),
            "test" => Ok(Self::Test),
            _ => Err(KeyEnvironmentError),
        }
    }
}

impl fmt::Display for ApiKeyEnvironment {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an environment is `live` or `test`")]
pub struct KeyEnvironmentError;

/// Returns the length in bytes of a key with this prefix: `<prefix>_<env>_<id>_<secret><check>`.
pub const fn key_text_bytes(prefix: &str) -> usize {
    prefix.len() + "_live_".len() + ID_CHARS + "_".len() + SECRET_CHARS + CHECKSUM_CHARS
}

/// The public part of a key: 16 characters of `[0-9A-Za-z]`. May be logged and shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; ID_CHARS]);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key id is 16 letters or digits")]
pub struct KeyIdError;

impl KeyId {
    /// The ids, as a regular expression without anchors, for the description of the admin API.
    pub const PATTERN: &'static str = "[0-9A-Za-z]{16}";

    /// Returns the id for a key that came from another system without an id. It is a one-way hash of the SHA-256 of the
    /// key's text, so that the id shown in logs reveals nothing about the digest.
    pub fn of_imported(sha256: &CredentialDigest) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"keygate imported key id\0");
        context.update(&sha256.0);
        let hash = context.finish();
        let mut id = [0; ID_CHARS];
        // 256 is not a multiple of 62, so some characters are slightly more frequent. That does not matter for an id.
        for (char, byte) in id.iter_mut().zip(hash.as_ref()) {
            *char = BASE62[usize::from(byte % 62)];
        }
        Self(id)
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("only ASCII letters and digits get in")
    }
}

impl FromStr for KeyId {
    type Err = KeyIdError;

    fn from_str(text: &str) -> Result<Self, KeyIdError> {
        match text.as_bytes().try_into() {
            Ok(id) if is_base62(text) => Ok(Self(id)),
            Ok(_) | Err(_) => Err(KeyIdError),
        }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "KeyId({self})")
    }
}

/// The full text of a key, with its secret. Exists only while the key is made and shown once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeyText {
    text: Secret<String>,
    id: KeyId,
}

impl ApiKeyText {
    /// Returns a new key. `random` fills its argument with random bytes; outside tests it is [`system_random`].
    ///
    /// `prefix` must satisfy [`is_key_prefix`], or the key will not parse back.
    pub fn generate(prefix: &str, environment: ApiKeyEnvironment, random: &mut dyn FnMut(&mut [u8])) -> Self {
        let mut id = [0; ID_CHARS];
        fill_base62(&mut id, random);
        let id = KeyId(id);
        let mut secret = [0; SECRET_CHARS];
        fill_base62(&mut secret, random);
        let secret = Secret::new(secret);
        let mut text = String::with_capacity(key_text_bytes(prefix));
        for part in [prefix, "_", environment.as_str(), "_", id.as_str(), "_"] {
            text.push_str(part);
        }
        text.extend(secret.expose().iter().copied().map(char::from));
        let checksum = checksum_of(&text);
        text.extend(checksum.map(char::from));
        Self {
            text: Secret::new(text),
            id,
        }
    }

    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// Returns the text, to be shown once or digested.
    pub fn expose(&self) -> &str {
        self.text.expose()
    }
}

/// A well-formed key, not yet compared with a digest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ParsedApiKey<'a> {
    pub environment: ApiKeyEnvironment,
    pub id: KeyId,
    /// The full text, to be digested.
    pub text: &'a str,
}

impl fmt::Debug for ParsedApiKey<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "ParsedApiKey({})", self.id)
    }
}

/// Why a text is not an API key of Keygate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeyTextError {
    /// The text does not start with the prefix; it may be an imported key.
    #[error("the text does not start with our prefix and an environment")]
    Foreign,
    #[error("the key is not well-formed")]
    Malformed,
    #[error("the key's checksum is wrong")]
    Checksum,
}

/// Reads the parts of `text` without allocating.
///
/// # Errors
/// [`ApiKeyTextError::Foreign`] unless `text` starts with `<prefix>_live_` or
/// `<prefix>_test_`. A text with such a start must be right in every character.
pub fn parse<'a>(text: &'a str, prefix: &str) -> Result<ParsedApiKey<'a>, ApiKeyTextError> {
    let rest = text
        .strip_prefix(prefix)
        .and_then(|rest| rest.strip_prefix('_'))
        .ok_or(ApiKeyTextError::Foreign)?;
    let (environment, rest) = [ApiKeyEnvironment::Live, ApiKeyEnvironment::Test]
        .into_iter()
        .find_map(|environment| {
            let rest = rest.strip_prefix(environment.as_str())?.strip_prefix('_')?;
            Some((environment, rest))
        })
        .ok_or(ApiKeyTextError::Foreign)?;
    let (id, secret_and_checksum) = rest.split_once('_').ok_or(ApiKeyTextError::Malformed)?;
    let id = id.parse().map_err(|KeyIdError| ApiKeyTextError::Malformed)?;
    if secret_and_checksum.len() != SECRET_CHARS + CHECKSUM_CHARS || !is_base62(secret_and_checksum) {
        return Err(ApiKeyTextError::Malformed);
    }
    let (before_checksum, checksum) = text.split_at(text.len() - CHECKSUM_CHARS);
    if checksum.as_bytes() != checksum_of(before_checksum) {
        return Err(ApiKeyTextError::Checksum);
    }
    Ok(ParsedApiKey { environment, id, text })
}

/// Returns whether `text` begins like a key, well-formed or not.
pub fn has_own_form(text: &str, prefix: &str) -> bool {
    !matches!(parse(text, prefix), Err(ApiKeyTextError::Foreign))
}

/// Reads the parts of a key whose prefix the caller does not know.
///
/// # Errors
/// As for [`parse`].
pub fn parse_any(text: &str) -> Result<ParsedApiKey<'_>, ApiKeyTextError> {
    match text.split_once('_') {
        Some((prefix, _)) if is_key_prefix(prefix) => parse(text, prefix),
        Some(_) | None => Err(ApiKeyTextError::Foreign),
    }
}

/// Fills `bytes` with random bytes of the operating system.
pub fn system_random(bytes: &mut [u8]) {
    aws_lc_rs::rand::fill(bytes).expect("the operating system gives random bytes");
}

fn is_base62(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn checksum_of(text: &str) -> [u8; CHECKSUM_CHARS] {
    let mut rest = crc32fast::hash(text.as_bytes());
    let mut checksum = [0; CHECKSUM_CHARS];
    for char in checksum.iter_mut().rev() {
        *char = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    checksum
}

/// Fills `chars` with random characters of [`BASE62`]. Each is equally probable.
fn fill_base62(chars: &mut [u8], random: &mut dyn FnMut(&mut [u8])) {
    for char in chars {
        let mut byte = [0];
        // 248 is the largest multiple of 62 in a byte; larger values would make the first characters more likely.
        loop {
            random(&mut byte);
            if byte[0] < 248 {
                break;
            }
        }
        *char = BASE62[usize::from(byte[0] % 62)];
    }
}

/// The algorithm of a [`CredentialDigest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DigestScheme {
    /// With a pepper: without it, stolen digests cannot be used to check a guess.
    HmacSha256(PepperFingerprint),
    /// Without a pepper, and for imported keys: an operator makes their digests with `sha256sum`.
    Sha256,
}

/// As it stands before a digest: `sha256`, or `hmac-sha256:` and the fingerprint of the pepper.
impl fmt::Display for DigestScheme {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HmacSha256(pepper) => write!(out, "hmac-sha256:{pepper}"),
            Self::Sha256 => out.write_str("sha256"),
        }
    }
}

/// Eight hexadecimal digits by which peppers are told apart. Too short to confirm a guess of a pepper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PepperFingerprint([u8; 4]);

impl PepperFingerprint {
    /// The text whose HMAC the fingerprint is a part of; no key and no secret looks like it.
    const TEXT: &'static [u8] = b"keygate pepper fingerprint";

    fn of(pepper: &hmac::Key) -> Self {
        let tag = hmac::sign(pepper, Self::TEXT);
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&tag.as_ref()[..4]);
        Self(bytes)
    }
}

impl fmt::Display for PepperFingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

/// A digest of the full text of a key or of another credential. Compared in constant time, never printed by `Debug`.
#[derive(Clone, Copy)]
pub struct CredentialDigest([u8; 32]);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 64 lower-case hexadecimal digits")]
pub struct KeyDigestError;

impl CredentialDigest {
    /// The texts that [`Self::from_hex`] reads, as a regular expression without anchors.
    pub const PATTERN: &'static str = "[0-9a-f]{64}";

    /// A digest of which no text is known. A look-up that finds no key compares
    /// with this one, so that it takes the same time as one that finds a key.
    pub const DUMMY: Self = Self([0; 32]);

    pub fn sha256(text: &str) -> Self {
        Self::sha256_of(text.as_bytes())
    }

    pub fn sha256_of(bytes: &[u8]) -> Self {
        Self::from_slice(digest::digest(&digest::SHA256, bytes).as_ref())
    }

    /// Returns the 64 lower-case hexadecimal digits that the keys file contains.
    pub fn to_hex(self) -> String {
        hex::text(&self.0)
    }

    /// Parses the digits that [`Self::to_hex`] returns.
    ///
    /// # Errors
    /// `text` is not 64 lower-case hexadecimal digits.
    pub fn from_hex(text: &str) -> Result<Self, KeyDigestError> {
        hex::read(text.as_bytes()).map(Self).ok_or(KeyDigestError)
    }

    /// Returns the bytes for a look-up. Where timing matters, compare the found digest in constant time as well.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn from_slice(bytes: &[u8]) -> Self {
        Self(bytes.try_into().expect("SHA-256 gives 32 bytes"))
    }
}

impl PartialEq for CredentialDigest {
    fn eq(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Eq for CredentialDigest {}

impl fmt::Debug for CredentialDigest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("[digest]")
    }
}

/// Makes the digests of Keygate's own keys and client secrets.
#[derive(Debug)]
pub struct Digester(Option<hmac::Key>);

impl Digester {
    /// Returns a digester for HMAC-SHA-256 with the key `pepper`; for SHA-256 where `pepper` is `None`.
    pub fn new(pepper: Option<&Secret<Vec<u8>>>) -> Self {
        Self(pepper.map(|pepper| hmac::Key::new(hmac::HMAC_SHA256, pepper.expose())))
    }

    pub fn scheme(&self) -> DigestScheme {
        match &self.0 {
            Some(pepper) => DigestScheme::HmacSha256(PepperFingerprint::of(pepper)),
            None => DigestScheme::Sha256,
        }
    }

    pub fn digest(&self, text: &str) -> CredentialDigest {
        match &self.0 {
            Some(key) => CredentialDigest::from_slice(hmac::sign(key, text.as_bytes()).as_ref()),
            None => CredentialDigest::sha256(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::directory::ApiKeyOrigin;
    use proptest::prelude::*;

    const KEY: &str = "kg_live_0123456789abcdef_0123456789abcdefghijABCDEFGHIJ0123456789abc";

    fn key() -> String {
        let checksum = checksum_of(KEY);
        format!("{KEY}{}", std::str::from_utf8(&checksum).unwrap())
    }

    #[track_caller]
    fn check(text: &str, expected: Result<(), ApiKeyTextError>) {
        assert_eq!(parse(text, "kg").map(drop), expected, "{text:?}");
    }

    #[test]
    fn the_check_is_the_ieee_crc32_in_base62() {
        // The check value of CRC-32/ISO-HDLC is 0xCBF43926 = 3421780262.
        let digits = checksum_of("123456789");
        let value = digits.iter().fold(0_u64, |sum, char| {
            sum * 62 + BASE62.iter().position(|digit| digit == char).unwrap() as u64
        });
        assert_eq!(value, 0xCBF4_3926);
    }

    #[test]
    fn a_key_is_right_in_every_character_or_refused() {
        let key = key();
        check(&key, Ok(()));
        check(&key[..key.len() - 1], Err(ApiKeyTextError::Malformed));
        check(&format!("{key}0"), Err(ApiKeyTextError::Malformed));
        check(&format!("{key} "), Err(ApiKeyTextError::Malformed));
        check(&key.replace("_0123", "_012"), Err(ApiKeyTextError::Malformed));
        check(&key.replace("cdef_", "cdef-"), Err(ApiKeyTextError::Malformed));
        check(
            &key.replace("_0123456789abcdef_", "_é123456789abcde_"),
            Err(ApiKeyTextError::Malformed),
        );
        check("kg_live_", Err(ApiKeyTextError::Malformed));
        check(&key.replace("_live_", "_test_"), Err(ApiKeyTextError::Checksum));
        check(&key.replace("789abc", "789abd"), Err(ApiKeyTextError::Checksum));
    }

    #[test]
    fn a_text_without_the_prefix_is_foreign() {
        for text in [
            "",
            "kg",
            "kg_",
            "kg_prod_x",
            "KG_live_x",
            "sk_live_x",
            " kg_live_x",
            "kgx_live_x",
        ] {
            check(text, Err(ApiKeyTextError::Foreign));
        }
    }

    #[test]
    fn random_characters_are_evenly_distributed() {
        // Yields every byte once, and bytes that must be rejected among the first.
        let mut next = 240_u8;
        let mut counting = |bytes: &mut [u8]| {
            for byte in bytes {
                *byte = next;
                next = next.wrapping_add(1);
            }
        };
        let mut chars = [0; 248];
        fill_base62(&mut chars, &mut counting);
        for digit in BASE62 {
            assert_eq!(chars.iter().filter(|char| *char == digit).count(), 4);
        }
    }

    #[test]
    fn two_keys_differ_in_id_and_secret() {
        let new = || ApiKeyText::generate("kg", ApiKeyEnvironment::Live, &mut system_random);
        let (first, second) = (new(), new());
        assert_ne!(first.id(), second.id());
        assert_ne!(first.expose()[25..], second.expose()[25..]);
    }

    #[test]
    fn s064_nothing_prints_a_secret_or_a_digest() {
        let key = ApiKeyText::generate("kg", ApiKeyEnvironment::Live, &mut system_random);
        let secret = &key.expose()[25..];
        let digest = Digester::new(None).digest(key.expose());
        let parsed = parse(key.expose(), "kg").unwrap();
        let shown = ApiKeyOrigin::Own.hint("kg", ApiKeyEnvironment::Live, key.id());
        let pepper = Digester::new(Some(&Secret::new(b"pepper pepper".to_vec())));
        for printed in [
            format!("{key:?}"),
            format!("{parsed:?}"),
            format!("{digest:?}"),
            format!("{pepper:?}"),
            shown,
        ] {
            assert!(!printed.contains(secret), "{printed}");
            assert!(!printed.contains(&secret[..8]), "{printed}");
            assert!(!printed.contains(&digest.to_hex()[..8]), "{printed}");
            assert!(!printed.contains("pepper pepper"), "{printed}");
        }
    }

    #[test]
    fn digests_depend_on_the_pepper_and_on_every_character() {
        let digest = |pepper: Option<&str>, text: &str| {
            let pepper = pepper.map(|pepper| Secret::new(pepper.as_bytes().to_vec()));
            Digester::new(pepper.as_ref()).digest(text)
        };
        assert_eq!(digest(Some("a"), "key"), digest(Some("a"), "key"));
        assert_ne!(digest(Some("a"), "key"), digest(Some("b"), "key"));
        assert_ne!(digest(Some("a"), "key"), digest(None, "key"));
        assert_ne!(digest(None, "key"), digest(None, "kex"));
        // FIPS 180-2 appendix B.1, RFC 4231 section 4.3.
        assert_eq!(
            digest(None, "abc").to_hex(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(
            digest(Some("Jefe"), "what do ya want for nothing?").to_hex(),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn a_digest_is_64_lower_case_hexadecimal_digits() {
        let hex = CredentialDigest::sha256("abc").to_hex();
        assert_eq!(CredentialDigest::from_hex(&hex), Ok(CredentialDigest::sha256("abc")));
        for bad in [&hex[1..], &hex[2..], &hex.to_uppercase(), &format!("{hex}00"), ""] {
            assert_eq!(CredentialDigest::from_hex(bad), Err(KeyDigestError), "{bad:?}");
        }
        assert!(CredentialDigest::from_hex(&"é".repeat(32)).is_err());
    }

    #[test]
    fn prefixes_are_lower_case_letters_and_digits() {
        for good in ["k", "kg", "a1", &"a".repeat(16)] {
            assert!(is_key_prefix(good), "{good:?}");
        }
        for bad in ["", "1a", "Kg", "k_g", "k-g", "é", &"a".repeat(17)] {
            assert!(!is_key_prefix(bad), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_generated_key_parses_back(prefix in "[a-z][a-z0-9]{0,15}", live in any::<bool>()) {
            let environment = if live { ApiKeyEnvironment::Live } else { ApiKeyEnvironment::Test };
            let key = ApiKeyText::generate(&prefix, environment, &mut system_random);
            let parsed = parse(key.expose(), &prefix).unwrap();
            prop_assert_eq!(parsed, ParsedApiKey { environment, id: key.id(), text: key.expose() });
        }

        #[test]
        fn parsing_never_panics(text in ".*", tail in ".{0,80}") {
            let _ = parse(&text, "kg");
            let _ = parse(&format!("kg_live_{tail}"), "kg");
            let _ = parse(&format!("kg_test_0123456789abcdef_{tail}"), "kg");
        }

        #[test]
        fn a_typo_of_one_character_is_caught(at in 0_usize..74, char in "[!-~]") {
            let key = key();
            let mut typo = key.clone();
            typo.replace_range(at..=at, &char);
            prop_assert_eq!(parse(&typo, "kg").is_ok(), typo == key);
        }
    }
}
