//! What a request leaves behind: one access record and its counts, however it ended.

use crate::gate::Gate;
use crate::gate::admit::CompiledLimit;
use crate::gate::answer::refusal;
use crate::gate::answer::refusal::Answer;
use crate::gate::answer::refusal::Asked;
use crate::gate::authenticate::CredentialType;
use crate::gate::authenticate::Principal;
use crate::gate::denial::Denial;
use crate::gate::intake;
use crate::model::clock::Now;
use crate::model::names::Name;
use crate::observe::access::AccessRecord;
use crate::observe::access::Decision;
use crate::observe::metrics::CredentialLabel;
use crate::observe::metrics::LimitMetrics;
use crate::observe::trace;
use crate::observe::trace::RequestId;
use crate::proxy::exchange::Context;

use http::header;
use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

impl Gate {
    /// Counts and records a request, whose head was one.
    pub fn record(&self, ctx: &Context) {
        let now = self.clock.now();
        let duration = now.tick.saturating_since(ctx.started.tick);
        let status = (ctx.progress.status != 0).then_some(ctx.progress.status);
        let metrics = match (&ctx.trail.route, &ctx.trail.built_in) {
            (Some(route), _) => &route.metrics,
            (None, Some(built_in)) => &built_in.metrics,
            (None, None) => self.live.metrics.no_route(),
        };
        metrics.request(&ctx.request.method, status, duration);
        let shown = credential_label(ctx.trail.credential_type);
        match (&ctx.permit, &ctx.denial, ctx.answered) {
            (Some(_), _, _) => match &ctx.trail.would_deny {
                Some(would_deny) => metrics.would_denied(shown, would_deny.reason),
                None => metrics.allowed(shown),
            },
            (None, Some(denial), _) => metrics.denied(shown, denial.reason()),
            (None, None, Some(answer)) => metrics.answered(answer),
            // None of them: a panic outside of deciding, or a connection that ended in between.
            (None, None, None) => metrics.denied(shown, Denial::Panicked.reason()),
        }
        if ctx.trail.reported_two_credentials {
            metrics.two_credentials_reported();
        }
        count_limits(ctx);
        let upstream_duration = ctx
            .upstream_started
            .map(|started| now.tick.saturating_since(started.tick));
        if let (Some(permit), Some(took)) = (&ctx.permit, upstream_duration) {
            permit.route().upstream_metrics.answered(took);
        }
        if ctx.snapshot.access_records {
            let facts = Facts::of(ctx);
            self.access
                .write(&record_of(ctx, &facts, status, duration, upstream_duration));
        }
    }

    /// Counts and records a head that never became a request, and gives the answer to it. `started` is when its first byte
    /// arrived; `None` for a connection that was refused before.
    pub fn record_unseen(&self, peer: SocketAddr, started: Option<Now>, denial: &Denial, head: &[u8]) -> Answer {
        let now = self.clock.now();
        let duration = now.tick.saturating_since(started.unwrap_or(now).tick);
        let snapshot = self.snapshot();
        let request_id = RequestId::new();
        let asked = Asked {
            route: None,
            api_key_header: &snapshot.api_key_header,
            request_id: request_id.as_str(),
            grpc: false,
        };
        let mut answer = refusal::answer(denial, &asked);
        answer
            .headers
            .push((trace::REQUEST_ID, request_id.header_value().clone()));
        match denial {
            Denial::TooManyConnections => self.live.metrics.connection_refused(denial.reason()),
            _ => self.live.metrics.head_refused(denial.reason()),
        }
        if snapshot.access_records {
            let line = RequestLine::guess(head);
            self.access.write(&AccessRecord {
                time: now.wall,
                request_id: request_id.as_str(),
                peer: Some(peer),
                client: Some(peer.ip()),
                method: line.method.as_deref(),
                path: line.path.as_deref(),
                query: line.query.as_deref(),
                status: Some(answer.status.as_u16()),
                decision: Decision::Deny,
                reason: Some(denial.reason()),
                duration,
                ..AccessRecord::default()
            });
        }
        answer
    }
}

/// What the record says about the request as it came.
struct Facts<'c> {
    host: Cow<'c, str>,
    query: Option<Cow<'c, str>>,
    user_agent: Option<Cow<'c, str>>,
}

