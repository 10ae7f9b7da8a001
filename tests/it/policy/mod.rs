//! May this principal do this? Rules, defaults, shadow mode, and the claims that upstreams receive.

mod inherited;
mod shadow;

use crate::support::FakeUpstream;
use crate::support::GatewayBuilder;
use crate::support::LocalGate;
use crate::support::RawClient;
use crate::support::ReceivedRequest;
use crate::support::Response;
use crate::support::api_key;
use crate::support::issuer;
use crate::support::issuer::claims_with;
use crate::support::issuer::identity_yaml;
use crate::support::lane::lanes;
use keygate::jose::sign::SigningKey;
use keygate::model::algorithm::Algorithm;
use serde_json::Value;
use serde_json::json;

/// A gate with one upstream, and credentials that the gate accepts.
struct Gate {
    running: LocalGate,
    upstream: FakeUpstream,
    signer: SigningKey,
    /// A key of the client `shop` of the organization `acme`, with the scope `orders:read`.
    key: String,
    /// A key without client and organization, with the same scope.
    bare_key: String,
}

impl Gate {
    /// Starts a gate with an issuer `main`, an upstream `up`, and the additions of `more`.
    #[track_caller]
    fn start(more: impl FnOnce(GatewayBuilder) -> GatewayBuilder) -> Self {
        Self::start_issuer("", more)
    }

    /// Starts a gate with `issuer_yaml` in the issuer's section.
    #[track_caller]
    fn start_issuer(issuer_yaml: &str, more: impl FnOnce(GatewayBuilder) -> GatewayBuilder) -> Self {
        let upstream = FakeUpstream::start();
        let yaml = yaml(&upstream, issuer_yaml, more);
        let (key, entry) = api_key("client: shop\norganization: acme");
        let (bare_key, bare_entry) = api_key("");
        let keys = format!("keys:\n{entry}{bare_entry}");
        let pem = include_str!("../../data/jose/p256.public.pem");
        let running = LocalGate::start_with(&yaml, &[("issuer.pem", pem), ("keys.yaml", &keys)]);
        running.wait_ready();
        Self {
            running,
            upstream,
            signer: issuer::key(Algorithm::Es256),
            key: key.expose().to_owned(),
            bare_key: bare_key.expose().to_owned(),
        }
    }

    fn token(&self, change: Value) -> String {
        issuer::token(&self.signer, &claims_with(change))
    }

    fn bearer(&self, change: Value) -> String {
        format!("Authorization: Bearer {}\r\n", self.token(change))
    }

    fn api_key(&self) -> String {
        format!("x-api-key: {}\r\n", self.key)
    }

    #[track_caller]
    fn ask(&self, method: &str, target: &str, fields: &str) -> Response {
        let mut client = RawClient::connect(self.running.data());
        client.send(format!(
            "{method} {target} HTTP/1.1\r\nHost: gate.test\r\nConnection: close\r\n{fields}\r\n"
        ));
        match method {
            "HEAD" => client.receive_to_head(),
            _ => client.receive(),
        }
    }

    /// Returns the status, and the reason in the access record if there is one.
    #[track_caller]
    fn outcome(&self, method: &str, target: &str, fields: &str) -> (u16, Option<String>) {
        let response = self.ask(method, target, fields);
        let record = self.record(&response);
        (response.status, record["reason"].as_str().map(str::to_owned))
    }

    #[track_caller]
    fn allows(&self, method: &str, target: &str, fields: &str) -> ReceivedRequest {
        let before = self.upstream.received().len();
        assert_eq!(
            self.outcome(method, target, fields),
            (200, None),
            "{method} {target} {fields}"
        );
        self.upstream.received().swap_remove(before)
    }

    #[track_caller]
    fn refuses(&self, method: &str, target: &str, fields: &str, status: u16, reason: &str) {
        let before = self.upstream.received().len();
        let outcome = self.outcome(method, target, fields);
        assert_eq!(outcome, (status, Some(reason.to_owned())), "{method} {target} {fields}");
        assert_eq!(self.upstream.received().len(), before, "{method} {target} {fields}");
    }

    /// Waits for the access record of a response and returns it.
    #[track_caller]
    fn record(&self, response: &Response) -> Value {
        self.running.record(response)
    }

    #[track_caller]
    fn decisions(&self, route: &str, credential: &str, outcome: &str, reason: &str) -> f64 {
        self.running.count_of_ended(&format!(
            "keygate_decisions_total{{credential_type=\"{credential}\",outcome=\"{outcome}\",reason=\"{reason}\",route=\"{route}\"}}"
        ))
    }
}

