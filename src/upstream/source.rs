//! Which addresses does an entry of `endpoints` have now? Names are resolved in the background (`fetch/resolve.rs`), never
//! during a request.

use crate::config::EndpointHost;
use crate::model::clock::Tick;
use crate::model::endpoint_address::EndpointAddress;
use crate::upstream::endpoint::Endpoint;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::SetOnce;

/// The shortest time between two look-ups that failed connections ask for.
const LOOKUP_AGAIN: Duration = Duration::from_secs(1);

/// An entry of `endpoints`. Its state outlives reloads.
#[derive(Debug)]
pub struct EndpointSource {
    host: EndpointHost,
    endpoints: ArcSwap<Vec<SourceEndpoint>>,
    lookups: Mutex<Lookups>,
    /// Set after the first look-up.
    looked_up: SetOnce<()>,
}

/// An address that a name has now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub address: SocketAddr,
    pub rank: Rank,
    /// The host that has the address.
    pub host: Arc<str>,
}

/// The result of a look-up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lookup {
    pub targets: Vec<Target>,
    /// The hosts of SRV records that could not be looked up; the addresses that they had stay in use.
    pub unknown: Vec<Arc<str>>,
    /// The first of their problems.
    pub problem: Option<String>,
}

impl Lookup {
    /// Returns the look-up of a host with these addresses.
    pub fn of_host(host: &str, addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        let host: Arc<str> = host.into();
        let target = |address| Target {
            address,
            rank: Rank::default(),
            host: Arc::clone(&host),
        };
        Self {
            targets: addresses.into_iter().map(target).collect(),
            ..Self::default()
        }
    }
}

/// The place of an address among those of its upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// An endpoint gets requests while none with a lower priority can serve (RFC 2782). 0 without SRV records.
    pub priority: u16,
    /// From 1 to `config::endpoint::WEIGHT_MAX`. `None` without SRV records: that of the entry.
    pub weight: Option<u32>,
}

/// An endpoint of an entry.
#[derive(Clone, Debug)]
pub struct SourceEndpoint {
    pub endpoint: Arc<Endpoint>,
    pub rank: Rank,
    /// The host that has the address; empty for an address and a socket.
    host: Arc<str>,
}

/// The look-ups of a name.
#[derive(Debug, Default)]
struct Lookups {
    is_running: bool,
    /// A failed connection asks for the next look-up at once.
    is_wanted: bool,
    last: Option<Tick>,
    /// The name servers that were asked last; empty for those of the system.
    name_servers: Box<[SocketAddr]>,
    /// The look-ups that failed since the last one that did not.
    failures: u64,
    /// The problem of the last look-up.
    problem: Option<String>,
}

/// A change of the result of look-ups, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LookupChange {
    /// Look-ups begin to fail.
    Fails,
    /// Look-ups succeed again, after this number of failures.
    Succeeds { failures: u64 },
}

impl EndpointSource {
    /// Returns the source of an entry. A name has no endpoints until [`Self::replace`] sets them.
    pub fn new(host: &EndpointHost) -> Self {
        let literal = match host {
            EndpointHost::Inet { host, port } => host
                .parse::<IpAddr>()
                .ok()
                .map(|ip| EndpointAddress::Inet(SocketAddr::new(ip, *port))),
            EndpointHost::Srv { .. } => None,
            EndpointHost::Unix { path } => Some(EndpointAddress::Unix(Arc::clone(path))),
        };
        let endpoints = literal.map(|address| SourceEndpoint {
            endpoint: Arc::new(Endpoint::new(address)),
            rank: Rank::default(),
            host: Arc::default(),
        });
        Self {
            host: host.clone(),
            endpoints: ArcSwap::from_pointee(endpoints.into_iter().collect()),
            lookups: Mutex::default(),
            looked_up: SetOnce::new(),
        }
    }

    pub const fn host(&self) -> &EndpointHost {
        &self.host
    }

    /// Returns the endpoints that the entry has now.
    pub fn endpoints(&self) -> Arc<Vec<SourceEndpoint>> {
        self.endpoints.load_full()
    }

