//! What is known of an API key, and does it still count?

use crate::model::api_key::KeyDigest;
use crate::model::api_key::KeyEnvironment;
use crate::model::api_key::KeyId;
use crate::model::clock::Timestamp;
use crate::model::id::SubscriptionId;
use crate::model::scope::ScopeSet;
use ipnet::IpNet;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

/// Where a key comes from, which says how it is looked up and what its digest is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyOrigin {
    /// Made by Keygate: the text names its id.
    Own,
    /// Brought along from another system: looked up by the SHA-256 of its text.
    Imported,
}

impl KeyOrigin {
    pub const ALL: [Self; 2] = [Self::Own, Self::Imported];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Imported => "imported",
        }
    }

    /// Returns how a key of this origin is shown after its creation: enough to recognise it, nothing of its secret. Keygate
    /// never saw the text of an imported key.
    pub fn hint(self, prefix: &str, environment: KeyEnvironment, id: KeyId) -> String {
        match self {
            Self::Own => format!("{prefix}_{}_{id}_…", environment.as_str()),
            Self::Imported => "(imported)".to_owned(),
        }
    }
}

crate::model::id::words!(KeyOrigin);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyState {
    Active,
    /// Whenever that was: a revocation has no future.
    Revoked,
}

/// What is known of a key, as a loader says it. The directory keeps it as a [`KeyEntry`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    pub id: KeyId,
    pub digest: KeyDigest,
    pub origin: KeyOrigin,
    pub environment: KeyEnvironment,
    /// Of a key of the keys file; empty for one of the store, which has it there. The directory does not keep it.
    pub name: Box<str>,
    pub state: KeyState,
    /// The first instant at which the key is refused; `None` for never.
    pub expires_at: Option<Timestamp>,
    pub scopes: Arc<ScopeSet>,
    pub client: Option<Arc<str>>,
    pub organization: Option<Arc<str>>,
    /// Where the key may be used from; everywhere when empty.
    pub addresses: Box<[IpNet]>,
    /// Whose standing decides whether it counts; `None` for a key of the keys file.
    pub subscription: Option<SubscriptionId>,
    /// The first instant at which it is revoked, while a grace runs that was asked for; `None` where none does.
    pub ends_at: Option<Timestamp>,
}

/// What many keys have in common. Kept once for all of them: a million keys have a few thousand of these.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(in crate::model::directory) struct KeyTerms {
    pub scopes: Arc<ScopeSet>,
    pub client: Option<Arc<str>>,
    pub organization: Option<Arc<str>>,
    pub addresses: Box<[IpNet]>,
    pub subscription: Option<SubscriptionId>,
}

/// Who put a key where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::model::directory) enum Source {
    File,
    /// Which writing of the record, from 1.
    Store(NonZeroU64),
}

impl Source {
    /// Whether what comes from here takes the place of what came from `known`.
    pub(in crate::model::directory) const fn replaces(self, known: Self) -> bool {
        match (self, known) {
            (Self::File, Self::File) | (Self::Store(_), Self::File) => true,
            (Self::File, Self::Store(_)) => false,
            (Self::Store(new), Self::Store(old)) => new.get() > old.get(),
        }
    }
}

/// When something ends, where it does: eight bytes, for which `Option<Timestamp>` takes sixteen. Holds one more than its
/// milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct End(Option<NonZeroU64>);

impl End {
    /// The last of all instants becomes the one before, which ends something sooner and not never.
    fn new(at: Option<Timestamp>) -> Self {
        Self(at.map(|at| NonZeroU64::MIN.saturating_add(at.as_unix_millis())))
    }

    fn at(self) -> Option<Timestamp> {
        self.0.map(|millis| Timestamp::from_unix_millis(millis.get() - 1))
    }
}

/// A key as the directory holds it, in 96 bytes with its counts: there are a million of these, so what keys have in common
/// is in `terms`, and the id is where the entry is found by it. Replaced, never changed: whoever keeps an entry can tell by
/// its pointer whether it is still the current one.
#[derive(Debug)]
pub struct KeyEntry {
    digest: KeyDigest,
    terms: Arc<KeyTerms>,
    expires_at: End,
    ends_at: End,
    source: Source,
    /// The minute since 1970 in which it was last used, twice, and 1 more while nobody has noted it; 0 for never.
    used: AtomicU32,
    origin: KeyOrigin,
    environment: KeyEnvironment,
    state: KeyState,
    /// Once refused as expired, always refused: a clock that is set back revives nothing (S067).
    seen_expired: AtomicBool,
    /// The same about the end of a grace.
    seen_ended: AtomicBool,
}

impl KeyEntry {
    /// What `record` says beside what is in `terms`.
    pub(in crate::model::directory) fn new(record: &KeyRecord, terms: Arc<KeyTerms>, source: Source) -> Self {
        Self {
            digest: record.digest,
            terms,
            expires_at: End::new(record.expires_at),
            ends_at: End::new(record.ends_at),
            source,
            used: AtomicU32::new(0),
            origin: record.origin,
            environment: record.environment,
            state: record.state,
            seen_expired: AtomicBool::new(false),
            seen_ended: AtomicBool::new(false),
        }
    }

