//! Organizations over HTTP.

use crate::control::admin::body::Body;
use crate::control::admin::body::kept_or_changed;
use crate::control::admin::change::Change;
use crate::control::admin::formats;
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
    /// `active` or `deleted`.
    #[schema(example = "active")]
    state: &'static str,
    created_at: Time,
}

impl Resource for OrganizationRecord {
    type View = View;

    fn view(&self, _: &Registry) -> View {
        View {
            id: self.id.to_string(),
            name: self.name.clone(),
            state: self.state.as_str(),
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
    #[schema(value_type = formats::OrganizationId)]
    id: String,
    /// 1 to 200 characters, for people.
    #[schema(value_type = formats::Label)]
    name: String,
}

/// What is to be other than it was; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OrganizationChange)]
pub(super) struct OrganizationChange {
    /// 1 to 200 characters, for people.
    #[serde(default, deserialize_with = "kept_or_changed")]
    #[schema(value_type = formats::Label, required = false)]
    name: Option<String>,
}

/// The organization in a path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct OrganizationPath {
    /// The organization's id
    #[param(inline, value_type = formats::OrganizationId, example = "acme")]
    id: String,
}

impl OrganizationPath {
    fn id(&self) -> Result<Name, RegistryError> {
        self.id.parse().map_err(|_| RegistryError::NotFound("organization"))
    }
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
    #[param(inline, value_type = formats::OrganizationId, required = false)]
    after: Option<String>,
}

/// Every organization
///
/// An organization's own administrators see theirs alone. Deleted ones are among them, because tokens and the audit log name
/// them.
#[utoipa::path(get, path = "/admin/v1/organizations", tag = "organizations", operation_id = "listOrganizations",
    params(OrganizationQuery), responses((status = 200, description = "A part of the list", body = List)))]
pub(super) async fn list(registry: Registry, Parameters(query): Parameters<OrganizationQuery>) -> HandlerResult {
    let page = query::page::<Name>(query.limit, query.after)?;
    let found = registry.organizations(&page).await?;
    Ok(AdminResponse::record_page(&registry, found, &page))
}

/// One organization
#[utoipa::path(get, path = "/admin/v1/organizations/{id}", tag = "organizations", operation_id = "showOrganization",
    params(OrganizationPath), responses((status = 200, description = "The organization", body = View)))]
pub(super) async fn show(registry: Registry, Path(organization): Path<OrganizationPath>) -> HandlerResult {
    let found = registry.organization(&organization.id()?).await?;
    Ok(AdminResponse::record(&registry, &found))
}

/// Change an organization
///
/// Its id is for good.
#[utoipa::path(patch, path = "/admin/v1/organizations/{id}", tag = "organizations", operation_id = "changeOrganization",
    params(OrganizationPath),
    request_body(content(
        (OrganizationChange = "application/json"),
        (OrganizationChange = "application/merge-patch+json"),
    )), responses((status = 200, description = "It is changed", body = View)))]
pub(super) async fn change(
    Change(registry, organization, expected, Body { body, .. }): Change<OrganizationPath, Body<OrganizationChange>>,
) -> HandlerResult {
    let id = organization.id()?;
    let name = ValidationErrors::collect(|errors| {
        let name = body.name.as_deref();
        Some(name.and_then(|text| errors.take("/name", Label::parse(text))))
    })?;
    let changed = registry.change_organization(&id, name.as_ref(), expected).await?;
    Ok(AdminResponse::record(&registry, &changed))
}

/// Delete an organization
///
/// For operators, and for good: its id stays taken. Refused while it has a subscription that is not cancelled
/// (`organization-in-use`); a cancellation ends every credential of its subscription.
#[utoipa::path(delete, path = "/admin/v1/organizations/{id}", tag = "organizations", operation_id = "deleteOrganization",
    params(OrganizationPath), responses((status = 200, description = "It is deleted", body = View)))]
pub(super) async fn delete(Change(registry, organization, expected, _): Change<OrganizationPath>) -> HandlerResult {
    let deleted = registry.delete_organization(&organization.id()?, expected).await?;
    Ok(AdminResponse::record(&registry, &deleted))
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
