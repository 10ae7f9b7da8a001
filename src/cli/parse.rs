//! How is the command line parsed? `--help` fits on a screen, and an error shows what was written, but never a secret.

use crate::cli::args::Arguments;
use crate::cli::gate::args::GateArgs;
use crate::cli::secret_text;
use clap::Arg;
use clap::ArgAction;
use clap::Args;
use clap::Command;
use clap::CommandFactory;
use clap::FromArgMatches;
use clap::error::ContextKind;
use clap::error::ContextValue;
use std::ffi::OsString;

/// Parses the command line, the name of the program first.
///
/// # Errors
/// If it is not understood, or asks for help or the version: `exit` of the error prints and exits.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Arguments, clap::Error> {
    let matches = command().try_get_matches_from(arguments);
    let parsed = matches.and_then(|mut matches| Arguments::from_arg_matches_mut(&mut matches));
    parsed.map_err(|error| without_secrets(error.with_cmd(&command())))
}

/// Returns the definition of the command line.
pub fn command() -> Command {
    // The long form has a line of its own for each option and for each word that an option takes.
    let help = Arg::new("help")
        .short('h')
        .long("help")
        .action(ArgAction::HelpShort)
        .global(true)
        .help("Print help");
    Arguments::command().disable_help_flag(true).arg(help)
}

/// Returns the help of the options that all commands about a gate have, those that `--help` does not show among them.
pub fn options_page() -> String {
    let options = Command::new("keygate COMMAND").disable_help_flag(true);
    let mut options = GateArgs::augment_args(options)
        .mut_args(|option| option.hide_short_help(false))
        .override_usage("keygate COMMAND [OPTIONS]")
        .help_template("{before-help}{usage-heading} {usage}\n\n{all-args}{after-help}")
        .before_help("Options of the commands that ask a gate: keys, clients, orgs, plans, subscriptions, signing-keys,\naudit, backup, issuers and upstreams.\n")
        .after_help(OPTIONS_HELP)
        .max_term_width(110);
    options.render_help().to_string()
}

const OPTIONS_HELP: &str = "\
A gate that runs on this machine is asked over the socket beside its store, which --config leads to
and --socket names. It needs no token, only the right to open the store. Where no gate runs, the
store itself is read and written. A gate elsewhere is asked at its admin listener:
  KEYGATE_ADMIN_TOKEN=… keygate keys ls --admin https://gw.example:9090
  keygate keys ls --admin https://gw.example:9090 --client-id client_… --issuer https://gw.example
Such options have a name in a file of yours, ~/.config/keygate/profiles.yaml, which has lines such as
`production: { admin: \"https://gw.example:9090\", token_file: production.token }`:
  keygate keys ls --profile production

Secrets come from files, stdin or variables, never from the command line, which every user of the
machine can read. Of the configuration's own secrets only those that a command uses must be set.
";

/// Removes texts that may be secrets from an error, such as a key that was pasted in the wrong place.
fn without_secrets(mut error: clap::Error) -> clap::Error {
    let hidden = |value: &ContextValue| match value {
        ContextValue::String(text) if secret_text::may_be_one(text) => {
            Some(ContextValue::String(secret_text::shown(text)))
        }
        ContextValue::Strings(texts) if texts.iter().any(|text| secret_text::may_be_one(text)) => Some(
            ContextValue::Strings(texts.iter().map(|text| secret_text::shown(text)).collect()),
        ),
        _ => None,
    };
    let changes: Vec<(ContextKind, ContextValue)> = error
        .context()
        .filter_map(|(kind, value)| Some((kind, hidden(value)?)))
        .collect();
    if !changes.is_empty() {
        // A suggestion may repeat the text: "to pass '…' as a value, use '-- …'".
        error.insert(ContextKind::Suggested, ContextValue::None);
    }
    for (kind, value) in changes {
        error.insert(kind, value);
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::api_key::ApiKeyEnvironment;
    use crate::model::api_key::ApiKeyText;
    use crate::model::api_key::system_random;

    fn error(arguments: &[&str]) -> String {
        let arguments = ["keygate"].iter().chain(arguments).map(OsString::from);
        parse(arguments).expect_err("it is not understood").to_string()
    }

    #[test]
    fn a_key_in_the_wrong_place_is_not_shown() {
        let key = ApiKeyText::generate("kg", ApiKeyEnvironment::Live, &mut system_random);
        let key = key.expose();
        for arguments in [
            &[key][..],
            &["keys", key],
            &["keys", "list", key],
            &["keys", "revoke", "ci", key],
            &["keys", "create", "--expires", key],
            &["keys", "create", &format!("--expires={key}")],
            &["keys", "list", "--limit", key],
            &["keys", "list", &format!("--{key}")],
            &["keys", "list", "--organization", key],
            &["clients", "add-key", "client_a", "--generate", key],
            &["keys", "list", "--output", key],
        ] {
            let text = error(arguments);
            assert!(!text.contains(&key[25..]), "{text}");
            assert!(text.contains("(not shown, it may be a secret)"), "{text}");
        }
    }

    #[test]
    fn a_slip_is_shown() {
        assert!(error(&["keys", "creat"]).contains("'creat'"));
        assert!(error(&["keys", "list", "--limit", "many"]).contains("'many'"));
    }
}
