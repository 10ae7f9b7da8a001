//! Do programs that are made from the description of the admin API find a gate that keeps to it?

use crate::support::Binary;
use crate::support::Program;
use crate::support::clients;
use std::fs;

pub(super) const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Returns a gate with everything that the admin API describes.
pub(super) fn gate() -> Binary {
    let yaml = format!(
        "listeners:\n  - address: 127.0.0.1:0\n\
         admin: {{ address: \"127.0.0.1:0\", token: {TOKEN} }}\n\
         store: {{ path: keygate.db }}\n\
         token_endpoint: {{ issuer: \"http://127.0.0.1\" }}\n\
         upstreams: {{ echo: {{ builtin: echo }} }}\n\
         routes:\n  - {{ name: all, match: {{ path: /all }}, accept: [api_key], upstream: echo }}\n"
    );
    Binary::start_with(&yaml, &[])
}

/// Schemathesis sends what the description allows and what it does not, and compares each response with it, with every check
/// that it has. `schemathesis_hooks.py` has the two right refusals that no schema can foresee, each with its reason.
#[test]
fn schemathesis_finds_no_difference_between_the_admin_api_and_its_description() {
    let gate = gate();
    let folder = tempfile::tempdir().unwrap();
    for file in ["schemathesis.toml", "schemathesis_hooks.py"] {
        fs::copy(clients().join(file), folder.path().join(file)).unwrap();
    }
    // From its own URL, Schemathesis would leave out the operation that serves the description.
    fs::write(
        folder.path().join("description.json"),
        keygate::control::admin::description(),
    )
    .unwrap();
    let url = format!("http://{}", gate.admin());
    let authorization = format!("Authorization: Bearer {TOKEN}");
    let output = Program::python_command("schemathesis")
        .arguments(&["run", "description.json", "--url", &url, "--header", &authorization])
        .folder(folder.path())
        .run();
    assert!(output.status.success(), "{}{}", output.stdout, output.stderr);
    // Every operation was sent something.
    let operations = described_operations();
    let tested = format!("Tested: {operations}");
    assert!(
        operations > 30 && output.stdout.contains(&tested),
        "{operations} operations: {}",
        output.stdout
    );
}

/// Returns the number of operations in the description.
pub(super) fn described_operations() -> usize {
    let described: serde_json::Value = serde_json::from_str(&keygate::control::admin::description()).unwrap();
    let paths = described["paths"].as_object().unwrap().values();
    paths.map(|path| path.as_object().unwrap().len()).sum()
}

#[test]
fn a_client_that_openapi_typescript_generates_creates_a_key_and_revokes_it() {
    let gate = gate();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    fs::write(file("description.json"), keygate::control::admin::description()).unwrap();
    fs::write(file("package.json"), r#"{ "type": "module" }"#).unwrap();
    fs::copy(clients().join("admin_client.ts"), file("admin_client.ts")).unwrap();
    std::os::unix::fs::symlink(clients().join("node_modules"), file("node_modules")).unwrap();
    let run = |program: Program| {
        let output = program.folder(folder.path()).run();
        assert!(output.status.success(), "{}{}", output.stdout, output.stderr);
        output.stdout
    };
    run(Program::node_command("openapi-typescript").arguments(&["description.json", "-o", "description.d.ts"]));
    // The types of the generated client agree with a program that uses it.
    let strict = [
        "--noEmit",
        "--strict",
        "--skipLibCheck",
        "--module",
        "nodenext",
        "--target",
        "es2022",
    ];
    run(Program::node_command("tsc")
        .arguments(&strict)
        .arguments(&["admin_client.ts"]));
    let url = format!("http://{}", gate.admin());
    let printed = run(Program::node_command("tsx").arguments(&["admin_client.ts", &url, TOKEN]));
    let lines: Vec<&str> = printed.lines().collect();
    let expected = [
        "made 201 ci orders:read",
        "revoked 200 revoked",
        "unknown 404 urn:keygate:problem:unknown-key",
    ];
    assert_eq!(lines, expected);
}