    /// Takes over what was seen of `before`, which this one takes the place of. A new expiry is a decision to let the key
    /// live on; any other change is none.
    pub(in crate::model::directory) fn succeed(&mut self, before: &Self) {
        let seen_expired = self.expires_at == before.expires_at && before.seen_expired.load(Ordering::Acquire);
        let seen_ended = self.ends_at == before.ends_at && before.seen_ended.load(Ordering::Acquire);
        self.seen_expired = AtomicBool::new(seen_expired);
        self.seen_ended = AtomicBool::new(seen_ended);
        self.used = AtomicU32::new(before.used.load(Ordering::Relaxed));
    }

    /// The same key, revoked.
    pub(in crate::model::directory) fn to_revoked(&self) -> Self {
        let mut revoked = Self {
            terms: Arc::clone(&self.terms),
            state: KeyState::Revoked,
            used: AtomicU32::new(0),
            seen_expired: AtomicBool::new(false),
            seen_ended: AtomicBool::new(false),
            ..*self
        };
        revoked.succeed(self);
        revoked
    }

    pub(in crate::model::directory) const fn revoke(&mut self) {
        self.state = KeyState::Revoked;
    }

    /// Whether both say the same of the key, whatever was seen of either. Terms are the same where they are kept once.
    pub(in crate::model::directory) fn agrees_with(&self, other: &Self) -> bool {
        self.digest == other.digest
            && Arc::ptr_eq(&self.terms, &other.terms)
            && self.expires_at == other.expires_at
            && self.ends_at == other.ends_at
            && self.source == other.source
            && self.origin == other.origin
            && self.environment == other.environment
            && self.state == other.state
    }

    /// What proves the key: to be compared in constant time, as [`KeyDigest`] does.
    pub const fn digest(&self) -> KeyDigest {
        self.digest
    }

    pub const fn origin(&self) -> KeyOrigin {
        self.origin
    }

    pub const fn environment(&self) -> KeyEnvironment {
        self.environment
    }

    pub const fn state(&self) -> KeyState {
        self.state
    }

    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at.at()
    }

    pub fn scopes(&self) -> &Arc<ScopeSet> {
        &self.terms.scopes
    }

    pub fn client(&self) -> Option<&str> {
        self.terms.client.as_deref()
    }

    pub fn organization(&self) -> Option<&str> {
        self.terms.organization.as_deref()
    }

    /// Whose standing decides whether it counts; `None` for a key of the keys file.
    pub fn subscription(&self) -> Option<&SubscriptionId> {
        self.terms.subscription.as_ref()
    }

    pub(in crate::model::directory) const fn source(&self) -> Source {
        self.source
    }

    /// Whether the key is revoked at `now`, or was at any instant it was presented.
    pub fn is_revoked(&self, now: Timestamp) -> bool {
        self.state == KeyState::Revoked || reached(self.ends_at, &self.seen_ended, now)
    }

    /// Whether the key would be refused as revoked at `now`. For counting: asking does not make it so.
    pub fn reads_as_revoked(&self, now: Timestamp) -> bool {
        self.state == KeyState::Revoked
            || self.seen_ended.load(Ordering::Acquire)
            || self.ends_at.at().is_some_and(|ends_at| now >= ends_at)
    }

    /// Whether the key would be refused as expired at `now`. For counting: asking does not make it so.
    pub fn reads_as_expired(&self, now: Timestamp) -> bool {
        self.seen_expired.load(Ordering::Acquire) || self.expires_at.at().is_some_and(|expires_at| now >= expires_at)
    }

    /// Whether the key is expired at `now`, or was at any instant it was presented.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        reached(self.expires_at, &self.seen_expired, now)
    }

    /// Notes that it is used at `now`, to the minute. Most of the time a look is enough.
    pub fn note_use(&self, now: Timestamp) {
        let minute = u32::try_from(now.as_unix_secs() / 60).unwrap_or(u32::MAX / 2);
        let noted = minute.saturating_mul(2) | NOT_TAKEN;
        if self.used.load(Ordering::Relaxed) | NOT_TAKEN != noted {
            self.used.store(noted, Ordering::Relaxed);
        }
    }

    /// The minute in which it was last used, unless that was taken before.
    pub(in crate::model::directory) fn take_used(&self) -> Option<Timestamp> {
        let used = self.used.load(Ordering::Relaxed);
        if used & NOT_TAKEN == 0 {
            return None;
        }
        // Used in a later minute since we looked, it stays to be taken.
        let taken = used & !NOT_TAKEN;
        let _ = self
            .used
            .compare_exchange(used, taken, Ordering::Relaxed, Ordering::Relaxed);
        Some(Timestamp::from_unix_secs(u64::from(used / 2) * 60))
    }

    /// Whether the key may be used from `ip`; from an address that is not known, only where any would do.
    pub fn allows(&self, ip: Option<IpAddr>) -> bool {
        let contains = |ip: IpAddr| self.terms.addresses.iter().any(|range| range.contains(&ip));
        self.terms.addresses.is_empty() || ip.is_some_and(|ip| contains(ip.to_canonical()))
    }
}

const NOT_TAKEN: u32 = 1;

/// Whether `end` was reached at `now`, or was before, as `seen` remembers.
fn reached(end: End, seen: &AtomicBool, now: Timestamp) -> bool {
    let Some(end) = end.at() else {
        return false;
    };
    if seen.load(Ordering::Acquire) {
        return true;
    }
    let over = now >= end;
    if over {
        seen.store(true, Ordering::Release);
    }
    over
}
