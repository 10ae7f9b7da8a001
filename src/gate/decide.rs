//! May this request pass? The stages in order, and nothing else: memory in, answer out, `now` as an argument.

use crate::config::Mode;
use crate::config::TwoCredentials;
use crate::config::built_in::EndpointKind;
use crate::gate::accept::Inbound;
use crate::gate::accept::Lookup;
use crate::gate::accept::Oddities;
use crate::gate::accept::hygiene;
use crate::gate::admit;
use crate::gate::admit::Admission;
use crate::gate::admit::PlanLimits;
use crate::gate::admit::Subject;
use crate::gate::answer::BuiltIn;
use crate::gate::answer::OwnAnswer;
use crate::gate::answer::Preflight;
use crate::gate::answer::built_in::Answers;
use crate::gate::answer::control;
use crate::gate::answer::control::ControlCall;
use crate::gate::authenticate;
use crate::gate::authenticate::Failure;
use crate::gate::authenticate::Need;
use crate::gate::authenticate::Principal;
use crate::gate::authenticate::introspection::Answered;
use crate::gate::authorize;
use crate::gate::authorize::Entitlement;
use crate::gate::authorize::subscription;
use crate::gate::denial::Denial;
use crate::gate::intake;
use crate::gate::intake::Credential;
use crate::gate::intake::Field;
use crate::gate::live::Live;
use crate::gate::snapshot::Route;
use crate::gate::snapshot::Snapshot;
use crate::model::clock::Now;
use crate::model::clock::Timestamp;
use crate::model::names::Name;
use crate::model::subscription::Subscription;
use http::Method;
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

/// Why [`decide`] did not give a [`Permit`].
pub enum Stop {
    Denied(Denial),
    /// Memory is not enough; once the need is met, the same request is decided again.
    Needs(Need),
    /// There is nothing to forward: the gate answers this itself.
    Answered(OwnAnswer),
    /// There is nothing to forward: the control side answers this, once its body is there.
    Control(ControlCall),
}

impl<T: Into<Denial>> From<T> for Stop {
    fn from(denial: T) -> Self {
        Self::Denied(denial.into())
    }
}

/// What was learned on the way, whichever way it ended: for the access record, the metrics and the challenge.
#[derive(Default)]
pub struct Trail {
    pub route: Option<Arc<Route>>,
    /// The path of the gate's own that was found instead of one.
    pub built_in: Option<Arc<BuiltIn>>,
    pub principal: Option<Principal>,
    /// The subscription that lets the principal in.
    pub subscription: Option<Arc<Subscription>>,
    /// The limits of its plan.
    pub plan_limits: Option<Arc<PlanLimits>>,
    /// What kind of credential was shown, before it was proved.
    pub credential_type: Option<authenticate::CredentialType>,
    /// The first thing that would have refused the request, had it not been told only to count.
    pub would_deny: Option<WouldDeny>,
    /// Two credentials came, and the route reports that in place of refusing it.
    pub reported_two_credentials: bool,
    /// The limit in shadow mode that would have refused.
    pub spent_in_shadow: Option<Name>,
    /// What the issuer said that was asked for this request, as a decision before this one needed.
    pub issuer_answer: Option<Answered>,
    /// A need of an issuer in shadow mode was said before. It has been met since, or cannot be.
    needed: bool,
}

/// What would have refused a request, were it not in shadow mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WouldDeny {
    /// Of the same closed set as [`Denial::reason`].
    pub reason: &'static str,
    /// The rule, limit or issuer, where it has a name.
    pub by: Option<Name>,
}

impl Trail {
    fn would_deny(&mut self, reason: &'static str, by: Option<&Name>) {
        self.would_deny.get_or_insert_with(|| WouldDeny {
            reason,
            by: by.cloned(),
        });
    }
}

