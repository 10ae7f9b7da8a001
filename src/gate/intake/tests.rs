//! Which requests carry exactly one credential (S001 to S012, S022)?

use super::*;
use crate::gate::accept::AcceptRules;
use crate::gate::answer::refusal;
use http::HeaderName;
use http::Request;
use http::request::Parts;
use proptest::prelude::*;

const KEY: HeaderName = HeaderName::from_static("x-api-key");

fn rules(accepted: &[AcceptedCredential]) -> IntakeRules {
    IntakeRules {
        access: RouteAccess::Protected(accepted.to_vec()),
        credential_bytes_max: 64,
        query_credentials: QueryCredentials::Reject,
        two_credentials: TwoCredentials::Refuse,
        bearer_key_prefix: None,
        token_headers: Box::default(),
        websocket_token: false,
    }
}

/// The fields that make a GET an upgrade to WebSocket.
const UPGRADE: [(&str, &[u8]); 2] = [("connection", b"Upgrade"), ("upgrade", b"websocket")];

fn bearer(token: &str) -> Credential<'_> {
    Credential::Bearer(token.into())
}

/// The text of an imported key.
const IMPORTED: &str = "sk-imported";

fn both() -> IntakeRules {
    rules(&[AcceptedCredential::Jwt, AcceptedCredential::ApiKey])
}

fn public() -> IntakeRules {
    IntakeRules {
        access: RouteAccess::Public,
        ..both()
    }
}

fn parts(target: &str, fields: &[(&str, &[u8])]) -> Parts {
    let mut request = Request::builder().uri(target).header("host", "a");
    for (name, value) in fields {
        request = request.header(*name, HeaderValue::from_bytes(value).unwrap());
    }
    request.body(()).unwrap().into_parts().0
}

#[track_caller]
fn check_at(
    target: &str,
    rules: &IntakeRules,
    fields: &[(&str, &[u8])],
    expected: Result<Option<Credential<'_>>, IntakeError>,
) {
    let parts = parts(target, fields);
    let accept_rules = AcceptRules::new(KEY, []);
    let inbound = Inbound::new(&parts, "127.0.0.1".parse().unwrap(), &[], &accept_rules).unwrap();
    let found = credential(&inbound, rules, |text| text == IMPORTED).map(|intake| intake.credential);
    // `assert_eq!` would print two different tokens alike: `Debug` hides their text.
    assert!(found == expected, "{target} {fields:?}: {found:?}");
}

#[track_caller]
fn check(fields: &[(&str, &[u8])], expected: Result<Option<Credential<'_>>, IntakeError>) {
    check_at("/", &both(), fields, expected);
}

#[track_caller]
fn check_authorization(value: &[u8], expected: Result<&str, IntakeError>) {
    check(&[("authorization", value)], expected.map(|token| Some(bearer(token))));
}

#[track_caller]
fn check_key(value: &[u8], expected: Result<&str, IntakeError>) {
    check(
        &[("x-api-key", value)],
        expected.map(|key| Some(Credential::ApiKey(key))),
    );
}

#[test]
fn of_two_reported_credentials_the_token_counts_if_both_are_well_formed() {
    let report = IntakeRules {
        two_credentials: TwoCredentials::Report,
        ..both()
    };
    let check = |fields: &[(&str, &[u8])], expected| check_at("/", &report, fields, expected);
    let token = ("authorization", &b"Bearer a.b.c"[..]);
    let key = ("x-api-key", &b"k"[..]);
    check(&[token, key], Ok(Some(bearer("a.b.c"))));
    check(&[token], Ok(Some(bearer("a.b.c"))));
    check(&[key], Ok(Some(Credential::ApiKey("k"))));
    check(&[], Ok(None));
    for authorization in [
        &b""[..],
        b"Bearer",
        b"Bearer a b",
        b"Basic dTpw",
        b"Bearer a, Bearer b",
        b"\xff",
    ] {
        check(
            &[("authorization", authorization), key],
            Err(IntakeError::TwoCredentials),
        );
    }
    for bad in [&b""[..], b"a b", b"k,k", b"\xff", &[b'k'; 65]] {
        check(&[token, ("x-api-key", bad)], Err(IntakeError::TwoCredentials));
    }
    check(&[token, key, key], Err(IntakeError::ApiKeyRepeated));
    check(&[token, token, key], Err(IntakeError::AuthorizationRepeated));
    check_at("/?api_key=k", &report, &[token, key], Err(IntakeError::InQuery));
    let keys_only = IntakeRules {
        access: RouteAccess::Protected(vec![AcceptedCredential::ApiKey]),
        ..report.clone()
    };
    check_at("/", &keys_only, &[token, key], Err(IntakeError::TypeNotAccepted));
}

