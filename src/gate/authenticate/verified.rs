//! Which tokens were verified already? They are cached by their whole text, bounded in memory, and never used after
//! their validity.

use crate::gate::authenticate::Identity;
use crate::gate::authenticate::identity::heap_bytes;
use crate::model::clock::Timestamp;
use crate::model::secret::Secret;
use foldhash::fast::RandomState;
use quick_cache::Equivalent;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use quick_cache::sync::DefaultLifecycle;
use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;
use std::hash::Hasher;
use std::sync::Arc;

/// The result of verifying a token, and the conditions under which it is still valid.
#[derive(Clone, Debug)]
pub struct VerifiedToken {
    pub identity: Arc<Identity>,
    /// The unique id of the issuer's state; the caller compares it with the issuers of the route.
    pub issuer: u64,
    /// The generation of the key set that verified the token; the caller compares it with the current generation.
    pub generation: u64,
    /// The last instant at which the token is valid: `exp` and the issuer's skew.
    pub usable_until: Timestamp,
}

/// The cached tokens. The key is the whole text of a token, so that no two tokens are ever confused.
pub struct VerifiedTokens {
    cache: Cache<SignedText, CacheEntry, TokenWeight, RandomState>,
}

impl VerifiedTokens {
    /// Enough for about 15 000 tokens of usual length.
    pub const DEFAULT_BYTES_MAX: u64 = 32 * 1024 * 1024;

    /// Returns an empty cache that takes at most `bytes_max` bytes, and 5 % more for empty tables; `tests/memory.rs`
    /// measures both.
    pub fn new(bytes_max: u64) -> Self {
        let items = usize::try_from(bytes_max / USUAL_WEIGHT).unwrap_or(usize::MAX);
        let cache = Cache::with(
            items,
            bytes_max,
            TokenWeight,
            RandomState::default(),
            DefaultLifecycle::default(),
        );
        Self { cache }
    }

    /// Returns the cached result for `token`, if the token is still valid at `now`. Otherwise drops the result.
    pub fn get(&self, token: &str, now: Timestamp) -> Option<VerifiedToken> {
        let key = TokenRef(token);
        let CacheEntry { token: verified, .. } = self.cache.get(&key)?;
        if now > verified.usable_until {
            self.cache.remove_if(&key, |entry| now > entry.token.usable_until);
            return None;
        }
        Some(verified)
    }

    /// Caches the result for `token` in place of an older result. May evict other tokens.
    pub fn remember(&self, token: &str, verified: VerifiedToken) {
        let entry = CacheEntry::new(token, verified);
        self.cache.insert(SignedText(TokenText::new(token)), entry);
    }

    pub fn forget(&self, token: &str) {
        self.cache.remove(&TokenRef(token));
    }

    /// Returns the number of cached tokens.
    pub fn len(&self) -> usize {
        self.cache.len()
    }

    #[cfg(any(test, feature = "internals"))]
    pub fn is_empty(&self) -> bool {
        self.cache.is_empty()
    }

    /// Returns an estimate of the bytes in use.
    pub fn bytes(&self) -> u64 {
        self.cache.weight()
    }
}

/// Prints the number of tokens only: tokens are credentials.
impl fmt::Debug for VerifiedTokens {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("VerifiedTokens")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// The text of a token, wiped when dropped. Hashes and compares like its `str`.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::gate::authenticate) struct TokenText(Secret<String>);

impl TokenText {
    pub(in crate::gate::authenticate) fn new(text: &str) -> Self {
        Self(Secret::new(text.to_owned()))
    }
}

impl Borrow<str> for TokenText {
    fn borrow(&self) -> &str {
        self.0.expose()
    }
}

impl Hash for TokenText {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.expose().as_str().hash(state);
    }
}

/// The text of a verified token. Equality compares the whole text. The hash covers only the end of the signature: only
/// the issuer determines how a valid signature ends, so no client can fill the table with colliding tokens. Hashing the
/// whole token takes three times as long as the rest of the look-up.
#[derive(Clone, PartialEq, Eq)]
struct SignedText(TokenText);

/// The borrowed text of a token, to look it up by.
struct TokenRef<'a>(&'a str);

/// The length of the hashed end of a token: about 192 bits of the signature, in base64url.
const HASHED_BYTES: usize = 32;

fn hash_end<H: Hasher>(token: &str, state: &mut H) {
    let bytes = token.as_bytes();
    state.write(&bytes[bytes.len().saturating_sub(HASHED_BYTES)..]);
}

impl Hash for SignedText {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash_end(self.0.borrow(), state);
    }
}

impl Hash for TokenRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash_end(self.0, state);
    }
}

impl Equivalent<SignedText> for TokenRef<'_> {
    fn equivalent(&self, known: &SignedText) -> bool {
        let known: &str = known.0.borrow();
        self.0 == known
    }
}

/// A cache entry with its weight, computed once: the cache reads the weight whenever it makes room.
#[derive(Clone)]
struct CacheEntry {
    token: VerifiedToken,
    weight: u64,
}

impl CacheEntry {
    fn new(text: &str, verified: VerifiedToken) -> Self {
        let bytes = TABLE_BYTES + heap_bytes(text.len()) + verified.identity.bytes();
        Self {
            token: verified,
            weight: bytes as u64,
        }
    }
}

#[derive(Clone)]
struct TokenWeight;

