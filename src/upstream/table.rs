//! Which endpoint is the next? A table that is compiled in the background, each time endpoints or their states change, so
//! that a request only looks up.

use crate::config::Balance;
use crate::model::endpoint_address::EndpointAddress;
use crate::model::spread::spread;
use crate::upstream::endpoint::Absence;
use crate::upstream::endpoint::Endpoint;
use pingora_ketama::Bucket;
use pingora_ketama::Continuum;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// The points in the ring of a consistent hash that a choice looks at. Each endpoint has 160 points for each unit of its
/// weight, so that those of some hundred endpoints out of service cannot hide one in service.
const RING_STEPS_MAX: usize = 4096;

/// An endpoint of an upstream, with the weight of its entry.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub endpoint: Arc<Endpoint>,
    /// The position of the entry in `endpoints`.
    pub entry: usize,
    /// From 1 to `config::endpoint::WEIGHT_MAX`.
    pub weight: u32,
    /// Members get requests while none with a lower priority can serve.
    pub priority: u16,
}

/// The endpoints that get requests now.
pub(super) struct Table {
    pub members: Box<[Member]>,
    serving: ServingSet,
    /// Positions in `members`: each one that gets requests as often as its weight says, spread evenly.
    schedule: Box<[u32]>,
    /// The same of the next priority, for requests that no member of the schedule takes.
    standby: Box<[u32]>,
    ring: Option<Ring>,
    /// `true` where an endpoint gets a part of its weight only.
    has_returning: bool,
}

/// The members of a table that get requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ServingSet {
    /// Those in service with this priority.
    Priority(u16),
    /// All but the drained ones: so many fail their health check that the check itself is probably wrong, or the rest would break
    /// down under the load.
    All,
}

/// The ring of a consistent hash.
struct Ring {
    continuum: Continuum,
    /// The position in `members` of each address.
    positions: HashMap<SocketAddr, u32, foldhash::fast::RandomState>,
}

/// The value by which one request chooses.
#[derive(Clone, Copy)]
pub(super) struct Draw<'d> {
    /// The number of choices before.
    pub turn: usize,
    /// The text whose requests go to one endpoint.
    pub key: &'d [u8],
    /// An endpoint that has just failed the request.
    pub avoid: Option<&'d Endpoint>,
}

impl Draw<'_> {
    pub(super) fn avoids(&self, member: &Member) -> bool {
        self.avoid.is_some_and(|avoid| avoid.uid() == member.endpoint.uid())
    }
}

impl Table {
    pub(super) fn compile(members: Vec<Member>, balance: &Balance) -> Self {
        let members: Box<[Member]> = members.into();
        let serving = ServingSet::of(&members);
        let next = match serving {
            ServingSet::Priority(priority) => members
                .iter()
                .filter(|member| member.priority > priority && member.endpoint.is_in_service())
                .map(|member| member.priority)
                .min(),
            ServingSet::All => None,
        };
        let standby = schedule(&members, |member| {
            next == Some(member.priority) && member.endpoint.is_in_service()
        });
        let schedule = schedule(&members, |member| serving.has(member));
        let ring = match balance {
            Balance::ConsistentHash(_) => Some(Ring::new(&members, serving)),
            Balance::RoundRobin | Balance::Random | Balance::LeastRequests => None,
        };
        Self {
            has_returning: members.iter().any(|member| member.endpoint.share() < 100),
            members,
            serving,
            schedule,
            standby,
            ring,
        }
    }

    /// Returns whether so many endpoints are out of service that all are used.
    pub(super) fn is_panic(&self) -> bool {
        self.serving == ServingSet::All
    }

    /// Returns whether `endpoint` may be ejected: at most half of those with its priority are out of service then, or those of another
    /// priority take its requests.
    pub(super) fn may_eject(&self, endpoint: &Endpoint) -> bool {
        let members = &self.members;
        let Some(ejected) = candidates(members).find(|member| member.endpoint.uid() == endpoint.uid()) else {
            return false;
        };
        let equals = || candidates(members).filter(|member| member.priority == ejected.priority);
        let out = equals().filter(|member| !member.endpoint.is_in_service()).count();
        let mut others = candidates(members).filter(|member| member.priority != ejected.priority);
        !exceeds_half(out + 1, equals().count()) || others.any(|other| serves(members, other.priority))
    }

