//! Organizations over HTTP.

use crate::control::admin::answer::Answer;
use crate::control::admin::answer::Answered;
use crate::control::admin::body::Create;
use crate::control::admin::idempotency::once;
use crate::control::admin::issuers::Time;
use crate::control::admin::query;
use crate::control::admin::query::Asking;
use crate::control::registry::Mistakes;
use crate::control::registry::Refused;
use crate::control::registry::Registry;
use crate::control::registry::text::Label;
use crate::model::names::Name;
use crate::store::Versioned;
use crate::store::record::OrganizationRecord;
use axum::extract::Path;
use serde::Deserialize;
use serde::Serialize;
use utoipa::IntoParams;
use utoipa::ToSchema;

/// An organization.
#[derive(Serialize, ToSchema)]
#[schema(as = Organization)]
pub(in crate::control::admin) struct View {
    /// Stands in `/t/{organization}/oauth/token`, and in tokens as `org`.
    #[schema(example = "acme")]
    id: String,
    /// For people.
    #[schema(example = "Acme Corporation")]
    name: String,
    created_at: Time,
}

impl View {
    fn of(record: &OrganizationRecord) -> Self {
        Self {
            id: record.id.to_string(),
            name: record.name.clone(),
            created_at: Time(record.created_at),
        }
    }
}

/// A part of the list of organizations.
#[derive(Serialize, ToSchema)]
#[schema(as = OrganizationList)]
pub(in crate::control::admin) struct List {
    items: Vec<View>,
    /// The `after` of the next page; `null` on the last.
    next: Option<String>,
}

/// What an organization is made with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewOrganization)]
pub(in crate::control::admin) struct New {
    /// 1 to 64 characters: a lower-case letter or a digit first, then also `-`, `_` and `.`. For good.
    #[schema(example = "acme", pattern = "^[a-z0-9][a-z0-9._-]{0,63}$")]
    id: String,
    /// 1 to 200 characters, for people.
    #[schema(example = "Acme Corporation", min_length = 1, max_length = 200)]
    name: String,
}

/// Which part of the list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::control::admin) struct Listing {
    /// At most so many items.
    #[param(minimum = 1, maximum = 200, default = 50, required = false)]
    limit: Option<u32>,
    /// `next` of the page before.
    #[param(required = false)]
    after: Option<String>,
}

/// Every organization
///
/// An organization's own administrators see theirs alone.
#[utoipa::path(get, path = "/admin/v1/organizations", tag = "organizations", operation_id = "listOrganizations",
    params(Listing), responses((status = 200, description = "A part of the list", body = List)))]
pub(in crate::control::admin) async fn list(registry: Registry, Asking(asked): Asking<Listing>) -> Answered {
    let page = query::page(asked.limit, asked.after)?;
    let found = registry.organizations(&page).await?;
    Ok(query::listed(
        found,
        &page,
        |record| record.id.to_string(),
        |record| View::of(&record),
    ))
}

/// One organization
#[utoipa::path(get, path = "/admin/v1/organizations/{id}", tag = "organizations", operation_id = "showOrganization",
    params(("id" = String, Path, description = "The organization's id", example = "acme")),
    responses((status = 200, description = "The organization", body = View)))]
pub(in crate::control::admin) async fn show(registry: Registry, Path(id): Path<String>) -> Answered {
    let id = id.parse().map_err(|_| Refused::NotFound("organization"))?;
    let found = registry.organization(&id).await?;
    Ok(Answer::json(&View::of(&found.record)).at(found.revision))
}

/// Make an organization
///
/// For operators. It has no subscription yet.
#[utoipa::path(post, path = "/admin/v1/organizations", tag = "organizations", operation_id = "createOrganization",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes it once, however often it is sent: 1 to 255 visible ASCII characters")),
    request_body = New, responses((status = 201, description = "It is made", body = View)))]
pub(in crate::control::admin) async fn create(registry: Registry, Create { body, remember }: Create<New>) -> Answered {
    let mut mistakes = Mistakes::default();
    let id = mistakes.take("/id", body.id.parse::<Name>());
    let name = mistakes.take("/name", Label::parse(&body.name));
    let (Some(id), Some(name)) = (id, name) else {
        return Err(Refused::from(mistakes).into());
    };
    let keep = |made: &Versioned<OrganizationRecord>| {
        let remember = remember.as_ref()?;
        Some(remember.answer(&View::of(&made.record), registry.now()))
    };
    let make = registry.create_organization(id, name, &keep);
    once(&registry, remember.as_ref(), make, |made| {
        Answer::created(&View::of(&made.record)).at(made.revision)
    })
    .await
}
