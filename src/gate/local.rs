//! Which requests does the gate answer itself, before any route? Requests to built-in paths, and CORS preflights.

use crate::config::built_in::EndpointKind;
use crate::gate::accept::Inbound;
use crate::gate::accept::hygiene;
use crate::gate::admit;
use crate::gate::admit::Subject;
use crate::gate::answer::Answer;
use crate::gate::answer::BuiltIn;
use crate::gate::answer::Preflight;
use crate::gate::answer::built_in::AnswerSource;
use crate::gate::answer::control;
use crate::gate::answer::control::ControlCall;
use crate::gate::decision_trace::DecisionTrace;
use crate::gate::denial::Denial;
use crate::gate::intake;
use crate::gate::intake::IntakeError;
use crate::gate::snapshot::Snapshot;
use crate::gate::snapshot::common_cors;
use crate::gate::stop::Stop;
use crate::model::clock::Now;
use crate::observe::metrics::AnswerLabel;
use http::Method;
use std::sync::Arc;

/// Answers a request to a built-in path, or a CORS preflight on a route with CORS. `two` is the result of the check for
/// two credentials. Returns `Ok` for every other request.
///
/// # Errors
/// The answer to the request, or its denial, as a [`Stop`].
pub fn stop_if_local(
    snapshot: &Snapshot,
    inbound: &Inbound<'_>,
    two: Result<(), IntakeError>,
    now: Now,
    trace: &mut DecisionTrace,
) -> Result<(), Stop> {
    if let Some(found) = snapshot.built_ins.find(inbound.host(), inbound.path()) {
        trace.built_in = Some(Arc::clone(found));
        // Only a route can have `two_credentials: report`; a built-in path always refuses two credentials.
        two?;
        return Err(built_in(found, snapshot, inbound, now));
    }
    if two.is_ok()
        && let Some(outcome) = preflight(snapshot, inbound, trace)
    {
        return Err(outcome.map_or_else(Stop::Denied, |answer| Stop::Answered(AnswerLabel::Preflight, answer)));
    }
    Ok(())
}

/// Returns the outcome of a request to a built-in path. Authenticates nothing, and spends a limit only for the token
/// endpoint and its siblings.
fn built_in(found: &BuiltIn, snapshot: &Snapshot, inbound: &Inbound<'_>, now: Now) -> Stop {
    let outcome = || {
        intake::refuse_query_credential(inbound)?;
        if found.is_public() && Preflight::of(inbound, &snapshot.api_key_header).is_some() {
            let answer = found.preflight(inbound.headers());
            return Ok(Stop::Answered(AnswerLabel::Preflight, answer));
        }
        // An endpoint that takes secrets has no OPTIONS, so a preflight for it is refused here.
        if !found.methods().contains(inbound.method()) {
            return Err(Denial::MethodNotAllowed(found.methods().into()));
        }
        match found.source() {
            AnswerSource::Document(document) => {
                let answer = document.answer(inbound.method() == Method::HEAD);
                Ok(Stop::Answered(AnswerLabel::Document, answer))
            }
            AnswerSource::Control(endpoint) => {
                let call = ControlCall::of(endpoint, inbound, &snapshot.trusted_proxies).ok_or(Denial::NoRoute)?;
                check_control_call(&call, snapshot, inbound, now)?;
                Ok(Stop::Control(call))
            }
        }
    };
    outcome().unwrap_or_else(Stop::Denied)
}

/// Checks whether the control side may be called, and spends one request from the limit of the token endpoint. That
/// limit is apart from those of the routes, and the control side counts failed client authentications itself: a client
/// that cannot get a token must not lock other clients of its address out of the APIs.
///
/// # Errors
/// No token endpoint is configured, the request is not confidential, its body is too long, or the limit is spent.
fn check_control_call(call: &ControlCall, snapshot: &Snapshot, inbound: &Inbound<'_>, now: Now) -> Result<(), Denial> {
    let is_metadata = match call.endpoint {
        EndpointKind::Metadata => true,
        EndpointKind::Token | EndpointKind::Introspection | EndpointKind::Revocation => false,
    };
    if is_metadata {
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
        client: call.client,
        route: rules.limit.name(),
    };
    admit::spend(std::slice::from_ref(&rules.limit), subject, now)?;
    Ok(())
}

/// Returns the answer to a CORS preflight, by the rules of the route that matches the announced method: a route that
/// lists only POST answers the preflight of a POST. Returns `None` where the request is not a preflight, or where the
/// route has no CORS rules; also where several routes match by their conditions and do not all have the same rules. Such a request is an ordinary OPTIONS and needs a credential (S097).
///
/// Authenticates nothing and spends no limit: the answer is the same for every client, costs less than a refusal, and
/// a browser hides a 429 from the page.
fn preflight(snapshot: &Snapshot, inbound: &Inbound<'_>, trace: &mut DecisionTrace) -> Option<Result<Answer, Denial>> {
    let preflight = Preflight::of(inbound, &snapshot.api_key_header)?;
    let candidates = snapshot.candidates(inbound.host(), inbound.path(), &preflight.method);
    let candidates = candidates.ok()?;
    // A preflight does not have the headers of the request that it announces, so any of the routes may get that request.
    let cors = common_cors(candidates.iter().copied())?;
    let route = candidates.last()?;
    trace.route = Some(Arc::clone(route));
    let answer = || {
        hygiene::check_oddities(inbound.oddities(), route.allows)?;
        if !candidates.iter().any(|route| route.admits(inbound.client())) {
            return Err(Denial::AddressNotAllowed);
        }
        intake::check_query(inbound, &route.intake)?;
        Ok(cors.answer(&preflight, inbound.headers())?)
    };
    Some(answer())
}

#[cfg(test)]
mod tests;
