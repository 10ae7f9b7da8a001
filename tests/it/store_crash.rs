//! Which writes survive when the process is killed? Every acknowledged one, and none in part.

use crate::support::KillAtEnd;
use keygate::model::api_key::ApiKeyEnvironment;
use keygate::model::api_key::ApiKeyText;
use keygate::model::api_key::CredentialDigest;
use keygate::model::api_key::system_random;
use keygate::model::clock::Timestamp;
use keygate::model::directory::ApiKeyOrigin;
use keygate::model::plan::CredentialKinds;
use keygate::model::plan::Plan;
use keygate::store::AssertionMark;
use keygate::store::AuditFilter;
use keygate::store::Batch;
use keygate::store::ChainState;
use keygate::store::Revision;
use keygate::store::Store;
use keygate::store::StoreError;
use keygate::store::Versioned;
use keygate::store::Write;
use keygate::store::record::ApiKeyRecord;
use keygate::store::record::NewApiKey;
use keygate::store::record::NewAuditEvent;
use keygate::store::record::OrganizationRecord;
use keygate::store::record::RevokedTokenRecord;
use keygate::store::record::SubscriptionRecord;
use keygate::store::revocations::RevocationLog;
use keygate::store::sqlite::SqliteStore;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;

const NOW: Timestamp = Timestamp::from_unix_millis(1_800_000_000_000);
/// The environment variable that gives the store's folder to the program that is killed.
const FOLDER: &str = "KEYGATE_TEST_CRASH_FOLDER";
const WRITERS: usize = 16;

fn organization() -> Vec<Write> {
    let organization = OrganizationRecord::new("acme".parse().unwrap(), "Acme".to_owned(), NOW);
    let plan = Plan::open("gold".parse().unwrap(), CredentialKinds::ANY);
    let id = "sub_1".parse().unwrap();
    let subscription = SubscriptionRecord::new(id, organization.id.clone(), &plan, ApiKeyEnvironment::Live, NOW);
    vec![
        Write::Organization(Versioned::new(organization)),
        Write::Subscription(Versioned::new(subscription)),
    ]
}

fn key() -> ApiKeyRecord {
    let text = ApiKeyText::generate("kg", ApiKeyEnvironment::Live, &mut system_random);
    let new_key = NewApiKey {
        id: text.id(),
        digest: CredentialDigest::sha256(text.expose()),
        origin: ApiKeyOrigin::Own,
        environment: ApiKeyEnvironment::Live,
        name: "ci".to_owned(),
        organization: "acme".parse().unwrap(),
        subscription: "sub_1".parse().unwrap(),
        scopes: "a".parse().unwrap(),
        addresses: Vec::new(),
        expires_at: None,
    };
    ApiKeyRecord::new(new_key, NOW).unwrap()
}

fn event(action: &'static str, key: &ApiKeyRecord) -> Option<NewAuditEvent> {
    Some(NewAuditEvent {
        at: NOW,
        actor: "local".to_owned(),
        from: None,
        action,
        target: key.id.to_string(),
        organization: Some(key.organization.clone()),
        details: serde_json::Value::Null,
    })
}

/// Prints a line directly to stdout, which the test harness does not capture.
fn acknowledge(line: &str) {
    let mut out = std::io::stdout().lock();
    // In one write, so that a line that arrives is complete.
    let _ = out.write_all(format!("acknowledged {line}\n").as_bytes());
    let _ = out.flush();
}

async fn write_for_ever(store: Arc<SqliteStore>, log: Arc<RevocationLog>) {
    loop {
        // The batch creates a key and revokes a token of the same id, so that `check_whole` finds half a batch.
        let key = key();
        let token = RevokedTokenRecord {
            id: key.id.to_string(),
            expires_at: Timestamp::MAX,
        };
        let batch = Batch {
            writes: vec![Write::ApiKey(Versioned::new(key.clone())), Write::RevokedToken(token)],
            event: event("api_key.create", &key),
            ..Batch::default()
        };
        store.commit(batch).await.unwrap();
        acknowledge(&format!("created {}", key.id));
        let mark = AssertionMark {
            client: "client_1".parse().unwrap(),
            id: CredentialDigest::sha256(key.id.as_str()),
            expires_at: Timestamp::MAX,
        };
        assert!(store.mark_assertion(&mark).await.unwrap());
        acknowledge(&format!("marked {}", key.id));
        let revoked = vec![Write::ApiKey(Versioned {
            record: key.clone().revoke(NOW).unwrap(),
            revision: Revision(1),
        })];
        let batch = Batch {
            writes: revoked.clone(),
            event: event("api_key.revoke", &key),
            ..Batch::default()
        };
        store.commit(batch).await.unwrap();
        log.append_writes(&revoked).await.unwrap();
        acknowledge(&format!("revoked {}", key.id));
    }
}

/// Not a test: the program that the test below starts and kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the program that a_killed_process_loses_nothing starts and kills"]
async fn the_program_that_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let folder = Path::new(&folder);
    let store = SqliteStore::open(&folder.join("keygate.db")).await.unwrap();
    let log = RevocationLog::open(&folder.join("keygate.db.revocations"), NOW).unwrap();
    let (store, log) = (Arc::new(store), Arc::new(log));
    if store.contents().await.unwrap().subscriptions.is_empty() {
        let batch = Batch {
            writes: organization(),
            ..Batch::default()
        };
        store.commit(batch).await.unwrap();
    }
    let writers = (0..WRITERS).map(|_| tokio::spawn(write_for_ever(Arc::clone(&store), Arc::clone(&log))));
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
}

