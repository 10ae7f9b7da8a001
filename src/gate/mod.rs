//! Is a request allowed? The stages of a decision, in order; none of them does I/O. Read `decide.rs` first.

pub mod stage;
pub mod accept;
pub mod intake;
pub mod authenticate;
pub mod authorize;
pub mod admit;
pub mod denial;
pub mod answer;
pub mod identity_token;
pub mod upstream_credential;
pub mod live;
pub mod destination;
pub mod snapshot;
pub mod decision_trace;
pub mod stop;
pub mod local;
pub mod decide;

use crate::gate::live::LiveState;
use crate::gate::snapshot::CurrentSnapshot;
use crate::gate::snapshot::Snapshot;
use crate::model::clock::Clock;
use crate::observe::access::AccessLog;
use std::sync::Arc;
use std::time::Duration;

/// The state for deciding and recording requests.
pub struct Gate {
    pub(crate) current: CurrentSnapshot,
    pub(crate) live: Arc<LiveState>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) access: AccessLog,
}

impl Gate {
    /// Returns a gate with `snapshot` in force.
    pub fn new(snapshot: Snapshot, live: Arc<LiveState>, clock: Arc<dyn Clock>, access: AccessLog) -> Arc<Self> {
        Arc::new(Self {
            current: CurrentSnapshot::new(snapshot),
            live,
            clock,
            access,
        })
    }

    /// Waits up to `patience` until all access records so far are written. Returns `false` when the time runs out.
    pub fn flush_records(&self, patience: Duration) -> bool {
        self.access.flush(patience)
    }

    /// Returns the configuration in force. A request keeps the snapshot that it began with.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::model::clock::ManualClock;
    use crate::model::clock::Timestamp;
    use crate::observe::access::AccessRecord;
    use crate::observe::log::Format;
    use crate::observe::metrics::Metrics;
    use crate::observe::metrics::Reasons;
    use std::io;
    use std::path::Path;
    use std::sync::mpsc;

    /// An output whose first write waits for a message.
    struct BlockedOutput(Option<mpsc::Receiver<()>>);

    impl io::Write for BlockedOutput {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Some(opened) = self.0.take() {
                opened.recv().unwrap();
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn records_are_flushed_once_the_output_takes_them() {
        let yaml = "listeners: [{ address: 127.0.0.1:0 }]\nupstreams: { e: { builtin: echo } }\nroutes: [{ name: a, match: { path: / }, public: true, upstream: e }]\n";
        let config = config::parse(yaml, Path::new("conf/keygate.yaml"), &|_| None);
        let reasons = Reasons {
            denials: &[],
            heads: &[],
            connections: &[],
        };
        let metrics = Arc::new(Metrics::new(&reasons, Timestamp::default()));
        let dropped = metrics.logs.access_records_dropped.clone();
        let live = LiveState::new(metrics, "127.0.0.1:9".parse().unwrap());
        let snapshot = Snapshot::compile(&config.unwrap_or_else(|errors| panic!("{errors}")), &live).unwrap();
        let (open, opened) = mpsc::channel();
        let access = AccessLog::start(BlockedOutput(Some(opened)), Format::Json, dropped).unwrap();
        let clock = Arc::new(ManualClock::at(Timestamp::default()));
        let gate = Gate::new(snapshot, Arc::new(live), clock, access);
        assert_eq!(gate.snapshot().routes.len(), 1);
        assert!(gate.flush_records(Duration::ZERO), "no record is pending");
        gate.access.write(&AccessRecord::default());
        assert!(!gate.flush_records(Duration::ZERO));
        open.send(()).unwrap();
        assert!(gate.flush_records(Duration::from_secs(60)));
    }
}