#[test]
fn s011_two_keys_are_not_reported_but_refused() {
    let report = IntakeRules {
        two_credentials: TwoCredentials::Report,
        ..everywhere(&KEY_AND_TOKEN)
    };
    let own = format!("kg_live_7Q2kWcVbX1pAzNmD_{}", "a".repeat(16));
    for bearer_key in [own.as_str(), IMPORTED] {
        let authorization = format!("Bearer {bearer_key}");
        for key in [bearer_key, "k"] {
            let fields = [
                ("authorization", authorization.as_bytes()),
                ("x-api-key", key.as_bytes()),
            ];
            check_at("/", &report, &fields, Err(IntakeError::TwoCredentials));
        }
    }
    // A token beside a key is what the migration is from.
    let token = ("authorization", &b"Bearer a.b.c"[..]);
    check_at("/", &report, &[token, ("x-api-key", b"k")], Ok(Some(bearer("a.b.c"))));
    check_at(
        "/",
        &report,
        &[token, ("x-api-key", own.as_bytes())],
        Ok(Some(bearer("a.b.c"))),
    );
}

#[test]
fn one_credential_is_found_and_no_credential_is_none() {
    check(&[], Ok(None));
    check(&[("accept", b"*/*")], Ok(None));
    check_authorization(b"Bearer a.b-c_~+/9==", Ok("a.b-c_~+/9=="));
    check_key(b"kg_live_1_2", Ok("kg_live_1_2"));
    check_key(
        b"!\"#$%&'()*+-./:;<=>?@[]^_`{|}~",
        Ok("!\"#$%&'()*+-./:;<=>?@[]^_`{|}~"),
    );
}

#[test]
fn s001_s002_s003_s004_both_fields_in_any_state_are_two() {
    let authorizations: [&[u8]; 7] = [
        b"Bearer tok",
        b"",
        b"Bearer",
        b"Basic YTpi",
        b"junk junk junk",
        b"\xff",
        b"Bearer a, b",
    ];
    let keys: [&[u8]; 5] = [b"kg_live_1_2", b"", b"a b", b"a,b", b"\xff"];
    for authorization in authorizations {
        for key in keys {
            let fields = [("authorization", authorization), ("x-api-key", key)];
            for rules in [
                both(),
                public(),
                rules(&[AcceptedCredential::Jwt]),
                rules(&[AcceptedCredential::ApiKey]),
            ] {
                check_at("/", &rules, &fields, Err(IntakeError::TwoCredentials));
            }
            check_at("/?api_key=a", &both(), &fields, Err(IntakeError::TwoCredentials));
        }
    }
}

#[test]
fn s005_authorization_comes_once() {
    let valid: &[u8] = b"Bearer tok";
    for second in [valid, b"Bearer other", b"", b"Basic YTpi"] {
        check(
            &[("authorization", valid), ("authorization", second)],
            Err(IntakeError::AuthorizationRepeated),
        );
    }
    for list in [
        "Bearer a, Bearer b",
        "Bearer a,Bearer b",
        "Basic x, Bearer y",
        "Bearer a, Basic b",
        "Digest a=b, Bearer c",
        "Digest a=b,\tBearer c",
        "Digest a=b, Basic\tc",
        "Digest a = b, Basic c",
    ] {
        check_authorization(list.as_bytes(), Err(IntakeError::AuthorizationRepeated));
    }
}

#[test]
fn s006_an_api_key_comes_once() {
    check(
        &[("x-api-key", b"k"), ("x-api-key", b"k")],
        Err(IntakeError::ApiKeyRepeated),
    );
    check(
        &[("x-api-key", b"k"), ("X-Api-Key", b"")],
        Err(IntakeError::ApiKeyRepeated),
    );
    for list in ["k,k", "k,l,m", "k, l", ",", "k,"] {
        check_key(list.as_bytes(), Err(IntakeError::ApiKeyRepeated));
    }
}

#[test]
fn s008_forbidden_bytes_are_broken_never_absent() {
    for value in [
        b"Bearer t\xc3\xa9".as_slice(),
        b"Bearer \xff",
        b"\x80",
        b"Basic \xff",
        b"Bearer a\tb",
    ] {
        check_authorization(value, Err(IntakeError::AuthorizationMalformed));
    }
    for value in [b"k\xff".as_slice(), b"\xc3\xa9", b"", b"a b", b"a\tb"] {
        check_key(value, Err(IntakeError::ApiKeyMalformed));
    }
}

