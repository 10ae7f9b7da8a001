//! How is a record shown? As its view, in the same way when it is created, changed, read or listed; outside lists with
//! its revision.

use crate::control::admin::response::AdminResponse;
use crate::control::registry::Registry;
use crate::store::Page;
use crate::store::Versioned;
use crate::store::record::Record;
use serde::Serialize;

/// A record that the API can show.
pub(super) trait Resource {
    type View: Serialize;

    /// Returns the public view, without secrets.
    fn view(&self, registry: &Registry) -> Self::View;
}

impl AdminResponse {
    /// Returns 200 with a record and its revision.
    pub(super) fn record<R: Resource>(registry: &Registry, found: &Versioned<R>) -> Self {
        Self::json(&found.record.view(registry)).with_revision(found.revision)
    }

    /// Returns 201 with a new record and its revision.
    pub(super) fn created_record<R: Resource>(registry: &Registry, new: &Versioned<R>) -> Self {
        Self::created(&new.record.view(registry)).with_revision(new.revision)
    }

    /// Returns 200 with a page of records.
    pub(super) fn record_page<R: Resource + Record>(
        registry: &Registry,
        found: Vec<Versioned<R>>,
        page: &Page,
    ) -> Self {
        let id = |found: &Versioned<R>| found.record.id().to_owned();
        Self::page(found, page, id, |found| found.record.view(registry))
    }

    /// Returns 200 with a page of a list. `found` may have one item more than is shown; there is then a next page.
    pub(super) fn page<R, T: Serialize>(
        mut found: Vec<R>,
        page: &Page,
        id: impl Fn(&R) -> String,
        view: impl Fn(R) -> T,
    ) -> Self {
        let size = page.limit.saturating_sub(1) as usize;
        let more = found.len() > size;
        found.truncate(size);
        Self::json(&List {
            next: found.last().filter(|_| more).map(id),
            items: found.into_iter().map(view).collect(),
        })
    }
}

/// A page of a list, and the id after which the next page begins.
#[derive(Serialize)]
struct List<T> {
    items: Vec<T>,
    next: Option<String>,
}