/// The stages, as a test's probe sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Accept,
    Intake,
    Authenticate,
    Authorize,
    Limit,
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
    if let Some(found) = snapshot.built_ins.find(inbound.host(), inbound.path()) {
        trail.built_in = Some(Arc::clone(found));
        // No route may wave two credentials through here.
        two?;
        return Err(built_in(found, snapshot, inbound, now));
    }
    if two.is_ok()
        && let Some(answered) = preflight(snapshot, inbound, trail)
    {
        return Err(answered.map_or_else(Stop::Denied, Stop::Answered));
    }
    let route = match (two, find_route(snapshot, inbound)) {
        (Ok(()), found) => found?,
        (Err(_), Ok(route)) if route.intake.two_credentials == TwoCredentials::Report => route,
        // Anywhere else nothing is said of where they came to, and nothing of them is looked up.
        (Err(two), _) => return Err(two.into()),
    };
    trail.route = Some(Arc::clone(&route));
    hygiene::allowed(inbound.oddities(), route.allows)?;

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
        let credential = credential.ok_or(Denial::CredentialMissing)?;
        trail.credential_type = Some(authenticate::kind_of(&credential, &route));

        enter(live, Stage::Authenticate);
        let answered = trail.issuer_answer.as_ref();
        let client_ip = inbound.undisputed_ip();
        match authenticate::authenticate(&credential, &route, snapshot, live, client_ip, answered, now) {
            Ok(principal) => {
                trail.credential_type = Some(principal.identity().credential_type);
                trail.principal = Some(principal.clone());
                enter(live, Stage::Authorize);
                if let Some(holding) = principal.holding() {
                    let subscription = subscription::in_force(holding, &snapshot.plans, &live.directory)?;
                    trail.plan_limits = snapshot.plan_limits.get(&subscription.plan).cloned();
                    trail.subscription = Some(subscription);
                }
                subscription::is_one_of(&route.plans, trail.subscription.as_deref())?;
                let (entitlement, shadow) = authorize::authorize(principal, &route.requirement, inbound.method())?;
                if let Some(forbidden) = shadow {
                    trail.would_deny(forbidden.reason(), route.requirement.rule_name(forbidden));
                }
                entitlement
            }
            Err(failure) => match tried_out(&credential, &route) {
                Some(issuer) => unproved(failure, issuer, trail)?,
                None => return Err(failed(failure, snapshot, inbound, now)),
            },
        }
    };

    // Refused before it is read, and before it costs its client anything.
    let announced = inbound.fields().announced_length();
    if announced.is_some_and(|length| length > snapshot.requests.body_bytes_max) {
        return Err(Stop::Denied(Denial::BodyTooLarge));
    }
    enter(live, Stage::Limit);
    // Spent only after authorization: whoever may not use the route must not drain the client's quota.
    let subject = Subject {
        identity: entitlement.principal().map(Principal::identity),
        client_ip: inbound.client_ip(),
        route: &route.name,
    };
    let plan = trail.plan_limits.as_ref();
    let of_plan = plan.map_or(&[][..], |plan| &plan.limits);
    let admission = admit::spend_both(&route.limits, of_plan, subject, now.tick)?;
    // What these say, no client is told: they do not hold.
    let of_plan = plan.map_or(&[][..], |plan| &plan.shadow_limits);
    if let Err(spent) = admit::spend_both(&route.shadow_limits, of_plan, subject, now.tick) {
        trail.would_deny(spent.reason(), Some(&spent.facts().limit));
        trail.spent_in_shadow = Some(spent.facts().limit.clone());
    }
    Ok(Permit {
        route,
        entitlement,
        admission,
        forwarded,
    })
}

/// The issuer in shadow mode that `credential`, which is not good, names.
fn tried_out<'r>(credential: &Credential<'_>, route: &'r Route) -> Option<&'r Name> {
    match route.issuers_mode {
        Mode::Enforce => None,
        Mode::Shadow => authenticate::named_issuer(credential, route),
    }
}

/// What becomes of a credential that is not good, of an issuer in shadow mode: its request goes on without a principal,
/// also where the issuer's keys or its word are not there to judge it by.
fn unproved(failure: Failure, issuer: &Name, trail: &mut Trail) -> Result<Entitlement, Stop> {
    let reason = match failure {
        Failure::Needs(need) if !trail.needed => {
            trail.needed = true;
            return Err(Stop::Needs(need));
        }
        Failure::Needs(need) => Denial::from(need.lack()).reason(),
        Failure::CannotTell(lack) => Denial::from(lack).reason(),
        Failure::Refused(refusal) => refusal.reason(),
    };
    trail.would_deny(reason, Some(issuer));
    Ok(authorize::unproved())
}

