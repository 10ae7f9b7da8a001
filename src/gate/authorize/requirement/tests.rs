//! Can an additional rule allow more, or can an absent attribute meet a rule? Neither.

use super::*;
use crate::gate::authenticate::ApiKeyIdentity;
use crate::gate::authenticate::PickedClaims;
use crate::gate::authenticate::TokenIdentity;
use crate::model::claim::ClaimValue;
use crate::model::clock::Timestamp;
use proptest::prelude::*;

fn texts(list: &str) -> Vec<String> {
    list.split_whitespace().map(str::to_owned).collect()
}

fn scope_list(list: &str) -> Vec<Scope> {
    list.split_whitespace().map(|scope| scope.parse().unwrap()).collect()
}

fn rule(conditions: Vec<Condition>) -> config::Rule {
    config::Rule {
        name: None,
        mode: Mode::Enforce,
        methods: Vec::new(),
        conditions,
    }
}

fn requirement(rules: impl IntoIterator<Item = config::Rule>) -> Requirement {
    Requirement {
        rules: rules.into_iter().collect(),
    }
}

fn token(scopes: &str) -> TokenIdentity {
    TokenIdentity {
        subject: Some("alice".to_owned()),
        client_id: Some("shop".to_owned()),
        organization: Some("acme".to_owned()),
        scopes: ScopeSet::parse_list(scopes).unwrap(),
        expires_at: Timestamp::from_unix_secs(1),
        ..TokenIdentity::default()
    }
}

fn identity(token: TokenIdentity) -> Identity {
    Identity::of_token("main".parse().unwrap(), token)
}

fn refusal(requirement: &Requirement, identity: &Identity, method: &Method) -> Option<&'static str> {
    requirement.check(identity, method).enforced.map(Forbidden::reason)
}

#[track_caller]
fn check_scopes(all: &str, any: &str, granted: &str, expected: bool) {
    let mut conditions = vec![Condition::ScopesAll(scope_list(all))];
    if !any.is_empty() {
        conditions.push(Condition::ScopesAny(scope_list(any)));
    }
    let met = refusal(
        &requirement([rule(conditions)]),
        &identity(token(granted)),
        &Method::GET,
    )
    .is_none();
    assert_eq!(met, expected, "all {all:?} any {any:?} granted {granted:?}");
}

#[test]
fn scopes_all_needs_every_scope_and_scopes_any_one_of_them() {
    check_scopes("read", "", "read", true);
    check_scopes("read write", "", "read", false);
    check_scopes("read write", "", "write read x", true);
    check_scopes("", "read write", "write", true);
    check_scopes("", "read write", "x", false);
    check_scopes("a", "b c", "a", false);
    check_scopes("a", "b c", "b", false);
    check_scopes("a", "b c", "a c", true);
}

#[test]
fn s035_a_scope_is_never_met_by_a_part_or_another_case() {
    for granted in ["", "read:all", "Read", "xread", "rea", "READ", "read:"] {
        check_scopes("read", "", granted, false);
        check_scopes("", "read", granted, false);
    }
}

#[test]
fn s035_names_are_compared_whole_and_in_their_case() {
    type Make = fn(Vec<String>) -> Condition;
    let kinds: [(Make, &str, &str); 3] = [
        (Condition::Clients, "shop", "client_not_allowed"),
        (Condition::Subjects, "alice", "subject_not_allowed"),
        (Condition::Organizations, "acme", "organization_not_allowed"),
    ];
    let who = identity(token(""));
    for (condition, name, reason) in kinds {
        let said = |allowed: &str| {
            refusal(
                &requirement([rule(vec![condition(texts(allowed))])]),
                &who,
                &Method::GET,
            )
        };
        assert_eq!(said(name), None);
        assert_eq!(said(&format!("other {name}")), None);
        let upper = name.to_uppercase();
        let (longer, shorter) = (format!("{name}s"), &name[1..]);
        for other in ["other", &upper, &longer, shorter, ""] {
            assert_eq!(said(other), Some(reason), "{other:?}");
        }
    }
}

