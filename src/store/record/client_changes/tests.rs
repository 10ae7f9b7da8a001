use super::*;
use crate::model::algorithm::Algorithm;
use std::time::Duration;

const MADE: Timestamp = Timestamp::from_unix_millis(1_000_000);
const NOW: Timestamp = Timestamp::from_unix_millis(2_000_000);
const HOUR: Duration = Duration::from_secs(3_600);

fn client(authentication: ClientAuthentication) -> ClientRecord {
    ClientRecord::new(
        NewClient {
            id: "client_1".parse().unwrap(),
            organization: "acme".parse().unwrap(),
            subscription: "sub_1".parse().unwrap(),
            environment: ApiKeyEnvironment::Live,
            name: "nightly".to_owned(),
            description: String::new(),
            authentication,
            scopes: "a b".parse().unwrap(),
            token_ttl: TokenTtl::Hour,
            token_format: TokenFormat::Jwt,
        },
        MADE,
    )
}

fn with_secret() -> ClientRecord {
    client(ClientAuthentication::ClientSecret {
        secrets: vec![ClientSecret::new(CredentialDigest::sha256("first"), MADE)],
    })
}

fn with_url() -> ClientRecord {
    client(ClientAuthentication::JwksUrl {
        url: "https://client.example/jwks".to_owned(),
    })
}

fn with_keys(kids: &[&str]) -> ClientRecord {
    client(ClientAuthentication::Keys {
        keys: kids.iter().map(|kid| key(kid)).collect(),
    })
}

fn key(kid: &str) -> ClientKey {
    ClientKey {
        kid: kid.to_owned(),
        public_pem: "-----BEGIN PUBLIC KEY-----".to_owned(),
        algorithms: vec![Algorithm::Es256],
        generated: false,
        created_at: MADE,
        revoked_at: None,
    }
}

fn deleted(client: ClientRecord) -> ClientRecord {
    client.delete(IssuedTokens::Stay, MADE).unwrap()
}

fn disabled(client: ClientRecord) -> ClientRecord {
    client.disable(MADE).unwrap()
}

/// Returns the texts of the secrets that are valid at `now`.
fn valid_secrets(client: &ClientRecord, now: Timestamp) -> Vec<&'static str> {
    let ClientAuthentication::ClientSecret { secrets } = &client.authentication else {
        panic!("no secrets");
    };
    let name = |secret: &ClientSecret| {
        let names = ["first", "second", "third"];
        names
            .into_iter()
            .find(|name| CredentialDigest::sha256(name) == secret.digest)
            .unwrap()
    };
    secrets.iter().filter(|secret| secret.is_valid(now)).map(name).collect()
}

fn rotate(client: ClientRecord, secret: &str, grace: Grace, now: Timestamp) -> Result<ClientRecord, ClientError> {
    client.rotate_secret(ClientSecret::new(CredentialDigest::sha256(secret), now), grace, now)
}

fn hours(hours: u32) -> Grace {
    Grace::try_from(HOUR * hours).unwrap()
}

/// Checks the result of `change` for active, disabled and deleted, in this order.
#[track_caller]
fn check(
    make: impl Fn() -> ClientRecord,
    change: impl Fn(ClientRecord) -> Result<ClientRecord, ClientError>,
    expected: [Result<ClientState, ClientError>; 3],
) {
    for (client, expected) in [make(), disabled(make()), deleted(make())].into_iter().zip(expected) {
        let (state, id) = (client.state, client.id.clone());
        let after = change(client);
        assert_eq!(
            after.as_ref().map(|after| after.state),
            expected.as_ref().copied(),
            "{state}"
        );
        if let Ok(after) = after {
            assert_eq!(
                (after.changed_at, after.created_at, after.id),
                (NOW, MADE, id),
                "{state}"
            );
        }
    }
}

