//! Which findings does each stage report, and what is the outcome?

use crate::config::CertificateRequirement;
use crate::config::Condition;
use crate::config::Config;
use crate::config::HostPattern;
use crate::config::Mode;
use crate::config::Rule;
use crate::config::SourceLines;
use crate::explain::report::Explanation;
use crate::explain::report::Fact;
use crate::explain::report::Outcome;
use crate::explain::report::Problem;
use crate::explain::report::StageReport;
use crate::explain::report::Upstream;
use crate::explain::report::WouldDeny;
use crate::explain::report::display_text;
use crate::explain::request::RequestForms;
use crate::explain::token;
use crate::gate::accept::Inbound;
use crate::gate::accept::matched_field;
use crate::gate::answer::refusal;
use crate::gate::answer::refusal::GrpcForm;
use crate::gate::answer::refusal::RefusalContext;
use crate::gate::authenticate::Need;
use crate::gate::authenticate::Principal;
use crate::gate::authenticate::Refusal;
use crate::gate::authenticate::api_key::ApiKeyError;
use crate::gate::authenticate::token::TokenError;
use crate::gate::authorize::client_certificate;
use crate::gate::decide::Permit;
use crate::gate::decision_trace::DecisionTrace;
use crate::gate::denial::Denial;
use crate::gate::intake;
use crate::gate::intake::Credential;
use crate::gate::intake::Place;
use crate::gate::snapshot::Route;
use crate::gate::snapshot::Snapshot;
use crate::gate::stage::Stage;
use crate::gate::stop::Stop;
use crate::model::api_key;
use crate::model::client_address::ClientAddress;
use crate::model::clock::Now;
use crate::model::identity_field::IDENTITY_TOKEN;
use crate::model::names::Name;
use crate::model::scope::Scope;
use crate::observe::log::ErrorChain;
use crate::proxy::forward::preview;
use http::HeaderName;
use http::Method;
use http::header;
use std::sync::Arc;

/// A decision and its inputs.
pub(in crate::explain) struct StageFacts<'a> {
    pub forms: &'a RequestForms,
    /// `None` if the request is malformed or ambiguous; then `decide` was not called.
    pub inbound: Option<&'a Inbound<'a>>,
    pub verdict: Result<Permit, Stop>,
    pub decision_trace: &'a DecisionTrace,
    pub reached: &'a [Stage],
    pub snapshot: &'a Snapshot,
    pub config: &'a Config,
    pub origins: &'a SourceLines,
    /// The reason why the store cannot be used; `None` if it was read, or if there is none.
    pub unread_store: Option<&'a str>,
    pub now: Now,
}

pub(in crate::explain) fn report(trace: &StageFacts<'_>) -> Explanation {
    let mut stages = vec![
        StageReport {
            stage: "accept",
            reached: true,
            facts: accept(trace),
        },
        stage(trace, Stage::Intake, "intake", intake_facts),
        stage(trace, Stage::Authenticate, "authenticate", authenticate),
        stage(trace, Stage::Authorize, "authorize", authorize),
        stage(trace, Stage::Limit, "limit", limit),
    ];
    if let Err(Stop::Denied(denial)) = &trace.verdict
        && unread_store(trace).is_none()
        && let Some(last) = stages.iter_mut().rev().find(|report| report.reached)
        && !last.facts.iter().any(|fact| fact.holds == Some(false))
    {
        last.facts.push(Fact::check(false, reason_text(denial)));
    }
    let request = match trace.inbound {
        Some(inbound) => format!("{} {}{}", inbound.method(), inbound.host(), inbound.path()),
        None => display_text(&format!(
            "{} (host {})",
            without_query(&trace.forms.line),
            trace.forms.host
        )),
    };
    let explanation = Explanation {
        request,
        stages,
        outcome: Outcome::Refused,
        status: None,
        reason: None,
        problem: None,
        headers: Vec::new(),
        upstream: None,
        needs: None,
        would_deny: trace.decision_trace.would_deny.as_ref().map(|would| WouldDeny {
            reason: would.reason,
            by: would.by.as_ref().map(ToString::to_string),
        }),
    };
    with_verdict(trace, explanation)
}

