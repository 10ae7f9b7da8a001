//! Does every module name only the modules before it that its table allows?

use super::source::Source;
use super::source::paths_from;
use super::source::planted;
use super::source::sources;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// Top-level modules, and the earlier ones of them that each may name.
const MODULES: [(&str, &[&str]); 18] = [
    ("model", &[]),
    ("jose", &["model"]),
    ("config", &["model"]),
    ("observe", &["model"]),
    ("store", &["model"]),
    ("keys_file", &["model"]),
    ("limit", &["model"]),
    // Like `limit`, holds state that a snapshot refers to: which endpoint is next.
    ("upstream", &["model", "config"]),
    // Not `gate` or `proxy`: `runtime` passes the state of the data side to `control`.
    // `keys_file` for the text form of address ranges.
    (
        "control",
        &["model", "jose", "config", "store", "observe", "keys_file", "limit"],
    ),
    // Decides requests and does not know the code that forwards them.
    ("gate", &["model", "jose", "config", "observe", "limit", "upstream"]),
    // Fetches keys and introspection responses; decides nothing.
    ("fetch", &["model", "jose", "config", "observe", "gate", "upstream"]),
    ("proxy", &["model", "config", "observe", "upstream", "gate"]),
    // Chooses routes with the gate's own code.
    ("compare", &["model", "config", "gate"]),
    (
        "runtime",
        &[
            "model",
            "jose",
            "config",
            "store",
            "keys_file",
            "observe",
            // To keep what limits have counted over a restart.
            "limit",
            "gate",
            "fetch",
            // To say how endpoints are.
            "upstream",
            "proxy",
            "control",
        ],
    ),
    // Decides with the gate's code, on state that `runtime` loads as for `keygate run`.
    (
        "explain",
        &[
            "model", "jose", "config", "observe", "gate", "fetch", "proxy", "runtime",
        ],
    ),
    // `jose` signs assertions, `fetch` makes the HTTP clients, `keys_file` is
    // edited, `control` creates the first administrator, `observe` sets up the log.
    (
        "cli",
        &[
            "model",
            "jose",
            "config",
            "compare",
            "explain",
            "runtime",
            "store",
            "keys_file",
            "observe",
            "fetch",
        ],
    ),
    // The API for programs that decide requests in their own process.
    (
        "embed",
        &["model", "config", "observe", "fetch", "gate", "proxy", "runtime"],
    ),
    ("main", &[]),
];

/// The modules inside `gate`, and the earlier ones of them that each may name.
const GATE_MODULES: [(&str, &[&str]); 17] = [
    ("stage", &[]),
    ("accept", &[]),
    ("intake", &["accept"]),
    ("authenticate", &["intake"]),
    ("authorize", &["authenticate"]),
    ("admit", &["authenticate"]),
    ("denial", &["accept", "intake", "authenticate", "authorize", "admit"]),
    // `authorize` for the scopes that a challenge names.
    ("answer", &["accept", "authorize", "denial"]),
    // Reads the principal's fields.
    ("identity_token", &["authenticate"]),
    ("upstream_credential", &[]),
    // `answer` for the responses on the control side's paths.
    (
        "live",
        &[
            "stage",
            "authenticate",
            "answer",
            "identity_token",
            "upstream_credential",
        ],
    ),
    ("destination", &["accept", "authenticate", "upstream_credential"]),
    (
        "snapshot",
        &[
            "accept",
            "intake",
            "authenticate",
            "authorize",
            "admit",
            "answer",
            "identity_token",
            "destination",
            "live",
        ],
    ),
    ("decision_trace", &["authenticate", "admit", "answer", "snapshot"]),
    ("stop", &["authenticate", "denial", "answer"]),
    (
        "local",
        &[
            "accept",
            "intake",
            "admit",
            "denial",
            "answer",
            "snapshot",
            "decision_trace",
            "stop",
        ],
    ),
    (
        "decide",
        &[
            "stage",
            "accept",
            "intake",
            "authenticate",
            "authorize",
            "admit",
            "denial",
            "destination",
            "live",
            "snapshot",
            "decision_trace",
            "stop",
            "local",
        ],
    ),
];

/// The modules inside `proxy`, and the earlier ones of them that each may name.
const PROXY_MODULES: [(&str, &[&str]); 13] = [
    ("peer", &[]),
    ("forward", &[]),
    ("health_check", &["peer"]),
    ("probe", &["peer", "health_check"]),
    ("certificate_names", &[]),
    ("exchange", &["forward", "certificate_names"]),
    ("listener", &["certificate_names"]),
    ("tls_stream", &[]),
    ("handshake", &["exchange", "listener", "tls_stream"]),
    ("head", &[]),
    ("connection_counts", &[]),
    ("filter", &["connection_counts", "peer", "forward", "exchange", "head"]),
    // `filter` for the requests that pingora has to carry.
    (
        "http1",
        &[
            "connection_counts",
            "peer",
            "forward",
            "exchange",
            "listener",
            "handshake",
            "head",
            "filter",
        ],
    ),
];

#[test]
fn top_level_modules_name_what_the_table_says() {
    check_table(&MODULES, &named_by_module(&sources()));
}

#[test]
fn modules_of_gate_and_proxy_name_what_the_tables_say() {
    check_table(&GATE_MODULES, &named_inside("gate", &sources()));
    check_table(&PROXY_MODULES, &named_inside("proxy", &sources()));
}

