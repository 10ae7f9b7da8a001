//! Which tasks use the store while the gate serves, and when do they pause? While the store is handed over to a successor.

use crate::control::Control;
use crate::gate::Gate;
use crate::observe::log::ErrorChain;
use crate::observe::ready::Readiness;
use crate::runtime::follow_store;
use crate::runtime::store_watch;
use crate::store::StoreError;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// The tasks that use the store of a gate.
pub struct StoreTasks {
    control: Arc<Control>,
    gate: Arc<Gate>,
    readiness: Arc<Readiness>,
    background: Handle,
    running: Mutex<Option<JoinHandle<()>>>,
    /// `true` while another process has the store.
    is_released: AtomicBool,
}

impl StoreTasks {
    /// Starts the tasks on `background`.
    pub fn start(control: Arc<Control>, gate: Arc<Gate>, readiness: Arc<Readiness>, background: Handle) -> Arc<Self> {
        let tasks = Arc::new(Self {
            control,
            gate,
            readiness,
            background,
            running: Mutex::default(),
            is_released: AtomicBool::new(false),
        });
        tasks.resume();
        tasks
    }

    pub const fn control(&self) -> &Arc<Control> {
        &self.control
    }

    fn resume(&self) {
        let follow = follow_store::follow(Arc::clone(&self.control), Arc::clone(&self.gate));
        let (gate, readiness) = (Arc::clone(&self.gate), Arc::clone(&self.readiness));
        let watch = store_watch::watch(Arc::clone(&self.control), gate, readiness);
        let tasks = self.background.spawn(async move {
            tokio::join!(follow, watch);
        });
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(tasks);
    }

    /// Stops the tasks.
    pub fn stop(&self) {
        if let Some(tasks) = self.running.lock().unwrap_or_else(PoisonError::into_inner).take() {
            tasks.abort();
        }
    }

    /// Stops the tasks, and writes what is in memory alone. Returns the lock of the store, for the process that has it next.
    ///
    /// # Errors
    /// Something is in force here and cannot be written; the tasks go on.
    pub async fn release(&self) -> Result<Option<OwnedFd>, StoreError> {
        self.stop();
        let released = async {
            follow_store::flush(&self.control, &self.gate).await?;
            self.control.store.share_lock().await
        };
        let released = released.await;
        if released.is_err() {
            self.resume();
        }
        self.is_released.store(released.is_ok(), Ordering::Relaxed);
        released
    }

    /// Returns whether another process has the store, so that this one must not write to it.
    pub fn is_released(&self) -> bool {
        self.is_released.load(Ordering::Relaxed)
    }

    /// Takes the store back from a process that has ended, with what that process wrote.
    pub async fn take_back(&self) {
        if let Err(error) = follow_store::read_again(&self.control).await {
            tracing::error!(error = %ErrorChain(&error), "Store not read again; what the successor changed is not in force");
        }
        self.is_released.store(false, Ordering::Relaxed);
        self.resume();
    }
}
