//! Does every route keep the requirements of the defaults (S100)?

use crate::policy::Gate;
use crate::policy::protected;
use crate::support::issuer;
use crate::support::issuer::AUDIENCE;
use crate::support::issuer::ISSUER;
use crate::support::lane::lanes;
use keygate::config;
use keygate::config::Config;
use keygate::gate::accept::Inbound;
use keygate::gate::decide::decide;
use keygate::gate::decision_trace::DecisionTrace;
use keygate::gate::live::LiveState;
use keygate::gate::snapshot::Snapshot;
use keygate::jose::jwks::Jwks;
use keygate::jose::sign::SigningKey;
use keygate::model::clock::Now;
use keygate::model::clock::Tick;
use keygate::model::clock::Timestamp;
use keygate::runtime::assemble;
use proptest::prelude::*;
use serde_json::json;
use std::path::Path;
use std::sync::OnceLock;

lanes!(s100_a_route_adds_to_the_defaults_and_drops_none_of_them);
fn s100_a_route_adds_to_the_defaults_and_drops_none_of_them() {
    let gate = Gate::start(|gate| {
        gate.top("defaults:\n  accept: [jwt]\n  scopes: { all: [use] }\n  rules: [{ methods: [DELETE], clients: [shop] }]\n  limits: [few]")
            .limit("few", "by: client\nquota: 1000/hour")
            .limit("fewer", "by: subject\nquota: 2/hour")
            .route("plain", "match: { path: /plain }\nupstream: up")
            .route("more", &protected("more", "[jwt]", "scopes: { all: [more] }\nrules: [{ organizations: [acme] }]"))
            .route("limited", "match: { path: /limited }\nlimits: [fewer]\nupstream: up")
            .route("open", "match: { path: /open }\npublic: true\nupstream: up")
    });
    let with = |scope: &str, client: &str| gate.bearer(json!({ "scope": scope, "client_id": client, "org": "acme" }));
    for path in ["/plain", "/more", "/limited"] {
        gate.refuses("GET", path, "", 401, "credential_missing");
        gate.refuses("GET", path, &gate.api_key(), 401, "credential_type");
        gate.refuses("GET", path, &with("more", "shop"), 403, "insufficient_scope");
        gate.refuses("DELETE", path, &with("use more", "other"), 403, "client_not_allowed");
        let response = gate.ask("DELETE", path, &with("use more", "shop"));
        assert_eq!(
            (response.status, response.headers_named("ratelimit-policy").len()),
            (200, 1),
            "{path}"
        );
    }
    gate.refuses("GET", "/more", &with("use", "shop"), 403, "insufficient_scope");
    gate.allows("GET", "/plain", &with("use", "other"));
    gate.allows("GET", "/limited", &with("use", "other"));
    gate.refuses("GET", "/limited", &with("use", "other"), 429, "limit_spent");
    // The default limit counts per client, and a public route has no client.
    let open = gate.ask("GET", "/open", "");
    assert_eq!((open.status, open.header("ratelimit-policy")), (200, None));
}

fn parsed(yaml: &str) -> Config {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/keygate.yaml");
    config::parse(yaml, &file, &|_| None).unwrap_or_else(|errors| panic!("{errors}\n{yaml}"))
}

fn whole(defaults: &str, route: &str) -> String {
    let issuer = |name: &str, url: &str| {
        format!("  {name}: {{ issuer: \"{url}\", audiences: [\"{AUDIENCE}\"], jwks_url: \"{url}/jwks\" }}\n")
    };
    let defaults = match defaults {
        "" => String::new(),
        defaults => format!("defaults: {{ {defaults} }}\n"),
    };
    format!(
        "listeners: [{{ address: \"127.0.0.1:0\" }}]\napi_keys: {{ file: keys.yaml }}\nissuers:\n{}{}\
         limits:\n  one: {{ by: route, quota: 1/hour }}\n  two: {{ by: client, quota: 1/hour }}\n\
         upstreams: {{ up: {{ builtin: echo }} }}\n{defaults}\
         routes: [{{ name: a, match: {{ path: /a }}, upstream: up, {route} }}]\n",
        issuer("main", ISSUER),
        issuer("other", "https://other.test"),
    )
}

lanes!(s100_only_public_leaves_the_defaults_and_keeps_what_counts_without_a_principal);
fn s100_only_public_leaves_the_defaults_and_keeps_what_counts_without_a_principal() {
    let defaults = "accept: [jwt], clients: [a], limits: [one, two], issuers: [main], audiences: [b]";
    let config = parsed(&whole(defaults, "public: true"));
    let open = &config.routes[0];
    assert!(open.public && open.accept.is_empty() && open.rules.is_empty() && open.issuers.is_empty());
    assert_eq!(open.limits.iter().map(ToString::to_string).collect::<Vec<_>>(), ["one"]);
    for route in ["public: false", "two_credentials: report", "accept: [jwt]"] {
        let config = parsed(&whole(defaults, route));
        let closed = &config.routes[0];
        assert!(
            !closed.public && closed.rules.len() == 1 && closed.limits.len() == 2,
            "{route}"
        );
        assert_eq!(closed.issuers.len(), 1, "{route}");
        assert_eq!(closed.audiences.as_deref(), Some(&["b".to_owned()][..]), "{route}");
    }
}

