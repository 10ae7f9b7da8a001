//! Which threads serve requests? Workers: each is one thread with its own tokio runtime and its own pool of upstream
//! connections, so that a request never moves between threads. All workers accept from the same sockets, so that an
//! idle worker takes the next connection.

use crate::gate::Gate;
use crate::observe::trace;
use crate::proxy::connection_counts::ConnectionCounts;
use crate::proxy::filter::Filter;
use crate::proxy::filter::lane::ProxyLane;
use crate::proxy::http1::connection::Worker;
use crate::proxy::http1::pool::Pool;
use crate::proxy::listener::ListenerSettings;
use crate::runtime::accept_errors::AcceptErrors;
use crate::runtime::descriptors::Room;
use crate::runtime::ticks::every;
use pingora::apps::ServerApp as _;
use pingora::connectors::TransportConnector;
use pingora::protocols::GetSocketDigest as _;
use pingora::protocols::SocketDigest;
use pingora::protocols::Stream;
use pingora::protocols::l4;
use std::io;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// The interval at which expired or closed connections are removed from the pool of upstream connections.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// The idle connections to upstreams that one worker keeps in pingora's lane.
const IDLE_UPSTREAMS_MAX: usize = 256;
/// The number of connections that one worker accepts after the stop, at most: those that waited for it then. Others may arrive
/// for ever.
const ACCEPTED_AFTER_STOP_MAX: usize = 4096;
/// The interval at which a drain counts the remaining connections.
const COUNT_INTERVAL: Duration = Duration::from_millis(20);

/// A bound socket that accepts clients' connections.
pub struct DataListener {
    pub socket: TcpListener,
    pub settings: Arc<ListenerSettings>,
}

/// A count for each worker that grows while the worker turns its event loop.
#[derive(Clone, Debug)]
pub struct Heartbeats(Arc<[AtomicU64]>);

impl Heartbeats {
    pub fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| AtomicU64::new(0)).collect())
    }

    /// Counts one turn of a worker.
    pub fn beat(&self, worker: usize) {
        if let Some(count) = self.0.get(worker) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns the count of each worker.
    pub fn read(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|count| count.load(Ordering::Relaxed))
    }
}

/// The workers of one gate.
pub struct Workers {
    threads: Vec<JoinHandle<()>>,
    heartbeats: Heartbeats,
    connections: ConnectionCounts,
    stopping: watch::Sender<bool>,
    /// Closed once no worker accepts any more: each accepting task holds a receiver.
    accepting: watch::Sender<()>,
    ended: watch::Sender<bool>,
}

