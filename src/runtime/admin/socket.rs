//! Which local users may use the admin API without a token? The owner of the socket file, because its mode is 0600.

use std::fs;
use std::fs::DirBuilder;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::path::PathBuf;

/// A bound Unix socket. The file is removed on drop, unless another process has put its own there.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// The device and the inode of the file.
    identity: (u64, u64),
    is_left: bool,
}

/// Why the socket cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("{} is there and is no socket; move it away, the gate makes its own there", .0.display())]
    Taken(PathBuf),
    #[error("cannot make the socket {}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl Socket {
    /// Creates the socket at `path` with mode 0600. Replaces an existing socket, which an earlier process left: the
    /// caller ensures that no other process uses the store.
    ///
    /// # Errors
    /// The file at `path` is not a socket, but for example a link; the folder cannot be written; or the path is too
    /// long for a socket (about 100 bytes).
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let failed = |source| SocketError::Io {
            path: path.to_owned(),
            source,
        };
        // Do not follow a link: even a link to a socket is not the socket of an earlier process.
        match path.symlink_metadata() {
            Ok(found) if !found.file_type().is_socket() => return Err(SocketError::Taken(path.to_owned())),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        // Until its mode is set, a socket may be open to all users. So create the socket in a private folder and then
        // move it: `rename` replaces the file at `path` and does not follow a link.
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let folder = parent
            .unwrap_or_else(|| Path::new("."))
            .join(format!(".s{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        DirBuilder::new().mode(0o700).create(&folder).map_err(failed)?;
        let made = bind_in(&folder, path);
        let _ = fs::remove_dir_all(&folder);
        let (listener, identity) = made.map_err(failed)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            identity,
            is_left: false,
        })
    }

    /// Leaves the file to a process that will put its own socket there.
    pub fn leave(mut self) {
        self.is_left = true;
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the socket for tokio. Panics outside a tokio runtime.
    ///
    /// # Errors
    /// The system has no file descriptor left, or cannot register the socket.
    pub fn listener(&self) -> io::Result<tokio::net::UnixListener> {
        self.listener.set_nonblocking(true)?;
        tokio::net::UnixListener::from_std(self.listener.try_clone()?)
    }
}

fn bind_in(folder: &Path, path: &Path) -> io::Result<(UnixListener, (u64, u64))> {
    let made = folder.join("s");
    let listener = UnixListener::bind(&made)?;
    fs::set_permissions(&made, Permissions::from_mode(0o600))?;
    let identity = identity(&made)?;
    fs::rename(&made, path)?;
    Ok((listener, identity))
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = path.symlink_metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

impl Drop for Socket {
    fn drop(&mut self) {
        // A successor may have put its socket there. Best effort: a connection to a remaining file fails, and the next start
        // replaces the file.
        if !self.is_left && identity(&self.path).is_ok_and(|found| found == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_socket_is_its_owners_alone_and_goes_with_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keygate.db.sock");
        let socket = Socket::bind(&path).unwrap();
        let mode = path.symlink_metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(UnixStream::connect(&path).is_ok());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_that_was_left_is_replaced_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keygate.db.sock");
        // As after a crash, the file remains without a listener.
        drop(UnixListener::bind(&path).unwrap());
        drop(Socket::bind(&path).unwrap());

        let victim = folder.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        symlink(&victim, &path).unwrap();
        assert!(matches!(Socket::bind(&path), Err(SocketError::Taken(_))));
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        fs::remove_file(&path).unwrap();

        // A link to a socket is rejected as well.
        let other = folder.path().join("other");
        let _listening = UnixListener::bind(&other).unwrap();
        symlink(&other, &path).unwrap();
        assert!(matches!(Socket::bind(&path), Err(SocketError::Taken(_))));
        fs::remove_file(&path).unwrap();

        fs::write(&path, "a file").unwrap();
        assert!(matches!(Socket::bind(&path), Err(SocketError::Taken(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "a file");
    }

    #[test]
    fn the_socket_of_a_successor_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keygate.db.sock");
        let before = Socket::bind(&path).unwrap();
        let after = Socket::bind(&path).unwrap();
        drop(before);
        assert!(UnixStream::connect(&path).is_ok());
        drop(after);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_in_a_missing_folder_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none").join("keygate.db.sock");
        assert!(matches!(Socket::bind(&path), Err(SocketError::Io { .. })));
    }
}
