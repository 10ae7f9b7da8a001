//! Which API keys are there? Read by every request, changed in place by whoever loads them.

use crate::model::api_key::KeyDigest;
use crate::model::api_key::KeyEnvironment;
use crate::model::api_key::KeyId;
use crate::model::clock::Timestamp;
use crate::model::scope::ScopeSet;
use dashmap::DashMap;
use dashmap::DashSet;
use ipnet::IpNet;
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
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
    pub name: Box<str>,
    pub state: KeyState,
    /// The first instant at which the key is refused; `None` for never.
    pub expires_at: Option<Timestamp>,
    pub scopes: Arc<ScopeSet>,
    pub client: Option<Arc<str>>,
    pub organization: Option<Arc<str>>,
    /// Where the key may be used from; everywhere when empty.
    pub addresses: Box<[IpNet]>,
}

/// A key as the directory holds it. Replaced, never changed: whoever keeps an entry can tell by its pointer whether it
/// is still the current one.
#[derive(Debug)]
pub struct KeyEntry {
    record: KeyRecord,
    /// Once refused as expired, always refused: a clock that is set back revives nothing (S067).
    seen_expired: AtomicBool,
}

impl KeyEntry {
    pub const fn record(&self) -> &KeyRecord {
        &self.record
    }

    pub fn is_revoked(&self) -> bool {
        self.record.state == KeyState::Revoked
    }

    /// Whether the key would be refused as expired at `now`. For counting: asking does not make it so.
    pub fn reads_as_expired(&self, now: Timestamp) -> bool {
        self.seen_expired.load(Ordering::Acquire) || self.record.expires_at.is_some_and(|expires_at| now >= expires_at)
    }

    /// Whether the key is expired at `now`, or was at any instant it was presented.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        let Some(expires_at) = self.record.expires_at else {
            return false;
        };
        if self.seen_expired.load(Ordering::Acquire) {
            return true;
        }
        let expired = now >= expires_at;
        if expired {
            self.seen_expired.store(true, Ordering::Release);
        }
        expired
    }

    /// Whether the key may be used from `ip`; from an address that is not known, only where any would do.
    pub fn allows(&self, ip: Option<IpAddr>) -> bool {
        let contains = |ip: IpAddr| self.record.addresses.iter().any(|range| range.contains(&ip));
        self.record.addresses.is_empty() || ip.is_some_and(|ip| contains(ip.to_canonical()))
    }
}

/// The keys, by id.
#[derive(Debug, Default)]
pub struct Directory {
    keys: DashMap<KeyId, Arc<KeyEntry>>,
    /// Every id that was ever revoked here. A backup from before a revocation, put back, must not undo it (S078).
    revoked: DashSet<KeyId>,
}

impl Directory {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn get(&self, id: &KeyId) -> Option<Arc<KeyEntry>> {
        self.keys.get(id).map(|entry| Arc::clone(&entry))
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Looks at every key, in no order; for metrics and listings, not for requests.
    pub fn for_each(&self, mut look: impl FnMut(&KeyEntry)) {
        for entry in &self.keys {
            look(entry.value());
        }
    }

    /// Makes `records` the whole content. Keys that are not among them, and revocations, count from the instant this
    /// returns. Keys that did not change keep their entry, and with it that they were seen expired.
    ///
    /// A key that was revoked once stays so, whatever `records` say of it. Returns how many such keys there were.
    ///
    /// Of two records with the same id the last one counts; a loader refuses such a set before it comes here.
    pub fn replace(&self, records: Vec<KeyRecord>) -> usize {
        let ids: HashSet<KeyId> = records.iter().map(|record| record.id).collect();
        self.keys.retain(|id, _| ids.contains(id));
        drop(ids);
        // Revocations first: they are why anybody hurries.
        let (revoked, rest): (Vec<_>, Vec<_>) = records
            .into_iter()
            .partition(|record| record.state == KeyState::Revoked);
        for record in revoked {
            self.revoked.insert(record.id);
            self.put(record);
        }
        let mut held = 0;
        for mut record in rest {
            if self.revoked.contains(&record.id) {
                record.state = KeyState::Revoked;
                held += 1;
            }
            self.put(record);
        }
        self.keys.shrink_to_fit();
        held
    }

