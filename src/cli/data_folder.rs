//! Where is the development set-up? `keygate run` creates its folder and configuration at the first start; the store is
//! created in the same folder.

use crate::model::replacement;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::path::PathBuf;

const CONFIG: &str = include_str!("../../conf/embedded.yaml");
/// The reason why a command cannot use the data folder.
#[derive(Debug, thiserror::Error)]
pub enum DataFolderError {
    #[error("no home: neither HOME nor XDG_STATE_HOME is set; name a folder with --data-dir")]
    NoHome,
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: std::io::Error },
    #[error("no development set-up in {0}: `keygate run` makes it at its first start")]
    NotThere(PathBuf),
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error(
        "--port: {path} was edited, and its port does not stand where Keygate wrote it; change `listeners` and \
         `token_endpoint.issuer` there"
    )]
    Edited { path: PathBuf },
}

/// A data folder and the files in it.
#[derive(Clone, Debug)]
pub struct DataFolder(PathBuf);

impl DataFolder {
    /// Returns the named folder, or `keygate` in the user's state folder (XDG Base Directory specification).
    ///
    /// # Errors
    /// If no folder is named, and neither HOME nor XDG_STATE_HOME is set.
    pub fn locate(named: Option<&Path>) -> Result<Self, DataFolderError> {
        let set = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let folder = match named {
            Some(folder) => folder.to_owned(),
            None => set("XDG_STATE_HOME")
                .or_else(|| set("HOME").map(|home| home.join(".local/state")))
                .ok_or(DataFolderError::NoHome)?
                .join("keygate"),
        };
        Ok(Self(folder))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn config(&self) -> PathBuf {
        self.0.join("keygate.yaml")
    }

    /// Creates the folder and the configuration if they are missing. Keeps an existing configuration, which the user
    /// may have edited.
    ///
    /// # Errors
    /// If the folder or the configuration cannot be created.
    pub fn prepare(&self) -> Result<(), DataFolderError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.0);
        made.map_err(|source| DataFolderError::Write {
            path: self.0.clone(),
            source,
        })?;
        if !self.config().exists() {
            create(&self.config(), CONFIG, 0o600)?;
        }
        Ok(())
    }

    /// Changes the port at which clients connect: that of the listener, and that of the issuer, which they reach there.
    ///
    /// # Errors
    /// If the configuration cannot be read or written, or does not have both ports where the first start wrote them.
    pub fn set_port(&self, port: u16) -> Result<(), DataFolderError> {
        let path = self.config();
        let text = std::fs::read_to_string(&path).map_err(|source| DataFolderError::Read {
            path: path.clone(),
            source,
        })?;
        let changed = with_port(&text, port).ok_or_else(|| DataFolderError::Edited { path: path.clone() })?;
        if changed == text {
            return Ok(());
        }
        create(&path, &changed, 0o600)
    }

    /// Returns the path of the configuration that the first start created.
    ///
    /// # Errors
    /// If there is no configuration in the folder.
    pub fn existing_config(&self) -> Result<PathBuf, DataFolderError> {
        let config = self.config();
        if config.exists() {
            Ok(config)
        } else {
            Err(DataFolderError::NotThere(self.0.clone()))
        }
    }
}

/// The lines of the configuration that end with the port.
const PORT_LINES: [&str; 2] = ["  - address: 127.0.0.1:", "  issuer: http://127.0.0.1:"];

/// Returns `text` with another port in [`PORT_LINES`]; `None` unless it has each of them once.
fn with_port(text: &str, port: u16) -> Option<String> {
    let mut changed = text.to_owned();
    for line in PORT_LINES {
        let start = format!("\n{line}");
        let (before, after) = changed.split_once(&start)?;
        let rest = after.trim_start_matches(|char: char| char.is_ascii_digit());
        if rest.contains(&start) || rest.len() == after.len() {
            return None;
        }
        changed = format!("{before}{start}{port}{rest}");
    }
    Some(changed)
}

/// Writes a new file, complete or not at all, with the permissions `mode` from the start.
fn create(path: &Path, content: &str, mode: u32) -> Result<(), DataFolderError> {
    let failed = |source| DataFolderError::Write {
        path: path.to_owned(),
        source,
    };
    replacement::replace(path, content.as_bytes(), mode).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_first_start_makes_a_folder_for_its_owner_alone_and_the_second_keeps_what_was_edited() {
        let home = tempfile::tempdir().unwrap();
        let folder = DataFolder::locate(Some(&home.path().join("a/b"))).unwrap();
        assert!(matches!(folder.existing_config(), Err(DataFolderError::NotThere(_))));
        folder.prepare().unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(folder.path()), mode(&folder.config())), (0o700, 0o600));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(folder.existing_config().unwrap(), folder.config());
        assert_eq!(std::fs::read_to_string(folder.config()).unwrap(), CONFIG);
        std::fs::write(folder.config(), "# edited").unwrap();
        folder.prepare().unwrap();
        assert_eq!(std::fs::read_to_string(folder.config()).unwrap(), "# edited");
    }

    #[test]
    fn a_port_is_changed_where_it_was_written_and_nowhere_else() {
        let home = tempfile::tempdir().unwrap();
        let folder = DataFolder::locate(Some(home.path())).unwrap();
        assert!(matches!(folder.set_port(1), Err(DataFolderError::Read { .. })));
        folder.prepare().unwrap();
        folder.set_port(18_081).unwrap();
        let text = || std::fs::read_to_string(folder.config()).unwrap();
        assert_eq!(text(), CONFIG.replace("127.0.0.1:8080", "127.0.0.1:18081"));
        assert_eq!(
            std::fs::metadata(folder.config()).unwrap().permissions().mode() & 0o777,
            0o600
        );
        // Twice, and with what the user has added.
        std::fs::write(
            folder.config(),
            text().replace(":18081\n", ":18081 # mine\n") + "# mine\n",
        )
        .unwrap();
        folder.set_port(8080).unwrap();
        assert_eq!(text(), CONFIG.replace(":8080\n", ":8080 # mine\n") + "# mine\n");
        let second = "\nlisteners:\n  - address: 127.0.0.1:8080";
        for edited in [
            CONFIG.replace(
                "\n  issuer: http://127.0.0.1:8080",
                "\n  issuer: https://auth.example.com",
            ),
            CONFIG.replace("\n  - address: 127.0.0.1:8080", "\n  - address: 0.0.0.0:8080"),
            CONFIG.replace("\nlisteners:\n", &format!("{second}\n")),
        ] {
            std::fs::write(folder.config(), &edited).unwrap();
            assert!(
                matches!(folder.set_port(1), Err(DataFolderError::Edited { .. })),
                "{edited}"
            );
            assert_eq!(text(), edited);
        }
    }
}
