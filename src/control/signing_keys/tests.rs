use super::*;
use crate::control::fixture;
use crate::control::signing_keys::schedule::Stage;
use crate::jose::jws::Jws;
use crate::model::algorithm::Algorithm;
use crate::model::secret::Secret;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use tempfile::TempDir;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

fn endpoint(algorithm: Algorithm, wrapping: Option<u8>) -> TokenEndpoint {
    TokenEndpoint {
        algorithm,
        wrapping_key: wrapping.map(|byte| Secret::new(vec![byte; 32])),
        rotate_every: 90 * DAY,
        clock_skew: Duration::from_secs(30),
        ..fixture::token_endpoint()
    }
}

/// A folder for a database; the signing keys are beside the database.
struct KeysBesideStore(TempDir);

impl KeysBesideStore {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self, endpoint: &TokenEndpoint, now: Timestamp) -> Result<SigningKeys, SigningKeysError> {
        let store = StoreSettings {
            path: self.0.path().join("keygate.db"),
        };
        SigningKeys::open(&store, endpoint, now)
    }

    fn folder(&self) -> PathBuf {
        self.0.path().join("keygate.db-signing-keys")
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = fs::read_dir(self.folder())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        files
    }

    /// Returns the only file of a private key.
    fn private_file(&self) -> PathBuf {
        let mut files = self.files();
        files.retain(|path| path.file_name().unwrap() != "keys.json");
        assert_eq!(files.len(), 1, "{files:?}");
        files.remove(0)
    }

    /// Returns all files with their content, to check that a refused start changes nothing.
    fn contents(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let read = |path: PathBuf| (path.clone(), fs::read(path).unwrap());
        self.files().into_iter().map(read).collect()
    }
}

fn at(hours: u32) -> Timestamp {
    Timestamp::from_unix_secs(1_700_000_000).saturating_add(HOUR * hours)
}

fn es256() -> TokenEndpoint {
    endpoint(Algorithm::Es256, None)
}

fn signed(keys: &SigningKeys) -> String {
    keys.active().unwrap().sign("at+jwt", &json!({ "a": 1 })).unwrap()
}