#[test]
fn s009_a_credential_in_the_query_is_refused_and_never_read() {
    let ignore = IntakeRules {
        query_credentials: QueryCredentials::Ignore,
        ..both()
    };
    for target in ["/?access_token=a", "/?x=y&API_key=a", "/?%6bey=a"] {
        check_at(target, &both(), &[], Err(IntakeError::InQuery));
        check_at(target, &both(), &[("x-api-key", b"k")], Err(IntakeError::InQuery));
        check_at(target, &public(), &[], Err(IntakeError::InQuery));
        check_at(target, &ignore, &[], Ok(None));
    }
    check_at("/?a=b", &both(), &[], Ok(None));
    assert_eq!(refusal::row(IntakeError::InQuery.reason()).status, 400);
}

#[test]
fn s010_bearer_is_a_scheme_one_space_and_a_token68() {
    for value in ["bearer tok", "BEARER tok", "bEaReR tok"] {
        check_authorization(value.as_bytes(), Ok("tok"));
    }
    for value in [
        "Bearer",
        "Bearer  tok",
        "Bearer\ttok",
        "Bearer a b",
        "xBearer tok",
        "Bearerx tok",
        "Bearer:tok",
        "Bearer,tok",
        "Bearer =",
        "Bearer a=b",
        "Bearer \"tok\"",
        "Bearer tok;",
        "Bearer tok%20",
        "Bearer a,b",
        "",
        "=",
        "\"Bearer\" tok",
        "Bearer tok\\",
    ] {
        check_authorization(value.as_bytes(), Err(IntakeError::AuthorizationMalformed));
    }
}

#[test]
fn s012_other_schemes_are_challenged_and_never_read() {
    for value in [
        "Basic YTpi",
        "basic YTpi",
        "Basic a:b:c@evil.example",
        "Basic",
        "Digest username=\"a\", realm=\"b\"",
        // White space around `=` and commas is part of the syntax (RFC 9110 section 11.2).
        "Digest a=b, c = \"d\"",
        "Digest a = b,c =d , e= f",
        "Digest a=b,\tc\t=\t\"d, Bearer e\"",
        "DPoP tok",
        "Negotiate",
        "kg_live_1_2",
        "eyJ.eyJ.sig",
    ] {
        check_authorization(value.as_bytes(), Err(IntakeError::OtherScheme));
    }
    assert_eq!(refusal::row(IntakeError::OtherScheme.reason()).status, 401);
}

#[test]
fn s011_a_type_that_the_route_does_not_accept_is_challenged() {
    let token: [(&str, &[u8]); 1] = [("authorization", b"Bearer tok")];
    let key: [(&str, &[u8]); 1] = [("x-api-key", b"kg")];
    check_at(
        "/",
        &rules(&[AcceptedCredential::ApiKey]),
        &token,
        Err(IntakeError::TypeNotAccepted),
    );
    check_at(
        "/",
        &rules(&[AcceptedCredential::Jwt]),
        &key,
        Err(IntakeError::TypeNotAccepted),
    );
    check_at("/", &rules(&[AcceptedCredential::Jwt]), &token, Ok(Some(bearer("tok"))));
    check_at(
        "/",
        &rules(&[AcceptedCredential::ApiKey]),
        &key,
        Ok(Some(Credential::ApiKey("kg"))),
    );
    check_at("/", &rules(&[]), &key, Err(IntakeError::TypeNotAccepted));
    assert_eq!(refusal::row(IntakeError::TypeNotAccepted.reason()).status, 401);
}

#[test]
fn s022_credentials_are_bounded() {
    let longest = "a".repeat(64);
    check_authorization(format!("Bearer {longest}").as_bytes(), Ok(&longest));
    check_authorization(format!("bearer {longest}").as_bytes(), Ok(&longest));
    check_authorization(format!("Bearer {longest}a").as_bytes(), Err(IntakeError::TooLong));
    check_authorization(
        format!("Bearer {}", ".".repeat(10_000)).as_bytes(),
        Err(IntakeError::TooLong),
    );
    check_key(longest.as_bytes(), Ok(&longest));
    check_key(format!("{longest}a").as_bytes(), Err(IntakeError::TooLong));
}