fn yaml(upstream: &FakeUpstream, issuer_yaml: &str, more: impl FnOnce(GatewayBuilder) -> GatewayBuilder) -> String {
    let main = format!("{}\npublic_key_files: [issuer.pem]\n{issuer_yaml}", identity_yaml());
    let builder = GatewayBuilder::new()
        .top("api_keys: { file: keys.yaml }")
        .top("failed_authentication: off")
        .issuer("main", &main)
        .upstream("up", upstream.address());
    more(builder).yaml()
}

/// Returns the YAML of a route for the path `/{name}`.
fn protected(name: &str, accept: &str, more: &str) -> String {
    format!("match: {{ path: \"/{name}\" }}\naccept: {accept}\n{more}\nupstream: up")
}

lanes!(s035_names_and_scopes_are_whole_tokens);
fn s035_names_and_scopes_are_whole_tokens() {
    let gate = Gate::start(|gate| {
        gate.route("scoped", &protected("scoped", "[jwt]", "scopes: { all: [read] }"))
            .route("clients", &protected("clients", "[jwt]", "clients: [shop]"))
            .route("subjects", &protected("subjects", "[jwt]", "subjects: [alice]"))
            .route(
                "organizations",
                &protected("organizations", "[jwt]", "organizations: [acme]"),
            )
            .route(
                "claims",
                &protected("claims", "[jwt]", "claims: { \"/department\": sales }"),
            )
    });
    for scope in ["read:all", "Read", "xread", "rea"] {
        let response = gate.ask("GET", "/scoped", &gate.bearer(json!({ "scope": scope })));
        assert_eq!(
            (response.status, &response.json()["scope"]),
            (403, &json!("read")),
            "{scope}"
        );
        let challenge = response.header("www-authenticate").unwrap();
        assert!(
            challenge.contains("error=\"insufficient_scope\"") && challenge.contains("scope=\"read\""),
            "{challenge}"
        );
    }
    gate.allows("GET", "/scoped", &gate.bearer(json!({ "scope": "other read" })));
    for (path, claim, good, reason) in [
        ("/clients", "client_id", "shop", "client_not_allowed"),
        ("/subjects", "sub", "alice", "subject_not_allowed"),
        ("/organizations", "org", "acme", "organization_not_allowed"),
        ("/claims", "department", "sales", "claim_not_allowed"),
    ] {
        gate.allows("GET", path, &gate.bearer(json!({ (claim): good })));
        let upper = good.to_uppercase();
        for bad in [
            json!(upper),
            json!(format!("{good}s")),
            json!(format!("{good} ")),
            json!(good[1..]),
            json!(null),
        ] {
            gate.refuses("GET", path, &gate.bearer(json!({ (claim): bad })), 403, reason);
        }
        let response = gate.ask("GET", path, &gate.bearer(json!({ (claim): "other" })));
        assert_eq!(response.json()["type"], "urn:keygate:problem:not-allowed");
        assert!(
            !response.text().contains(good) && !response.text().contains(claim),
            "{}",
            response.text()
        );
    }
}

lanes!(s099_every_rule_for_a_method_holds_and_head_is_under_those_for_get);
fn s099_every_rule_for_a_method_holds_and_head_is_under_those_for_get() {
    let rules = "rules:\n  - { methods: [GET], scopes: { all: [read] } }\n\
                 \x20 - { name: writers, methods: [POST, DELETE], clients: [shop] }\n\
                 \x20 - { methods: [DELETE], scopes: { all: [delete] } }";
    let gate = Gate::start(|gate| {
        gate.route(
            "api",
            &protected("api", "[jwt]", &format!("scopes: {{ any: [use, all] }}\n{rules}")),
        )
    });
    let with = |scope: &str, client: &str| gate.bearer(json!({ "scope": scope, "client_id": client }));
    for method in ["GET", "HEAD"] {
        gate.allows(method, "/api", &with("use read", "any"));
        gate.refuses(method, "/api", &with("use", "shop"), 403, "insufficient_scope");
        gate.refuses(method, "/api", &with("read", "shop"), 403, "insufficient_scope");
    }
    gate.allows("POST", "/api", &with("use", "shop"));
    gate.refuses(
        "POST",
        "/api",
        &with("use read delete", "other"),
        403,
        "client_not_allowed",
    );
    gate.refuses("DELETE", "/api", &with("use", "shop"), 403, "insufficient_scope");
    gate.allows("DELETE", "/api", &with("all delete", "shop"));
    gate.allows("PATCH", "/api", &with("use", "other"));
    for method in ["get", "Delete", "PROPFIND"] {
        gate.refuses(method, "/api", &with("use", "shop"), 400, "method_unknown");
    }
    // The body names the required scopes, but only if these scopes alone would suffice.
    let needed = |method: &str, fields: &str| gate.ask(method, "/api", fields).json()["scope"].clone();
    // Of `delete` and `all`, one is enough.
    assert_eq!(needed("DELETE", &with("x", "shop")), "delete use");
    assert_eq!(needed("GET", &with("use", "shop")), "read");
    assert_eq!(needed("DELETE", &with("x", "other")), Value::Null);
    let record = gate.record(&gate.ask("POST", "/api", &with("use", "other")));
    assert_eq!(record["rule"], "writers");
}

