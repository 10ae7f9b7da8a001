//! Which gate does a profile name, and how does a command get its token? A file of the user names gates elsewhere, so that no
//! command repeats their URLs and the files of their secrets.

use crate::cli::gate::args::GateArgs;
use crate::model::id::ClientId;
use crate::model::issuer::IssuerUrl;
use serde::Deserialize;
use serde::Deserializer;
use serde::de::Error as _;
use std::collections::BTreeMap;
use std::env;
use std::fmt::Display;
use std::path::Path;
use std::path::PathBuf;
use std::str::FromStr;

/// Why there is no such profile.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    #[error("--profile: neither XDG_CONFIG_HOME nor HOME is set, so there is no file of profiles")]
    NoHome,
    #[error(
        "--profile: {}: {source}; write the gate there: `{name}: {{ admin: https://gate.example:9090, token_file: {name}.token }}`",
        path.display()
    )]
    Read {
        path: PathBuf,
        name: String,
        source: std::io::Error,
    },
    #[error("--profile: {}: {source}", path.display())]
    Broken { path: PathBuf, source: serde_yaml::Error },
    #[error("--profile: {}: there is no `{name}`; there {known}", path.display())]
    Unknown { path: PathBuf, name: String, known: String },
    #[error("--profile: {}: `{name}` has not exactly one of `admin`, `socket` and `config`", path.display())]
    Place { path: PathBuf, name: String },
}

/// The options of a command line, with the same meaning. Paths are relative to the folder of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Profile {
    admin: Option<String>,
    socket: Option<PathBuf>,
    config: Option<PathBuf>,
    token_file: Option<PathBuf>,
    #[serde(deserialize_with = "parsed")]
    client_id: Option<ClientId>,
    secret_file: Option<PathBuf>,
    #[serde(deserialize_with = "parsed")]
    issuer: Option<IssuerUrl>,
}

fn parsed<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(D::Error::custom)
}

/// Returns `args` with the options of the profile that they name, if they name one. Options of the command line come first.
///
/// # Errors
/// There is no such profile, or its file cannot be read.
pub fn with_profile(args: &GateArgs) -> Result<GateArgs, ProfileError> {
    match &args.profile {
        Some(name) => apply(args, name, &file()?),
        None => Ok(args.clone()),
    }
}

/// Returns `keygate/profiles.yaml` in the user's folder of configurations (XDG Base Directory specification).
fn file() -> Result<PathBuf, ProfileError> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
    Ok(folder.ok_or(ProfileError::NoHome)?.join("keygate/profiles.yaml"))
}

fn apply(args: &GateArgs, name: &str, path: &Path) -> Result<GateArgs, ProfileError> {
    let text = std::fs::read_to_string(path).map_err(|source| ProfileError::Read {
        path: path.to_owned(),
        name: name.to_owned(),
        source,
    })?;
    let mut profiles: BTreeMap<String, Profile> =
        serde_yaml::from_str(&text).map_err(|source| ProfileError::Broken {
            path: path.to_owned(),
            source,
        })?;
    let Some(profile) = profiles.remove(name) else {
        let names: Vec<String> = profiles.keys().map(|known| format!("`{known}`")).collect();
        return Err(ProfileError::Unknown {
            path: path.to_owned(),
            name: name.to_owned(),
            known: if names.is_empty() {
                "are none".to_owned()
            } else {
                format!("are {}", names.join(", "))
            },
        });
    };
    let places = [
        profile.admin.is_some(),
        profile.socket.is_some(),
        profile.config.is_some(),
    ];
    if places.into_iter().filter(|is_set| *is_set).count() != 1 {
        return Err(ProfileError::Place {
            path: path.to_owned(),
            name: name.to_owned(),
        });
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let beside = |file: Option<PathBuf>| file.map(|file| folder.join(file));
    let mut args = args.clone();
    args.admin = profile.admin;
    args.socket = beside(profile.socket);
    args.place.config = beside(profile.config);
    // A token of the command line takes the place of every way to one that the profile has.
    if args.token_file.is_none() && args.client_id.is_none() {
        args.token_file = beside(profile.token_file);
        args.client_id = profile.client_id;
    }
    args.secret_file = args.secret_file.or_else(|| beside(profile.secret_file));
    args.issuer = args.issuer.or(profile.issuer);
    Ok(args)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::Arguments;
    use crate::cli::args::Command;
    use clap::Parser;

    fn args(options: &[&str]) -> GateArgs {
        let arguments = ["keygate", "orgs", "list"].iter().chain(options);
        match Arguments::parse_from(arguments).command {
            Command::Orgs(line) => line.gate,
            other => panic!("{other:?}"),
        }
    }

    fn with(text: &str, options: &[&str], name: &str) -> Result<GateArgs, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("profiles.yaml");
        std::fs::write(&path, text).unwrap();
        let applied = apply(&args(options), name, &path).map_err(|error| error.to_string());
        let relative = |file: PathBuf| file.strip_prefix(folder.path()).unwrap_or(&file).to_owned();
        applied.map(|args| GateArgs {
            token_file: args.token_file.map(relative),
            secret_file: args.secret_file.map(relative),
            ..args
        })
    }

    const TWO: &str = "
production: { admin: \"https://gate.example:9090\", token_file: production.token }
staging:
  admin: https://staging.example:9090
  client_id: client_x
  secret_file: /run/secrets/staging
  issuer: https://auth.example.com
";

    #[test]
    fn a_profile_names_the_gate_and_the_way_to_a_token() {
        let production = with(TWO, &[], "production").unwrap();
        assert_eq!(production.admin.as_deref(), Some("https://gate.example:9090"));
        assert_eq!(production.token_file, Some("production.token".into()));
        let staging = with(TWO, &[], "staging").unwrap();
        assert_eq!(staging.client_id, Some("client_x".parse().unwrap()));
        assert_eq!(staging.secret_file, Some("/run/secrets/staging".into()));
        assert_eq!(staging.issuer, Some("https://auth.example.com".parse().unwrap()));
        assert_eq!(args(&[]).admin, None);
    }

    #[test]
    fn a_token_of_the_command_line_comes_before_that_of_the_profile() {
        let staging = with(TWO, &["--token-file", "mine"], "staging").unwrap();
        assert_eq!((staging.token_file, staging.client_id), (Some("mine".into()), None));
    }

    #[test]
    fn a_profile_that_is_not_there_or_not_clear_is_told_with_its_file() {
        let check = |text: &str, words: &[&str]| {
            let error = with(text, &[], "x").unwrap_err();
            for word in words.iter().chain(&["profiles.yaml"]) {
                assert!(error.contains(word), "{word} in {error}");
            }
        };
        check(TWO, &["no `x`", "`production`, `staging`"]);
        check("{}", &["are none"]);
        check("x: {}", &["exactly one of `admin`, `socket` and `config`"]);
        check("x: { admin: a, config: b }", &["exactly one"]);
        check("x: { admni: a }", &["admni"]);
        check(
            "x: { admin: a, client_id: \"a b\" }",
            &["an id is 1 to 64 characters", "line 1"],
        );
        check("x: [", &["line"]);
    }
}
