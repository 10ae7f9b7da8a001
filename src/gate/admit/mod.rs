//! Do the limits allow the request now? If so, the result is an [`Admission`].

pub mod failures;
pub mod headers;
pub mod plan;

pub use plan::PlanLimits;

use crate::config::Limit;
use crate::config::LimitBy;
use crate::config::LimitWindow;
use crate::gate::authenticate::Identity;
use crate::limit::LimitState;
use crate::limit::bucket::Level;
use crate::limit::fixed::FixedQuota;
use crate::limit::key::bucket_key;
use crate::limit::key::source_key;
use crate::limit::quota::CompiledQuota;
use crate::limit::quota::LimitQuota;
use crate::model::client_address::ClientAddress;
use crate::model::clock::Now;
use crate::model::clock::wait_secs;
use crate::model::names::Name;
use crate::model::reason::reasons;
use http::HeaderValue;
use std::sync::Arc;
use std::time::Duration;

/// A limit, compiled with the state of its buckets.
#[derive(Clone, Debug)]
pub struct CompiledLimit {
    name: Name,
    by: Box<[LimitBy]>,
    quota: LimitQuota,
    policy: HeaderValue,
    state: Arc<LimitState>,
}

impl CompiledLimit {
    /// Compiles `limit`; `state` is the state of the limit of that name. Requests that were spent under another quota
    /// stay spent, but at most as many as the burst of the new quota.
    pub fn compile(limit: &Limit, state: &Arc<LimitState>) -> Self {
        let quota = match limit.window {
            LimitWindow::Refilling => LimitQuota::Refilling(CompiledQuota::compile(&limit.quota)),
            LimitWindow::Fixed => LimitQuota::Fixed(FixedQuota::compile(&limit.quota)),
        };
        state.set_outlives_process(limit.is_long());
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

    /// Returns whether `identity` lacks a property that the limit counts by, so that a
    /// [`StandIn`](crate::gate::authenticate::identity::StandIn) is counted in its place.
    pub fn counts_stand_in(&self, identity: &Identity) -> bool {
        self.by.iter().any(|by| identity.stand_in(*by).is_some())
    }

    fn facts(&self, remaining: u32, reset: Duration) -> LimitFacts {
        LimitFacts {
            limit: self.name.clone(),
            policy: self.policy.clone(),
            policy_requests: self.quota.policy_requests(),
            remaining,
            reset_secs: wait_secs(reset),
        }
    }
}

/// The facts about a limit that response headers show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitFacts {
    pub limit: Name,
    policy: HeaderValue,
    policy_requests: u32,
    /// The number of requests that the client could make now, all at once.
    pub remaining: u32,
    /// The seconds until the client could make at least one request more than `remaining`; at least 1.
    pub reset_secs: u64,
}

impl LimitFacts {
    /// Returns the number of requests that can be made at once when none are spent.
    pub const fn requests(&self) -> u32 {
        self.policy_requests
    }
}

/// The proof that the limits let a request through. Only this stage makes an admission.
#[derive(Clone, Debug)]
pub struct Admission {
    closest: Option<LimitFacts>,
}

impl Admission {
    /// Returns the facts about the limit that is closest to exhaustion; `None` where no limit applies.
    pub const fn closest(&self) -> Option<&LimitFacts> {
        self.closest.as_ref()
    }
}

/// The refusal by a limit. No request stays spent, except in the race that [`spend`] describes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("limit `{}` is spent for {} s", self.facts.limit, self.facts.reset_secs)]
pub struct SpentLimit {
    facts: LimitFacts,
}

impl SpentLimit {
    /// Returns the facts about the limit that refused; of several, the limit with the longest wait.
    pub const fn facts(&self) -> &LimitFacts {
        &self.facts
    }

    /// Returns the wait in whole seconds, at least 1. A wait of exactly that time is enough for every limit.
    pub const fn retry_after_secs(&self) -> u64 {
        self.facts.reset_secs
    }
}

reasons! {
    SpentLimit {
        Self { .. } => "limit_spent",
    }
}

/// The subject that a request is counted for. A client cannot choose any part: the bucket keys of the principal are
/// validated, the address is that of the connection or the one that a trusted proxy reports, and the name is that of
/// the matched route (S109).
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// `None` without a principal: on a public route, for the token endpoint, and where a credential failed in shadow
    /// mode.
    pub identity: Option<&'a Identity>,
    pub client: ClientAddress,
    pub route: &'a Name,
}

/// Spends one request from every limit of a route, or from none.
///
/// Checks all limits before spending from any. If another thread takes the last request of a limit in between, the
/// requests already spent from other limits are refunded, except from a bucket that was used since.
///
/// # Errors
/// The limit that refuses; of several, the limit with the longest wait.
pub fn spend(limits: &[CompiledLimit], subject: Subject<'_>, now: Now) -> Result<Admission, SpentLimit> {
    spend_both(limits, &[], subject, now)
}

