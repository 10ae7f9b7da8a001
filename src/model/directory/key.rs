//! Which facts are known about an API key, and is it valid?

use crate::model::api_key::ApiKeyEnvironment;
use crate::model::api_key::CredentialDigest;
use crate::model::api_key::KeyId;
use crate::model::clock::Timestamp;
use crate::model::grace::Grace;
use crate::model::id::SubscriptionId;
use crate::model::scope::ScopeSet;
use ipnet::IpNet;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

/// The origin of a key. It decides how the key is looked up and how its digest is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApiKeyOrigin {
    /// Made by Keygate: the text contains its id.
    Own,
    /// Taken over from another system: looked up by the SHA-256 of its text.
    Imported,
}

impl ApiKeyOrigin {
    pub const ALL: [Self; 2] = [Self::Own, Self::Imported];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Imported => "imported",
        }
    }

    /// Returns the text that shows a key of this origin after its creation: recognisable, without
    /// any of its secret. Keygate never had the text of an imported key.
    pub fn hint(self, prefix: &str, environment: ApiKeyEnvironment, id: KeyId) -> String {
        match self {
            Self::Own => format!("{prefix}_{}_{id}_…", environment.as_str()),
            Self::Imported => "(imported)".to_owned(),
        }
    }

    /// Returns the id in a text that [`Self::hint`] returned for one of Keygate's own keys.
    pub fn id_in_hint(hint: &str) -> Option<KeyId> {
        let (_, id) = hint.strip_suffix("_…")?.rsplit_once('_')?;
        id.parse().ok()
    }
}

crate::model::id::words!(ApiKeyOrigin);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyState {
    Active,
    /// Refused until it is active again.
    Disabled,
    /// Revoked already. A key that will be revoked is active, with [`KeyRecord::ends_at`].
    Revoked,
}

/// The facts about a key, as a loader provides them. The directory stores them as a [`KeyEntry`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    pub id: KeyId,
    pub digest: CredentialDigest,
    pub origin: ApiKeyOrigin,
    pub environment: ApiKeyEnvironment,
    /// The name of a key of the keys file; empty for a key of the store,
    /// whose name stays there. The directory drops it.
    pub name: Box<str>,
    pub state: KeyState,
    /// The first instant at which the key is refused; `None` for never.
    pub expires_at: Option<Timestamp>,
    pub scopes: Arc<ScopeSet>,
    pub client: Option<Arc<str>>,
    pub organization: Option<Arc<str>>,
    /// The addresses that may use the key; empty for all.
    pub addresses: Box<[IpNet]>,
    /// The subscription that must be in good standing; `None` for a key of the keys file.
    pub subscription: Option<SubscriptionId>,
    /// The first instant at which the key is revoked, if a grace period is running.
    pub ends_at: Option<Timestamp>,
}

impl KeyRecord {
    /// Returns an active key without scopes, which anybody may use from everywhere and for ever. The fields of a real key
    /// are written out where it is made, so that none is forgotten there.
    #[cfg(any(test, feature = "internals"))]
    pub fn unrestricted(id: KeyId, digest: CredentialDigest) -> Self {
        Self {
            id,
            digest,
            origin: ApiKeyOrigin::Own,
            environment: ApiKeyEnvironment::Live,
            name: "ci".into(),
            state: KeyState::Active,
            expires_at: None,
            scopes: Arc::default(),
            client: None,
            organization: None,
            addresses: Box::default(),
            subscription: None,
            ends_at: None,
        }
    }
}

/// The fields that many keys have in common, stored once: a million keys share a few thousand of these.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(in crate::model::directory) struct KeyTerms {
    pub scopes: Arc<ScopeSet>,
    pub client: Option<Arc<str>>,
    pub organization: Option<Arc<str>>,
    pub addresses: Box<[IpNet]>,
    pub subscription: Option<SubscriptionId>,
}

/// The source of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::model::directory) enum Source {
    File,
    /// The revision of the record, from 1.
    Store(NonZeroU64),
}