impl Workers {
    /// Starts `count` workers, or one if `count` is 0, on `listeners`, which are bound and non-blocking. They serve at most `room`
    /// connections at a time.
    ///
    /// # Errors
    /// The system has no thread or no file descriptor left.
    pub fn start(count: usize, gate: &Arc<Gate>, listeners: Vec<DataListener>, room: Room) -> io::Result<Self> {
        trace::draw_key();
        let connector = Arc::new(TransportConnector::new(None));
        let (stopping, stop) = watch::channel(false);
        let (ended, end) = watch::channel(false);
        let (accepting, accepts) = watch::channel(());
        let count = count.max(1);
        let mut workers = Self {
            threads: Vec::new(),
            heartbeats: Heartbeats::new(count),
            connections: ConnectionCounts::with_room(room.connections, room.surplus),
            stopping,
            accepting,
            ended,
        };
        let errors = Arc::new(AcceptErrors::new("data", &gate.live.metrics, &gate.clock));
        let idle_upstreams_max = IDLE_UPSTREAMS_MAX.min(room.connections.div_ceil(count));
        // All descriptors of the workers are open before the first connection is accepted, which could take them.
        let mut runs = Vec::new();
        for _ in 0..count {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let pool = Arc::new(Pool::new(Arc::clone(&connector)));
            let proxy = ProxyLane::proxy(Filter::of_gate(Arc::clone(gate)), idle_upstreams_max);
            // Registers the sockets with this worker's runtime.
            let inside = runtime.enter();
            let sockets = listeners.iter().map(|listener| {
                let (gate, pool, counts) = (Arc::clone(gate), Arc::clone(&pool), workers.connections.clone());
                let worker = Worker::new(gate, pool, Arc::clone(&proxy), counts, Arc::clone(&listener.settings));
                Ok(Socket {
                    accepting: tokio::net::TcpListener::from_std(listener.socket.try_clone()?)?,
                    waiting: listener.socket.try_clone()?,
                    worker: Arc::new(worker),
                    _accepts: accepts.clone(),
                })
            });
            let sockets = sockets.collect::<io::Result<Vec<_>>>()?;
            drop(inside);
            runs.push((runtime, sockets, pool));
        }
        for (number, (runtime, sockets, pool)) in runs.into_iter().enumerate() {
            let (stop, end, errors) = (stop.clone(), end.clone(), Arc::clone(&errors));
            let heartbeats = workers.heartbeats.clone();
            let thread = std::thread::Builder::new().name(format!("keygate-data-{number}"));
            let thread = thread.spawn(move || {
                let upkeep = async move {
                    let mut ticks = every(SWEEP_INTERVAL);
                    loop {
                        ticks.tick().await;
                        heartbeats.beat(number);
                        pool.sweep();
                    }
                };
                run(&runtime, sockets, upkeep, &errors, stop, end);
            })?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    pub fn heartbeats(&self) -> Heartbeats {
        self.heartbeats.clone()
    }

    /// Stops accepting, and waits until no connection is served, but at most `drain`.
    pub async fn drain(&self, drain: Duration) {
        self.stopping.send_replace(true);
        let drained = async {
            // Before the count: a worker may not have served the queues of its sockets yet.
            self.accepting.closed().await;
            let mut ticks = every(COUNT_INTERVAL);
            while self.connections.count() > 0 {
                ticks.tick().await;
            }
        };
        if tokio::time::timeout(drain, drained).await.is_err() {
            tracing::warn!(
                connections = self.connections.count(),
                "Stopped before every request had ended"
            );
        }
    }

    /// Ends the threads, and closes the connections that are still open.
    pub fn end(self) {
        self.ended.send_replace(true);
        for thread in self.threads {
            // The panic hook has already reported a panic of this thread.
            let _ = thread.join();
        }
    }
}

fn run(
    runtime: &Runtime,
    sockets: Vec<Socket>,
    upkeep: impl Future<Output = ()> + Send + 'static,
    errors: &Arc<AcceptErrors>,
    stop: watch::Receiver<bool>,
    mut end: watch::Receiver<bool>,
) {
    runtime.block_on(async {
        for socket in sockets {
            let (errors, stop) = (Arc::clone(errors), stop.clone());
            tokio::spawn(async move { accept_until_stop(socket, &errors, stop).await });
        }
        tokio::spawn(upkeep);
        // `Workers::end` follows `Workers::drain`. An error means that `Workers` was dropped, which ends the thread
        // too.
        let _ = end.wait_for(|ended| *ended).await;
    });
}

/// A listening socket of one worker.
struct Socket {
    accepting: tokio::net::TcpListener,
    /// The same socket, for the connections that wait at the end.
    waiting: TcpListener,
    worker: Arc<Worker>,
    /// Dropped with the socket, which tells [`Workers::drain`] that nothing more is accepted here.
    _accepts: watch::Receiver<()>,
}

/// Accepts connections until `stop`, and then those that wait already: the system has told their clients that they are
/// connected, and would reset them. Closes the socket afterwards.
///
/// In place of pingora's listening service, which logs each error with a path of its own sources, and counts none.
async fn accept_until_stop(socket: Socket, errors: &AcceptErrors, mut stop: watch::Receiver<bool>) {
    let shutdown = stop.clone();
    let serve = async |stream: TcpStream, peer: SocketAddr| {
        errors.accepted();
        // An error means that the client is gone already, which the first read notices.
        let _ = stream.set_nodelay(true);
        socket.worker.process_new(pingora_stream(stream, peer), &shutdown).await;
    };
    let accepting = async {
        loop {
            match socket.accepting.accept().await {
                Ok((stream, peer)) => serve(stream, peer).await,
                Err(error) => tokio::time::sleep(errors.failed(&error)).await,
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        // An error means that `Workers` was dropped.
        _ = stop.wait_for(|stopping| *stopping) => {}
    }
    for _ in 0..ACCEPTED_AFTER_STOP_MAX {
        let (stream, peer) = match socket.waiting.accept() {
            Ok(connection) => connection,
            // One connection is lost; others may wait behind it.
            Err(error) if error.kind() != io::ErrorKind::WouldBlock && errors.failed(&error).is_zero() => continue,
            // None waits, or none can be accepted.
            Err(_) => return,
        };
        if stream.set_nonblocking(true).is_ok()
            && let Ok(stream) = TcpStream::from_std(stream)
        {
            serve(stream, peer).await;
        }
    }
}

/// Returns the connection as pingora's listener would.
fn pingora_stream(stream: TcpStream, peer: SocketAddr) -> Stream {
    let mut stream = l4::stream::Stream::from(stream);
    let digest = SocketDigest::from_raw_fd(stream.as_raw_fd());
    // The digest is new, so nothing is set.
    let _ = digest.peer_addr.set(Some(peer.into()));
    stream.set_socket_digest(digest);
    Box::new(stream)
}
