//! May this request pass? The stages in order, and nothing else: memory in, answer out, `now` as an argument.

use crate::config::Mode;
use crate::config::TwoCredentials;
use crate::gate::accept::Inbound;
use crate::gate::accept::Lookup;
use crate::gate::accept::Oddities;
use crate::gate::accept::hygiene;
use crate::gate::admit;
use crate::gate::admit::Admission;
use crate::gate::admit::Subject;
use crate::gate::authenticate;
use crate::gate::authenticate::Failure;
use crate::gate::authenticate::Principal;
use crate::gate::authorize;
use crate::gate::authorize::Entitlement;
use crate::gate::authorize::subscription;
use crate::gate::denial::Denial;
use crate::gate::intake;
use crate::gate::intake::Credential;
use crate::gate::intake::Field;
use crate::gate::intake::IntakeError;
use crate::gate::live::Live;
use crate::gate::local;
use crate::gate::snapshot::Route;
use crate::gate::snapshot::Snapshot;
use crate::gate::stage::Stage;
use crate::gate::stop::Stop;
use crate::gate::trail::Trail;
use crate::model::clock::Now;
use crate::model::clock::Timestamp;
use crate::model::names::Name;
use std::sync::Arc;

/// Leave to forward one request. Only [`decide`] makes one, and forwarding takes nothing else.
///
/// ```compile_fail,E0451
/// use keygate::gate::decide::Permit;
/// fn forge(route: std::sync::Arc<keygate::gate::snapshot::Route>, entitlement: keygate::gate::authorize::Entitlement) -> Permit {
///     Permit { route, entitlement, admission: None, forwarded: None }
/// }
/// ```
pub struct Permit {
    route: Arc<Route>,
    entitlement: Entitlement,
    admission: Admission,
    forwarded: Option<Field>,
}

impl Permit {
    pub fn route(&self) -> &Arc<Route> {
        &self.route
    }

    pub fn principal(&self) -> Option<&Principal> {
        self.entitlement.principal()
    }

    /// Whether `Authorization` goes on to the upstream.
    pub fn forwards_authorization(&self) -> bool {
        self.forwarded == Some(Field::Authorization)
    }

    /// Whether the API key goes on to the upstream. Of two credentials that are reported, the key does not.
    pub fn forwards_api_key(&self) -> bool {
        self.forwarded == Some(Field::ApiKey)
    }

    /// What is left of the limits.
    pub fn admission(&self) -> &Admission {
        &self.admission
    }
}

/// Decides one request.
///
/// Spends from the route's limits when, and only when, everything else allows the request. Counts a failed
/// authentication against its source.
///
/// # Errors
/// [`Stop::Denied`] with the first stage's refusal, [`Stop::Needs`] when an issuer has to be asked for keys or its word,
/// [`Stop::Answered`] when no upstream has to be asked.
pub fn decide(
    snapshot: &Snapshot,
    live: &Live,
    inbound: &Inbound<'_>,
    now: Now,
    trail: &mut Trail,
) -> Result<Permit, Stop> {
    enter(live, Stage::Accept);
    let two = intake::at_most_one(inbound);
    local::answer(snapshot, inbound, two, now, trail)?;
    let route = accept(snapshot, inbound, two)?;
    trail.route = Some(Arc::clone(&route));
    hygiene::check_oddities(inbound.oddities(), route.allows)?;

    enter(live, Stage::Intake);
    let credential = intake::credential(inbound, &route.intake)?;
    if let Err(two) = two {
        trail.reported_two_credentials = true;
        trail.would_deny(two.reason(), None);
    }
    let forwarded = credential
        .as_ref()
        .map(Credential::field)
        .filter(|_| route.forward_credential);
    let entitlement = if route.public {
        authorize::public()
    } else {
        prove(credential, &route, snapshot, live, inbound, now, trail)?
    };

    // Refused before it is read, and before it costs its client anything.
    let announced = inbound.fields().announced_length();
    if announced.is_some_and(|length| length > snapshot.requests.body_bytes_max) {
        return Err(Stop::Denied(Denial::BodyTooLarge));
    }
    enter(live, Stage::Limit);
    // Spend only after authorization: a caller who may not use the route must not drain the client's quota.
    let admission = spend(&entitlement, &route, inbound, now, trail)?;
    Ok(Permit {
        route,
        entitlement,
        admission,
        forwarded,
    })
}

/// Returns the route of a request. One with two credentials gets the route that reports them; on every other path it is
/// told of them alone, and nothing is looked up.
fn accept(snapshot: &Snapshot, inbound: &Inbound<'_>, two: Result<(), IntakeError>) -> Result<Arc<Route>, Denial> {
    match (two, find_route(snapshot, inbound)) {
        (Ok(()), found) => found,
        (Err(_), Ok(route)) if route.intake.two_credentials == TwoCredentials::Report => Ok(route),
        (Err(two), _) => Err(two.into()),
    }
}