    fn put(&self, record: KeyRecord) {
        let mut seen_expired = false;
        if let Some(entry) = self.keys.get(&record.id) {
            if entry.record == record {
                return;
            }
            // A new expiry is a decision to let the key live on; any other change is none.
            seen_expired = entry.record.expires_at == record.expires_at && entry.seen_expired.load(Ordering::Acquire);
        }
        let entry = KeyEntry {
            record,
            seen_expired: AtomicBool::new(seen_expired),
        };
        self.keys.insert(entry.record.id, Arc::new(entry));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str) -> KeyRecord {
        KeyRecord {
            id: id.parse().unwrap(),
            digest: KeyDigest::sha256(id),
            origin: KeyOrigin::Own,
            environment: KeyEnvironment::Live,
            name: "ci".into(),
            state: KeyState::Active,
            expires_at: None,
            scopes: Arc::default(),
            client: None,
            organization: None,
            addresses: Box::default(),
        }
    }

    const A: &str = "aaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbb";

    fn get(directory: &Directory, id: &str) -> Option<Arc<KeyEntry>> {
        directory.get(&id.parse().unwrap())
    }

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_unix_secs(secs)
    }

    #[test]
    fn s067_a_key_expires_at_its_instant_and_a_clock_set_back_does_not_revive_it() {
        let directory = Directory::new();
        let expiring = KeyRecord {
            expires_at: Some(at(100)),
            ..record(A)
        };
        directory.replace(vec![expiring.clone()]);
        let entry = get(&directory, A).unwrap();
        assert!(!entry.is_expired(Timestamp::from_unix_millis(99_999)));
        assert!(entry.is_expired(at(100)));
        assert!(entry.is_expired(at(50)));

        // Neither does loading it again, changed or not; a new expiry does. Counting does not expire a key.
        let other = KeyEntry {
            record: expiring.clone(),
            seen_expired: AtomicBool::new(false),
        };
        assert!(other.reads_as_expired(at(100)) && !other.is_expired(at(50)));
        directory.replace(vec![expiring.clone()]);
        assert!(get(&directory, A).unwrap().is_expired(at(50)));
        let renamed = KeyRecord {
            name: "renamed".into(),
            ..expiring.clone()
        };
        directory.replace(vec![renamed]);
        assert!(get(&directory, A).unwrap().is_expired(at(50)));
        let prolonged = KeyRecord {
            expires_at: Some(at(200)),
            ..expiring
        };
        directory.replace(vec![prolonged]);
        assert!(!get(&directory, A).unwrap().is_expired(at(150)));
    }

    #[test]
    fn s078_a_key_that_was_revoked_stays_so_when_an_older_file_is_put_back() {
        let directory = Directory::new();
        let revoked = KeyRecord {
            state: KeyState::Revoked,
            ..record(A)
        };
        assert_eq!(directory.replace(vec![revoked, record(B)]), 0);
        assert_eq!(directory.replace(vec![record(A), record(B)]), 1);
        assert_eq!(get(&directory, A).unwrap().record().state, KeyState::Revoked);
        assert_eq!(get(&directory, B).unwrap().record().state, KeyState::Active);
        // Neither does leaving it out for a while.
        directory.replace(vec![record(B)]);
        directory.replace(vec![record(A)]);
        assert_eq!(get(&directory, A).unwrap().record().state, KeyState::Revoked);
    }

    #[test]
    fn a_key_without_expiry_never_expires() {
        let directory = Directory::new();
        directory.replace(vec![record(A)]);
        assert!(!get(&directory, A).unwrap().is_expired(Timestamp::MAX));
    }

    #[test]
    fn what_is_not_loaded_is_gone_and_what_did_not_change_keeps_its_entry() {
        let directory = Directory::new();
        directory.replace(vec![record(A), record(B)]);
        let before = get(&directory, A).unwrap();
        directory.replace(vec![record(A)]);
        assert!(Arc::ptr_eq(&before, &get(&directory, A).unwrap()));
        assert!(get(&directory, B).is_none());
        assert_eq!(directory.len(), 1);
        let revoked = KeyRecord {
            state: KeyState::Revoked,
            ..record(A)
        };
        directory.replace(vec![revoked]);
        assert_eq!(get(&directory, A).unwrap().record().state, KeyState::Revoked);
    }

    #[test]
    fn address_ranges_hold_for_both_spellings_of_an_ipv4_address() {
        let directory = Directory::new();
        directory.replace(vec![KeyRecord {
            addresses: vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()].into(),
            ..record(A)
        }]);
        let entry = get(&directory, A).unwrap();
        for (ip, allowed) in [
            ("192.0.2.255", true),
            ("::ffff:192.0.2.1", true),
            ("192.0.3.0", false),
            ("2001:db8::1", true),
            ("2001:db9::1", false),
        ] {
            assert_eq!(entry.allows(Some(ip.parse().unwrap())), allowed, "{ip}");
        }
    }
}