#[test]
fn s152_an_absent_attribute_meets_no_condition() {
    let nobody = identity(TokenIdentity::default());
    let key = Identity::of_api_key(ApiKeyIdentity {
        key_id: "alice".to_owned(),
        ..ApiKeyIdentity::default()
    });
    let claim = |value| Condition::Claim("/a".parse().unwrap(), vec![value]);
    let conditions = [
        Condition::Clients(vec![String::new(), "alice".to_owned()]),
        Condition::Subjects(vec![String::new(), "alice".to_owned()]),
        Condition::Organizations(vec![String::new(), "alice".to_owned()]),
        claim(ClaimValue::Text("".into())),
        claim(ClaimValue::Bool(false)),
        claim(ClaimValue::Integer(0)),
        Condition::ScopesAll(scope_list("a")),
        Condition::ScopesAny(scope_list("a")),
        // An empty list contains nothing; the configuration cannot express it (S036).
        Condition::Clients(Vec::new()),
        Condition::ScopesAny(Vec::new()),
        Condition::Claim("/a".parse().unwrap(), Vec::new()),
    ];
    for condition in conditions {
        let requirement = requirement([rule(vec![condition.clone()])]);
        for who in [&nobody, &key] {
            assert!(refusal(&requirement, who, &Method::GET).is_some(), "{condition:?}");
        }
    }
}

fn fact(pointer: &str, value: ClaimValue) -> ClaimFact {
    ClaimFact {
        pointer: pointer.parse().unwrap(),
        value,
    }
}

fn text(value: &str) -> ClaimValue {
    ClaimValue::Text(value.into())
}

#[test]
fn a_claim_condition_needs_one_of_its_values_at_its_pointer() {
    let identity = identity(TokenIdentity {
        claims: PickedClaims::of_facts([fact("/a", text("x")), fact("/a", text("y")), fact("/b", text("z"))]),
        ..TokenIdentity::default()
    });
    let said = |pointer: &str, values: Vec<ClaimValue>| {
        let condition = Condition::Claim(pointer.parse().unwrap(), values);
        refusal(&requirement([rule(vec![condition])]), &identity, &Method::GET)
    };
    assert_eq!(said("/a", vec![text("x")]), None);
    assert_eq!(said("/a", vec![text("other"), text("y")]), None);
    assert_eq!(said("/b", vec![text("z")]), None);
    for (pointer, value) in [
        ("/a", text("z")),
        ("/b", text("x")),
        ("/c", text("x")),
        ("/a/a", text("x")),
        ("/a", text("X")),
        ("/a", text("")),
        ("/a", ClaimValue::Bool(true)),
    ] {
        assert_eq!(
            said(pointer, vec![value.clone()]),
            Some("claim_not_allowed"),
            "{pointer} {value}"
        );
    }
}

#[test]
fn an_api_key_has_a_client_and_an_organization_and_no_subject() {
    let key = Identity::of_api_key(ApiKeyIdentity {
        key_id: "0123456789abcdef".to_owned(),
        client_id: Some("shop".to_owned()),
        organization: Some("acme".to_owned()),
        ..ApiKeyIdentity::default()
    });
    let said = |condition| refusal(&requirement([rule(vec![condition])]), &key, &Method::GET);
    assert_eq!(said(Condition::Clients(texts("shop"))), None);
    assert_eq!(said(Condition::Organizations(texts("acme"))), None);
    assert_eq!(said(Condition::Subjects(texts("shop"))), Some("subject_not_allowed"));
}