/// Returns the reason why the store cannot be used, if the store could change the verdict.
fn unread_store<'a>(trace: &StageFacts<'a>) -> Option<&'a str> {
    let Err(Stop::Denied(Denial::Authentication(refusal))) = &trace.verdict else {
        return None;
    };
    let may_be_stored = match refusal {
        // With another pepper, every secret looks wrong.
        Refusal::ApiKey(error) => matches!(error, ApiKeyError::Unknown | ApiKeyError::WrongSecret),
        Refusal::Own(_) => true,
        // With `api_keys.bearer`, a text that is no imported key is taken for a token.
        Refusal::Token(error) => matches!(error, TokenError::Jws(_)) && trace.config.api_keys.bearer,
        Refusal::Introspection(_) | Refusal::UnknownIssuer | Refusal::WrongAudience => false,
    };
    trace.unread_store.filter(|_| may_be_stored)
}

fn without_query(line: &str) -> &str {
    line.split('?').next().unwrap_or(line)
}

fn stage(
    trace: &StageFacts<'_>,
    stage: Stage,
    name: &'static str,
    facts: fn(&StageFacts<'_>) -> Vec<Fact>,
) -> StageReport {
    let reached = trace.reached.contains(&stage);
    StageReport {
        stage: name,
        reached,
        facts: if reached { facts(trace) } else { Vec::new() },
    }
}

fn with_verdict(trace: &StageFacts<'_>, explanation: Explanation) -> Explanation {
    match &trace.verdict {
        Ok(permit) => Explanation {
            outcome: Outcome::Allowed,
            upstream: upstream(trace, permit),
            ..explanation
        },
        Err(Stop::Answered(_, answer)) => Explanation {
            outcome: Outcome::Answered,
            status: Some(answer.status.as_u16()),
            headers: answer
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), text(value.as_bytes())))
                .collect(),
            ..explanation
        },
        Err(Stop::Control(_)) => Explanation {
            outcome: Outcome::Answered,
            ..explanation
        },
        Err(Stop::Needs(Need::Introspection { issuer, .. })) => Explanation {
            outcome: Outcome::NeedsKeys,
            needs: Some(format!(
                "only the issuer can tell: a gate that runs would ask {}, and this command asks nobody",
                issuer.name()
            )),
            ..explanation
        },
        Err(Stop::Needs(Need::Keys { .. })) => with_missing_keys(trace, explanation),
        Err(Stop::Denied(denial)) => with_refusal(trace, denial, explanation),
    }
}

fn with_missing_keys(trace: &StageFacts<'_>, explanation: Explanation) -> Explanation {
    let missing: Vec<String> = trace
        .decision_trace
        .route
        .iter()
        .flat_map(|route| route.trust.issuers.iter())
        .filter(|issuer| issuer.keys().is_some_and(|keys| keys.current(trace.now).is_err()))
        .map(|issuer| format!("--jwks {}=FILE", issuer.name()))
        .collect();
    let of_store = trace
        .unread_store
        .map_or_else(String::new, |problem| format!("; the store cannot be used: {problem}"));
    Explanation {
        outcome: Outcome::NeedsKeys,
        needs: Some(format!("keys not there: pass {}{of_store}", missing.join(" "))),
        ..explanation
    }
}

