use super::*;
use crate::model::api_key::ApiKeyEnvironment;
use crate::model::api_key::ApiKeyText;
use crate::model::api_key::system_random;
use crate::model::directory::KeyRecord;
use crate::model::directory::KeyState;
use crate::model::secret::Secret;

struct Fixture {
    authenticator: ApiKeyAuthenticator,
    key: ApiKeyText,
    record: KeyRecord,
}

fn digester() -> Digester {
    Digester::new(Some(&Secret::new(b"pepper".to_vec())))
}

fn fixture(change: impl FnOnce(&mut KeyRecord)) -> Fixture {
    let key = ApiKeyText::generate("kg", ApiKeyEnvironment::Live, &mut system_random);
    let mut record = KeyRecord {
        expires_at: Some(Timestamp::from_unix_secs(1_000)),
        scopes: Arc::new(ScopeSet::parse_list("orders:read").unwrap()),
        client: Some("billing".into()),
        ..KeyRecord::unrestricted(key.id(), digester().digest(key.expose()))
    };
    change(&mut record);
    let directory = Arc::new(Directory::new());
    directory.replace(vec![record.clone()]);
    Fixture {
        authenticator: ApiKeyAuthenticator::new(directory, digester(), "kg"),
        key,
        record,
    }
}

impl Fixture {
    fn authenticate(&self, text: &str, now: u64) -> Result<Arc<Identity>, ApiKeyError> {
        self.authenticator
            .authenticate(text, Some([192, 0, 2, 1].into()), Timestamp::from_unix_secs(now))
            .map(|(identity, _)| identity)
    }

    #[track_caller]
    fn check(&self, text: &str, expected: Result<(), ApiKeyError>) {
        assert_eq!(self.authenticate(text, 500).map(drop), expected);
    }

    fn replace(&self, record: KeyRecord) {
        self.authenticator.directory.replace(vec![record]);
    }
}

/// Returns a well-formed key with the id of `key` and another secret.
fn guess(key: &ApiKeyText) -> String {
    let other = ApiKeyText::generate("kg", ApiKeyEnvironment::Live, &mut system_random);
    let body = format!("{}{}", &key.expose()[..25], &other.expose()[25..68]);
    let mut crc = crc32fast::hash(body.as_bytes());
    let mut check = String::new();
    for _ in 0..6 {
        let digits = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        check.insert(0, char::from(digits[(crc % 62) as usize]));
        crc /= 62;
    }
    body + &check
}

#[test]
fn a_valid_key_has_the_identity_of_its_client() {
    let fixture = fixture(|_| {});
    let identity = fixture.authenticate(fixture.key.expose(), 500).unwrap();
    assert_eq!(identity.client_id.as_deref(), Some("billing"));
    assert_eq!(identity.credential_id.as_deref(), Some(fixture.key.id().as_str()));
    assert_eq!(identity.scopes.to_string(), "orders:read");
}

#[test]
fn a_repeated_key_makes_no_second_identity_until_its_entry_changes() {
    let fixture = fixture(|_| {});
    let first = fixture.authenticate(fixture.key.expose(), 500).unwrap();
    assert!(Arc::ptr_eq(
        &first,
        &fixture.authenticate(fixture.key.expose(), 500).unwrap()
    ));
    fixture.replace(KeyRecord {
        scopes: Arc::default(),
        ..fixture.record.clone()
    });
    let changed = fixture.authenticate(fixture.key.expose(), 500).unwrap();
    assert!(changed.scopes.is_empty());
}

#[test]
fn s065_a_stored_digest_is_no_key() {
    let fixture = fixture(|_| {});
    let hex = fixture.record.digest.to_hex();
    fixture.check(&hex, Err(ApiKeyError::Unknown));
    fixture.check(&format!("hmac-sha256:{hex}"), Err(ApiKeyError::Unknown));
    fixture.check(fixture.key.id().as_str(), Err(ApiKeyError::Unknown));
}

#[test]
fn s066_a_wrong_checksum_is_refused_before_any_look_up() {
    // The id is in the directory: a look-up would have returned `WrongSecret`.
    let fixture = fixture(|_| {});
    let mut typo = fixture.key.expose().to_owned();
    let last = if typo.pop() == Some('0') { '1' } else { '0' };
    typo.push(last);
    fixture.check(&typo, Err(ApiKeyError::Checksum));
    fixture.check(&typo[..70], Err(ApiKeyError::Malformed));
}

#[test]
fn s067_one_second_after_expiry_a_key_is_refused_and_stays_so() {
    let fixture = fixture(|_| {});
    let refused = Err(ApiKeyError::Expired(fixture.key.id()));
    assert!(fixture.authenticate(fixture.key.expose(), 999).is_ok());
    assert_eq!(fixture.authenticate(fixture.key.expose(), 1_001).map(drop), refused);
    assert_eq!(fixture.authenticate(fixture.key.expose(), 999).map(drop), refused);
}

