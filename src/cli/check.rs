//! `keygate check`: is this configuration good? Prints every mistake; exit code 0 or 1.

use crate::runtime::reload;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// Loads the configuration at `path` and the key files it names, as `keygate run` would. A good one is said on `out`, the mistakes of a bad one on `err`, and what is good is
/// exit code 0, what is bad is 1.
pub fn check(path: &Path, out: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
    // A closed pipe changes nothing about the answer, which is the exit code.
    match reload::load(path) {
        Ok(loaded) => {
            let routes = loaded.config.routes.len();
            let plural = if routes == 1 { "" } else { "s" };
            let _ = writeln!(out, "{}: good, {routes} route{plural}", path.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(err, "{error}");
            ExitCode::FAILURE
        }
    }
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
            assert_eq!(check(&path, &mut out, &mut err), code);
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
