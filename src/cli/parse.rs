//! How is the command line parsed? An error shows what was written, but never a secret.

use crate::cli::args::Arguments;
use crate::cli::secret_text;
use clap::Parser;
use clap::error::ContextKind;
use clap::error::ContextValue;
use std::ffi::OsString;

/// Parses the command line, the name of the program first.
///
/// # Errors
/// If it is not understood, or asks for help or the version: `exit` of the error prints and exits.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Arguments, clap::Error> {
    Arguments::try_parse_from(arguments).map_err(without_secrets)
}

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
