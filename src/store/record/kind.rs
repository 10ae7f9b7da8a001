//! Which kinds of record have an id and revisions, and to which organization does a record belong?

use crate::model::names::Name;
use crate::store::Versioned;
use crate::store::Write;
use crate::store::record::ApiKeyRecord;
use crate::store::record::ClientRecord;
use crate::store::record::OrganizationRecord;
use crate::store::record::SubscriptionRecord;

/// A kind of record that is stored under its id, with revisions.
pub trait Record: Sized {
    /// The name of the kind in problem types and details.
    const KIND: &'static str;

    fn id(&self) -> &str;

    /// Returns the organization that the record belongs to.
    fn organization(&self) -> &Name;

    /// Returns the write of this record, for a batch.
    fn into_write(versioned: Versioned<Self>) -> Write;
}

impl Record for OrganizationRecord {
    const KIND: &'static str = "organization";

    fn id(&self) -> &str {
        self.id.as_str()
    }

    fn organization(&self) -> &Name {
        &self.id
    }

    fn into_write(versioned: Versioned<Self>) -> Write {
        Write::Organization(versioned)
    }
}

impl Record for SubscriptionRecord {
    const KIND: &'static str = "subscription";

    fn id(&self) -> &str {
        self.id.as_str()
    }

    fn organization(&self) -> &Name {
        &self.organization
    }

    fn into_write(versioned: Versioned<Self>) -> Write {
        Write::Subscription(versioned)
    }
}

impl Record for ApiKeyRecord {
    const KIND: &'static str = "key";

    fn id(&self) -> &str {
        self.id.as_str()
    }

    fn organization(&self) -> &Name {
        &self.organization
    }

    fn into_write(versioned: Versioned<Self>) -> Write {
        Write::ApiKey(versioned)
    }
}

impl Record for ClientRecord {
    const KIND: &'static str = "client";

    fn id(&self) -> &str {
        self.id.as_str()
    }

    fn organization(&self) -> &Name {
        &self.organization
    }

    fn into_write(versioned: Versioned<Self>) -> Write {
        Write::Client(versioned)
    }
}