fn verifies(keys: &SigningKeys, token: &str) -> bool {
    let jws = Jws::parse(token).unwrap();
    let published = Jwks::parse(&keys.public_set().load()).unwrap();
    let found = published.find(jws.header().kid.as_deref(), jws.header().algorithm);
    found.is_ok_and(|keys| jws.signer(keys.iter()).is_ok())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn the_first_start_makes_a_key_that_only_we_can_read_and_the_next_finds_it() {
    let place = KeysBesideStore::new();
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256, Algorithm::Ps256] {
        let place = KeysBesideStore::new();
        let keys = place.open(&endpoint(algorithm, None), at(0)).unwrap();
        assert_eq!(keys.active().unwrap().algorithm(), algorithm);
        let token = signed(&keys);
        assert!(verifies(&keys, &token));
        let again = place.open(&endpoint(algorithm, None), at(1)).unwrap();
        assert_eq!(again.list(), keys.list());
        assert!(verifies(&again, &token) && verifies(&keys, &signed(&again)));
    }
    place.open(&es256(), at(0)).unwrap();
    assert_eq!(mode(&place.folder()), 0o700);
    for path in place.files() {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    let set: Value = serde_json::from_slice(&place.open(&es256(), at(0)).unwrap().public_set().load()).unwrap();
    assert!(set["keys"][0].get("d").is_none() && set["keys"][0]["use"] == "sig");
}

#[test]
fn s135_the_next_key_is_published_before_it_signs_and_the_one_before_stays_until_its_last_token_ends() {
    let place = KeysBesideStore::new();
    let keys = place.open(&es256(), at(0)).unwrap();
    let mut changes = keys.changes();
    let first = keys.active().unwrap().kid().to_owned();

    keys.tick(at(90 * 24 - 2)).unwrap();
    assert_eq!(keys.list().len(), 1);
    assert!(!changes.has_changed().unwrap());
    keys.tick(at(90 * 24 - 1)).unwrap();
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    assert_eq!((keys.list().len(), keys.active().unwrap().kid()), (2, first.as_str()));
    let last_of_first = signed(&keys);

    // Also after a restart in between.
    let keys = place.open(&es256(), at(90 * 24)).unwrap();
    assert_ne!(keys.active().unwrap().kid(), first);
    assert!(verifies(&keys, &last_of_first) && verifies(&keys, &signed(&keys)));
    keys.tick(at(91 * 24)).unwrap();
    assert!(verifies(&keys, &last_of_first));
    keys.tick(at(91 * 24 + 1)).unwrap();
    assert!(!verifies(&keys, &last_of_first));
    // The private half was removed when the key retired.
    assert!(!place.private_file().to_str().unwrap().contains(&first));
}

#[test]
fn a_rotation_by_hand_publishes_now_and_signs_later_and_is_idempotent() {
    let place = KeysBesideStore::new();
    let keys = place.open(&es256(), at(0)).unwrap();
    let first = keys.active().unwrap().kid().to_owned();
    let next = keys.rotate(at(5)).unwrap();
    assert_eq!(next.stage, Stage::Next { signs_from: at(6) });
    assert_eq!(keys.rotate(at(5)).unwrap(), next);
    assert_eq!(keys.active().unwrap().kid(), first);
    keys.tick(at(6)).unwrap();
    assert_eq!(keys.active().unwrap().kid(), next.kid);
    assert_eq!(keys.list().len(), 2);
    assert!(matches!(
        SigningKeys::default().rotate(at(0)),
        Err(SigningKeysError::NoTokenEndpoint)
    ));
}

#[test]
fn a_leaked_key_is_replaced_at_once_and_its_tokens_are_invalid() {
    let place = KeysBesideStore::new();
    let keys = place.open(&es256(), at(0)).unwrap();
    keys.rotate(at(1)).unwrap();
    let leaked = signed(&keys);
    let new = keys.replace_leaked(at(1)).unwrap();
    assert_eq!(keys.active().unwrap().kid(), new.kid);
    assert!(!verifies(&keys, &leaked) && verifies(&keys, &signed(&keys)));
    let again = place.open(&es256(), at(2)).unwrap();
    assert!(!verifies(&again, &leaked) && verifies(&again, &signed(&keys)));
    place.private_file();
}

#[test]
fn another_algorithm_in_the_configuration_is_a_rotation() {
    let place = KeysBesideStore::new();
    place.open(&es256(), at(0)).unwrap();
    let keys = place.open(&endpoint(Algorithm::EdDsa, None), at(1)).unwrap();
    let before = signed(&keys);
    assert_eq!(keys.active().unwrap().algorithm(), Algorithm::Es256);
    keys.tick(at(2)).unwrap();
    assert_eq!(keys.active().unwrap().algorithm(), Algorithm::EdDsa);
    assert!(verifies(&keys, &before) && verifies(&keys, &signed(&keys)));
}

#[test]
fn a_wrapped_key_opens_with_its_wrapping_key_alone_and_a_refused_start_changes_nothing() {
    let place = KeysBesideStore::new();
    let token = signed(&place.open(&endpoint(Algorithm::Es256, Some(1)), at(0)).unwrap());
    let file = fs::read_to_string(place.private_file()).unwrap();
    assert!(file.contains("WRAPPED") && !file.contains("BEGIN PRIVATE KEY"));
    let before = place.contents();
    let wrong = place.open(&endpoint(Algorithm::Es256, Some(2)), at(1000)).unwrap_err();
    assert!(
        wrong.to_string().contains("another `token_endpoint.wrapping_key`"),
        "{wrong}"
    );
    let none = place.open(&es256(), at(1000)).unwrap_err();
    assert!(none.to_string().contains("set `token_endpoint.wrapping_key`"), "{none}");
    assert_eq!(place.contents(), before);
    let again = place.open(&endpoint(Algorithm::Es256, Some(1)), at(1)).unwrap();
    assert!(verifies(&again, &token));
}

#[test]
fn a_plain_key_is_wrapped_once_a_wrapping_key_is_configured() {
    let place = KeysBesideStore::new();
    let token = signed(&place.open(&es256(), at(0)).unwrap());
    let plain = place.private_file();
    let keys = place.open(&endpoint(Algorithm::Es256, Some(1)), at(0)).unwrap();
    assert!(verifies(&keys, &token) && !plain.exists());
    assert!(fs::read_to_string(place.private_file()).unwrap().contains("WRAPPED"));
}

#[test]
fn files_that_others_can_read_are_refused_and_left_alone() {
    let place = KeysBesideStore::new();
    place.open(&es256(), at(0)).unwrap();
    let mut all = place.files();
    all.push(place.folder());
    for path in all {
        let before = mode(&path);
        for open in [0o604, 0o640, 0o602] {
            set_mode(&path, open | (before & 0o700));
            let refused = place.open(&es256(), at(0)).unwrap_err();
            assert!(
                matches!(refused, SigningKeysError::Exposed { .. }),
                "{}: {refused}",
                path.display()
            );
            assert!(refused.to_string().contains("chmod go="), "{refused}");
        }
        set_mode(&path, before);
        place.open(&es256(), at(0)).unwrap();
    }
}

#[test]
fn broken_and_missing_files_are_reported_and_not_replaced() {
    let place = KeysBesideStore::new();
    place.open(&es256(), at(0)).unwrap();
    let (private, index) = (place.private_file(), place.folder().join("keys.json"));
    let (pem, list) = (fs::read(&private).unwrap(), fs::read(&index).unwrap());
    let refused = |reason: &str| {
        let error = place.open(&es256(), at(0)).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    };
    fs::write(&index, b"{").unwrap();
    refused("keys.json cannot be read");
    let text = String::from_utf8(list.clone()).unwrap();
    fs::write(&index, text.replace("\"version\": 1", "\"version\": 2")).unwrap();
    refused("it has version 2");
    fs::write(&index, text.replace("active", "next").replace("since", "signs_from")).unwrap();
    refused("not exactly one of its keys signs");
    fs::write(&index, text.replace("\"kid\": \"", "\"kid\": \"../")).unwrap();
    refused("no thumbprint");
    fs::write(&index, &list).unwrap();

    fs::write(&private, b"x").unwrap();
    refused("no PEM block");
    let other = KeysBesideStore::new();
    other.open(&es256(), at(0)).unwrap();
    fs::write(&private, fs::read(other.private_file()).unwrap()).unwrap();
    refused("not the key that its name says");
    fs::remove_file(&private).unwrap();
    refused("put it back from a backup");
    let link = place.folder().join("elsewhere");
    fs::write(&link, &pem).unwrap();
    std::os::unix::fs::symlink(&link, &private).unwrap();
    refused("not a regular file");
    assert_eq!(fs::read(&index).unwrap(), list);
}

#[test]
fn a_step_that_cannot_be_saved_is_not_taken() {
    let place = KeysBesideStore::new();
    let keys = place.open(&es256(), at(0)).unwrap();
    let before = keys.list();
    // A folder at the path of the temporary file makes writing fail, even for root.
    fs::create_dir(place.folder().join(".keys.json.new")).unwrap();
    assert!(keys.rotate(at(1)).is_err());
    assert!(keys.tick(at(90 * 24)).is_err());
    assert!(keys.replace_leaked(at(1)).is_err());
    assert_eq!(keys.list(), before);
    assert!(verifies(&keys, &signed(&keys)));
    fs::remove_dir(place.folder().join(".keys.json.new")).unwrap();
    keys.rotate(at(1)).unwrap();
    assert_eq!(keys.list().len(), 2);
}

#[test]
fn an_interrupted_step_is_finished_or_forgotten_by_the_next_start() {
    let place = KeysBesideStore::new();
    let keys = place.open(&es256(), at(0)).unwrap();
    let before = place.contents();
    keys.rotate(at(0)).unwrap();
    let after = place.contents();
    // Stopped between writing the private key and writing the list: the old list is in force.
    fs::write(
        place.folder().join("keys.json"),
        &before.iter().find(|(path, _)| path.ends_with("keys.json")).unwrap().1,
    )
    .unwrap();
    let again = place.open(&es256(), at(0)).unwrap();
    assert_eq!(again.list().len(), 1);
    // Stopped between retiring a key in the list and removing its private half.
    for (path, content) in &after {
        fs::write(path, content).unwrap();
    }
    let again = place.open(&es256(), at(1)).unwrap();
    let retired = format!("key-{}.pem", again.list()[0].kid);
    let (path, content) = after.iter().find(|(path, _)| path.ends_with(&retired)).unwrap();
    assert!(!path.exists());
    fs::write(path, content).unwrap();
    set_mode(path, 0o600);
    place.open(&es256(), at(1)).unwrap();
    assert!(!path.exists());
}

#[test]
fn debug_prints_no_private_key() {
    let place = KeysBesideStore::new();
    let keys = place.open(&es256(), at(0)).unwrap();
    let pem = keys.active().unwrap().to_pkcs8_pem().unwrap();
    let body = pem.expose().lines().nth(1).unwrap();
    assert!(!format!("{keys:?}").contains(body));
}
