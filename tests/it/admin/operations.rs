//! Does every operation of the description refuse missing, invalid and insufficient credentials, hide the records of
//! other organizations, and serve permitted callers? An operation without a row fails the test.

use super::fixture::ADMIN_TOKEN;
use super::fixture::Gate;
use serde_json::Value;
use serde_json::json;
use std::collections::BTreeSet;

/// The response to an administrator of another organization.
#[derive(Clone, Copy, Debug)]
enum Stranger {
    /// 404, as for a record that does not exist.
    NotFound,
    /// 403: the operation is for operators.
    OperatorsOnly,
    /// 403: the body names an organization that is not the caller's.
    Elsewhere,
    /// 200, with only the caller's own records.
    OwnOnly,
}
use Stranger::Elsewhere;
use Stranger::NotFound;
use Stranger::OperatorsOnly;
use Stranger::OwnOnly;

/// Operation, method, path, body, status for permitted callers, response to strangers.
type Row = (&'static str, &'static str, &'static str, Option<Value>, u16, Stranger);

/// Returns one row per operation. `{subscription}`, `{key}` … stand for ids of records created for that row.
fn rows() -> Vec<Row> {
    let key = json!({ "name": "ci", "expires": "1d", "subscription": "{subscription}" });
    let mut import = key.clone();
    import["digest"] = "{digest}".into();
    let client = json!({
        "name": "app", "authentication": "client_secret", "subscription": "{subscription}",
    });
    vec![
        ("describe", "GET", "/openapi.json", None, 200, OwnOnly),
        ("listOrganizations", "GET", "/organizations", None, 200, OwnOnly),
        (
            "createOrganization",
            "POST",
            "/organizations",
            Some(json!({ "id": "new", "name": "New" })),
            201,
            OperatorsOnly,
        ),
        ("showOrganization", "GET", "/organizations/acme", None, 200, NotFound),
        (
            "changeOrganization",
            "PATCH",
            "/organizations/acme",
            Some(json!({ "name": "Acme" })),
            200,
            NotFound,
        ),
        (
            "deleteOrganization",
            "DELETE",
            "/organizations/{organization}",
            None,
            200,
            NotFound,
        ),
        ("listPlans", "GET", "/plans", None, 200, OwnOnly),
        ("listSubscriptions", "GET", "/subscriptions", None, 200, OwnOnly),
        (
            "createSubscription",
            "POST",
            "/subscriptions",
            Some(json!({ "organization": "acme", "plan": "default" })),
            201,
            Elsewhere,
        ),
        (
            "showSubscription",
            "GET",
            "/subscriptions/{subscription}",
            None,
            200,
            NotFound,
        ),
        (
            "approveSubscription",
            "POST",
            "/subscriptions/{pending}/approve",
            None,
            200,
            NotFound,
        ),
        (
            "failSubscription",
            "POST",
            "/subscriptions/{pending}/fail",
            None,
            200,
            NotFound,
        ),
        (
            "paySubscription",
            "POST",
            "/subscriptions/{subscription}/payment",
            Some(json!({ "paid": true })),
            200,
            NotFound,
        ),
        (
            "changeSubscriptionPlan",
            "POST",
            "/subscriptions/{subscription}/plan",
            Some(json!({ "plan": "gold" })),
            200,
            NotFound,
        ),
        (
            "cancelSubscription",
            "POST",
            "/subscriptions/{subscription}/cancel",
            None,
            200,
            NotFound,
        ),
        ("listKeys", "GET", "/keys", None, 200, OwnOnly),
        ("createKey", "POST", "/keys", Some(key), 201, NotFound),
        ("importKey", "POST", "/keys/import", Some(import), 201, NotFound),
        ("showKey", "GET", "/keys/{key}", None, 200, NotFound),
        (
            "changeKey",
            "PATCH",
            "/keys/{key}",
            Some(json!({ "state": "disabled" })),
            200,
            NotFound,
        ),
        ("revokeKey", "POST", "/keys/{key}/revoke", None, 200, NotFound),
        ("regenerateKey", "POST", "/keys/{key}/regenerate", None, 201, NotFound),
        (
            "verifyKey",
            "POST",
            "/keys/verify",
            Some(json!({ "key": "{key}" })),
            200,
            OwnOnly,
        ),
        ("listClients", "GET", "/clients", None, 200, OwnOnly),
        ("createClient", "POST", "/clients", Some(client), 201, NotFound),
        ("showClient", "GET", "/clients/{client}", None, 200, NotFound),
        (
            "changeClient",
            "PATCH",
            "/clients/{client}",
            Some(json!({ "name": "other" })),
            200,
            NotFound,
        ),
        ("deleteClient", "DELETE", "/clients/{client}", None, 200, NotFound),
        (
            "rotateClientSecret",
            "POST",
            "/clients/{client}/secret/rotate",
            None,
            201,
            NotFound,
        ),
        (
            "regenerateClient",
            "POST",
            "/clients/{client}/secret/regenerate",
            None,
            201,
            NotFound,
        ),
        (
            "revokeClientTokens",
            "POST",
            "/clients/{client}/revoke-tokens",
            None,
            200,
            NotFound,
        ),
        (
            "validateClientJwks",
            "POST",
            "/clients/{url_client}/jwks/validate",
            None,
            200,
            NotFound,
        ),
        (
            "listClientKeys",
            "GET",
            "/clients/{key_client}/keys",
            None,
            200,
            NotFound,
        ),
        (
            "addClientKey",
            "POST",
            "/clients/{key_client}/keys",
            Some(json!({ "generate": "ES256" })),
            201,
            NotFound,
        ),
        (
            "revokeClientKey",
            "DELETE",
            "/clients/{key_client}/keys/{kid}",
            None,
            200,
            NotFound,
        ),
        ("listSigningKeys", "GET", "/signing-keys", None, 200, OperatorsOnly),
        (
            "rotateSigningKeys",
            "POST",
            "/signing-keys/rotate",
            None,
            200,
            OperatorsOnly,
        ),
        ("listAudit", "GET", "/audit", None, 200, OwnOnly),
        ("verifyAudit", "GET", "/audit/verify", None, 200, OperatorsOnly),
        (
            "backUp",
            "POST",
            "/backup",
            Some(json!({ "path": "copy.db" })),
            201,
            OperatorsOnly,
        ),
        ("listIssuers", "GET", "/issuers", None, 200, OperatorsOnly),
        ("showIssuer", "GET", "/issuers/main", None, 404, OperatorsOnly),
        (
            "refreshIssuer",
            "POST",
            "/issuers/main/refresh",
            None,
            404,
            OperatorsOnly,
        ),
        ("listUpstreams", "GET", "/upstreams", None, 200, OperatorsOnly),
        ("showUpstream", "GET", "/upstreams/main", None, 404, OperatorsOnly),
        (
            "drainEndpoint",
            "POST",
            "/upstreams/main/drain",
            Some(json!({ "endpoint": "10.0.0.5:8080" })),
            404,
            OperatorsOnly,
        ),
        (
            "undrainEndpoint",
            "POST",
            "/upstreams/main/undrain",
            Some(json!({ "endpoint": "10.0.0.5:8080" })),
            404,
            OperatorsOnly,
        ),
    ]
}

/// Creates records of `acme` and returns the value of each placeholder.
fn placeholders(gate: &Gate, round: usize) -> Vec<(&'static str, String)> {
    let subscription = gate.subscribe("acme", "default");
    let pending = gate
        .create("/subscriptions", json!({ "organization": "acme", "plan": "gold" }))
        .id();
    let key = gate.create_key(&subscription);
    let client = |authentication: &str, url: Option<&str>| {
        let mut body = json!({ "name": "c", "authentication": authentication, "subscription": subscription });
        if let Some(url) = url {
            body["jwks_url"] = url.into();
        }
        gate.create("/clients", body).id()
    };
    let organization = format!("org-{round}");
    gate.create(
        "/organizations",
        json!({ "id": organization, "name": "Without a subscription" }),
    );
    let key_client = client("private_key_jwt", None);
    let added = gate.create(&format!("/clients/{key_client}/keys"), json!({ "generate": "ES256" }));
    vec![
        ("{pending}", pending),
        ("{key}", key),
        ("{client}", client("client_secret", None)),
        (
            "{url_client}",
            client("private_key_jwt", Some("https://client.example/jwks")),
        ),
        ("{key_client}", key_client),
        ("{kid}", added.json["kid"].as_str().unwrap().to_owned()),
        ("{digest}", format!("{round:064x}")),
        ("{organization}", organization),
        ("{subscription}", subscription),
    ]
}

fn filled(template: &str, placeholders: &[(&str, String)]) -> String {
    placeholders
        .iter()
        .fold(template.to_owned(), |text, (name, value)| text.replace(name, value))
}

#[test]
fn every_operation_is_refused_to_those_who_may_not_and_done_for_those_who_may() {
    let gate = Gate::new();
    let acme = gate.subscribe("acme", "default");
    let other = gate.subscribe("other", "default");
    let expired = gate.token_of("sub_operators", &["admin:read", "admin:write"], "60s");
    gate.advance(120);
    let of = |subscription: &str, scopes: &[&str]| gate.token_of(subscription, scopes, "24h");
    let both = ["admin:read", "admin:write"];
    let (reader, writer) = (of("sub_operators", &both[..1]), of("sub_operators", &both[1..]));
    let (owner, stranger) = (of(&acme, &both), of(&other, &both));
    let nothing = of("sub_operators", &["orders:read"]);
    for (round, (name, method, path, body, expected, to_strangers)) in rows().into_iter().enumerate() {
        let placeholders = placeholders(&gate, round);
        let path = filled(path, &placeholders);
        let body = body.map(|body| serde_json::from_str(&filled(&body.to_string(), &placeholders)).unwrap());
        let ask = |token: Option<&str>| gate.call_as(token, method, &path, body.as_ref(), &[]);

        // The description is the same for everybody.
        if name == "describe" {
            assert_eq!(ask(None).status, 200);
            continue;
        }
        let missing = ask(None);
        missing.expect_refusal(401, "credential-missing");
        assert!(
            !missing.header("www-authenticate").unwrap().contains("error="),
            "{name}"
        );
        for bad in [
            "nonsense",
            &reader[..reader.len() - 2],
            &format!("{ADMIN_TOKEN}x"),
            &expired,
        ] {
            let response = ask(Some(bad));
            response.expect_refusal(401, "invalid-token");
            let challenge = response.header("www-authenticate").unwrap();
            assert!(challenge.contains("error=\"invalid_token\""), "{name}: {challenge}");
        }
        let reads = method == "GET" || name == "verifyKey";
        let (weak, needed) = if reads {
            (&writer, "admin:read")
        } else {
            (&reader, "admin:write")
        };
        for weak in [weak, &nothing] {
            let response = ask(Some(weak));
            response.expect_refusal(403, "insufficient-scope");
            let challenge = response.header("www-authenticate").unwrap();
            assert!(
                challenge.contains(&format!("scope=\"{needed}\"")),
                "{name}: {challenge}"
            );
        }
        let response = ask(Some(&stranger));
        match to_strangers {
            // The path of this operation is visible to strangers; the subscription in the body is not.
            NotFound
                if body
                    .as_ref()
                    .is_some_and(|body: &Value| body.get("subscription").is_some()) =>
            {
                assert_eq!(
                    response.pointers_of(409, "unresolved-reference"),
                    ["/subscription"],
                    "{name}"
                );
            }
            NotFound => {
                assert_eq!(response.status, 404, "{name}: {}", response.text);
                assert!(response.slug().starts_with("unknown-"), "{name}: {}", response.text);
            }
            OperatorsOnly => {
                response.expect_refusal(403, "operators-only");
                ask(Some(&owner)).expect_refusal(403, "operators-only");
            }
            Elsewhere => {
                response.expect_refusal(403, "other-organization");
            }
            OwnOnly => {
                assert_eq!(response.status, 200, "{name}: {}", response.text);
                assert!(
                    !response.text.contains("\"acme\"") || name == "describe",
                    "{name}: {}",
                    response.text
                );
                for (_, id) in &placeholders {
                    assert!(!response.text.contains(id.as_str()), "{name}: {id}");
                }
            }
        }
        let right = if reads { &reader } else { &writer };
        let response = ask(Some(right));
        assert_eq!(response.status, expected, "{name}: {}", response.text);
        assert_eq!(
            ask(Some(ADMIN_TOKEN)).status / 100,
            repeated_class(name, expected),
            "{name}"
        );
    }
}

/// Returns the first digit of the status of the same request sent again. Operations that
/// create or end a record with a given name, or change its state, succeed only once.
fn repeated_class(name: &str, expected: u16) -> u16 {
    match name {
        "createOrganization"
        | "deleteOrganization"
        | "approveSubscription"
        | "failSubscription"
        | "changeSubscriptionPlan"
        | "cancelSubscription"
        | "importKey"
        | "revokeKey"
        | "regenerateKey"
        | "deleteClient"
        | "regenerateClient"
        | "revokeClientKey"
        | "backUp" => 4,
        _ => expected / 100,
    }
}

#[test]
fn an_organizations_own_administrator_runs_it_but_for_what_only_operators_may() {
    let gate = Gate::new();
    let subscription = gate.subscribe("acme", "default");
    let owner = gate.token_of(&subscription, &["admin:read", "admin:write"], "24h");
    let ask =
        |method: &str, path: &str, body: Option<Value>| gate.call_as(Some(&owner), method, path, body.as_ref(), &[]);
    // Without a subscription in the body, the organization's only subscription is used.
    let key = ask("POST", "/keys", Some(json!({ "name": "k", "expires": "1d" })));
    assert_eq!(
        (key.status, &key.json["subscription"]),
        (201, &subscription.as_str().into()),
        "{}",
        key.text
    );
    assert_eq!(ask("POST", &format!("/keys/{}/revoke", key.id()), None).status, 200);
    // Only operators approve or change a subscription; otherwise owners could grant themselves any plan.
    for (verb, body) in [
        ("approve", None),
        ("fail", None),
        ("payment", Some(json!({ "paid": true }))),
        ("plan", Some(json!({ "plan": "beta" }))),
    ] {
        ask("POST", &format!("/subscriptions/{subscription}/{verb}"), body).expect_refusal(403, "operators-only");
    }
    let second = ask("POST", "/subscriptions", Some(json!({ "plan": "gold" })));
    assert_eq!((second.status, &second.json["state"]), (201, &"pending".into()));
    assert_eq!(second.json["organization"], "acme");
    let response = ask("POST", "/keys", Some(json!({ "name": "k", "expires": "1d" })));
    assert_eq!(
        response.pointers_of(409, "unresolved-reference"),
        ["/subscription"],
        "which one?"
    );
    // A list filtered by another organization is 404, whether that organization exists or not.
    for other in ["default", "operators", "none"] {
        for list in ["subscriptions", "keys", "clients", "audit"] {
            let response = ask("GET", &format!("/{list}?organization={other}"), None);
            response.expect_refusal(404, "unknown-organization");
        }
    }
    // Owners cannot become operators.
    for body in [
        json!({ "organization": "operators", "plan": "operators" }),
        json!({ "organization": "default", "plan": "default" }),
    ] {
        ask("POST", "/subscriptions", Some(body)).expect_refusal(403, "other-organization");
    }
    let response = ask("POST", "/subscriptions", Some(json!({ "plan": "operators" })));
    assert_eq!(response.pointers_of(409, "unresolved-reference"), ["/plan"]);
    let client = json!({ "name": "x", "authentication": "client_secret", "subscription": "sub_operators" });
    let response = ask("POST", "/clients", Some(client));
    assert_eq!(response.pointers_of(409, "unresolved-reference"), ["/subscription"]);
}

#[test]
fn an_operation_without_a_row_is_noticed() {
    let described: Value = serde_json::from_str(&keygate::control::admin::description()).unwrap();
    let mut operations = BTreeSet::new();
    for (path, item) in described["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap().to_owned();
            let shape = |path: &str| {
                let segments = path
                    .split('/')
                    .map(|segment| if segment.starts_with('{') { "{}" } else { segment });
                segments.collect::<Vec<_>>().join("/")
            };
            let path = path.strip_prefix("/admin/v1").unwrap();
            operations.insert((name, method.to_uppercase(), shape(path)));
        }
    }
    let rows: BTreeSet<_> = rows()
        .into_iter()
        .map(|(name, method, path, ..)| {
            let path = path.replace("/acme", "/{}").replace("/main", "/{}");
            let segments = path
                .split('/')
                .map(|segment| if segment.starts_with('{') { "{}" } else { segment });
            (
                name.to_owned(),
                method.to_owned(),
                segments.collect::<Vec<_>>().join("/"),
            )
        })
        .collect();
    assert_eq!(operations, rows);
}
