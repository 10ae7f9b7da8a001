use super::*;
use crate::model::api_key::ApiKeyEnvironment;
use crate::model::id::SubscriptionId;
use crate::model::plan::CredentialKind;

fn record(id: &str) -> KeyRecord {
    KeyRecord::unrestricted(id.parse().unwrap(), CredentialDigest::sha256(id))
}

const A: &str = "aaaaaaaaaaaaaaaa";
const B: &str = "bbbbbbbbbbbbbbbb";

fn get(directory: &Directory, id: &str) -> Option<Arc<KeyEntry>> {
    directory.get(&id.parse().unwrap())
}

fn at(secs: u64) -> Timestamp {
    Timestamp::from_unix_secs(secs)
}

#[test]
fn s067_a_key_expires_at_its_instant_and_a_clock_set_back_does_not_revive_it() {
    let directory = Directory::new();
    let expiring = KeyRecord {
        expires_at: Some(at(100)),
        ..record(A)
    };
    directory.replace(vec![expiring.clone()]);
    let entry = get(&directory, A).unwrap();
    assert!(!entry.is_expired(Timestamp::from_unix_millis(99_999)));
    assert!(entry.is_expired(at(100)));
    assert!(entry.is_expired(at(50)));

    // A reload of the key, changed or not, does not revive it; a new expiry does.
    // `reads_as_expired` does not mark the entry as expired.
    let other = directory.entry(&expiring, Source::File);
    assert!(other.reads_as_expired(at(100)) && !other.is_expired(at(50)));
    directory.replace(vec![expiring.clone()]);
    assert!(get(&directory, A).unwrap().is_expired(at(50)));
    let renamed = KeyRecord {
        client: Some("renamed".into()),
        ..expiring.clone()
    };
    directory.replace(vec![renamed]);
    assert!(get(&directory, A).unwrap().is_expired(at(50)));
    let prolonged = KeyRecord {
        expires_at: Some(at(200)),
        ..expiring
    };
    directory.replace(vec![prolonged]);
    assert!(!get(&directory, A).unwrap().is_expired(at(150)));
}

#[test]
fn s078_a_key_that_was_revoked_stays_so_when_an_older_file_is_put_back() {
    let directory = Directory::new();
    let revoked = KeyRecord {
        state: KeyState::Revoked,
        ..record(A)
    };
    assert_eq!(directory.replace(vec![revoked, record(B)]), 0);
    assert_eq!(directory.replace(vec![record(A), record(B)]), 1);
    assert_eq!(get(&directory, A).unwrap().state(), KeyState::Revoked);
    assert_eq!(get(&directory, B).unwrap().state(), KeyState::Active);
    // A load without the key in between does not revive it either.
    directory.replace(vec![record(B)]);
    directory.replace(vec![record(A)]);
    assert_eq!(get(&directory, A).unwrap().state(), KeyState::Revoked);
}

#[test]
fn a_key_without_expiry_never_expires() {
    let directory = Directory::new();
    directory.replace(vec![record(A)]);
    assert!(!get(&directory, A).unwrap().is_expired(Timestamp::MAX));
}

#[test]
fn replacing_drops_absent_keys_and_keeps_the_entries_of_unchanged_keys() {
    let directory = Directory::new();
    directory.replace(vec![record(A), record(B)]);
    let before = get(&directory, A).unwrap();
    directory.replace(vec![record(A)]);
    assert!(Arc::ptr_eq(&before, &get(&directory, A).unwrap()));
    assert!(get(&directory, B).is_none());
    assert_eq!(directory.len(), 1);
    let revoked = KeyRecord {
        state: KeyState::Revoked,
        ..record(A)
    };
    directory.replace(vec![revoked]);
    assert_eq!(get(&directory, A).unwrap().state(), KeyState::Revoked);
}

#[test]
fn address_ranges_hold_for_both_spellings_of_an_ipv4_address() {
    let directory = Directory::new();
    directory.replace(vec![KeyRecord {
        addresses: vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()].into(),
        ..record(A)
    }]);
    let entry = get(&directory, A).unwrap();
    for (ip, allowed) in [
        ("192.0.2.255", true),
        ("::ffff:192.0.2.1", true),
        ("192.0.3.0", false),
        ("2001:db8::1", true),
        ("2001:db9::1", false),
    ] {
        assert_eq!(entry.allows(Some(ip.parse().unwrap())), allowed, "{ip}");
    }
}

