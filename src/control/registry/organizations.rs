//! Which organizations are there? Only operators make them.

use crate::control::registry::Keep;
use crate::control::registry::Refused;
use crate::control::registry::Registry;
use crate::control::registry::actor::Reach;
use crate::control::registry::after;
use crate::control::registry::exists;
use crate::control::registry::text::Label;
use crate::model::names::Name;
use crate::model::plan::Plan;
use crate::store::Batch;
use crate::store::Page;
use crate::store::Revision;
use crate::store::Versioned;
use crate::store::Write;
use crate::store::record::OrganizationRecord;
use serde_json::json;

impl Registry {
    /// Makes an organization, without any subscription yet.
    ///
    /// # Errors
    /// Not an operator; the id is taken.
    pub async fn create_organization(
        &self,
        id: Name,
        name: Label,
        keep: Keep<'_, OrganizationRecord>,
    ) -> Result<Versioned<OrganizationRecord>, Refused> {
        self.operators_only()?;
        let record = OrganizationRecord {
            id: id.clone(),
            name: name.into_string(),
            created_at: self.now,
        };
        let made = Versioned {
            record: record.clone(),
            revision: after(Revision::NEW),
        };
        let batch = Batch {
            event: Some(self.event(
                "organization.create",
                id.as_str(),
                Some(&id),
                json!({ "name": record.name }),
            )),
            answer: keep(&made),
            writes: vec![Write::Organization(Versioned::new(record))],
            ..Batch::default()
        };
        let committed = self.control.commit(batch).await;
        committed.map_err(|error| exists(error.into(), "organization"))?;
        Ok(made)
    }

    /// # Errors
    /// There is none, or not for this actor.
    pub async fn organization(&self, id: &Name) -> Result<Versioned<OrganizationRecord>, Refused> {
        if !self.actor.sees(id) {
            return Err(Refused::NotFound("organization"));
        }
        let found = self.control.store.organization(id).await?;
        found.ok_or(Refused::NotFound("organization"))
    }

    /// Sorted by id.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn organizations(&self, page: &Page) -> Result<Vec<OrganizationRecord>, Refused> {
        match self.actor.reach() {
            Reach::All => Ok(self.control.store.organizations(page).await?),
            Reach::Organization(own) => {
                let comes_later = page.after.as_deref().is_none_or(|after| own.as_str() > after);
                let found = self.control.store.organization(own).await?;
                Ok(found
                    .filter(|_| comes_later)
                    .map(|found| found.record)
                    .into_iter()
                    .collect())
            }
        }
    }

    /// What the configuration in force has, sorted by name.
    pub fn plans(&self) -> Vec<Plan> {
        self.control.settings.load().plans.values().cloned().collect()
    }
}