impl<'c> Facts<'c> {
    fn of(ctx: &'c Context) -> Self {
        let text = |name| {
            let value = ctx.request.headers.get(name);
            value.map(|value| String::from_utf8_lossy(value.as_bytes()))
        };
        Self {
            host: text(header::HOST).unwrap_or_default(),
            query: ctx.request.uri.query().map(intake::redact_query),
            user_agent: text(header::USER_AGENT),
        }
    }
}

fn record_of<'c>(
    ctx: &'c Context,
    facts: &'c Facts<'c>,
    status: Option<u16>,
    duration: Duration,
    upstream_duration: Option<Duration>,
) -> AccessRecord<'c> {
    let identity = ctx.trail.principal.as_ref().map(Principal::identity);
    let (decision, reason) = match (&ctx.permit, &ctx.denial, ctx.answered) {
        (Some(_), None, _) => (Decision::Allow, ctx.progress.cut.then_some(STREAM_ENDED)),
        (Some(_), Some(denial), _) => (Decision::Error, Some(denial.reason())),
        (None, Some(denial), _) => (Decision::Deny, Some(denial.reason())),
        (None, None, Some(answer)) => {
            let said = ctx.control.as_ref().and_then(|control| control.reason);
            (Decision::Answer, Some(said.unwrap_or(answer.as_str())))
        }
        (None, None, None) => (Decision::Error, Some(Denial::Panicked.reason())),
    };
    let limit = match &ctx.denial {
        Some(Denial::LimitSpent(spent)) => Some(spent.facts().limit.as_str()),
        _ => None,
    };
    let rule = match (&ctx.denial, &ctx.trail.route) {
        (Some(Denial::Forbidden(forbidden)), Some(route)) => route.requirement.rule_name(*forbidden),
        _ => None,
    };
    let would_deny = ctx.trail.would_deny.as_ref();
    let subscription = ctx.trail.subscription.as_ref();
    AccessRecord {
        time: ctx.started.wall,
        request_id: ctx.request_id.as_str(),
        peer: Some(ctx.peer),
        client: Some(ctx.client_ip),
        method: Some(ctx.request.method.as_str()),
        host: Some(&facts.host),
        path: Some(ctx.request.uri.path()),
        query: facts.query.as_deref(),
        route: route_name(ctx),
        status,
        decision,
        reason,
        rule: rule.map(Name::as_str),
        would_deny: would_deny.map(|would_deny| would_deny.reason),
        would_deny_by: would_deny
            .and_then(|would_deny| would_deny.by.as_ref())
            .map(Name::as_str),
        credential_type: ctx.trail.credential_type.map(CredentialType::as_str),
        subject: identity.and_then(|identity| identity.subject.as_deref()),
        client_id: identity
            .and_then(|identity| identity.client_id.as_deref())
            .or_else(|| ctx.control.as_ref()?.client_id.as_deref()),
        organization: identity.and_then(|identity| identity.organization.as_deref()),
        credential_id: identity.and_then(|identity| identity.credential_id.as_deref()),
        subscription: subscription.map(|subscription| subscription.id.as_str()),
        plan: subscription.map(|subscription| subscription.plan.as_str()),
        issuer: identity
            .and_then(|identity| identity.issuer.as_ref())
            .map(|issuer| issuer.as_str()),
        limit,
        upstream: ctx
            .permit
            .as_ref()
            .map(|permit| permit.route().upstream.name().as_str()),
        endpoint: ctx.endpoint,
        bytes_in: ctx.progress.bytes_in,
        bytes_out: ctx.progress.bytes_out,
        duration,
        upstream_duration,
        trace_id: Some(ctx.trace.trace_id()),
        user_agent: facts.user_agent.as_deref(),
    }
}

/// Of the route, or of the path of the gate's own.
fn route_name(ctx: &Context) -> Option<&str> {
    let route = ctx.trail.route.as_ref().map(|route| route.name.as_str());
    route.or_else(|| ctx.trail.built_in.as_ref().map(|built_in| built_in.name.as_str()))
}

