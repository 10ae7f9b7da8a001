//! May this request pass all stages, in their order? Does no I/O; the time is an argument.

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
use crate::gate::authenticate::Trust;
use crate::gate::authorize;
use crate::gate::authorize::CertificateClearance;
use crate::gate::authorize::CertificateError;
use crate::gate::authorize::Entitlement;
use crate::gate::authorize::client_certificate;
use crate::gate::authorize::subscription;
use crate::gate::decision_trace::CredentialOwner;
use crate::gate::decision_trace::DecisionTrace;
use crate::gate::denial::Denial;
use crate::gate::destination::Destination;
use crate::gate::intake;
use crate::gate::intake::Credential;
use crate::gate::intake::Intake;
use crate::gate::intake::IntakeError;
use crate::gate::intake::Place;
use crate::gate::live::LiveState;
use crate::gate::local;
use crate::gate::snapshot::Route;
use crate::gate::snapshot::Snapshot;
use crate::gate::stage::Stage;
use crate::gate::stop::Stop;
use crate::model::clock::Now;
use crate::model::clock::Timestamp;
use crate::model::names::Name;
use http::HeaderName;
use std::sync::Arc;

/// The permission to forward one request. Only [`decide`] makes a permit, and nothing is forwarded without a permit.
///
/// ```compile_fail,E0451
/// use keygate::gate::decide::Permit;
/// fn forge(route: std::sync::Arc<keygate::gate::snapshot::Route>, entitlement: keygate::gate::authorize::Entitlement) -> Permit {
///     Permit { route, destination, entitlement, admission: None, forwarded: None }
/// }
/// ```
pub struct Permit {
    route: Arc<Route>,
    destination: Arc<Destination>,
    entitlement: Entitlement,
    admission: Admission,
    /// The place of the credential that is forwarded.
    forwarded: Option<Place>,
}

impl Permit {
    pub fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// Returns where the request goes.
    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    pub fn principal(&self) -> Option<&Principal> {
        self.entitlement.principal()
    }

    /// Returns whether `Authorization` is forwarded to the upstream.
    pub fn forwards_authorization(&self) -> bool {
        self.forwarded == Some(Place::Authorization)
    }

    /// Returns whether the header of API keys is forwarded to the upstream. Of two credentials that a route reports, it is
    /// not.
    pub fn forwards_api_key(&self) -> bool {
        self.forwarded == Some(Place::ApiKeyHeader)
    }

    /// Returns whether `name`, the `token_header` of some issuer, is forwarded to the upstream.
    pub fn forwards_token_header(&self, name: &HeaderName) -> bool {
        match self.forwarded {
            Some(Place::TokenHeader(index)) => self.route.intake.token_headers.get(index) == Some(name),
            Some(Place::Authorization | Place::ApiKeyHeader | Place::WebSocketProtocols) | None => false,
        }
    }

    /// Returns the admission, with the limit that is closest to exhaustion.
    pub fn admission(&self) -> &Admission {
        &self.admission
    }
}

/// Decides one request.
///
/// Spends from the limits of the route and of the plan only after every other check has passed. Counts a credential
/// that fails authentication as a failure of the client's address. Does not count a missing credential, a malformed
/// header field, a credential that cannot be validated now, and a credential of an issuer in shadow mode.
///
/// # Errors
/// [`Stop::Denied`] with the denial of the first check to fail; [`Stop::Needs`] when keys must be fetched or a token
/// introspected first; [`Stop::Answered`] or [`Stop::Control`] when the request is not for an upstream.
pub fn decide(
    snapshot: &Snapshot,
    live: &LiveState,
    inbound: &Inbound<'_>,
    now: Now,
    trace: &mut DecisionTrace,
) -> Result<Permit, Stop> {
    enter(live, Stage::Accept);
    let two = intake::at_most_one(inbound);
    local::stop_if_local(snapshot, inbound, two, now, trace)?;
    let route = accept(snapshot, inbound, two, trace)?;
    hygiene::check_oddities(inbound.oddities(), route.allows)?;
    if !route.admits(inbound.client()) {
        return Err(Stop::Denied(Denial::AddressNotAllowed));
    }

    enter(live, Stage::Intake);
    let is_imported = |text: &str| snapshot.authenticator.api_keys.is_imported(text);
    let intake = intake::credential(inbound, &route.intake, is_imported)?;
    if let Err(two) = two {
        trace.reported_two_credentials = true;
        trace.would_deny(two.reason(), None);
    }
    let forwarded = intake.place.filter(|_| route.forward_credential);
    let entitlement = if route.public {
        authorize::public(check_certificate(&route, live, inbound)?)
    } else {
        prove(intake, &route, snapshot, live, inbound, now, trace)?
    };

    // Refuse a body that is announced as too large before the body is read, and before limits are spent.
    let announced = inbound.fields().announced_length();
    if announced.is_some_and(|length| length > snapshot.requests.body_bytes_max) {
        return Err(Stop::Denied(Denial::BodyTooLarge));
    }
    enter(live, Stage::Limit);
    // Spend only after authorization: a request that may not use the route must not drain the client's quota.
    let admission = spend(&entitlement, &route, inbound, now, trace)?;
    let destination = route.destinations.choose(inbound, entitlement.principal());
    Ok(Permit {
        destination: Arc::clone(destination),
        route,
        entitlement,
        admission,
        forwarded,
    })
}

