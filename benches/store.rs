//! How many changes a second does the store commit, and how long does reading the keys delay a start?
//!
//! `cargo bench --bench store` reads 100 000 keys; `cargo bench --bench store -- full` reads a million. The database is
//! below `target`, and the result depends mostly on the speed of that disk.

use keygate::control::clients::Clients;
use keygate::control::enforce;
use keygate::model::api_key::ApiKeyEnvironment;
use keygate::model::api_key::CredentialDigest;
use keygate::model::clock::Timestamp;
use keygate::model::directory::ApiKeyOrigin;
use keygate::model::directory::Directory;
use keygate::model::plan::CredentialKinds;
use keygate::model::plan::Plan;
use keygate::store::AssertionMark;
use keygate::store::Batch;
use keygate::store::Store;
use keygate::store::Versioned;
use keygate::store::Write;
use keygate::store::record::ApiKeyRecord;
use keygate::store::record::NewApiKey;
use keygate::store::record::NewAuditEvent;
use keygate::store::record::OrganizationRecord;
use keygate::store::record::SubscriptionRecord;
use keygate::store::revocations::RevocationLog;
use keygate::store::sqlite::SqliteStore;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

const NOW: Timestamp = Timestamp::from_unix_millis(1_800_000_000_000);
/// Records in one batch when a store is filled before the measurement.
const FILL: u64 = 1_000;

struct Size {
    /// Keys created by 16 and by 64 writers; one writer creates a tenth.
    creates: u64,
    created: u64,
    read: u64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let size = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["full", "--bench"] => Size {
            creates: 20_000,
            created: 100_000,
            read: 1_000_000,
        },
        ["--bench"] => Size {
            creates: 2_000,
            created: 10_000,
            read: 100_000,
        },
        // `cargo test --benches`: a short run.
        _ => Size {
            creates: 64,
            created: 64,
            read: 1_000,
        },
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime starts");
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder below target");
    println!("{:<44} {:>10} {:>12} {:>12}", "", "count", "seconds", "per second");
    runtime.block_on(async {
        write(&folder.path().join("write/keygate.db"), &size).await;
        read(&folder.path().join("read/keygate.db"), size.read).await;
    });
}

async fn write(path: &Path, size: &Size) {
    let store = open(path).await;
    let next = Arc::new(AtomicU64::new(0));
    for writers in [1, 16, 64] {
        // A single writer waits for the disk after each key.
        let count = if writers == 1 { size.creates / 10 } else { size.creates };
        let (store, next) = (Arc::clone(&store), Arc::clone(&next));
        let took = in_parallel(writers, count, move |_| {
            let (store, number) = (Arc::clone(&store), next.fetch_add(1, Ordering::Relaxed));
            async move { store.commit(create(number)).await.expect("a key is made") }
        })
        .await;
        row(
            &format!("keys created with their event, {writers} writers"),
            count,
            took,
        );
    }
    let marking = Arc::clone(&store);
    let took = in_parallel(64, size.creates, move |number| {
        let store = Arc::clone(&marking);
        let mark = AssertionMark {
            client: "client_1".parse().expect("an id"),
            id: CredentialDigest::sha256(&number.to_string()),
            expires_at: NOW,
        };
        async move { assert!(store.mark_assertion(&mark).await.expect("a mark is made")) }
    })
    .await;
    row("assertions marked, 64 writers", size.creates, took);
    let creating = Arc::clone(&store);
    let took = in_parallel(64, size.created, move |_| {
        let (store, number) = (Arc::clone(&creating), next.fetch_add(1, Ordering::Relaxed));
        async move { store.commit(create(number)).await.expect("a key is made") }
    })
    .await;
    row("keys created on top, 64 writers", size.created, took);
    let started = Instant::now();
    let state = store.verify_audit().await.expect("the chain is read");
    row("audit events verified", next_events(&state), started.elapsed());
    let started = Instant::now();
    store
        .backup(&path.with_extension("backup"))
        .await
        .expect("a backup is written");
    row("backup of them", 1, started.elapsed());
    store.close().await;
}

fn next_events(state: &keygate::store::ChainState) -> u64 {
    match state {
        keygate::store::ChainState::Whole { events, .. } => *events,
        broken @ keygate::store::ChainState::Broken { .. } => panic!("{broken:?}"),
    }
}