#[test]
fn a_public_route_does_not_look_at_one_credential() {
    for value in [b"Bearer tok".as_slice(), b"Basic YTpi", b"", b"\xff"] {
        check_at("/", &public(), &[("authorization", value)], Ok(None));
        check_at("/", &public(), &[("x-api-key", value)], Ok(None));
    }
}

/// Rules of a route that reads every place.
fn everywhere(accepted: &[AcceptedCredential]) -> IntakeRules {
    IntakeRules {
        bearer_key_prefix: Some("kg".into()),
        token_headers: Box::new([
            HeaderName::from_static("cf-access-jwt-assertion"),
            HeaderName::from_static("x-iap"),
        ]),
        websocket_token: true,
        ..rules(accepted)
    }
}

const KEY_AND_TOKEN: [AcceptedCredential; 2] = [AcceptedCredential::Jwt, AcceptedCredential::ApiKey];
const PROTOCOLS: &str = "sec-websocket-protocol";

/// One field of each place.
fn places() -> [(&'static str, &'static [u8]); 5] {
    [
        ("authorization", b"Bearer a.b.c"),
        ("x-api-key", b"k"),
        ("cf-access-jwt-assertion", b"a.b.c"),
        ("x-iap", b"a.b.c"),
        (PROTOCOLS, b"keygate.bearer, bearer.YS5iLmM"),
    ]
}

#[test]
fn s001_credentials_in_two_places_are_refused_in_any_state() {
    let all = everywhere(&KEY_AND_TOKEN);
    for (index, first) in places().into_iter().enumerate() {
        for second in places().into_iter().skip(index + 1) {
            let expected = match (first.0, second.0) {
                ("authorization", "x-api-key") => IntakeError::TwoCredentials,
                (_, _) => IntakeError::TwoPlaces,
            };
            // A token among the subprotocols is a second credential in any request.
            for upgrade in [&UPGRADE[..], &[]] {
                let check = |fields: [(&str, &[u8]); 2]| {
                    check_at("/", &all, &[upgrade, &fields].concat(), Err(expected));
                };
                check([first, second]);
                check([second, first]);
                // Presence counts, not content (S002).
                check([(first.0, b""), second]);
            }
        }
        if first.0 != "x-api-key" {
            check_at("/", &all, &[&UPGRADE[..], &[first]].concat(), Ok(Some(bearer("a.b.c"))));
        }
    }
    // A route that does not read a place ignores it.
    check_at(
        "/",
        &both(),
        &[places()[0], places()[2], places()[4]],
        Ok(Some(bearer("a.b.c"))),
    );
    check_at("/", &both(), &[places()[2]], Ok(None));
    let reported = IntakeRules {
        two_credentials: TwoCredentials::Report,
        ..all
    };
    check_at("/", &reported, &[places()[0], places()[1]], Ok(Some(bearer("a.b.c"))));
    check_at("/", &reported, &[places()[0], places()[2]], Err(IntakeError::TwoPlaces));
}

#[test]
fn s011_a_bearer_text_is_a_key_where_the_configuration_says_so() {
    let key = "kg_live_7Q2kWcVbX1pAzNmD_abc";
    let own = format!("Bearer {key}");
    let imported = format!("Bearer {IMPORTED}");
    let check = |rules: &IntakeRules, value: &str, expected: Result<Option<Credential<'_>>, IntakeError>| {
        check_at("/", rules, &[("authorization", value.as_bytes())], expected);
    };
    let all = everywhere(&KEY_AND_TOKEN);
    check(&all, &own, Ok(Some(Credential::ApiKey(key))));
    check(&all, &imported, Ok(Some(Credential::ApiKey(IMPORTED))));
    check(&all, "Bearer a.b.c", Ok(Some(bearer("a.b.c"))));
    check(&all, "Bearer kg_prod_1", Ok(Some(bearer("kg_prod_1"))));
    check(&all, "Basic YTpi", Err(IntakeError::OtherScheme));
    // Every text is a key where the route takes no tokens, and none where it takes no keys.
    let keys = everywhere(&[AcceptedCredential::ApiKey]);
    check(&keys, "Bearer a.b.c", Ok(Some(Credential::ApiKey("a.b.c"))));
    let tokens = everywhere(&[AcceptedCredential::Jwt]);
    check(&tokens, &own, Err(IntakeError::TypeNotAccepted));
    check(&tokens, &imported, Err(IntakeError::TypeNotAccepted));
    // Without the setting, a key is a token like any other text.
    check(&both(), &own, Ok(Some(bearer(key))));
    let two = [("authorization", own.as_bytes()), ("x-api-key", b"k")];
    check_at("/", &all, &two, Err(IntakeError::TwoCredentials));
}

