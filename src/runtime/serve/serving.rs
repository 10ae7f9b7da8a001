//! Which tasks run while the gate serves, and when do they end?

use crate::config::Config;
use crate::config::Shutdown;
use crate::control::Control;
use crate::control::admin as admin_api;
use crate::control::admin::access::Access;
use crate::gate::Gate;
use crate::gate::snapshot::Snapshot;
use crate::model::clock::Now;
use crate::observe::log::ErrorChain;
use crate::observe::ready::Condition;
use crate::observe::ready::Readiness;
use crate::observe::ready::START;
use crate::runtime::admin::endpoints::Admin;
use crate::runtime::admin::endpoints::HostNames;
use crate::runtime::admin::listener;
use crate::runtime::admin::record::AccessRecorder;
use crate::runtime::admin::record::Records;
use crate::runtime::admin::socket::Socket;
use crate::runtime::descriptors;
use crate::runtime::descriptors::Room;
use crate::runtime::echo;
use crate::runtime::follow_store;
use crate::runtime::follow_store::ControlFollower;
use crate::runtime::hand_over::Predecessor;
use crate::runtime::hand_over::successor::Offer;
use crate::runtime::housekeeping;
use crate::runtime::issuers::GateIssuers;
use crate::runtime::key_verifier::GateKeys;
use crate::runtime::reload::Follower;
use crate::runtime::reload::HostProcess;
use crate::runtime::reload::Reloader;
use crate::runtime::restart::StartSettings;
use crate::runtime::serve::bound::Addresses;
use crate::runtime::serve::drained::Drained;
use crate::runtime::serve::error::StartError;
use crate::runtime::serve::opened::ControlSide;
use crate::runtime::serve::opened::Opened;
use crate::runtime::signals::Signals;
use crate::runtime::start_wait;
use crate::runtime::store_tasks::StoreTasks;
use crate::runtime::store_watch;
use crate::runtime::supervisor;
use crate::runtime::tls::Listeners;
use crate::runtime::upstreams::GateUpstreams;
use crate::runtime::workers::DataListener;
use crate::runtime::workers::Workers;
use axum::Router;
use std::future::pending;
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::OnceLock;
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A process with workers that accept connections and an admin API that responds.
pub struct Serving {
    addresses: Addresses,
    pub reloader: Reloader,
    workers: Workers,
    gate: Arc<Gate>,
    readiness: Arc<Readiness>,
    /// Aborted when the process begins to drain.
    housekeeping: JoinHandle<()>,
    /// The tasks that use the store, if there is one. Stopped right before it is closed.
    store_tasks: Option<Arc<StoreTasks>>,
    hand_over: HandOver,
    pub background: Runtime,
}

/// How a gate gives its place to a successor, and takes that of a predecessor.
struct HandOver {
    /// Set once a successor serves.
    is_handed_over: watch::Receiver<bool>,
    /// Waits for successors; `None` where none is to come.
    successors: Option<JoinHandle<io::Result<std::os::unix::net::UnixStream>>>,
    /// Answers calls from the gate before; see [`relay`](crate::runtime::hand_over::relay).
    relay: Option<JoinHandle<io::Result<()>>>,
}