#[test]
fn every_rule_for_the_method_must_hold_and_head_is_under_those_for_get() {
    let scoped = |methods: &[Method], scope: &str| config::Rule {
        methods: methods.to_vec(),
        ..rule(vec![Condition::ScopesAll(scope_list(scope))])
    };
    let requirement = requirement([
        scoped(&[], "use"),
        scoped(&[Method::GET], "read"),
        scoped(&[Method::POST, Method::DELETE], "write"),
        scoped(&[Method::DELETE], "delete"),
    ]);
    let allowed = |method: &Method, scopes: &str| refusal(&requirement, &identity(token(scopes)), method).is_none();
    for method in [Method::GET, Method::HEAD] {
        assert!(allowed(&method, "use read"));
        assert!(!allowed(&method, "use write delete") && !allowed(&method, "read"));
    }
    assert!(allowed(&Method::POST, "use write") && !allowed(&Method::POST, "use read"));
    assert!(!allowed(&Method::DELETE, "use write") && allowed(&Method::DELETE, "use write delete"));
    assert!(allowed(&Method::PUT, "use") && !allowed(&Method::PUT, "read write delete"));
}

#[test]
fn missing_scopes_are_named_only_when_they_would_help() {
    let requirement = requirement([
        rule(vec![Condition::ScopesAll(scope_list("a b"))]),
        rule(vec![Condition::ScopesAny(scope_list("c d"))]),
        rule(vec![Condition::ScopesAll(scope_list("e"))]),
        rule(vec![
            Condition::Clients(texts("shop")),
            Condition::ScopesAll(scope_list("f")),
        ]),
    ]);
    let said = |client: &str, scopes: &str| {
        let who = identity(TokenIdentity {
            client_id: Some(client.to_owned()),
            ..token(scopes)
        });
        let forbidden = requirement.check(&who, &Method::GET).enforced?;
        Some((forbidden.reason(), requirement.scopes_to_ask_for(forbidden).to_string()))
    };
    let scopes = |needed: &str| Some(("insufficient_scope", needed.to_owned()));
    assert_eq!(said("shop", "a b c e f"), None);
    assert_eq!(said("shop", "a c e f"), scopes("a b"));
    // Of `c` and `d`, one is enough, and a client may not be allowed to ask for both.
    assert_eq!(said("shop", "a"), scopes("a b c e f"));
    assert_eq!(said("other", "a").map(|(reason, _)| reason), Some("client_not_allowed"));
    assert_eq!(requirement.scopes().to_string(), "a b c d e f");
}

#[test]
fn of_lists_that_share_a_scope_the_shared_one_is_named() {
    let requirement_of = |lists: [&str; 3]| {
        let [all, one, other] = lists.map(scope_list);
        requirement([
            rule(vec![Condition::ScopesAny(one)]),
            rule(vec![Condition::ScopesAny(other)]),
            rule(vec![Condition::ScopesAll(all)]),
        ])
    };
    for (lists, needed) in [
        (["d", "a b", "b c"], "b d"),
        (["a", "a b", "b c"], "a b"),
        (["d", "a b", "c e"], "a c d"),
        (["b", "a b", "b c"], "b"),
    ] {
        let requirement = requirement_of(lists);
        let forbidden = requirement.check(&identity(token("")), &Method::GET).enforced.unwrap();
        assert_eq!(
            requirement.scopes_to_ask_for(forbidden).to_string(),
            needed,
            "{lists:?}"
        );
    }
}

#[test]
fn the_first_refusal_that_no_scope_would_lift_takes_precedence() {
    let client = || rule(vec![Condition::Clients(texts("other"))]);
    let subject = || rule(vec![Condition::Subjects(texts("bob"))]);
    let scope = || rule(vec![Condition::ScopesAll(scope_list("a"))]);
    let reason = |rules: [config::Rule; 3]| refusal(&requirement(rules), &identity(token("")), &Method::GET).unwrap();
    assert_eq!(reason([client(), scope(), subject()]), "client_not_allowed");
    assert_eq!(reason([subject(), client(), scope()]), "subject_not_allowed");
    assert_eq!(reason([scope(), client(), subject()]), "client_not_allowed");
    assert_eq!(reason([scope(), scope(), scope()]), "insufficient_scope");
}

