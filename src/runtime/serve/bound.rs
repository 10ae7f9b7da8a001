//! Which resources does a start take first? Every socket, so that a taken port stops the start before the store is
//! opened.

use crate::config::Config;
use crate::gate::live::LiveState;
use crate::model::clock::Clock;
use crate::observe::metrics::Metrics;
use crate::observe::ready::Readiness;
use crate::runtime::echo;
use crate::runtime::inherited::InheritedSockets;
use crate::runtime::serve::error::StartError;
use std::io;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use tokio::runtime::Runtime;

/// A process with all its sockets bound. Nothing accepts from the sockets yet.
pub struct Bound {
    pub(super) sockets: Sockets,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) live: Arc<LiveState>,
    pub(super) readiness: Arc<Readiness>,
    /// Runs everything but the workers: fetches, the control side, the admin listener and the echo upstream. The last
    /// field here and in the later states, so that it is dropped after everything that has tasks on it.
    pub(super) background: Runtime,
}

/// The listening sockets of the process.
pub struct Sockets {
    pub(super) data: Vec<TcpListener>,
    pub(super) admin: Option<TcpListener>,
    pub(super) echo: TcpListener,
    /// The address of each socket in the configuration, which is another one where that has port 0: those of data, then admin.
    configured: Vec<SocketAddr>,
}

/// The addresses that the process listens on, with the actual port where the configuration has port 0.
pub struct Addresses {
    pub data: Vec<SocketAddr>,
    pub admin: Option<SocketAddr>,
}

impl Bound {
    /// Binds the sockets of `config`, but for those that are `inherited`. `path` is the file of `config`, for error messages. The
    /// gate reads the time from `clock`, and counts in `metrics`.
    ///
    /// # Errors
    /// An address cannot be bound, an inherited socket has an address of no listener, or the system has no thread left.
    pub fn bind(
        config: &Config,
        path: &Path,
        inherited: InheritedSockets,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StartError> {
        let background = background_runtime().map_err(StartError::Threads)?;
        let sockets = Sockets::bind(config, path, inherited)?;
        let echo = sockets.echo.local_addr().map_err(StartError::Echo)?;
        Ok(Self {
            sockets,
            clock,
            live: Arc::new(LiveState::new(metrics, echo)),
            readiness: Arc::new(Readiness::new()),
            background,
        })
    }
}

impl Sockets {
    fn bind(config: &Config, path: &Path, mut inherited: InheritedSockets) -> Result<Self, StartError> {
        // Before anything is bound: a socket of `[::]` has the port of `0.0.0.0` too.
        let of_data: Vec<_> = config
            .listeners
            .iter()
            .map(|listener| inherited.take(listener.address))
            .collect();
        let of_admin = config.admin.as_ref().and_then(|admin| inherited.take(admin.address));
        let left = inherited.left();
        if !left.is_empty() {
            return Err(StartError::UnusedSockets {
                addresses: left,
                config: path.to_owned(),
            });
        }
        let data = config.listeners.iter().zip(of_data);
        let data = data.map(|(listener, inherited)| listen(listener.address, inherited, "listeners", path));
        let data = data.collect::<Result<_, _>>()?;
        let admin = config.admin.as_ref();
        let admin = admin.map(|admin| listen(admin.address, of_admin, "admin.address", path));
        let listeners = config.listeners.iter().map(|listener| listener.address);
        Ok(Self {
            data,
            admin: admin.transpose()?,
            echo: echo::bind().map_err(StartError::Echo)?,
            configured: listeners
                .chain(config.admin.as_ref().map(|admin| admin.address))
                .collect(),
        })
    }

    /// Returns a copy of each socket for a successor, with its address in the configuration.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub(super) fn copies(&self) -> io::Result<Vec<(SocketAddr, TcpListener)>> {
        let sockets = self.data.iter().chain(&self.admin);
        let copies = self.configured.iter().zip(sockets);
        copies
            .map(|(address, socket)| Ok((*address, socket.try_clone()?)))
            .collect()
    }

    /// Returns the addresses of all sockets but the echo upstream's.
    pub fn addresses(&self) -> Addresses {
        let address = |listener: &TcpListener| listener.local_addr().ok();
        Addresses {
            data: self.data.iter().filter_map(address).collect(),
            admin: self.admin.as_ref().and_then(address),
        }
    }
}

/// Returns the inherited socket, or one that is bound to `address`.
fn listen(
    address: SocketAddr,
    inherited: Option<TcpListener>,
    key: &'static str,
    config: &Path,
) -> Result<TcpListener, StartError> {
    let listener = inherited
        .map_or_else(|| TcpListener::bind(address), Ok)
        .and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
    listener.map_err(|source| StartError::Bind {
        address,
        key,
        config: config.to_owned(),
        source,
    })
}

fn background_runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("keygate-background")
        .enable_all()
        .build()
}
