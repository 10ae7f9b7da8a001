//! Organizations over HTTP.

use crate::control::admin::body::Body;
use crate::control::admin::idempotency::Idempotency;
use crate::control::admin::query;
use crate::control::admin::query::Parameters;
use crate::control::admin::resource::Resource;
use crate::control::admin::response::AdminResponse;
use crate::control::admin::response::HandlerResult;
use crate::control::admin::time::Time;
use crate::control::registry::Registry;
use crate::control::registry::RegistryError;
use crate::control::registry::ValidationErrors;
use crate::control::registry::text::Label;
use crate::model::names::Name;
use crate::store::record::OrganizationRecord;
use axum::extract::Path;
use serde::Deserialize;
use serde::Serialize;
use utoipa::IntoParams;
use utoipa::ToSchema;

/// An organization.
#[derive(Serialize, ToSchema)]
#[schema(as = Organization)]
pub(super) struct View {
    /// Stands in `/t/{organization}/oauth/token`, and in tokens as `org`.
    #[schema(example = "acme")]
    id: String,
    /// For people.
    #[schema(example = "Acme Corporation")]
    name: String,
    created_at: Time,
}

impl Resource for OrganizationRecord {
    type View = View;

    fn view(&self, _: &Registry) -> View {
        View {
            id: self.id.to_string(),
            name: self.name.clone(),
            created_at: Time(self.created_at),
        }
    }
}

/// A part of the list of organizations.
#[derive(Serialize, ToSchema)]
#[schema(as = OrganizationList)]
pub(super) struct List {
    items: Vec<View>,
    /// The `after` of the next page; `null` on the last.
    next: Option<String>,
}

/// What an organization is made with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewOrganization)]
pub(super) struct NewOrganization {
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
pub(super) struct OrganizationQuery {
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
    params(OrganizationQuery), responses((status = 200, description = "A part of the list", body = List)))]
pub(super) async fn list(registry: Registry, Parameters(query): Parameters<OrganizationQuery>) -> HandlerResult {
    let page = query::page::<Name>(query.limit, query.after)?;
    let found = registry.organizations(&page).await?;
    Ok(AdminResponse::record_page(&registry, found, &page))
}

/// One organization
#[utoipa::path(get, path = "/admin/v1/organizations/{id}", tag = "organizations", operation_id = "showOrganization",
    params(("id" = String, Path, description = "The organization's id", example = "acme")),
    responses((status = 200, description = "The organization", body = View)))]
pub(super) async fn show(registry: Registry, Path(id): Path<String>) -> HandlerResult {
    let id = id.parse().map_err(|_| RegistryError::NotFound("organization"))?;
    let found = registry.organization(&id).await?;
    Ok(AdminResponse::record(&registry, &found))
}

/// Make an organization
///
/// For operators. It has no subscription yet.
#[utoipa::path(post, path = "/admin/v1/organizations", tag = "organizations", operation_id = "createOrganization",
    params(Idempotency),
    request_body = NewOrganization, responses((status = 201, description = "It is made", body = View)))]
pub(super) async fn create(registry: Registry, Body { body, idempotency }: Body<NewOrganization>) -> HandlerResult {
    let (id, name) = ValidationErrors::collect(|errors| {
        let id = errors.take("/id", body.id.parse::<Name>());
        let name = errors.take("/name", Label::parse(&body.name));
        id.zip(name)
    })?;
    let stored_response = idempotency.stored_response(&registry);
    let make = registry.create_organization(id, name, &stored_response);
    idempotency
        .run_once(&registry, make, |new| AdminResponse::created_record(&registry, &new))
        .await
}
