//! A whole gate in the test process: its listeners, workers, background tasks and store, without the program around
//! them. Signals, log lines and the periodic check of files belong to the program.

use super::RunningGate;
use super::StartGate;
use super::binary::folder_with;
use super::output::SharedOutput;
use keygate::model::clock::Clock;
use keygate::model::clock::ManualClock;
use keygate::model::clock::SystemClock;
use keygate::runtime::assemble;
use keygate::runtime::config_files;
use keygate::runtime::first_administrator::SecretPlace;
use keygate::runtime::inherited::InheritedSockets;
use keygate::runtime::reload::Reloader;
use keygate::runtime::serve::bound::Bound;
use keygate::runtime::serve::serving::Serving;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;

/// Two workers, so that some connections share a worker and some do not.
const WORKERS: usize = 2;

/// Returns a clock that stands still at the present time.
pub fn still_clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(SystemClock::new().now().wall))
}

/// A gate in the test process. Ends when dropped.
pub struct LocalGate {
    running: RunningGate,
    serving: Mutex<Serving>,
    _folder: tempfile::TempDir,
}

impl LocalGate {
    /// Starts a gate with `config`.
    #[track_caller]
    pub fn start(config: &str) -> Self {
        Self::start_with(config, &[])
    }

    /// Starts a gate with `config`. `files` are names and contents, written beside the configuration file.
    #[track_caller]
    pub fn start_with(config: &str, files: &[(&str, &str)]) -> Self {
        Self::serve(Arc::new(SystemClock::new()), folder_with(config, files))
    }

    /// Starts a gate with `config` and `clock`, which only the test advances.
    /// Timers, such as the time limits of connections, follow the real time.
    ///
    /// # Panics
    /// When the configuration is invalid.
    #[track_caller]
    pub fn start_at(clock: &Arc<ManualClock>, config: &str, files: &[(&str, &str)]) -> Self {
        Self::start_with_clock(Arc::clone(clock) as Arc<dyn Clock>, config, files)
    }

    /// Starts a gate with `config` and any `clock`.
    #[track_caller]
    pub fn start_with_clock(clock: Arc<dyn Clock>, config: &str, files: &[(&str, &str)]) -> Self {
        Self::serve(clock, folder_with(config, files))
    }

    /// Starts a gate with the configuration and the state in `folder`.
    #[track_caller]
    pub fn start_in(folder: tempfile::TempDir) -> Self {
        Self::serve(Arc::new(SystemClock::new()), folder)
    }

    /// Ends the gate without a word, as a crash does, calls `change` with its folder, and starts another gate there with `clock`.
    #[track_caller]
    pub fn restart_at(self, clock: &Arc<ManualClock>, change: impl FnOnce(&Path)) -> Self {
        let Self {
            running: _,
            serving,
            _folder: folder,
        } = self;
        drop(serving);
        change(folder.path());
        Self::serve(Arc::clone(clock) as Arc<dyn Clock>, folder)
    }

    #[track_caller]
    fn serve(clock: Arc<dyn Clock>, folder: tempfile::TempDir) -> Self {
        let path = folder.path().join("keygate.yaml");
        let output = Arc::new(SharedOutput::default());
        let loaded = config_files::load(&path).unwrap_or_else(|error| panic!("{error}"));
        let metrics = assemble::metrics(clock.now().wall);
        let bound = Bound::bind(&loaded.config, &path, InheritedSockets::default(), clock, metrics).unwrap();
        let (opened, _) = bound
            .open(loaded, output.stdout(), SecretPlace::Terminal, None)
            .unwrap();
        let (serving, _) = opened.serve(path, WORKERS, std::future::pending()).unwrap();
        let addresses = serving.addresses();
        let running = RunningGate::new(
            output,
            folder.path(),
            addresses.data[0],
            addresses.admin.expect("every test has an admin listener"),
        );
        Self {
            running,
            serving: Mutex::new(serving),
            _folder: folder,
        }
    }

    /// Replaces the configuration file and reloads. When this returns, the new configuration is in force or refused.
    pub fn reload(&self, config: &str) {
        self.replace_file("keygate.yaml", config);
        self.update(Reloader::reload);
    }

    /// Checks the files for changes, as the program does every 250 ms. When this
    /// returns, the changes that the check found are in force or refused.
    pub fn check_files(&self) {
        self.update(Reloader::check_files);
    }

    fn update(&self, update: fn(&mut Reloader)) {
        let serving = &mut *self.serving.lock().unwrap();
        let _inside = serving.background.enter();
        update(&mut serving.reloader);
    }
}

impl StartGate for LocalGate {
    #[track_caller]
    fn start_with(config: &str, files: &[(&str, &str)]) -> Self {
        Self::start_with(config, files)
    }
}

impl Deref for LocalGate {
    type Target = RunningGate;

    fn deref(&self) -> &RunningGate {
        &self.running
    }
}
