//! A configuration in several files: are all files read, their mistakes reported, and their changes noticed?

use crate::support::LocalGate;
use crate::support::get;
use keygate::cli;
use std::path::Path;
use std::process::ExitCode;

const MAIN: &str = "include: ['routes.d/*.yaml']\nlisteners: [{ address: '127.0.0.1:0' }]\nadmin: { address: '127.0.0.1:0' }\n\
                    upstreams: { echo: { builtin: echo } }\n";

fn route(name: &str) -> String {
    format!("routes: [{{ name: {name}, match: {{ path: /{name} }}, public: true, upstream: echo }}]\n")
}

/// Returns whether `keygate check` accepts `keygate.yaml` in `folder`, and its output.
fn check(folder: &Path) -> (bool, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let args = cli::args::Check {
        file: folder.join("keygate.yaml"),
        diff: None,
        allow_unset: false,
        output: cli::args::ReportForm::Text,
    };
    let code = cli::check::check(&args, &mut std::io::empty(), &mut out, &mut err);
    out.append(&mut err);
    (code == ExitCode::SUCCESS, String::from_utf8(out).unwrap())
}

const RELOADED: &str = "keygate_config_reloads_total{result=\"success\"}";
const REFUSED: &str = "keygate_config_reloads_total{result=\"failure\"}";
const LAST_SUCCESS: &str = "keygate_config_last_reload_success";

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

#[track_caller]
fn check_says(files: &[(&str, &str)], accepted: bool, words: &[&str]) {
    let folder = folder(files);
    let (found, messages) = check(folder.path());
    assert_eq!(found, accepted, "{messages}");
    for word in words {
        assert!(messages.contains(word), "{word:?} in {messages}");
    }
}

#[test]
fn names_hold_over_all_files() {
    let orders = "upstreams: { orders: { endpoints: ['127.0.0.1:1'] } }\n\
                  routes: [{ name: orders, match: { path: /orders }, public: true, upstream: echo, limits: [all] }]\n";
    let limits = "limits: { all: { by: ip, quota: 10/s } }\n\
                  routes: [{ name: other, match: { path: /other }, public: true, upstream: orders }]\n";
    let files = [
        ("keygate.yaml", MAIN),
        ("routes.d/a.yaml", orders),
        ("routes.d/b.yaml", limits),
    ];
    check_says(&files, true, &["keygate.yaml: good, 2 routes"]);
    check_says(
        &files[..2],
        false,
        &["routes.d/a.yaml:2:", "routes[0].limits[0]: no limit is named `all`"],
    );
    let twice = [
        ("keygate.yaml", MAIN),
        ("routes.d/a.yaml", orders),
        ("routes.d/b.yaml", orders),
    ];
    let words = [
        "routes.d/b.yaml:1:14: upstreams.orders",
        "routes.d/a.yaml:1",
        "another route has this name",
        "5 errors",
    ];
    check_says(&twice, false, &words);
}

#[test]
fn a_glob_may_match_nothing_and_a_plain_name_must_be_there() {
    let own = format!("{MAIN}{}", route("a"));
    check_says(&[("keygate.yaml", &own)], true, &["1 route"]);
    let plain = own.replace("'routes.d/*.yaml'", "routes.d/a.yaml");
    check_says(
        &[("keygate.yaml", &plain)],
        false,
        &["there is no such file", "hint", "1 error"],
    );
    // Where the glob matches nothing and the main file has no routes, the configuration is rejected.
    check_says(&[("keygate.yaml", MAIN)], false, &["`routes` is missing"]);
}

#[test]
fn one_file_is_included_once_under_whatever_name() {
    let all = MAIN.replace("'routes.d/*.yaml'", "'*/*.yaml', routes.d/a.yaml");
    check_says(
        &[("keygate.yaml", &all), ("routes.d/a.yaml", &route("a"))],
        false,
        &["included already", "1 error"],
    );
    let itself = MAIN.replace("'routes.d/*.yaml'", "'*.yaml'");
    check_says(
        &[("keygate.yaml", &format!("{itself}{}", route("a")))],
        false,
        &["is this file itself"],
    );
    let linked = folder(&[("keygate.yaml", MAIN), ("routes.d/a.yaml", &route("a"))]);
    std::os::unix::fs::symlink("a.yaml", linked.path().join("routes.d/b.yaml")).unwrap();
    let (accepted, messages) = check(linked.path());
    assert!(!accepted, "{messages}");
    assert!(messages.contains("routes.d/b.yaml is included already"), "{messages}");
    std::fs::remove_file(linked.path().join("routes.d/b.yaml")).unwrap();
    std::os::unix::fs::symlink("b.yaml", linked.path().join("routes.d/b.yaml")).unwrap();
    let (accepted, messages) = check(linked.path());
    assert!(!accepted, "{messages}");
    assert!(messages.contains("routes.d/b.yaml cannot be read"), "{messages}");
}