    /// Returns the member for one request; `None` if there is none.
    pub(super) fn choose(&self, balance: &Balance, draw: Draw<'_>) -> Option<&Member> {
        let chosen = match balance {
            Balance::RoundRobin => self.scheduled(draw.turn),
            Balance::Random => self.scheduled(random(draw.turn)),
            Balance::LeastRequests => self.less_loaded(draw.turn),
            Balance::ConsistentHash(_) => self.hashed(draw.key),
        }?;
        if !draw.avoids(chosen) && !self.has_returning {
            return Some(chosen);
        }
        Some(self.reconsider(chosen, draw))
    }

    /// Returns the endpoints that get requests, from that of `turn` on.
    pub(super) fn in_turn(&self, turn: usize) -> impl Iterator<Item = &Member> {
        (0..self.schedule.len()).filter_map(move |step| self.scheduled(turn.wrapping_add(step)))
    }

    fn scheduled(&self, turn: usize) -> Option<&Member> {
        let position = *self.schedule.get(turn % self.schedule.len().max(1))?;
        self.members.get(position as usize)
    }

    /// Returns the one of two endpoints, taken at random, that has fewer requests: it knows nothing of the others, and yet
    /// no endpoint is far behind (Mitzenmacher, "The power of two choices in randomized load balancing", 2001).
    fn less_loaded(&self, turn: usize) -> Option<&Member> {
        let place = random(turn);
        let one = self.scheduled(place)?;
        // Another place in the schedule.
        let others = self.schedule.len().saturating_sub(1).max(1);
        let other = self.scheduled(place.wrapping_add(1 + random(place) % others))?;
        Some(if other.endpoint.in_flight() < one.endpoint.in_flight() {
            other
        } else {
            one
        })
    }

    fn hashed(&self, key: &[u8]) -> Option<&Member> {
        let ring = self.ring.as_ref()?;
        let mut point = ring.continuum.node_idx(key);
        for _ in 0..RING_STEPS_MAX {
            let address = ring.continuum.get_addr(&mut point)?;
            let position = *ring.positions.get(address)?;
            let member = self.members.get(position as usize)?;
            if self.serving.has(member) {
                return Some(member);
            }
        }
        self.scheduled(random(key.len()))
    }

    /// Returns `chosen`, or another member where `chosen` has just failed the request, or gets only a part of its requests: one of
    /// the next priority where no other one takes it.
    #[cold]
    fn reconsider<'t>(&'t self, chosen: &'t Member, draw: Draw<'_>) -> &'t Member {
        let takes = |member: &Member, turn: usize| {
            let share = usize::from(member.endpoint.share());
            // Another hash than that of a random choice.
            !draw.avoids(member) && (share == 100 || random(!turn) % 100 < share)
        };
        if takes(chosen, draw.turn) {
            return chosen;
        }
        let mut others = (1..=self.schedule.len()).filter_map(|step| {
            let turn = draw.turn.wrapping_add(step);
            let is_other = |member: &&Member| member.endpoint.uid() != chosen.endpoint.uid();
            self.scheduled(turn)
                .filter(is_other)
                .filter(|member| takes(member, turn))
        });
        let standby = || {
            let members = (0..self.standby.len()).filter_map(|step| {
                let turn = draw.turn.wrapping_add(step);
                let position = self.standby.get(turn % self.standby.len())?;
                self.members.get(*position as usize)
            });
            members.into_iter().find(|member| !draw.avoids(member))
        };
        // Where all others return too, one of them takes it.
        let any = || self.in_turn(draw.turn).find(|member| !draw.avoids(member));
        others.next().or_else(standby).or_else(any).unwrap_or(chosen)
    }
}

impl ServingSet {
    /// Chooses the lowest priority of which at least half of the members are in service.
    fn of(members: &[Member]) -> Self {
        let priorities: BTreeSet<u16> = candidates(members).map(|member| member.priority).collect();
        match priorities.iter().find(|&&priority| serves(members, priority)) {
            Some(&priority) => Self::Priority(priority),
            None if priorities.is_empty() => Self::Priority(0),
            None => Self::All,
        }
    }

