//! What do the first minutes look like: a start without a configuration, its administrator, its folder, and the commands
//! that it prints?

use super::Development;
use super::EMBEDDED;
use super::keygate;
use super::mode;
use super::run;
use crate::support::Shell;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

#[test]
fn what_is_printed_names_the_program_as_path_finds_it() {
    let home = tempfile::tempdir().unwrap();
    let folder = Development::prepare(home.path());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let config = EMBEDDED.replace("127.0.0.1:8080", &address).replace(":9090", ":0");
    std::fs::write(folder.join("keygate.yaml"), config).unwrap();
    let bin = home.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let program = crate::support::program().canonicalize().unwrap();
    let said = || {
        let output = keygate(home.path()).arg("run").env("PATH", &bin).output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    let own = format!("choose another port: {} run --port", program.display());
    assert!(said().contains(&own), "{}", said());
    std::os::unix::fs::symlink(&program, bin.join("keygate")).unwrap();
    assert!(said().contains("choose another port: keygate run --port"), "{}", said());
    std::fs::remove_file(bin.join("keygate")).unwrap();
    std::os::unix::fs::symlink("/bin/true", bin.join("keygate")).unwrap();
    assert!(said().contains(&own), "{}", said());
}

#[test]
fn what_was_edited_and_what_was_made_outlives_the_process_for_its_owner_alone() {
    let home = tempfile::tempdir().unwrap();
    let folder = Development::folder(home.path());
    let edited = format!("{EMBEDDED}# edited\n");
    let mut development = Development::start(home, &edited);
    let text = std::fs::read_to_string(folder.join("keygate.yaml")).unwrap();
    assert!(text.ends_with("# edited\n"), "{text}");
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        // The test wrote `keygate.yaml` itself, with the default mode.
        let others = mode(&path) & 0o077;
        assert!(others == 0 || path.ends_with("keygate.yaml"), "{}", path.display());
    }
    // A key created while the gate runs is still listed after the gate has stopped.
    let create = ["keys", "create", "--name", "a", "--expires", "1d"];
    let key = run(development.home.path(), &create).expect_success();
    let id = key.split('_').nth(2).unwrap().to_owned();
    development.stop();
    let listed = run(development.home.path(), &["keys", "list"]).expect_success();
    assert!(listed.contains(&id), "{listed}");
}

/// Returns the file with the first administrator's credentials, which is in the data folder of `home`.
fn first_administrator_file(home: &Path) -> std::path::PathBuf {
    Development::folder(home).join("keygate.db.first-administrator")
}

#[test]
fn the_first_administrator_is_in_a_file_where_stderr_is_no_terminal_and_never_made_again() {
    let mut development = Development::start(tempfile::tempdir().unwrap(), EMBEDDED);
    let messages = development.stderr();
    let file = first_administrator_file(development.home.path());
    assert_eq!(mode(&file) & 0o777, 0o600);
    let named = messages.contains(file.canonicalize().unwrap().to_str().unwrap());
    assert!(named, "{messages}");
    let text = std::fs::read_to_string(&file).unwrap();
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in the file")).to_owned()
    };
    let (id, secret) = (value("client_id="), value("client_secret="));
    assert!(id.starts_with("client_") && secret.starts_with("kgs_"), "{id}");
    let home = development.home.path();
    let get = |secret: &str| {
        let mut command = keygate(home);
        command.args(["token", "get", "--client-id", &id]);
        command.env("KEYGATE_CLIENT_SECRET", secret).output().unwrap()
    };
    let token = get(&secret);
    assert!(token.status.success(), "{}", String::from_utf8_lossy(&token.stderr));
    let claims = claims_of(&String::from_utf8(token.stdout).unwrap());
    assert_eq!(claims["scope"], "admin:read admin:write");
    assert!(!get("kgs_other").status.success());
    assert!(!messages.contains("kgs_"), "{messages}");

    development.stop();
    std::fs::remove_file(&file).unwrap();
    let home = std::mem::replace(&mut development.home, tempfile::tempdir().unwrap());
    let config = std::fs::read_to_string(Development::folder(home.path()).join("keygate.yaml")).unwrap();
    let again = Development::start(home, &config);
    assert!(!first_administrator_file(again.home.path()).exists());
    assert!(!again.stderr().contains("irst administrator"), "{}", again.stderr());
}

