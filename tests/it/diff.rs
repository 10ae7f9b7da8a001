//! Does `keygate check --diff` report each change between `tests/data/diff/base.yaml` and the
//! files beside it? The output is in a `.txt` of the same name; `UPDATE_GOLDEN=1` rewrites it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

const BASE: &str = "base.yaml";

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/diff")
}

/// Runs `keygate check NEW --diff OLD` in `folder` and returns the exit code and the output, stdout first.
fn check(folder: &Path, new: &str, old: &str) -> (i32, String) {
    let output = Command::new(crate::support::program())
        .args(["check", new, "--diff", old])
        .current_dir(folder)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert!(!err.contains("panicked"), "{err}");
    (output.status.code().expect("it ends by itself"), out + &err)
}

/// Returns a folder with all configurations and the files they name, and the names of the configurations.
fn folder() -> (tempfile::TempDir, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let key = keygate::jose::sign::SigningKey::generate_es256().unwrap();
    put("a.pem", &key.public_pem());
    put("b.pem", &key.public_pem());
    put(
        "set.json",
        &serde_json::json!({ "keys": [key.public_jwk()] }).to_string(),
    );
    put("ca.pem", &std::fs::read_to_string("conf/dev-ca.pem").unwrap());
    put("pepper.txt", "a pepper of the tests");
    put("keys.yaml", "keys: []\n");
    put("other.yaml", "keys: []\n");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(data()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.ends_with(".yaml") {
            put(&name, &std::fs::read_to_string(&path).unwrap());
            names.push(name);
        }
    }
    names.sort();
    names.retain(|name| name != BASE);
    (folder, names)
}

