//! A store with hooks for tests: a callback after a write, and an outage.

use async_trait::async_trait;
use keygate::model::api_key::KeyId;
use keygate::model::clock::Timestamp;
use keygate::model::id::ClientId;
use keygate::model::id::SubscriptionId;
use keygate::model::names::Name;
use keygate::store::AssertionMark;
use keygate::store::AuditFilter;
use keygate::store::Batch;
use keygate::store::ChainState;
use keygate::store::Contents;
use keygate::store::Filter;
use keygate::store::Page;
use keygate::store::Store;
use keygate::store::StoreError;
use keygate::store::StoredResponse;
use keygate::store::Versioned;
use keygate::store::WriteHealth;
use keygate::store::record::ApiKeyRecord;
use keygate::store::record::AuditEvent;
use keygate::store::record::ClientRecord;
use keygate::store::record::LimitCounts;
use keygate::store::record::OrganizationRecord;
use keygate::store::record::SubscriptionRecord;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

type Hook = Mutex<Option<Box<dyn FnOnce() + Send>>>;

pub struct HookedStore {
    pub inner: Arc<dyn Store>,
    /// Runs once, after an assertion is marked and before `mark_assertion` returns.
    pub after_mark: Hook,
    /// Runs once, after a batch is committed and before `commit` returns.
    pub after_commit: Hook,
    /// Makes `commit` and `mark_assertion` fail; reads still succeed.
    pub is_unavailable: AtomicBool,
    pub marks: AtomicUsize,
}

impl HookedStore {
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            after_mark: Mutex::default(),
            after_commit: Mutex::default(),
            is_unavailable: AtomicBool::new(false),
            marks: AtomicUsize::new(0),
        }
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.is_unavailable.load(Ordering::Relaxed) {
            Err(StoreError::Unavailable(
                "the test makes the store unavailable".to_owned(),
            ))
        } else {
            Ok(())
        }
    }
}

fn run(hook: &Hook) {
    let work = hook.lock().unwrap().take();
    if let Some(work) = work {
        work();
    }
}

#[async_trait]
impl Store for HookedStore {
    async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.check()?;
        self.inner.commit(batch).await?;
        run(&self.after_commit);
        Ok(())
    }

    async fn organization(&self, id: &Name) -> Result<Option<Versioned<OrganizationRecord>>, StoreError> {
        self.inner.organization(id).await
    }

    async fn subscription(&self, id: &SubscriptionId) -> Result<Option<Versioned<SubscriptionRecord>>, StoreError> {
        self.inner.subscription(id).await
    }

    async fn api_key(&self, id: &KeyId) -> Result<Option<Versioned<ApiKeyRecord>>, StoreError> {
        self.inner.api_key(id).await
    }

    async fn client(&self, id: &ClientId) -> Result<Option<Versioned<ClientRecord>>, StoreError> {
        self.inner.client(id).await
    }

    async fn organizations(&self, page: &Page) -> Result<Vec<Versioned<OrganizationRecord>>, StoreError> {
        self.inner.organizations(page).await
    }

    async fn subscriptions(
        &self,
        filter: &Filter,
        page: &Page,
    ) -> Result<Vec<Versioned<SubscriptionRecord>>, StoreError> {
        self.inner.subscriptions(filter, page).await
    }

    async fn api_keys(&self, filter: &Filter, page: &Page) -> Result<Vec<Versioned<ApiKeyRecord>>, StoreError> {
        self.inner.api_keys(filter, page).await
    }

    async fn clients(&self, filter: &Filter, page: &Page) -> Result<Vec<Versioned<ClientRecord>>, StoreError> {
        self.inner.clients(filter, page).await
    }

    async fn mark_assertion(&self, mark: &AssertionMark) -> Result<bool, StoreError> {
        self.check()?;
        self.marks.fetch_add(1, Ordering::Relaxed);
        let first = self.inner.mark_assertion(mark).await?;
        run(&self.after_mark);
        Ok(first)
    }

    async fn stored_response(&self, key: &str) -> Result<Option<StoredResponse>, StoreError> {
        self.inner.stored_response(key).await
    }

    async fn audit(&self, filter: &AuditFilter, limit: u32) -> Result<Vec<AuditEvent>, StoreError> {
        self.inner.audit(filter, limit).await
    }

    async fn verify_audit(&self) -> Result<ChainState, StoreError> {
        self.inner.verify_audit().await
    }

    async fn read(&self, take: &mut (dyn FnMut(Contents) + Send)) -> Result<(), StoreError> {
        self.inner.read(take).await
    }

    async fn record_key_use(&self, used: &[(KeyId, Timestamp)]) -> Result<(), StoreError> {
        self.inner.record_key_use(used).await
    }

    async fn limit_counts(&self) -> Result<Vec<LimitCounts>, StoreError> {
        self.inner.limit_counts().await
    }

    async fn replace_limit_counts(&self, counts: Vec<LimitCounts>) -> Result<(), StoreError> {
        self.inner.replace_limit_counts(counts).await
    }

    async fn digest_scheme(&self) -> Result<Option<String>, StoreError> {
        self.inner.digest_scheme().await
    }

    async fn replace_digest_scheme(&self, scheme: String) -> Result<(), StoreError> {
        self.inner.replace_digest_scheme(scheme).await
    }

    async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        self.inner.sweep(now).await
    }

    async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        self.inner.backup(to).await
    }

    fn write_health(&self) -> WriteHealth {
        let health = self.inner.write_health();
        WriteHealth {
            problem: self.check().err().map(|error| error.to_string()).or(health.problem),
            ..health
        }
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.check()?;
        self.inner.probe().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
