//! `keygate check`: is this configuration valid, and does it require as much as the old one?

use crate::compare;
use crate::compare::Side;
use crate::compare::Weakening;
use crate::config;
use crate::config::Config;
use crate::config::ReferencedFiles;
use crate::explain::date;
use crate::model::clock::Clock;
use crate::model::clock::SystemClock;
use crate::model::clock::Timestamp;
use crate::runtime::reload;
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// The exit code of a valid configuration that requires less than the old one.
const WEAKER: u8 = 3;

/// Loads the configuration at `path` and its key files, as `keygate run` would. Prints the result on `out`, and the
/// mistakes and warnings on `err`. With `old`, prints on `out` each route that requires less than in `old`.
///
/// Returns exit code 0 for a valid configuration, 1 if the configuration or `old` is invalid, and 3 if a route requires
/// less than in `old`.
pub fn check(path: &Path, old: Option<&Path>, out: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
    // Ignore errors of writing: the result is the exit code, and a closed pipe does not change it.
    match reload::load(path) {
        Ok(loaded) => {
            let routes = loaded.config.routes.len();
            let plural = if routes == 1 { "" } else { "s" };
            for warning in &loaded.config.warnings {
                let _ = writeln!(err, "{warning}");
            }
            let warnings = match loaded.config.warnings.len() {
                0 => String::new(),
                1 => ", 1 warning".to_owned(),
                count => format!(", {count} warnings"),
            };
            let _ = writeln!(out, "{}: good, {routes} route{plural}{warnings}", path.display());
            write_certificates(&loaded.config, SystemClock::new().now().wall, out);
            old.map_or(ExitCode::SUCCESS, |old| diff(old, path, out, err))
        }
        Err(error) => {
            let _ = writeln!(err, "{error}");
            ExitCode::FAILURE
        }
    }
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

    #[test]
    fn a_good_file_is_0_and_a_bad_one_is_1_with_every_mistake() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keygate.yaml");
        let check = |text: &str, code: ExitCode, out_has: &str, err_has: &str| {
            std::fs::write(&path, text).unwrap();
            let (mut out, mut err) = (Vec::new(), Vec::new());
            assert_eq!(check(&path, None, &mut out, &mut err), code);
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