fn of_store(id: &str, name: &str) -> KeyRecord {
    KeyRecord {
        client: Some(name.into()),
        subscription: Some("sub_1".parse().unwrap()),
        ..record(id)
    }
}

#[test]
fn an_older_revision_never_replaces_a_newer_one() {
    let directory = Directory::new();
    directory.put_key(of_store(A, "second"), 2);
    directory.put_key(of_store(A, "first"), 1);
    directory.put_key(of_store(A, "second again"), 2);
    assert_eq!(get(&directory, A).unwrap().client(), Some("second"));
    directory.put_key(of_store(A, "third"), 3);
    assert_eq!(get(&directory, A).unwrap().client(), Some("third"));

    let subscription = |state| Subscription {
        id: "sub_1".parse().unwrap(),
        organization: "acme".parse().unwrap(),
        plan: "gold".parse().unwrap(),
        environment: ApiKeyEnvironment::Live,
        state,
        paid: false,
    };
    let id: SubscriptionId = "sub_1".parse().unwrap();
    directory.put_subscription(subscription(SubscriptionState::Cancelled), 5);
    directory.put_subscription(subscription(SubscriptionState::Active), 4);
    assert_eq!(directory.subscription(&id).unwrap().state, SubscriptionState::Cancelled);

    let client = |tokens_not_before| ClientEntry {
        id: "client_1".parse().unwrap(),
        organization: "acme".parse().unwrap(),
        subscription: id.clone(),
        environment: ApiKeyEnvironment::Live,
        kind: CredentialKind::ClientSecret,
        tokens_not_before,
        token_series: 0,
    };
    directory.put_client(client(Some(at(9))), 2);
    directory.put_client(client(None), 1);
    assert_eq!(directory.client("client_1").unwrap().tokens_not_before, Some(at(9)));
    assert!(directory.client("client_2").is_none());
}

#[test]
fn keys_of_the_file_and_of_the_store_stand_side_by_side() {
    let directory = Directory::new();
    directory.put_key(of_store(A, "stored"), 1);
    directory.replace(vec![record(B)]);
    assert_eq!(directory.len(), 2);
    // The file is loaded again without its key, and then with a key that has the id of a stored one.
    directory.replace(Vec::new());
    assert!(get(&directory, A).is_some() && get(&directory, B).is_none());
    directory.replace(vec![record(A)]);
    assert_eq!(get(&directory, A).unwrap().client(), Some("stored"));
    directory.replace(Vec::new());
    assert!(get(&directory, A).is_some(), "it was never the file's");
    // In the other order, the stored key replaces the file's.
    directory.replace(vec![record(B)]);
    directory.put_key(of_store(B, "stored too"), 1);
    directory.replace(Vec::new());
    assert_eq!(get(&directory, B).unwrap().client(), Some("stored too"));
}

#[test]
fn s078_a_revocation_in_any_place_holds_when_older_data_is_restored() {
    let directory = Directory::new();
    let revoked = |record: KeyRecord| KeyRecord {
        state: KeyState::Revoked,
        ..record
    };
    let state = |id| get(&directory, id).unwrap().state();
    // A revocation in the file, of a stored key.
    directory.put_key(of_store(A, "ci"), 1);
    directory.replace(vec![revoked(record(A))]);
    assert_eq!(state(A), KeyState::Revoked);
    directory.put_key(of_store(A, "later"), 2);
    assert_eq!(state(A), KeyState::Revoked);
    // A revocation in the store; then an older copy of the file is restored.
    directory.put_key(revoked(of_store(B, "ci")), 2);
    directory.replace(vec![record(B)]);
    assert_eq!(state(B), KeyState::Revoked);
    // A revocation before the key is known at all, as from the log of revocations at the start.
    let other = "cccccccccccccccc";
    directory.revoke(other.parse().unwrap());
    directory.put_key(of_store(other, "from a backup"), 1);
    assert_eq!(state(other), KeyState::Revoked);
}