#[test]
fn the_header_of_an_issuer_has_one_bare_token() {
    let all = everywhere(&KEY_AND_TOKEN);
    let check = |values: &[&[u8]], expected: Result<Option<Credential<'_>>, IntakeError>| {
        let fields: Vec<(&str, &[u8])> = values.iter().map(|value| ("x-iap", *value)).collect();
        check_at("/", &all, &fields, expected);
    };
    check(&[b"a.b.c"], Ok(Some(bearer("a.b.c"))));
    for bad in [&b""[..], b"Bearer a.b.c", b"a b", b"\xff", b"a=b"] {
        check(&[bad], Err(IntakeError::TokenHeaderMalformed));
    }
    check(&[b"a", b"a"], Err(IntakeError::TokenHeaderRepeated));
    check(&[b"a,b"], Err(IntakeError::TokenHeaderRepeated));
    check(&[&[b'a'; 64]], Ok(Some(bearer(&"a".repeat(64)))));
    check(&[&[b'a'; 65]], Err(IntakeError::TooLong));
    check_at(
        "/",
        &everywhere(&[AcceptedCredential::ApiKey]),
        &[("x-iap", b"a")],
        Err(IntakeError::TypeNotAccepted),
    );
}

#[test]
fn a_browser_offers_its_token_as_a_subprotocol() {
    let all = everywhere(&KEY_AND_TOKEN);
    let check = |values: &[&str], expected: Result<Option<Credential<'_>>, IntakeError>| {
        let fields = values.iter().map(|value| (PROTOCOLS, value.as_bytes()));
        let fields: Vec<(&str, &[u8])> = fields.chain(UPGRADE).collect();
        check_at("/", &all, &fields, expected);
    };
    let token = Ok(Some(bearer("a.b.c")));
    check(&["keygate.bearer, bearer.YS5iLmM"], token.clone());
    check(&["chat,bearer.YS5iLmM ,keygate.bearer"], token.clone());
    check(&["keygate.bearer", "bearer.YS5iLmM", "chat"], token);
    check(&["chat"], Ok(None));
    check(&["keygate.bearer"], Ok(None));
    check(&["Bearer.YS5iLmM"], Ok(None));
    check(&["bearer.YS5iLmM"], Err(IntakeError::ProtocolAlone));
    check(&["bearer.YS5iLmM, Keygate.bearer"], Err(IntakeError::ProtocolAlone));
    check(
        &["keygate.bearer, bearer.YS5iLmM, bearer.YS5iLmM"],
        Err(IntakeError::TwoPlaces),
    );
    // Empty, padded, with stray bits, of another alphabet, and no token inside.
    for bad in [
        "bearer.",
        "bearer.YQ==",
        "bearer.YR",
        "bearer.+/8",
        "bearer.YSBi",
        "bearer._w",
    ] {
        check(
            &[&format!("keygate.bearer, {bad}")],
            Err(IntakeError::ProtocolMalformed),
        );
    }
    let long = |length: usize| {
        format!(
            "keygate.bearer, bearer.{}",
            crate::jose::base64url::encode(&vec![b'a'; length])
        )
    };
    check(&[&long(64)], Ok(Some(bearer(&"a".repeat(64)))));
    check(&[&long(65)], Err(IntakeError::TooLong));
    check(&[&long(10_000)], Err(IntakeError::TooLong));
}

#[test]
fn s001_a_token_among_the_subprotocols_of_a_request_that_is_no_upgrade_is_refused() {
    let all = everywhere(&KEY_AND_TOKEN);
    let good: (&str, &[u8]) = (PROTOCOLS, b"keygate.bearer, bearer.YS5iLmM");
    let refused = Err(IntakeError::ProtocolWithoutUpgrade);
    check_at("/", &all, &[good], refused.clone());
    check_at("/", &all, &[good, UPGRADE[0]], refused.clone());
    check_at("/", &all, &[good, UPGRADE[1]], refused.clone());
    check_at("/", &all, &[good, UPGRADE[0], ("upgrade", b"h2c")], refused.clone());
    for bad in [&b"bearer.YS5iLmM"[..], b"keygate.bearer, bearer.!", b"bearer."] {
        check_at("/", &all, &[(PROTOCOLS, bad)], refused.clone());
    }
    for other in [&b"chat"[..], b"keygate.bearer"] {
        check_at("/", &all, &[(PROTOCOLS, other)], Ok(None));
        let token = ("authorization", &b"Bearer a.b.c"[..]);
        check_at("/", &all, &[(PROTOCOLS, other), token], Ok(Some(bearer("a.b.c"))));
    }
    assert_eq!(refusal::row(IntakeError::ProtocolWithoutUpgrade.reason()).status, 400);
}