async fn read(path: &Path, count: u64) {
    let store = open(path).await;
    let started = Instant::now();
    let mut number = 0;
    while number < count {
        let keys = number..(number + FILL).min(count);
        number = keys.end;
        let writes = keys.map(|number| Write::ApiKey(Versioned::new(key(number)))).collect();
        let batch = Batch {
            writes,
            ..Batch::default()
        };
        store.commit(batch).await.expect("keys are made");
    }
    row("keys written, 1 000 at a time", count, started.elapsed());
    store.close().await;
    let bytes = std::fs::metadata(path).expect("the database is there").len();
    drop(store);

    let before = resident();
    let started = Instant::now();
    let store = SqliteStore::open(path).await.expect("the store opens");
    row("opened", 1, started.elapsed());
    let log = RevocationLog::open(&path.with_extension("revocations"), NOW).expect("the log opens");
    let (directory, clients) = (Directory::new(), Clients::default());
    let started = Instant::now();
    let mut reconciliation = log.reconcile(NOW);
    let read = store
        .read(&mut |mut part| {
            reconciliation.apply(&mut part);
            enforce::load(part, &directory, &clients, NOW);
        })
        .await;
    read.expect("the store is read");
    reconciliation.settle(&store).await.expect("the log agrees");
    row("keys read and put in force", directory.len() as u64, started.elapsed());
    let after = resident();
    println!();
    println!(
        "database {} MB, the keys in memory {} MB",
        bytes / 1_000_000,
        after.saturating_sub(before) / 1_000
    );
    store.close().await;
}

/// Runs `count` calls of `each`, `writers` at a time, and returns the elapsed time.
async fn in_parallel<F>(writers: u64, count: u64, each: impl Fn(u64) -> F + Clone + Send + 'static) -> Duration
where
    F: Future<Output = ()> + Send + 'static,
{
    let started = Instant::now();
    let tasks = (0..writers).map(|writer| {
        let each = each.clone();
        tokio::spawn(async move {
            let mut number = writer;
            while number < count {
                each(number).await;
                number += writers;
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("a writer ends");
    }
    started.elapsed()
}

fn row(what: &str, count: u64, took: Duration) {
    let rate = count as f64 / took.as_secs_f64();
    println!("{what:<44} {count:>10} {:>12.3} {rate:>12.0}", took.as_secs_f64());
}

/// Opens a store with one organization and subscription.
async fn open(path: &Path) -> Arc<SqliteStore> {
    let store = SqliteStore::open(path).await.expect("the store opens");
    let organization = OrganizationRecord::new("acme".parse().expect("a name"), "Acme".to_owned(), NOW);
    let subscription = SubscriptionRecord::new(
        "sub_1".parse().expect("an id"),
        organization.id.clone(),
        &Plan::open("gold".parse().expect("a name"), CredentialKinds::ANY),
        ApiKeyEnvironment::Live,
        NOW,
    );
    let batch = Batch {
        writes: vec![
            Write::Organization(Versioned::new(organization)),
            Write::Subscription(Versioned::new(subscription)),
        ],
        ..Batch::default()
    };
    store.commit(batch).await.expect("an organization is made");
    Arc::new(store)
}

fn create(number: u64) -> Batch {
    let key = key(number);
    let event = NewAuditEvent {
        at: NOW,
        actor: "client_0123456789abcdefghijkl".to_owned(),
        from: Some("192.0.2.1".parse().expect("an address")),
        action: "api_key.create",
        target: key.id.to_string(),
        organization: Some(key.organization.clone()),
        details: serde_json::json!({"name": key.name, "scopes": key.scopes.to_string(), "expires_at": null}),
    };
    Batch {
        writes: vec![Write::ApiKey(Versioned::new(key))],
        event: Some(event),
        ..Batch::default()
    }
}

fn key(number: u64) -> ApiKeyRecord {
    let digest = CredentialDigest::sha256(&number.to_string());
    let new_key = NewApiKey {
        // Hexadecimal digits of a digest are in random order, like generated ids.
        id: digest.to_hex()[..16].parse().expect("sixteen characters"),
        digest,
        origin: ApiKeyOrigin::Own,
        environment: ApiKeyEnvironment::Live,
        name: format!("key {number} of a build server"),
        organization: "acme".parse().expect("a name"),
        subscription: "sub_1".parse().expect("an id"),
        scopes: "orders:read orders:write".parse().expect("scopes"),
        addresses: Vec::new(),
        expires_at: None,
    };
    ApiKeyRecord::new(new_key, NOW).expect("it does not expire")
}

/// Returns the resident memory of this process in kilobytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}