/// Returns what the bearer of `credential` is entitled to on a route that asks for one: whose it is, under which
/// subscription, and whether the route's rules hold.
///
/// # Errors
/// The first check to fail, or what is needed to make it.
fn prove(
    credential: Option<Credential<'_>>,
    route: &Route,
    snapshot: &Snapshot,
    live: &Live,
    inbound: &Inbound<'_>,
    now: Now,
    trail: &mut Trail,
) -> Result<Entitlement, Stop> {
    let credential = credential.ok_or(Denial::CredentialMissing)?;
    trail.credential_type = Some(route.trust.credential_type(&credential));

    enter(live, Stage::Authenticate);
    let verdict = trail.issuer_verdict.as_ref();
    let client_ip = inbound.undisputed_ip();
    let authenticated = snapshot
        .authenticator
        .authenticate(&credential, &route.trust, client_ip, verdict, now);
    let principal = match authenticated {
        Ok(principal) => principal,
        Err(failure) => {
            return match shadow_issuer(&credential, route) {
                Some(issuer) => pass_in_shadow(failure, issuer, trail),
                None => Err(stop_for(failure, snapshot, inbound, now)),
            };
        }
    };
    trail.credential_type = Some(principal.identity().credential_type);
    trail.principal = Some(principal.clone());

    enter(live, Stage::Authorize);
    if let Some(binding) = principal.binding() {
        let subscription = subscription::in_force(binding, &snapshot.plans, &live.directory)?;
        trail.plan_limits = snapshot.plan_limits.get(&subscription.plan).cloned();
        trail.subscription = Some(subscription);
    }
    subscription::check_plan(&route.plans, trail.subscription.as_deref())?;
    let (entitlement, shadow) = authorize::authorize(principal, &route.requirement, inbound.method())?;
    if let Some(forbidden) = shadow {
        trail.would_deny(forbidden.reason(), route.requirement.rule_name(forbidden));
    }
    Ok(entitlement)
}

/// Takes one request out of the limits of the route and of the plan. Limits in shadow mode count, and no client is told of
/// them: they do not hold.
///
/// # Errors
/// A limit is spent.
fn spend(
    entitlement: &Entitlement,
    route: &Route,
    inbound: &Inbound<'_>,
    now: Now,
    trail: &mut Trail,
) -> Result<Admission, Stop> {
    let subject = Subject {
        identity: entitlement.principal().map(Principal::identity),
        client_ip: inbound.client_ip(),
        route: &route.name,
    };
    let plan = trail.plan_limits.as_ref();
    let of_plan = plan.map_or(&[][..], |plan| &plan.limits);
    let admission = admit::spend_both(&route.limits, of_plan, subject, now.tick)?;
    let of_plan = plan.map_or(&[][..], |plan| &plan.shadow_limits);
    if let Err(spent) = admit::spend_both(&route.shadow_limits, of_plan, subject, now.tick) {
        trail.would_deny(spent.reason(), Some(&spent.facts().limit));
        trail.spent_in_shadow = Some(spent.facts().limit.clone());
    }
    Ok(admission)
}

/// Returns the issuer in shadow mode that `credential`, which is not good, names.
fn shadow_issuer<'r>(credential: &Credential<'_>, route: &'r Route) -> Option<&'r Name> {
    match route.trust.mode {
        Mode::Enforce => None,
        Mode::Shadow => route.trust.issuer_named_by(credential),
    }
}

/// What becomes of a credential that is not good, of an issuer in shadow mode: its request goes on without a principal,
/// also where the issuer's keys or its word are not there to judge it by.
fn pass_in_shadow(failure: Failure, issuer: &Name, trail: &mut Trail) -> Result<Entitlement, Stop> {
    let reason = match failure {
        Failure::Needs(need) if !trail.need_returned => {
            trail.need_returned = true;
            return Err(Stop::Needs(need));
        }
        Failure::Needs(need) => Denial::from(need.missing_proof()).reason(),
        Failure::Unverifiable(missing) => Denial::from(missing).reason(),
        Failure::Refused(refusal) => refusal.reason(),
    };
    trail.would_deny(reason, Some(issuer));
    Ok(authorize::unproved())
}

fn find_route(snapshot: &Snapshot, inbound: &Inbound<'_>) -> Result<Arc<Route>, Denial> {
    let same = |route: &Arc<Route>, other: &Arc<Route>| route.protects_like(other, inbound.method());
    match snapshot
        .matcher
        .find(inbound.host(), inbound.path(), inbound.method(), same)
    {
        Lookup::Found(route) => Ok(Arc::clone(route)),
        Lookup::MethodNotAllowed(allowed) => Err(Denial::MethodNotAllowed(allowed.into())),
        Lookup::NearMiss => Err(unrouted(inbound, Denial::PathNearMiss)),
        Lookup::NotFound => Err(unrouted(inbound, Denial::NoRoute)),
    }
}

/// Without a route there is none that could allow an odd path: it is ambiguous before it is unknown.
fn unrouted(inbound: &Inbound<'_>, denial: Denial) -> Denial {
    hygiene::check_oddities(inbound.oddities(), Oddities::default())
        .err()
        .map_or(denial, Denial::Accept)
}

/// Whether a credential that was let through would still be, as far as it can be revoked here; for streams, which go on.
pub fn is_still_valid(principal: &Principal, snapshot: &Snapshot, live: &Live, now: Timestamp) -> bool {
    let in_force = |binding| subscription::in_force(binding, &snapshot.plans, &live.directory).is_ok();
    authenticate::is_still_valid(principal, &live.directory, now) && principal.binding().is_none_or(in_force)
}

/// Counts a failure of the caller's against its address. A source that failed too often is told so instead of why, so
/// that it learns nothing more; a good credential from there never comes here (S117, S118).
fn stop_for(failure: Failure, snapshot: &Snapshot, inbound: &Inbound<'_>, now: Now) -> Stop {
    match failure {
        Failure::Needs(need) => Stop::Needs(need),
        Failure::Unverifiable(missing) => Stop::Denied(missing.into()),
        Failure::Refused(refusal) => {
            let recorded = snapshot
                .failures
                .as_ref()
                .map_or(Ok(()), |limit| limit.record(inbound.client_ip(), now.tick));
            Stop::Denied(match recorded {
                Ok(()) => Denial::Authentication(refusal),
                Err(retry_after) => Denial::TooManyFailures { retry_after },
            })
        }
    }
}

fn enter(live: &Live, stage: Stage) {
    if let Some(probe) = &live.probe {
        probe(stage);
    }
}
