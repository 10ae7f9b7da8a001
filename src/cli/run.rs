//! `keygate run`: which configuration is served?

use crate::cli::args::Run;
use crate::cli::data_folder::DataFolder;
use crate::cli::introduction;
use crate::cli::introduction::shell_word;
use crate::model::clock::Clock;
use crate::model::clock::SystemClock;
use crate::observe::subscriber;
use crate::runtime::assemble;
use crate::runtime::descriptors;
use crate::runtime::first_administrator::AdministratorNotice;
use crate::runtime::reload;
use crate::runtime::serve;
use crate::runtime::serve::Addresses;
use crate::runtime::serve::StartError;
use std::error::Error;
use std::io;
use std::io::ErrorKind;
use std::io::Write;
use std::net::SocketAddr;

/// Serves until a signal stops the process.
///
/// # Errors
/// If the data folder cannot be created, the configuration is invalid (the error lists every mistake), the store cannot
/// be opened, an address cannot be bound, or the system refuses threads or signal handlers.
pub fn run(args: &Run) -> Result<(), Box<dyn Error>> {
    let (path, folder) = match &args.place.config {
        Some(path) => (path.clone(), None),
        None => {
            let folder = DataFolder::locate(args.place.data_dir.as_deref())?;
            folder.prepare()?;
            (folder.config(), Some(folder))
        }
    };
    descriptors::raise_limit();
    let loaded = reload::load(&path)?;
    let metrics = assemble::metrics(SystemClock::new().now().wall);
    let log = subscriber::init(
        assemble::log_format(loaded.config.observe.format),
        &loaded.config.observe.level,
        metrics.logs.lines_dropped.clone(),
    )?;
    let threads = match args.threads {
        Some(threads) => threads.into(),
        None => std::thread::available_parallelism()?.get(),
    };
    let has_data_dir = args.place.data_dir.is_some();
    let issues = loaded.config.store.is_some() && loaded.config.token_endpoint.is_some();
    serve::serve(path, loaded, threads, metrics, |addresses, administrator| {
        match &administrator {
            Some(AdministratorNotice::File { client_id, path }) => tracing::info!(
                client_id = client_id.as_str(),
                path = %path.display(),
                "First administrator created; its secret is in this file: keep it elsewhere and remove the file"
            ),
            Some(notice @ AdministratorNotice::Credentials(_)) => show(notice),
            None => {}
        }
        if let Some(folder) = &folder {
            log.print(&introduction(folder, has_data_dir, issues, addresses));
        }
    })
    .map_err(with_hint)
}

/// Shows the credentials of the first administrator on the terminal. Past the queue of log lines, which keeps what it has
/// not written, and drops lines when it is full.
fn show(notice: &AdministratorNotice) {
    let text = introduction::first_administrator(notice);
    // A terminal that has gone reads nothing; `keygate clients create` makes another administrator.
    let _ = io::stderr().write_all(text.expose().as_bytes());
}

/// Returns the text for a first try of the development set-up: the address, the commands and the configuration's path.
fn introduction(folder: &DataFolder, has_data_dir: bool, issues: bool, addresses: &Addresses) -> String {
    let place = if has_data_dir {
        format!(" --data-dir {}", shell_word(folder.path()))
    } else {
        String::new()
    };
    let at = addresses
        .data
        .first()
        .map_or_else(|| "127.0.0.1:8080".to_owned(), SocketAddr::to_string);
    let config = folder.config();
    let config = config.display();
    let admin = addresses.admin.map_or_else(String::new, |admin| {
        format!("Metrics and readiness: http://{admin}/metrics http://{admin}/readyz\n")
    });
    let try_it = if issues {
        let program = std::env::current_exe().map_or_else(|_| "keygate".to_owned(), |path| shell_word(&path));
        let commands = indented(&introduction::commands(&program, &place, &at));
        format!(" Try, in another terminal:\n\n{commands}\n")
    } else {
        // An earlier version created such configurations, without a store.
        let folder = shell_word(folder.path());
        format!(
            "\nIts configuration has no `store` and no `token_endpoint`: keys are those of its keys file, and no tokens \
             are issued.\nTo begin anew: mv {folder} {folder}.old, and `keygate run` again.\n\n"
        )
    };
    format!(
        "
Keygate serves a development set-up on http://{at} until you press Ctrl-C.{try_it}\
The configuration is {config}: edit a route and it is live; break it and read why, here.
{admin}
"
    )
}

fn indented(text: &str) -> String {
    let line = |line: &str| match line {
        "" => "\n".to_owned(),
        line => format!("  {line}\n"),
    };
    text.lines().map(line).collect()
}

/// Adds a hint to the error that an address cannot be listened at.
fn with_hint(error: StartError) -> Box<dyn Error> {
    let hint = match &error {
        StartError::Bind { source, .. } => bind_hint(source.kind()),
        _ => None,
    };
    match hint {
        Some(hint) => format!("{error}\n  {hint}").into(),
        None => error.into(),
    }
}

fn bind_hint(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::AddrInUse => Some(
            "another program has this port, or Keygate runs already; stop it, or choose another port there \
             (where `token_endpoint.issuer` names the port, there as well)",
        ),
        ErrorKind::PermissionDenied => Some(
            "ports below 1024 need a privilege: choose another port, or grant it to the program \
             (`setcap cap_net_bind_service=+ep FILE`, or `AmbientCapabilities=CAP_NET_BIND_SERVICE` in a systemd unit)",
        ),
        ErrorKind::AddrNotAvailable => {
            Some("no interface of this machine has this address; `0.0.0.0` stands for all of IPv4, `[::]` for all")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_without_the_privilege_is_said_with_the_cure() {
        let hint = bind_hint(ErrorKind::PermissionDenied).unwrap();
        assert!(hint.contains("1024") && hint.contains("cap_net_bind_service"), "{hint}");
        assert!(bind_hint(ErrorKind::AddrInUse).unwrap().contains("another program"));
        assert_eq!(bind_hint(ErrorKind::Other), None);
    }
}