#[test]
fn each_state_goes_only_where_it_may() {
    use ClientState::Active;
    use ClientState::Deleted;
    use ClientState::Disabled;
    let stays = [Ok(Active), Ok(Disabled), Err(ClientError::Deleted)];
    check(
        with_url,
        |it| it.disable(NOW),
        [
            Ok(Disabled),
            Err(ClientError::AlreadyDisabled),
            Err(ClientError::Deleted),
        ],
    );
    check(
        with_url,
        |it| it.enable(NOW),
        [Err(ClientError::AlreadyActive), Ok(Active), Err(ClientError::Deleted)],
    );
    check(
        with_url,
        |it| it.delete(IssuedTokens::Stay, NOW),
        [Ok(Deleted), Ok(Deleted), Err(ClientError::Deleted)],
    );
    check(with_url, |it| it.change(ClientChange::default(), NOW), stays);
    check(with_secret, |it| rotate(it, "second", Grace::NONE, NOW), stays);
    check(|| with_keys(&["a"]), |it| it.add_key(key("b"), NOW), stays);
    check(
        || with_keys(&["a"]),
        |it| it.revoke_key("a", IssuedTokens::End, NOW),
        stays,
    );
    check(
        with_secret,
        |it| Ok(it.revoke_tokens(NOW)),
        [Ok(Active), Ok(Disabled), Ok(Deleted)],
    );
}

#[test]
fn s071_a_rotated_secret_ends_at_once_and_the_id_stays() {
    let before = with_secret();
    let after = rotate(before.clone(), "second", Grace::NONE, NOW).unwrap();
    assert_eq!(after.id, before.id);
    assert_eq!(valid_secrets(&after, NOW), ["second"]);
}

#[test]
fn with_a_grace_both_secrets_count_until_it_ends() {
    let rotated = rotate(with_secret(), "second", Grace::MAX, NOW).unwrap();
    let end = NOW.saturating_add(HOUR * 24);
    assert_eq!(
        valid_secrets(&rotated, end.saturating_sub(Duration::from_millis(1))),
        ["second", "first"]
    );
    assert_eq!(valid_secrets(&rotated, end), ["second"]);

    // A second grace period must wait for the first. Without a grace period
    // both secrets end, and a later rotation need not wait.
    assert_eq!(
        rotate(rotated.clone(), "third", hours(1), NOW),
        Err(ClientError::GraceRuns)
    );
    assert_eq!(
        valid_secrets(&rotate(rotated.clone(), "third", Grace::NONE, NOW).unwrap(), NOW),
        ["third"]
    );
    let again = rotate(rotated, "third", hours(1), end).unwrap();
    assert_eq!(valid_secrets(&again, end), ["third", "second"]);
    let ClientAuthentication::ClientSecret { secrets } = &again.authentication else {
        panic!("no secrets");
    };
    assert_eq!(secrets.len(), 2, "what is over is not kept");
}

#[test]
fn a_regenerated_client_has_another_id_and_secret_and_the_old_one_nothing() {
    let id: ClientId = "client_2".parse().unwrap();
    let secret = ClientSecret::new(CredentialDigest::sha256("second"), NOW);
    let regenerate = |client: ClientRecord, tokens| client.regenerate(id.clone(), secret.clone(), tokens, NOW);
    let (old, new) = regenerate(with_secret(), IssuedTokens::Stay).unwrap();
    assert_eq!((old.state, old.tokens_not_before), (ClientState::Deleted, None));
    assert_eq!(valid_secrets(&old, NOW), [""; 0]);
    assert_eq!((&new.id, new.state, new.created_at), (&id, ClientState::Active, NOW));
    assert_eq!(valid_secrets(&new, NOW), ["second"]);
    assert_eq!(
        (&new.name, &new.scopes, new.environment),
        (&old.name, &old.scopes, old.environment)
    );

    let (old, new) = regenerate(with_secret(), IssuedTokens::End).unwrap();
    assert_eq!((old.tokens_not_before, new.tokens_not_before), (Some(NOW), None));
    let (_, new) = regenerate(disabled(with_secret()), IssuedTokens::Stay).unwrap();
    assert_eq!(new.state, ClientState::Disabled, "it is not its owner's to enable it");
    for client in [with_secret(), with_url(), with_keys(&["a"])] {
        let refused = regenerate(deleted(client), IssuedTokens::Stay).map(drop);
        assert_eq!(refused, Err(ClientError::Deleted));
    }
}