/// Returns the route of the request, and records it in `trace`. Two credentials (`two`) are refused with the same error on
/// every path, with a route or without, unless the route reports them.
fn accept(
    snapshot: &Snapshot,
    inbound: &Inbound<'_>,
    two: Result<(), IntakeError>,
    trace: &mut DecisionTrace,
) -> Result<Arc<Route>, Denial> {
    let found = find_route(snapshot, inbound);
    trace.route = found.as_ref().ok().map(Arc::clone);
    match (two, found) {
        (Ok(()), found) => found,
        (Err(_), Ok(route)) if route.intake.two_credentials == TwoCredentials::Report => Ok(route),
        (Err(two), _) => Err(two.into()),
    }
}

/// Returns the entitlement that the credential of `intake` gives on a protected route: authenticates the credential, checks the
/// client's certificate, looks up the subscription, and checks the rules of the route.
///
/// # Errors
/// The first check to fail, or [`Stop::Needs`] when a key or an introspection must be fetched first.
fn prove(
    intake: Intake<'_>,
    route: &Route,
    snapshot: &Snapshot,
    live: &LiveState,
    inbound: &Inbound<'_>,
    now: Now,
    trace: &mut DecisionTrace,
) -> Result<Entitlement, Stop> {
    let credential = intake.credential.ok_or(Denial::CredentialMissing)?;
    let trust = route.trust_in(intake.place);
    trace.credential_type = Some(trust.credential_type(&credential));
    trace.is_bearer_key = matches!(credential, Credential::ApiKey(_)) && intake.place == Some(Place::Authorization);

    enter(live, Stage::Authenticate);
    let verdict = trace.issuer_verdict.as_deref();
    // Never the address of a proxy that does not report its client: a key may be bound to the network of the proxy.
    let client_ip = inbound.client().known();
    let authenticated = snapshot
        .authenticator
        .authenticate(&credential, trust, client_ip, verdict, now);
    let principal = match authenticated {
        Ok(principal) => principal,
        Err(failure) => {
            return match shadow_issuer(&credential, trust) {
                Some(issuer) => {
                    record_in_shadow(failure, issuer, trace)?;
                    Ok(authorize::unproved(check_certificate(route, live, inbound)?))
                }
                None => Err(stop_for(failure, snapshot, inbound, now, trace)),
            };
        }
    };
    trace.credential_type = Some(principal.identity().credential_type);
    trace.owner = Some(CredentialOwner::Principal(principal.clone()));

    enter(live, Stage::Authorize);
    // Before the subscription: a stolen credential on another connection learns nothing about it.
    let clearance = client_certificate::check(&route.client_certificates, inbound.client_certificate())?;
    if let Some(binding) = principal.binding() {
        let subscription = subscription::in_force(binding, &snapshot.plans, &live.directory)?;
        trace.plan_limits = snapshot.plan_limits.get(&subscription.plan).cloned();
        trace.subscription = Some(subscription);
    }
    subscription::check_plan(&route.plans, trace.subscription.as_deref())?;
    let (entitlement, shadow) = authorize::authorize(clearance, principal, &route.requirement, inbound.method())?;
    if let Some(forbidden) = shadow {
        trace.would_deny(forbidden.reason(), route.requirement.rule_name(forbidden));
    }
    Ok(entitlement)
}

/// Spends one request from the limits of the route and of the plan, then from their limits in shadow mode, which refuse
/// nothing and appear in no response.
///
/// # Errors
/// A limit is spent.
fn spend(
    entitlement: &Entitlement,
    route: &Route,
    inbound: &Inbound<'_>,
    now: Now,
    trace: &mut DecisionTrace,
) -> Result<Admission, Stop> {
    let subject = Subject {
        identity: entitlement.principal().map(Principal::identity),
        client: inbound.client(),
        route: &route.name,
    };
    let plan = trace.plan_limits.as_ref();
    let of_plan = plan.map_or(&[][..], |plan| &plan.limits);
    let admission = admit::spend_both(&route.limits, of_plan, subject, now)?;
    let of_plan = plan.map_or(&[][..], |plan| &plan.shadow_limits);
    if let Err(spent) = admit::spend_both(&route.shadow_limits, of_plan, subject, now) {
        trace.would_deny(spent.reason(), Some(&spent.facts().limit));
        trace.spent_in_shadow = Some(spent.facts().limit.clone());
    }
    Ok(admission)
}