fn with_refusal(trace: &StageFacts<'_>, denial: &Denial, explanation: Explanation) -> Explanation {
    if let Some(problem) = unread_store(trace) {
        return Explanation {
            outcome: Outcome::NeedsStore,
            needs: Some(format!("only the store can tell, and it cannot be used: {problem}")),
            ..explanation
        };
    }
    // Report missing keys instead of a refusal: a running gate fetches the keys in the background.
    if matches!(denial, Denial::KeysUnavailable) {
        return with_missing_keys(trace, explanation);
    }
    let answer = refusal::answer(
        denial,
        &RefusalContext {
            accepted: trace.decision_trace.route.as_deref().map(Route::accepted),
            scheme: trace.decision_trace.scheme(),
            api_key_header: &trace.snapshot.api_key_header,
            request_id: "",
            grpc: GrpcForm::Without,
            fault: None,
        },
    );
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let member = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let instructing = [header::WWW_AUTHENTICATE, header::RETRY_AFTER, header::ALLOW];
    Explanation {
        outcome: Outcome::Refused,
        status: Some(answer.status.as_u16()),
        reason: Some(denial.reason()),
        problem: Some(Problem {
            r#type: member("type"),
            title: member("title"),
            detail: member("detail"),
        }),
        headers: answer
            .headers
            .iter()
            .filter(|(name, _)| instructing.contains(name))
            .map(|(name, value)| (name.to_string(), text(value.as_bytes())))
            .collect(),
        ..explanation
    }
}

fn text(bytes: &[u8]) -> String {
    display_text(&String::from_utf8_lossy(bytes))
}

/// Returns the reason of a refusal for the operator, in more detail than the client receives.
fn reason_text(denial: &Denial) -> String {
    match denial {
        Denial::Head(error) => error.to_string(),
        Denial::Accept(error) => ErrorChain(error).to_string(),
        Denial::Intake(error) => error.to_string(),
        Denial::Authentication(refusal) => ErrorChain(refusal).to_string(),
        Denial::MethodNotAllowed(allowed) => {
            let allowed: Vec<&str> = allowed.iter().map(Method::as_str).collect();
            format!("a route matches host and path, for {}", allowed.join(", "))
        }
        Denial::NoRoute => "no route matches".to_owned(),
        Denial::AddressNotAllowed => "the route is not for the address of the client".to_owned(),
        Denial::ConditionsUnmet => "host, path and method match, and the conditions of no route hold".to_owned(),
        Denial::AmbiguousField(ambiguous) => format!("{}: {}", ambiguous.field, ambiguous.fault),
        Denial::PathNearMiss => {
            "a route with another protection matches a path that upstreams read alike (case, slashes, escapes)"
                .to_owned()
        }
        other => refusal::row(other.reason()).detail.to_owned(),
    }
}

fn accept(trace: &StageFacts<'_>) -> Vec<Fact> {
    let Some(inbound) = trace.inbound else {
        return Vec::new();
    };
    let mut facts = vec![Fact::check(
        true,
        format!("host {}, path {}", inbound.host(), inbound.path()),
    )];
    if inbound.path_was_rewritten() {
        facts.push(Fact::note("the path is in normal form: that is matched and forwarded"));
    }
    if let Some(query) = inbound.query() {
        facts.push(Fact::note(format!(
            "query {}",
            display_text(&intake::redact_query(query))
        )));
    }
    facts.push(Fact::note(match inbound.client() {
        ClientAddress::Known(address) => format!("from {address}"),
        ClientAddress::Unknown { proxy } => format!("from an unknown address behind the trusted proxy {proxy}"),
    }));
    facts.extend(unmet_facts(trace, inbound));
    if let Some(route) = &trace.decision_trace.route {
        facts.push(Fact::check(true, route_text(trace, route)));
        if !route.addresses.is_empty() {
            let text = format!("addresses of clients: {}", route.addresses);
            facts.push(Fact::check(route.admits(inbound.client()), text));
        }
    }
    facts
}

/// The number of routes whose conditions do not hold that are named.
const UNMET_MAX: usize = 10;

