use super::*;
use crate::model::api_key::ApiKeyText;
use crate::model::api_key::Digester;
use crate::model::api_key::system_random;
use crate::model::secret::Secret;
use proptest::prelude::*;
use std::os::unix::fs::PermissionsExt;

const A: &str = "aaaaaaaaaaaaaaaa";
const B: &str = "bbbbbbbbbbbbbbbb";
const CREATED: Timestamp = Timestamp::from_unix_secs(1_767_225_600);

fn hex(text: &str) -> String {
    CredentialDigest::sha256(text).to_hex()
}

fn entry(id: &str) -> String {
    format!(
        "  - id: {id}\n    digest: sha256:{}\n    name: ci\n    env: live\n    expires_at: never\n",
        hex(id)
    )
}

fn file(entries: &[String]) -> String {
    format!("keys:\n{}", entries.concat())
}

/// Parses `text`, which must be refused, and returns the problems as `line: message`.
#[track_caller]
fn refused(text: &str) -> Vec<String> {
    parse(text, DigestScheme::Sha256)
        .expect_err(text)
        .into_iter()
        .map(|problem| format!("{}: {}", problem.line, problem.message))
        .collect()
}

#[track_caller]
fn check(old: &str, new: &str, expected: &[&str]) {
    let text = file(&[entry(A)]);
    assert!(text.contains(old), "{old:?}");
    assert_eq!(refused(&text.replacen(old, new, 1)), expected);
}

fn accepted(text: &str) -> Vec<KeyRecord> {
    parse(text, DigestScheme::Sha256).unwrap()
}

#[test]
fn every_field_of_an_entry_is_read() {
    let text = format!(
        "# keys\nkeys:\n  - id: {A}\n    digest: sha256:{}\n    name: \"ci: main\"\n    env: test\n    scopes: [b, a]\n    \
         client: billing\n    organization: acme\n    addresses: [10.0.0.0/8, \"::1\"]\n    \
         created_at: 2026-01-01T00:00:00Z\n    expires_at: 2027-01-01T00:00:00+01:00\n",
        hex(A)
    );
    let [record] = accepted(&text).try_into().unwrap();
    assert_eq!(
        record,
        KeyRecord {
            id: A.parse().unwrap(),
            digest: CredentialDigest::sha256(A),
            origin: ApiKeyOrigin::Own,
            environment: ApiKeyEnvironment::Test,
            name: "ci: main".into(),
            state: KeyState::Active,
            expires_at: Some(Timestamp::from_unix_secs(1_798_758_000)),
            scopes: Arc::new(ScopeSet::parse_list("a b").unwrap()),
            client: Some("billing".into()),
            organization: Some("acme".into()),
            addresses: vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()].into(),
            subscription: None,
            ends_at: None,
        }
    );
}

#[test]
fn an_imported_entry_is_known_by_its_digest() {
    let text = format!(
        "keys:\n- imported: true\n  digest: sha256:{}\n  name: old\n  expires_at: never\n",
        hex("sk_old")
    );
    for scheme in [DigestScheme::Sha256, peppered()] {
        let [record] = parse(&text, scheme).unwrap().try_into().unwrap();
        assert_eq!(record.origin, ApiKeyOrigin::Imported);
        assert_eq!(record.id, KeyId::of_imported(&CredentialDigest::sha256("sk_old")));
    }
    let with_id = text.replace("  name", &format!("  id: {A}\n  name"));
    assert_eq!(
        refused(&with_id),
        ["4: an imported key has no `id`; it is found by its digest"]
    );
    let peppered = text.replace("sha256:", "hmac-sha256:");
    assert_eq!(
        refused(&peppered),
        ["3: `digest` of an imported key must be `sha256:…`, which needs no pepper"]
    );
}

