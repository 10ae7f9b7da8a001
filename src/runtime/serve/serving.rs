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
use crate::runtime::store_watch;
use crate::runtime::tls::Listeners;
use crate::runtime::upstreams::GateUpstreams;
use crate::runtime::workers::DataListener;
use crate::runtime::workers::Workers;
use axum::Router;
use std::future::pending;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::OnceLock;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// A process with workers that accept connections and an admin API that responds.
pub struct Serving {
    addresses: Addresses,
    pub reloader: Reloader,
    workers: Workers,
    control: Option<Arc<Control>>,
    gate: Arc<Gate>,
    readiness: Arc<Readiness>,
    /// Aborted when the process begins to drain.
    housekeeping: JoinHandle<()>,
    /// Runs [`follow_store::follow`] and [`store_watch::watch`] if there is a store. Aborted right before the store is closed.
    following: Option<JoinHandle<()>>,
    pub background: Runtime,
}

impl Opened {
    /// Starts `threads` workers and all background tasks. Reloads read the file at `path`. Waits for what
    /// [`start_wait::wait`] waits for, or until `stop` ends.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn serve(self, path: PathBuf, threads: usize, stop: impl Future<Output = ()>) -> Result<Serving, StartError> {
        let addresses = self.sockets.addresses();
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
        let following = control.as_ref().map(|control| {
            let follow = follow_store::follow(Arc::clone(control), Arc::clone(&self.gate));
            let watch = store_watch::watch(Arc::clone(control), Arc::clone(&self.gate), Arc::clone(&self.readiness));
            self.background.spawn(async move {
                tokio::join!(follow, watch);
            })
        });
        self.readiness
            .set(START, Condition::Failing, "connections are not accepted yet");
        answer(
            &self.background,
            control.as_ref(),
            admin,
            self.sockets.admin,
            self.sockets.echo,
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
            control,
            gate: self.gate,
            readiness: self.readiness,
            housekeeping,
            following,
            background: self.background,
        };
        Ok(serving)
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

    /// Reloads on SIGHUP and when a file has changed. On SIGTERM or SIGINT, drains and closes the store: `/readyz` fails at once,
    /// and connections are accepted for the `delay` of the configuration, or until a second signal.
    pub fn run_and_drain(mut self, mut signals: Signals) -> Drained {
        self.background.block_on(async {
            // A signal from before the first connection: `/readyz` has told no load balancer that the gate is ready, so there is no
            // `delay` in which one would learn that it is not.
            let was_stopping = signals.is_stopping();
            signals.reload_until_stop(&mut self.reloader).await;
            let Shutdown { delay, drain } = self.reloader.shutdown();
            self.readiness.begin_drain();
            if !delay.is_zero() && !was_stopping {
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
            if let Some(control) = &self.control {
                let drained = self.gate.clock.now().tick.saturating_since(begun);
                store_watch::wait_for_pending(control, drain.saturating_sub(drained)).await;
                self.following.iter().for_each(|following| following.abort());
                follow_store::close(control, &self.gate).await;
            }
        });
        Drained {
            workers: self.workers,
            gate: self.gate,
            background: self.background,
        }
    }
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
) {
    background.spawn(echo::serve(echo_listener, pending()));
    if let Some(admin_listener) = admin_listener {
        background.spawn(listener::serve(admin.clone(), admin_listener, pending()));
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
