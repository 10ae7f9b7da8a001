//! How is a request counted and recorded? In the metrics and, where the configuration enables them, in one access
//! record, however the request ended.

use crate::gate::Gate;
use crate::gate::accept::HeadError;
use crate::gate::accept::client;
use crate::gate::accept::fault;
use crate::gate::accept::inbound;
use crate::gate::admit::CompiledLimit;
use crate::gate::answer::Answer;
use crate::gate::answer::refusal;
use crate::gate::answer::refusal::GrpcForm;
use crate::gate::answer::refusal::RefusalContext;
use crate::gate::authenticate::CredentialType;
use crate::gate::authenticate::Principal;
use crate::gate::denial::ConnectionError;
use crate::gate::denial::Denial;
use crate::gate::intake;
use crate::gate::snapshot::Snapshot;
use crate::model::clock::Now;
use crate::model::names::Name;
use crate::model::upstream_failure::UpstreamFailure;
use crate::observe::access::AccessRecord;
use crate::observe::access::Decision;
use crate::observe::metrics::AnswerLabel;
use crate::observe::metrics::CredentialLabel;
use crate::observe::metrics::LimitMetrics;
use crate::observe::trace;
use crate::observe::trace::RequestId;
use crate::proxy::exchange::Exchange;
use crate::proxy::exchange::Outcome;
use http::HeaderValue;
use http::Request;
use http::header;
use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

/// Counts and records an exchange that has ended.
pub fn write(exchange: &Exchange) {
    if matches!(exchange.outcome, Outcome::LeftToOthers) {
        return;
    }
    let gate = &exchange.gate;
    let now = gate.clock.now();
    let duration = now.tick.saturating_since(exchange.started.tick);
    let status = (exchange.status != 0).then_some(exchange.status);
    let decision_trace = &exchange.decision_trace;
    let metrics = match (&decision_trace.route, &decision_trace.built_in) {
        (Some(route), _) => &route.metrics,
        (None, Some(built_in)) => &built_in.metrics,
        (None, None) => gate.live.metrics.requests.of_no_route(),
    };
    metrics.request(&exchange.request.method, status, duration);
    let credential = credential_label(decision_trace.credential_type);
    match (&exchange.permit, &exchange.outcome) {
        (Some(_), _) => match &decision_trace.would_deny {
            Some(would_deny) => metrics.count_would_deny(credential, would_deny.reason),
            None => metrics.count_allowed(credential),
        },
        (None, Outcome::Denied(denial)) => metrics.count_denied(credential, denial.reason()),
        (None, Outcome::Answered(label)) => metrics.count_answered(*label),
        (None, Outcome::Controlled { reason, .. }) => {
            metrics.count_answered(AnswerLabel::Endpoint);
            if let Some(built_in) = &decision_trace.built_in {
                gate.live.metrics.issued.count_request(built_in.short_name(), *reason);
            }
        }
        // The exchange was dropped without an outcome: its task panicked or was cancelled.
        (None, Outcome::Open | Outcome::StreamEnded | Outcome::LeftToOthers) => {
            metrics.count_denied(credential, Denial::Panicked.reason())
        }
    }
    if decision_trace.reported_two_credentials {
        metrics.count_two_credentials();
    }
    count_limits(exchange);
    let upstream_duration = exchange
        .upstream_started
        .map(|started| now.tick.saturating_since(started.tick));
    if let (Some(permit), Some(took)) = (&exchange.permit, upstream_duration) {
        permit.destination().metrics.observe_response(status, took);
    }
    if exchange.snapshot.access_records {
        let text = RequestText::of(exchange);
        gate.access
            .write(&record_of(exchange, &text, status, duration, upstream_duration));
    }
}

/// Counts and records a connection that is refused before anything is read, and returns the answer.
pub fn refuse_connection(gate: &Gate, peer: SocketAddr, error: ConnectionError) -> Answer {
    gate.live.metrics.connections.count_refused(error.reason());
    refuse_unread(gate, peer, None, &error.into(), &[])
}

/// Counts and records a request head that is malformed, too large or too slow, and returns the answer. `started` is the
/// time of its first byte, and `head` is the part that was read.
pub fn refuse_head(gate: &Gate, peer: SocketAddr, started: Now, error: HeadError, head: &[u8]) -> Answer {
    gate.live.metrics.connections.count_refused_head(error.reason());
    refuse_unread(gate, peer, Some(started), &error.into(), head)
}

