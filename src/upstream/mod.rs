//! Which endpoint of an upstream gets the next request, and what becomes of those that fail?
//!
//! pingora's crate `pingora-load-balancing` is not used: its services cannot be added after the start, and it has no
//! ejection, no slow return and no least requests. Its ring of a consistent hash, `pingora-ketama`, is.

pub mod endpoint;
pub mod source;
pub mod tls;
mod budget;
mod table;

pub use endpoint::Absence;
pub use endpoint::Endpoint;
pub use endpoint::EndpointState;
pub use source::EndpointSource;
pub use source::Lookup;
pub use source::Rank;
pub use source::Target;
pub use tls::TlsIdentity;

use crate::config;
use crate::model::clock::Tick;
use crate::model::names::Name;
use crate::model::upstream_failure::UpstreamFailure;
use crate::upstream::budget::RetryBudget;
use crate::upstream::table::Draw;
use crate::upstream::table::Member;
use crate::upstream::table::Table;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// An entry of an upstream's `endpoints`.
#[derive(Clone, Debug)]
pub struct Entry {
    pub source: Arc<EndpointSource>,
    /// From 1 to `config::endpoint::WEIGHT_MAX`.
    pub weight: u32,
    /// `None` for an endpoint without TLS.
    pub tls: Option<Arc<TlsIdentity>>,
}

/// The key of a pool of connections. Only connections to the same endpoint with the same identity are interchangeable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionKey {
    endpoint: u64,
    identity: u64,
}

impl ConnectionKey {
    /// Returns the key of an endpoint and an identity, each by its number; 0 is the identity without TLS.
    pub const fn of(endpoint: u64, identity: u64) -> Self {
        Self { endpoint, identity }
    }
}

/// The endpoint for one attempt, which has the request until this value is dropped.
#[derive(Debug)]
pub struct Choice {
    pub endpoint: Arc<Endpoint>,
    /// The position of its entry.
    entry: usize,
    /// `None` without TLS.
    pub tls: Option<Arc<TlsIdentity>>,
    /// Told when the request ends; `None` where no request waits for that.
    room: Option<Arc<Notify>>,
}

/// An endpoint of an upstream, and how it stands among the others.
#[derive(Clone, Debug)]
pub struct ListedEndpoint {
    pub endpoint: Arc<Endpoint>,
    pub weight: u32,
    /// Endpoints get requests while none with a lower priority can serve.
    pub priority: u16,
    /// `None` without TLS.
    pub tls: Option<Arc<TlsIdentity>>,
}

/// The reason for which no endpoint can have a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoChoice {
    NoEndpoint,
    /// Each has as many requests as the settings allow.
    Busy,
}

impl Choice {
    /// Returns the key of the connections that can carry the request.
    pub fn connection_key(&self) -> ConnectionKey {
        ConnectionKey::of(self.endpoint.uid(), self.tls.as_ref().map_or(0, |tls| tls.uid()))
    }
}

impl Drop for Choice {
    fn drop(&mut self) {
        self.endpoint.end_request();
        if let Some(room) = &self.room {
            room.notify_one();
        }
    }
}

/// A change of an endpoint's state, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateChange {
    /// It begins to fail, and stays in service.
    Fails,
    /// It gets no requests until it answers a probe, the first one after this time.
    Ejected { time: Duration },
    /// It answers again, after this number of failures.
    Serves { failures: u64 },
}

/// An endpoint that is to be probed.
#[derive(Clone, Debug)]
pub struct Probe {
    pub endpoint: Arc<Endpoint>,
    pub tls: Option<Arc<TlsIdentity>>,
}

/// The state of an upstream that outlives a reload, but for that of its endpoints.
#[derive(Debug, Default)]
pub struct UpstreamState {
    /// The number of choices so far, so that a reload does not start over at the first endpoint.
    turn: AtomicUsize,
    budget: RetryBudget,
    /// Told when a request ends.
    room: Arc<Notify>,
    /// The upstream of each snapshot in use. The lock also makes one decision on endpoints follow the other.
    snapshots: Mutex<Vec<Weak<Upstream>>>,
}

impl UpstreamState {
    /// Returns the upstream of the latest snapshot in use.
    pub fn latest(&self) -> Option<Arc<Upstream>> {
        self.snapshots.lock().iter().rev().find_map(Weak::upgrade)
    }
}

/// An upstream in a snapshot: its settings and its endpoints. The state of the endpoints outlives the snapshot.
#[derive(Debug)]
pub struct Upstream {
    pub settings: config::Upstream,
    entries: Box<[Entry]>,
    state: Arc<UpstreamState>,
    table: ArcSwap<Table>,
    /// The upstream of the snapshot before. It serves until new names were looked up, so that a reload loses no request.
    before: Option<Arc<Self>>,
}

