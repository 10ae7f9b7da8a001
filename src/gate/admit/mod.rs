//! Whether now; gives [`Admission`].

pub mod failures;
pub mod headers;
pub mod plan;

pub use plan::PlanLimits;

use crate::config::Limit;
use crate::config::LimitBy;
use crate::gate::authenticate::Identity;
use crate::limit::LimitState;
use crate::limit::key::bucket_key;
use crate::limit::key::ip_key;
use crate::limit::keyed::Level;
use crate::limit::quota::CompiledQuota;
use crate::limit::quota::secs_rounded_up;
use crate::model::clock::Tick;
use crate::model::names::Name;
use crate::model::reason::reasons;
use http::HeaderValue;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// A limit ready to be spent from.
#[derive(Clone, Debug)]
pub struct CompiledLimit {
    name: Name,
    by: Box<[LimitBy]>,
    quota: CompiledQuota,
    policy: HeaderValue,
    state: Arc<LimitState>,
}

impl CompiledLimit {
    /// `state` is the one kept for this limit's name. What was spent under another quota stays spent, but never weighs
    /// more than the whole burst of this one.
    pub fn compile(limit: &Limit, state: &Arc<LimitState>) -> Self {
        let quota = CompiledQuota::compile(&limit.quota);
        Self {
            name: limit.name.clone(),
            by: limit.by.clone().into(),
            policy: headers::policy(&limit.name, &quota),
            quota,
            state: Arc::clone(state),
        }
    }

    pub const fn name(&self) -> &Name {
        &self.name
    }

    fn facts(&self, remaining: u32, reset: Duration) -> LimitFacts {
        LimitFacts {
            limit: self.name.clone(),
            policy: self.policy.clone(),
            policy_requests: self.quota.policy_requests(),
            remaining,
            reset_secs: secs_rounded_up(reset).max(1),
        }
    }
}

/// What the headers say of the limit that is closest to exhaustion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitFacts {
    pub limit: Name,
    policy: HeaderValue,
    policy_requests: u32,
    /// Requests that could be made at once.
    pub remaining: u32,
    /// Seconds until at least one more than `remaining` could be made; at least 1.
    pub reset_secs: u64,
}

/// The limits let a request through. Only this stage can make one.
#[derive(Clone, Debug)]
pub struct Admission {
    closest: Option<LimitFacts>,
}

impl Admission {
    /// `None` where no limit applies.
    pub const fn closest(&self) -> Option<&LimitFacts> {
        self.closest.as_ref()
    }
}

/// A limit refused a request; nothing was spent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("limit `{}` is spent for {} s", self.facts.limit, self.facts.reset_secs)]
pub struct SpentLimit {
    facts: LimitFacts,
}

impl SpentLimit {
    /// The limit that has to be waited for longest.
    pub const fn facts(&self) -> &LimitFacts {
        &self.facts
    }

    /// Whole seconds, at least 1. Waiting exactly that long is enough for all the limits of the route.
    pub const fn retry_after_secs(&self) -> u64 {
        self.facts.reset_secs
    }
}

reasons! {
    SpentLimit {
        Self { .. } => "limit_spent",
    }
}

/// Who and what a request counts for. All of it is proved: a principal's own bucket keys, the address of the connection
/// (or what a trusted proxy says of it), the name of the matched route (S109).
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// `None` on a public route.
    pub identity: Option<&'a Identity>,
    pub client_ip: IpAddr,
    pub route: &'a Name,
}

/// Takes one request out of every limit of a route, or out of none.
///
/// All limits are looked at before any is spent. Should another thread take the last request of one in between, what
/// was already taken from the others is given back.
///
/// # Errors
/// The limit that has to be waited for longest.
pub fn spend(limits: &[CompiledLimit], subject: Subject<'_>, now: Tick) -> Result<Admission, SpentLimit> {
    spend_both(limits, &[], subject, now)
}

/// The same out of the limits of a route and of a plan, as if they were one list. What stands in both is spent once.
///
/// # Errors
/// Those of [`spend`].
pub fn spend_both(
    of_route: &[CompiledLimit],
    of_plan: &[CompiledLimit],
    subject: Subject<'_>,
    now: Tick,
) -> Result<Admission, SpentLimit> {
    let limits = distinct(of_route, of_plan);
    // Nearly always it is one at most. Of one, what is looked at is spent in the same step.
    let mut some = limits.clone();
    match (some.next(), some.next()) {
        (None, _) => return Ok(Admission { closest: None }),
        (Some(only), None) => return spend_one(only, subject, now),
        (Some(_), Some(_)) => {}
    }
    let Some(tightest) = peek_all(limits.clone(), subject, now)? else {
        return Ok(Admission { closest: None });
    };
    // The tightest first: it is the one a race can be lost on, and then there is nothing to give back.
    let first = limits.clone().skip(tightest).take(1);
    let before = limits.clone().take(tightest);
    let after = limits.skip(tightest + 1);
    let mut closest = None;
    spend_each(first.chain(before).chain(after), subject, now, &mut closest)?;
    Ok(Admission {
        closest: closest
            .map(|(limit, level): (&CompiledLimit, Level)| limit.facts(level.remaining, level.refill_after)),
    })
}