#[test]
fn the_first_administrator_is_shown_on_a_terminal() {
    let home = tempfile::tempdir().unwrap();
    let folder = Development::prepare(home.path());
    std::fs::write(folder.join("keygate.yaml"), EMBEDDED).unwrap();
    // `script` gives the program a terminal, and copies to its own stdout what the program writes there.
    let program = keygate(home.path()).get_program().to_str().unwrap().to_owned();
    let command = format!("'{program}' keys list --data-dir '{}'", folder.display());
    let shown = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert_eq!(shown.matches("client_secret=kgs_").count(), 1, "{shown}");
    assert!(!first_administrator_file(home.path()).exists());
}

#[test]
fn no_first_administrator_is_made_where_a_token_lets_one_in() {
    let home = tempfile::tempdir().unwrap();
    let folder = Development::prepare(home.path());
    std::fs::write(folder.join("token"), "0123456789abcdef0123456789abcdef").unwrap();
    let admin = "admin:\n  token: \"file:token\"\n";
    let config = EMBEDDED.replacen("admin:\n", admin, 1);
    assert_ne!(config, EMBEDDED);
    std::fs::write(folder.join("keygate.yaml"), config).unwrap();
    let listed = run(home.path(), &["clients", "list", "--output", "json"]).expect_success();
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["items"], serde_json::json!([]), "{listed}");
    assert!(!first_administrator_file(home.path()).exists());
}

fn claims_of(token: &str) -> Value {
    assert_eq!((token.lines().count(), token.ends_with('\n')), (1, true));
    let claims = jsonwebtoken::dangerous::insecure_decode::<Value>(token.trim_end()).unwrap();
    claims.claims
}

#[test]
fn a_named_folder_is_used_and_no_other() {
    let home = tempfile::tempdir().unwrap();
    let named = home.path().join("some where");
    std::fs::create_dir(&named).unwrap();
    std::fs::write(named.join("keygate.yaml"), EMBEDDED).unwrap();
    let named = named.to_str().unwrap();
    run(home.path(), &["keys", "list", "--data-dir", named]).expect_success();
    assert!(Path::new(named).join("keygate.db").is_file());
    assert!(!Development::folder(home.path()).exists());
}

/// The data folder of an earlier version has an issuer and a keys file, and no store.
#[test]
fn a_folder_of_an_earlier_version_goes_on_and_says_how_to_begin_anew() {
    let home = tempfile::tempdir().unwrap();
    let folder = Development::prepare(home.path());
    let pem = keygate::jose::sign::SigningKey::generate_es256().unwrap().public_pem();
    std::fs::write(folder.join("dev-issuer.public.pem"), pem).unwrap();
    std::fs::write(folder.join("keys.yaml"), "keys: []\n").unwrap();
    let config = "listeners: [{ address: 127.0.0.1:8080 }]\nadmin: { address: 127.0.0.1:9090 }\n\
                  issuers:\n  dev:\n    issuer: https://keygate.localhost\n    audiences: [https://api.keygate.localhost]\n    \
                  algorithms: [ES256]\n    public_key_files: [dev-issuer.public.pem]\n\
                  api_keys: { file: keys.yaml }\nupstreams: { echo: { builtin: echo } }\n\
                  routes: [{ name: key, match: { path: \"/key/{*rest}\" }, accept: [api_key], upstream: echo }]\n";
    let development = Development::start(home, config);
    let messages = development.stderr();
    assert!(
        messages.contains("has no `store`") && messages.contains("To begin anew: mv "),
        "{messages}"
    );
    assert!(!messages.contains("clients create"), "{messages}");
    let create = ["keys", "create", "--name", "a", "--expires", "1d"];
    assert!(
        run(development.home.path(), &create)
            .expect_success()
            .starts_with("kg_live_")
    );
    let get = ["token", "get", "--client-id", "client_a"];
    assert!(
        run(development.home.path(), &get)
            .expect_failure(1)
            .contains("`token_endpoint` is not set")
    );
}