#[test]
fn a_key_in_grace_counts_until_its_end_and_a_clock_set_back_does_not_prolong_it() {
    let directory = Directory::new();
    let graced = KeyRecord {
        ends_at: Some(at(100)),
        ..of_store(A, "ci")
    };
    directory.put_key(graced.clone(), 1);
    let entry = get(&directory, A).unwrap();
    assert!(!entry.is_revoked(Timestamp::from_unix_millis(99_999)));
    assert!(entry.is_revoked(at(100)));
    assert!(entry.is_revoked(at(50)));
    // A new revision with the same end does not prolong it either.
    directory.put_key(
        KeyRecord {
            client: Some("renamed".into()),
            ..graced
        },
        2,
    );
    assert!(get(&directory, A).unwrap().is_revoked(at(50)));
}

#[test]
fn a_grace_that_began_while_the_clock_was_ahead_is_over_once_it_is_set_back() {
    let directory = Directory::new();
    let (now, ahead) = (at(1_000_000), at(1_000_000 + 2 * 86_400));
    let graced = KeyRecord {
        ends_at: Some(ahead),
        ..of_store(A, "ci")
    };
    directory.put_key(graced, 1);
    let entry = get(&directory, A).unwrap();
    let in_time = at(1_000_000 + 86_400);
    assert!(!entry.is_revoked(in_time) && !entry.reads_as_revoked(in_time));
    assert!(entry.is_revoked(now) && entry.reads_as_revoked(now));
}

#[test]
fn the_last_use_of_a_stored_key_is_reported_once_and_to_the_minute() {
    let directory = Directory::new();
    directory.put_key(of_store(A, "ci"), 1);
    directory.replace(vec![record(B)]);
    let used = |id: &str, now| get(&directory, id).unwrap().note_use(at(now));
    assert!(directory.take_used().is_empty());
    used(B, 60);
    assert!(directory.take_used().is_empty(), "nobody keeps that of a key in a file");
    used(A, 119);
    assert_eq!(directory.take_used(), [(A.parse().unwrap(), at(60))]);
    used(A, 119);
    assert!(directory.take_used().is_empty(), "the same minute");
    used(A, 120);
    // A new revision of the key does not lose the use.
    directory.put_key(of_store(A, "renamed"), 2);
    assert_eq!(directory.take_used(), [(A.parse().unwrap(), at(120))]);
}

#[test]
fn keys_share_equal_terms_and_scopes() {
    let directory = Directory::new();
    for id in [A, B] {
        let scopes = Arc::new(ScopeSet::parse_list("orders:read orders:write").unwrap());
        directory.put_key(
            KeyRecord {
                scopes,
                ..of_store(id, "ci")
            },
            1,
        );
    }
    let (first, second) = (get(&directory, A).unwrap(), get(&directory, B).unwrap());
    assert!(Arc::ptr_eq(first.scopes(), second.scopes()));
    assert_eq!((directory.terms.len(), directory.scopes.len()), (1, 1));
    directory.sweep(at(1));
    assert!(directory.scopes.contains(first.scopes()), "still in use");
    drop((first, second));
    for id in [A, B] {
        directory.put_key(of_store(id, "without scopes"), 2);
    }
    directory.sweep(at(1));
    assert_eq!((directory.terms.len(), directory.scopes.len()), (1, 1));
    assert!(get(&directory, A).unwrap().scopes().is_empty());
}

#[test]
fn a_revoked_token_is_forgotten_only_well_after_its_end() {
    let directory = Directory::new();
    assert!(!directory.is_token_revoked("jti-1"));
    directory.revoke_token("jti-1", at(1_000));
    for now in [0, 1_000, 1_600] {
        directory.sweep(at(now));
        assert!(directory.is_token_revoked("jti-1"), "{now}");
    }
    assert!(!directory.is_token_revoked("jti-2"));
    directory.sweep(at(100_000));
    assert_eq!(directory.revoked_tokens.len(), 0);
}

#[test]
fn an_opaque_token_is_found_by_its_whole_text_until_it_is_over() {
    let directory = Directory::new();
    let token = OpaqueToken {
        digest: CredentialDigest::sha256("kgt_a"),
        id: "jti-1".into(),
        client: "client_1".parse().unwrap(),
        scopes: Arc::default(),
        audiences: Box::default(),
        issued_at: at(1),
        expires_at: at(100),
    };
    directory.put_opaque(token);
    assert!(directory.opaque(&CredentialDigest::sha256("kgt_a")).is_some());
    assert!(directory.opaque(&CredentialDigest::sha256("kgt_b")).is_none());
    directory.sweep(at(100));
    assert_eq!(directory.opaque.len(), 0);
}