fn spend_one(limit: &CompiledLimit, subject: Subject<'_>, now: Tick) -> Result<Admission, SpentLimit> {
    let spending = limit
        .state
        .buckets
        .spend(&limit.quota, key(&limit.by, subject), now)
        .map_err(|wait| SpentLimit {
            facts: limit.facts(0, wait),
        })?;
    Ok(Admission {
        closest: Some(limit.facts(spending.level.remaining, spending.level.refill_after)),
    })
}

/// The limits of a route, and those of a plan that are not among them.
fn distinct<'a>(
    of_route: &'a [CompiledLimit],
    of_plan: &'a [CompiledLimit],
) -> impl Iterator<Item = &'a CompiledLimit> + Clone {
    let is_new = move |limit: &&CompiledLimit| !of_route.iter().any(|known| Arc::ptr_eq(&known.state, &limit.state));
    of_route.iter().chain(of_plan.iter().filter(is_new))
}

/// The place of the limit with the least left; `None` where there are no limits.
fn peek_all<'a>(
    limits: impl Iterator<Item = &'a CompiledLimit>,
    subject: Subject<'_>,
    now: Tick,
) -> Result<Option<usize>, SpentLimit> {
    let mut tightest: Option<(usize, Level)> = None;
    let mut longest: Option<(&CompiledLimit, Duration)> = None;
    for (index, limit) in limits.enumerate() {
        match limit.state.buckets.peek(&limit.quota, key(&limit.by, subject), now) {
            Ok(level) if tightest.is_none_or(|(_, least)| is_closer(level, least)) => tightest = Some((index, level)),
            Ok(_) => {}
            Err(wait) if longest.is_none_or(|(_, most)| wait > most) => longest = Some((limit, wait)),
            Err(_) => {}
        }
    }
    match longest {
        Some((limit, wait)) => Err(SpentLimit {
            facts: limit.facts(0, wait),
        }),
        None => Ok(tightest.map(|(index, _)| index)),
    }
}

/// Spends from the first limit, then from the others; gives the first back when one of the others refuses.
fn spend_each<'a>(
    mut limits: impl Iterator<Item = &'a CompiledLimit> + Clone,
    subject: Subject<'_>,
    now: Tick,
    closest: &mut Option<(&'a CompiledLimit, Level)>,
) -> Result<(), SpentLimit> {
    let Some(limit) = limits.next() else {
        return Ok(());
    };
    let buckets = &limit.state.buckets;
    let key = key(&limit.by, subject);
    let spending = buckets.spend(&limit.quota, key, now).map_err(|wait| SpentLimit {
        facts: limit.facts(0, wait),
    })?;
    if closest.is_none_or(|(_, least)| is_closer(spending.level, least)) {
        *closest = Some((limit, spending.level));
    }
    spend_each(limits, subject, now, closest).inspect_err(|_| buckets.refund(&limit.quota, key, spending))
}

/// Fewer left; of as many, longer until the next.
fn is_closer(level: Level, than: Level) -> bool {
    (level.remaining, std::cmp::Reverse(level.refill_after)) < (than.remaining, std::cmp::Reverse(than.refill_after))
}

/// The bucket that a request counts in.
///
/// A part of `by` that asks for a principal counts by address on a route without one: an anonymous caller is limited
/// too, and not together with every other one.
pub fn key(by: &[LimitBy], subject: Subject<'_>) -> u128 {
    // The parts are outputs of a hash whose key nobody outside knows, so nobody can choose parts that meet in a sum.
    // An odd factor keeps (a, b) apart from (b, a).
    const FACTOR: u128 = 0x2360_ED05_1FC6_5DA4_4385_DF64_9FCC_F645;
    by.iter().fold(0, |sum, by| {
        sum.wrapping_mul(FACTOR).wrapping_add(part_key(*by, subject))
    })
}

fn part_key(by: LimitBy, subject: Subject<'_>) -> u128 {
    let of = |bucket: fn(&Identity) -> u128| subject.identity.map_or_else(|| ip_key(subject.client_ip), bucket);
    match by {
        LimitBy::Credential => of(|identity| identity.buckets.credential),
        LimitBy::Client => of(|identity| identity.buckets.client),
        LimitBy::Subject => of(|identity| identity.buckets.subject),
        LimitBy::Organization => of(|identity| identity.buckets.organization),
        LimitBy::Ip => ip_key(subject.client_ip),
        LimitBy::Route => bucket_key(&["route", subject.route.as_str()]),
    }
}

#[cfg(test)]
mod tests;
