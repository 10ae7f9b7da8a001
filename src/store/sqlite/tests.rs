use super::*;
use crate::model::api_key::ApiKeyEnvironment;
use crate::model::api_key::ApiKeyText;
use crate::model::api_key::CredentialDigest;
use crate::model::api_key::system_random;
use crate::model::grace::Grace;
use crate::store::Revision;
use crate::store::Write;
use crate::store::conformance;
use crate::store::conformance::NOW;
use crate::store::conformance::batch;
use crate::store::conformance::client;
use crate::store::conformance::event;
use crate::store::conformance::key;
use crate::store::conformance::key_id;
use crate::store::conformance::with_organizations;
use crate::store::record::OpaqueTokenRecord;
use crate::store::record::client::ClientSecret;
use crate::store::revocations::RevocationLog;
use sqlx::Connection;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

/// A folder for a store.
struct InFile(TempDir);

impl InFile {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    /// Returns a folder in which the folder of the store exists already.
    fn with_folder() -> Self {
        let files = Self::new();
        std::fs::create_dir(files.path().parent().unwrap()).unwrap();
        files
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("data/keygate.db")
    }

    async fn store(&self) -> SqliteStore {
        SqliteStore::open(&self.path()).await.unwrap()
    }

    /// Runs a statement on another connection to the same file.
    async fn sql(&self, sql: &'static str) -> u64 {
        let url = format!("sqlite://{}", self.path().display());
        let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
        let result = sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        result.rows_affected()
    }
}

#[async_trait]
impl conformance::Backend for InFile {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.store().await)
    }
}

conformance::battery!(InFile::new());

/// Returns a store with `count` audit events.
async fn with_events(count: usize) -> (InFile, SqliteStore) {
    let files = InFile::new();
    let store = files.store().await;
    for number in 1..=count {
        let batch = Batch {
            event: Some(event("api_key.create", &number.to_string())),
            ..Batch::default()
        };
        store.commit(batch).await.unwrap();
    }
    (files, store)
}

#[tokio::test]
async fn s121_an_assertion_presented_a_hundred_times_at_once_is_new_once_also_after_a_restart() {
    conformance::an_assertion_is_marked_once_also_after_reopening(&InFile::new()).await;
}