#[test]
fn a_refusal_names_the_first_named_rule_that_failed() {
    let named = |name: &str, scope: &str| config::Rule {
        name: Some(name.parse().unwrap()),
        ..rule(vec![Condition::ScopesAll(scope_list(scope))])
    };
    let unnamed = rule(vec![Condition::ScopesAll(scope_list("a"))]);
    let requirement = requirement([named("met", "b"), unnamed, named("first", "c"), named("second", "d")]);
    let name_for = |scopes: &str| {
        let forbidden = requirement
            .check(&identity(token(scopes)), &Method::GET)
            .enforced
            .unwrap();
        requirement.rule_name(forbidden).map(Name::as_str)
    };
    assert_eq!(name_for("b"), Some("first"));
    assert_eq!(name_for("b c"), Some("second"));
    assert_eq!(name_for("b c d"), None, "only the rule without a name failed");
}

#[test]
fn every_condition_for_the_method_is_listed_with_its_result() {
    let requirement = requirement([
        rule(vec![
            Condition::Clients(texts("shop")),
            Condition::ScopesAll(scope_list("a")),
        ]),
        config::Rule {
            methods: vec![Method::POST],
            ..rule(vec![Condition::Subjects(texts("alice"))])
        },
    ]);
    let results = |method| -> Vec<bool> {
        let conditions = requirement.conditions(&identity(token("")), method);
        conditions.into_iter().map(|(_, _, is_met)| is_met).collect()
    };
    assert_eq!(results(&Method::GET), [true, false]);
    assert_eq!(results(&Method::POST), [true, false, true]);
}

#[test]
fn a_rule_in_shadow_mode_reports_and_does_not_refuse() {
    let shadow = |condition| config::Rule {
        mode: Mode::Shadow,
        ..rule(vec![condition])
    };
    let both = requirement([
        shadow(Condition::Subjects(texts("bob"))),
        rule(vec![Condition::ScopesAll(scope_list("a"))]),
    ]);
    let verdict = both.check(&identity(token("a")), &Method::GET);
    assert_eq!(verdict.enforced, None);
    assert_eq!(verdict.shadow.map(Forbidden::reason), Some("subject_not_allowed"));
    let verdict = both.check(&identity(token("")), &Method::GET);
    assert_eq!(verdict.enforced.map(Forbidden::reason), Some("insufficient_scope"));
    assert!(both.scopes().to_string() == "a");
}

#[test]
fn s091_requirements_are_compared_by_method_and_in_any_order() {
    let a = rule(vec![Condition::Clients(texts("a"))]);
    let b = config::Rule {
        methods: vec![Method::POST],
        ..rule(vec![Condition::Clients(texts("b"))])
    };
    let shadow = config::Rule {
        mode: Mode::Shadow,
        ..a.clone()
    };
    let like = |one: &[&config::Rule], other: &[&config::Rule], method| {
        let make = |rules: &[&config::Rule]| requirement(rules.iter().map(|rule| (*rule).clone()));
        let (one, other) = (make(one), make(other));
        assert_eq!(one.is_like(&other, method), other.is_like(&one, method));
        one.is_like(&other, method)
    };
    assert!(like(&[&a, &b], &[&b, &a], &Method::POST));
    assert!(like(&[&a, &b], &[&a], &Method::GET));
    assert!(!like(&[&a, &b], &[&a], &Method::POST));
    assert!(!like(&[&a], &[], &Method::GET));
    assert!(!like(&[&a], &[&shadow], &Method::GET));
}

fn any_pointer() -> impl Strategy<Value = String> {
    "/[cd]"
}

fn any_value() -> impl Strategy<Value = ClaimValue> {
    "[ab]".prop_map(|value| text(&value))
}