#[test]
fn everything_weaker_is_said_as_it_is_kept_in_the_golden_files() {
    let (folder, names) = folder();
    let mut wrong = String::new();
    for name in &names {
        let (code, output) = check(folder.path(), name, BASE);
        let output = format!("exit {code}\n{output}");
        let golden = data().join(name).with_extension("txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &output).unwrap();
        } else if output != std::fs::read_to_string(&golden).unwrap_or_default() {
            writeln!(wrong, "{name}:\n{output}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(names.len() >= 20, "{names:?}");
}

/// With the two sides exchanged, each of these changes only strengthens, and the report lists no strengthening.
#[test]
fn what_is_only_weaker_is_silent_the_other_way() {
    let (folder, _) = folder();
    for name in [
        "scopes-removed-or-widened",
        "route-became-public",
        "failed-authentication-raised",
        "route-accepts-more",
    ] {
        let name = format!("{name}.yaml");
        assert_eq!(check(folder.path(), &name, BASE).0, 3, "{name}");
        let (code, output) = check(folder.path(), BASE, &name);
        assert_eq!(code, 0, "{name}: {output}");
        let expected = format!("nothing asks for less than in {name}");
        assert_eq!(output.lines().last(), Some(&*expected), "{output}");
    }
}

#[test]
fn a_configuration_is_never_weaker_than_itself() {
    let (folder, names) = folder();
    for name in names.iter().map(String::as_str).chain([BASE]) {
        let (code, output) = check(folder.path(), name, name);
        assert_eq!(code, 0, "{name}: {output}");
    }
}

#[test]
fn the_one_before_is_compared_without_the_files_it_names() {
    let (folder, _) = folder();
    let old = tempfile::tempdir().unwrap();
    let base = std::fs::read_to_string(data().join(BASE)).unwrap();
    let path = old.path().join("old.yaml");
    std::fs::write(&path, base).unwrap();
    let (code, output) = check(folder.path(), BASE, path.to_str().unwrap());
    assert_eq!(code, 0, "{output}");
    let (code, output) = check(folder.path(), "scopes-removed-or-widened.yaml", path.to_str().unwrap());
    assert_eq!(code, 3, "{output}");
    assert!(output.contains(&format!("was in {}:", path.display())), "{output}");
}

#[test]
fn a_bad_configuration_on_either_side_is_1_and_says_which() {
    let (folder, _) = folder();
    std::fs::write(folder.path().join("bad.yaml"), "routes: 1\n").unwrap();
    for (new, old) in [("bad.yaml", BASE), (BASE, "bad.yaml"), (BASE, "absent.yaml")] {
        let (code, output) = check(folder.path(), new, old);
        assert_eq!(code, 1, "{output}");
        assert!(
            output.contains("bad.yaml:1") || output.contains("absent.yaml: cannot be read"),
            "{output}"
        );
    }
}

#[test]
fn parts_in_included_files_are_compared_and_named_by_their_files() {
    let folder = tempfile::tempdir().unwrap();
    let main = "include: ['%.d/*.yaml']\nlisteners: [{ address: '127.0.0.1:8080' }]\nupstreams: { echo: { builtin: echo } }\n\
                issuers: { main: { issuer: 'https://a.example', audiences: any, jwks_url: 'https://a.example/jwks' } }\n";
    let route = "routes:\n  - name: a\n    match: { path: /a }\n    accept: [jwt]\n    scopes: { all: [read] }\n    upstream: echo\n";
    let files = BTreeMap::from([("old", route.to_owned()), ("new", route.replace("read]", "write]"))]);
    for (side, route) in &files {
        std::fs::create_dir(folder.path().join(format!("{side}.d"))).unwrap();
        std::fs::write(folder.path().join(format!("{side}.yaml")), main.replace('%', side)).unwrap();
        std::fs::write(folder.path().join(format!("{side}.d/a.yaml")), route).unwrap();
    }
    let (code, output) = check(folder.path(), "new.yaml", "old.yaml");
    assert_eq!(code, 3, "{output}");
    let expected = "a: scopes: was all of [read], is all of [write]\n    was in old.d/a.yaml:5, is in new.d/a.yaml:5\n";
    assert!(output.contains(expected), "{output}");
}

#[test]
fn a_route_that_more_client_certificates_pass_is_found_and_one_that_fewer_pass_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, defaults: &str, route: &str| {
        let text = format!(
            "listeners: [{{ address: '127.0.0.1:8080' }}]\nupstreams: {{ echo: {{ builtin: echo }} }}\n{defaults}\n\
             routes: [{{ name: a, match: {{ path: /a }}, public: true, upstream: echo{route} }}]\n"
        );
        std::fs::write(folder.path().join(name), text).unwrap();
    };
    let asks = |text: &str| format!(", client_certificates: {text}");
    let steps = [
        ("", String::new()),
        ("", asks("any")),
        ("", asks("{ names: [a.example, b.example] }")),
        ("", asks("{ names: [a.example] }")),
        (
            "defaults: { client_certificates: { names: [c.example] } }",
            asks("{ names: [a.example] }"),
        ),
    ];
    for (index, (defaults, route)) in steps.iter().enumerate() {
        write(&format!("{index}.yaml"), defaults, route);
    }
    for new in 0..steps.len() {
        for old in 0..steps.len() {
            let (code, output) = check(folder.path(), &format!("{new}.yaml"), &format!("{old}.yaml"));
            assert_eq!(code, if new < old { 3 } else { 0 }, "{old} to {new}: {output}");
        }
    }
    let (_, output) = check(folder.path(), "2.yaml", "3.yaml");
    let expected = "a: client_certificates: was one of [a.example], is one of [a.example, b.example]\n";
    assert!(output.contains(expected), "{output}");
    let (_, output) = check(folder.path(), "0.yaml", "4.yaml");
    let expected = "a: client_certificates: was one of [c.example] and one of [a.example], is none needed\n";
    assert!(output.contains(expected), "{output}");
}

#[test]
fn tokens_that_are_good_for_more_by_default_are_found_and_those_that_are_good_for_less_are_not() {
    let folder = tempfile::tempdir().unwrap();
    for (name, defaults) in [
        ("one", "default_audiences: [a]"),
        ("two", "default_audiences: [a, b]"),
        ("all", ""),
    ] {
        let text = format!(
            "listeners: [{{ address: '127.0.0.1:8080' }}]\nupstreams: {{ echo: {{ builtin: echo }} }}\nstore: {{ path: a.db }}\n\
             token_endpoint: {{ issuer: 'https://a.example', audiences: [a, b], {defaults} }}\n\
             routes: [{{ name: a, match: {{ path: /a }}, accept: [jwt], upstream: echo }}]\n"
        );
        std::fs::write(folder.path().join(format!("{name}.yaml")), text).unwrap();
    }
    for (old, new, expected) in [
        ("one", "two", 3),
        ("one", "all", 3),
        ("two", "one", 0),
        ("all", "one", 0),
        ("two", "all", 0),
    ] {
        let (code, output) = check(folder.path(), &format!("{new}.yaml"), &format!("{old}.yaml"));
        assert_eq!(code, expected, "{old} to {new}: {output}");
        let found = output.contains("token_endpoint.default_audiences: was [a], is [a, b]");
        assert_eq!(found, expected == 3, "{output}");
    }
}

#[test]
fn clients_that_may_prove_themselves_in_more_ways_or_get_tokens_in_more_places_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, endpoint: &str, plan: &str| {
        let text = format!(
            "listeners: [{{ address: '127.0.0.1:8080' }}]\nupstreams: {{ echo: {{ builtin: echo }} }}\nstore: {{ path: a.db }}\n\
             token_endpoint: {{ issuer: 'https://a.example'{endpoint} }}\n\
             plans: {{ gold: {{ credentials: private_key_jwt{plan} }} }}\n\
             routes: [{{ name: a, match: {{ path: /a }}, accept: [jwt], upstream: echo }}]\n"
        );
        std::fs::write(folder.path().join(name), text).unwrap();
    };
    put("open", "", "");
    for (endpoint, plan, expected) in [
        (
            ", global_endpoint: built_in_organizations",
            "",
            "token_endpoint.global_endpoint: was built_in_organizations, is every_client",
        ),
        (
            "",
            ", jwks_url: required",
            "plans.gold.jwks_url: was required, is optional",
        ),
        (
            "",
            ", algorithms: [ES256]",
            "plans.gold.algorithms: was [ES256], is [ES256, EdDSA, PS256, RS256]",
        ),
    ] {
        put("narrow", endpoint, plan);
        let (code, output) = check(folder.path(), "open", "narrow");
        assert!(code == 3 && output.contains(expected), "{code}: {output}");
        let (code, output) = check(folder.path(), "narrow", "open");
        assert_eq!(code, 0, "{output}");
    }
}

#[test]
fn a_listener_that_asks_less_of_its_clients_is_found_and_one_that_asks_more_is_not() {
    let (folder, _) = folder();
    let listener = |tls: &str| format!("listeners: [{{ address: '127.0.0.1:8443'{tls} }}]\n");
    let rest = "upstreams: { echo: { builtin: echo } }\nroutes: [{ name: a, match: { path: /a }, public: true, upstream: echo }]\n";
    let tls = |more: &str| format!(", tls: {{ certificate: tls.pem, private_key: tls.key{more} }}");
    let steps = [
        listener(""),
        listener(&tls("")),
        listener(&tls(", client_ca: ca.pem, client_certificates: optional")),
        listener(&tls(", client_ca: ca.pem")),
    ];
    let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    put("tls.pem", &std::fs::read_to_string("conf/dev-tls.pem").unwrap());
    put("tls.key", &std::fs::read_to_string("conf/dev-tls.private.pem").unwrap());
    put("ca2.pem", &std::fs::read_to_string("conf/dev-ca.pem").unwrap());
    for (index, step) in steps.iter().enumerate() {
        put(&format!("{index}.yaml"), &format!("{step}{rest}"));
    }
    for new in 0..steps.len() {
        for old in 0..steps.len() {
            let (code, output) = check(folder.path(), &format!("{new}.yaml"), &format!("{old}.yaml"));
            assert_eq!(code, if new < old { 3 } else { 0 }, "{old} to {new}: {output}");
        }
    }
    // Another authority, and a new address beside the old one.
    put("ca.yaml", &format!("{}{rest}", listener(&tls(", client_ca: ca2.pem"))));
    assert_eq!(check(folder.path(), "ca.yaml", "3.yaml").0, 3);
    put(
        "two.yaml",
        &format!("{}{rest}", steps[3].replace("}]", "}, { address: '127.0.0.1:8444' }]")),
    );
    assert_eq!(check(folder.path(), "two.yaml", "3.yaml").0, 3);
}

/// Returns the findings of `check --diff` for two lists of routes and two listeners, without the last line.
fn findings(new: (&str, &str), old: (&str, &str)) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, (listener, routes)) in [("new.yaml", new), ("old.yaml", old)] {
        let text = format!(
            "listeners: [{{ address: \"127.0.0.1:8080\"{listener} }}]\nupstreams: {{ up: {{ builtin: echo }} }}\nroutes:\n{routes}"
        );
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let (_, output) = check(folder.path(), "new.yaml", "old.yaml");
    let lines = output
        .lines()
        .filter(|line| line.contains(": was ") || line.contains("asks for less"));
    lines.map(str::to_owned).collect()
}

