//! How are API keys created, listed and revoked in a keys file?

use crate::cli::confirm::ConfirmArgs;
use crate::cli::gate::args::ItemFilter;
use crate::cli::keys::args::CreateArgs;
use crate::cli::keys::args::Environment;
use crate::cli::printer::Printer;
use crate::cli::reference::KeyArg;
use crate::cli::reference::ResolvedId;
use crate::cli::render::Column;
use crate::keys_file;
use crate::keys_file::edit;
use crate::model::api_key::ApiKeyText;
use crate::model::api_key::DigestScheme;
use crate::model::api_key::Digester;
use crate::model::clock::Timestamp;
use crate::model::directory::ApiKeyOrigin;
use crate::model::directory::KeyRecord;
use crate::model::directory::KeyState;
use crate::model::scope::Scope;
use serde_json::Value;
use serde_json::json;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

/// The columns of a list, as for the keys of a store.
const COLUMNS: &[Column<'_>] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("STATE", "state"),
    ("EXPIRES", "expires_at"),
    ("SCOPES", "scopes"),
    ("KEY", "key_hint"),
];

/// The keys file, the settings, the time and the output of a command.
pub struct KeysContext<'a, 'out> {
    /// `api_keys.file`.
    pub file: &'a Path,
    /// `api_keys.prefix`.
    pub prefix: &'a str,
    pub digester: &'a Digester,
    pub now: Timestamp,
    pub printer: Printer<'out>,
}

/// Creates a key, appends its digest to the file, and prints the text of the key on stdout, the only time. Everything
/// else goes to stderr, so that stdout can be piped.
///
/// # Errors
/// If the expiry is out of bounds or the file cannot be changed: then there is no new key. If the output cannot be
/// written: then the file has a key whose text is lost.
pub fn create(
    args: &CreateArgs,
    context: &mut KeysContext<'_, '_>,
    random: &mut dyn FnMut(&mut [u8]),
) -> Result<(), Box<dyn Error>> {
    let expires_at = args.terms.expires.after(context.now)?;
    let environment = args.terms.environment.unwrap_or(Environment::Live).into();
    let key = ApiKeyText::generate(context.prefix, environment, random);
    let record = KeyRecord {
        id: key.id(),
        digest: context.digester.digest(key.expose()),
        origin: ApiKeyOrigin::Own,
        environment,
        name: args.terms.name.as_str().into(),
        state: KeyState::Active,
        expires_at,
        scopes: Arc::new(args.terms.scopes.iter().cloned().collect()),
        client: args.client.as_deref().map(Into::into),
        organization: args.organization.as_deref().map(Into::into),
        addresses: args.terms.addresses.clone().into(),
        subscription: None,
        ends_at: None,
    };
    // Change the file first: a key must not be shown before the file has it.
    edit::append(context.file, &record, context.digester.scheme(), context.now)?;
    let expiry = record.expires_at.map_or_else(|| "never".to_owned(), keys_file::rfc3339);
    let (name, id) = (&record.name, record.id);
    let sentence = format!("API key `{name}` ({id}), expires {expiry}. This is the only time it is shown:");
    context.printer.note_in_table(&sentence)?;
    let mut created = view(&record, context);
    created["key"] = key.expose().into();
    let written = context.printer.write(&created, |_| format!("{}\n", key.expose()));
    written.map_err(|error| format!("the key is made, and its text is lost: cannot write to stdout: {error}"))?;
    if context.digester.scheme() == DigestScheme::Sha256 {
        let note = "note: no pepper is configured (api_keys.pepper), so its digest is kept without one";
        context.printer.note(note)?;
    }
    Ok(())
}

/// Prints the keys that `filter` admits, in the order of the file.
///
/// # Errors
/// If the file cannot be read or has a mistake.
pub fn list(filter: &ItemFilter, context: &mut KeysContext<'_, '_>) -> Result<(), Box<dyn Error>> {
    let records = keys_file::read(context.file, context.digester.scheme())?;
    let items = records.iter().map(|record| view(record, context));
    let items: Vec<Value> = items.filter(|item| filter.admits(item)).collect();
    context.printer.items(COLUMNS, &json!({ "items": items, "next": null }))
}

/// Returns a key in the words of the admin API.
fn view(record: &KeyRecord, context: &KeysContext<'_, '_>) -> Value {
    let scopes: Vec<&str> = record.scopes.iter().map(Scope::as_str).collect();
    json!({
        "id": record.id.as_str(),
        "key_hint": record.origin.hint(context.prefix, record.environment, record.id),
        "name": *record.name,
        "state": state(record, context.now),
        "expires_at": record.expires_at.map(keys_file::rfc3339),
        "scopes": scopes,
    })
}

