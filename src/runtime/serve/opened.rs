//! Which state is in force before a connection is accepted? The compiled configuration and the content of the store.

use crate::control::Control;
use crate::control::token;
use crate::control::token::client_jwks::ClientJwks;
use crate::fetch::issuer_key_files::IssuerKeyFiles;
use crate::gate::Gate;
use crate::observe::ready::Readiness;
use crate::runtime::admin::socket::Socket;
use crate::runtime::assemble;
use crate::runtime::client_jwks::FetchedClientJwks;
use crate::runtime::config_files::LoadedConfig;
use crate::runtime::control_plane::InProcessControlPlane;
use crate::runtime::first_administrator::AdministratorNotice;
use crate::runtime::first_administrator::SecretPlace;
use crate::runtime::follow_store;
use crate::runtime::follow_store::StoreStartError;
use crate::runtime::hand_over::Ownership;
use crate::runtime::hand_over::Predecessor;
use crate::runtime::hand_over::relay;
use crate::runtime::limit_counts;
use crate::runtime::serve::bound::Bound;
use crate::runtime::serve::bound::Sockets;
use crate::runtime::serve::error::StartError;
use axum::Router;
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// A gate with a compiled configuration and an open store. The content of the store is in force.
/// Later steps fail only if the system lacks threads or file descriptors, or rejects a signal handler.
pub struct Opened {
    pub(super) sockets: Sockets,
    pub(super) loaded: LoadedConfig,
    pub(super) key_files: Option<Arc<IssuerKeyFiles>>,
    pub(super) control_side: Option<ControlSide>,
    pub(super) gate: Arc<Gate>,
    pub(super) readiness: Arc<Readiness>,
    pub(super) ownership: Ownership,
    /// Ends the relay of calls from the gate before.
    pub(super) relay: Option<JoinHandle<io::Result<()>>>,
    pub(super) background: Runtime,
}

/// The control side of a gate that has a store.
pub struct ControlSide {
    pub(super) control: Arc<Control>,
    pub(super) client_jwks: Arc<dyn ClientJwks>,
    /// The token endpoint and the related paths.
    router: Router,
}

impl Bound {
    /// Compiles `loaded`, and opens its store, if any; takes it over where a `predecessor` has it. The gate writes access
    /// records to `out`. Also returns the notice of the first administrator if this start created one; the secret goes to
    /// `place`.
    ///
    /// # Errors
    /// Two routes are indistinguishable, the store or its signing keys cannot be read, the predecessor does not give it, or the
    /// system has no thread left.
    pub fn open(
        self,
        mut loaded: LoadedConfig,
        out: impl io::Write + Send + 'static,
        place: SecretPlace,
        predecessor: Option<&mut Predecessor>,
    ) -> Result<(Opened, Option<AdministratorNotice>), StartError> {
        let access =
            assemble::access_log(out, &loaded.config.observe, &self.live.metrics).map_err(StartError::Threads)?;
        let (gate, key_files) = assemble::gate(&mut loaded, self.live, self.clock, access, &self.readiness)?;
        // Open the store last: this may create the first administrator, and only this start can show the
        // administrator's secret. If the configuration made a later step fail, the secret would be lost.
        let mut predecessor = predecessor.filter(|_| loaded.config.store.is_some());
        let lock = match &mut predecessor {
            Some(predecessor) => predecessor.store()?,
            None => None,
        };
        let opening = follow_store::open(&loaded.config, &gate.live.directory, &gate.clock, place, lock);
        let (control, administrator) = match self.background.block_on(opening)? {
            Some(store) => (Some(store.control), store.administrator),
            None => (None, None),
        };
        // A store that this start created has no counts, so the secret of its administrator is not lost here.
        if let Some(control) = &control {
            let restoring = limit_counts::restore(&*control.store, &gate.live, gate.clock.now());
            self.background.block_on(restoring).map_err(StoreStartError::Store)?;
        }
        let state_dir = loaded.config.state_dir.as_deref();
        let ownership = Ownership::default();
        let control_side = control
            .map(|control| ControlSide::connect(control, &gate, state_dir, &ownership, self.background.handle()));
        let relay = match (predecessor, &control_side, &loaded.config.hand_over) {
            (Some(predecessor), Some(side), Some(path)) => {
                Some(side.relay(predecessor, path, self.background.handle())?)
            }
            _ => None,
        };
        let opened = Opened {
            sockets: self.sockets,
            loaded,
            key_files,
            control_side,
            gate,
            readiness: self.readiness,
            ownership,
            relay,
            background: self.background,
        };
        Ok((opened, administrator))
    }
}

impl ControlSide {
    /// Connects `control` with the data side: `gate` then verifies the access tokens that `control` signs, and passes
    /// requests for the token endpoint to `control`.
    fn connect(
        control: Arc<Control>,
        gate: &Gate,
        state_dir: Option<&Path>,
        ownership: &Ownership,
        background: &Handle,
    ) -> Self {
        follow_store::install_keys(&control, &gate.live, &gate.snapshot(), gate.clock.now());
        let metrics = &gate.live.metrics;
        let fetched = Arc::new(FetchedClientJwks::new(Arc::clone(&control), state_dir, metrics));
        let weak = Arc::downgrade(&fetched);
        metrics.on_scrape(Box::new(move |metrics| {
            if let Some(fetched) = weak.upgrade() {
                metrics.client_keys.set(fetched.counts());
            }
        }));
        let weak = Arc::downgrade(&control);
        metrics.on_scrape(Box::new(move |metrics| {
            if let Some(period) = weak.upgrade().and_then(|control| control.signing_keys.period()) {
                metrics.issued.set_signing_key(period.since, period.until);
            }
        }));
        let client_jwks: Arc<dyn ClientJwks> = fetched;
        let router = token::router(Arc::clone(&control), Arc::clone(&client_jwks));
        let plane = InProcessControlPlane::new(router.clone(), ownership.clone(), background.clone());
        // `set` fails only if the value is set already, and no other code sets the value.
        let _ = gate.live.control.set(Arc::new(plane));
        Self {
            control,
            client_jwks,
            router,
        }
    }

    /// Answers the calls of the token endpoint that the predecessor still receives, at a socket beside that at `hand_over`.
    fn relay(
        &self,
        predecessor: &mut Predecessor,
        hand_over: &Path,
        background: &Handle,
    ) -> Result<JoinHandle<io::Result<()>>, StartError> {
        let mut path = hand_over.as_os_str().to_owned();
        path.push(".calls");
        let socket = Socket::bind(Path::new(&path))?;
        let path = socket.path().to_owned();
        let relay = background.spawn(relay::serve(self.router.clone(), socket));
        predecessor.opened(&path)?;
        Ok(relay)
    }
}
