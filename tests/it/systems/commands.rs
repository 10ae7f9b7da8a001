//! Do the commands in the examples work exactly as printed?

use super::ADMIN_TOKEN;
use super::ExampleGate;
use super::PEPPER;
use super::WRAPPING_KEY;
use crate::support::program;
use std::process::Command;

/// Returns the indented lines of the comment at the top, as a shell script.
fn script(example: &str) -> String {
    let path = format!("{}/conf/examples/{example}.yaml", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let comment = text.lines().take_while(|line| line.starts_with('#'));
    let lines: Vec<&str> = comment.filter_map(|line| line.strip_prefix("#   ")).collect();
    assert!(lines.len() >= 3, "{example}: {text}");
    lines.join("\n")
}

#[test]
fn the_commands_in_the_examples_work_as_they_stand_there() {
    for example in ["sixtyfour", "scaikey", "maverics", "api-portal"] {
        let system = ExampleGate::start(example);
        let public_key = include_str!("../../data/jose/rsa2048.public.pem");
        system.file("public.pem", public_key);
        let script = script(example);
        // Each command gets the running gate's configuration, as the example says.
        let whole = format!("set -eu\nkeygate() {{ \"$PROGRAM\" \"$@\" --config keygate.yaml; }}\n{script}\n");
        let output = Command::new("sh")
            .args(["-c", &whole])
            .current_dir(system.gate.folder())
            .env("PROGRAM", program())
            .env("KEYGATE_ADMIN_TOKEN", ADMIN_TOKEN)
            .env("KEYGATE_PEPPER", PEPPER)
            .env("KEYGATE_WRAPPING_KEY", WRAPPING_KEY)
            .output()
            .expect("there is a shell");
        assert!(output.status.success(), "{example}: {output:?}");
        // Every command that changes something reached the running gate. `clients keys` and `show` only print.
        let is_change = |line: &&str| !line.contains("clients keys") && !line.contains(" show ");
        let changes = script.lines().filter(is_change).count();
        let events = system.admin.get("/audit?limit=200")["items"]
            .as_array()
            .unwrap()
            .clone();
        let local = events
            .iter()
            .filter(|event| event["actor"].as_str().unwrap().starts_with("local"))
            .count();
        assert_eq!(local, changes, "{example}: {events:?}");
    }
}