/// Spends one request from the limits of a route and of a plan, as [`spend`] does. A limit in both lists is spent once.
///
/// # Errors
/// Those of [`spend`].
pub fn spend_both(
    of_route: &[CompiledLimit],
    of_plan: &[CompiledLimit],
    subject: Subject<'_>,
    now: Now,
) -> Result<Admission, SpentLimit> {
    let limits = distinct(of_route, of_plan);
    // Most requests have at most one limit. A single limit is checked and spent in one step.
    let mut some = limits.clone();
    match (some.next(), some.next()) {
        (None, _) => return Ok(Admission { closest: None }),
        (Some(only), None) => return spend_one(only, subject, now),
        (Some(_), Some(_)) => {}
    }
    let Some(tightest) = tightest_of(limits.clone(), subject, now)? else {
        return Ok(Admission { closest: None });
    };
    // Spend from the tightest limit first: a race is most likely lost there, and then there is nothing to refund.
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

fn spend_one(limit: &CompiledLimit, subject: Subject<'_>, now: Now) -> Result<Admission, SpentLimit> {
    let spending = limit
        .state
        .spend(&limit.quota, key(&limit.by, subject), now)
        .map_err(|wait| SpentLimit {
            facts: limit.facts(0, wait),
        })?;
    Ok(Admission {
        closest: Some(limit.facts(spending.level.remaining, spending.level.refill_after)),
    })
}

/// Returns the limits of a route, then those limits of a plan that the route does not have.
fn distinct<'a>(
    of_route: &'a [CompiledLimit],
    of_plan: &'a [CompiledLimit],
) -> impl Iterator<Item = &'a CompiledLimit> + Clone {
    let is_new = move |limit: &&CompiledLimit| !of_route.iter().any(|known| Arc::ptr_eq(&known.state, &limit.state));
    of_route.iter().chain(of_plan.iter().filter(is_new))
}

/// Returns the index of the limit that is closest to exhaustion; `None` where there are no limits. Spends nothing.
///
/// # Errors
/// A limit is spent; of several, the limit with the longest wait.
fn tightest_of<'a>(
    limits: impl Iterator<Item = &'a CompiledLimit>,
    subject: Subject<'_>,
    now: Now,
) -> Result<Option<usize>, SpentLimit> {
    let mut tightest: Option<(usize, Level)> = None;
    let mut longest: Option<(&CompiledLimit, Duration)> = None;
    for (index, limit) in limits.enumerate() {
        match limit.state.peek(&limit.quota, key(&limit.by, subject), now) {
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

/// Spends one request from each limit, and sets `closest` to the limit that is closest to exhaustion. When a limit
/// refuses, refunds the requests spent before.
fn spend_each<'a>(
    mut limits: impl Iterator<Item = &'a CompiledLimit> + Clone,
    subject: Subject<'_>,
    now: Now,
    closest: &mut Option<(&'a CompiledLimit, Level)>,
) -> Result<(), SpentLimit> {
    let Some(limit) = limits.next() else {
        return Ok(());
    };
    let key = key(&limit.by, subject);
    let spending = limit.state.spend(&limit.quota, key, now).map_err(|wait| SpentLimit {
        facts: limit.facts(0, wait),
    })?;
    if closest.is_none_or(|(_, least)| is_closer(spending.level, least)) {
        *closest = Some((limit, spending.level));
    }
    spend_each(limits, subject, now, closest).inspect_err(|_| limit.state.refund(&limit.quota, key, spending))
}

/// Returns whether `level` is closer to exhaustion than `than`: fewer requests left or, with equally many, a longer
/// time until one more is available.
fn is_closer(level: Level, than: Level) -> bool {
    (level.remaining, std::cmp::Reverse(level.refill_after)) < (than.remaining, std::cmp::Reverse(than.refill_after))
}

/// Returns the key of the bucket that a request is counted in.
///
/// Without a principal, the parts of `by` that need a principal use the address instead, so that anonymous clients are
/// limited too, each address by itself.
pub fn key(by: &[LimitBy], subject: Subject<'_>) -> u128 {
    // The parts are outputs of a hash with a secret key, so no client can choose parts with the same sum. The factor
    // makes (a, b) and (b, a) differ; it is odd, so that the multiplication loses no bits.
    const FACTOR: u128 = 0x2360_ED05_1FC6_5DA4_4385_DF64_9FCC_F645;
    by.iter().fold(0, |sum, by| {
        sum.wrapping_mul(FACTOR).wrapping_add(part_key(*by, subject))
    })
}

fn part_key(by: LimitBy, subject: Subject<'_>) -> u128 {
    let of = |bucket: fn(&Identity) -> u128| subject.identity.map_or_else(|| source_key(subject.client), bucket);
    match by {
        LimitBy::Credential => of(|identity| identity.buckets.credential),
        LimitBy::Client => of(|identity| identity.buckets.client),
        LimitBy::Subject => of(|identity| identity.buckets.subject),
        LimitBy::Organization => of(|identity| identity.buckets.organization),
        LimitBy::Ip => source_key(subject.client),
        LimitBy::Route => bucket_key(&["route", subject.route.as_str()]),
    }
}

#[cfg(test)]
mod tests;