impl Upstream {
    /// Returns an upstream. The upstreams of one name in successive snapshots share `state`.
    pub fn new(settings: config::Upstream, entries: Vec<Entry>, state: &Arc<UpstreamState>) -> Arc<Self> {
        // Under the lock, so that a later change of an endpoint recompiles this upstream too.
        let mut snapshots = state.snapshots.lock();
        snapshots.retain(|snapshot| snapshot.strong_count() > 0);
        let table = ArcSwap::from_pointee(Table::compile(members(&entries), &settings.balance));
        let is_awaited = entries.iter().any(|entry| entry.source.is_awaited());
        let upstream = Arc::new(Self {
            settings,
            entries: entries.into(),
            state: Arc::clone(state),
            table,
            before: snapshots.iter().rev().find_map(Weak::upgrade).filter(|_| is_awaited),
        });
        snapshots.push(Arc::downgrade(&upstream));
        drop(snapshots);
        upstream
    }

    pub fn name(&self) -> &Name {
        &self.settings.name
    }

    /// Returns the endpoint for a request with the hash key `key`, which other policies than a consistent hash ignore; not
    /// `avoid`, which has just failed the request, if there is another one.
    ///
    /// # Errors
    /// No endpoint has an address, all are drained, or all have as many requests as the settings allow.
    pub fn choose(&self, key: &[u8], avoid: Option<&Endpoint>) -> Result<Choice, NoChoice> {
        let turn = self.state.turn.fetch_add(1, Ordering::Relaxed);
        let table = self.table.load();
        let draw = Draw { turn, key, avoid };
        let Some(member) = table.choose(&self.settings.balance, draw) else {
            return self.choose_before(key, avoid);
        };
        let max = self.settings.requests_max;
        let member = if member.endpoint.begin_request(max) {
            member
        } else {
            let mut others = table.in_turn(turn).filter(|other| !draw.avoids(other));
            others
                .find(|other| other.endpoint.begin_request(max))
                .ok_or(NoChoice::Busy)?
        };
        Ok(Choice {
            endpoint: Arc::clone(&member.endpoint),
            entry: member.entry,
            tls: self.entries.get(member.entry).and_then(|entry| entry.tls.clone()),
            room: max.map(|_| Arc::clone(&self.state.room)),
        })
    }

    /// Returns an endpoint of the snapshot before, while a name of this one was not looked up.
    #[cold]
    fn choose_before(&self, key: &[u8], avoid: Option<&Endpoint>) -> Result<Choice, NoChoice> {
        match &self.before {
            Some(before) if self.entries.iter().any(|entry| entry.source.is_awaited()) => before.choose(key, avoid),
            Some(_) | None => Err(NoChoice::NoEndpoint),
        }
    }