#[test]
fn the_printed_commands_do_what_their_comments_say() {
    // Five requests at once, and one more every twelve minutes: how long the commands take changes no status.
    let quota = "quota: 30/min, burst: 5";
    assert!(EMBEDDED.contains(quota));
    let config = EMBEDDED.replace(quota, "quota: 5/hour, burst: 5");
    for shell in Shell::ALL {
        let development = Development::start(tempfile::tempdir().unwrap(), &config);
        let messages = development.stderr();
        let commands: Vec<&str> = messages.lines().filter(|line| line.starts_with("  ")).collect();
        let mut lines = String::new();
        for command in &commands {
            lines.push_str(&format!("echo '>>>'\n{command}\n"));
        }
        let output = shell.paste(&lines, development.home.path(), &[]);
        let printed = String::from_utf8(output.stdout).unwrap();
        let sections: Vec<&str> = printed.split(">>>\n").skip(1).collect();
        assert_eq!(sections.len(), commands.len(), "{printed}");
        let mut statuses = Vec::new();
        for (command, section) in commands.iter().zip(&sections) {
            if command.trim_start().starts_with("curl -i ") {
                let comment = command.rsplit(": '").next().unwrap();
                let status = comment.split(|it: char| !it.is_ascii_digit()).next().unwrap();
                assert!(
                    section.starts_with(&format!("HTTP/1.1 {status} ")),
                    "{shell:?}: the comment says what comes: {command}\n{section}"
                );
                statuses.push(status);
            }
        }
        assert_eq!(statuses, ["200", "401", "200", "200", "403", "400", "401", "401"]);
        let section = |word: &str| {
            let place = commands.iter().position(|command| command.contains(word));
            sections[place.unwrap_or_else(|| panic!("no {word} in {messages}"))]
        };
        assert!(section("grant_type=client_credentials").contains("\"access_token\":"));
        assert!(section("200, with identity headers").contains("x-keygate-client-id"));
        // An earlier command sent the first of the five.
        let limited: Vec<&str> = section("for i in").lines().collect();
        assert_eq!(limited, ["200", "200", "200", "200", "429", "429", "429"]);
        let audit = section("audit list");
        for action in ["client.create", "client.delete"] {
            assert!(audit.contains(action), "{audit}");
        }
        let complaints = String::from_utf8(output.stderr).unwrap();
        for complaint in [
            "keygate: ",
            "event not found",
            "no matches found",
            "bad pattern",
            "command not found",
        ] {
            assert!(!complaints.contains(complaint), "{shell:?}: {complaints}");
        }
        assert!(!messages.contains("panicked"));
    }
}

#[test]
fn a_printed_path_is_one_word_in_every_shell() {
    let home = tempfile::tempdir().unwrap();
    let paths = ["/a/b-c.d", "/a b", "/it's", "/$(rm)", "/a!b", "/~ #*?[x]", "/a\\\"`b`"];
    for shell in Shell::ALL {
        // As the commands have it: in place of an argument, and in a substitution between double quotes.
        let line = |path: &&str| {
            let word = keygate::cli::introduction::shell_word(Path::new(path));
            format!("printf '%s\\n' {word} \"$(printf %s {word})\"\n")
        };
        let output = shell.paste(&paths.iter().map(line).collect::<String>(), home.path(), &[]);
        let printed = String::from_utf8(output.stdout).unwrap();
        let expected: Vec<&str> = paths.iter().flat_map(|path| [*path, *path]).collect();
        assert_eq!(
            printed.lines().collect::<Vec<_>>(),
            expected,
            "{shell:?}: {:?}",
            output.stderr
        );
    }
}
