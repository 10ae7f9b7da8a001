//! What does the gate that serves give to its successor?

use crate::observe::log::ErrorChain;
use crate::runtime::admin::socket::Socket;
use crate::runtime::hand_over::Ownership;
use crate::runtime::hand_over::StoreOwner;
use crate::runtime::hand_over::message;
use crate::runtime::hand_over::message::PROTOCOL;
use crate::runtime::hand_over::message::Request;
use crate::runtime::hand_over::message::Response;
use crate::runtime::store_tasks::StoreTasks;
use std::io;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::OwnedRwLockWriteGuard;
use tokio::sync::watch;
use tokio::time::timeout;

/// The longest wait for the next request of a successor. It may wait for the keys of issuers, for `start_wait`.
const SUCCESSOR_TIMEOUT: Duration = Duration::from_secs(300);

/// The longest time in which calls of the control side wait for a successor that opens the store.
const STORE_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest wait for the calls of the control side that are under way.
const CALLS_TIMEOUT: Duration = Duration::from_secs(10);

/// The sockets and the store of a gate, for its successor.
pub struct Offer {
    /// The listening sockets, each with its address.
    pub sockets: Vec<(SocketAddr, TcpListener)>,
    pub ownership: Ownership,
    /// `None` without a store.
    pub store: Option<Arc<StoreTasks>>,
    /// Set once a successor serves.
    pub is_handed_over: watch::Sender<bool>,
}

impl Offer {
    /// Serves the successors that connect to `socket`, one after the other, until one of them accepts connections. Returns the
    /// connection to it, whose end tells it that this process has ended.
    ///
    /// # Errors
    /// The system has no file descriptor left.
    pub async fn serve(self, socket: Socket) -> io::Result<UnixStream> {
        let listener = socket.listener()?;
        let offer = Arc::new(self);
        loop {
            let (stream, _) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "A successor could not connect");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
            };
            let stream = stream.into_std()?;
            let (shared, runtime) = (Arc::clone(&offer), Handle::current());
            // The messages are read with a blocking thread: a successor comes once in weeks.
            let session = tokio::task::spawn_blocking(move || HandOverSession::new(&shared, &runtime).run(stream));
            match session.await {
                Ok(Ok(stream)) => {
                    socket.leave();
                    offer.is_handed_over.send_replace(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => {
                    tracing::error!(error = %ErrorChain(&error), "Successor did not start; this gate goes on serving");
                }
                Err(_) => tracing::error!("Successor did not start; this gate goes on serving"),
            }
        }
    }
}

/// One successor that starts. Takes the store back on drop, unless the successor serves.
struct HandOverSession<'e> {
    offer: &'e Offer,
    runtime: &'e Handle,
    /// Held while calls of the control side wait.
    waiting: Option<OwnedRwLockWriteGuard<StoreOwner>>,
    has_given_store: bool,
    is_handed_over: bool,
}

impl<'e> HandOverSession<'e> {
    const fn new(offer: &'e Offer, runtime: &'e Handle) -> Self {
        Self {
            offer,
            runtime,
            waiting: None,
            has_given_store: false,
            is_handed_over: false,
        }
    }

    fn run(mut self, mut stream: UnixStream) -> io::Result<UnixStream> {
        stream.set_nonblocking(false)?;
        stream.set_write_timeout(Some(CALLS_TIMEOUT))?;
        tracing::info!("A successor starts");
        loop {
            let is_waiting = self.waiting.is_some();
            stream.set_read_timeout(Some(if is_waiting { STORE_TIMEOUT } else { SUCCESSOR_TIMEOUT }))?;
            let (request, _) = message::receive::<Request>(&stream)?;
            let is_last = request == Request::Serving;
            match self.answer(request) {
                Ok((response, descriptors)) => {
                    let descriptors: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
                    message::send(&mut stream, &response, &descriptors)?;
                }
                Err(problem) => {
                    message::send(
                        &mut stream,
                        &Response::Refused {
                            problem: problem.clone(),
                        },
                        &[],
                    )?;
                    return Err(io::Error::other(problem));
                }
            }
            if is_last {
                self.is_handed_over = true;
                return Ok(stream);
            }
        }
    }

    fn answer(&mut self, request: Request) -> Result<(Response, Vec<std::os::fd::OwnedFd>), String> {
        match request {
            Request::Sockets { protocol } if protocol != PROTOCOL => {
                Err("it speaks another version of the hand-over; stop this gate first".to_owned())
            }
            Request::Sockets { .. } => {
                let sockets = self.offer.sockets.iter();
                let copies = sockets.clone().map(|(_, socket)| socket.try_clone().map(Into::into));
                let copies = copies
                    .collect::<io::Result<Vec<_>>>()
                    .map_err(|error| error.to_string())?;
                let addresses = sockets.map(|(address, _)| *address).collect();
                Ok((Response::Sockets { addresses }, copies))
            }
            Request::Store => self.give_store(),
            Request::Opened { control } => {
                if let Some(mut owner) = self.waiting.take() {
                    *owner = StoreOwner::Successor(control);
                }
                Ok((Response::Done, Vec::new()))
            }
            Request::Serving => Ok((Response::Done, Vec::new())),
        }
    }

    fn give_store(&mut self) -> Result<(Response, Vec<std::os::fd::OwnedFd>), String> {
        let Some(store) = self.offer.store.as_ref().filter(|_| !self.has_given_store) else {
            return Ok((Response::Store, Vec::new()));
        };
        let suspending = timeout(CALLS_TIMEOUT, self.offer.ownership.suspend());
        let owner = self.runtime.block_on(suspending);
        let owner = owner.map_err(|_| "calls of the token endpoint or the admin API do not end".to_owned())?;
        let lock = self
            .runtime
            .block_on(store.release())
            .map_err(|error| error.to_string())?;
        self.waiting = Some(owner);
        self.has_given_store = true;
        Ok((Response::Store, lock.into_iter().collect()))
    }
}

impl Drop for HandOverSession<'_> {
    fn drop(&mut self) {
        if self.is_handed_over || !self.has_given_store {
            return;
        }
        let mut owner = match self.waiting.take() {
            Some(owner) => owner,
            // Calls are with the successor, which has ended.
            None => self.runtime.block_on(self.offer.ownership.suspend()),
        };
        if let Some(store) = &self.offer.store {
            self.runtime.block_on(store.take_back());
        }
        *owner = StoreOwner::This;
    }
}