fn public_route(name: &str, conditions: &str, more: &str) -> String {
    format!("  - {{ name: {name}, match: {{ path: /a{conditions} }}, public: true, upstream: up{more} }}\n")
}

#[test]
fn a_route_with_fewer_conditions_serves_what_it_did_not() {
    let two = public_route("a", ", headers: { x-v: \"2\" }, query: { beta: { present: true } }", "");
    let one = public_route("a", ", headers: { x-v: \"2\" }", "");
    let prefix = public_route("a", ", headers: { x-v: { prefix: \"2\" } }", "");
    let none = public_route("a", "", "");
    let check = |new: &str, old: &str, expected: &[&str]| {
        assert_eq!(findings(("", new), ("", old)), expected, "{new}{old}");
    };
    let silent = ["nothing asks for less than in old.yaml"];
    check(
        &one,
        &two,
        &["a: public: was `GET any/a with x-v: 2` not served, is open to everybody"],
    );
    check(
        &none,
        &two,
        &["a: public: was `GET any/a` not served, is open to everybody"],
    );
    check(
        &none,
        &one,
        &["a: public: was `GET any/a` not served, is open to everybody"],
    );
    check(
        &prefix,
        &one,
        &["a: public: was `GET any/a with x-v: 2z` not served, is open to everybody"],
    );
    for (new, old) in [
        (&two, &one),
        (&two, &none),
        (&one, &none),
        (&one, &prefix),
        (&two, &two),
    ] {
        check(new, old, &silent);
    }
}