/// A compiled configuration without sockets. Decides whether a token may call `/a`.
struct Decider {
    snapshot: Snapshot,
    live: LiveState,
}

const NOW: Timestamp = Timestamp::from_unix_secs(1_800_000_000);

fn signer() -> &'static SigningKey {
    static KEY: OnceLock<SigningKey> = OnceLock::new();
    KEY.get_or_init(|| SigningKey::generate_es256().unwrap())
}

/// Returns one token for each combination of a scope, a client, an organization and a role, each present or absent.
fn tokens() -> &'static [String] {
    static TOKENS: OnceLock<Vec<String>> = OnceLock::new();
    TOKENS.get_or_init(|| {
        (0..16)
            .map(|mixture: u64| {
                let mut claims = json!({
                    "iss": ISSUER, "aud": AUDIENCE, "iat": NOW.as_unix_secs(), "exp": NOW.as_unix_secs() + 600,
                });
                for (bit, (name, value)) in [("scope", "a"), ("client_id", "a"), ("org", "a"), ("role", "a")]
                    .into_iter()
                    .enumerate()
                {
                    if mixture & (1 << bit) != 0 {
                        claims[name] = value.into();
                    }
                }
                issuer::token(signer(), &claims)
            })
            .collect()
    })
}

impl Decider {
    fn new(yaml: &str) -> Self {
        let config = parsed(yaml);
        let live = LiveState::new(assemble::metrics(NOW), "127.0.0.1:9".parse().unwrap());
        let snapshot = Snapshot::compile(&config, &live).unwrap();
        let set = issuer::jwk_set(&[signer().public_jwk()]);
        for issuer in &snapshot.issuers {
            let jwks = Jwks::parse(set.as_bytes()).unwrap();
            issuer
                .keys()
                .unwrap()
                .start_attempt(now())
                .succeed(set.as_bytes(), jwks, now());
        }
        Self { snapshot, live }
    }

    fn allows(&self, method: &str, token: &str) -> bool {
        let request = http::Request::builder()
            .method(method)
            .uri("/a")
            .header("host", "localhost")
            .header("authorization", format!("Bearer {token}"));
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let peer = "192.0.2.1".parse().unwrap();
        let inbound = Inbound::new(&parts, peer, &[], &self.snapshot.accept).ok().unwrap();
        decide(
            &self.snapshot,
            &self.live,
            &inbound,
            now(),
            &mut DecisionTrace::default(),
        )
        .is_ok()
    }
}

fn now() -> Now {
    Now {
        wall: NOW,
        tick: Tick::ZERO,
    }
}

/// Generates one to three conditions, each of another kind, as the members of a YAML flow map.
fn conditions() -> impl Strategy<Value = String> {
    let one = prop_oneof![
        Just("scopes: { all: [a] }"),
        Just("scopes: { any: [a, b] }"),
        Just("clients: [a]"),
        Just("organizations: [a, b]"),
        Just("claims: { \"/role\": [a, 1] }"),
        Just("clients: [b]"),
    ];
    let distinct = |mut list: Vec<&str>| {
        list.sort_by_key(|text| text.split(':').next());
        list.dedup_by_key(|text| text.split(':').next());
        list.join(", ")
    };
    prop::collection::vec(one, 1..4).prop_map(distinct)
}

fn rules() -> impl Strategy<Value = String> {
    let methods = prop_oneof![Just(""), Just("methods: [GET], "), Just("methods: [POST, DELETE], ")];
    let mode = prop_oneof![3 => Just(""), 1 => Just("mode: shadow, ")];
    let rule = (methods, mode, conditions())
        .prop_map(|(methods, mode, conditions)| format!("{{ {methods}{mode}{conditions} }}"));
    prop::collection::vec(rule, 1..3).prop_map(|rules| format!("rules: [{}]", rules.join(", ")))
}

/// Generates conditions, rules, both, or neither.
fn policy() -> impl Strategy<Value = String> {
    (prop::option::of(conditions()), prop::option::of(rules()))
        .prop_map(|(conditions, rules)| conditions.into_iter().chain(rules).collect::<Vec<_>>().join(", "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn s100_tightening_never_widens(defaults in policy(), route in policy()) {
        let own = |route: &str| format!("accept: [jwt], {route}");
        let both = Decider::new(&whole(&defaults, &own(&route)));
        let only_defaults = Decider::new(&whole(&defaults, "accept: [jwt]"));
        let only_route = Decider::new(&whole("", &own(&route)));
        for token in tokens() {
            for method in ["GET", "HEAD", "POST", "PUT"] {
                let expected = only_defaults.allows(method, token) && only_route.allows(method, token);
                prop_assert_eq!(both.allows(method, token), expected, "{} {} {}", method, defaults, route);
            }
        }
    }
}
