//! Which starts are refused, and what do they say?

use super::Development;
use super::EMBEDDED;
use super::GOOD;
use super::run;

#[test]
fn run_refuses_a_missing_and_a_broken_file_with_every_mistake() {
    let home = tempfile::tempdir().unwrap();
    assert!(
        run(home.path(), &["run", "--config", "absent.yaml"])
            .expect_failure(1)
            .contains("absent.yaml")
    );
    let broken = GOOD
        .replace("path: /a", "path: a")
        .replace("upstream: echo", "upstream: ehco");
    std::fs::write(home.path().join("k.yaml"), broken).unwrap();
    let messages = run(home.path(), &["run", "--config", "k.yaml"]).expect_failure(1);
    assert!(
        messages.contains("match.path") && messages.contains("did you mean `echo`?") && messages.contains("2 errors"),
        "{messages}"
    );
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1, "nothing was made");
}

#[test]
fn a_port_that_is_taken_is_said_with_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    let folder = Development::prepare(home.path());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let config = EMBEDDED.replace("127.0.0.1:8080", &address);
    std::fs::write(folder.join("keygate.yaml"), config.replace(":9090", ":0")).unwrap();
    let messages = run(home.path(), &["run"]).expect_failure(1);
    assert!(
        messages.contains(&address) && messages.contains("keygate.yaml") && messages.contains("choose another port"),
        "{messages}"
    );
}

#[test]
fn a_port_of_ones_own_is_kept_and_reaches_the_issuer_too() {
    let home = tempfile::tempdir().unwrap();
    let folder = Development::prepare(home.path());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    std::fs::write(
        folder.join("keygate.yaml"),
        EMBEDDED.replace("127.0.0.1:9090", "127.0.0.1:0"),
    )
    .unwrap();
    let messages = run(home.path(), &["run", "--port", &port.to_string()]).expect_failure(1);
    let cure = format!("run --port {}", u32::from(port) + 1);
    assert!(
        messages.contains(&format!("127.0.0.1:{port}")) && (port == u16::MAX || messages.contains(&cure)),
        "{messages}"
    );
    let text = std::fs::read_to_string(folder.join("keygate.yaml")).unwrap();
    assert!(
        text.contains(&format!("\n  issuer: http://127.0.0.1:{port}\n")) && !text.contains("8080"),
        "{text}"
    );
    let with_config = run(home.path(), &["run", "--port", "1", "--config", "k.yaml"]).expect_failure(2);
    assert!(with_config.contains("--config"), "{with_config}");
}

#[test]
fn an_address_of_no_interface_is_said_with_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    // RFC 5737 keeps this address for documentation: no machine has it.
    let yaml = "listeners: [{ address: 192.0.2.1:8080 }]
upstreams: { e: { builtin: echo } }
routes: [{ name: a, match: { path: / }, public: true, upstream: e }]
";
    std::fs::write(home.path().join("keygate.yaml"), yaml).unwrap();
    let said = run(home.path(), &["run", "--config", "keygate.yaml"]).expect_failure(1);
    assert!(said.contains("cannot listen on 192.0.2.1:8080"), "{said}");
    assert!(said.contains("no interface of this machine has this address"), "{said}");
}