/// Returns the issuer that `credential` names, where the issuers of the route are in shadow mode.
fn shadow_issuer<'t>(credential: &Credential<'_>, trust: &'t Trust) -> Option<&'t Name> {
    match trust.mode {
        Mode::Enforce => None,
        Mode::Shadow => trust.issuer_named_by(credential),
    }
}

/// Records in `trace` the suppressed refusal of a credential of `issuer`, which is in shadow mode: the credential failed
/// authentication, or could not be validated now.
///
/// # Errors
/// [`Stop::Needs`], at most once for each request.
fn record_in_shadow(failure: Failure, issuer: &Name, trace: &mut DecisionTrace) -> Result<(), Stop> {
    let reason = match failure {
        Failure::Needs(need) if !trace.need_returned => {
            trace.need_returned = true;
            return Err(Stop::Needs(need));
        }
        Failure::Needs(need) => Denial::from(need.missing_proof()).reason(),
        Failure::Unverifiable(missing) => Denial::from(missing).reason(),
        Failure::Refused { refusal, owner: _ } => refusal.reason(),
    };
    trace.would_deny(reason, Some(issuer));
    Ok(())
}

/// Checks the client's certificate where no principal is authorized. Enters the stage only on routes with requirements on
/// certificates, because such a request has nothing else to authorize.
///
/// # Errors
/// The connection does not meet the requirements of the route.
fn check_certificate(
    route: &Route,
    live: &LiveState,
    inbound: &Inbound<'_>,
) -> Result<CertificateClearance, CertificateError> {
    if !route.client_certificates.is_empty() {
        enter(live, Stage::Authorize);
    }
    client_certificate::check(&route.client_certificates, inbound.client_certificate())
}

/// Returns the route that matches the request. Does not check the oddities of the path.
fn find_route(snapshot: &Snapshot, inbound: &Inbound<'_>) -> Result<Arc<Route>, Denial> {
    let same = |route: &Arc<Route>, other: &Arc<Route>| route.protects_like(other, inbound.method());
    match snapshot.matcher.find(&inbound.route_parts(), same) {
        Lookup::Found(route) => Ok(Arc::clone(route)),
        Lookup::MethodNotAllowed(allowed) => Err(Denial::MethodNotAllowed(allowed.into())),
        Lookup::NearMiss => Err(unrouted(inbound, Denial::PathNearMiss)),
        Lookup::ConditionsUnmet => Err(unrouted(inbound, Denial::ConditionsUnmet)),
        Lookup::Ambiguous(field) => Err(Denial::AmbiguousField(field)),
        Lookup::NotFound => Err(unrouted(inbound, Denial::NoRoute)),
    }
}

/// Returns the denial of a request without a route: `denial`, unless the path has oddities. Such a path is refused as
/// ambiguous (400) rather than as unknown (404), because no route allows the oddities.
fn unrouted(inbound: &Inbound<'_>, denial: Denial) -> Denial {
    hygiene::check_oddities(inbound.oddities(), Oddities::default())
        .err()
        .map_or(denial, Denial::Accept)
}

/// Returns whether the credential of `principal` has not been revoked, and its subscription, if any, is in force. Does
/// not check the expiry. For streams, which outlast their decision.
pub fn is_still_valid(principal: &Principal, snapshot: &Snapshot, live: &LiveState, now: Timestamp) -> bool {
    let in_force = |binding| subscription::in_force(binding, &snapshot.plans, &live.directory).is_ok();
    authenticate::is_still_valid(principal, &live.directory, now) && principal.binding().is_none_or(in_force)
}

/// Returns the stop for a failed authentication. Counts a refused credential as a failure of the client's address. Once
/// an address has failed too often, the denial is [`Denial::TooManyFailures`] in place of the reason, so that the
/// client learns nothing more about its guesses (S118). A valid credential from the same address still passes (S117).
fn stop_for(failure: Failure, snapshot: &Snapshot, inbound: &Inbound<'_>, now: Now, trace: &mut DecisionTrace) -> Stop {
    match failure {
        Failure::Needs(need) => Stop::Needs(need),
        Failure::Unverifiable(missing) => Stop::Denied(missing.into()),
        Failure::Refused { refusal, owner } => {
            trace.owner = owner.map(CredentialOwner::Refused);
            let recorded = snapshot
                .failures
                .as_ref()
                .map_or(Ok(()), |limit| limit.record(inbound.client(), now));
            Stop::Denied(match recorded {
                Ok(()) => Denial::Authentication(refusal),
                Err(retry_after) => Denial::TooManyFailures { retry_after },
            })
        }
    }
}

fn enter(live: &LiveState, stage: Stage) {
    if let Some(probe) = &live.probe {
        probe(stage);
    }
}

#[cfg(test)]
mod tests;
