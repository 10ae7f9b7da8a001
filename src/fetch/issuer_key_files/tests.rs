//! Which files in the folder are loaded? Only usable files; no content of a file makes loading panic.

use super::*;
use crate::fetch::fake_issuer::ec_jwk;
use crate::fetch::fake_issuer::jwks_url;
use crate::fetch::fake_issuer::rsa_jwk;
use crate::fetch::fake_issuer::set_of;
use crate::fetch::tests::issuer;
use crate::gate::authenticate::jwks_cache::IssuerKeys;
use proptest::prelude::*;
use std::os::unix::fs::symlink;

const CONFIRMED: Timestamp = Timestamp::from_unix_secs(1_000_000);

struct Fixture {
    state_dir: tempfile::TempDir,
    files: IssuerKeyFiles,
    issuer: Issuer,
}

impl Fixture {
    fn new() -> Self {
        let state_dir = tempfile::tempdir().unwrap();
        Self {
            files: IssuerKeyFiles::open(state_dir.path(), KeyOwners::Issuers).unwrap(),
            state_dir,
            issuer: issuer(KeySource::Remote(Box::new(jwks_url("https://issuer.example/jwks")))),
        }
    }

    fn saved() -> Self {
        let fixture = Self::new();
        fixture.save(CONFIRMED);
        fixture
    }

    fn remote(&mut self) -> &mut RemoteKeys {
        match &mut self.issuer.keys {
            KeySource::Remote(remote) => remote,
            other => panic!("{other:?}"),
        }
    }

    fn save(&self, confirmed: Timestamp) {
        let KeySource::Remote(remote) = &self.issuer.keys else {
            panic!("it is fetched");
        };
        let source = source_of(self.issuer.issuer.as_str(), remote);
        let set = set_of(&[rsa_jwk()]);
        self.files
            .save(self.issuer.name.as_str(), source, set.as_bytes(), confirmed)
            .unwrap();
    }

    fn path(&self) -> PathBuf {
        self.files.path(self.issuer.name.as_str())
    }

    fn load_at(&self, now: Timestamp) -> Result<Option<IssuerKeyFile>, IssuerKeyFileError> {
        self.files.load(&self.issuer, now)
    }

    fn load(&self) -> Result<Option<IssuerKeyFile>, IssuerKeyFileError> {
        self.load_at(CONFIRMED)
    }

    #[track_caller]
    fn check_refused(&self, matches: fn(&IssuerKeyFileError) -> bool) {
        let error = self.load().expect_err("it is not used");
        assert!(matches(&error), "{error:?}");
    }

    /// Replaces the first `from` in the file. Keeps the owner and the mode of the file.
    fn change(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.path()).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(self.path(), text.replacen(from, to, 1)).unwrap();
    }
}

