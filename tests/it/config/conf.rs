//! Do the files in `conf/` load, show every key, and match the schema?

use keygate::config;
use serde_json::Value;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;

/// Returns every configuration in and below `conf/`. Lists the files that are
/// not configurations, so that a new configuration is never left out.
fn conf_files() -> Vec<PathBuf> {
    let not_configurations = [
        "keys.yaml",
        "dev-issuer.public.pem",
        "dev-ca.pem",
        "dev-client.private.pem",
        "dev-tls.pem",
        "dev-tls.private.pem",
    ];
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::from("conf")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path.extension().is_none_or(|extension| extension != "d") {
                folders.push(path);
            } else if path.is_dir() {
                // A folder `*.d` holds files that the configuration beside it includes.
            } else if !not_configurations.iter().any(|name| path.ends_with(name)) {
                files.push(path);
            }
        }
    }
    files.sort();
    assert!(files.len() >= 6, "{files:?}");
    files
}

fn env(name: &str) -> Option<String> {
    match name {
        "KEYGATE_PEPPER"
        | "INTROSPECTION_SECRET"
        | "PARTNER_CLIENT_SECRET"
        | "OPENAI_API_KEY"
        | "ANTHROPIC_API_KEY" => Some("a secret of the tests".to_owned()),
        "KEYGATE_ADMIN_TOKEN" => Some("a-token-of-the-tests-that-is-long-enough".to_owned()),
        "KEYGATE_WRAPPING_KEY" => Some("0f".repeat(32)),
        _ => None,
    }
}

fn json(path: &Path) -> Value {
    serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn every_file_in_conf_loads() {
    for path in conf_files() {
        let text = std::fs::read_to_string(&path).unwrap();
        if let Err(errors) = config::parse(&text, &path, &env) {
            panic!("{errors}");
        }
    }
}

#[test]
fn every_file_in_conf_is_as_the_schema_says() {
    let schema = config::schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for path in conf_files() {
        let errors: Vec<String> = validator
            .iter_errors(&json(&path))
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", path.display());
    }
}

/// Included files have a schema of their own: editors check them without the file that includes them.
#[test]
fn every_included_file_in_conf_is_as_its_schema_says() {
    let schema = config::included_schema();
    jsonschema::draft202012::meta::validate(&schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut seen = 0;
    for entry in std::fs::read_dir("conf/examples/several-files.d").unwrap() {
        let path = entry.unwrap().path();
        let instance = json(&path);
        assert!(validator.is_valid(&instance), "{}", path.display());
        for (key, value) in [
            ("listeners", serde_json::json!([{ "address": "127.0.0.1:1" }])),
            ("rotues", true.into()),
        ] {
            let mut wrong = instance.clone();
            wrong[key] = value;
            assert!(!validator.is_valid(&wrong), "{key}");
        }
        seen += 1;
    }
    assert!(seen >= 2);
}

#[test]
fn the_schema_is_of_draft_2020_12_and_has_a_title() {
    let schema = config::schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["title"], "Keygate configuration");
    jsonschema::draft202012::meta::validate(&schema).unwrap();
    let mut keys = BTreeMap::new();
    visit(&schema, &schema, None, "", &mut keys);
    for (key, (_, described)) in keys {
        assert!(described, "{key} has no description");
    }
}

/// Operators look keys up in keygate.yaml, so that file shows every key and no unknown key.
#[test]
fn keygate_yaml_shows_every_key_there_is() {
    // A key in a comment, such as `# pepper: "${KEYGATE_PEPPER}"`, counts as shown.
    let text: Vec<String> = std::fs::read_to_string("conf/keygate.yaml")
        .unwrap()
        .lines()
        .map(|line| {
            let (indent, comment) = line.split_at(line.len() - line.trim_start().len());
            let shown = comment.strip_prefix("# ").filter(|comment| {
                comment.split_once(": ").is_some_and(|(key, value)| {
                    key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') && !value.contains(' ')
                })
            });
            shown.map_or_else(|| line.to_owned(), |shown| format!("{indent}{shown}"))
        })
        .collect();
    let instance: Value = serde_yaml::from_str(&text.join("\n")).unwrap();
    let schema = config::schema();
    let mut keys = BTreeMap::new();
    visit(&schema, &schema, Some(&instance), "", &mut keys);
    let unseen: BTreeSet<&String> = keys.iter().filter(|(_, (seen, _))| !seen).map(|(key, _)| key).collect();
    assert!(unseen.is_empty(), "not in conf/keygate.yaml: {unseen:?}");
    assert!(keys.len() > 70, "the walk found only {} keys", keys.len());
    let validator = jsonschema::validator_for(&schema).unwrap();
    assert!(validator.is_valid(&instance));
}

/// Walks schema and instance side by side and records for each
/// key whether the instance has it and the schema describes it.
fn visit(
    root: &Value,
    schema: &Value,
    instance: Option<&Value>,
    path: &str,
    keys: &mut BTreeMap<String, (bool, bool)>,
) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = root.pointer(reference.trim_start_matches('#')).unwrap();
        visit(root, target, instance, path, keys);
    }
    for choice in schema["anyOf"].as_array().into_iter().flatten() {
        visit(root, choice, instance, path, keys);
    }
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{key}");
        let inside = instance.and_then(|instance| instance.get(key));
        let entry = keys.entry(path.clone()).or_insert((false, false));
        entry.0 |= inside.is_some();
        let target = property["$ref"]
            .as_str()
            .and_then(|reference| root.pointer(reference.trim_start_matches('#')));
        entry.1 |=
            property["description"].is_string() || target.is_some_and(|target| target["description"].is_string());
        visit(root, property, inside, &path, keys);
    }
    if schema["additionalProperties"].is_object() {
        let empty = serde_json::Map::new();
        let entries = instance.and_then(Value::as_object).unwrap_or(&empty);
        visit(root, &schema["additionalProperties"], None, &format!("{path}.*"), keys);
        for entry in entries.values() {
            visit(
                root,
                &schema["additionalProperties"],
                Some(entry),
                &format!("{path}.*"),
                keys,
            );
        }
    }
    if schema["items"].is_object() {
        visit(root, &schema["items"], None, &format!("{path}[]"), keys);
        for item in instance.and_then(Value::as_array).into_iter().flatten() {
            visit(root, &schema["items"], Some(item), &format!("{path}[]"), keys);
        }
    }
}