fn refuse_unread(gate: &Gate, peer: SocketAddr, started: Option<Now>, denial: &Denial, head: &[u8]) -> Answer {
    let now = gate.clock.now();
    let duration = now.tick.saturating_since(started.unwrap_or(now).tick);
    let snapshot = gate.snapshot();
    let request_id = RequestId::new();
    let context = RefusalContext {
        accepted: None,
        scheme: None,
        api_key_header: &snapshot.api_key_header,
        request_id: request_id.as_str(),
        grpc: GrpcForm::Without,
        fault: match denial {
            Denial::Head(error) => fault::of_head(*error, head),
            _ => None,
        },
    };
    let mut answer = refusal::answer(denial, &context);
    put_cors(&mut answer, head, &snapshot);
    answer
        .headers
        .push((trace::REQUEST_ID, request_id.header_value().clone()));
    if snapshot.access_records {
        let line = RequestLine::guess(head);
        // The head that would name the client of a trusted proxy was not understood.
        let ip = peer.ip().to_canonical();
        let is_client = !client::is_trusted(ip, &snapshot.trusted_proxies);
        gate.access.write(&AccessRecord {
            time: now.wall,
            request_id: request_id.as_str(),
            peer: Some(peer),
            client: is_client.then_some(ip),
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

/// Adds the CORS fields to the refusal of `head`, where that says one host and one origin, and the routes of the host agree:
/// a browser would hide the refusal from the page that sent the request.
fn put_cors(answer: &mut Answer, head: &[u8], snapshot: &Snapshot) {
    let mut request = Request::new(());
    for line in head.split_inclusive(|byte| *byte == b'\n').skip(1) {
        // The last line may be cut.
        let Some(colon) = line
            .iter()
            .position(|byte| *byte == b':')
            .filter(|_| line.ends_with(b"\n"))
        else {
            continue;
        };
        let (name, value) = (&line[..colon], HeaderValue::from_bytes(line[colon + 1..].trim_ascii()));
        for known in [header::HOST, header::ORIGIN] {
            if name.eq_ignore_ascii_case(known.as_str().as_bytes())
                && let Ok(value) = &value
            {
                request.headers_mut().append(known, value.clone());
            }
        }
    }
    if !request.headers().contains_key(header::ORIGIN) {
        return;
    }
    let (request, ()) = request.into_parts();
    if let Some(rules) = inbound::host_of(&request).and_then(|host| snapshot.host_cors.of(&host)) {
        rules.put(answer, &request.headers);
    }
}

/// The texts of the access record that are copied or redacted from the request.
struct RequestText<'c> {
    host: Cow<'c, str>,
    query: Option<Cow<'c, str>>,
    user_agent: Option<Cow<'c, str>>,
}

impl<'c> RequestText<'c> {
    fn of(exchange: &'c Exchange) -> Self {
        let text = |name| {
            let value = exchange.request.headers.get(name);
            value.map(|value| String::from_utf8_lossy(value.as_bytes()))
        };
        Self {
            host: text(header::HOST).unwrap_or_default(),
            query: exchange.request.uri.query().map(intake::redact_query),
            user_agent: text(header::USER_AGENT),
        }
    }
}

fn record_of<'c>(
    exchange: &'c Exchange,
    text: &'c RequestText<'c>,
    status: Option<u16>,
    duration: Duration,
    upstream_duration: Option<Duration>,
) -> AccessRecord<'c> {
    let identity = exchange.decision_trace.identity();
    let claim = match &exchange.outcome {
        Outcome::Denied(Denial::Authentication(refusal)) => refusal.claim(),
        _ => None,
    };
    let (decision, reason) = match (&exchange.permit, &exchange.outcome) {
        (Some(_), Outcome::StreamEnded) => (Decision::Allow, Some(STREAM_ENDED)),
        (Some(_), Outcome::Denied(denial)) => (Decision::Error, Some(denial.reason())),
        (Some(_), _) => (Decision::Allow, None),
        (None, Outcome::Denied(denial)) => (Decision::Deny, Some(denial.reason())),
        (None, Outcome::Answered(label)) => (Decision::Answer, Some(label.as_str())),
        (None, Outcome::Controlled { reason, .. }) => {
            (Decision::Answer, Some(reason.unwrap_or(AnswerLabel::Endpoint.as_str())))
        }
        (None, Outcome::Open | Outcome::StreamEnded | Outcome::LeftToOthers) => {
            (Decision::Error, Some(Denial::Panicked.reason()))
        }
    };
    let proved_client = match &exchange.outcome {
        Outcome::Controlled { client_id, .. } => client_id.as_deref(),
        _ => None,
    };
    let limit = match &exchange.outcome {
        Outcome::Denied(Denial::LimitSpent(spent)) => Some(spent.facts().limit.as_str()),
        _ => None,
    };
    let rule = match (&exchange.outcome, &exchange.decision_trace.route) {
        (Outcome::Denied(Denial::Forbidden(forbidden)), Some(route)) => route.requirement.rule_name(*forbidden),
        _ => None,
    };
    let would_deny = exchange.decision_trace.would_deny.as_ref();
    let subscription = exchange.decision_trace.subscription.as_ref();
    AccessRecord {
        time: exchange.started.wall,
        request_id: exchange.request_id.as_str(),
        listener: None,
        actor: None,
        peer: Some(exchange.connection.peer),
        client: exchange.client_ip,
        method: Some(exchange.request.method.as_str()),
        host: Some(&text.host),
        path: Some(exchange.request.uri.path()),
        query: text.query.as_deref(),
        route: route_name(exchange),
        status,
        response: exchange.is_cut.then_some(CUT),
        decision,
        reason,
        claim,
        rule: rule.map(Name::as_str),
        would_deny: would_deny.map(|would_deny| would_deny.reason),
        would_deny_by: would_deny
            .and_then(|would_deny| would_deny.by.as_ref())
            .map(Name::as_str),
        credential_type: exchange.decision_trace.credential_type.map(CredentialType::as_str),
        subject: identity.and_then(|identity| identity.subject.as_deref()),
        client_id: identity
            .and_then(|identity| identity.client_id.as_deref())
            .or(proved_client),
        organization: identity.and_then(|identity| identity.organization.as_deref()),
        credential_id: identity.and_then(|identity| identity.credential_id.as_deref()),
        subscription: subscription.map(|subscription| subscription.id.as_str()),
        plan: subscription.map(|subscription| subscription.plan.as_str()),
        issuer: identity.and_then(|identity| identity.issuer_text()),
        limit,
        upstream: exchange
            .permit
            .as_ref()
            .map(|permit| permit.destination().upstream.name().as_str()),
        endpoint: exchange.endpoint().map(|choice| choice.endpoint.address()),
        upstream_attempts: exchange.attempts.begun(),
        upstream_failure: exchange.upstream_failure.map(UpstreamFailure::as_str),
        bytes_in: exchange.bytes_in,
        bytes_out: exchange.bytes_out,
        duration,
        upstream_duration,
        trace_id: Some(exchange.trace.trace_id()),
        user_agent: text.user_agent.as_deref(),
    }
}

/// Returns the name of the matched route or of the built-in path; `None` where neither matched.
fn route_name(exchange: &Exchange) -> Option<&str> {
    let route = exchange.decision_trace.route.as_ref().map(|route| route.name.as_str());
    route.or_else(|| {
        exchange
            .decision_trace
            .built_in
            .as_ref()
            .map(|built_in| built_in.name.as_str())
    })
}

/// Counts the results of the limits of the route and of the plan, shadow mode included. A permit proves that every
/// enforced limit allowed the request. For a refused request, only the result of the limit that refused is known.
fn count_limits(exchange: &Exchange) {
    let plan = exchange.decision_trace.plan_limits.as_ref();
    let of_plan = plan
        .into_iter()
        .flat_map(|plan| plan.limits.iter().zip(&plan.limit_metrics));
    let Some(route) = &exchange.decision_trace.route else {
        return;
    };
    // A limit in both lists is spent once.
    let is_new = |(limit, _): &(&CompiledLimit, &LimitMetrics)| {
        !route
            .limits
            .iter()
            .any(|route_limit| route_limit.name() == limit.name())
    };
    let mut limits = route
        .limits
        .iter()
        .zip(&route.limit_metrics)
        .chain(of_plan.filter(is_new));
    let identity = exchange.decision_trace.principal().map(Principal::identity);
    let count_stand_in = |limit: &CompiledLimit, metrics: &LimitMetrics| {
        if identity.is_some_and(|identity| limit.counts_stand_in(identity)) {
            metrics.count_stand_in();
        }
    };
    if exchange.permit.is_some() {
        limits.for_each(|(limit, metrics)| {
            metrics.count_allowed();
            count_stand_in(limit, metrics);
        });
        let of_plan = plan
            .into_iter()
            .flat_map(|plan| plan.shadow_limits.iter().zip(&plan.shadow_limit_metrics));
        let is_new = |(limit, _): &(&CompiledLimit, &LimitMetrics)| {
            !route
                .shadow_limits
                .iter()
                .any(|route_limit| route_limit.name() == limit.name())
        };
        let of_route = route.shadow_limits.iter().zip(&route.shadow_limit_metrics);
        for (limit, metrics) in of_route.chain(of_plan.filter(is_new)) {
            count_stand_in(limit, metrics);
            match &exchange.decision_trace.spent_in_shadow {
                None => metrics.count_allowed(),
                Some(spent) if spent == limit.name() => metrics.count_would_deny(),
                // The results of the other limits are unknown.
                Some(_) => {}
            }
        }
    } else if let Outcome::Denied(Denial::LimitSpent(spent)) = &exchange.outcome
        && let Some((limit, metrics)) = limits.find(|(limit, _)| limit.name() == &spent.facts().limit)
    {
        metrics.count_denied();
        count_stand_in(limit, metrics);
    }
}

const fn credential_label(credential: Option<CredentialType>) -> CredentialLabel {
    match credential {
        None => CredentialLabel::None,
        Some(CredentialType::Jwt) => CredentialLabel::Jwt,
        Some(CredentialType::Opaque) => CredentialLabel::Opaque,
        Some(CredentialType::ApiKey) => CredentialLabel::ApiKey,
    }
}

/// The method and the target of a refused head: a best-effort guess from bytes that were not validated. Write them to
/// the access record only, which escapes them. The query is redacted.
#[derive(Debug, Default, PartialEq, Eq)]
struct RequestLine {
    method: Option<String>,
    path: Option<String>,
    query: Option<String>,
}

/// The `reason` in the record of a stream that ended with its credential (S038).
const STREAM_ENDED: &str = "stream_ended_with_credential";

/// The `response` in the record of a response that ended before its body was complete.
const CUT: &str = "cut";

/// The longest recorded part of a malformed request line, in bytes. A longer path is cut, a longer query left out.
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
        // A longer query is left out rather than cut, so that redaction sees the whole query.
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

    #[track_caller]
    fn check(head: &[u8], method: Option<&str>, path: Option<&str>, query: Option<&str>) {
        let line = RequestLine::guess(head);
        let found = (line.method.as_deref(), line.path.as_deref(), line.query.as_deref());
        assert_eq!(found, (method, path, query));
    }

    #[test]
    fn a_broken_head_is_recorded_without_credentials() {
        check(
            b"GET /a?access_token=secret&x=1 HTTP/9\r\nauthorization: Bearer secret\r\n",
            Some("GET"),
            Some("/a"),
            Some("access_token=[redacted]&x=1"),
        );
        check(b"GET\t/a\nx: y", Some("GET"), Some("/a"), None);
        check(b"", None, None, None);
        check(b"\r\n", None, None, None);
        check(&[0xFF; 2000], None, None, None);
        check(b"\xFF /\xFF", Some("\u{FFFD}"), Some("/\u{FFFD}"), None);
    }

    #[test]
    fn a_broken_head_is_recorded_up_to_a_size() {
        let at = |len: usize| "a".repeat(len);
        let head = |method: usize, path: usize, query: usize| {
            let (method, path, query) = (at(method), at(path), at(query));
            format!("{method} {path}?{query} HTTP/1.1\r\n").into_bytes()
        };
        let most = Some(at(512));
        check(&head(20, 512, 512), Some(&at(20)), most.as_deref(), most.as_deref());
        // A longer method and a longer query are left out, and a longer path is cut.
        check(&head(21, 513, 513), None, most.as_deref(), None);
        // A cut would hide the name of the parameter from redaction, or leave a part of a secret.
        let mut secret = b"GET /a?".to_vec();
        secret.extend([b'b'; 500]);
        secret.extend(b"&access_token=secret HTTP/1.1\r\n");
        check(&secret, Some("GET"), Some("/a"), None);
    }
}
