//! Sockets, threads and signals: from a loaded configuration to a serving process and back to nothing.
//!
//! pingora's `Server` is not used: it waits its whole grace period in `sleep`, goes on without a listener when binding
//! fails, and dies of SIGHUP. Its listening service is (`workers.rs`), on sockets that are bound here, so that every address
//! is known and every bind error seen before anything starts.

use crate::config::LogFormat;
use crate::control::admin as admin_api;
use crate::control::admin::access::Access as AdminAccess;
use crate::control::registry::prepare::FirstAdministrator;
use crate::control::token;
use crate::control::token::client_jwks::ClientJwks;
use crate::gate::Gate;
use crate::gate::accept::matcher::MatcherError;
use crate::gate::live::Live;
use crate::gate::snapshot::Current;
use crate::model::clock::Clock;
use crate::model::clock::SystemClock;
use crate::observe::access::AccessLog;
use crate::observe::log::ErrorChain;
use crate::observe::log::Format;
use crate::observe::metrics::ReloadResult;
use crate::observe::panics;
use crate::observe::ready::Readiness;
use crate::runtime::admin::endpoints::Admin;
use crate::runtime::admin::listener;
use crate::runtime::admin::socket::Socket;
use crate::runtime::assemble;
use crate::runtime::client_jwks::FetchedClientJwks;
use crate::runtime::control_plane::InProcess;
use crate::runtime::echo;
use crate::runtime::follow_store;
use crate::runtime::follow_store::ControlFollower;
use crate::runtime::follow_store::StoreStartError;
use crate::runtime::housekeeping;
use crate::runtime::issuers::GateIssuers;
use crate::runtime::kept;
use crate::runtime::reload;
use crate::runtime::reload::Loaded;
use crate::runtime::reload::Reloader;
use crate::runtime::signals::Signals;
use crate::runtime::workers::Workers;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Why the gate could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on {address} ({key} in {}): {source}", config.display())]
    Bind {
        address: SocketAddr,
        key: &'static str,
        config: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot listen on a loopback port for the built-in echo upstream: {0}")]
    Echo(std::io::Error),
    #[error("cannot start threads")]
    Threads(#[source] std::io::Error),
    #[error(transparent)]
    Routes(#[from] MatcherError),
    #[error(transparent)]
    Store(#[from] StoreStartError),
    #[error("cannot install signal handlers")]
    Signals(#[source] std::io::Error),
}

/// What was bound, for whoever prints it.
pub struct Bound {
    pub data: Vec<SocketAddr>,
    pub admin: Option<SocketAddr>,
    /// Made at the first start of a store; whoever prints what was bound shows it, once.
    pub first_administrator: Option<FirstAdministrator>,
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

/// Serves until SIGTERM or SIGINT, then drains. `started` is called once every socket is bound.
///
/// # Errors
/// An address that cannot be bound, or a system out of threads.
pub fn serve(
    path: PathBuf,
    mut loaded: Loaded,
    threads: usize,
    started: impl FnOnce(&Bound),
) -> Result<(), StartError> {
    reload::say_warnings(&loaded.config);
    let format = log_format(loaded.config.observe.format);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let now = clock.now();
    let metrics = assemble::metrics(now.wall);
    panics::report(metrics.panics.clone());
    let readiness = Arc::new(Readiness::new());
    // Fetches, reloads, scrapes and the echo upstream never share a thread with requests.
    let background = background_runtime().map_err(StartError::Threads)?;

    let listeners = loaded
        .config
        .listeners
        .iter()
        .map(|listener| bind(listener.address, "listeners", &path))
        .collect::<Result<Vec<_>, _>>()?;
    let admin = loaded
        .config
        .admin
        .as_ref()
        .map(|admin| bind(admin.address, "admin.address", &path))
        .transpose()?;
    let echo = echo::bind().map_err(StartError::Echo)?;
    let echo_address = echo.local_addr().map_err(StartError::Echo)?;
    let live = Arc::new(Live::new(Arc::clone(&metrics), echo_address));
    let snapshot = reload::install(&mut loaded, &live, 1, now)?;
    // Last of what can fail for a reason of the operator's: the first administrator is made here, and shown further down.
    // All that the store holds is in force before a connection is accepted.
    let opened = background.block_on(follow_store::open(&loaded.config, &live.directory, &clock))?;
    let (control, first_administrator) = match opened {
        Some(opened) => (Some(opened.control), opened.first_administrator),
        None => (None, None),
    };
    let bound = Bound {
        first_administrator,
        data: listeners
            .iter()
            .filter_map(|listener| listener.local_addr().ok())
            .collect(),
        admin: admin.as_ref().and_then(|listener| listener.local_addr().ok()),
    };

    let client_jwks = control.as_ref().map(|control| {
        follow_store::install_keys(control, &live, &snapshot, now);
        let client_jwks: Arc<dyn ClientJwks> = Arc::new(FetchedClientJwks::new(Arc::clone(control)));
        let router = token::router(Arc::clone(control), Arc::clone(&client_jwks));
        let plane = InProcess::new(router, background.handle().clone());
        // Set once, here.
        let _ = live.control.set(Arc::new(plane));
        client_jwks
    });
    let kept = kept::open(&loaded.config, &metrics);
    if let Some(kept) = &kept {
        kept::restore(&snapshot, kept, now);
    }
    metrics.config_reloaded(ReloadResult::Success, now.wall);
    readiness.config_loaded();
    let access = AccessLog::start(std::io::stdout(), format, metrics.access_records_dropped.clone())
        .map_err(StartError::Threads)?;
    let gate = Arc::new(Gate {
        current: Current::new(snapshot),
        live: Arc::clone(&live),
        clock,
        access,
    });
    assemble::read_state_on_scrape(&gate);

    let workers = Workers::start(threads, &gate, listeners).map_err(StartError::Threads)?;
    let token = loaded.config.admin.as_ref().and_then(|admin| admin.token.clone());
    let admin_access = Arc::new(AdminAccess::new(token));
    let api = admin_api::router(admin_api::Parts {
        control: control.clone(),
        issuers: Arc::new(GateIssuers(Arc::clone(&gate))),
        access: Arc::clone(&admin_access),
        client_jwks,
        clock: Arc::clone(&gate.clock),
    });
    let (signals, reloader) = {
        let _inside = background.enter();
        let signals = Signals::install().map_err(StartError::Signals)?;
        // Before anybody can ask `/readyz`: until it has named the issuers, nothing says that their keys are missing.
        let reloader = Reloader::new(
            path,
            loaded,
            Arc::clone(&gate),
            Arc::clone(&readiness),
            kept,
            Some(Box::new(ControlFollower {
                control: control.clone(),
                access: admin_access,
                live: Arc::clone(&live),
            })),
        );
        (signals, reloader)
    };
    // Both outlive the drain: probes ask while requests end, and requests to the echo upstream are requests.
    background.spawn(echo::serve(echo, std::future::pending()));
    let parts = Admin {
        metrics: Arc::clone(&metrics),
        readiness: Arc::clone(&readiness),
        api,
        host_names: Vec::new(),
    };
    if let Some(listener) = admin {
        background.spawn(listener::serve(parts.clone(), listener, std::future::pending()));
    }
    if let Some(control) = &control {
        // For the command line of whoever may open the store's files. Without it there is the admin listener.
        match Socket::bind(&control.settings.load().store.beside(".sock")) {
            Ok(socket) => drop(background.spawn(listener::serve_socket(parts, socket, std::future::pending()))),
            Err(error) => tracing::error!(error = %ErrorChain(&error), "No socket for the command line"),
        }
    }
    for address in &bound.data {
        tracing::info!(listener = "data", address = %address, "Listening");
    }
    if let Some(address) = bound.admin {
        tracing::info!(listener = "admin", address = %address, "Listening");
    }
    started(&bound);

    background.block_on(async {
        let housekeeping = tokio::spawn(housekeeping::run(Arc::clone(&gate)));
        let following = control
            .as_ref()
            .map(|control| tokio::spawn(follow_store::follow(Arc::clone(control), Arc::clone(&gate))));
        signals.until_stop(reloader).await;
        readiness.begin_drain();
        housekeeping.abort();
        tracing::info!("Draining");
        workers.drain().await;
        if let Some(control) = &control {
            following.iter().for_each(|following| following.abort());
            follow_store::close(control).await;
        }
    });
    if !gate.access.flush(Duration::from_secs(5)) {
        tracing::warn!("Some access records were not written");
    }
    workers.end();
    background.shutdown_timeout(Duration::from_secs(1));
    tracing::info!("Stopped");
    Ok(())
}

/// The configuration's word for what `observe` writes.
pub fn log_format(format: LogFormat) -> Format {
    match format {
        LogFormat::Json => Format::Json,
        LogFormat::Text => Format::Text,
    }
}

fn background_runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("keygate-background")
        .enable_all()
        .build()
}