lanes!(s152_absence_never_grants_to_tokens_or_keys);
fn s152_absence_never_grants_to_tokens_or_keys() {
    let gate = Gate::start(|gate| {
        let both = |name: &str, more: &str| protected(name, "[jwt, api_key]", more);
        gate.route("clients", &both("clients", "clients: [shop]"))
            .route("organizations", &both("organizations", "organizations: [acme]"))
            .route("subjects", &both("subjects", "subjects: [alice, shop]"))
            .route("yes", &both("yes", "claims: { \"/deep/mfa\": true }"))
            .route("no", &both("no", "claims: { \"/banned\": false }"))
            .route("level", &both("level", "claims: { \"/level\": [2, 3] }"))
    });
    gate.allows("GET", "/clients", &gate.api_key());
    gate.allows("GET", "/organizations", &gate.api_key());
    let bare = format!("x-api-key: {}\r\n", gate.bare_key);
    gate.refuses("GET", "/clients", &bare, 403, "client_not_allowed");
    gate.refuses("GET", "/organizations", &bare, 403, "organization_not_allowed");
    for fields in [&bare, &gate.api_key()] {
        gate.refuses("GET", "/subjects", fields, 403, "subject_not_allowed");
        for path in ["/yes", "/no", "/level"] {
            gate.refuses("GET", path, fields, 403, "claim_not_allowed");
        }
    }
    let nobody = json!({ "sub": null, "client_id": null, "scope": null });
    for (path, reason) in [
        ("/clients", "client_not_allowed"),
        ("/organizations", "organization_not_allowed"),
        ("/subjects", "subject_not_allowed"),
        ("/yes", "claim_not_allowed"),
        ("/no", "claim_not_allowed"),
        ("/level", "claim_not_allowed"),
    ] {
        gate.refuses("GET", path, &gate.bearer(nobody.clone()), 403, reason);
    }
    for (path, claims) in [
        ("/yes", json!({ "deep": { "mfa": true } })),
        ("/no", json!({ "banned": false })),
        ("/level", json!({ "level": 2 })),
        ("/level", json!({ "level": ["x", 3] })),
    ] {
        gate.allows("GET", path, &gate.bearer(claims));
    }
    for (path, claims) in [
        ("/yes", json!({ "deep": { "mfa": "true" } })),
        ("/yes", json!({ "deep": { "mfa": 1 } })),
        ("/yes", json!({ "deep.mfa": true, "mfa": true })),
        ("/yes", json!({ "deep": [{ "mfa": true }] })),
        ("/no", json!({ "banned": 0 })),
        ("/no", json!({ "banned": [] })),
        ("/level", json!({ "level": "2" })),
        ("/level", json!({ "level": 2.0 })),
        ("/level", json!({ "level": 4 })),
        ("/level", json!({ "level": { "2": 2 } })),
    ] {
        gate.refuses("GET", path, &gate.bearer(claims), 403, "claim_not_allowed");
    }
}

lanes!(s153_the_last_key_of_a_client_leaves_its_routes_closed);
fn s153_the_last_key_of_a_client_leaves_its_routes_closed() {
    let gate = Gate::start(|gate| gate.route("api", &protected("api", "[api_key]", "clients: [shop]")));
    gate.allows("GET", "/api", &gate.api_key());
    let keys = gate.running.folder().join("keys.yaml");
    let text = std::fs::read_to_string(&keys).unwrap();
    let (of_shop, others) = text.split_once("organization: acme\n").unwrap();
    assert!(of_shop.contains("client: shop") && !others.contains("client:"));
    let bare = format!("x-api-key: {}\r\n", gate.bare_key);
    gate.running.replace_file("keys.yaml", &format!("keys:\n{others}"));
    gate.running.check_files();
    gate.refuses("GET", "/api", &gate.api_key(), 401, "api_key_unknown");
    gate.refuses("GET", "/api", &bare, 403, "client_not_allowed");
    gate.refuses("GET", "/api", "", 401, "credential_missing");
    gate.running.replace_file("keys.yaml", "keys: []\n");
    gate.running.check_files();
    gate.refuses("GET", "/api", &bare, 401, "api_key_unknown");
    gate.refuses("GET", "/api", "", 401, "credential_missing");
}