/// The size of an entry in the tables of the cache, which grow in steps.
const TABLE_BYTES: usize = 2 * size_of::<(SignedText, CacheEntry)>() + 64;

/// The assumed weight of a token in bytes, for the first size of the tables.
const USUAL_WEIGHT: u64 = 3 * 1024;

impl Weighter<SignedText, CacheEntry> for TokenWeight {
    fn weight(&self, _: &SignedText, entry: &CacheEntry) -> u64 {
        entry.weight
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::authenticate::TokenIdentity;
    use crate::model::names::Name;
    use std::hash::BuildHasher;
    use std::time::Duration;

    fn remembered(usable_until: Timestamp) -> VerifiedToken {
        let issuer: Name = "idp".parse().unwrap();
        VerifiedToken {
            identity: Arc::new(Identity::of_token(issuer, TokenIdentity::default())),
            issuer: 1,
            generation: 7,
            usable_until,
        }
    }

    const END: Timestamp = Timestamp::from_unix_secs(1_000);

    #[test]
    fn s037_a_remembered_token_ends_when_a_fresh_one_does() {
        let tokens = VerifiedTokens::new(VerifiedTokens::DEFAULT_BYTES_MAX);
        tokens.remember("a.b.c", remembered(END));
        assert!(tokens.get("a.b.c", END).is_some());
        assert!(
            tokens
                .get("a.b.c", END.saturating_add(Duration::from_secs(1)))
                .is_none()
        );
        assert!(tokens.get("a.b.c", END).is_none(), "forgotten, not only hidden");
        assert!(tokens.is_empty());
    }

    #[test]
    fn only_the_whole_text_is_the_token() {
        let tokens = VerifiedTokens::new(VerifiedTokens::DEFAULT_BYTES_MAX);
        tokens.remember("a.b.c", remembered(END));
        for other in ["", "a.b", "a.b.", "a.b.cc", "a.b.C", " a.b.c"] {
            assert!(tokens.get(other, END).is_none(), "{other:?}");
        }
        let found = tokens.get("a.b.c", END).unwrap();
        assert_eq!((found.issuer, found.generation), (1, 7));
    }

    #[test]
    fn tokens_with_equal_ends_are_distinguished() {
        let tokens = VerifiedTokens::new(VerifiedTokens::DEFAULT_BYTES_MAX);
        let signature = "s".repeat(2 * HASHED_BYTES);
        let (one, other) = (format!("one.{signature}"), format!("two.{signature}"));
        tokens.remember(&one, remembered(END));
        assert!(tokens.get(&other, END).is_none());
        tokens.forget(&other);
        assert!(tokens.get(&one, END).is_some());
        tokens.remember(
            &other,
            VerifiedToken {
                issuer: 2,
                ..remembered(END)
            },
        );
        let issuer = |token: &str| tokens.get(token, END).unwrap().issuer;
        assert_eq!((tokens.len(), issuer(&one), issuer(&other)), (2, 1, 2));
    }

    #[test]
    fn a_token_that_is_forgotten_is_gone_and_a_newer_entry_replaces_an_older() {
        let tokens = VerifiedTokens::new(VerifiedTokens::DEFAULT_BYTES_MAX);
        tokens.remember("a.b.c", remembered(END));
        tokens.remember(
            "a.b.c",
            VerifiedToken {
                generation: 8,
                ..remembered(END)
            },
        );
        assert_eq!(tokens.len(), 1);
        assert_eq!(tokens.get("a.b.c", END).unwrap().generation, 8);
        tokens.forget("a.b.c");
        assert!(tokens.get("a.b.c", END).is_none());
    }

    #[test]
    fn memory_is_bounded_however_many_tokens_come() {
        let bytes_max = 1024 * 1024;
        let tokens = VerifiedTokens::new(bytes_max);
        for index in 0..5_000 {
            // Only the end of a token is hashed, so the ends differ.
            tokens.remember(&format!("{}.{index}", "x".repeat(1_000)), remembered(END));
        }
        assert!(tokens.bytes() <= bytes_max, "{}", tokens.bytes());
        assert!(tokens.len() < 1_000 && !tokens.is_empty(), "{}", tokens.len());
        assert!(tokens.bytes() >= 1_000 * tokens.len() as u64, "{}", tokens.bytes());
    }

    #[test]
    fn the_default_is_room_for_about_15_000_tokens_of_usual_length() {
        let usual = CacheEntry::new(&"x".repeat(1_000), remembered(END));
        let tokens = VerifiedTokens::DEFAULT_BYTES_MAX / usual.weight;
        assert!((12_000..18_000).contains(&tokens), "{tokens}");
    }

    #[test]
    fn the_hash_covers_the_end_of_a_token_alone() {
        let hasher = RandomState::default();
        let hash = |token: &str| hasher.hash_one(TokenRef(token));
        let end = "s".repeat(HASHED_BYTES);
        assert_eq!(hash(&format!("one.{end}")), hash(&format!("two.{end}")));
        assert_ne!(hash("a.b.c"), hash("a.b.d"));
        assert_eq!(hash("a.b.c"), hasher.hash_one(SignedText(TokenText::new("a.b.c"))));
    }

    #[test]
    fn tokens_are_not_printed() {
        let tokens = VerifiedTokens::new(VerifiedTokens::DEFAULT_BYTES_MAX);
        tokens.remember("eyJ.secret.sig", remembered(END));
        assert_eq!(format!("{tokens:?}"), "VerifiedTokens { len: 1, .. }");
    }
}