#[test]
fn sizes_and_numbers_are_bounded_over_all_files() {
    let comment = format!("{}# {}\n", route("a"), "x".repeat(600 * 1024));
    let other = comment.replace("name: a, match: { path: /a }", "name: b, match: { path: /b }");
    let one = [("keygate.yaml", MAIN), ("routes.d/a.yaml", comment.as_str())];
    check_says(&one, true, &["1 route"]);
    let two = [one[0], one[1], ("routes.d/b.yaml", other.as_str())];
    check_says(
        &two,
        false,
        &[
            "routes.d/b.yaml: a configuration is at most 1 MiB, all files together",
            "1 error",
        ],
    );
    let many = folder(&[
        ("keygate.yaml", &format!("{MAIN}{}", route("a"))),
        ("routes.d/0.yaml", "limits: { a: { by: ip, quota: 1/s } }"),
    ]);
    for number in 1..1000 {
        let text = format!("limits: {{ a{number}: {{ by: ip, quota: 1/s }} }}");
        std::fs::write(many.path().join(format!("routes.d/{number}.yaml")), text).unwrap();
    }
    assert!(check(many.path()).0);
    std::fs::write(
        many.path().join("routes.d/1000.yaml"),
        "limits: { b: { by: ip, quota: 1/s } }",
    )
    .unwrap();
    let (accepted, messages) = check(many.path());
    assert!(
        !accepted && messages.contains("more than 1000 files are included"),
        "{messages}"
    );
}

#[test]
fn paths_in_an_included_file_are_relative_to_its_folder() {
    let pem = keygate::jose::sign::SigningKey::generate_es256().unwrap().public_pem();
    let issuer = "issuers: { main: { issuer: 'https://a.example', audiences: any, public_key_files: [keys/a.pem] } }\n\
                  routes: [{ name: a, match: { path: /a }, accept: [jwt], upstream: echo }]\n";
    let files = [
        ("keygate.yaml", MAIN),
        ("routes.d/a.yaml", issuer),
        ("routes.d/keys/a.pem", pem.as_str()),
    ];
    check_says(&files, true, &["1 route"]);
    let files = [files[0], files[1], ("keys/a.pem", pem.as_str())];
    check_says(
        &files,
        false,
        &[
            "routes.d/a.yaml:1:",
            "issuers.main.public_key_files[0]",
            "there is no such file",
        ],
    );
}

#[test]
fn variables_work_in_included_files_and_an_unset_one_is_an_error_there() {
    let unset = route("a").replace("upstream: echo", "upstream: '${KEYGATE_NOT_SET}'");
    let files = [("keygate.yaml", MAIN), ("routes.d/a.yaml", unset.as_str())];
    check_says(&files, false, &["routes.d/a.yaml:1:", "KEYGATE_NOT_SET is not set"]);
}

#[test]
fn a_file_that_comes_goes_or_changes_is_noticed_and_a_broken_one_changes_nothing() {
    let gate = LocalGate::start(&format!("{MAIN}{}", route("main")));
    let folder = gate.folder().join("routes.d");
    let status = |path: &str| get(gate.data(), path).status;
    assert_eq!((status("/main"), status("/a")), (200, 404));
    // The folder of the glob does not exist at the start.
    std::fs::create_dir(&folder).unwrap();
    gate.replace_file("routes.d/a.yaml", &route("a"));
    gate.check_files();
    assert_eq!((status("/a"), status("/b")), (200, 404));
    gate.replace_file("routes.d/a.yaml", &route("b"));
    gate.check_files();
    assert_eq!((status("/a"), status("/b")), (404, 200));
    let (good, bad) = (gate.metric(RELOADED), gate.metric(REFUSED));
    gate.replace_file("routes.d/broken.yaml", "routes: [{ name: main }]\n");
    gate.check_files();
    assert_eq!(gate.metric(REFUSED), bad + 1.0);
    let report = get(gate.admin(), "/readyz").text();
    assert!(report.contains("routes.d/broken.yaml:1:"), "{report}");
    assert_eq!((status("/main"), status("/b"), gate.metric(RELOADED)), (200, 200, good));
    std::fs::remove_file(folder.join("broken.yaml")).unwrap();
    // A removed file is noticed at the second check: an editor may have removed it only to write it anew.
    gate.check_files();
    assert_eq!(gate.metric(LAST_SUCCESS), 0.0);
    gate.check_files();
    assert_eq!(gate.metric(LAST_SUCCESS), 1.0, "it is good again");
    std::fs::remove_file(folder.join("a.yaml")).unwrap();
    gate.check_files();
    assert_eq!((status("/main"), status("/b")), (200, 200));
    gate.check_files();
    assert_eq!((status("/main"), status("/b")), (200, 404));
}
