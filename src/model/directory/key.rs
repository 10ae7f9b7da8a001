//! What is known of an API key, and does it still count?

use crate::model::api_key::KeyDigest;
use crate::model::api_key::KeyEnvironment;
use crate::model::api_key::KeyId;
use crate::model::clock::Timestamp;
use crate::model::id::SubscriptionId;
use crate::model::scope::ScopeSet;
use ipnet::IpNet;
use std::net::IpAddr;
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
}

crate::model::id::words!(KeyOrigin);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyState {
    Active,
    /// Whenever that was: a revocation has no future.
    Revoked,
}

/// What is known of a key. Texts that many keys share are shared, so that a million keys fit in 300 MB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    pub id: KeyId,
    pub digest: KeyDigest,
    pub origin: KeyOrigin,
    pub environment: KeyEnvironment,
    /// Of a key of the keys file; empty for one of the store, which has it there.
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

/// Who put a key where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::model::directory) enum Source {
    File,
    /// Which writing of the record.
    Store(u64),
}

impl Source {
    /// Whether what comes from here takes the place of what came from `known`.
    pub(in crate::model::directory) const fn replaces(self, known: Self) -> bool {
        match (self, known) {
            (Self::File, Self::File) | (Self::Store(_), Self::File) => true,
            (Self::File, Self::Store(_)) => false,
            (Self::Store(new), Self::Store(old)) => new > old,
        }
    }
}

/// A key as the directory holds it. Replaced, never changed: whoever keeps an entry can tell by its pointer whether it
/// is still the current one.
#[derive(Debug)]
pub struct KeyEntry {
    record: KeyRecord,
    source: Source,
    /// Once refused as expired, always refused: a clock that is set back revives nothing (S067).
    seen_expired: AtomicBool,
    /// The same about the end of a grace.
    seen_ended: AtomicBool,
    /// The minute since 1970 in which it was last used, twice, and 1 more while nobody has noted it; 0 for never.
    used: AtomicU32,
}

impl KeyEntry {
    /// `before` is the entry that this one takes the place of. A new expiry is a decision to let the key live on; any other
    /// change is none.
    pub(in crate::model::directory) fn new(record: KeyRecord, source: Source, before: Option<&Self>) -> Self {
        let seen = |same: fn(&KeyRecord, &KeyRecord) -> bool, seen: fn(&Self) -> &AtomicBool| {
            before.is_some_and(|before| same(&before.record, &record) && seen(before).load(Ordering::Acquire))
        };
        Self {
            seen_expired: AtomicBool::new(seen(
                |old, new| old.expires_at == new.expires_at,
                |entry| &entry.seen_expired,
            )),
            seen_ended: AtomicBool::new(seen(|old, new| old.ends_at == new.ends_at, |entry| &entry.seen_ended)),
            used: AtomicU32::new(before.map_or(0, |before| before.used.load(Ordering::Relaxed))),
            record,
            source,
        }
    }

    pub const fn record(&self) -> &KeyRecord {
        &self.record
    }

    pub(in crate::model::directory) const fn source(&self) -> Source {
        self.source
    }

    /// Whether the key is revoked at `now`, or was at any instant it was presented.
    pub fn is_revoked(&self, now: Timestamp) -> bool {
        self.record.state == KeyState::Revoked || reached(self.record.ends_at, &self.seen_ended, now)
    }

    /// Whether the key would be refused as revoked at `now`. For counting: asking does not make it so.
    pub fn reads_as_revoked(&self, now: Timestamp) -> bool {
        self.record.state == KeyState::Revoked
            || self.seen_ended.load(Ordering::Acquire)
            || self.record.ends_at.is_some_and(|ends_at| now >= ends_at)
    }

    /// Whether the key would be refused as expired at `now`. For counting: asking does not make it so.
    pub fn reads_as_expired(&self, now: Timestamp) -> bool {
        self.seen_expired.load(Ordering::Acquire) || self.record.expires_at.is_some_and(|expires_at| now >= expires_at)
    }

    /// Whether the key is expired at `now`, or was at any instant it was presented.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        reached(self.record.expires_at, &self.seen_expired, now)
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
        let contains = |ip: IpAddr| self.record.addresses.iter().any(|range| range.contains(&ip));
        self.record.addresses.is_empty() || ip.is_some_and(|ip| contains(ip.to_canonical()))
    }
}

const NOT_TAKEN: u32 = 1;

/// Whether `end` was reached at `now`, or was before, as `seen` remembers.
fn reached(end: Option<Timestamp>, seen: &AtomicBool, now: Timestamp) -> bool {
    let Some(end) = end else {
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
