//! `keygate check`: is this configuration valid, and does it require as much as the old one?

use crate::cli::args::Check;
use crate::cli::args::ReportForm;
use crate::cli::check_findings;
use crate::cli::check_findings::Diff;
use crate::cli::check_findings::Findings;
use crate::cli::check_json;
use crate::config::Config;
use crate::explain::date;
use crate::model::clock::Timestamp;
use std::io;
use std::io::Read;
use std::io::Write;
use std::process::ExitCode;

/// The exit code of a valid configuration that requires less than the old one.
const WEAKER: u8 = 3;

/// Loads the configuration of `args` and its key files, as `keygate run` would. Prints the result on `out`, and the
/// mistakes and warnings on `err`; as JSON, everything on `out`. With an old configuration, prints each route that requires
/// less than there.
///
/// Returns exit code 0 for a valid configuration, 1 if the configuration or the old one is invalid, and 3 if a route
/// requires less than in the old one.
pub fn check(args: &Check, stdin: &mut dyn Read, out: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
    // Ignore errors of writing: the result is the exit code, and a closed pipe does not change it.
    let findings = match check_findings::find(args, stdin) {
        Ok(findings) => findings,
        Err(error) => {
            let _ = writeln!(err, "keygate: {error}");
            return ExitCode::FAILURE;
        }
    };
    let _ = match args.output {
        ReportForm::Text => write_text(&findings, out, err),
        ReportForm::Json => out.write_all(check_json::report(&findings).as_bytes()),
    };
    match (&findings.config, findings.diff.as_ref().map(|diff| &diff.weakenings)) {
        (Err(_), _) | (Ok(_), Some(Err(_))) => ExitCode::FAILURE,
        (Ok(_), Some(Ok(weakenings))) if !weakenings.is_empty() => ExitCode::from(WEAKER),
        (Ok(_), Some(Ok(_)) | None) => ExitCode::SUCCESS,
    }
}