    /// Takes the result of a look-up; addresses that stay keep their state. Returns whether that changed anything.
    pub fn replace(&self, found: Lookup) -> bool {
        let Lookup {
            mut targets, unknown, ..
        } = found;
        let before = self.endpoints.load();
        // Of several records with one address, that of the lowest priority counts, and of those the heaviest.
        targets.sort_unstable_by_key(|target| {
            let Rank { priority, weight } = target.rank;
            (target.address, priority, Reverse(weight))
        });
        targets.dedup_by_key(|target| target.address);
        let endpoint = |Target { address, rank, host }: Target| {
            let address = EndpointAddress::Inet(address);
            let existing = before.iter().find(|found| *found.endpoint.address() == address);
            SourceEndpoint {
                endpoint: existing.map_or_else(
                    || Arc::new(Endpoint::new(address.clone())),
                    |found| Arc::clone(&found.endpoint),
                ),
                rank,
                host,
            }
        };
        let mut endpoints: Vec<SourceEndpoint> = targets.into_iter().map(endpoint).collect();
        for kept in before.iter().filter(|kept| unknown.contains(&kept.host)) {
            if !endpoints
                .iter()
                .any(|found| found.endpoint.uid() == kept.endpoint.uid())
            {
                endpoints.push(kept.clone());
            }
        }
        endpoints.sort_by(|one, other| one.endpoint.address().cmp(other.endpoint.address()));
        let is_same = before.len() == endpoints.len()
            && before
                .iter()
                .zip(&endpoints)
                .all(|(before, now)| before.endpoint.uid() == now.endpoint.uid() && before.rank == now.rank);
        if !is_same {
            self.endpoints.store(Arc::new(endpoints));
        }
        !is_same
    }

    /// Asks for a look-up at once: an address of the name does not take connections any more.
    pub fn want_lookup(&self) {
        if self.host.name().is_some() {
            self.lookups.lock().is_wanted = true;
        }
    }

    /// Returns whether the name is to be looked up now: for the first time, after `every`, because other `name_servers` may
    /// know other addresses, or because a failed connection asks for it. The caller then reports the result to
    /// [`Self::end_lookup`].
    pub fn begin_lookup(&self, name_servers: &[SocketAddr], every: Duration, now: Tick) -> bool {
        if self.host.name().is_none() {
            return false;
        }
        let has_none = self.endpoints.load().is_empty();
        let mut lookups = self.lookups.lock();
        let wait = if lookups.is_wanted || has_none {
            LOOKUP_AGAIN
        } else {
            every
        };
        let has_waited = || lookups.last.is_none_or(|last| now.saturating_since(last) >= wait);
        let is_due = !lookups.is_running && (*lookups.name_servers != *name_servers || has_waited());
        if is_due {
            lookups.name_servers = name_servers.into();
            lookups.is_running = true;
            lookups.is_wanted = false;
            lookups.last = Some(now);
        }
        is_due
    }

    /// Returns whether the name was not looked up yet.
    pub fn is_awaited(&self) -> bool {
        self.host.name().is_some() && !self.looked_up.initialized()
    }

    /// Waits until the name was looked up. An address is not.
    pub async fn looked_up(&self) {
        if self.host.name().is_some() {
            self.looked_up.wait().await;
        }
    }

    /// Returns the problem of the last look-up, if it failed.
    pub fn problem(&self) -> Option<String> {
        self.lookups.lock().problem.clone()
    }

