//! `keygate run`: which configuration, and then serve.

use crate::cli::args::Place;
use crate::cli::args::Run;
use crate::cli::data_folder::DataFolder;
use crate::observe::log;
use crate::runtime::reload;
use crate::runtime::serve;
use crate::runtime::serve::Bound;
use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Serves until told to stop.
///
/// # Errors
/// A configuration that cannot be used (every mistake at once), an address that cannot be bound.
pub fn run(asked: &Run) -> Result<(), Box<dyn Error>> {
    let (path, folder) = match &asked.place.config {
        Some(path) => (path.clone(), None),
        None => {
            let folder = DataFolder::locate(asked.place.data_dir.as_deref())?;
            folder.prepare()?;
            (folder.config(), Some(folder))
        }
    };
    let loaded = reload::load(&path)?;
    log::init(
        serve::log_format(loaded.config.observe.format),
        &loaded.config.observe.level,
    )?;
    let threads = match asked.threads {
        Some(threads) => threads.into(),
        None => std::thread::available_parallelism()?.get(),
    };
    let named = asked.place.data_dir.is_some();
    serve::serve(path, loaded, threads, |bound| {
        if let Some(administrator) = &bound.first_administrator {
            eprint!(
                "\nThe first administrator of this store. The secret is shown this once:\n  client_id:     {}\n  client_secret: {}\n\n",
                administrator.client_id,
                administrator.client_secret.expose()
            );
        }
        if let Some(folder) = &folder {
            eprint!("{}", introduction(folder, named, bound));
        }
    })?;
    Ok(())
}

/// What a newcomer reads and pastes.
fn introduction(folder: &DataFolder, named: bool, bound: &Bound) -> String {
    let program = std::env::current_exe().map_or_else(|_| "keygate".to_owned(), |path| shell_word(&path));
    let place = if named {
        format!(" --data-dir {}", shell_word(folder.path()))
    } else {
        String::new()
    };
    let at = bound
        .data
        .first()
        .map_or_else(|| "127.0.0.1:8080".to_owned(), SocketAddr::to_string);
    let admin = bound.admin.map_or_else(String::new, |admin| {
        format!("Metrics and readiness: http://{admin}/metrics http://{admin}/readyz\n")
    });
    format!(
        "
Keygate serves a development set-up on http://{at} until you press Ctrl-C. Try, in another terminal:

  curl -i http://{at}/public/hello                                    # 200: anyone may
  curl -i http://{at}/key/hello                                       # 401: no credential

  KEY=$({program} keys{place} create --name demo --scope orders:read --expires 30d)
  sleep 1                                                                       # a new key counts within a second
  curl -i -H \"x-api-key: $KEY\" http://{at}/key/hello                  # 200, with identity headers at the echo

  TOKEN=$({program} token{place} --scope orders:read)
  curl -i -H \"authorization: Bearer $TOKEN\" http://{at}/token/hello   # 200
  curl -i -H \"authorization: Bearer $({program} token{place})\" http://{at}/token/hello   # 403: scope missing
  curl -i -H \"x-api-key: $KEY\" -H \"authorization: Bearer $TOKEN\" http://{at}/either/hello   # 400: two credentials
  for i in 1 2 3 4 5 6 7; do curl -s -o /dev/null -w '%{{http_code}}\\n' -H \"x-api-key: $KEY\" http://{at}/key/hello; done   # then 429

The configuration is {config}: edit a route and it is live; break it and read why, here.
{admin}
",
        config = folder.config().display(),
    )
}

fn shell_word(path: &std::path::Path) -> String {
    let text = path.display().to_string();
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte));
    if plain {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// The configuration that a command is about.
///
/// # Errors
/// No data folder.
pub(in crate::cli) fn config_path(place: &Place) -> Result<PathBuf, Box<dyn Error>> {
    match &place.config {
        Some(path) => Ok(path.clone()),
        None => {
            let folder = DataFolder::locate(place.data_dir.as_deref())?;
            // Keys may be made before the first start.
            folder.prepare()?;
            Ok(folder.config())
        }
    }
}