    fn has(self, member: &Member) -> bool {
        match self {
            Self::Priority(priority) => member.priority == priority && member.endpoint.is_in_service(),
            Self::All => !member.endpoint.has(Absence::Drained),
        }
    }
}

/// Returns the members that are not drained.
fn candidates(members: &[Member]) -> impl Iterator<Item = &Member> {
    members.iter().filter(|member| !member.endpoint.has(Absence::Drained))
}

/// Returns whether at least half of the members with this priority are in service.
fn serves(members: &[Member], priority: u16) -> bool {
    let ranked = || candidates(members).filter(|member| member.priority == priority);
    let out = ranked().filter(|member| !member.endpoint.is_in_service()).count();
    !exceeds_half(out, ranked().count())
}

impl Ring {
    /// Returns the ring of the members that may serve now. Those out of service stay in it, so that keys of the others keep their
    /// endpoint.
    fn new(members: &[Member], serving: ServingSet) -> Self {
        let ringed = || {
            let members = members.iter().zip(0..);
            members.filter(|(member, _)| match serving {
                ServingSet::Priority(priority) => member.priority == priority,
                ServingSet::All => true,
            })
        };
        let divisor = common_divisor(ringed().map(|(member, _)| member.weight));
        let address = |member: &Member| address_in_ring(member.endpoint.address());
        let buckets: Vec<Bucket> = ringed()
            .map(|(member, _)| Bucket::new(address(member), member.weight / divisor))
            .collect();
        let positions = ringed().map(|(member, position)| (address(member), position)).collect();
        Self {
            continuum: Continuum::new(&buckets),
            positions,
        }
    }
}

/// Returns the address that stands for `address` in the ring of a consistent hash, which knows no paths. A path has one of
/// the prefix for documentation (RFC 3849), so that it never meets a real address.
fn address_in_ring(address: &EndpointAddress) -> SocketAddr {
    match address {
        EndpointAddress::Inet(address) => *address,
        EndpointAddress::Unix(path) => {
            let bytes = path.as_os_str().as_encoded_bytes();
            let (high, low) = bytes.split_at(bytes.len() / 2);
            let [high, low] = [high, low].map(|half| u128::from(crc32fast::hash(half)));
            let prefix: u128 = 0x2001_0db8 << 96;
            SocketAddr::new((prefix | high << 32 | low).to_be_bytes().into(), 1)
        }
    }
}

/// Returns whether `out` of `all` endpoints are more than the half that may be out of service.
const fn exceeds_half(out: usize, all: usize) -> bool {
    out * 2 > all
}

/// Returns the positions of the members that get requests, each as often as its weight says in lowest terms. Those of one
/// member are as far apart as the others allow.
fn schedule(members: &[Member], gets_requests: impl Fn(&Member) -> bool) -> Box<[u32]> {
    let used = || members.iter().zip(0_u32..).filter(|(member, _)| gets_requests(member));
    let divisor = common_divisor(used().map(|(member, _)| member.weight));
    let mut places: Vec<(f64, u32)> = used()
        .flat_map(|(member, position)| {
            let count = member.weight / divisor;
            // The middle of each of `count` equal parts of the schedule.
            (0..count).map(move |part| ((f64::from(part) + 0.5) / f64::from(count), position))
        })
        .collect();
    places.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    places.into_iter().map(|(_, position)| position).collect()
}

/// Returns the number by which all weights can be divided.
fn common_divisor(weights: impl Iterator<Item = u32>) -> u32 {
    weights.fold(0, greatest_common_divisor).max(1)
}

const fn greatest_common_divisor(one: u32, other: u32) -> u32 {
    let (mut one, mut other) = (one, other);
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
}

/// Returns a number that looks random, a different one for each `turn`. A client that guesses it learns which endpoint it gets.
#[expect(clippy::cast_possible_truncation, reason = "every bit is as random as the others")]
const fn random(turn: usize) -> usize {
    spread(turn as u64) as usize
}

impl std::fmt::Debug for Table {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Table")
            .field("members", &self.members)
            .field("serving", &self.serving)
            .finish_non_exhaustive()
    }
}