#[test]
fn an_empty_list_is_written_as_one_or_left_out() {
    for text in ["keys: []\n", "# none yet\nkeys: []  # later\n", "", "\n", "# nothing\n"] {
        assert_eq!(accepted(text), [], "{text:?}");
    }
    for text in ["keys:\n", "keys: ~\n", "[]", "keys: {}\n", "keys: none\n"] {
        assert_eq!(refused(text).len(), 1, "{text:?}");
    }
}

#[test]
fn a_file_cut_off_within_an_entry_is_refused() {
    let text = file(&[entry(A), entry(B)]);
    let second = text.rfind("  - id").unwrap();
    for end in second + "  -".len()..text.len() - "\n".len() {
        refused(&text[..end]);
    }
}

#[test]
fn s075_two_entries_with_one_id_or_one_digest_are_refused() {
    let twice = file(&[entry(A), entry(A)]);
    assert_eq!(refused(&twice), ["7: the same digest stands on line 2"]);
    let same_digest = file(&[entry(A), entry(A).replace(&format!("id: {A}"), &format!("id: {B}"))]);
    assert_eq!(refused(&same_digest), ["7: the same digest stands on line 2"]);
    let same_id = file(&[entry(A), entry(A).replace(&hex(A), &hex(B))]);
    assert_eq!(refused(&same_id), [format!("7: the id {A} stands on line 2 too")]);
}

#[test]
fn every_mistake_is_reported_with_its_line() {
    let text = format!(
        "keys:\n  - id: short\n    digest: sha256:00\n    env: prod\n    nmae: ci\n    expires_at: tomorrow\n  - {A}\n\
         {}other: 1\n",
        entry(B)
    );
    let unknown = format!("5: unknown key `nmae`; known are {}", FIELDS.join(", "));
    assert_eq!(
        refused(&text),
        [
            "2: `id` is wrong: a key id is 16 letters or digits",
            "2: `name` is missing",
            "3: `digest` is wrong: a digest is 64 lower-case hexadecimal digits",
            "4: `env` is wrong: an environment is `live` or `test`",
            &unknown,
            "6: `expires_at` must be a time since 1970 such as `2027-01-01T00:00:00Z` (RFC 3339)",
            "7: an entry must be a mapping, such as `- id: …` and further lines",
            "13: unknown key `other`; the file has one key, `keys`",
        ]
    );
}

#[test]
fn an_ambiguous_value_is_refused() {
    let expiry = "    expires_at: never\n";
    check(
        expiry,
        "",
        &["2: `expires_at` is missing; write `never` or a time such as `2027-01-01T00:00:00Z`"],
    );
    let not_a_time = "6: `expires_at` must be a time since 1970 such as `2027-01-01T00:00:00Z` (RFC 3339)";
    for time in [
        "2027-01-01",
        "2027-01-01T00:00:00",
        "90d",
        "Never",
        "1969-12-31T00:00:00Z",
        "''",
    ] {
        check("never", time, &[not_a_time]);
    }
    check("never", "~", &["6: `expires_at` has no value"]);
    check("never", "[never]", &["6: `expires_at` must be one text, not a list"]);
    check(
        "never",
        "{a: b}",
        &["6: `expires_at` must be a text or a list of texts"],
    );
    check(
        expiry,
        "    expires_at: never\n    name: x\n",
        &["7: `name` stands twice in this entry"],
    );
    check(
        expiry,
        "    expires_at: never\n    scopes: a\n",
        &["7: `scopes` must be a list, such as `[…]`"],
    );
    check(
        expiry,
        "    expires_at: never\n    scopes: [\"a b\"]\n",
        &["7: `scopes`: is wrong: byte 1 cannot stand in a scope"],
    );
    check(
        expiry,
        "    expires_at: never\n    scopes: [[a]]\n",
        &["7: each member of `scopes` must be a text"],
    );
    check(
        expiry,
        "    expires_at: never\n    addresses: []\n",
        &["7: `addresses` is empty, which reads as nowhere; leave it out to mean everywhere"],
    );
    check(
        expiry,
        "    expires_at: never\n    addresses: [10.0.0.1/8]\n",
        &["7: `addresses`: an address range is written like `10.0.0.0/8` or `2001:db8::1`"],
    );
    check(
        "name: ci",
        "name: \"a\\nb\"",
        &["4: `name` must have 1 to 256 bytes and no control characters"],
    );
    check(
        "name: ci",
        "name: &x ci",
        &["4: anchors, aliases and tags cannot be used here"],
    );
    check(
        "name: ci",
        "name: !!str ci",
        &["4: anchors, aliases and tags cannot be used here"],
    );
    check(
        "env: live",
        "env: live\n    imported: yes",
        &["6: `imported` must be `true` or `false`"],
    );
}