/// Revokes a key in the file. A running Keygate refuses the key after it has read the file again.
///
/// # Errors
/// If no key is meant, it is revoked already, or the file cannot be changed.
pub fn revoke(key: &KeyArg, confirm: &ConfirmArgs, context: &mut KeysContext<'_, '_>) -> Result<(), Box<dyn Error>> {
    let scheme = context.digester.scheme();
    let ResolvedId { id, label } = key.find_among(&keys_file::read(context.file, scheme)?)?;
    let consequence = format!("API key {label} will be refused from now on");
    confirm.confirm(&mut context.printer, &consequence)?;
    edit::revoke(context.file, id, scheme, context.now)?;
    context.printer.note(&format!("API key {label} is revoked"))
}

fn state(record: &KeyRecord, now: Timestamp) -> &'static str {
    match record.state {
        KeyState::Revoked => "revoked",
        KeyState::Active if record.expires_at.is_some_and(|expires_at| now >= expires_at) => "expired",
        KeyState::Disabled => "disabled",
        KeyState::Active => "active",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::printer::OutputArgs;
    use crate::cli::printer::OutputForm;
    use crate::model::api_key::system_random;
    use crate::model::lifetime::Lifetime;
    use crate::model::lifetime::LifetimeError;
    use crate::model::secret::Secret;
    use clap::Parser;

    #[derive(clap::Parser)]
    enum Command {
        Create(CreateArgs),
        List,
        Revoke {
            #[command(flatten)]
            key: KeyArg,
            #[command(flatten)]
            confirm: ConfirmArgs,
        },
    }

    struct Outcome {
        result: Result<(), String>,
        stdout: String,
        stderr: String,
    }

    // 2027-03-01T00:00:00Z: the 24 months after it contain a leap day.
    const NOW: Timestamp = Timestamp::from_unix_secs(1_803_859_200);

    fn digester() -> Digester {
        Digester::new(Some(&Secret::new(b"pepper".to_vec())))
    }

    fn run(file: &Path, now: Timestamp, args: &[&str]) -> Outcome {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let digester = digester();
        let output = OutputArgs {
            output: OutputForm::Table,
            no_headers: false,
            quiet: false,
        };
        let mut context = KeysContext {
            file,
            prefix: "kg",
            digester: &digester,
            now,
            printer: Printer::new(&output, &mut stdout, &mut stderr),
        };
        let result = match Command::try_parse_from(["keys"].iter().chain(args)) {
            Ok(Command::Create(args)) => {
                create(&args, &mut context, &mut system_random).map_err(|error| error.to_string())
            }
            Ok(Command::List) => list(&ItemFilter::default(), &mut context).map_err(|error| error.to_string()),
            Ok(Command::Revoke { key, confirm }) => {
                revoke(&key, &confirm, &mut context).map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        Outcome {
            result,
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
        }
    }

    #[track_caller]
    fn check(text: &str, expected: Result<Lifetime, LifetimeError>) {
        assert_eq!(text.parse::<Lifetime>(), expected, "{text:?}");
    }

    #[test]
    fn s068_an_expiry_is_never_or_1_to_730_days() {
        check("never", Ok(Lifetime::Never));
        check("1d", Ok(Lifetime::Days(1)));
        check("730d", Ok(Lifetime::Days(730)));
        check("6mo", Ok(Lifetime::Months(6)));
        check("0d", Err(LifetimeError::TooShort));
        check("0mo", Err(LifetimeError::TooShort));
        check("24mo", Ok(Lifetime::Months(24)));
        check("25mo", Err(LifetimeError::TooLong));
        check("6m", Err(LifetimeError::Minutes));
        check("731d", Err(LifetimeError::TooLong));
        for bad in [
            "", "d", "mo", "90", "-1d", "+1d", " 1d", "1 d", "1D", "1.5d", "1y", "9999999d", "Never", "٣d",
        ] {
            check(bad, Err(LifetimeError::Form));
        }
    }

    #[test]
    fn s068_months_count_their_days() {
        let day = |days: u64| NOW.saturating_add(std::time::Duration::from_secs(days * 86_400));
        assert_eq!(Lifetime::Days(730).after(NOW), Ok(Some(day(730))));
        assert_eq!(Lifetime::Months(1).after(NOW), Ok(Some(day(31))));
        assert_eq!(Lifetime::Months(23).after(NOW), Ok(Some(day(703))));
        // The 24 months have 731 days.
        assert_eq!(Lifetime::Months(24).after(NOW), Ok(Some(day(730))));
        assert_eq!(Lifetime::Months(25).after(NOW), Err(LifetimeError::TooLong));
        assert!(Lifetime::Months(999_999).after(NOW).is_err());
        assert_eq!(Lifetime::Never.after(NOW), Ok(None));
    }

    #[test]
    fn the_digest_of_the_printed_key_is_saved_and_the_key_can_be_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys.yaml");
        let created = run(
            &file,
            NOW,
            &[
                "create",
                "--name",
                "ci",
                "--expires",
                "90d",
                "--scope",
                "c,a",
                "--scope",
                "b",
                "--address",
                "10.0.0.0/8,::1",
            ],
        );
        assert_eq!(created.result, Ok(()));
        let key = created.stdout.strip_suffix('\n').unwrap();
        let id = &key[8..24];
        let record = || keys_file::read(&file, digester().scheme()).unwrap().remove(0);
        assert_eq!((record().id.as_str(), record().state), (id, KeyState::Active));
        assert_eq!(record().digest, digester().digest(key));
        assert_eq!(record().scopes.to_string(), "a b c");
        assert_eq!(record().addresses.len(), 2);
        assert_eq!(run(&file, NOW, &["revoke", "--yes", id]).result, Ok(()));
        assert_eq!(record().state, KeyState::Revoked);
        assert!(
            run(&file, NOW, &["revoke", "--yes", id])
                .result
                .unwrap_err()
                .contains("revoked already")
        );
    }

    #[test]
    fn s064_a_key_is_shown_once_and_kept_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys.yaml");
        let created = run(&file, NOW, &["create", "--name", "ci", "--expires", "never"]);
        let secret = &created.stdout.trim_end()[25..];
        assert_eq!(created.stdout.lines().count(), 1);
        let listed = run(&file, NOW, &["list"]);
        for text in [
            created.stderr,
            listed.stdout,
            listed.stderr,
            std::fs::read_to_string(&file).unwrap(),
        ] {
            assert!(!text.contains(secret) && !text.contains(&secret[..8]), "{text}");
        }
    }

    #[test]
    fn a_list_distinguishes_active_expired_and_revoked_keys() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys.yaml");
        for (name, expires) in [("active", "2d"), ("expired", "1d"), ("revoked", "never")] {
            let created = run(&file, NOW, &["create", "--name", name, "--expires", expires]);
            if name == "revoked" {
                run(&file, NOW, &["revoke", "-y", &created.stdout[8..24]])
                    .result
                    .unwrap();
            }
        }
        let tomorrow = NOW.saturating_add(std::time::Duration::from_secs(86_400));
        let listed = run(&file, tomorrow, &["list"]).stdout;
        let lines: Vec<_> = listed.lines().skip(1).collect();
        assert_eq!(lines.len(), 3, "{listed}");
        for (line, state) in lines.iter().zip(["active", "expired", "revoked"]) {
            // Each key is named after its state.
            assert_eq!(line.matches(state).count(), 2, "{listed}");
        }
        assert!(
            lines[0].contains("2027-03-03T00:00:00Z") && lines[2].contains("never"),
            "{listed}"
        );
    }

    #[test]
    fn invalid_arguments_create_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys.yaml");
        for args in [
            &["create", "--name", "ci"][..],
            &["create", "--expires", "1d"],
            &["create", "--name", "", "--expires", "1d"],
            &["create", "--name", "a\nb", "--expires", "1d"],
            &["create", "--name", "ci", "--expires", "731d"],
            &["create", "--name", "ci", "--expires", "25mo"],
            &["create", "--name", "ci", "--expires", "1d", "--scope", "a,"],
            &["create", "--name", "ci", "--expires", "1d", "--scope", "a, b"],
            &["create", "--name", "ci", "--expires", "1d", "--scope", "a b"],
            &["create", "--name", "ci", "--expires", "1d", "--address", "10.0.0.1/8"],
            &["create", "--name", "ci", "--expires", "1d", "--env", "prod"],
            &["revoke", "--yes", "short"],
        ] {
            let outcome = run(&file, NOW, args);
            assert!(outcome.result.is_err(), "{args:?}");
            assert_eq!(outcome.stdout, "");
        }
        assert!(!file.exists());
    }
}
