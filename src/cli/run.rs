//! `keygate run`: which configuration is served?

use crate::cli::args::Run;
use crate::cli::data_folder::DataFolder;
use crate::cli::introduction;
use crate::cli::introduction::shell_word;
use crate::model::clock::Clock;
use crate::model::clock::SystemClock;
use crate::observe::subscriber;
use crate::runtime::assemble;
use crate::runtime::config_files;
use crate::runtime::descriptors;
use crate::runtime::first_administrator::AdministratorNotice;
use crate::runtime::inherited::InheritedSockets;
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
    let inherited = InheritedSockets::take_passed()
        .map_err(|error| format!("cannot take the sockets that systemd passes: {error}"))?;
    let (path, folder) = match &args.place.config {
        Some(path) => (path.clone(), None),
        None => {
            let folder = DataFolder::locate(args.place.data_dir.as_deref())?;
            folder.prepare()?;
            if let Some(port) = args.port {
                folder.set_port(port)?;
            }
            (folder.config(), Some(folder))
        }
    };
    descriptors::raise_limit();
    let loaded = config_files::load(&path)?;
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
    let program = program_word();
    let place = match &args.place.data_dir {
        Some(folder) => format!(" --data-dir {}", shell_word(folder)),
        None => String::new(),
    };
    let port_option = folder.is_some().then(|| format!("{program} run{place} --port"));
    let issues = loaded.config.store.is_some() && loaded.config.token_endpoint.is_some();
    serve::serve(path, loaded, inherited, threads, metrics, |addresses, administrator| {
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
            log.print(&introduction(folder, &program, &place, issues, addresses));
        }
    })
    .map_err(|error| with_hint(error, port_option.as_deref()))
}

/// Shows the credentials of the first administrator on the terminal. Past the queue of log lines, which keeps what it has
/// not written, and drops lines when it is full.
fn show(notice: &AdministratorNotice) {
    let text = introduction::first_administrator(notice);
    // A terminal that has gone reads nothing; `keygate clients create` makes another administrator.
    let _ = io::stderr().write_all(text.expose().as_bytes());
}

/// Returns the text for a first try of the development set-up: the address, the commands and the configuration's path.
fn introduction(folder: &DataFolder, program: &str, place: &str, issues: bool, addresses: &Addresses) -> String {
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
        let commands = indented(&introduction::commands(program, place, &at));
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

/// Returns this program as a word for a shell: `keygate` where a search of `PATH` finds it, else its path.
fn program_word() -> String {
    let Ok(program) = std::env::current_exe().and_then(std::fs::canonicalize) else {
        return "keygate".to_owned();
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).find_map(|folder| std::fs::canonicalize(folder.join("keygate")).ok());
    if found.as_ref() == Some(&program) {
        "keygate".to_owned()
    } else {
        shell_word(&program)
    }
}

/// Adds a hint to the error that an address cannot be listened at. `port_option` is the command that chooses another port
/// of the development set-up.
fn with_hint(error: StartError, port_option: Option<&str>) -> Box<dyn Error> {
    let hint = match &error {
        StartError::Bind {
            source, address, key, ..
        } => {
            // `--port` is about the first listener.
            let port_option = port_option.filter(|_| *key == "listeners");
            bind_hint(source.kind(), port_option, address.port())
        }
        StartError::UnusedSockets { .. } => Some(
            "nobody would answer there; write the same address in both, where `ListenStream=8080` is `[::]:8080`"
                .to_owned(),
        ),
        _ => None,
    };
    match hint {
        Some(hint) => format!("{error}\n  {hint}").into(),
        None => error.into(),
    }
}

fn bind_hint(kind: ErrorKind, port_option: Option<&str>, port: u16) -> Option<String> {
    match (kind, port_option) {
        (ErrorKind::AddrInUse, Some(port_option)) => Some(format!(
            "another program has this port, or Keygate runs already; stop it, or choose another port: {port_option} {}",
            port.checked_add(1).unwrap_or(8080)
        )),
        (ErrorKind::AddrInUse, None) => Some(
            "another program has this port, or Keygate runs already; stop it, or choose another port there \
             (where `token_endpoint.issuer` names the port, there as well)"
                .to_owned(),
        ),
        (ErrorKind::PermissionDenied, _) => Some(
            "ports below 1024 need a privilege: choose another port, or grant it to the program \
             (`setcap cap_net_bind_service=+ep FILE`, or `AmbientCapabilities=CAP_NET_BIND_SERVICE` in a systemd unit)"
                .to_owned(),
        ),
        (ErrorKind::AddrNotAvailable, _) => Some(
            "no interface of this machine has this address; `0.0.0.0` stands for all of IPv4, `[::]` for all"
                .to_owned(),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_without_the_privilege_is_said_with_the_cure() {
        let hint = |kind, port_option| bind_hint(kind, port_option, 8080);
        let denied = hint(ErrorKind::PermissionDenied, None).unwrap();
        assert!(
            denied.contains("1024") && denied.contains("cap_net_bind_service"),
            "{denied}"
        );
        assert!(hint(ErrorKind::AddrInUse, None).unwrap().contains("another port there"));
        let taken = hint(ErrorKind::AddrInUse, Some("keygate run --port")).unwrap();
        assert!(
            taken.ends_with("choose another port: keygate run --port 8081"),
            "{taken}"
        );
        assert_eq!(hint(ErrorKind::Other, None), None);
    }
}