/// Returns one note for each route of the same host, path and method whose conditions the request does not meet.
fn unmet_facts(trace: &StageFacts<'_>, inbound: &Inbound<'_>) -> Vec<Fact> {
    let candidates = trace
        .snapshot
        .candidates(inbound.host(), inbound.path(), inbound.method());
    let candidates = candidates.unwrap_or_default();
    let unmet = candidates.iter().filter_map(|route| {
        let settings = trace
            .config
            .routes
            .iter()
            .find(|settings| settings.name == route.name)?;
        let (condition, found) = settings.conditions.iter().find_map(|condition| {
            let fields = std::slice::from_ref(&condition.field);
            let values = matched_field::values(fields, inbound.headers(), inbound.query()).ok()?;
            match values.first()?.as_deref() {
                None => Some((condition, "it is not there".to_owned())),
                Some(value) if condition.pattern.admits(value) => None,
                Some(value) => Some((condition, format!("it is `{}`", text(value)))),
            }
        })?;
        let origin = trace.origins.find(["routes", route.name.as_str(), ""]);
        let name = &route.name;
        Some(Fact::note(format!(
            "route {name} ({origin}) requires that {condition}; {found}"
        )))
    });
    let mut facts: Vec<Fact> = unmet.collect();
    let more = facts.len().saturating_sub(UNMET_MAX);
    facts.truncate(UNMET_MAX);
    if more > 0 {
        facts.push(Fact::note(format!(
            "{more} more routes of this path have conditions that do not hold"
        )));
    }
    facts
}