#[test]
fn a_revocation_in_the_future_holds_at_once() {
    let revoked = |time: &str| file(&[entry(A) + &format!("    revoked_at: {time}\n")]);
    assert_eq!(accepted(&revoked("2099-01-01T00:00:00Z"))[0].state, KeyState::Revoked);
    // An unreadable value rejects the file; it must not be read as "not revoked".
    for unreadable in ["~", "soon", "[]"] {
        assert_eq!(refused(&revoked(unreadable)).len(), 1, "{unreadable}");
    }
}

#[test]
fn a_second_document_is_refused() {
    let text = file(&[entry(A)]) + "---\nkeys: []\n";
    assert_eq!(refused(&text), ["7: a second document begins here; the file has one"]);
}

#[test]
fn a_digest_and_the_configured_pepper_must_agree() {
    let plain = file(&[entry(A)]);
    let peppered = plain.replace("sha256:", "hmac-sha256:");
    assert!(parse(&peppered, self::peppered()).is_ok());
    let problem = |text: &str, scheme| parse(text, scheme).unwrap_err().remove(0).message;
    assert_eq!(
        problem(&peppered, DigestScheme::Sha256),
        "`digest` was made with a pepper, but `api_keys.pepper` is not configured"
    );
    assert_eq!(
        problem(&plain, self::peppered()),
        "`digest` was made without a pepper, but `api_keys.pepper` is configured; create the key anew"
    );
    // The fingerprint tells another pepper, which would refuse every key without a word.
    let own = plain.replace("sha256:", &format!("{}:", self::peppered()));
    assert_eq!(parse(&own, self::peppered()), parse(&peppered, self::peppered()));
    let other = plain.replace("sha256:", "hmac-sha256:0123abcd:");
    let found = problem(&other, self::peppered());
    assert!(
        found.contains("made with another pepper (its fingerprint is 0123abcd,"),
        "{found}"
    );
    let unreadable = problem(
        &plain.replace("sha256:", &format!("hmac-sha256:{}:", hex(B))),
        self::peppered(),
    );
    assert!(!unreadable.contains(&hex(B)[..8]), "{unreadable}");
}

#[test]
fn s064_no_error_shows_a_digest() {
    let text = file(&[entry(A), entry(A).replace("never", "x")]).replace("sha256:", "sha255:");
    assert!(!refused(&text).concat().contains(&hex(A)[..8]));
}

#[test]
fn texts_that_keys_share_are_kept_once() {
    let with_client = |id| entry(id) + "    client: billing\n    scopes: [a]\n";
    let records = accepted(&file(&[with_client(A), with_client(B)]));
    assert!(Arc::ptr_eq(&records[0].scopes, &records[1].scopes));
    assert!(Arc::ptr_eq(
        records[0].client.as_ref().unwrap(),
        records[1].client.as_ref().unwrap()
    ));
}

