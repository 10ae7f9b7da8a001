//! Which organizations are there? Only operators create and delete them.

use crate::control::registry::Registry;
use crate::control::registry::RegistryError;
use crate::control::registry::StoredResponseFn;
use crate::control::registry::actor::Visibility;
use crate::control::registry::change::check_revision;
use crate::control::registry::change::retry_on_conflict;
use crate::control::registry::default_name;
use crate::control::registry::prepare::operators_name;
use crate::control::registry::text::Label;
use crate::model::names::Name;
use crate::model::plan::Plan;
use crate::store::Batch;
use crate::store::Page;
use crate::store::Revision;
use crate::store::StoreError;
use crate::store::Versioned;
use crate::store::record::OrganizationError;
use crate::store::record::OrganizationRecord;
use serde_json::json;

/// The most subscriptions that a refusal to delete an organization names.
const SUBSCRIPTIONS_NAMED_MAX: usize = 5;

impl From<OrganizationError> for RegistryError {
    fn from(error: OrganizationError) -> Self {
        Self::state_conflict(error.as_str(), error)
    }
}

impl Registry {
    /// Creates an organization, without a subscription.
    ///
    /// # Errors
    /// The actor is not an operator; the id is taken.
    pub async fn create_organization(
        &self,
        id: Name,
        name: Label,
        stored_response: StoredResponseFn<'_, OrganizationRecord>,
    ) -> Result<Versioned<OrganizationRecord>, RegistryError> {
        self.actor.operators_only()?;
        let record = OrganizationRecord::new(id, name.into_string(), self.now);
        let created = self.insert_in_batch(Batch::default(), "organization.create", record, stored_response);
        created.await.map_err(|error| match error {
            RegistryError::Store(StoreError::Conflict(_)) => RegistryError::Exists("organization"),
            other => other,
        })
    }

    /// Returns the organization of this id.
    ///
    /// # Errors
    /// No such organization exists, or the actor may not see it.
    pub async fn organization(&self, id: &Name) -> Result<Versioned<OrganizationRecord>, RegistryError> {
        self.visible(self.control.store.organization(id).await?)
    }

    /// Gives an organization another name.
    ///
    /// # Errors
    /// No such organization exists, the actor may not see it, or it is deleted.
    pub async fn change_organization(
        &self,
        id: &Name,
        name: Option<&Label>,
        expected: Option<Revision>,
    ) -> Result<Versioned<OrganizationRecord>, RegistryError> {
        retry_on_conflict(|| async {
            let found = check_revision(self.organization(id).await?, expected)?;
            let changed = found.clone().try_map(|organization| {
                let name = name.map_or_else(|| organization.name.clone(), |name| name.clone().into_string());
                organization.rename(name)
            })?;
            let details = json!({ "name": changed.record.name });
            self.replace("organization.change", &found.record, changed, details)
                .await
        })
        .await
    }

    /// Deletes an organization for good. Its id stays taken, because tokens and audit events name it.
    ///
    /// # Errors
    /// No such organization exists; the actor is not an operator; it is deleted already or built in; or it has a
    /// subscription that is not cancelled. A cancellation ends every credential of its subscription.
    pub async fn delete_organization(
        &self,
        id: &Name,
        expected: Option<Revision>,
    ) -> Result<Versioned<OrganizationRecord>, RegistryError> {
        // Check visibility first: a hidden organization looks absent (404) here too.
        self.organization(id).await?;
        self.actor.operators_only()?;
        if [default_name(), operators_name()].contains(id) {
            let detail = "this organization is built in and stays";
            return Err(RegistryError::state_conflict("built_in", detail));
        }
        retry_on_conflict(|| async {
            // Each new subscription writes its organization, so this revision conflicts with one that is made meanwhile.
            let found = check_revision(self.organization(id).await?, expected)?;
            let deleted = found.clone().try_map(OrganizationRecord::delete)?;
            self.check_nothing_in_use(id).await?;
            let details = json!({ "name": deleted.record.name });
            self.replace("organization.delete", &found.record, deleted, details)
                .await
        })
        .await
    }

    /// Checks that each subscription of the organization is cancelled.
    async fn check_nothing_in_use(&self, id: &Name) -> Result<(), RegistryError> {
        let found = self.subscriptions_in_use(id, usize::MAX).await?;
        let mut in_use: Vec<String> = found.iter().map(|found| found.record.id.to_string()).collect();
        if in_use.is_empty() {
            return Ok(());
        }
        let count = in_use.len();
        if count > SUBSCRIPTIONS_NAMED_MAX {
            in_use.truncate(SUBSCRIPTIONS_NAMED_MAX);
            in_use.push("…".to_owned());
        }
        let detail = format!(
            "it has subscriptions that are not cancelled ({count}: {}); cancel them first, which ends every credential under them",
            in_use.join(", ")
        );
        Err(RegistryError::state_conflict("organization_in_use", detail))
    }

    /// Returns a page of organizations, sorted by id: for an operator of all, otherwise the actor's own alone.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn organizations(&self, page: &Page) -> Result<Vec<Versioned<OrganizationRecord>>, RegistryError> {
        match self.actor.reach() {
            Visibility::All => Ok(self.control.store.organizations(page).await?),
            Visibility::Organization(own) => {
                let comes_later = page.after.as_deref().is_none_or(|after| own.as_str() > after);
                let found = self.control.store.organization(own).await?;
                Ok(found.filter(|_| comes_later).into_iter().collect())
            }
        }
    }

    /// Returns the plans of the configuration in force, sorted by name.
    pub fn plans(&self) -> Vec<Plan> {
        self.control.settings.load().plans.values().cloned().collect()
    }
}