impl Source {
    /// Returns whether an entry from this source replaces an entry from `existing`.
    pub(in crate::model::directory) const fn replaces(self, existing: Self) -> bool {
        match (self, existing) {
            (Self::File, Self::File) | (Self::Store(_), Self::File) => true,
            (Self::File, Self::Store(_)) => false,
            (Self::Store(new), Self::Store(old)) => new.get() > old.get(),
        }
    }
}

/// The instant of an end, if any, in eight bytes; `Option<Timestamp>` takes sixteen. Contains the milliseconds plus 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct End(Option<NonZeroU64>);

impl End {
    /// Returns the end at `at`. The last representable instant becomes the one before: 1 ms early, but not never.
    fn new(at: Option<Timestamp>) -> Self {
        Self(at.map(|at| NonZeroU64::MIN.saturating_add(at.as_unix_millis())))
    }

    fn at(self) -> Option<Timestamp> {
        self.0.map(|millis| Timestamp::from_unix_millis(millis.get() - 1))
    }
}

/// A key in the directory, in 96 bytes with the two counts of its `Arc`. There may be a million of these, so
/// shared fields are in `terms`, and the id is only the key of the map. A key with other facts gets another entry:
/// a caller that keeps an entry compares pointers to find out whether it is still current.
#[derive(Debug)]
pub struct KeyEntry {
    digest: CredentialDigest,
    terms: Arc<KeyTerms>,
    expires_at: End,
    ends_at: End,
    source: Source,
    /// The minute since 1970 of the last use, times 2, plus 1 while that use is not yet taken; 0 for never.
    used: AtomicU32,
    origin: ApiKeyOrigin,
    environment: ApiKeyEnvironment,
    state: KeyState,
    /// `true` once the key was refused as expired: a clock that is set back does not revive it (S067).
    seen_expired: AtomicBool,
    /// `true` once the key was refused after the end of a grace period.
    seen_ended: AtomicBool,
}

impl KeyEntry {
    /// Returns the entry for `record`; `terms` contains its shared fields.
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

    /// Takes over the uses and refusals of `before`, the entry that this one replaces. Only a new expiry revives an
    /// expired key, because no other change is a decision to extend the key's life.
    pub(in crate::model::directory) fn take_over_from(&mut self, before: &Self) {
        let seen_expired = self.expires_at == before.expires_at && before.seen_expired.load(Ordering::Acquire);
        let seen_ended = self.ends_at == before.ends_at && before.seen_ended.load(Ordering::Acquire);
        self.seen_expired = AtomicBool::new(seen_expired);
        self.seen_ended = AtomicBool::new(seen_ended);
        self.used = AtomicU32::new(before.used.load(Ordering::Relaxed));
    }

    /// Returns the same key, revoked.
    pub(in crate::model::directory) fn to_revoked(&self) -> Self {
        let mut revoked = Self {
            terms: Arc::clone(&self.terms),
            state: KeyState::Revoked,
            used: AtomicU32::new(0),
            seen_expired: AtomicBool::new(false),
            seen_ended: AtomicBool::new(false),
            ..*self
        };
        revoked.take_over_from(self);
        revoked
    }

    pub(in crate::model::directory) const fn revoke(&mut self) {
        self.state = KeyState::Revoked;
    }

    /// Returns whether both entries have the same facts, regardless of use
    /// and refusals. Equal terms have the same pointer.
    pub(in crate::model::directory) fn has_same_facts(&self, other: &Self) -> bool {
        self.digest == other.digest
            && Arc::ptr_eq(&self.terms, &other.terms)
            && self.expires_at == other.expires_at
            && self.ends_at == other.ends_at
            && self.source == other.source
            && self.origin == other.origin
            && self.environment == other.environment
            && self.state == other.state
    }

    /// Returns the revision of the record in the store; `None` for a key of the keys file.
    pub const fn stored_revision(&self) -> Option<u64> {
        match self.source {
            Source::File => None,
            Source::Store(revision) => Some(revision.get()),
        }
    }