#[tokio::test]
async fn s154_every_change_to_the_stored_events_is_detected() {
    for (sql, sequence) in [
        ("UPDATE audit_event SET actor = 'somebody' WHERE sequence = 2", 2),
        ("UPDATE audit_event SET at = at + 1 WHERE sequence = 2", 2),
        ("UPDATE audit_event SET origin = NULL WHERE sequence = 2", 2),
        ("UPDATE audit_event SET origin = 'nowhere' WHERE sequence = 2", 2),
        ("UPDATE audit_event SET action = 'api_key.revoke' WHERE sequence = 2", 2),
        ("UPDATE audit_event SET target = '3' WHERE sequence = 2", 2),
        ("UPDATE audit_event SET organization = 'other' WHERE sequence = 2", 2),
        ("UPDATE audit_event SET organization = '../x' WHERE sequence = 2", 2),
        ("UPDATE audit_event SET details = '{}' WHERE sequence = 2", 2),
        ("UPDATE audit_event SET details = 'no JSON' WHERE sequence = 2", 2),
        ("UPDATE audit_event SET previous_hash = hash WHERE sequence = 2", 2),
        ("UPDATE audit_event SET hash = previous_hash WHERE sequence = 2", 2),
        ("UPDATE audit_event SET at = -1 WHERE sequence = 2", 2),
        ("DELETE FROM audit_event WHERE sequence = 1", 1),
        ("DELETE FROM audit_event WHERE sequence = 2", 2),
        // The last event.
        ("DELETE FROM audit_event WHERE sequence = 4", 4),
        ("DELETE FROM audit_event WHERE sequence > 1", 2),
        ("DELETE FROM audit_event", 1),
        // With the numbers closed up.
        (
            "DELETE FROM audit_event WHERE sequence = 2; \
             UPDATE audit_event SET sequence = sequence - 1 WHERE sequence > 2",
            2,
        ),
        // Two events swapped.
        (
            "UPDATE audit_event SET sequence = 9 WHERE sequence = 2; \
             UPDATE audit_event SET sequence = 2 WHERE sequence = 3; \
             UPDATE audit_event SET sequence = 3 WHERE sequence = 9",
            2,
        ),
        // An additional event, a copy of another.
        (
            "INSERT INTO audit_event SELECT 5, at, actor, origin, action, target, organization, details, hash, hash \
             FROM audit_event WHERE sequence = 4",
            5,
        ),
        ("UPDATE audit_head SET events = 3", 4),
        (
            "UPDATE audit_head SET hash = (SELECT hash FROM audit_event WHERE sequence = 3)",
            4,
        ),
    ] {
        let (files, store) = with_events(4).await;
        assert!(matches!(
            store.verify_audit().await.unwrap(),
            ChainState::Whole { events: 4, .. }
        ));
        files.sql(sql).await;
        match store.verify_audit().await.unwrap() {
            ChainState::Broken { sequence: found, .. } => assert_eq!(found, sequence, "{sql}"),
            whole @ ChainState::Whole { .. } => panic!("{sql}: {whole:?}"),
        }
        // It stays broken, after further events and after reopening.
        store.close().await;
        let store = files.store().await;
        let more = Batch {
            event: Some(event("api_key.create", "5")),
            ..Batch::default()
        };
        let _ = store.commit(more).await;
        assert!(
            matches!(store.verify_audit().await.unwrap(), ChainState::Broken { .. }),
            "{sql}"
        );
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn only_the_owner_can_read_the_files() {
    let files = InFile::new();
    let store = files.store().await;
    with_organizations(&store).await;
    store.backup(&files.0.path().join("backup.db")).await.unwrap();
    let folder = files.path().parent().unwrap().to_owned();
    assert_eq!(mode(&folder), 0o700);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        names.push(path.file_name().unwrap().to_str().unwrap().to_owned());
    }
    names.sort();
    assert_eq!(
        names,
        ["keygate.db", "keygate.db-shm", "keygate.db-wal", "keygate.db.lock"]
    );
    assert_eq!(mode(&files.0.path().join("backup.db")), 0o600);
    store.close().await;
    assert!(!folder.join("keygate.db-wal").exists(), "what is closed is one file");

    // A file that was copied here with a wider mode.
    std::fs::set_permissions(files.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let store = files.store().await;
    assert_eq!(mode(&files.path()), 0o600);
    store.close().await;
}

#[tokio::test]
async fn a_commit_waits_for_the_disk() {
    let folder = InFile::new();
    let files = Files::prepare(&folder.path()).unwrap();
    let mut writer = open::writer(&files).await.unwrap();
    // 2 is FULL: each commit waits for the disk (SQLite, PRAGMA synchronous).
    for (sql, expected) in [
        ("SELECT CAST(synchronous AS TEXT) FROM pragma_synchronous", "2"),
        ("SELECT journal_mode FROM pragma_journal_mode", "wal"),
        ("SELECT CAST(foreign_keys AS TEXT) FROM pragma_foreign_keys", "1"),
        ("SELECT CAST(timeout AS TEXT) FROM pragma_busy_timeout", "5000"),
    ] {
        let found: String = sqlx::query_scalar(sql).fetch_one(&mut writer).await.unwrap();
        assert_eq!(found, expected, "{sql}");
    }
    writer.close().await.unwrap();
}

#[tokio::test]
async fn s064_no_secret_is_in_any_file_of_the_store() {
    let files = InFile::new();
    let store = files.store().await;
    with_organizations(&store).await;
    let text = ApiKeyText::generate("kg", ApiKeyEnvironment::Live, &mut system_random);
    let secrets = [
        text.expose().to_owned(),
        "kgs_client_secret".to_owned(),
        "kgt_opaque_token".to_owned(),
    ];
    let client = client("client_1", "acme")
        .rotate_secret(
            ClientSecret::new(CredentialDigest::sha256(&secrets[1]), NOW),
            Grace::MAX,
            NOW,
        )
        .unwrap();
    let token = OpaqueTokenRecord {
        digest: CredentialDigest::sha256(&secrets[2]),
        id: "jti".to_owned(),
        client: client.id.clone(),
        scopes: client.scopes.clone(),
        audiences: Vec::new(),
        issued_at: NOW,
        expires_at: Timestamp::MAX,
    };
    let key = ApiKeyRecord {
        id: text.id(),
        digest: CredentialDigest::sha256(&secrets[0]),
        ..key(1, "acme")
    };
    let log = RevocationLog::open(&files.path().with_extension("db.revocations"), NOW).unwrap();
    let writes = vec![
        Write::ApiKey(Versioned::new(key.clone())),
        Write::Client(Versioned::new(client)),
        Write::OpaqueToken(token),
    ];
    store.commit(batch(writes)).await.unwrap();
    let revoked = vec![Write::ApiKey(Versioned {
        record: key.revoke(NOW).unwrap(),
        revision: Revision(1),
    })];
    store.commit(batch(revoked.clone())).await.unwrap();
    log.append_writes(&revoked).await.unwrap();
    store.backup(&files.path().with_extension("backup")).await.unwrap();
    let mut seen = 0;
    for entry in std::fs::read_dir(files.path().parent().unwrap()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        for secret in &secrets {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} in {}", path.display());
        }
        seen += 1;
    }
    assert_eq!(seen, 6, "database, log, shared memory, lock, revocations, backup");
}

#[tokio::test]
async fn a_second_process_cannot_open_the_store_until_the_first_has_closed() {
    let files = InFile::new();
    let store = files.store().await;
    let refused = SqliteStore::open(&files.path()).await;
    match refused {
        Err(StoreError::InUse(path)) => assert_eq!(path, files.path().display().to_string()),
        other => panic!("{other:?}"),
    }
    store.close().await;
    let store = files.store().await;
    // A dropped store releases the lock once its pending writes are done.
    drop(store);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while SqliteStore::open(&files.path()).await.is_err() {
        assert!(std::time::Instant::now() < deadline, "the lock is not released");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_closed_store_refuses_every_operation() {
    let files = InFile::new();
    let store = files.store().await;
    store.close().await;
    store.close().await;
    for result in [
        store.commit(Batch::default()).await,
        store.contents().await.map(drop),
        store.sweep(NOW).await,
    ] {
        assert!(matches!(result, Err(StoreError::Unavailable(_))), "{result:?}");
    }
}

/// Returns the error of opening `path`.
async fn refusal(path: &Path) -> StoreError {
    SqliteStore::open(path).await.expect_err("it opens")
}

/// Checks that the file or folder at the path of `files` is refused, and that it and its folder stay as they are.
async fn check_is_left_alone(files: &InFile) {
    let listing = || {
        let entries = std::fs::read_dir(files.path().parent().unwrap()).unwrap();
        let mut entries: Vec<_> = entries
            .map(|entry| {
                let path = entry.unwrap().path();
                // A folder has no bytes.
                (mode(&path), std::fs::read(&path).unwrap_or_default(), path)
            })
            .collect();
        entries.sort();
        entries
    };
    std::fs::set_permissions(files.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let before = listing();
    let refusal = refusal(&files.path()).await;
    assert!(matches!(refusal, StoreError::Unreadable { .. }), "{refusal}");
    assert!(before == listing(), "changed: {refusal}");
}

#[tokio::test]
async fn what_is_not_ours_is_refused_and_left_as_it_is() {
    let files = InFile::with_folder();
    std::fs::create_dir(files.path()).unwrap();
    check_is_left_alone(&files).await;

    let diary: &[u8] = b"Dear diary, this is not a database at all, whatever it is called.";
    for text in [diary, b"SQLite format 3\0", b"SQLite", &[0; 4_096]] {
        let files = InFile::with_folder();
        std::fs::write(files.path(), text).unwrap();
        check_is_left_alone(&files).await;
    }

    // Databases of other programs.
    for sql in [
        "CREATE TABLE theirs (id TEXT)",
        "PRAGMA journal_mode = WAL; CREATE TABLE theirs (id TEXT)",
        "PRAGMA application_id = 1",
        "PRAGMA application_id = 1; CREATE TABLE theirs (id TEXT)",
    ] {
        let files = InFile::with_folder();
        std::fs::write(files.path(), b"").unwrap();
        files.sql(sql).await;
        check_is_left_alone(&files).await;
    }
}

#[tokio::test]
async fn a_store_of_which_a_crash_left_only_the_beginning_is_opened() {
    for sql in ["", "PRAGMA journal_mode = WAL", "PRAGMA application_id = 1262960980"] {
        let files = InFile::with_folder();
        std::fs::write(files.path(), b"").unwrap();
        files.sql(sql).await;
        files.store().await.close().await;
    }
    // All that was written is in the WAL: no checkpoint has copied it into the database.
    let (files, copy) = (InFile::new(), InFile::with_folder());
    let store = files.store().await;
    with_organizations(&store).await;
    for suffix in ["", "-wal"] {
        let name = |files: &InFile| format!("{}{suffix}", files.path().display());
        std::fs::copy(name(&files), name(&copy)).unwrap();
    }
    let restored = copy.store().await;
    assert!(restored.organization(&"acme".parse().unwrap()).await.unwrap().is_some());
    restored.close().await;
    store.close().await;
}

#[tokio::test]
async fn a_damaged_database_is_refused() {
    let files = InFile::new();
    let store = files.store().await;
    with_organizations(&store).await;
    for number in 0..200 {
        store
            .commit(batch(vec![Write::ApiKey(Versioned::new(key(number, "acme")))]))
            .await
            .unwrap();
    }
    store.close().await;
    let whole = std::fs::read(files.path()).unwrap();
    // Everything after the first pages is overwritten.
    let mut damaged = whole.clone();
    damaged[16_384..].fill(0xa5);
    std::fs::write(files.path(), damaged).unwrap();
    let read = match SqliteStore::open(&files.path()).await {
        Ok(store) => store.contents().await.map(drop),
        Err(error) => Err(error),
    };
    match read {
        Err(StoreError::Unreadable { what, problem }) => {
            assert_eq!(what, files.path().display().to_string());
            assert!(problem.contains("malformed"), "{problem}");
        }
        other => panic!("{other:?}"),
    }
    // The file is truncated.
    std::fs::write(files.path(), &whole[..1_000]).unwrap();
    assert!(matches!(refusal(&files.path()).await, StoreError::Unreadable { .. }));
}

#[tokio::test]
async fn keys_are_read_a_thousand_at_a_time_however_many_there_are() {
    let files = InFile::new();
    let store = files.store().await;
    with_organizations(&store).await;
    let keys = (1..=3_001).map(|number| Write::ApiKey(Versioned::new(key(number, "acme"))));
    store.commit(batch(keys.collect())).await.unwrap();
    let mut parts = Vec::new();
    store.read(&mut |part| parts.push(part.api_keys.len())).await.unwrap();
    assert!(parts.iter().all(|keys| *keys <= 1_000), "{parts:?}");
    assert_eq!(parts.iter().sum::<usize>(), 3_001);
}

#[tokio::test]
async fn a_record_with_an_empty_column_is_an_error_and_not_skipped() {
    let files = InFile::new();
    let store = files.store().await;
    with_organizations(&store).await;
    let client = Write::Client(Versioned::new(client("client_1", "acme")));
    store.commit(batch(vec![client])).await.unwrap();
    // This state needs a changed schema: a view without the constraints.
    files
        .sql("ALTER TABLE client RENAME TO old; CREATE VIEW client AS SELECT rowid, id, revision, document FROM old UNION ALL SELECT 9, NULL, 1, '{}'")
        .await;
    let read = store.contents().await.map(drop);
    assert!(matches!(read, Err(StoreError::Unreadable { .. })), "{read:?}");
}

#[tokio::test]
async fn the_error_for_an_unreadable_record_names_the_record() {
    let files = InFile::new();
    let store = files.store().await;
    with_organizations(&store).await;
    store
        .commit(batch(vec![Write::ApiKey(Versioned::new(key(7, "acme")))]))
        .await
        .unwrap();
    files
        .sql("UPDATE api_key SET document = replace(document, 'live', 'dead')")
        .await;
    for result in [
        store.api_key(&key_id(7)).await.map(drop),
        store.contents().await.map(drop),
    ] {
        let Err(StoreError::Unreadable { what, .. }) = result else {
            panic!("{result:?}");
        };
        assert_eq!(what, "API key 0000000000000007");
    }
}

#[tokio::test]
async fn a_database_of_a_later_version_or_with_an_edited_migration_is_refused() {
    for (sql, word) in [
        (
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (99, 'later', TRUE, x'00', 0)",
            "later version",
        ),
        (
            "UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 1",
            "migration 1",
        ),
    ] {
        let files = InFile::new();
        files.store().await.close().await;
        files.sql(sql).await;
        let StoreError::Unreadable { problem, .. } = refusal(&files.path()).await else {
            panic!("{sql}");
        };
        assert!(problem.contains(word), "{problem}");
    }
}

/// A released migration is part of existing databases. Make a change in a new file, with a new line here.
#[test]
fn migrations_are_never_edited() {
    let digests = [
        (1, "74e645605b4dfb1107cd72d80ce3f2c242f03126f6e54392d997baaf5dab6dcf"),
        (2, "1ab21fdfc9b905e5f5ad441e8e1515dbf9a1d07ea09ae22faecf1e93049fe62a"),
        (3, "6a66943854efae7150471b3959aacc0513305ed1278844a560b9972f67ab5e98"),
        (4, "76386b61cd2b8f4b7401751f520b307dd146cbf06269f218516affb806483d8e"),
    ];
    for ((version, _, sql), expected) in open::MIGRATIONS.into_iter().zip(digests) {
        let digest = crate::model::api_key::CredentialDigest::sha256(sql).to_hex();
        assert_eq!((version, digest.as_str()), expected);
    }
    assert_eq!(open::MIGRATIONS.len(), digests.len());
}

#[tokio::test]
async fn the_error_for_an_unusable_folder_names_the_folder() {
    let files = InFile::new();
    // A file in place of a folder; unlike a mode, it stops root as well.
    std::fs::write(files.path().parent().unwrap(), "").unwrap();
    let StoreError::Unavailable(text) = refusal(&files.path()).await else {
        panic!("another error");
    };
    assert!(
        text.contains(files.path().parent().unwrap().to_str().unwrap()),
        "{text}"
    );
}

#[tokio::test]
async fn while_writing_fails_reads_work_and_no_batch_is_half_done() {
    let files = InFile::new();
    let store = files.store().await;
    with_organizations(&store).await;
    let make = |number| Batch {
        writes: vec![Write::ApiKey(Versioned::new(key(number, "acme")))],
        event: Some(event("api_key.create", &number.to_string())),
        ..Batch::default()
    };
    store.commit(make(1)).await.unwrap();
    // Simulates a full disk at the last statement of a batch, in a group with a batch that would succeed.
    files
        .sql("CREATE TRIGGER full BEFORE INSERT ON audit_event WHEN NEW.target = '2' BEGIN SELECT RAISE(ROLLBACK, 'disk'); END")
        .await;
    let (failed, third, fourth) = tokio::join!(store.commit(make(2)), store.commit(make(3)), store.commit(make(4)));
    assert!(matches!(failed, Err(StoreError::Unavailable(_))), "{failed:?}");
    assert_eq!(store.api_key(&key_id(2)).await.unwrap(), None);
    assert!(store.api_key(&key_id(1)).await.unwrap().is_some());
    for (number, result) in [(3, third), (4, fourth)] {
        let is_there = store.api_key(&key_id(number)).await.unwrap().is_some();
        assert_eq!(is_there, result.is_ok(), "key {number}: {result:?}");
    }
    // In any case, the events are those of the stored keys.
    let keys = store.contents().await.unwrap().api_keys.len() as u64;
    let ChainState::Whole { events, .. } = store.verify_audit().await.unwrap() else {
        panic!("broken");
    };
    assert_eq!(keys, events);
    files.sql("DROP TRIGGER full").await;
    store.commit(make(2)).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_keeps_what_was_acknowledged() {
    let folder = InFile::new();
    folder.store().await.close().await;
    let files = Files::prepare(&folder.path()).unwrap();
    let mut connection = open::writer(&files).await.unwrap();
    // SQLite's own error (SQLITE_FULL) for a disk with this number of pages.
    let pages: i64 = sqlx::query_scalar("SELECT page_count + 20 FROM pragma_page_count")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}")))
        .execute(&mut connection)
        .await
        .unwrap();
    let lock = files.lock().unwrap();
    let store = Arc::new(SqliteStore::start(files, lock, connection).await.unwrap());
    with_organizations(&*store).await;
    let writers = (0..400).map(|number| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let batch = Batch {
                writes: vec![Write::ApiKey(Versioned::new(key(number, "acme")))],
                event: Some(event("api_key.create", &number.to_string())),
                ..Batch::default()
            };
            (number, store.commit(batch).await)
        })
    });
    let mut refused = 0;
    for writer in writers.collect::<Vec<_>>() {
        let (number, result) = writer.await.unwrap();
        let is_there = store.api_key(&key_id(number)).await.unwrap().is_some();
        assert_eq!(is_there, result.is_ok(), "key {number}: {result:?}");
        if let Err(error) = result {
            assert!(error.to_string().contains("full"), "{error}");
            refused += 1;
        }
    }
    assert!(refused > 0);
    let ChainState::Whole { events, .. } = store.verify_audit().await.unwrap() else {
        panic!("broken");
    };
    assert_eq!(events, 400 - refused);
    let health = store.write_health();
    assert!(health.problem.is_some_and(|problem| problem.contains("full")));
    assert!(health.failures > 0);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_the_store_of_one_instant_and_opens_as_one() {
    let files = InFile::new();
    let store = Arc::new(files.store().await);
    with_organizations(&*store).await;
    let writer = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            for number in 0..300 {
                let batch = Batch {
                    writes: vec![Write::ApiKey(Versioned::new(key(number, "acme")))],
                    event: Some(event("api_key.create", &number.to_string())),
                    ..Batch::default()
                };
                store.commit(batch).await.unwrap();
            }
        }
    });
    let to = files.0.path().join("backup.db");
    store.backup(&to).await.unwrap();
    writer.await.unwrap();
    let copy = SqliteStore::open(&to).await.unwrap();
    let ChainState::Whole { events, .. } = copy.verify_audit().await.unwrap() else {
        panic!("broken");
    };
    assert_eq!(copy.contents().await.unwrap().api_keys.len() as u64, events);
    copy.close().await;

    // An existing file is not overwritten.
    let before = std::fs::read(&to).unwrap();
    assert!(matches!(store.backup(&to).await, Err(StoreError::Unavailable(_))));
    assert_eq!(std::fs::read(&to).unwrap(), before);
    let nowhere = files.0.path().join("nowhere/backup.db");
    assert!(matches!(store.backup(&nowhere).await, Err(StoreError::Unavailable(_))));
}