impl Opened {
    /// Starts `threads` workers and all background tasks. Also returns what a successor gets. Reloads read the file at `path`. Waits for what
    /// [`start_wait::wait`] waits for, or until `stop` ends.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn serve(
        self,
        path: PathBuf,
        threads: usize,
        stop: impl Future<Output = ()>,
    ) -> Result<(Serving, Offer), StartError> {
        let addresses = self.sockets.addresses();
        let copies = self.sockets.copies().map_err(StartError::Threads)?;
        let (handed_over, is_handed_over) = watch::channel(false);
        let tls = Listeners::new(
            &self.loaded.config,
            Arc::clone(&self.gate.live.metrics),
            self.gate.clock.now().wall,
        )
        .map_err(StartError::Tls)?;
        let sockets = self.sockets.data.into_iter().zip(tls.each());
        let sockets = sockets
            .map(|(socket, settings)| DataListener { socket, settings })
            .collect();
        let token = self.loaded.config.admin.as_ref().and_then(|admin| admin.token.clone());
        let access = Arc::new(Access::new(token));
        let host_names = Arc::new(HostNames::new(host_names_of(&self.loaded.config)));
        let admin = Admin {
            metrics: Arc::clone(&self.gate.live.metrics),
            readiness: Arc::clone(&self.readiness),
            api: api(&self.gate, self.control_side.as_ref(), &access),
            host_names: Arc::clone(&host_names),
            ownership: self.ownership.clone(),
            records: Arc::new(Records {
                output: Arc::clone(&self.gate) as Arc<dyn AccessRecorder>,
                metrics: Arc::clone(&self.gate.live.metrics),
                clock: Arc::clone(&self.gate.clock),
            }),
        };
        let control = self.control_side.map(|side| side.control);
        let known_room = Arc::new(OnceLock::new());
        let host = HostProcess {
            followers: vec![
                Box::new(ControlFollower {
                    control: control.clone(),
                    access,
                    live: Arc::clone(&self.gate.live),
                }),
                Box::new(HostNamesFollower(host_names)),
                Box::new(tls),
                Box::new(RoomFollower(Arc::clone(&known_room))),
            ],
            start_settings: StartSettings::of_gateway(&self.loaded.config),
            check: |_| Ok(()),
        };
        let reloader = {
            let _inside = self.background.enter();
            Reloader::new(
                path,
                self.loaded,
                Arc::clone(&self.gate),
                Arc::clone(&self.readiness),
                self.key_files,
                host,
            )
        };
        let housekeeping = self.background.spawn(housekeeping::run(Arc::clone(&self.gate)));
        let store_tasks = control.as_ref().map(|control| {
            let (gate, readiness) = (Arc::clone(&self.gate), Arc::clone(&self.readiness));
            StoreTasks::start(Arc::clone(control), gate, readiness, self.background.handle().clone())
        });
        self.readiness
            .set(START, Condition::Failing, "connections are not accepted yet");
        answer(
            &self.background,
            control.as_ref(),
            admin,
            self.sockets.admin,
            self.sockets.echo,
            is_handed_over.clone(),
        );
        self.background.block_on(async {
            tokio::select! {
                () = start_wait::wait(&self.gate) => {}
                () = stop => {}
            }
        });
        let room = descriptors::room();
        descriptors::warn_if_short(room, reloader.connections_max());
        // `set` fails only if the value is set already, and no other code sets the value.
        let _ = known_room.set(room);
        let workers = Workers::start(threads, &self.gate, sockets, room).map_err(StartError::Threads)?;
        self.readiness.remove(START);
        let serving = Serving {
            addresses,
            reloader,
            workers,
            gate: self.gate,
            readiness: self.readiness,
            housekeeping,
            store_tasks: store_tasks.clone(),
            hand_over: HandOver {
                is_handed_over,
                successors: None,
                relay: self.relay,
            },
            background: self.background,
        };
        let offer = Offer {
            sockets: copies,
            ownership: self.ownership,
            store: store_tasks,
            is_handed_over: handed_over,
        };
        Ok((serving, offer))
    }
}

fn host_names_of(config: &Config) -> Vec<String> {
    let admin = config.admin.as_ref();
    admin.map(|admin| admin.host_names.clone()).unwrap_or_default()
}

/// Applies `admin.host_names` of a reload.
struct HostNamesFollower(Arc<HostNames>);

impl Follower for HostNamesFollower {
    fn apply(&self, config: &Config, _snapshot: &Snapshot, _now: Now) -> Result<(), String> {
        self.0.replace(host_names_of(config));
        Ok(())
    }
}

/// Warns after a reload if the process has too few descriptors for the connections that are allowed now.
struct RoomFollower(Arc<OnceLock<Room>>);

impl Follower for RoomFollower {
    fn apply(&self, config: &Config, _snapshot: &Snapshot, _now: Now) -> Result<(), String> {
        if let Some(room) = self.0.get() {
            descriptors::warn_if_short(*room, config.requests.connections_max);
        }
        Ok(())
    }
}

impl Serving {
    pub const fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Has the predecessor drain, and answers the calls that it relays until it has ended.
    pub fn succeed(&mut self, predecessor: Predecessor) {
        let relay = self.hand_over.relay.take();
        match predecessor.serving() {
            Ok(stream) => drop(self.background.spawn(async move {
                tracing::info!("Took over from the gate before, which drains");
                wait_for_end(stream).await;
                relay.iter().for_each(JoinHandle::abort);
            })),
            // This gate serves nevertheless.
            Err(error) => tracing::warn!(error = %ErrorChain(&error), "The gate before has ended"),
        }
    }

    /// Waits for successors at `socket`.
    pub fn wait_for_successors(&mut self, socket: Socket, offer: Offer) {
        self.hand_over.successors = Some(self.background.spawn(offer.serve(socket)));
    }

    /// Tells systemd that the workers live, as often as it wants.
    pub fn watch_for_supervisor(&self) {
        let clock = Arc::clone(&self.gate.clock);
        self.background
            .spawn(supervisor::watch(self.workers.heartbeats(), clock));
    }