/// Returns the name of the route, its place in the configuration, and the hosts, path and methods that it matches.
fn route_text(trace: &StageFacts<'_>, route: &Route) -> String {
    let origin = trace.origins.find(["routes", route.name.as_str(), ""]);
    let settings = trace.config.routes.iter().find(|settings| settings.name == route.name);
    let Some(settings) = settings else {
        return format!("route {}", route.name);
    };
    let host = |host: &HostPattern| match host {
        HostPattern::Any => "any host".to_owned(),
        HostPattern::Exact(name) => name.clone(),
        HostPattern::Suffix(name) => format!("*.{name}"),
    };
    let hosts: Vec<String> = settings.hosts.iter().map(host).collect();
    let methods = if settings.methods.is_empty() {
        "any method".to_owned()
    } else {
        settings
            .methods
            .iter()
            .map(Method::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let conditions = if settings.conditions.is_empty() {
        String::new()
    } else {
        format!(", where {}", settings.conditions)
    };
    format!(
        "route {} ({origin}) matches {}, {}, {methods}{conditions}",
        route.name,
        hosts.join(" or "),
        settings.path.as_str()
    )
}

/// Returns the credential and the route of the request, read by the same parser as for the decision.
fn credential<'r>(trace: &StageFacts<'r>) -> Option<(Credential<'r>, Place, Arc<Route>)> {
    let (inbound, route) = (trace.inbound?, trace.decision_trace.route.as_ref()?);
    let is_imported = |text: &str| trace.snapshot.authenticator.api_keys.is_imported(text);
    let intake = intake::credential(inbound, &route.intake, is_imported).ok()?;
    Some((intake.credential?, intake.place?, Arc::clone(route)))
}

fn intake_facts(trace: &StageFacts<'_>) -> Vec<Fact> {
    let Some(route) = &trace.decision_trace.route else {
        return Vec::new();
    };
    if route.public {
        let text = if route.forward_credential {
            "public: no credential is asked for; the client's own passes unread"
        } else {
            "public: no credential is asked for, and none is looked at"
        };
        return vec![Fact::note(text)];
    }
    let mut accepted = Vec::new();
    for (accepts, word) in [(route.accepts_jwt, "jwt"), (route.accepts_api_key, "api_key")] {
        if accepts {
            accepted.push(word);
        }
    }
    let accepted = accepted.join(", ");
    match (credential(trace), &trace.verdict) {
        (Some((credential, place, route)), _) => {
            let kind = match credential {
                Credential::Bearer(_) => "bearer token",
                Credential::ApiKey(_) => "API key",
            };
            let place = match place {
                Place::Authorization => "authorization",
                Place::ApiKeyHeader => trace.snapshot.api_key_header.as_str(),
                Place::TokenHeader(index) => route.intake.token_headers.get(index).map_or("", HeaderName::as_str),
                Place::WebSocketProtocols => "sec-websocket-protocol",
            };
            vec![Fact::check(
                true,
                format!("one {kind} in {place}; accepted: {accepted}"),
            )]
        }
        (None, Err(Stop::Denied(Denial::CredentialMissing))) => {
            vec![Fact::check(false, format!("no credential; accepted: {accepted}"))]
        }
        (None, _) => Vec::new(),
    }
}

fn authenticate(trace: &StageFacts<'_>) -> Vec<Fact> {
    match credential(trace) {
        Some((Credential::Bearer(text), place, route)) => token::facts(&text, route.trust_in(Some(place)), trace.now),
        Some((Credential::ApiKey(text), _, _)) => key_facts(trace, text),
        None => Vec::new(),
    }
}

/// Returns the findings about an API key. Reports the id, which is public, but no other part of `text`.
fn key_facts(trace: &StageFacts<'_>, text: &str) -> Vec<Fact> {
    let mut facts = Vec::new();
    if let Ok(parsed) = api_key::parse(text, &trace.config.api_keys.prefix) {
        facts.push(Fact::note(format!("key {}", parsed.id.as_str())));
    }
    if let Some(principal) = trace.decision_trace.principal() {
        let identity = principal.identity();
        let client = identity.client_id.as_deref().map_or_else(String::new, |client| {
            format!(", and its client is {}", display_text(client))
        });
        facts.push(Fact::check(true, format!("its secret is right, it is active{client}")));
        let expiry = match identity.usable_until {
            Some(at) => format!("expires {}, {}", token::date(at), token::relative(at, trace.now.wall)),
            None => "never expires".to_owned(),
        };
        facts.push(Fact::note(expiry));
    }
    facts
}

fn authorize(trace: &StageFacts<'_>) -> Vec<Fact> {
    let (Some(route), Some(inbound)) = (&trace.decision_trace.route, trace.inbound) else {
        return Vec::new();
    };
    let mut facts = certificate_facts(route, inbound);
    let Some(principal) = trace.decision_trace.principal() else {
        return facts;
    };
    let conditions = route.requirement.conditions(principal.identity(), inbound.method());
    if conditions.is_empty() && facts.is_empty() {
        return vec![Fact::note("whoever is proved may")];
    }
    let granted = &principal.identity().scopes;
    let fact = |(rule, condition, holds): (&Rule, &Condition, bool)| {
        let name = rule
            .name
            .as_ref()
            .map_or_else(String::new, |name| format!("rule {name}: "));
        let missing = |scopes: &[Scope]| {
            let missing: Vec<String> = scopes
                .iter()
                .filter(|scope| !granted.contains(scope))
                .map(Scope::to_string)
                .collect();
            missing.join(", ")
        };
        let condition_text = match condition {
            Condition::Clients(names) => format!("the client is {}", names.join(" or ")),
            Condition::Subjects(names) => format!("the token's subject is {}", names.join(" or ")),
            Condition::Organizations(names) => format!("the organization is {}", names.join(" or ")),
            Condition::Claim(pointer, values) => {
                format!("claim {pointer} is {}", joined(values, " or "))
            }
            Condition::ScopesAll(scopes) if holds => format!("scopes {}", joined(scopes, " and ")),
            Condition::ScopesAll(scopes) => format!("scopes {}; missing: {}", joined(scopes, " and "), missing(scopes)),
            Condition::ScopesAny(scopes) => format!("one scope of {}", joined(scopes, ", ")),
        };
        match (rule.mode, holds) {
            (Mode::Enforce, holds) => Fact::check(holds, format!("{name}{condition_text}")),
            (Mode::Shadow, true) => Fact::check(true, format!("{name}{condition_text} (shadow)")),
            (Mode::Shadow, false) => Fact::note(format!(
                "{name}{condition_text}: does not hold, and only counts (shadow)"
            )),
        }
    };
    facts.extend(conditions.into_iter().map(fact));
    facts
}

/// Returns one finding for each requirement of the route on the client's certificate.
fn certificate_facts(route: &Route, inbound: &Inbound<'_>) -> Vec<Fact> {
    let text = |requirement: &CertificateRequirement| match requirement {
        CertificateRequirement::Any => "the client showed a certificate".to_owned(),
        CertificateRequirement::OneOf { names, fingerprints } => {
            let names = names.iter().map(ToString::to_string);
            let fingerprints = fingerprints
                .iter()
                .map(|fingerprint| format!("fingerprint {fingerprint}"));
            let all: Vec<String> = names.chain(fingerprints).collect();
            format!("the client's certificate is one for {}", all.join(" or "))
        }
    };
    let fact = |requirement: &CertificateRequirement| match inbound.client_certificate() {
        Some(certificate) => Fact::check(client_certificate::is_met(requirement, certificate), text(requirement)),
        None => Fact::check(false, format!("{}; there is none", text(requirement))),
    };
    route.client_certificates.iter().map(fact).collect()
}

fn joined<T: ToString>(items: &[T], by: &str) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(by)
}