/// Starts the program, kills it after `lines` acknowledgements, and returns all that it printed.
fn acknowledged(folder: &Path, lines: usize) -> Vec<String> {
    let program = Command::new(std::env::current_exe().unwrap())
        .args([
            "store_crash::the_program_that_is_killed",
            "--exact",
            "--ignored",
            "--nocapture",
        ])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut program = KillAtEnd(program);
    let mut out = BufReader::new(program.0.stdout.take().unwrap());
    let mut acks = Vec::new();
    let mut line = String::new();
    let mut killed = false;
    // Reads on after the kill, because the pipe still holds lines that were printed before.
    while out.read_line(&mut line).unwrap() > 0 {
        // The first acknowledgement may stand behind an unfinished line of the harness.
        if let Some((_, what)) = line.split_once("acknowledged ").filter(|_| line.ends_with('\n')) {
            acks.push(what.trim_end().to_owned());
        }
        line.clear();
        if acks.len() >= lines && !killed {
            // SIGKILL: no code of the program runs after this.
            program.0.kill().unwrap();
            killed = true;
        }
    }
    program.0.wait().unwrap();
    assert!(killed, "it ended by itself after {} lines", acks.len());
    acks
}

/// Returns the action and the target of every audit event, oldest first.
async fn events(store: &SqliteStore) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let mut before = None;
    loop {
        let filter = AuditFilter {
            before,
            ..AuditFilter::default()
        };
        let page = store.audit(&filter, 1_000).await.unwrap();
        let Some(last) = page.last() else {
            all.reverse();
            return all;
        };
        before = Some(last.sequence);
        all.extend(page.into_iter().map(|event| (event.action, event.target)));
    }
}

/// Asserts the invariants that hold at every instant.
async fn check_whole(store: &SqliteStore) {
    let contents = store.contents().await.unwrap();
    let created: BTreeSet<String> = contents.api_keys.iter().map(|key| key.record.id.to_string()).collect();
    let tokens: BTreeSet<String> = contents.revoked_tokens.iter().map(|token| token.id.clone()).collect();
    assert_eq!(created, tokens, "half a batch");
    let mut expected: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for key in &contents.api_keys {
        let mut actions = vec!["api_key.create"];
        actions.extend(key.record.revoked_at.map(|_| "api_key.revoke"));
        assert_eq!(key.revision, Revision(actions.len() as u64));
        expected.insert(key.record.id.to_string(), actions);
    }
    let events = events(store).await;
    let mut found: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (action, target) in &events {
        found.entry(target.clone()).or_default().push(action);
    }
    assert!(
        found == expected,
        "each change has its event, and each event its change"
    );
    match store.verify_audit().await.unwrap() {
        ChainState::Whole { events: count, .. } => assert_eq!(count as usize, events.len()),
        broken @ ChainState::Broken { .. } => panic!("{broken:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_loses_nothing_that_it_acknowledged_and_leaves_nothing_half_written() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut acks: BTreeSet<String> = BTreeSet::new();
    // Each count ends the process elsewhere: after the first write, within a group of writes, or in a checkpoint.
    for lines in [1, 17, 100, 333, 1_000] {
        acks.extend(acknowledged(folder.path(), lines));
        let path = folder.path().join("keygate.db");
        let store = SqliteStore::open(&path).await.unwrap();
        check_whole(&store).await;
        let contents = store.contents().await.unwrap();
        let keys: BTreeMap<String, bool> = contents
            .api_keys
            .iter()
            .map(|key| (key.record.id.to_string(), key.record.revoked_at.is_some()))
            .collect();
        let log = RevocationLog::open(&folder.path().join("keygate.db.revocations"), NOW).unwrap();
        let noted = std::fs::read_to_string(folder.path().join("keygate.db.revocations")).unwrap();
        for line in &acks {
            let (what, id) = line.split_once(' ').unwrap();
            let revoked = keys.get(id).copied();
            match what {
                "created" => assert!(revoked.is_some(), "{line} is lost"),
                "revoked" => assert!(revoked == Some(true) && noted.contains(id), "{line} is lost"),
                "marked" => {}
                other => panic!("{other}"),
            }
        }
        // Marks cannot be read. Marking again shows whether the mark exists.
        for line in acks.iter().filter(|line| line.starts_with("marked ")).take(50) {
            let mark = AssertionMark {
                client: "client_1".parse().unwrap(),
                id: CredentialDigest::sha256(line.trim_start_matches("marked ")),
                expires_at: Timestamp::MAX,
            };
            assert!(!store.mark_assertion(&mark).await.unwrap(), "{line} is lost");
        }
        drop(log);
        store.close().await;
    }
    assert!(acks.len() >= 1_000, "{}", acks.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_at_a_time_works_on_a_store() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = folder.path().join("keygate.db");
    let program = Command::new(std::env::current_exe().unwrap())
        .args([
            "store_crash::the_program_that_is_killed",
            "--exact",
            "--ignored",
            "--nocapture",
        ])
        .env(FOLDER, folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut program = KillAtEnd(program);
    let mut out = BufReader::new(program.0.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("acknowledged") {
        line.clear();
        assert!(out.read_line(&mut line).unwrap() > 0, "it ended by itself");
    }
    let refused = SqliteStore::open(&path).await.map(drop);
    assert!(matches!(refused, Err(StoreError::InUse(_))), "{refused:?}");
    program.0.kill().unwrap();
    program.0.wait().unwrap();
    // The lock ends with its process.
    SqliteStore::open(&path).await.unwrap().close().await;
}