    /// Ends when some request of the upstream has ended, since this was called and enabled.
    pub fn room(&self) -> Notified<'_> {
        self.state.room.notified()
    }

    /// Pays for one request into the budget of retries.
    pub fn deposit_retries(&self) {
        self.state.budget.deposit(self.settings.retries.budget_percent);
    }

    /// Takes one retry from the budget; returns `false` if it is spent.
    pub fn withdraw_retry(&self) -> bool {
        self.state.budget.withdraw()
    }

    /// Records that the endpoint failed a request, and ejects it where the settings say so and enough others are in service
    /// then. Returns what to log.
    pub fn note_failure(&self, endpoint: &Endpoint, failure: UpstreamFailure, now: Tick) -> Option<StateChange> {
        let failures = endpoint.count_failure(failure, now);
        if let Some(ejection) = &self.settings.ejection
            && failures.consecutive >= ejection.failures
            && !endpoint.has(Absence::Ejected)
        {
            let snapshots = self.state.snapshots.lock();
            // Another request may have come first.
            if !endpoint.has(Absence::Ejected) && self.table.load().may_eject(endpoint) {
                let time = endpoint.eject(ejection, now);
                recompile(&snapshots);
                return Some(StateChange::Ejected { time });
            }
        }
        failures.is_first.then_some(StateChange::Fails)
    }

    /// Records a response. Returns what to log.
    pub fn note_response(&self, endpoint: &Endpoint, now: impl FnOnce() -> Tick) -> Option<StateChange> {
        let failures = endpoint.note_response(now)?;
        Some(StateChange::Serves { failures })
    }

    /// Asks for a look-up of the name of `choice`: its address does not take connections.
    pub fn want_lookup(&self, choice: &Choice) {
        if let Some(entry) = self.entries.get(choice.entry) {
            entry.source.want_lookup();
        }
    }

    /// Lets endpoints that return have more requests, and returns those to probe now.
    pub fn tick(&self, now: Tick) -> Vec<Probe> {
        let return_time = self
            .settings
            .ejection
            .as_ref()
            .map_or(RETURN_TIME, |ejection| ejection.return_time);
        let table = self.table.load_full();
        let (mut probes, mut has_changed) = (Vec::new(), false);
        for member in &table.members {
            let endpoint = &member.endpoint;
            has_changed |= endpoint.share() < 100 && endpoint.grow(return_time, now);
            // A reload has removed the check that could pass.
            has_changed |= self.settings.health.is_none() && endpoint.set(Absence::CheckFailed, false);
            if endpoint.begin_probe(now) {
                probes.push(self.probe_of(member));
            }
        }
        if has_changed {
            recompile(&self.state.snapshots.lock());
        }
        probes
    }

    /// Records whether an ejected endpoint answered its probe. Returns what to log.
    pub fn note_probe(&self, endpoint: &Endpoint, has_answered: bool, now: Tick) -> Option<StateChange> {
        let ejection = self.settings.ejection.as_ref();
        if !has_answered && let Some(ejection) = ejection {
            endpoint.prolong_ejection(ejection, now);
            return None;
        }
        let snapshots = self.state.snapshots.lock();
        let failures = endpoint.readmit(now);
        recompile(&snapshots);
        Some(StateChange::Serves { failures })
    }

    /// Returns the endpoints to check now.
    pub fn due_checks(&self, now: Tick) -> Vec<Probe> {
        let Some(check) = &self.settings.health else {
            return Vec::new();
        };
        let table = self.table.load();
        let due = table.members.iter();
        let due = due.filter(|member| member.endpoint.begin_check(check.interval, now));
        due.map(|member| self.probe_of(member)).collect()
    }

    fn probe_of(&self, member: &Member) -> Probe {
        Probe {
            endpoint: Arc::clone(&member.endpoint),
            tls: self.entries.get(member.entry).and_then(|entry| entry.tls.clone()),
        }
    }

    /// Records the result of a health check. Returns whether the endpoint is healthy where that changes with it.
    pub fn note_check(&self, endpoint: &Endpoint, result: Result<(), String>, now: Tick) -> Option<bool> {
        let is_healthy = endpoint.end_check(self.settings.health.as_ref()?, result)?;
        let snapshots = self.state.snapshots.lock();
        if is_healthy {
            endpoint.begin_return(now);
        }
        endpoint.set(Absence::CheckFailed, !is_healthy);
        recompile(&snapshots);
        Some(is_healthy)
    }

    /// Takes the endpoint out of service, or puts it back, as an operator says. Returns whether that changed anything. Requests
    /// that the endpoint has already go on.
    pub fn drain(&self, endpoint: &Endpoint, is_drained: bool, now: Tick) -> bool {
        let snapshots = self.state.snapshots.lock();
        let has_changed = endpoint.set(Absence::Drained, is_drained);
        if has_changed {
            if !is_drained {
                endpoint.begin_return(now);
            }
            recompile(&snapshots);
        }
        has_changed
    }

    /// Takes the endpoints that the entries have now, in every snapshot in use.
    pub fn refresh(&self) {
        recompile(&self.state.snapshots.lock());
    }

    /// Returns whether so many endpoints are out of service that all are used.
    pub fn is_in_panic(&self) -> bool {
        self.table.load().is_panic()
    }

    /// Returns the endpoints that the upstream has now.
    pub fn endpoints(&self) -> Vec<ListedEndpoint> {
        let table = self.table.load();
        let members = table.members.iter().map(|member| {
            let tls = self.entries.get(member.entry).and_then(|entry| entry.tls.clone());
            ListedEndpoint {
                endpoint: Arc::clone(&member.endpoint),
                weight: member.weight,
                priority: member.priority,
                tls,
            }
        });
        members.collect()
    }

    /// Returns the entries, for look-ups of their names.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

/// The time of an endpoint's return where the settings say none, because endpoints are not ejected.
const RETURN_TIME: Duration = Duration::from_secs(10);

/// Compiles the tables of `snapshots` anew, after endpoints or their states have changed.
fn recompile(snapshots: &[Weak<Upstream>]) {
    for upstream in snapshots.iter().filter_map(Weak::upgrade) {
        let table = Table::compile(members(&upstream.entries), &upstream.settings.balance);
        upstream.table.store(Arc::new(table));
    }
}

/// Returns the endpoints of `entries`. An address of several entries is one endpoint for each.
fn members(entries: &[Entry]) -> Vec<Member> {
    let mut members = Vec::new();
    for (position, entry) in entries.iter().enumerate() {
        for found in entry.source.endpoints().iter() {
            members.push(Member {
                endpoint: Arc::clone(&found.endpoint),
                entry: position,
                weight: found.rank.weight.unwrap_or(entry.weight),
                priority: found.rank.priority,
            });
        }
    }
    members
}

#[cfg(test)]
mod tests;
