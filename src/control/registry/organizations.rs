//! Which organizations are there? Only operators create them.

use crate::control::registry::Registry;
use crate::control::registry::RegistryError;
use crate::control::registry::StoredResponseFn;
use crate::control::registry::actor::Visibility;
use crate::control::registry::text::Label;
use crate::model::names::Name;
use crate::model::plan::Plan;
use crate::store::Batch;
use crate::store::Page;
use crate::store::StoreError;
use crate::store::Versioned;
use crate::store::record::OrganizationRecord;

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
        let record = OrganizationRecord {
            id,
            name: name.into_string(),
            created_at: self.now,
        };
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