fn find_route(snapshot: &Snapshot, inbound: &Inbound<'_>) -> Result<Arc<Route>, Denial> {
    let same = |one: &Arc<Route>, other: &Arc<Route>| one.protects_like(other, inbound.method());
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

/// What becomes of a request to a path of the gate's own. Nothing is proved here; a document costs no limit.
fn built_in(found: &BuiltIn, snapshot: &Snapshot, inbound: &Inbound<'_>, now: Now) -> Stop {
    let outcome = || {
        intake::refuse_query_credential(inbound)?;
        if found.is_public() && Preflight::of(inbound, &snapshot.api_key_header).is_some() {
            return Ok(Stop::Answered(found.preflight(inbound.headers())));
        }
        // A page that asks whether it may send a request with a secret is told that there is no OPTIONS.
        if !found.methods().contains(inbound.method()) {
            return Err(Denial::MethodNotAllowed(found.methods().into()));
        }
        match found.answers() {
            Answers::Document(document) => Ok(Stop::Answered(document.answer(inbound.method() == Method::HEAD))),
            Answers::Control(endpoint) => {
                let call = ControlCall::of(endpoint, inbound, &snapshot.trusted_proxies).ok_or(Denial::NoRoute)?;
                may_ask(&call, snapshot, inbound, now)?;
                Ok(Stop::Control(call))
            }
        }
    };
    outcome().unwrap_or_else(Stop::Denied)
}

/// Whether the control side is asked at all. It has a limit of its own per address, and counts failed authentications
/// itself: a client that cannot get a token must not be able to lock its neighbours out of the APIs.
fn may_ask(call: &ControlCall, snapshot: &Snapshot, inbound: &Inbound<'_>, now: Now) -> Result<(), Denial> {
    let asks_nothing = match call.endpoint {
        EndpointKind::Metadata => true,
        EndpointKind::Token | EndpointKind::Introspection | EndpointKind::Revocation => false,
    };
    if asks_nothing {
        return Ok(());
    }
    let Some(rules) = &snapshot.token_endpoint else {
        return Err(Denial::ControlUnavailable);
    };
    if !call.confidential && !rules.allow_clear_text {
        return Err(Denial::ClearText);
    }
    let announced = inbound.fields().announced_length();
    if announced.is_some_and(|length| length > control::BODY_BYTES_MAX) {
        return Err(Denial::BodyTooLarge);
    }
    let subject = Subject {
        identity: None,
        client_ip: call.client_ip,
        route: rules.limit.name(),
    };
    admit::spend(std::slice::from_ref(&rules.limit), subject, now.tick)?;
    Ok(())
}

/// The answer to a CORS preflight. It is that of the route which would get the request it asks about: one that lists
/// POST alone must hear of it. `None` for what is no preflight, or none that a route wants answered here; it is then an
/// OPTIONS like any other, and asked for its credential (S097).
///
/// Nothing is proved and no limit is spent: what is said is the same for everybody, costs less than a refusal, and a
/// browser hides a 429 from its page.
fn preflight(snapshot: &Snapshot, inbound: &Inbound<'_>, trail: &mut Trail) -> Option<Result<OwnAnswer, Denial>> {
    let preflight = Preflight::of(inbound, &snapshot.api_key_header)?;
    let same = |one: &Arc<Route>, other: &Arc<Route>| one.protects_like(other, &preflight.method);
    let found = snapshot
        .matcher
        .find(inbound.host(), inbound.path(), &preflight.method, same);
    let Lookup::Found(route) = found else {
        return None;
    };
    let cors = route.cors.as_ref()?;
    trail.route = Some(Arc::clone(route));
    let answer = || {
        hygiene::allowed(inbound.oddities(), route.allows)?;
        intake::no_leak(inbound, &route.intake)?;
        Ok(cors.answer(&preflight, inbound.headers())?)
    };
    Some(answer())
}

/// Without a route there is none that could allow an odd path: it is ambiguous before it is unknown.
fn unrouted(inbound: &Inbound<'_>, denial: Denial) -> Denial {
    hygiene::allowed(inbound.oddities(), Oddities::default())
        .err()
        .map_or(denial, Denial::Accept)
}

/// Whether a credential that was let through would still be, as far as it can be revoked here; for streams, which go on.
pub fn still_counts(principal: &Principal, snapshot: &Snapshot, live: &Live, now: Timestamp) -> bool {
    let in_force = |holding| subscription::in_force(holding, &snapshot.plans, &live.directory).is_ok();
    authenticate::still_believed(principal, &live.directory, now) && principal.holding().is_none_or(in_force)
}

/// Counts a failure of the caller's against its address. A source that failed too often is told so instead of why, so
/// that it learns nothing more; a good credential from there never comes here (S117, S118).
fn failed(failure: Failure, snapshot: &Snapshot, inbound: &Inbound<'_>, now: Now) -> Stop {
    match failure {
        Failure::Needs(need) => Stop::Needs(need),
        Failure::CannotTell(lack) => Stop::Denied(lack.into()),
        Failure::Refused(refusal) => {
            let counted = snapshot
                .failures
                .as_ref()
                .map_or(Ok(()), |limit| limit.record(inbound.client_ip(), now.tick));
            Stop::Denied(match counted {
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