fn new_record(name: &str) -> KeyRecord {
    let digester = Digester::new(Some(&Secret::new(b"pepper".to_vec())));
    let key = ApiKeyText::generate("kg", ApiKeyEnvironment::Live, &mut system_random);
    KeyRecord {
        name: name.into(),
        expires_at: Some(Timestamp::from_unix_secs(1_800_000_000)),
        scopes: Arc::new(ScopeSet::parse_list("orders:read orders:write").unwrap()),
        client: Some("billing # 1".into()),
        organization: Some("\"acme\": [x]".into()),
        addresses: vec!["10.0.0.0/8".parse().unwrap()].into(),
        ..KeyRecord::unrestricted(key.id(), digester.digest(key.expose()))
    }
}

/// Returns the scheme with the pepper of these tests.
fn peppered() -> DigestScheme {
    Digester::new(Some(&Secret::new(b"pepper".to_vec()))).scheme()
}

/// Writes `before`, appends a key, revokes that key, and returns the text after each step.
fn append_and_revoke(before: &str) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.yaml");
    std::fs::write(&path, before).unwrap();
    let record = new_record("ci");
    edit::append(&path, &record, peppered(), CREATED).unwrap();
    let appended = std::fs::read_to_string(&path).unwrap();
    assert_eq!(read(&path, peppered()).unwrap().last(), Some(&record));
    edit::revoke(&path, record.id, peppered(), CREATED).unwrap();
    assert_eq!(
        read(&path, peppered()).unwrap().last().unwrap().state,
        KeyState::Revoked
    );
    (appended, std::fs::read_to_string(&path).unwrap())
}

#[test]
fn editing_keeps_every_line_of_the_operator() {
    let old = file(&[entry(A)]).replace("sha256:", "hmac-sha256:");
    let unindented = old.replace("\n  ", "\n");
    for before in [
        "keys: []\n".to_owned(),
        "# mine\nkeys: [] # none\n# end".to_owned(),
        format!("# mine ü\n{old}# end\n"),
        old.trim_end().to_owned(),
        unindented,
        old.replace('\n', "\r\n"),
        format!("---\n{old}"),
    ] {
        let (appended, revoked) = append_and_revoke(&before);
        for line in before.lines() {
            let expected = line.replace("[] #", " #").replace("keys: []", "keys: ");
            assert!(appended.lines().any(|new| new == expected), "{line:?} in {appended}");
            assert!(revoked.lines().any(|new| new == expected), "{line:?} in {revoked}");
        }
    }
}

#[test]
fn an_entry_in_braces_is_revoked_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.yaml");
    let entry = format!(
        "{{ id: {A}, digest: \"sha256:{}\", name: ü, env: live, expires_at: never }}",
        hex(A)
    );
    for text in [format!("keys:\n  - {entry} # mine\n"), format!("keys: [ {entry} ]\n")] {
        std::fs::write(&path, &text).unwrap();
        edit::revoke(&path, A.parse().unwrap(), DigestScheme::Sha256, CREATED).unwrap();
        let after = std::fs::read_to_string(&path).unwrap();
        assert_eq!(after.replace(" revoked_at: \"2026-01-01T00:00:00Z\",", ""), text);
    }
}

#[test]
fn an_imported_key_is_revoked_by_the_id_it_is_shown_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.yaml");
    let digest = CredentialDigest::sha256("sk_old");
    let text = format!(
        "keys:\n- imported: true\n  digest: sha256:{}\n  name: old\n  expires_at: never\n",
        digest.to_hex()
    );
    std::fs::write(&path, text).unwrap();
    edit::revoke(&path, KeyId::of_imported(&digest), peppered(), CREATED).unwrap();
    assert_eq!(read(&path, peppered()).unwrap()[0].state, KeyState::Revoked);
}