#[test]
fn a_regenerated_client_keeps_its_url_and_none_of_its_registered_keys() {
    let id: ClientId = "client_2".parse().unwrap();
    let regenerate = |client: ClientRecord| {
        let secret = ClientSecret::new(CredentialDigest::sha256("second"), NOW);
        client.regenerate(id.clone(), secret, IssuedTokens::Stay, NOW).unwrap()
    };
    let (old, new) = regenerate(with_url());
    assert_eq!((old.state, new.state), (ClientState::Deleted, ClientState::Active));
    assert_eq!((&new.id, &new.authentication), (&id, &with_url().authentication));
    let (old, new) = regenerate(with_keys(&["a", "b"]));
    assert_eq!((kids(&old), kids(&new)), (vec![], vec![]));
    assert_eq!(new.clone().add_key(key("a"), NOW), Err(ClientError::KeyRevoked));
    assert_eq!(kids(&new.add_key(key("c"), NOW).unwrap()), ["c"]);
}

#[test]
fn the_authentication_method_of_a_client_never_changes() {
    let url = |url: &str| ClientChange {
        jwks_url: Some(url.to_owned()),
        ..ClientChange::default()
    };
    let changed = with_url().change(url("https://other.example/jwks"), NOW).unwrap();
    assert_eq!(
        changed.authentication,
        ClientAuthentication::JwksUrl {
            url: "https://other.example/jwks".to_owned()
        }
    );
    assert_eq!(with_secret().change(url("https://x"), NOW), Err(ClientError::NoJwksUrl));
    assert_eq!(
        with_keys(&[]).change(url("https://x"), NOW),
        Err(ClientError::NoJwksUrl)
    );
    assert_eq!(with_url().add_key(key("a"), NOW), Err(ClientError::KeysFromUrl));
    assert_eq!(with_secret().add_key(key("a"), NOW), Err(ClientError::NoKeys));
    assert_eq!(
        with_url().revoke_key("a", IssuedTokens::Stay, NOW),
        Err(ClientError::KeysFromUrl)
    );
    assert_eq!(
        rotate(with_url(), "second", Grace::NONE, NOW),
        Err(ClientError::NoSecret)
    );
    assert_eq!(
        rotate(with_keys(&[]), "second", Grace::NONE, NOW),
        Err(ClientError::NoSecret)
    );
}

#[test]
fn a_change_touches_what_it_names_and_nothing_else() {
    let change = ClientChange {
        name: Some("weekly".to_owned()),
        token_ttl: Some(TokenTtl::Minute),
        ..ClientChange::default()
    };
    assert_eq!(
        with_secret().change(change, NOW).unwrap(),
        ClientRecord {
            name: "weekly".to_owned(),
            token_ttl: TokenTtl::Minute,
            changed_at: NOW,
            ..with_secret()
        }
    );
}

/// Returns the `kid`s of the valid keys.
fn kids(client: &ClientRecord) -> Vec<&str> {
    let ClientAuthentication::Keys { keys } = &client.authentication else {
        panic!("no keys");
    };
    keys.iter()
        .filter(|key| key.is_valid())
        .map(|key| key.kid.as_str())
        .collect()
}

#[test]
fn s138_one_key_is_revoked_without_touching_the_others() {
    let client = with_keys(&["a", "b"]);
    let after = client.clone().revoke_key("a", IssuedTokens::Stay, NOW).unwrap();
    assert_eq!((kids(&after), after.tokens_not_before), (vec!["b"], None));
    let after = client.clone().revoke_key("a", IssuedTokens::End, NOW).unwrap();
    assert_eq!(after.tokens_not_before, Some(NOW));
    assert_eq!(
        client.revoke_key("c", IssuedTokens::Stay, NOW),
        Err(ClientError::NoSuchKey)
    );
    assert_eq!(
        after.clone().revoke_key("a", IssuedTokens::Stay, NOW),
        Err(ClientError::KeyRevoked)
    );
    // A revoked key cannot return by another upload.
    assert_eq!(after.clone().add_key(key("a"), NOW), Err(ClientError::KeyRevoked));
    assert_eq!(after.add_key(key("b"), NOW), Err(ClientError::KeyExists));
}