fn limit(trace: &StageFacts<'_>) -> Vec<Fact> {
    let Some(route) = &trace.decision_trace.route else {
        return Vec::new();
    };
    let plan = trace.decision_trace.plan_limits.as_ref();
    let of_plan = plan
        .into_iter()
        .flat_map(|plan| plan.limits.iter().chain(&plan.shadow_limits));
    let mut names: Vec<&Name> = Vec::new();
    for limit in route.limits.iter().chain(&route.shadow_limits).chain(of_plan) {
        // A limit in both lists is spent once.
        if !names.contains(&limit.name()) {
            names.push(limit.name());
        }
    }
    let limits = names.into_iter().filter_map(|name| trace.config.limits.get(name));
    let mut facts: Vec<Fact> = limits
        .map(|limit| {
            let by = joined(&limit.by, " and ");
            let counted = match limit.mode {
                Mode::Enforce => "would take 1",
                Mode::Shadow => "only counts (shadow)",
            };
            let identity = trace.decision_trace.principal().map(Principal::identity);
            let missing = limit.by.iter().filter_map(|by| Some((by, identity?.stand_in(*by)?)));
            let instead: String = missing
                .map(|(by, stand_in)| format!("; it has no {by}, and its {} counts instead", stand_in.as_str()))
                .collect();
            let quota = limit.quota_text();
            Fact::note(format!("{}: {quota}, by {by}; {counted}{instead}", limit.name))
        })
        .collect();
    if facts.is_empty() {
        facts.push(Fact::note("none"));
    }
    facts
}

fn upstream(trace: &StageFacts<'_>, permit: &Permit) -> Option<Upstream> {
    let preview = preview::preview(&trace.forms.parts, permit, trace.inbound?, trace.snapshot);
    let rules = &permit.destination().request_headers;
    let credential = permit.destination().upstream.settings.credential.as_ref();
    let hidden = |name: &HeaderName| {
        [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE].contains(name)
            || *name == trace.snapshot.api_key_header
    };
    let headers = preview.headers.iter().map(|(name, value)| {
        let value = match name {
            name if credential.is_some_and(|credential| credential.header == name) => "[secret]".to_owned(),
            name if hidden(name) => "[not shown]".to_owned(),
            // The value may be a secret that the gate shares with the upstream.
            name if rules.writes(name) => "[set by the configuration]".to_owned(),
            _ => text(value.as_bytes()),
        };
        (name.to_string(), value)
    });
    let mut headers: Vec<(String, String)> = headers.collect();
    if credential.is_some_and(|credential| credential.oauth_client().is_some()) {
        headers.push((header::AUTHORIZATION.to_string(), "[fetched by the gate]".to_owned()));
    }
    if permit.route().identity_audience.is_some() && permit.principal().is_some() {
        headers.push((IDENTITY_TOKEN.to_string(), "[signed for each request]".to_owned()));
    }
    headers.sort();
    let (path, query) = match preview.target.split_once('?') {
        Some((path, query)) => (path, Some(intake::redact_query(query))),
        None => (preview.target.as_str(), None),
    };
    Some(Upstream {
        name: permit.destination().upstream.settings.name.to_string(),
        split_by: trace
            .inbound
            .and_then(|inbound| permit.route().destinations.key_of(inbound, permit.principal()))
            .map(|key| key.to_string()),
        target: query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}")),
        headers,
    })
}