lanes!(s097_options_that_is_no_preflight_is_authenticated_and_under_the_rules);
fn s097_options_that_is_no_preflight_is_authenticated_and_under_the_rules() {
    let gate = Gate::start(|gate| {
        let rules = "rules: [{ methods: [OPTIONS], scopes: { all: [\"options\"] } }]";
        gate.route("api", &protected("api", "[jwt]", rules))
    });
    for fields in [
        "",
        "Origin: https://app.test\r\n",
        "Access-Control-Request-Method: GET\r\n",
    ] {
        gate.refuses("OPTIONS", "/api", fields, 401, "credential_missing");
        let bearer = gate.bearer(json!({}));
        gate.refuses(
            "OPTIONS",
            "/api",
            &format!("{fields}{bearer}"),
            403,
            "insufficient_scope",
        );
        let bearer = gate.bearer(json!({ "scope": "options" }));
        gate.allows("OPTIONS", "/api", &format!("{fields}{bearer}"));
    }
}

lanes!(s084_no_rule_reads_a_header_of_the_request);
fn s084_no_rule_reads_a_header_of_the_request() {
    let gate = Gate::start_issuer("claim_headers: { \"/role\": x-user-role }", |gate| {
        gate.route(
            "api",
            &protected("api", "[jwt]", "claims: { \"/role\": admin }\norganizations: [acme]"),
        )
    });
    let claimed = "x-user-role: user\r\nx-user-role: admin\r\nrole: admin\r\nx-keygate-organization: acme\r\n";
    let user = gate.bearer(json!({ "role": "user", "org": "acme" }));
    gate.refuses("GET", "/api", &format!("{claimed}{user}"), 403, "claim_not_allowed");
    let admin = gate.bearer(json!({ "role": "admin", "org": "acme" }));
    let received = gate.allows("GET", "/api", &format!("x-user-role: user\r\nrole: user\r\n{admin}"));
    assert_eq!(received.headers_named("x-user-role"), ["admin"]);
}

