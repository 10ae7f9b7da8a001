//! `keygate check`: is this configuration valid, and does it require as much as the old one?

use crate::cli::args::Check;
use crate::compare;
use crate::compare::Side;
use crate::compare::Weakening;
use crate::config;
use crate::config::Config;
use crate::config::ConfigError;
use crate::config::ConfigWarning;
use crate::config::ReferencedFiles;
use crate::explain::date;
use crate::model::clock::Clock;
use crate::model::clock::SystemClock;
use crate::model::clock::Timestamp;
use crate::runtime::config_files;
use crate::runtime::descriptors;
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// The exit code of a valid configuration that requires less than the old one.
const WEAKER: u8 = 3;

/// Loads the configuration and its key files, as `keygate run` would. Prints the result on `out`, and the mistakes and
/// warnings on `err`. With `--diff OLD`, prints on `out` each route that requires less than in OLD.
///
/// Returns exit code 0 for a valid configuration, 1 if the configuration or OLD is invalid, and 3 if a route requires
/// less than in OLD.
pub fn check(args: &Check, out: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
    let path = args.file.as_path();
    let loaded = if args.allow_unset {
        config_files::load_with_unset(path)
    } else {
        config_files::load(path).map(|loaded| (loaded, Vec::new()))
    };
    // Ignore errors of writing: the result is the exit code, and a closed pipe does not change it.
    match loaded {
        Ok((loaded, unset)) => {
            let routes = loaded.config.routes.len();
            let plural = if routes == 1 { "" } else { "s" };
            for warning in &loaded.config.warnings {
                let _ = writeln!(err, "{warning}");
            }
            // As `keygate run` does.
            descriptors::raise_limit();
            let of_descriptors = descriptor_warning(loaded.config.requests.connections_max, descriptors::limit());
            if let Some(warning) = &of_descriptors {
                let _ = writeln!(err, "{}: {warning}", path.display());
            }
            let warnings = match loaded.config.warnings.len() + usize::from(of_descriptors.is_some()) {
                0 => String::new(),
                1 => ", 1 warning".to_owned(),
                count => format!(", {count} warnings"),
            };
            for error in &unset {
                let unchecked = ConfigWarning(ConfigError {
                    problem: format!("{}, so this was not checked", error.problem),
                    hint: None,
                    ..error.clone()
                });
                let _ = writeln!(err, "{unchecked}");
            }
            let unchecked = match unset.len() {
                0 => String::new(),
                1 => ", 1 variable not set".to_owned(),
                count => format!(", {count} variables not set"),
            };
            let _ = writeln!(
                out,
                "{}: good, {routes} route{plural}{warnings}{unchecked}",
                path.display()
            );
            write_certificates(&loaded.config, SystemClock::new().now().wall, out);
            let old = args.diff.as_deref();
            old.map_or(ExitCode::SUCCESS, |old| diff(old, path, out, err))
        }
        Err(error) => {
            let _ = writeln!(err, "{error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns a warning where `limit`, the file descriptors of a program that starts here, is not enough for `connections`.
fn descriptor_warning(connections: usize, limit: Option<u64>) -> Option<String> {
    let needed = descriptors::needed_for(connections);
    // As at the start, a shortfall of a few is not worth a word.
    let limit = limit.filter(|limit| descriptors::is_clearly_less(*limit, needed))?;
    Some(format!(
        "requests.connections: warning: {connections} connections may need {needed} file descriptors, and a program that starts \
         here may have {limit}\n    hint: raise the limit (`ulimit -n`, `LimitNOFILE=` in a systemd unit), or allow fewer \
         connections; with too few, fewer are served"
    ))
}

/// Writes a line for each certificate of the listeners: its names, its expiry, and the problem of its validity.
fn write_certificates(config: &Config, now: Timestamp, out: &mut dyn Write) {
    for (listener, certificate) in config.certificates() {
        let problem = certificate.validity_problem(now);
        let problem = problem.map(|problem| format!("; it {problem}")).unwrap_or_default();
        let _ = writeln!(
            out,
            "{}: {} for {}, until {}{problem}",
            listener.address,
            certificate.file.display(),
            certificate.names_text(),
            date(certificate.not_after),
        );
    }
}

fn diff(old: &Path, new: &Path, out: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
    match find_weakenings(old, new) {
        Ok(findings) if findings.is_empty() => {
            let _ = writeln!(out, "nothing asks for less than in {}", old.display());
            ExitCode::SUCCESS
        }
        Ok(findings) => {
            for finding in &findings {
                let _ = writeln!(out, "{finding}");
            }
            let _ = writeln!(out, "{} weaker than in {}", findings.len(), old.display());
            ExitCode::from(WEAKER)
        }
        Err(error) => {
            let _ = writeln!(err, "{error}");
            ExitCode::FAILURE
        }
    }
}

fn find_weakenings(old: &Path, new: &Path) -> Result<Vec<Weakening>, Box<dyn Error>> {
    let (before, before_origins) = config::load_with_lines(old, ReferencedFiles::MayBeMissing)?;
    let (now, now_origins) = config::load_with_lines(new, ReferencedFiles::MustExist)?;
    let none = Path::new("");
    let before = Side {
        config: &before,
        origins: &before_origins,
        folder: old.parent().unwrap_or(none),
    };
    let now = Side {
        config: &now,
        origins: &now_origins,
        folder: new.parent().unwrap_or(none),
    };
    Ok(compare::find_weakenings(before, now)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_file(path: &Path) -> Check {
        Check {
            file: path.to_owned(),
            diff: None,
            allow_unset: false,
        }
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
        let (mut out, mut err) = (Vec::new(), Vec::new());
        assert_eq!(
            check(&of_file(&path), &mut out, &mut err),
            ExitCode::SUCCESS,
            "{}",
            String::from_utf8_lossy(&err)
        );
        let err = String::from_utf8(err).unwrap();
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
    fn too_few_descriptors_are_said_with_the_cure() {
        let warning = descriptor_warning(10_000, Some(1_024)).unwrap();
        for part in ["20224", "1024", "LimitNOFILE"] {
            assert!(warning.contains(part), "{warning}");
        }
        assert_eq!(descriptor_warning(10_000, Some(20_000)), None);
        assert_eq!(descriptor_warning(10_000, None), None);
    }

    #[test]
    fn a_good_file_is_0_and_a_bad_one_is_1_with_every_mistake() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keygate.yaml");
        let check = |text: &str, code: ExitCode, out_has: &str, err_has: &str| {
            std::fs::write(&path, text).unwrap();
            let (mut out, mut err) = (Vec::new(), Vec::new());
            assert_eq!(check(&of_file(&path), &mut out, &mut err), code);
            let (out, err) = (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap());
            assert!(out.contains(out_has) && out.is_empty() == out_has.is_empty(), "{out}");
            assert!(err.contains(err_has) && err.is_empty() == err_has.is_empty(), "{err}");
        };
        let good = "listeners: [{ address: '127.0.0.1:0' }]\nupstreams: { echo: { builtin: echo } }\n\
                    routes: [{ name: a, match: { path: /a }, public: true, upstream: echo }]\n";
        check(good, ExitCode::SUCCESS, "good, 1 route", "");
        check(
            &good.replace("echo }]", "ehco }]"),
            ExitCode::FAILURE,
            "",
            "did you mean `echo`?\n1 error",
        );
    }
}
