//! A configuration in several files: does the program read it, reject its errors, and notice its changes?

use crate::support::Binary;
use crate::support::get;
use crate::support::wait_until;
use std::path::Path;
use std::process::Command;

const MAIN: &str = "include: ['routes.d/*.yaml']\nlisteners: [{ address: '127.0.0.1:0' }]\nadmin: { address: '127.0.0.1:0' }\n\
                    upstreams: { echo: { builtin: echo } }\n";

fn route(name: &str) -> String {
    format!("routes: [{{ name: {name}, match: {{ path: /{name} }}, public: true, upstream: echo }}]\n")
}

/// Returns the exit code and the output of `keygate check` for `keygate.yaml` in `folder`.
fn check(folder: &Path) -> (Option<i32>, String) {
    let output = Command::new(crate::support::program())
        .args(["check", "keygate.yaml"])
        .current_dir(folder)
        .output()
        .unwrap();
    let messages = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (output.status.code(), messages)
}

const RELOADED: &str = "keygate_config_reloads_total{result=\"success\"}";
const REFUSED: &str = "keygate_config_reloads_total{result=\"failure\"}";
const LAST_SUCCESS: &str = "keygate_config_last_reload_success";

/// Replaces a file by a rename.
fn replace(path: &Path, text: &str) {
    let staged = path.with_extension("staged");
    std::fs::write(&staged, text).unwrap();
    std::fs::rename(staged, path).unwrap();
}

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
fn check_says(files: &[(&str, &str)], code: i32, words: &[&str]) {
    let folder = folder(files);
    let (found, messages) = check(folder.path());
    assert_eq!(found, Some(code), "{messages}");
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
    check_says(&files, 0, &["keygate.yaml: good, 2 routes"]);
    check_says(
        &files[..2],
        1,
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
    check_says(&twice, 1, &words);
}

#[test]
fn a_glob_may_match_nothing_and_a_plain_name_must_be_there() {
    let own = format!("{MAIN}{}", route("a"));
    check_says(&[("keygate.yaml", &own)], 0, &["1 route"]);
    let plain = own.replace("'routes.d/*.yaml'", "routes.d/a.yaml");
    check_says(
        &[("keygate.yaml", &plain)],
        1,
        &["there is no such file", "hint", "1 error"],
    );
    // An empty configuration is rejected.
    check_says(&[("keygate.yaml", MAIN)], 1, &["`routes` is missing"]);
}

#[test]
fn one_file_is_included_once_under_whatever_name() {
    let all = MAIN.replace("'routes.d/*.yaml'", "'*/*.yaml', routes.d/a.yaml");
    check_says(
        &[("keygate.yaml", &all), ("routes.d/a.yaml", &route("a"))],
        1,
        &["included already", "1 error"],
    );
    let itself = MAIN.replace("'routes.d/*.yaml'", "'*.yaml'");
    check_says(
        &[("keygate.yaml", &format!("{itself}{}", route("a")))],
        1,
        &["is this file itself"],
    );
    let linked = folder(&[("keygate.yaml", MAIN), ("routes.d/a.yaml", &route("a"))]);
    std::os::unix::fs::symlink("a.yaml", linked.path().join("routes.d/b.yaml")).unwrap();
    let (code, messages) = check(linked.path());
    assert_eq!(code, Some(1), "{messages}");
    assert!(messages.contains("routes.d/b.yaml is included already"), "{messages}");
    std::fs::remove_file(linked.path().join("routes.d/b.yaml")).unwrap();
    std::os::unix::fs::symlink("b.yaml", linked.path().join("routes.d/b.yaml")).unwrap();
    let (code, messages) = check(linked.path());
    assert_eq!(code, Some(1), "{messages}");
    assert!(messages.contains("routes.d/b.yaml cannot be read"), "{messages}");
}

#[test]
fn sizes_and_numbers_are_bounded_over_all_files() {
    let comment = format!("{}# {}\n", route("a"), "x".repeat(600 * 1024));
    let other = comment.replace("name: a, match: { path: /a }", "name: b, match: { path: /b }");
    let one = [("keygate.yaml", MAIN), ("routes.d/a.yaml", comment.as_str())];
    check_says(&one, 0, &["1 route"]);
    let two = [one[0], one[1], ("routes.d/b.yaml", other.as_str())];
    check_says(
        &two,
        1,
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
    assert_eq!(check(many.path()).0, Some(0));
    std::fs::write(
        many.path().join("routes.d/1000.yaml"),
        "limits: { b: { by: ip, quota: 1/s } }",
    )
    .unwrap();
    let (code, messages) = check(many.path());
    assert!(
        code == Some(1) && messages.contains("more than 1000 files are included"),
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
    check_says(&files, 0, &["1 route"]);
    let files = [files[0], files[1], ("keys/a.pem", pem.as_str())];
    check_says(
        &files,
        1,
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
    check_says(&files, 1, &["routes.d/a.yaml:1:", "KEYGATE_NOT_SET is not set"]);
}

#[test]
fn a_file_that_comes_goes_or_changes_is_noticed_and_a_broken_one_changes_nothing() {
    let binary = Binary::start_with(&format!("{MAIN}{}", route("main")), &[]);
    let folder = binary.folder().join("routes.d");
    let status = |path: &str| get(binary.data(), path).status;
    assert_eq!((status("/main"), status("/a")), (200, 404));
    // The folder is created later.
    std::fs::create_dir(&folder).unwrap();
    replace(&folder.join("a.yaml"), &route("a"));
    wait_until("/a is there", || status("/a") == 200);
    replace(&folder.join("a.yaml"), &route("b"));
    wait_until("/b is there", || status("/b") == 200);
    assert_eq!(status("/a"), 404);
    let (good, bad) = (binary.metric(RELOADED), binary.metric(REFUSED));
    replace(&folder.join("broken.yaml"), "routes: [{ name: main }]\n");
    wait_until("it is refused", || binary.metric(REFUSED) > bad);
    binary.wait_for_output("routes.d/broken.yaml:1:");
    assert_eq!(
        (status("/main"), status("/b"), binary.metric(RELOADED)),
        (200, 200, good)
    );
    std::fs::remove_file(folder.join("broken.yaml")).unwrap();
    wait_until("it is good again", || binary.metric(LAST_SUCCESS) == 1.0);
    std::fs::remove_file(folder.join("a.yaml")).unwrap();
    wait_until("/b is gone", || status("/b") == 404);
    assert_eq!(status("/main"), 200);
}