#[test]
fn the_token_of_a_browser_is_taken_out_of_its_subprotocols() {
    let check = |values: &[&str], expected: Option<&str>| {
        let fields: Vec<(&str, &[u8])> = values.iter().map(|value| (PROTOCOLS, value.as_bytes())).collect();
        let rest = without_token_entries(&parts("/", &fields).headers);
        assert_eq!(rest.as_ref().map(|rest| rest.to_str().unwrap()), expected, "{values:?}");
    };
    check(&[], None);
    check(&["keygate.bearer, bearer.YQ"], None);
    check(&["keygate.bearer, chat, bearer.YQ", "v2"], Some("chat, v2"));
    check(&["bearer.a, bearer.b,bearer."], None);
    check(&["Bearer.a, keygate.bearers"], Some("Bearer.a, keygate.bearers"));
}

#[test]
fn a_public_route_that_forwards_knows_the_one_place_and_reads_nothing() {
    let rules = IntakeRules {
        access: RouteAccess::PublicForwarding,
        ..everywhere(&[])
    };
    let find = |fields: &[(&str, &[u8])]| {
        let parts = parts("/", fields);
        let accept_rules = AcceptRules::new(KEY, []);
        let inbound = Inbound::new(&parts, "127.0.0.1".parse().unwrap(), &[], &accept_rules).unwrap();
        credential(&inbound, &rules, |_| true).map(|intake| (intake.credential.is_some(), intake.place))
    };
    assert_eq!(find(&[]), Ok((false, None)));
    for value in [&b"Bearer a"[..], b"Basic YTpi", b"Digest a=b, c=\"d\"", b"", b"\xff"] {
        assert_eq!(
            find(&[("authorization", value)]),
            Ok((false, Some(Place::Authorization)))
        );
        assert_eq!(find(&[("x-api-key", value)]), Ok((false, Some(Place::ApiKeyHeader))));
        let twice = [("authorization", value), ("authorization", value)];
        assert_eq!(find(&twice), Err(IntakeError::AuthorizationRepeated));
        let twice = [("x-api-key", value), ("x-api-key", value)];
        assert_eq!(find(&twice), Err(IntakeError::ApiKeyRepeated));
        let two = [("authorization", value), ("x-api-key", value)];
        assert_eq!(find(&two), Err(IntakeError::TwoCredentials));
    }
    for list in [
        &b"Bearer a, Bearer b"[..],
        b"Basic a, Bearer b",
        b"bearer a,b",
        b"Digest a=b, Basic YTpi",
        b"Digest a=b,\tBasic\tYTpi",
    ] {
        assert_eq!(
            find(&[("authorization", list)]),
            Err(IntakeError::AuthorizationRepeated)
        );
    }
    for value in [
        &b"Digest realm=\"x, y \\\" z, Basic q\", a=b"[..],
        b"AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=c;d, Signature=e",
        b"Digest a=b, c = \"d\",\te\t= f",
    ] {
        assert_eq!(
            find(&[("authorization", value)]),
            Ok((false, Some(Place::Authorization)))
        );
    }
}

#[test]
fn s143_no_credential_is_printed() {
    assert_eq!(format!("{:?}", bearer("s3cret")), "Bearer([secret])");
    assert_eq!(format!("{:?}", Credential::ApiKey("s3cret")), "ApiKey([secret])");
}

proptest! {
    #[test]
    fn a_bearer_token_is_all_of_the_value_after_the_scheme(value in "[bB]earer[ \t]{0,2}[a-z,=. ]{0,6}") {
        let value = HeaderValue::from_str(&value).unwrap();
        if let Ok(token) = bearer::parse(&value, 64) {
            prop_assert_eq!(format!("bearer {token}"), value.to_str().unwrap().replacen('B', "b", 1));
        }
    }

    #[test]
    fn intake_never_panics(value in prop::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            let _ = bearer::parse(&value, 64);
            let _ = api_key::parse(&value, 64);
        }
    }
}