#[test]
fn a_revocation_holds_from_the_instant_it_is_loaded() {
    let fixture = fixture(|_| {});
    fixture.check(fixture.key.expose(), Ok(()));
    fixture.replace(KeyRecord {
        state: KeyState::Revoked,
        ..fixture.record.clone()
    });
    fixture.check(fixture.key.expose(), Err(ApiKeyError::Revoked(fixture.key.id())));
}

#[test]
fn a_disabled_key_is_refused_until_it_is_active_again() {
    let fixture = fixture(|record| record.state = KeyState::Disabled);
    let refused = ApiKeyError::Disabled(fixture.key.id());
    fixture.check(fixture.key.expose(), Err(refused));
    fixture.replace(KeyRecord {
        state: KeyState::Active,
        ..fixture.record.clone()
    });
    fixture.check(fixture.key.expose(), Ok(()));
    fixture.replace(fixture.record.clone());
    fixture.check(fixture.key.expose(), Err(refused));
    // What cannot be undone comes first.
    let expired = fixture.authenticate(fixture.key.expose(), 1_001).map(drop);
    assert_eq!(expired, Err(ApiKeyError::Expired(fixture.key.id())));
}

#[test]
fn a_key_is_refused_outside_its_address_ranges() {
    let here = fixture(|record| record.addresses = vec!["192.0.2.0/24".parse().unwrap()].into());
    here.check(here.key.expose(), Ok(()));
    let elsewhere = fixture(|record| record.addresses = vec!["198.51.100.0/24".parse().unwrap()].into());
    elsewhere.check(
        elsewhere.key.expose(),
        Err(ApiKeyError::WrongAddress(elsewhere.key.id())),
    );
}

#[test]
fn s077_without_the_secret_nobody_learns_a_keys_state() {
    let guess_at = |fixture: &Fixture| fixture.authenticate(&guess(&fixture.key), 5_000).map(drop);
    let states = [
        fixture(|_| {}),
        fixture(|record| record.state = KeyState::Revoked),
        fixture(|record| record.state = KeyState::Disabled),
        fixture(|record| record.expires_at = None),
        fixture(|record| record.addresses = vec!["198.51.100.0/24".parse().unwrap()].into()),
    ];
    for state in &states {
        assert_eq!(guess_at(state), Err(ApiKeyError::WrongSecret));
    }
    let stranger = ApiKeyText::generate("kg", ApiKeyEnvironment::Live, &mut system_random);
    states[0].check(stranger.expose(), Err(ApiKeyError::Unknown));
}

#[test]
fn an_imported_key_is_found_by_its_whole_text() {
    let text = "sk_old_4f9a";
    let fixture = fixture(|record| {
        record.digest = CredentialDigest::sha256(text);
        record.id = KeyId::of_imported(&record.digest);
        record.origin = ApiKeyOrigin::Imported;
    });
    fixture.check(text, Ok(()));
    fixture.check("sk_old_4f9b", Err(ApiKeyError::Unknown));
    fixture.check(&CredentialDigest::sha256(text).to_hex(), Err(ApiKeyError::Unknown));
}

#[test]
fn an_entry_of_another_origin_proves_nothing() {
    let own = fixture(|record| record.origin = ApiKeyOrigin::Imported);
    own.check(own.key.expose(), Err(ApiKeyError::Unknown));
    let text = "sk_old_4f9a";
    let imported = fixture(|record| {
        record.digest = CredentialDigest::sha256(text);
        record.id = KeyId::of_imported(&record.digest);
    });
    imported.check(text, Err(ApiKeyError::Unknown));
}

#[test]
fn an_imported_key_that_looks_like_ours_is_refused() {
    let fixture = fixture(|_| {});
    let digest = CredentialDigest::sha256(fixture.key.expose());
    fixture.replace(KeyRecord {
        id: KeyId::of_imported(&digest),
        digest,
        origin: ApiKeyOrigin::Imported,
        ..fixture.record.clone()
    });
    fixture.check(fixture.key.expose(), Err(ApiKeyError::Unknown));
}

#[test]
fn a_key_digested_with_another_pepper_is_refused() {
    let fixture = fixture(|_| {});
    for pepper in [None, Some(Secret::new(b"Pepper".to_vec()))] {
        fixture.replace(KeyRecord {
            digest: Digester::new(pepper.as_ref()).digest(fixture.key.expose()),
            ..fixture.record.clone()
        });
        fixture.check(fixture.key.expose(), Err(ApiKeyError::WrongSecret));
    }
}
