//! What do the two processes say to each other? One JSON object a line, with descriptors beside it (SCM_RIGHTS, unix(7)).

use rustix::net::RecvAncillaryBuffer;
use rustix::net::RecvAncillaryMessage;
use rustix::net::RecvFlags;
use rustix::net::SendAncillaryBuffer;
use rustix::net::SendAncillaryMessage;
use rustix::net::SendFlags;
use rustix::net::recvmsg;
use rustix::net::sendmsg;
use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::io::ErrorKind;
use std::io::IoSlice;
use std::io::IoSliceMut;
use std::io::Write;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

/// The version of the messages. A process refuses one with another version.
pub const PROTOCOL: u32 = 1;

/// The descriptors beside one message: the system allows 253, and a gate has few listeners.
const DESCRIPTORS_MAX: usize = 128;

/// The longest message. Addresses and problems are short.
const BYTES_MAX: usize = 64 * 1024;

/// A request of the successor. Each is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Request {
    /// Give the listening sockets.
    Sockets { protocol: u32 },
    /// Give the lock of the store: the successor opens it now.
    Store,
    /// The store is open. Calls of the control side go to this socket.
    Opened { control: PathBuf },
    /// The successor accepts connections.
    Serving,
}

/// A response of the gate before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Response {
    /// A descriptor for each address, in their order.
    Sockets {
        addresses: Vec<SocketAddr>,
    },
    /// One descriptor, or none where the gate has no store.
    Store,
    Done,
    Refused {
        problem: String,
    },
}

/// Sends one message.
///
/// # Errors
/// The other process is gone or does not read.
pub fn send(stream: &mut UnixStream, message: &impl Serialize, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::new(ErrorKind::InvalidInput, "too many listening sockets"));
    }
    let sent = sendmsg(&*stream, &[IoSlice::new(&line)], &mut beside, SendFlags::NOSIGNAL)?;
    stream.write_all(line.get(sent..).unwrap_or_default())
}

/// Receives one message, and the descriptors beside it.
///
/// # Errors
/// The other process is gone, does not answer in the time limit of `stream`, or sends something else.
pub fn receive<M: DeserializeOwned>(stream: &UnixStream) -> io::Result<(M, Vec<OwnedFd>)> {
    let (mut line, mut descriptors) = (Vec::new(), Vec::new());
    // The processes take turns, so that nothing follows the end of the line.
    while !line.ends_with(b"\n") {
        let mut bytes = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let parts = &mut [IoSliceMut::new(&mut bytes)];
        let received = recvmsg(stream, parts, &mut beside, RecvFlags::CMSG_CLOEXEC)?;
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        if received.bytes == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        line.extend_from_slice(bytes.get(..received.bytes).unwrap_or_default());
        if line.len() > BYTES_MAX {
            return Err(io::Error::new(ErrorKind::InvalidData, "the message is too long"));
        }
    }
    Ok((serde_json::from_slice(&line)?, descriptors))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::fd::AsFd;

    #[test]
    fn descriptors_arrive_beside_their_message() {
        let (mut here, there) = UnixStream::pair().unwrap();
        let sockets: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let addresses: Vec<SocketAddr> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
        let message = Response::Sockets {
            addresses: addresses.clone(),
        };
        let descriptors: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
        send(&mut here, &message, &descriptors).unwrap();
        let (received, descriptors) = receive::<Response>(&there).unwrap();
        assert_eq!(received, message);
        let passed = descriptors
            .into_iter()
            .map(|descriptor| TcpListener::from(descriptor).local_addr().unwrap());
        assert_eq!(passed.collect::<Vec<_>>(), addresses);
    }

    #[test]
    fn a_process_that_ends_within_a_message_and_one_that_says_something_else_are_errors() {
        let (mut here, there) = UnixStream::pair().unwrap();
        here.write_all(b"{\"step\":").unwrap();
        drop(here);
        assert_eq!(receive::<Request>(&there).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        for other in ["{}\n", "[]\n", "GET / HTTP/1.1\r\n", "{\"step\":\"other\"}\n"] {
            let (mut here, there) = UnixStream::pair().unwrap();
            here.write_all(other.as_bytes()).unwrap();
            assert!(receive::<Request>(&there).is_err(), "{other}");
        }
        let (mut here, there) = UnixStream::pair().unwrap();
        let writing = std::thread::spawn(move || here.write_all(&[b' '; 2 * BYTES_MAX]));
        assert_eq!(receive::<Request>(&there).unwrap_err().kind(), ErrorKind::InvalidData);
        drop(there);
        let _ = writing.join();
    }
}