#[test]
fn a_file_that_cannot_be_edited_is_left_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.yaml");
    let braces = format!(
        "keys: [{{ id: {A}, digest: \"hmac-sha256:{}\", name: a, env: live, expires_at: never }}]\n",
        hex(A)
    );
    let broken = "keys:\n  - id: x\n";
    let ended = file(&[entry(A)]).replace("sha256:", "hmac-sha256:") + "...\n";
    for text in [braces.as_str(), broken, ended.as_str()] {
        std::fs::write(&path, text).unwrap();
        let error = edit::append(&path, &new_record("ci"), peppered(), CREATED).unwrap_err();
        assert!(
            matches!(error, KeysFileError::Uneditable { .. } | KeysFileError::Broken { .. }),
            "{error}"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn an_empty_file_gets_a_list_after_its_comments() {
    for (before, start) in [
        ("", "keys:\n  - id: "),
        ("# mine", "# mine\nkeys:\n  - id: "),
        ("# mine\n\n", "# mine\n\nkeys:\n  - id: "),
    ] {
        let (appended, _) = append_and_revoke(before);
        assert!(appended.starts_with(start), "{appended}");
    }
}

#[test]
fn only_a_file_that_says_something_replaces_keys() {
    let path = std::path::Path::new("keys.yaml");
    for text in ["", "\n", "  \n# a comment\n\t# another"] {
        let error = refuse_empty(path, text).unwrap_err().to_string();
        assert!(
            error.starts_with("keys.yaml:1: the file is empty, and there were keys before"),
            "{error}"
        );
    }
    for text in ["keys: []\n", "# a comment\nkeys: []", "no yaml: ["] {
        refuse_empty(path, text).unwrap();
    }
}

#[test]
fn a_key_is_revoked_once_and_only_if_it_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.yaml");
    let record = new_record("ci");
    edit::append(&path, &record, peppered(), CREATED).unwrap();
    edit::revoke(&path, record.id, peppered(), CREATED).unwrap();
    assert!(matches!(
        edit::revoke(&path, record.id, peppered(), CREATED),
        Err(KeysFileError::AlreadyRevoked { .. })
    ));
    assert!(matches!(
        edit::revoke(&path, A.parse().unwrap(), peppered(), CREATED),
        Err(KeysFileError::NoSuchKey { .. })
    ));
}

#[test]
fn a_new_file_is_the_owners_alone_and_a_symbolic_link_stays_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.yaml");
    edit::append(&path, &new_record("ci"), peppered(), CREATED).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let link = folder.path().join("link.yaml");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    edit::append(&link, &new_record("ci"), peppered(), CREATED).unwrap();
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(read(&path, peppered()).unwrap().len(), 2);
    assert!(!folder.path().join(".keys.yaml.new").exists());
}

#[test]
fn writers_at_the_same_time_lose_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.yaml");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| edit::append(&path, &new_record("ci"), peppered(), CREATED).unwrap());
        }
    });
    assert_eq!(read(&path, peppered()).unwrap().len(), 8);
}

#[test]
fn a_broken_or_missing_file_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.yaml");
    std::fs::write(&path, "keys:\n  - id: x\n").unwrap();
    let error = read(&path, DigestScheme::Sha256).unwrap_err().to_string();
    assert!(error.contains("keys.yaml:2: `digest` is missing"), "{error}");
    std::fs::remove_file(&path).unwrap();
    let error = read(&path, DigestScheme::Sha256).unwrap_err().to_string();
    assert!(error.contains("keys.yaml"), "{error}");
}

proptest! {
    #[test]
    fn any_name_that_is_accepted_survives_being_written(name in "[^\\p{Cc}]{1,60}") {
        prop_assume!(plain_text(&name).is_ok());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.yaml");
        let record = new_record(&name);
        edit::append(&path, &record, peppered(), CREATED).unwrap();
        prop_assert_eq!(read(&path, peppered()).unwrap(), vec![record]);
    }

    #[test]
    fn reading_never_panics(text in "(keys:|\\[|\\]|\\{|\\}|\n|  |- |id: |: |&a |\\*a|a|\"|---|#|!|,){0,30}") {
        let _ = parse(&text, DigestScheme::Sha256);
    }
}