#[tokio::test]
async fn a_sweep_of_many_is_done_in_parts_and_whole() {
    let files = InFile::new();
    let store = files.store().await;
    files
        .sql(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12000) \
             INSERT INTO assertion_mark SELECT 'client_1', i, 1000 FROM n",
        )
        .await;
    store.sweep(NOW).await.unwrap();
    assert_eq!(files.sql("DELETE FROM assertion_mark").await, 0);
}

#[tokio::test]
async fn nothing_is_acknowledged_that_is_written_to_a_deleted_file_or_without_the_lock() {
    for suffix in ["", "-wal", ".lock"] {
        let (files, store) = with_events(1).await;
        assert_eq!(store.write_health().problem, None);
        let name = files.path().display().to_string() + suffix;
        std::fs::rename(&name, name.clone() + ".away").unwrap();
        // Known without a write.
        let problem = store.write_health().problem.unwrap();
        assert!(problem.contains(&name), "{problem}");
        let append = async || {
            let batch = Batch {
                event: Some(event("api_key.create", "2")),
                ..Batch::default()
            };
            store.commit(batch).await
        };
        let refused = append().await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        // Reading goes on, and so does writing once the file is back.
        assert_eq!(store.audit(&AuditFilter::default(), 10).await.unwrap().len(), 1);
        // Another file under the same name is not the store.
        std::fs::write(&name, "").unwrap();
        assert!(append().await.is_err(), "{name}");
        std::fs::rename(name.clone() + ".away", &name).unwrap();
        append().await.unwrap();
        assert_eq!(store.write_health().problem, None);
        assert_eq!(store.audit(&AuditFilter::default(), 10).await.unwrap().len(), 2);
        store.close().await;
    }
}

#[tokio::test]
async fn a_store_behind_a_symbolic_link_is_at_its_place() {
    let (files, store) = with_events(1).await;
    store.close().await;
    let link = files.0.path().join("link.db");
    std::os::unix::fs::symlink(files.path(), &link).unwrap();
    let store = SqliteStore::open(&link).await.unwrap();
    assert_eq!(store.write_health().problem, None);
    store.probe().await.unwrap();
    // A reader finds what is in its WAL.
    with_organizations(&store).await;
    let mut subscriptions = 0;
    let mut count = |part: Contents| subscriptions += part.subscriptions.len();
    read_only(&link, &mut count).await.unwrap();
    assert_ne!(subscriptions, 0);
    // Two names of one store are one store.
    let refused = refusal(&files.path()).await;
    assert!(matches!(refused, StoreError::InUse(_)), "{refused:?}");
    store.close().await;
    let store = SqliteStore::open(&files.path()).await.unwrap();
    assert!(matches!(refusal(&link).await, StoreError::InUse(_)));
    store.close().await;
}