    /// Returns the digest of the key, to be compared in constant time, as [`CredentialDigest`] does.
    pub const fn digest(&self) -> CredentialDigest {
        self.digest
    }

    pub const fn origin(&self) -> ApiKeyOrigin {
        self.origin
    }

    pub const fn environment(&self) -> ApiKeyEnvironment {
        self.environment
    }

    pub const fn state(&self) -> KeyState {
        self.state
    }

    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at.at()
    }

    /// Returns the end of the key's grace period, if it has one.
    pub fn ends_at(&self) -> Option<Timestamp> {
        self.ends_at.at()
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

    /// Returns the subscription that must be in good standing; `None` for a key of the keys file.
    pub fn subscription(&self) -> Option<&SubscriptionId> {
        self.terms.subscription.as_ref()
    }

    pub(in crate::model::directory) const fn source(&self) -> Source {
        self.source
    }

    /// Returns whether the key is refused until it is enabled.
    pub fn is_disabled(&self) -> bool {
        self.state == KeyState::Disabled
    }

    /// Returns whether the key is revoked at `now`, or was revoked at an earlier check. A `true` is remembered.
    pub fn is_revoked(&self, now: Timestamp) -> bool {
        self.state == KeyState::Revoked || reached(self.ends_at, &self.seen_ended, now) || self.ends_after_grace(now)
    }

    /// Returns whether the key would end later than any grace period. The clock was ahead when the period began.
    fn ends_after_grace(&self, now: Timestamp) -> bool {
        self.ends_at
            .at()
            .is_some_and(|ends_at| !Grace::may_end_at(ends_at, now))
    }

    /// Returns whether [`Self::is_revoked`] would return `true` at `now`, without remembering it. For counting.
    pub fn reads_as_revoked(&self, now: Timestamp) -> bool {
        self.state == KeyState::Revoked
            || self.seen_ended.load(Ordering::Acquire)
            || self.ends_at.at().is_some_and(|ends_at| now >= ends_at)
            || self.ends_after_grace(now)
    }

    /// Returns whether [`Self::is_expired`] would return `true` at `now`, without remembering it. For counting.
    pub fn reads_as_expired(&self, now: Timestamp) -> bool {
        self.seen_expired.load(Ordering::Acquire) || self.expires_at.at().is_some_and(|expires_at| now >= expires_at)
    }

    /// Returns whether the key is expired at `now`, or was expired at an earlier check. A `true` is remembered.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        reached(self.expires_at, &self.seen_expired, now)
    }

    /// Records a use at `now`, to the minute. Within a minute only the first use writes.
    pub fn note_use(&self, now: Timestamp) {
        let minute = u32::try_from(now.as_unix_secs() / 60).unwrap_or(u32::MAX / 2);
        let noted = minute.saturating_mul(2) | NOT_TAKEN;
        if self.used.load(Ordering::Relaxed) | NOT_TAKEN != noted {
            self.used.store(noted, Ordering::Relaxed);
        }
    }

    /// Returns the minute of the last use, unless it was taken before.
    pub(in crate::model::directory) fn take_used(&self) -> Option<Timestamp> {
        let used = self.used.load(Ordering::Relaxed);
        if used & NOT_TAKEN == 0 {
            return None;
        }
        // If the key was used in a later minute since the load above, the
        // exchange fails and that use is taken next time.
        let taken = used & !NOT_TAKEN;
        let _ = self
            .used
            .compare_exchange(used, taken, Ordering::Relaxed, Ordering::Relaxed);
        Some(Timestamp::from_unix_secs(u64::from(used / 2) * 60))
    }

    /// Returns whether the key may be used from `ip`. An unknown address is allowed only where every address is.
    pub fn allows(&self, ip: Option<IpAddr>) -> bool {
        let contains = |ip: IpAddr| self.terms.addresses.iter().any(|range| range.contains(&ip));
        self.terms.addresses.is_empty() || ip.is_some_and(|ip| contains(ip.to_canonical()))
    }
}

const NOT_TAKEN: u32 = 1;

/// Returns whether `end` was reached at `now`, or at an earlier call: `seen` remembers it.
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
