//! The audit log over HTTP: its events, and whether the log is intact.

use crate::control::admin::formats;
use crate::control::admin::query;
use crate::control::admin::query::Parameters;
use crate::control::admin::response::AdminResponse;
use crate::control::admin::response::HandlerResult;
use crate::control::admin::time::Time;
use crate::control::registry::Registry;
use crate::model::clock::Timestamp;
use crate::model::lifetime::rfc3339_instant;
use crate::store::AuditFilter;
use crate::store::ChainState;
use crate::store::record::AuditEvent;
use serde::Deserialize;
use serde::Serialize;
use utoipa::IntoParams;
use utoipa::ToSchema;

/// What happened.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditEvent)]
pub(super) struct View {
    /// From 1, without gaps over the whole log.
    #[schema(example = 7)]
    sequence: u64,
    at: Time,
    /// Who: a client's id, `admin.token`, `gate` (a schedule), or a user of the gate's machine who may open the store's files,
    /// such as `local:alice (uid 1000)`.
    #[schema(example = "client_4Vb8mTq0ZxN7sKe2RcYw1h")]
    actor: String,
    /// From which address; `null` for what did not come over the network.
    #[schema(example = "192.0.2.7")]
    from: Option<String>,
    /// What: `client.create`, `api_key.revoke`, …
    #[schema(example = "api_key.revoke")]
    action: String,
    /// The id of what was changed.
    #[schema(example = "0123456789abcdef")]
    target: String,
    /// Whose it is; `null` for what is the gate's.
    #[schema(example = "acme")]
    organization: Option<String>,
    /// What else is worth knowing. Never a secret.
    #[schema(value_type = Object)]
    details: serde_json::Value,
    /// Of the event before, hexadecimal.
    previous_hash: String,
    /// SHA-256 over everything above.
    hash: String,
}

impl View {
    fn of(event: AuditEvent) -> Self {
        Self {
            sequence: event.sequence,
            at: Time(event.at),
            actor: event.actor,
            from: event.from.map(|from| from.to_string()),
            action: event.action,
            target: event.target,
            organization: event.organization.map(|organization| organization.to_string()),
            details: event.details,
            previous_hash: event.previous_hash,
            hash: event.hash,
        }
    }
}

/// A part of the log, the newest first.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditList)]
pub(super) struct List {
    items: Vec<View>,
    /// The `after` of the next page; `null` on the last.
    next: Option<String>,
}

/// Whether the log is whole.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditChain)]
pub(super) struct Chain {
    /// `whole`, or `broken`.
    #[schema(example = "whole")]
    state: &'static str,
    /// How many events there are, where it is whole.
    #[schema(example = 7)]
    events: Option<u64>,
    /// The hash of the last event, where it is whole. Kept elsewhere, it proves later that nothing before it was changed.
    head: Option<String>,
    /// The first event that does not fit, where it is broken: changed, or something before it is gone.
    #[schema(example = json!(null))]
    sequence: Option<u64>,
    #[schema(example = json!(null))]
    problem: Option<String>,
}

/// What is asked of the log.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditQuery {
    /// Of this organization alone.
    #[param(inline, value_type = formats::OrganizationId, required = false)]
    organization: Option<String>,
    /// By this actor alone; `local` stands for every user of the gate's machine, `local:alice` for one.
    #[param(required = false)]
    actor: Option<String>,
    /// Of this kind alone, such as `api_key.revoke`.
    #[param(required = false)]
    action: Option<String>,
    /// Of the thing of this id alone.
    #[param(required = false)]
    target: Option<String>,
    /// At this instant or later (RFC 3339).
    #[param(inline, value_type = formats::Instant, required = false)]
    since: Option<String>,
    /// Before this instant (RFC 3339).
    #[param(inline, value_type = formats::Instant, required = false)]
    until: Option<String>,
    /// At most so many items.
    #[param(minimum = 1, maximum = 200, default = 50, required = false)]
    limit: Option<u32>,
    /// `next` of the page before.
    #[param(inline, value_type = formats::AuditSequence, required = false)]
    after: Option<String>,
}

/// Parses a parameter that is an instant, if it is present.
fn instant(parameter: &str, text: Option<&str>) -> Result<Option<Timestamp>, AdminResponse> {
    let read = |text| {
        rfc3339_instant(text).ok_or_else(|| {
            query::bad_query(
                parameter,
                "must be an instant such as `2027-01-31T00:00:00Z` (RFC 3339)",
            )
        })
    };
    text.map(read).transpose()
}

/// Who changed what, when, from where
///
/// The newest first. An organization's own administrators see what happened in theirs.
#[utoipa::path(get, path = "/admin/v1/audit", tag = "audit", operation_id = "listAudit",
    params(AuditQuery), responses((status = 200, description = "A part of the log", body = List)))]
pub(super) async fn list(registry: Registry, Parameters(query): Parameters<AuditQuery>) -> HandlerResult {
    let page = query::page::<u64>(query.limit, None)?;
    let filter = AuditFilter {
        organization: query::parsed("organization", query.organization.as_deref())?,
        actor: query.actor,
        action: query.action,
        target: query.target,
        since: instant("since", query.since.as_deref())?,
        until: instant("until", query.until.as_deref())?,
        before: query::parsed("after", query.after.as_deref())?,
    };
    let found = registry.audit(filter, page.limit).await?;
    Ok(AdminResponse::page(
        found,
        &page,
        |event| event.sequence.to_string(),
        View::of,
    ))
}

/// Whether the log is whole
///
/// Reads all of it: an event that was changed, removed, added or moved is found. For operators.
#[utoipa::path(get, path = "/admin/v1/audit/verify", tag = "audit", operation_id = "verifyAudit",
    responses((status = 200, description = "Whether it is", body = Chain)))]
pub(super) async fn verify(registry: Registry) -> HandlerResult {
    let chain = match registry.verify_audit().await? {
        ChainState::Whole { events, head } => Chain {
            state: "whole",
            events: Some(events),
            head: Some(head),
            sequence: None,
            problem: None,
        },
        ChainState::Broken { sequence, problem } => Chain {
            state: "broken",
            events: None,
            head: None,
            sequence: Some(sequence),
            problem: Some(problem),
        },
    };
    Ok(AdminResponse::json(&chain))
}