/// Counts what the limits of the route and of the plan said: those in shadow mode, and of the others all of them let a
/// permitted request through; of a refused one, only the limit that refused it is known to have been asked.
fn count_limits(ctx: &Context) {
    let plan = ctx.trail.plan_limits.as_ref();
    let of_plan = plan
        .into_iter()
        .flat_map(|plan| plan.limits.iter().zip(&plan.limit_metrics));
    let Some(route) = &ctx.trail.route else {
        return;
    };
    // What stands in both lists was spent once.
    let is_new =
        |(limit, _): &(&CompiledLimit, &LimitMetrics)| !route.limits.iter().any(|known| known.name() == limit.name());
    let mut limits = route
        .limits
        .iter()
        .zip(&route.limit_metrics)
        .chain(of_plan.filter(is_new));
    if ctx.permit.is_some() {
        limits.for_each(|(_, metrics)| metrics.allowed());
        let of_plan = plan
            .into_iter()
            .flat_map(|plan| plan.shadow_limits.iter().zip(&plan.shadow_limit_metrics));
        let is_new = |(limit, _): &(&CompiledLimit, &LimitMetrics)| {
            !route.shadow_limits.iter().any(|known| known.name() == limit.name())
        };
        let of_route = route.shadow_limits.iter().zip(&route.shadow_limit_metrics);
        for (limit, metrics) in of_route.chain(of_plan.filter(is_new)) {
            match &ctx.trail.spent_in_shadow {
                None => metrics.allowed(),
                Some(spent) if spent == limit.name() => metrics.would_denied(),
                // What the other ones would have said is not known.
                Some(_) => {}
            }
        }
    } else if let Some(Denial::LimitSpent(spent)) = &ctx.denial
        && let Some((_, metrics)) = limits.find(|(limit, _)| limit.name() == &spent.facts().limit)
    {
        metrics.denied();
    }
}

const fn credential_label(shown: Option<CredentialType>) -> CredentialLabel {
    match shown {
        None => CredentialLabel::None,
        Some(CredentialType::Jwt) => CredentialLabel::Jwt,
        Some(CredentialType::Opaque) => CredentialLabel::Opaque,
        Some(CredentialType::ApiKey) => CredentialLabel::ApiKey,
    }
}

/// What a refused head seems to ask for. It may be anything, so it is only ever written, escaped, to the record; and of
/// a query nothing is kept that could be a credential.
#[derive(Debug, Default, PartialEq, Eq)]
struct RequestLine {
    method: Option<String>,
    path: Option<String>,
    query: Option<String>,
}

/// `reason` of a request that was let through and ended when its credential did (S038).
const STREAM_ENDED: &str = "stream_ended_with_credential";

/// More of a broken request line than this tells nobody anything.
const GUESS_BYTES_MAX: usize = 512;

impl RequestLine {
    fn guess(head: &[u8]) -> Self {
        let line = head
            .split(|byte| matches!(byte, b'\r' | b'\n'))
            .next()
            .unwrap_or_default();
        let mut words = line.split(|byte| matches!(byte, b' ' | b'\t'));
        let text = |bytes: &[u8]| {
            let cut = &bytes[..bytes.len().min(GUESS_BYTES_MAX)];
            (!cut.is_empty()).then(|| String::from_utf8_lossy(cut).into_owned())
        };
        let method = words.next().filter(|method| method.len() <= 20).and_then(text);
        let target = words.next().unwrap_or_default();
        let mut halves = target.splitn(2, |byte| *byte == b'?');
        let path = halves.next().and_then(text);
        // Cut before redaction, a credential's name could be lost and its value kept; so only a whole query is shown.
        let query = halves
            .next()
            .filter(|query| query.len() <= GUESS_BYTES_MAX)
            .and_then(text);
        Self {
            method,
            path,
            query: query.map(|query| intake::redact_query(&query).into_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_head_is_recorded_without_credentials() {
        let line = RequestLine::guess(b"GET /a?access_token=secret&x=1 HTTP/9\r\nauthorization: Bearer secret\r\n");
        assert_eq!(line.method.as_deref(), Some("GET"));
        assert_eq!(line.path.as_deref(), Some("/a"));
        assert!(!format!("{line:?}").contains("secret"), "{line:?}");
        assert_eq!(RequestLine::guess(b""), RequestLine::default());
        assert_eq!(RequestLine::guess(b"\r\n"), RequestLine::default());
        RequestLine::guess(&[0xFF; 2000]);
    }
}