    /// Records the problem of a look-up, or that it had none, after [`Self::replace`]. Returns what to log: repetitions are
    /// counted, not told.
    pub fn end_lookup(&self, problem: Option<String>) -> Option<LookupChange> {
        // It may be set: this is not the first look-up.
        let _ = self.looked_up.set(());
        let mut lookups = self.lookups.lock();
        lookups.is_running = false;
        let has_failed = problem.is_some();
        lookups.problem = problem;
        if has_failed {
            lookups.failures = lookups.failures.saturating_add(1);
            (lookups.failures == 1).then_some(LookupChange::Fails)
        } else {
            let failures = std::mem::take(&mut lookups.failures);
            (failures > 0).then_some(LookupChange::Succeeds { failures })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(10);

    const fn at(millis: u64) -> Tick {
        Tick::from_nanos(millis * 1_000_000)
    }

    fn source(host: &str) -> EndpointSource {
        EndpointSource::new(&EndpointHost::Inet {
            host: host.to_owned(),
            port: 80,
        })
    }

    fn targets(addresses: &[SocketAddr]) -> Lookup {
        Lookup::of_host("api.example", addresses.iter().copied())
    }

    #[test]
    fn the_addresses_of_a_name_keep_their_state() {
        let [one, two, three]: [SocketAddr; 3] = [1, 2, 3].map(|last| ([192, 0, 2, last], 80).into());
        let source = source("api.example");
        assert!(source.endpoints().is_empty());
        assert!(source.replace(targets(&[two, one, two])));
        let before = source.endpoints();
        assert!(!source.replace(targets(&[one, two])), "nothing changed");
        assert!(source.replace(targets(&[two, three])));
        let after = source.endpoints();
        assert!(Arc::ptr_eq(&before[1].endpoint, &after[0].endpoint));
        assert_eq!(*after[1].endpoint.address(), EndpointAddress::Inet(three));
        assert!(Arc::ptr_eq(&after[0].endpoint, &source.endpoints()[0].endpoint));
    }

    #[test]
    fn of_several_records_with_one_address_the_best_counts_and_another_rank_is_a_change() {
        let source = source("api.example");
        let address = ([192, 0, 2, 1], 80).into();
        let ranked = |priority, weight| Target {
            address,
            rank: Rank {
                priority,
                weight: Some(weight),
            },
            host: "a.example".into(),
        };
        let replace = |targets: Vec<Target>| {
            source.replace(Lookup {
                targets,
                ..Lookup::default()
            })
        };
        assert!(replace(vec![ranked(2, 9), ranked(1, 1), ranked(1, 7)]));
        let before = source.endpoints();
        let ranks: Vec<Rank> = before.iter().map(|found| found.rank).collect();
        assert_eq!(ranks, [ranked(1, 7).rank]);
        assert!(!replace(vec![ranked(1, 7)]) && replace(vec![ranked(1, 8)]));
        assert!(Arc::ptr_eq(&before[0].endpoint, &source.endpoints()[0].endpoint));
    }

    #[test]
    fn a_host_that_cannot_be_looked_up_keeps_its_addresses_and_one_that_is_gone_does_not() {
        let source = source("api.example");
        let target = |last: u8, host: &str| Target {
            address: ([192, 0, 2, last], 80).into(),
            rank: Rank::default(),
            host: host.into(),
        };
        let replace = |targets: Vec<Target>, unknown: &[&str]| {
            source.replace(Lookup {
                targets,
                unknown: unknown.iter().map(|host| (*host).into()).collect(),
                problem: None,
            })
        };
        assert!(replace(vec![target(1, "a"), target(2, "b"), target(3, "c")], &[]));
        let before = source.endpoints();
        assert!(replace(vec![target(4, "a")], &["b"]));
        let addresses: Vec<String> = source
            .endpoints()
            .iter()
            .map(|found| found.endpoint.address().to_string())
            .collect();
        assert_eq!(addresses, ["192.0.2.2:80", "192.0.2.4:80"]);
        assert!(Arc::ptr_eq(&before[1].endpoint, &source.endpoints()[0].endpoint));
    }

    #[test]
    fn a_name_is_looked_up_at_once_then_in_turn_and_after_a_failed_connection() {
        let source = source("api.example");
        assert!(source.begin_lookup(&[], EVERY, at(0)));
        assert!(!source.begin_lookup(&[], EVERY, at(20_000)), "one look-up at a time");
        assert_eq!(source.end_lookup(Some("refused".to_owned())), Some(LookupChange::Fails));
        assert!(!source.begin_lookup(&[], EVERY, at(999)) && source.begin_lookup(&[], EVERY, at(1_000)));
        assert_eq!(source.end_lookup(Some("refused".to_owned())), None, "a repetition");
        assert!(source.begin_lookup(&[], EVERY, at(2_000)));
        source.replace(targets(&[([192, 0, 2, 1], 80).into()]));
        assert_eq!(source.problem().as_deref(), Some("refused"));
        assert_eq!(source.end_lookup(None), Some(LookupChange::Succeeds { failures: 2 }));
        assert_eq!(source.problem(), None);
        assert!(!source.begin_lookup(&[], EVERY, at(11_999)) && source.begin_lookup(&[], EVERY, at(12_000)));
        assert_eq!(source.end_lookup(None), None);
        source.want_lookup();
        assert!(!source.begin_lookup(&[], EVERY, at(12_999)) && source.begin_lookup(&[], EVERY, at(13_000)));
        source.end_lookup(None);
        assert!(!source.begin_lookup(&[], EVERY, at(15_000)), "the wish is granted");
    }

    #[test]
    fn other_name_servers_are_asked_at_once_and_one_after_the_other() {
        let source = source("api.example");
        let [one, other]: [[SocketAddr; 1]; 2] = [1, 2].map(|last| [([192, 0, 2, last], 53).into()]);
        assert!(source.begin_lookup(&one, EVERY, at(0)));
        assert!(!source.begin_lookup(&other, EVERY, at(1)), "one look-up at a time");
        source.replace(targets(&[([192, 0, 2, 1], 80).into()]));
        source.end_lookup(None);
        assert!(!source.begin_lookup(&one, EVERY, at(2)) && source.begin_lookup(&other, EVERY, at(2)));
        source.end_lookup(None);
        assert!(!source.begin_lookup(&other, EVERY, at(3)));
    }

    #[test]
    fn an_address_is_never_looked_up() {
        let source = source("192.0.2.1");
        source.want_lookup();
        assert!(!source.begin_lookup(&[], EVERY, at(0)));
        assert_eq!(source.endpoints().len(), 1);
    }
}
