//! Is the description of the admin API a valid and complete OpenAPI 3.1 document? Redocly's linter must find nothing.

use crate::support::clients;
use serde_json::Value;
use std::process::Command;

fn described() -> Value {
    serde_json::from_str(&keygate::control::admin::description()).unwrap()
}

#[test]
fn the_linter_finds_nothing_in_the_description() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("openapi.json");
    std::fs::write(&file, keygate::control::admin::description()).unwrap();
    // All recommended rules, without exceptions.
    let config = folder.path().join("redocly.yaml");
    std::fs::write(&config, "extends: [recommended]\n").unwrap();
    let linted = Command::new("node")
        .arg(clients().join("node_modules/@redocly/cli/bin/cli.js"))
        .arg("lint")
        .arg(&file)
        .arg("--config")
        .arg(&config)
        .args(["--format", "stylish", "--max-problems", "100"])
        .env("REDOCLY_TELEMETRY", "off")
        .env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true")
        .env("NO_COLOR", "1")
        .current_dir(folder.path())
        .output()
        .expect("node is installed");
    let output = format!(
        "{}{}",
        String::from_utf8_lossy(&linted.stdout),
        String::from_utf8_lossy(&linted.stderr)
    );
    assert!(linted.status.success(), "{output}");
    // The linter may print a note about Node.js versions first.
    let (_, verdict) = output
        .split_once("validating openapi.json")
        .unwrap_or_else(|| panic!("{output}"));
    assert!(verdict.contains("is valid"), "{output}");
    assert!(!verdict.contains("warning") && !verdict.contains("error"), "{output}");
}

#[test]
fn each_operation_says_what_it_takes_and_what_it_may_answer() {
    let described = described();
    assert_eq!(described["openapi"].as_str().map(|version| &version[..4]), Some("3.1."));
    for (path, item) in described["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let about = format!("{method} {path}");
            assert!(
                operation["summary"].as_str().is_some_and(|text| !text.is_empty()),
                "{about}"
            );
            let is_public = path == "/admin/v1/openapi.json";
            let reads = method == "get" || path == "/admin/v1/keys/verify";
            let scope = if reads { "admin:read" } else { "admin:write" };
            let security = if is_public {
                serde_json::json!([])
            } else {
                serde_json::json!([{ "bearer": [scope] }])
            };
            assert_eq!(operation["security"], security, "{about}");
            let responses: Vec<&str> = operation["responses"]
                .as_object()
                .unwrap()
                .keys()
                .map(String::as_str)
                .collect();
            assert!(responses.iter().any(|status| status.starts_with('2')), "{about}");
            for needed in ["401", "403", "429"] {
                assert_eq!(responses.contains(&needed), !is_public, "{about}: {needed}");
            }
            if operation.get("requestBody").is_some() {
                for needed in ["400", "413", "415", "422"] {
                    assert!(responses.contains(&needed), "{about}: {needed}");
                }
            }
        }
    }
}

#[test]
fn what_is_sent_knows_no_members_but_its_own() {
    let described = described();
    let schemas = described["components"]["schemas"].as_object().unwrap();
    for (path, item) in described["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            let text = schema.to_string();
            let Some((_, name)) = text.split_once("#/components/schemas/") else {
                assert!(schema.is_null(), "{method} {path}: {schema}");
                continue;
            };
            let schema = &schemas[name.split('"').next().unwrap()];
            let forms = schema["oneOf"]
                .as_array()
                .map_or(std::slice::from_ref(schema), Vec::as_slice);
            for form in forms {
                assert_eq!(form["additionalProperties"], false, "{name}");
            }
        }
    }
}