#[test]
fn modules_name_only_modules_before_them() {
    for table in [&GATE_MODULES[..], &PROXY_MODULES, &MODULES] {
        let order: Vec<&str> = table.iter().map(|(module, _)| *module).collect();
        let place = |name: &str| order.iter().position(|module| *module == name).expect("a module");
        let backwards: Vec<(&str, &str)> = table
            .iter()
            .flat_map(|(module, names)| names.iter().map(move |name| (*module, *name)))
            .filter(|(module, name)| place(name) > place(module))
            .collect();
        assert!(backwards.is_empty(), "{backwards:?}");
    }
}

fn check_table(table: &[(&str, &[&str])], named: &BTreeMap<&str, BTreeSet<String>>) {
    let mut wrong = Vec::new();
    for (module, names) in named {
        match table.iter().find(|(listed, _)| listed == module) {
            Some((_, allowed)) => wrong.extend(compare(module, names, allowed)),
            None => wrong.push(format!("{module} is not in the table")),
        }
    }
    wrong.extend(
        table
            .iter()
            .filter(|(module, _)| !named.contains_key(module))
            .map(|(module, _)| format!("there is no {module}")),
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Returns one line for each module that `module` names without permission, and for each permission without use.
fn compare(module: &str, named: &BTreeSet<String>, allowed: &[&str]) -> Vec<String> {
    let allowed: BTreeSet<String> = allowed.iter().map(|name| (*name).to_owned()).collect();
    let too_much = named.difference(&allowed).map(|name| format!("{module} names {name}"));
    let unused = allowed
        .difference(named)
        .map(|name| format!("{module} may name {name} and does not"));
    too_much.chain(unused).collect()
}

fn named_by_module(sources: &[Source]) -> BTreeMap<&str, BTreeSet<String>> {
    let mut named: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for source in sources {
        let Some(module) = module_of(&source.path, 0).filter(|module| *module != "lib") else {
            continue;
        };
        let others = modules_named(&source.code)
            .into_iter()
            .map(|name| match name.split_once('/') {
                Some((top, _)) => top.to_owned(),
                None => name,
            });
        // The binary refers to the library by its crate name.
        let of_binary = paths_from(&source.code, "keygate")
            .into_iter()
            .filter_map(|path| path.split("::").next());
        let all = others.chain(of_binary.map(str::to_owned));
        named
            .entry(module)
            .or_default()
            .extend(all.filter(|other| other != module));
    }
    named
}

/// Returns, for each module inside `folder`, the other modules inside that it names.
fn named_inside<'s>(folder: &str, sources: &'s [Source]) -> BTreeMap<&'s str, BTreeSet<String>> {
    let mut named: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for source in sources
        .iter()
        .filter(|source| module_of(&source.path, 0) == Some(folder))
    {
        let Some(stage) = module_of(&source.path, 1).filter(|stage| *stage != "mod") else {
            continue;
        };
        let others = modules_named(&source.code).into_iter().filter_map(|name| {
            let (top, inner) = name.split_once('/')?;
            // `crate::gate::Gate` is an item of the folder itself, not a module.
            let is_module = inner.starts_with(char::is_lowercase);
            (top == folder && is_module && inner != stage).then(|| inner.to_owned())
        });
        named.entry(stage).or_default().extend(others);
    }
    named
}

/// Returns the first module of each `crate::` path, and the second where the first has a table of its own.
pub fn modules_named(code: &str) -> BTreeSet<String> {
    let words = paths_from(code, "crate").into_iter().map(|path| {
        let mut words = path.split("::");
        let first = words.next().unwrap_or_default();
        match first {
            "gate" | "proxy" => format!("{first}/{}", words.next().unwrap_or_default()),
            _ => first.to_owned(),
        }
    });
    words.collect()
}

/// Returns one part of a file's path: of `gate/intake/scheme.rs`, depth 0 is `gate` and depth 1 is `intake`.
fn module_of(path: &str, depth: usize) -> Option<&str> {
    let part = path.split('/').nth(depth)?;
    Some(part.strip_suffix(".rs").unwrap_or(part))
}

#[test]
fn planted_violations_of_the_tables_are_found() {
    let named = |code: &str| {
        let sources = [planted("gate/intake/mod.rs", code)];
        named_inside("gate", &sources)["intake"]
            .iter()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(named("use crate::gate::admit::Admission;"), ["admit"]);
    assert_eq!(named("fn a() { crate::gate::admit::spend(1) }"), ["admit"]);
    assert_eq!(named("let a = \"http://x\"; crate::gate::admit::spend()"), ["admit"]);
    assert_eq!(named("use crate::gate::intake::Credential;"), [""; 0]);
    assert_eq!(
        named("use mycrate::gate::admit::A; fn f() { a::crate::gate::admit::b() }"),
        [""; 0]
    );

    let sources = [
        planted("model/clock.rs", "use crate::gate::decide::Permit;"),
        planted("main.rs", "keygate::runtime::serve()"),
    ];
    let named = named_by_module(&sources);
    assert_eq!(named["model"], BTreeSet::from(["gate".to_owned()]));
    assert_eq!(named["main"], BTreeSet::from(["runtime".to_owned()]));

    let names = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
    assert_eq!(compare("x", &names, &["a", "b"]), [""; 0]);
    assert_eq!(compare("x", &names, &["a"]), ["x names b"]);
    assert_eq!(compare("x", &names, &["a", "b", "c"]), ["x may name c and does not"]);
}