    /// Reloads on SIGHUP and when a file has changed. On SIGTERM or SIGINT, drains and closes the store: `/readyz` fails at once,
    /// and connections are accepted for the `delay` of the configuration, or until a second signal. Drains too once a successor
    /// serves, which accepts the connections from then on and has the store.
    pub fn run_and_drain(mut self, mut signals: Signals) -> Drained {
        self.background.block_on(async {
            // A signal from before the first connection: `/readyz` has told no load balancer that the gate is ready, so there is no
            // `delay` in which one would learn that it is not.
            let was_stopping = signals.is_stopping();
            let mut is_handed_over = self.hand_over.is_handed_over.clone();
            let has_successor = tokio::select! {
                () = signals.reload_until_stop(&mut self.reloader) => false,
                Ok(_) = is_handed_over.wait_for(|handed_over| *handed_over) => true,
            };
            // No successor comes any more, and nothing else keeps the listening sockets open.
            let successor = match self.hand_over.successors.take() {
                Some(successors) => {
                    successors.abort();
                    successors.await.ok()
                }
                None => None,
            };
            let Shutdown { delay, drain } = self.reloader.shutdown();
            self.readiness.begin_drain();
            supervisor::stopping();
            if !delay.is_zero() && !was_stopping && !has_successor {
                tracing::info!(
                    delay_secs = delay.as_secs_f64(),
                    "Not ready any more, and still accepting"
                );
                // An operator who sends a second signal does not want to wait.
                let _ = tokio::time::timeout(delay, signals.stop()).await;
            }
            tracing::info!("Draining");
            let begun = self.gate.clock.now().tick;
            self.workers.drain(drain).await;
            self.housekeeping.abort();
            // Close the store after the drain: requests in flight may still issue tokens and use keys.
            if let Some(tasks) = &self.store_tasks {
                let control = tasks.control();
                if tasks.is_released() {
                    // Everything was written before the successor opened the store.
                    control.store.close().await;
                } else {
                    let drained = self.gate.clock.now().tick.saturating_since(begun);
                    store_watch::wait_for_pending(control, drain.saturating_sub(drained)).await;
                    tasks.stop();
                    follow_store::close(control, &self.gate).await;
                }
            }
            // The successor answers calls of this gate for as long as the connection is open.
            drop(successor);
        });
        Drained {
            workers: self.workers,
            gate: self.gate,
            background: self.background,
        }
    }
}

/// Waits until the process at the other end of `stream` has ended.
async fn wait_for_end(stream: std::os::unix::net::UnixStream) {
    let stream = stream.set_nonblocking(true).and_then(|()| UnixStream::from_std(stream));
    let Ok(mut stream) = stream else {
        return;
    };
    let mut bytes = [0; 64];
    while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
}

/// Starts the admin endpoints and the echo upstream. Call this after [`Reloader::new`], which tells `readiness`
/// which issuers need keys: an earlier `/readyz` would succeed while these keys are missing.
///
/// All run until the background runtime ends: probes call during a drain, and requests in flight may need the echo
/// upstream.
fn answer(
    background: &Runtime,
    control: Option<&Arc<Control>>,
    admin: Admin,
    admin_listener: Option<TcpListener>,
    echo_listener: TcpListener,
    mut is_handed_over: watch::Receiver<bool>,
) {
    background.spawn(echo::serve(echo_listener, pending()));
    if let Some(admin_listener) = admin_listener {
        // A successor accepts from the same socket.
        let stop = async move {
            if is_handed_over.wait_for(|handed_over| *handed_over).await.is_err() {
                pending::<()>().await;
            }
        };
        background.spawn(listener::serve(admin.clone(), admin_listener, stop));
    }
    if let Some(control) = control {
        // The socket serves commands of the user that owns the store's files. If binding fails, commands can still
        // use the admin listener.
        match Socket::bind(&control.settings.load().store.beside(".sock")) {
            Ok(socket) => drop(background.spawn(listener::serve_socket(admin, socket, pending()))),
            Err(error) => tracing::error!(error = %ErrorChain(&error), "No socket for the command line"),
        }
    }
}

impl Addresses {
    /// Logs each address.
    pub fn log(&self) {
        for address in &self.data {
            tracing::info!(listener = "data", address = %address, "Listening");
        }
        if let Some(address) = self.admin {
            tracing::info!(listener = "admin", address = %address, "Listening");
        }
    }
}

fn api(gate: &Arc<Gate>, control_side: Option<&ControlSide>, access: &Arc<Access>) -> Router {
    admin_api::router(admin_api::AdminDependencies {
        control: control_side.map(|side| Arc::clone(&side.control)),
        issuers: Arc::new(GateIssuers(Arc::clone(gate))),
        upstreams: Arc::new(GateUpstreams(Arc::clone(gate))),
        access: Arc::clone(access),
        client_jwks: control_side.map(|side| Arc::clone(&side.client_jwks)),
        keys: Some(Arc::new(GateKeys(Arc::clone(gate)))),
        clock: Arc::clone(&gate.clock),
    })
}