fn any_condition() -> impl Strategy<Value = Condition> {
    let names = || prop::collection::vec("[ab]", 1..3);
    let scopes = || prop::collection::vec("[ab]".prop_map(|scope| scope.parse().unwrap()), 1..3);
    let values = prop::collection::vec(any_value(), 1..3);
    prop_oneof![
        names().prop_map(Condition::Clients),
        names().prop_map(Condition::Subjects),
        names().prop_map(Condition::Organizations),
        (any_pointer(), values).prop_map(|(pointer, values)| Condition::Claim(pointer.parse().unwrap(), values)),
        scopes().prop_map(Condition::ScopesAll),
        scopes().prop_map(Condition::ScopesAny),
    ]
}

fn any_rule() -> impl Strategy<Value = config::Rule> {
    let methods = prop::collection::vec(prop_oneof![Just(Method::GET), Just(Method::POST)], 0..2);
    let mode = prop_oneof![Just(Mode::Enforce), Just(Mode::Shadow)];
    (prop::collection::vec(any_condition(), 1..3), methods, mode).prop_map(|(conditions, methods, mode)| config::Rule {
        name: None,
        mode,
        methods,
        conditions,
    })
}

fn any_identity() -> impl Strategy<Value = Identity> {
    let name = || prop::option::of("[ab]");
    let facts = (any_pointer(), any_value()).prop_map(|(pointer, value)| fact(&pointer, value));
    let claims = prop::collection::vec(facts, 0..4).prop_map(PickedClaims::of_facts);
    (name(), name(), name(), "([ab]( [ab])?)?", claims).prop_map(
        |(subject, client_id, organization, scopes, claims)| {
            identity(TokenIdentity {
                subject,
                client_id,
                organization,
                scopes: ScopeSet::parse_list(&scopes).unwrap(),
                claims,
                ..TokenIdentity::default()
            })
        },
    )
}

fn any_method() -> impl Strategy<Value = Method> {
    prop_oneof![
        Just(Method::GET),
        Just(Method::HEAD),
        Just(Method::POST),
        Just(Method::PUT)
    ]
}

proptest! {
    #[test]
    fn more_rules_never_allow_more(
        rules in prop::collection::vec(any_rule(), 0..4),
        more in any_rule(),
        place in 0..4_usize,
        who in any_identity(),
        method in any_method(),
    ) {
        let fewer = refusal(&requirement(rules.clone()), &who, &method);
        let mut all = rules;
        all.insert(place.min(all.len()), more);
        let all = refusal(&requirement(all), &who, &method);
        prop_assert!(fewer.is_none() || all.is_some());
    }

    #[test]
    fn the_order_of_rules_changes_at_most_the_reason(
        rules in prop::collection::vec(any_rule(), 0..5), who in any_identity(), method in any_method(),
    ) {
        let mut turned = rules.clone();
        turned.reverse();
        let (one, other) = (requirement(rules), requirement(turned));
        prop_assert_eq!(refusal(&one, &who, &method).is_some(), refusal(&other, &who, &method).is_some());
        prop_assert!(one.is_like(&other, &method));
    }

    #[test]
    fn more_scopes_never_entitle_to_less(granted in "[a-d]( [a-d]){0,3}", extra in "[a-d]", all in "[a-d]( [a-d]){0,2}") {
        let requirement = requirement([rule(vec![Condition::ScopesAll(scope_list(&all))])]);
        let said = |scopes: &str| refusal(&requirement, &identity(token(scopes)), &Method::GET);
        let more = format!("{granted} {extra}");
        prop_assert!(said(&granted).is_some() || said(&more).is_none());
    }

    #[test]
    fn s152_an_empty_identity_passes_no_enforced_rule(rules in prop::collection::vec(any_rule(), 1..4), method in any_method()) {
        let asks = rules.iter().any(|rule| rule.mode == Mode::Enforce && rule.is_for(&method));
        let refused = refusal(&requirement(rules), &identity(TokenIdentity::default()), &method).is_some();
        prop_assert_eq!(refused, asks);
    }
}