#[test]
fn a_saved_set_is_loaded_with_its_age() {
    let fixture = Fixture::saved();
    let later = CONFIRMED.saturating_add(Duration::from_secs(90));
    let stored = fixture.load_at(later).unwrap().unwrap();
    assert_eq!(stored.text, set_of(&[rsa_jwk()]).into_bytes());
    assert_eq!(
        (stored.jwks.len(), stored.confirmed, stored.age),
        (1, CONFIRMED, Duration::from_secs(90))
    );
    let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&fixture.path()), 0o600);
    assert_eq!(mode(fixture.path().parent().unwrap()), 0o700);
    // No other file is left in the folder.
    assert_eq!(std::fs::read_dir(fixture.path().parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn a_set_is_used_up_to_max_stale_and_never_from_the_future() {
    let fixture = Fixture::saved();
    let at = |age: Duration| CONFIRMED.saturating_add(age);
    let max_stale = Duration::from_secs(24 * 3600);
    let tick = Duration::from_millis(1);
    assert!(fixture.load_at(at(max_stale)).unwrap().is_some());
    assert!(matches!(
        fixture.load_at(at(max_stale + tick)),
        Err(IssuerKeyFileError::TooOld { .. })
    ));
    assert!(matches!(
        fixture.load_at(CONFIRMED.saturating_sub(tick)),
        Err(IssuerKeyFileError::Future { .. })
    ));
}

#[test]
fn a_missing_file_is_no_error_and_pem_keys_are_not_saved() {
    let fixture = Fixture::new();
    assert!(fixture.load().unwrap().is_none());
    let pem = issuer(KeySource::Pem(vec![PathBuf::from("a.pem")]));
    assert!(fixture.files.load(&pem, CONFIRMED).unwrap().is_none());
}

#[test]
fn keys_of_another_source_prove_nothing() {
    let changes: [fn(&mut Fixture); 6] = [
        |fixture| fixture.issuer.issuer = "https://issuer.example/".parse().unwrap(),
        |fixture| fixture.remote().at = JwksLocation::JwksUrl("https://issuer.example/jwks2".parse().unwrap()),
        |fixture| fixture.remote().connect.allow_http = false,
        |fixture| fixture.remote().connect.allow_private_addresses = false,
        |fixture| fixture.remote().connect.ca_file = Some(PathBuf::from("ca.pem")),
        |fixture| fixture.remote().connect.proxy = Some("http://proxy.example".parse().unwrap()),
    ];
    for change in changes {
        let mut fixture = Fixture::saved();
        change(&mut fixture);
        fixture.check_refused(|error| matches!(error, IssuerKeyFileError::OtherSource { .. }));
    }
    // Cooldown and timeout are not part of the source of a set.
    let mut fixture = Fixture::saved();
    fixture.remote().cooldown = Duration::from_secs(1);
    fixture.remote().connect.timeout = Duration::from_secs(1);
    assert!(fixture.load().unwrap().is_some());
}

#[test]
fn a_file_that_others_may_read_or_write_is_refused() {
    let not_ours = |error: &IssuerKeyFileError| matches!(error, IssuerKeyFileError::NotOurs { .. });
    for mode in [0o644, 0o660, 0o602, 0o601] {
        let fixture = Fixture::saved();
        std::fs::set_permissions(fixture.path(), Permissions::from_mode(mode)).unwrap();
        fixture.check_refused(not_ours);
    }
    let fixture = Fixture::saved();
    let elsewhere = fixture.state_dir.path().join("elsewhere.json");
    std::fs::rename(fixture.path(), &elsewhere).unwrap();
    symlink(&elsewhere, fixture.path()).unwrap();
    fixture.check_refused(not_ours);
    std::fs::remove_file(fixture.path()).unwrap();
    std::fs::create_dir(fixture.path()).unwrap();
    fixture.check_refused(not_ours);
    let mut fixture = Fixture::saved();
    fixture.files.owner = fixture.files.owner.wrapping_add(1);
    fixture.check_refused(not_ours);
}

#[test]
fn opening_makes_an_existing_folder_private() {
    let fixture = Fixture::saved();
    let folder = fixture.state_dir.path().join("issuers");
    std::fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
    IssuerKeyFiles::open(fixture.state_dir.path(), KeyOwners::Issuers).unwrap();
    assert_eq!(std::fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
    let file = fixture.state_dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(matches!(
        IssuerKeyFiles::open(&file, KeyOwners::Issuers),
        Err(IssuerKeyFileError::Folder { .. })
    ));
}

#[test]
fn a_changed_file_is_not_used() {
    let fixture = Fixture::saved();
    fixture.change("0vx7agoebGcQ", "1vx7agoebGcQ");
    fixture.check_refused(|error| matches!(error, IssuerKeyFileError::Damaged { .. }));

    let fixture = Fixture::saved();
    fixture.change("\"version\":1", "\"version\":2");
    fixture.check_refused(|error| matches!(error, IssuerKeyFileError::Version { found: 2, .. }));

    for (from, to) in [
        ("\"version\":1", "\"version\":1,\"version\":1"),
        ("\"version\":1", "\"version\":1,\"more\":1"),
        ("\"version\":1", "\"version\":\"1\""),
        ("\"confirmed_unix_millis\":1", "\"confirmed_unix_millis\":-1"),
        (
            "\"confirmed_unix_millis\":1",
            "\"confirmed_unix_millis\":99999999999999999999",
        ),
    ] {
        let fixture = Fixture::saved();
        fixture.change(from, to);
        fixture.check_refused(|error| matches!(error, IssuerKeyFileError::Format { .. }));
    }

    let fixture = Fixture::saved();
    std::fs::write(fixture.path(), vec![b' '; 4 * 1024 * 1024]).unwrap();
    fixture.check_refused(|error| matches!(error, IssuerKeyFileError::TooLong { .. }));
}

#[test]
fn a_set_that_would_be_refused_from_its_issuer_is_refused_from_disk() {
    let fixture = Fixture::new();
    let KeySource::Remote(remote) = &fixture.issuer.keys else {
        panic!("it is fetched");
    };
    for set in [
        "{}".to_owned(),
        set_of(&[]),
        set_of(&[ec_jwk().replace("\"kty\"", "\"d\":\"AAAA\",\"kty\"")]),
    ] {
        let source = source_of(fixture.issuer.issuer.as_str(), remote);
        fixture
            .files
            .save(fixture.issuer.name.as_str(), source, set.as_bytes(), CONFIRMED)
            .unwrap();
        fixture.check_refused(|error| matches!(error, IssuerKeyFileError::Keys { .. }));
    }
}

#[test]
fn a_file_that_was_cut_anywhere_is_not_used() {
    let fixture = Fixture::saved();
    let whole = std::fs::read(fixture.path()).unwrap();
    for length in 0..whole.len() {
        std::fs::write(fixture.path(), &whole[..length]).unwrap();
        fixture.check_refused(|error| matches!(error, IssuerKeyFileError::Format { .. }));
    }
}

proptest! {
    #[test]
    fn no_bytes_make_loading_panic(bytes: Vec<u8>) {
        let fixture = Fixture::saved();
        std::fs::write(fixture.path(), bytes).unwrap();
        prop_assert!(fixture.load().is_err());
    }

    #[test]
    fn no_flipped_byte_gives_another_set(place in 0_usize..1000, bits in 1_u8..) {
        let fixture = Fixture::saved();
        let mut bytes = std::fs::read(fixture.path()).unwrap();
        let place = place % bytes.len();
        bytes[place] ^= bits;
        std::fs::write(fixture.path(), bytes).unwrap();
        let later = CONFIRMED.saturating_add(Duration::from_secs(3600));
        if let Ok(Some(stored)) = fixture.load_at(later) {
            prop_assert_eq!((stored.text, stored.confirmed), (set_of(&[rsa_jwk()]).into_bytes(), CONFIRMED));
        }
    }
}

/// Fetches the text `set` into `keys`, `secs` seconds after [`CONFIRMED`]. Returns the new set, and the time of the
/// fetch.
fn fetched(keys: &IssuerKeys, set: &str, secs: u64) -> (Arc<KeySet>, Now) {
    let now = Now {
        wall: Timestamp::from_unix_secs(1_000_000 + secs),
        tick: Tick::ZERO.saturating_add(Duration::from_secs(secs)),
    };
    let attempt = keys.start_attempt(now);
    let success = attempt.succeed(set.as_bytes(), Jwks::parse(set.as_bytes()).unwrap(), now);
    (success.keys, now)
}

#[tokio::test]
async fn a_set_is_written_when_it_changes_and_otherwise_24_times_in_max_stale() {
    let fixture = Fixture::new();
    let metrics = crate::fetch::tests::metrics().state;
    let keys = IssuerKeys::new(&fixture.issuer.keys);
    let files = Arc::new(IssuerKeyFiles::open(fixture.state_dir.path(), KeyOwners::Issuers).unwrap());
    let mut saver = IssuerKeySaver::new(&files, &fixture.issuer, metrics).unwrap();
    let (one, two) = (set_of(&[rsa_jwk()]), set_of(&[ec_jwk()]));
    let hour = 3600;
    let mut writes = Vec::new();
    for (secs, set) in [
        (0, &one),
        (60, &one),
        (hour - 1, &one),
        (hour, &one),
        (hour + 60, &two),
        (2 * hour, &two),
        (2 * hour + 60, &two),
    ] {
        let (in_place, now) = fetched(&keys, set, secs);
        saver.save(set.as_bytes(), in_place, now).await;
        if let Some((_, _, task)) = &mut saver.writing {
            assert!(task.await.unwrap());
            saver.written = saver.writing.take().map(|(generation, at, _)| (generation, at));
            writes.push(secs);
            let loaded = fixture.load_at(now.wall).unwrap().unwrap();
            assert_eq!((loaded.text, loaded.confirmed), (set.clone().into_bytes(), now.wall));
        }
    }
    assert_eq!(writes, [0, hour, hour + 60, 2 * hour + 60]);
}

#[tokio::test]
async fn a_failed_write_is_counted_and_retried() {
    let fixture = Fixture::new();
    let all = crate::fetch::tests::metrics();
    let keys = IssuerKeys::new(&fixture.issuer.keys);
    let files = Arc::new(IssuerKeyFiles::open(fixture.state_dir.path(), KeyOwners::Issuers).unwrap());
    let mut saver = IssuerKeySaver::new(&files, &fixture.issuer, all.state.clone()).unwrap();
    let set = set_of(&[rsa_jwk()]);
    std::fs::remove_dir(fixture.state_dir.path().join("issuers")).unwrap();
    for secs in 0..2 {
        let (in_place, now) = fetched(&keys, &set, secs);
        saver.save(set.as_bytes(), in_place, now).await;
        let (generation, at, task) = saver.writing.take().expect("it is tried");
        assert!(!task.await.unwrap());
        saver.writing = Some((generation, at, tokio::spawn(async { false })));
        while !saver.writing.as_ref().unwrap().2.is_finished() {
            tokio::task::yield_now().await;
        }
    }
    assert!(all.text().contains("keygate_state_write_failures_total 2"));
}

#[tokio::test]
async fn a_clients_set_is_kept_beside_those_of_issuers_and_removed_with_its_client() {
    let state_dir = tempfile::tempdir().unwrap();
    let files = Arc::new(IssuerKeyFiles::open(state_dir.path(), KeyOwners::Clients).unwrap());
    let remote = jwks_url("https://client.example/jwks");
    let client: ClientId = "client_a".parse().unwrap();
    let other: ClientId = "client_b".parse().unwrap();
    let set = set_of(&[rsa_jwk()]);
    files
        .save(
            client.as_str(),
            source_of(client.as_str(), &remote),
            set.as_bytes(),
            CONFIRMED,
        )
        .unwrap();
    let load = |client: &ClientId, remote: &RemoteKeys| files.load_client(client, remote, CONFIRMED);
    assert_eq!(load(&client, &remote).unwrap().unwrap().text, set.as_bytes());
    assert!(load(&other, &remote).unwrap().is_none());
    let moved = jwks_url("https://client.example/other");
    assert!(matches!(
        load(&client, &moved),
        Err(IssuerKeyFileError::OtherSource { .. })
    ));
    // The file of another client under this name is about another source.
    std::fs::copy(files.path("client_a"), files.path("client_b")).unwrap();
    assert!(matches!(
        load(&other, &remote),
        Err(IssuerKeyFileError::OtherSource { .. })
    ));
    assert!(state_dir.path().join("clients/client_a.json").exists());
    files.retain(|name| name == "client_a").unwrap();
    assert!(load(&client, &remote).unwrap().is_some());
    assert!(!files.path("client_b").exists());
}