#[test]
fn s153_a_client_without_keys_proves_nothing() {
    let none = with_keys(&["a"]).revoke_key("a", IssuedTokens::Stay, NOW).unwrap();
    assert_eq!(kids(&none), [""; 0]);
    assert_eq!(none.state, ClientState::Active);
    assert_eq!(
        kids(&with_keys(&["a", "b"]).delete(IssuedTokens::Stay, NOW).unwrap()),
        [""; 0]
    );
    assert_eq!(
        valid_secrets(&with_secret().delete(IssuedTokens::Stay, NOW).unwrap(), NOW),
        [""; 0]
    );
}

#[test]
fn ten_keys_are_as_many_as_a_client_may_have_the_revoked_ones_not_counted() {
    let names: Vec<String> = (0..CLIENT_KEYS_MAX).map(|number| number.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let nine = with_keys(&names[1..]);
    let ten = nine.add_key(key("0"), NOW).unwrap();
    assert_eq!(ten.clone().add_key(key("x"), NOW), Err(ClientError::TooManyKeys));
    let nine = ten.revoke_key("0", IssuedTokens::Stay, NOW).unwrap();
    assert_eq!(kids(&nine.add_key(key("x"), NOW).unwrap()).len(), CLIENT_KEYS_MAX);
}

#[test]
fn a_record_does_not_grow_for_ever() {
    let mut client = with_keys(&[]);
    for number in 0..=REVOKED_KEYS_MAX as u64 {
        let (kid, now) = (number.to_string(), Timestamp::from_unix_secs(number));
        client = client.add_key(key(&kid), now).unwrap();
        client = client.revoke_key(&kid, IssuedTokens::Stay, now).unwrap();
    }
    let ClientAuthentication::Keys { keys } = &client.authentication else {
        panic!("no keys");
    };
    assert_eq!(keys.len(), REVOKED_KEYS_MAX);
    assert!(keys.iter().all(|key| key.kid != "0"), "the oldest is forgotten");
}

#[test]
fn tokens_are_revoked_again_and_again_and_never_revived() {
    let once = with_secret().revoke_tokens(NOW);
    assert_eq!((once.tokens_not_before, once.token_series), (Some(NOW), 0));
    // The clock was set back: tokens with a later `iat` are of an earlier series.
    assert!(once.has_future_revocation(MADE) && !once.has_future_revocation(NOW));
    let back = once.clone().revoke_tokens(MADE);
    assert_eq!((back.tokens_not_before, back.token_series), (Some(MADE), 1));
    let again = back.revoke_tokens(MADE);
    assert_eq!((again.tokens_not_before, again.token_series), (Some(MADE), 1));
    let later = NOW.saturating_add(HOUR);
    let once = once.revoke_tokens(later);
    assert_eq!((once.tokens_not_before, once.token_series), (Some(later), 0));
    let after = deleted(with_secret()).revoke_tokens(NOW);
    assert_eq!(
        (after.state, after.tokens_not_before),
        (ClientState::Deleted, Some(NOW))
    );
}

#[test]
fn each_refusal_has_a_word_of_its_own() {
    let mut words: Vec<&str> = ClientError::ALL.map(ClientError::as_str).into();
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), ClientError::ALL.len());
}

#[test]
fn a_secret_that_ended_while_the_clock_was_ahead_is_over_once_it_is_set_back() {
    let ahead = NOW.saturating_add(HOUR * 48);
    let rotated = rotate(with_secret(), "second", hours(1), ahead).unwrap();
    assert_eq!(valid_secrets(&rotated, ahead), ["second", "first"]);
    assert_eq!(valid_secrets(&rotated, NOW), ["second"]);
    // The next one is newer all the same, because the log of revocations ends those that are older.
    let again = rotate(rotated, "third", Grace::NONE, NOW).unwrap();
    assert_eq!(valid_secrets(&again, NOW), ["third"]);
    let ClientAuthentication::ClientSecret { secrets } = &again.authentication else {
        panic!("no secrets");
    };
    assert!(secrets[0].created_at > ahead);
    assert_eq!(again.changed_at, NOW);
}

#[test]
fn a_key_that_was_revoked_while_the_clock_was_ahead_stays_revoked() {
    let ahead = NOW.saturating_add(HOUR * 48);
    let revoked = with_keys(&["a", "b"])
        .revoke_key("a", IssuedTokens::Stay, ahead)
        .unwrap();
    assert_eq!(kids(&revoked), ["b"]);
}
