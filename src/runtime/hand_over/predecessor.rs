//! What does a new process take from the gate before?

use crate::runtime::hand_over::HandOverError;
use crate::runtime::hand_over::message;
use crate::runtime::hand_over::message::PROTOCOL;
use crate::runtime::hand_over::message::Request;
use crate::runtime::hand_over::message::Response;
use std::fs::File;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// The longest wait for an answer of the gate before. It writes to its store in that time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// The gate before, which serves until this process does. It goes on serving if this value is dropped before [`Self::serving`].
#[derive(Debug)]
pub struct Predecessor {
    stream: UnixStream,
}

impl Predecessor {
    /// Connects to the gate that listens at `path`. Returns `None` where none does.
    ///
    /// # Errors
    /// The socket cannot be used.
    pub fn find(path: &Path) -> Result<Option<Self>, HandOverError> {
        let stream = match UnixStream::connect(path) {
            Ok(stream) => stream,
            // No gate has run, or one was killed and left its socket.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Some(Self { stream }))
    }

    /// Takes the listening sockets, each with its address.
    ///
    /// # Errors
    /// See [`HandOverError`].
    pub fn sockets(&mut self) -> Result<Vec<(SocketAddr, TcpListener)>, HandOverError> {
        match self.ask(&Request::Sockets { protocol: PROTOCOL })? {
            (Response::Sockets { addresses }, descriptors) if addresses.len() == descriptors.len() => Ok(addresses
                .into_iter()
                .zip(descriptors.into_iter().map(TcpListener::from))
                .collect()),
            _ => Err(HandOverError::OtherProtocol),
        }
    }

    /// Takes the lock of the store; `None` where the gate before has no store. From here on, that gate writes nothing.
    ///
    /// # Errors
    /// See [`HandOverError`].
    pub fn store(&mut self) -> Result<Option<File>, HandOverError> {
        match self.ask(&Request::Store)? {
            (Response::Store, descriptors) => Ok(descriptors.into_iter().next().map(File::from)),
            _ => Err(HandOverError::OtherProtocol),
        }
    }

    /// Has the calls that need the store come to the socket at `control`.
    ///
    /// # Errors
    /// See [`HandOverError`].
    pub fn opened(&mut self, control: &Path) -> Result<(), HandOverError> {
        let control = control.to_owned();
        self.done(&Request::Opened { control })
    }

    /// Has the gate before drain. Returns what reads until that gate has ended.
    ///
    /// # Errors
    /// See [`HandOverError`].
    pub fn serving(mut self) -> Result<UnixStream, HandOverError> {
        self.done(&Request::Serving)?;
        Ok(self.stream)
    }

    fn done(&mut self, request: &Request) -> Result<(), HandOverError> {
        match self.ask(request)? {
            (Response::Done, _) => Ok(()),
            _ => Err(HandOverError::OtherProtocol),
        }
    }

    fn ask(&mut self, request: &Request) -> Result<(Response, Vec<OwnedFd>), HandOverError> {
        message::send(&mut self.stream, request, &[])?;
        match message::receive(&self.stream)? {
            (Response::Refused { problem }, _) => Err(HandOverError::Refused(problem)),
            response => Ok(response),
        }
    }
}