// `Connection` cannot be sent over HTTP/2.
lanes!(s079_s080_s081_headers_of_claims_are_keygates_on_every_route: own, own_tls, filter_http1);
fn s079_s080_s081_headers_of_claims_are_keygates_on_every_route() {
    let headers = "claim_headers: { \"/email\": x-user-email, \"/realm/roles\": Remote-Roles }";
    let gate = Gate::start_issuer(headers, |gate| {
        gate.route("api", &protected("api", "[jwt, api_key]", ""))
            .route("open", "match: { path: /open }\npublic: true\nupstream: up")
    });
    let claimed = "x-user-email: evil@x\r\nX-User-Email: evil@y\r\nremote-roles: root\r\nX-Keygate-Subject: root\r\n";
    let claim_fields = |received: &ReceivedRequest| {
        let named = |name| {
            received
                .headers_named(name)
                .into_iter()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        (named("x-user-email"), named("remote-roles"))
    };
    let nothing = (Vec::new(), Vec::new());
    let open = gate.allows("GET", "/open", claimed);
    assert_eq!(claim_fields(&open), nothing);
    assert!(open.headers_named("x-keygate-subject").is_empty());
    assert_eq!(
        claim_fields(&gate.allows("GET", "/api", &format!("{claimed}{}", gate.api_key()))),
        nothing
    );
    assert_eq!(
        claim_fields(&gate.allows("GET", "/api", &format!("{claimed}{}", gate.bearer(json!({}))))),
        nothing
    );
    let alice = gate.bearer(json!({ "email": "alice@x", "realm": { "roles": ["a", "b,c"] } }));
    // Twice: the second time the token comes from the cache.
    for _ in 0..2 {
        let received = gate.allows("GET", "/api", &format!("{claimed}{alice}"));
        assert_eq!(
            claim_fields(&received),
            (vec!["alice@x".to_owned()], vec!["a,b%2Cc".to_owned()])
        );
    }
    for path in ["/open", "/api"] {
        for alias in ["X_User_Email", "x-user_email", "Remote_Roles", "X_Keygate_Subject"] {
            gate.refuses("GET", path, &format!("{alias}: x\r\n{alice}"), 400, "header_alias");
        }
        for named in [
            "x-user-email",
            "keep-alive, Remote-Roles",
            "x-keygate-subject",
            "x-forwarded-host",
        ] {
            gate.refuses(
                "GET",
                path,
                &format!("Connection: {named}\r\n{alice}"),
                400,
                "connection_nomination",
            );
        }
    }
}

lanes!(s083_no_claim_splits_a_header_on_its_way_to_the_upstream);
fn s083_no_claim_splits_a_header_on_its_way_to_the_upstream() {
    let gate = Gate::start_issuer("claim_headers: { \"/name\": x-user-name }", |gate| {
        gate.route("api", &protected("api", "[jwt]", ""))
    });
    for (claim, expected) in [
        (json!("a\r\nx-admin: 1"), vec!["a%0D%0Ax-admin: 1"]),
        (json!("a\0b"), vec!["a%00b"]),
        (json!("a, b"), vec!["a%2C b"]),
        (json!("🦀é"), vec!["%F0%9F%A6%80%C3%A9"]),
        (json!(["a\nb", 7, true]), vec!["a%0Ab,7,true"]),
        (json!({ "a": 1 }), vec![]),
        (json!(null), vec![]),
        (json!(""), vec![]),
        (json!(["a", { "b": 1 }]), vec![]),
    ] {
        let received = gate.allows("GET", "/api", &gate.bearer(json!({ "name": claim })));
        assert_eq!(received.headers_named("x-user-name"), expected, "{claim}");
        assert!(received.headers_named("x-admin").is_empty());
    }
    let long = gate.bearer(json!({ "name": "x".repeat(4097) }));
    gate.refuses("GET", "/api", &long, 401, "token_claim_invalid");
}

// Over TLS, `x-forwarded-proto` is `https`.
lanes!(s082_a_client_with_a_good_token_cannot_set_the_forwarded_fields: own, filter_http1, filter_http2);
fn s082_a_client_with_a_good_token_cannot_set_the_forwarded_fields() {
    let gate = Gate::start(|gate| gate.route("api", &protected("api", "[jwt]", "")));
    let claimed = "X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: admin\r\n\
                   X-Forwarded-Prefix: /x\r\nX-Forwarded-Uri: /admin\r\nForwarded: for=10.0.0.1\r\n";
    let received = gate.allows("GET", "/api", &format!("{claimed}{}", gate.bearer(json!({}))));
    assert_eq!(received.headers_named("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(received.headers_named("x-forwarded-proto"), ["http"]);
    assert_eq!(received.headers_named("x-forwarded-host"), ["gate.test"]);
    for gone in ["x-forwarded-prefix", "x-forwarded-uri", "forwarded"] {
        assert!(received.headers_named(gone).is_empty(), "{gone}");
    }
}

lanes!(a_reload_that_asks_about_another_claim_is_not_answered_from_memory);
fn a_reload_that_asks_about_another_claim_is_not_answered_from_memory() {
    let route = |role: &str| protected("api", "[jwt]", &format!("claims: {{ \"/role\": {role} }}"));
    let gate = Gate::start(|gate| gate.route("api", &route("user")));
    let bearer = gate.bearer(json!({ "role": ["user", "auditor"], "level": 7 }));
    gate.allows("GET", "/api", &bearer);
    gate.allows("GET", "/api", &bearer);
    // The route `/{version}` shows that the change is in force.
    let reload = |version: &str, more: &str| {
        let open = format!("match: {{ path: /{version} }}\npublic: true\nupstream: up");
        gate.running.reload(&yaml(&gate.upstream, "", |gate| {
            gate.route("api", more).route(version, &open)
        }));
        let ask = format!("GET /{version} HTTP/1.1\r\nHost: gate.test\r\n\r\n");
        RawClient::connect(gate.running.data()).exchange_until(&ask, 200, &[404]);
    };
    reload("admin", &route("admin"));
    gate.refuses("GET", "/api", &bearer, 403, "claim_not_allowed");
    reload("auditor", &route("auditor"));
    gate.allows("GET", "/api", &bearer);
    reload("level-7", &protected("api", "[jwt]", "claims: { \"/level\": 7 }"));
    gate.allows("GET", "/api", &bearer);
    reload("level-8", &protected("api", "[jwt]", "claims: { \"/level\": 8 }"));
    gate.refuses("GET", "/api", &bearer, 403, "claim_not_allowed");
}