fn write_text(findings: &Findings, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<()> {
    let config = match &findings.config {
        Ok(config) => config,
        Err(error) => return writeln!(err, "{error}"),
    };
    for warning in &findings.warnings {
        writeln!(err, "{warning}")?;
    }
    let routes = config.routes.len();
    let plural = if routes == 1 { "" } else { "s" };
    let warnings = match findings.warnings.len() {
        0 => String::new(),
        1 => ", 1 warning".to_owned(),
        count => format!(", {count} warnings"),
    };
    for unchecked in &findings.unchecked {
        writeln!(err, "{unchecked}")?;
    }
    let unchecked = match findings.unchecked.len() {
        0 => String::new(),
        1 => ", 1 variable not set".to_owned(),
        count => format!(", {count} variables not set"),
    };
    writeln!(
        out,
        "{}: good, {routes} route{plural}{warnings}{unchecked}",
        findings.name.display()
    )?;
    write_certificates(config, findings.now, out)?;
    let Some(Diff { old, weakenings }) = &findings.diff else {
        return Ok(());
    };
    match weakenings {
        Ok(weakenings) if weakenings.is_empty() => writeln!(out, "nothing asks for less than in {}", old.display()),
        Ok(weakenings) => {
            for weakening in weakenings {
                writeln!(out, "{weakening}")?;
            }
            writeln!(out, "{} weaker than in {}", weakenings.len(), old.display())
        }
        Err(error) => writeln!(err, "{error}"),
    }
}

/// Writes a line for each certificate of the listeners: its names, its expiry, and the problem of its validity.
fn write_certificates(config: &Config, now: Timestamp, out: &mut dyn Write) -> io::Result<()> {
    for (listener, certificate) in config.certificates() {
        let problem = certificate.validity_problem(now);
        let problem = problem.map(|problem| format!("; it {problem}")).unwrap_or_default();
        writeln!(
            out,
            "{}: {} for {}, until {}{problem}",
            listener.address,
            certificate.file.display(),
            certificate.names_text(),
            date(certificate.not_after),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// Returns the exit code, stdout and stderr of `keygate check` with `args`.
    fn run(args: &[&str], stdin: &str) -> (ExitCode, String, String) {
        use clap::Parser;

        #[derive(Parser)]
        struct CommandLine {
            #[command(flatten)]
            check: Check,
        }

        let args = CommandLine::parse_from(["check"].iter().chain(args)).check;
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = check(&args, &mut stdin.as_bytes(), &mut out, &mut err);
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    const GOOD: &str = "listeners: [{ address: '127.0.0.1:0' }]\nupstreams: { echo: { builtin: echo } }\n\
                        routes: [{ name: a, match: { path: /a }, public: true, upstream: echo }]\n";

    #[test]
    fn a_configuration_is_read_from_stdin() {
        let (code, out, err) = run(&["-"], GOOD);
        assert_eq!(
            (code, &*out, &*err),
            (ExitCode::SUCCESS, "<stdin>: good, 1 route\n", "")
        );
        let (code, _, err) = run(&["-"], &GOOD.replace("routes", "rotues"));
        assert_eq!(code, ExitCode::FAILURE);
        assert!(
            err.contains("<stdin>:3:1: rotues: unknown key `rotues`\n    hint: did you mean `routes`?"),
            "{err}"
        );
        let (code, _, err) = run(&["-"], &"# a comment\n".repeat(200_000));
        assert_eq!(code, ExitCode::FAILURE);
        assert!(err.contains("at most 1 MiB"), "{err}");
    }

    #[test]
    fn either_side_of_a_comparison_is_read_from_stdin_and_never_both() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keygate.yaml");
        std::fs::write(&path, GOOD).unwrap();
        let path = path.to_str().unwrap();
        let closed = GOOD.replace("public: true", "accept: [jwt]")
            + "issuers: { main: { issuer: 'https://a.example', audiences: any, discovery: true } }\n";
        let (code, out, _) = run(&[path, "--diff", "-"], &closed);
        assert_eq!(code, ExitCode::from(WEAKER), "{out}");
        assert!(out.contains("weaker than in <stdin>"), "{out}");
        let (code, out, _) = run(&["-", "--diff", path], &closed);
        assert_eq!(code, ExitCode::SUCCESS, "{out}");
        let (code, _, err) = run(&["-", "--diff", "-"], GOOD);
        assert_eq!(code, ExitCode::FAILURE);
        assert!(err.contains("twice"), "{err}");
    }

    #[test]
    fn a_comparison_with_itself_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keygate.yaml");
        std::fs::write(&path, GOOD).unwrap();
        let (link, copy) = (folder.path().join("link.yaml"), folder.path().join("copy.yaml"));
        std::os::unix::fs::symlink(&path, &link).unwrap();
        std::fs::copy(&path, &copy).unwrap();
        for (old, said) in [(&path, true), (&link, true), (&copy, false)] {
            let (code, _, err) = run(&[path.to_str().unwrap(), "--diff", old.to_str().unwrap()], "");
            assert_eq!((code, err.contains("with itself")), (ExitCode::SUCCESS, said), "{err}");
        }
    }

    #[test]
    fn json_has_every_problem_with_its_place() {
        let (code, out, err) = run(
            &["-", "--output", "json"],
            &GOOD.replace("echo }]", "ehco, plugins: [] }]"),
        );
        assert_eq!((code, &*err), (ExitCode::FAILURE, ""));
        let report: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(
            (&report["file"], &report["result"]),
            (&"<stdin>".into(), &"invalid".into())
        );
        let problems = report["problems"].as_array().unwrap();
        let codes: Vec<&Value> = problems.iter().map(|problem| &problem["code"]).collect();
        assert_eq!(codes, ["dangling-reference", "unknown-key"]);
        let first = serde_json::json!({
            "severity": "error",
            "file": "<stdin>",
            "line": 3,
            "column": 56,
            "path": "routes[0].upstream",
            "code": "dangling-reference",
            "message": "no upstream is named `ehco`",
            "hint": "did you mean `echo`?",
        });
        assert_eq!(problems[0], first);
    }

    #[test]
    fn a_variable_that_is_not_set_is_said_in_both_forms() {
        let text = GOOD.to_owned() + "admin: { address: '127.0.0.1:0', token: '${KEYGATE_TEST_NEVER_SET}' }\n";
        let (code, _, err) = run(&["-"], &text);
        assert_eq!(code, ExitCode::FAILURE, "{err}");
        let (code, out, err) = run(&["-", "--allow-unset"], &text);
        assert_eq!(
            (code, &*out),
            (ExitCode::SUCCESS, "<stdin>: good, 1 route, 1 variable not set\n")
        );
        assert!(
            err.contains("admin.token: warning: ") && err.contains(", so this was not checked"),
            "{err}"
        );
        let (code, out, err) = run(&["-", "--allow-unset", "-o", "json"], &text);
        assert_eq!((code, &*err), (ExitCode::SUCCESS, ""));
        let report: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(report["result"], "good");
        let problem = &report["problems"][0];
        assert_eq!(
            (&problem["severity"], &problem["code"], &problem["path"]),
            (&"warning".into(), &"unresolved-variable".into(), &"admin.token".into())
        );
        assert!(
            problem["message"].as_str().unwrap().contains("so this was not checked"),
            "{report}"
        );
    }

    #[test]
    fn json_of_a_good_configuration_has_its_warnings_and_what_became_weaker() {
        let folder = tempfile::tempdir().unwrap();
        let old = folder.path().join("old.yaml");
        std::fs::write(&old, GOOD.replace("/a }", "/a, host: a.example }")).unwrap();
        std::fs::write(folder.path().join("keys.yaml"), "keys: [{ id: x }]\n").unwrap();
        let new = folder.path().join("new.yaml");
        let (old, new_text) = (old.to_str().unwrap(), format!("{GOOD}api_keys: {{ pepper: abc }}\n"));
        std::fs::write(&new, &new_text).unwrap();
        let (code, out, err) = run(&[new.to_str().unwrap(), "--diff", old, "-o", "json"], "");
        assert_eq!((code, &*err), (ExitCode::from(WEAKER), ""));
        let report: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((&report["result"], &report["routes"]), (&"weaker".into(), &1.into()));
        let warnings = report["problems"].as_array().unwrap();
        assert!(
            warnings
                .iter()
                .any(|warning| warning["code"] == "short-pepper" && warning["severity"] == "warning")
        );
        assert_eq!(report["weaker"][0]["routes"], serde_json::json!(["a"]));
        // A mistake in another file than the configuration has its place too.
        std::fs::write(&new, format!("{GOOD}api_keys: {{ file: keys.yaml }}\n")).unwrap();
        let (_, out, _) = run(&[new.to_str().unwrap(), "-o", "json"], "");
        let report: Value = serde_json::from_str(&out).unwrap();
        let problem = &report["problems"][0];
        assert!(problem["file"].as_str().unwrap().ends_with("keys.yaml"), "{report}");
        assert_eq!((&problem["line"], &problem["code"]), (&1.into(), &"keys-file".into()));
    }

    /// Returns the warnings of `keygate check` about a file with `more` at its end, and these keys.
    fn warnings(more: &str, keys: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keygate.yaml");
        let text = format!(
            "listeners: [{{ address: '127.0.0.1:0' }}]\nupstreams: {{ echo: {{ builtin: echo }} }}\n\
             api_keys: {{ file: keys.yaml }}\n{more}"
        );
        std::fs::write(&path, text).unwrap();
        std::fs::write(folder.path().join("keys.yaml"), format!("keys:{keys}\n")).unwrap();
        let public = include_str!("../../tests/data/jose/p256.public.pem");
        std::fs::write(folder.path().join("issuer.pem"), public).unwrap();
        let (code, _, err) = run(&[path.to_str().unwrap()], "");
        assert_eq!(code, ExitCode::SUCCESS, "{err}");
        let lines = err.lines().filter_map(|line| line.split_once(": warning: "));
        lines
            .map(|(place, problem)| format!("{}: {problem}", place.rsplit(' ').next().unwrap()))
            .collect()
    }

    #[test]
    fn what_no_key_of_the_keys_file_meets_is_said() {
        let route = "limits: { few: { by: [client, ip], quota: 5/s } }\n\
            routes: [{ name: a, match: { path: /a }, accept: [api_key], limits: [few], clients: [billing], \
            organizations: [acme], scopes: { all: [a, b] }, upstream: echo }]\n";
        let key = |id: u8, more: &str| {
            format!(
                "\n  - {{ id: {id:016}, digest: 'sha256:{}', name: k, env: live, created_at: 2026-01-01T00:00:00Z, \
                 expires_at: never{more} }}",
                format!("{id:02}").repeat(32)
            )
        };
        let nobody = [
            "routes[0].limits[0]: `limits.few` counts by `client`, and no key of the keys file has one: each counts by itself",
            "routes[0].clients: no key of the keys file meets `clients`, so every request is refused",
            "routes[0].organizations: no key of the keys file meets `organizations`, so every request is refused",
            "routes[0].scopes: no key of the keys file meets `scopes`, so every request is refused",
        ];
        assert_eq!(warnings(route, &key(1, "")), nobody);
        let other = key(1, ", client: other, organization: other, scopes: [a]");
        assert_eq!(warnings(route, &other), nobody[1..]);
        let good = key(2, ", client: billing, organization: acme, scopes: [a, b, c]");
        assert_eq!(warnings(route, &(other + &good)), [""; 0]);
        let any = route.replace("all: [a, b]", "any: [d, e]");
        assert_eq!(warnings(&any, &good), nobody[3..]);
        assert_eq!(warnings(&any.replace("[d, e]", "[d, c]"), &good), [""; 0]);
        // There will be keys.
        assert_eq!(warnings(route, " []"), [""; 0]);
        // Tokens may meet what keys do not.
        let both = route.replace("accept: [api_key]", "accept: [jwt, api_key]")
            + "issuers: { main: { issuer: 'https://a.example', audiences: any, public_key_files: [issuer.pem] } }\n";
        assert_eq!(warnings(&both, &key(1, "")), nobody[..1]);
    }

    #[test]
    fn a_route_that_gets_what_a_stricter_one_misses_is_said() {
        let route = |name: &str, matched: &str, more: &str| {
            format!("  - {{ name: {name}, match: {{ path: /a{matched} }}, upstream: echo, {more} }}\n")
        };
        let said = |routes: &[String]| {
            let (code, _, err) = run(
                &["-"],
                &format!(
                    "listeners: [{{ address: '127.0.0.1:0' }}]\nupstreams: {{ echo: {{ builtin: echo }} }}\n\
                     issuers: {{ main: {{ issuer: 'https://a.example', audiences: any, discovery: true }} }}\nroutes:\n{}",
                    routes.concat()
                ),
            );
            assert_eq!(code, ExitCode::SUCCESS, "{err}");
            let lines = err.lines().filter_map(|line| line.split_once(": warning: "));
            let lines = lines.map(|(place, text)| format!("{place}: {text}"));
            lines.filter(|line| line.contains("come here")).collect::<Vec<_>>()
        };
        let (jwt, public) = ("accept: [jwt]", "public: true");
        let (v2, beta) = (
            ", headers: { x-v: '2' }",
            ", headers: { x-v: '2', x-beta: { present: true } }",
        );
        assert_eq!(
            said(&[route("a", v2, jwt), route("b", "", public), route("c", beta, jwt)]),
            [
                "<stdin>:6:1: routes.b.match: requests that miss the methods or conditions of `a`, `c` come here, where less is \
                 required (public: accept: [jwt] there, open to everybody here)"
            ]
        );
        assert_eq!(
            said(&[
                route("a", ", methods: [GET]", jwt),
                route("b", ", query: { v: '1' }", public)
            ])
            .len(),
            1
        );
        let (inside, addresses) = (
            "public: true, addresses: { allow: [10.0.0.0/8] }",
            "addresses: allow [10.0.0.0/8] there",
        );
        let found = said(&[route("a", v2, inside), route("b", "", public)]);
        assert!(found.len() == 1 && found[0].contains(addresses), "{found:?}");
        for silent in [
            // As much is required, or more.
            [route("a", v2, jwt), route("b", "", jwt)],
            [route("a", v2, public), route("b", "", jwt)],
            // No request could meet the conditions of both.
            [
                route("a", v2, jwt),
                route("b", ", headers: { x-v: { prefix: '1' } }", public),
            ],
            // Another method, or another path.
            [
                route("a", ", methods: [GET]", jwt),
                route("b", ", methods: [PUT]", public),
            ],
            [
                route("a", v2, jwt),
                route("b", "", public).replace("path: /a", "path: '/{*rest}'"),
            ],
            [
                route("a", v2, jwt),
                route("b", "", public).replace("path: /a", "path: /a, host: b.example"),
            ],
        ] {
            assert_eq!(said(&silent), [""; 0], "{silent:?}");
        }
    }

    #[test]
    fn an_issuer_whose_keys_fit_none_of_its_algorithms_is_said() {
        let with = |algorithms: &str| {
            let more = format!(
                "issuers: {{ main: {{ issuer: 'https://a.example', audiences: any, public_key_files: [issuer.pem]{algorithms} }} }}\n\
                 routes: [{{ name: a, match: {{ path: /a }}, accept: [jwt, api_key], upstream: echo }}]\n"
            );
            warnings(&more, " []")
        };
        assert_eq!(with(""), [""; 0]);
        assert_eq!(with(", algorithms: [RS256, ES256]"), [""; 0]);
        assert_eq!(
            with(", algorithms: [RS256, EdDSA]"),
            ["issuers.main.algorithms: no key of this issuer is for RS256 or EdDSA, so no token can pass"]
        );
    }

    #[test]
    fn a_good_file_is_0_and_a_bad_one_is_1_with_every_mistake() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keygate.yaml");
        let check = |text: &str, code: ExitCode, out_has: &str, err_has: &str| {
            std::fs::write(&path, text).unwrap();
            let (found, out, err) = run(&[path.to_str().unwrap()], "");
            assert_eq!(found, code);
            assert!(out.contains(out_has) && out.is_empty() == out_has.is_empty(), "{out}");
            assert!(err.contains(err_has) && err.is_empty() == err_has.is_empty(), "{err}");
        };
        check(GOOD, ExitCode::SUCCESS, "good, 1 route", "");
        check(
            &GOOD.replace("echo }]", "ehco }]"),
            ExitCode::FAILURE,
            "",
            "did you mean `echo`?\n1 error",
        );
    }
}