#[test]
fn a_request_that_another_route_of_the_path_gets_now_is_compared_with_the_route_before() {
    let inside = |conditions: &str| public_route("inside", conditions, ", addresses: { allow: [10.0.0.0/8] }");
    let by_header = ", headers: { x-v: \"2\" }";
    let old = inside("") + &public_route("open", by_header, "");
    let by_query = inside("") + &public_route("open", ", query: { \"v v\": \"2&\" }", "");
    assert_eq!(
        findings(("", &by_query), ("", &old)),
        [
            "open (requests of inside before, such as `GET any/a?v%20v=2%26`): addresses: was allow [10.0.0.0/8], is every address"
        ]
    );
    // A more specific route takes a part of the requests over.
    let more = old.clone() + &public_route("more", ", headers: { x-v: \"2\", x-w: { present: true } }", "");
    assert_eq!(
        findings(("", &more), ("", &old)),
        ["nothing asks for less than in old.yaml"]
    );
    let other = old.clone() + &public_route("more", ", headers: { x-v: { prefix: \"2\" }, x-w: \"1\" }", "");
    assert_eq!(
        findings(("", &other), ("", &old)),
        [
            "more (requests of inside before, such as `GET any/a with x-v: 2z and x-w: 1`): addresses: was allow [10.0.0.0/8], is every address"
        ]
    );
}

#[test]
fn wider_addresses_of_routes_and_listeners_are_weaker() {
    let with = |rules: &str| public_route("a", "", &format!(", addresses: {{ {rules} }}"));
    let wide = with("allow: [10.0.0.0/8], deny: [10.1.0.0/16]");
    let (narrow, open) = (with("allow: [10.2.0.0/16]"), public_route("a", "", ""));
    assert_eq!(
        findings(("", &narrow), ("", &wide)),
        ["nothing asks for less than in old.yaml"]
    );
    assert_eq!(
        findings(("", &wide), ("", &narrow)),
        ["a: addresses: was allow [10.2.0.0/16], is allow [10.0.0.0/8], deny [10.1.0.0/16]"]
    );
    assert_eq!(
        findings(("", &open), ("", &wide)),
        ["a: addresses: was allow [10.0.0.0/8], deny [10.1.0.0/16], is every address"]
    );
    let (inside, none) = (", addresses: { allow: [10.0.0.0/8] }", "");
    assert_eq!(
        findings((inside, &open), (none, &open)),
        ["nothing asks for less than in old.yaml"]
    );
    assert_eq!(
        findings((none, &open), (inside, &open)),
        ["every route: listeners: was 127.0.0.1:8080 for allow [10.0.0.0/8], is 127.0.0.1:8080 for every address"]
    );
}
