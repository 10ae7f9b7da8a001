//! Which resources does a start take first? Every socket, so that a taken port stops the start before the store is
//! opened.

use crate::config::Config;
use crate::gate::live::LiveState;
use crate::model::clock::Clock;
use crate::observe::metrics::Metrics;
use crate::observe::ready::Readiness;
use crate::runtime::echo;
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
}

/// The addresses that the process listens on, with the actual port where the configuration has port 0.
pub struct Addresses {
    pub data: Vec<SocketAddr>,
    pub admin: Option<SocketAddr>,
}

impl Bound {
    /// Binds the sockets of `config`. `path` is the file of `config`, for error messages. The gate reads the time from
    /// `clock`, and counts in `metrics`.
    ///
    /// # Errors
    /// An address cannot be bound, or the system has no thread left.
    pub fn bind(
        config: &Config,
        path: &Path,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StartError> {
        let background = background_runtime().map_err(StartError::Threads)?;
        let sockets = Sockets::bind(config, path)?;
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
    fn bind(config: &Config, path: &Path) -> Result<Self, StartError> {
        let data = config.listeners.iter();
        let data = data.map(|listener| bind(listener.address, "listeners", path));
        let data = data.collect::<Result<_, _>>()?;
        let admin = config.admin.as_ref();
        let admin = admin.map(|admin| bind(admin.address, "admin.address", path));
        Ok(Self {
            data,
            admin: admin.transpose()?,
            echo: echo::bind().map_err(StartError::Echo)?,
        })
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

fn bind(address: SocketAddr, key: &'static str, config: &Path) -> Result<TcpListener, StartError> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(|source| StartError::Bind {
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
