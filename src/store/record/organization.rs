//! How is an organization, the holder of subscriptions, stored, and how may it change?

use crate::model::clock::Timestamp;
use crate::model::names::Name;
use crate::store::record::text;
use serde::Deserialize;
use serde::Serialize;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrganizationRecord {
    /// Used in the path `/t/{organization}/oauth/token` and in the claim `org`.
    #[serde(with = "text")]
    pub id: Name,
    /// The name for people.
    pub name: String,
    #[serde(with = "text::millis")]
    pub created_at: Timestamp,
    /// `Active` in a record of an earlier version.
    #[serde(with = "text", default, skip_serializing_if = "is_active")]
    pub state: OrganizationState,
}

/// The state of an organization, which decides whether it gets subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum OrganizationState {
    #[default]
    Active,
    /// Never gets a subscription again. Its id stays taken: tokens and audit events name it.
    Deleted,
}

impl OrganizationState {
    pub const ALL: [Self; 2] = [Self::Active, Self::Deleted];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Deleted => "deleted",
        }
    }
}

crate::model::id::words!(OrganizationState);

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_active(state: &OrganizationState) -> bool {
    matches!(state, OrganizationState::Active)
}

/// Why an organization cannot be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrganizationError {
    #[error("the organization is deleted, and stays so; make another")]
    Deleted,
}

impl OrganizationError {
    /// Returns the stable word for programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deleted => "organization_deleted",
        }
    }
}

impl OrganizationRecord {
    pub const fn new(id: Name, name: String, now: Timestamp) -> Self {
        Self {
            id,
            name,
            created_at: now,
            state: OrganizationState::Active,
        }
    }

    /// Gives the organization another name for people.
    ///
    /// # Errors
    /// The organization is deleted.
    pub fn rename(self, name: String) -> Result<Self, OrganizationError> {
        self.check_not_deleted()?;
        Ok(Self { name, ..self })
    }

    /// Deletes the organization. The caller has checked that nothing of it is in use.
    ///
    /// # Errors
    /// The organization is deleted already.
    pub fn delete(self) -> Result<Self, OrganizationError> {
        self.check_not_deleted()?;
        Ok(Self {
            state: OrganizationState::Deleted,
            ..self
        })
    }

    /// Checks that the organization may have subscriptions.
    ///
    /// # Errors
    /// The organization is deleted.
    pub fn check_not_deleted(&self) -> Result<(), OrganizationError> {
        match self.state {
            OrganizationState::Active => Ok(()),
            OrganizationState::Deleted => Err(OrganizationError::Deleted),
        }
    }
}
