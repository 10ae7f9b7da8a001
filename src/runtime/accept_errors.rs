//! How does an operator learn that connections cannot be accepted? Each error is counted; the log has the beginning of an
//! outage, with its remedy, and its end.

use crate::model::clock::Clock;
use crate::model::clock::Tick;
use crate::model::resource_shortage::ResourceShortage;
use crate::observe::metrics::AcceptProblem;
use crate::observe::metrics::Metrics;
use rustix::io::Errno;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The errors of one kind of listeners: the data listeners of all workers, or the admin listener.
pub struct AcceptErrors {
    listener: &'static str,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    /// `true` while `outage` has a problem: an accepted connection then takes the lock.
    is_in_outage: AtomicBool,
    outage: Mutex<Outage>,
}

/// The problems since the last time when all was well.
#[derive(Debug, Default)]
struct Outage {
    problems: Vec<AcceptProblem>,
    errors: u64,
    last: Tick,
}

/// The time without an error after which an outage is over. While descriptors are short, errors and accepted
/// connections alternate.
const CALM: Duration = Duration::from_secs(10);

/// The pause after an error that stays: an immediate retry would fail too, and keep the processor busy.
const PAUSE: Duration = Duration::from_millis(100);

impl AcceptErrors {
    /// `listener` is `data` or `admin`.
    pub fn new(listener: &'static str, metrics: &Arc<Metrics>, clock: &Arc<dyn Clock>) -> Self {
        Self {
            listener,
            metrics: Arc::clone(metrics),
            clock: Arc::clone(clock),
            is_in_outage: AtomicBool::new(false),
            outage: Mutex::default(),
        }
    }

    /// Counts `error`, and logs the first of its kind in an outage. Returns the time to wait before the next attempt.
    pub fn failed(&self, error: &io::Error) -> Duration {
        let problem = problem(error);
        self.metrics.accepts.count_error(self.listener, problem);
        if problem == AcceptProblem::ConnectionLost {
            // One client's connection, and nothing that an operator can mend.
            return Duration::ZERO;
        }
        let is_new = {
            let mut outage = self.lock();
            outage.errors += 1;
            outage.last = self.clock.now().tick;
            let is_new = !outage.problems.contains(&problem);
            if is_new {
                outage.problems.push(problem);
            }
            self.is_in_outage.store(true, Ordering::Relaxed);
            is_new
        };
        if is_new {
            self.log(problem, error);
        }
        PAUSE
    }

    /// Ends an outage if the last error is long ago. Call this for each accepted connection.
    pub fn accepted(&self) {
        if !self.is_in_outage.load(Ordering::Relaxed) {
            return;
        }
        let now = self.clock.now().tick;
        let over = {
            let mut outage = self.lock();
            let calm = now.saturating_since(outage.last) >= CALM && outage.errors > 0;
            calm.then(|| {
                self.is_in_outage.store(false, Ordering::Relaxed);
                std::mem::take(&mut *outage)
            })
        };
        if let Some(Outage { errors, .. }) = over {
            tracing::info!(listener = self.listener, errors, "Connections are accepted again");
        }
    }

    fn log(&self, problem: AcceptProblem, error: &io::Error) {
        let (listener, reason) = (self.listener, problem.as_str());
        match remedy(problem) {
            Some(remedy) => tracing::error!(listener, reason, remedy, "Connections wait: they cannot be accepted"),
            None => tracing::error!(listener, reason, %error, "Connections wait: they cannot be accepted"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Outage> {
        // No critical section panics.
        self.outage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the remedy that an operator has; `None` if the problem has no name, so that only the system's text says it.
const fn remedy(problem: AcceptProblem) -> Option<&'static str> {
    match problem {
        AcceptProblem::ProcessDescriptors => Some(
            "this process has no file descriptor left: raise its limit (`ulimit -n`, `LimitNOFILE=` in a systemd \
             unit), or lower `requests.connections`",
        ),
        AcceptProblem::SystemDescriptors => Some(
            "the whole system has no file descriptor left: find the process that holds them, or raise `fs.file-max`",
        ),
        AcceptProblem::Memory => Some("the system has no memory left for sockets: lower `requests.connections`"),
        AcceptProblem::ConnectionLost | AcceptProblem::Other => None,
    }
}

/// Returns whether `errno` is about the new connection alone. Linux reports an error of the network that waits on it as the
/// error of accepting it; "treat them like EAGAIN" (accept(2)).
fn is_of_the_connection(errno: Errno) -> bool {
    #[cfg(target_os = "linux")]
    let more = matches!(errno, Errno::NONET);
    #[cfg(not(target_os = "linux"))]
    let more = false;
    more || matches!(
        errno,
        Errno::PROTO | Errno::NOPROTOOPT | Errno::OPNOTSUPP | Errno::NETDOWN | Errno::HOSTDOWN
    )
}

fn problem(error: &io::Error) -> AcceptProblem {
    match ResourceShortage::of(error) {
        Some(ResourceShortage::ProcessDescriptors) => return AcceptProblem::ProcessDescriptors,
        Some(ResourceShortage::SystemDescriptors) => return AcceptProblem::SystemDescriptors,
        Some(ResourceShortage::Memory) => return AcceptProblem::Memory,
        None => {}
    }
    match (Errno::from_io_error(error), error.kind()) {
        (Some(errno), _) if is_of_the_connection(errno) => AcceptProblem::ConnectionLost,
        (
            _,
            io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::TimedOut,
        ) => AcceptProblem::ConnectionLost,
        _ => AcceptProblem::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::clock::ManualClock;
    use crate::model::clock::Timestamp;
    use crate::observe::metrics::Reasons;
    use crate::observe::subscriber::tests::logged;

    fn errors(clock: &Arc<ManualClock>) -> AcceptErrors {
        let reasons = Reasons {
            denials: &[],
            heads: &[],
            connections: &[],
        };
        let metrics = Arc::new(Metrics::new(&reasons, Timestamp::default()));
        let clock: Arc<dyn Clock> = Arc::clone(clock) as Arc<dyn Clock>;
        AcceptErrors::new("data", &metrics, &clock)
    }

    fn counted(errors: &AcceptErrors, reason: &str) -> bool {
        let series = format!("keygate_accept_errors_total{{listener=\"data\",reason=\"{reason}\"}} 1\n");
        errors.metrics.text().contains(&series)
    }

    #[test]
    fn an_error_is_counted_by_its_reason_and_logged_with_its_remedy() {
        for (code, reason, remedy) in [
            (Errno::MFILE, "process_descriptors", "LimitNOFILE"),
            (Errno::NFILE, "system_descriptors", "fs.file-max"),
            (Errno::NOBUFS, "memory", "requests.connections"),
            (Errno::NOMEM, "memory", "requests.connections"),
            (Errno::INVAL, "other", "os error 22"),
        ] {
            let errors = errors(&Arc::new(ManualClock::at(Timestamp::default())));
            let log = logged(|| assert_eq!(errors.failed(&code.into()), PAUSE));
            assert!(counted(&errors, reason), "{code} {}", errors.metrics.text());
            assert!(log.contains("\"listener\":\"data\"") && log.contains(remedy), "{log}");
            assert!(!log.contains("pingora") && !log.contains(".rs"), "{log}");
            assert_eq!(log.contains("os error"), reason == "other", "{log}");
        }
    }

    #[test]
    fn a_connection_that_its_client_lost_is_counted_and_not_logged() {
        let clock = Arc::new(ManualClock::at(Timestamp::default()));
        for code in [Errno::CONNABORTED, Errno::CONNRESET, Errno::PROTO, Errno::HOSTUNREACH] {
            let errors = errors(&clock);
            let log = logged(|| assert_eq!(errors.failed(&code.into()), Duration::ZERO));
            assert!(log.is_empty() && counted(&errors, "connection_lost"), "{code} {log}");
        }
    }

    #[test]
    fn the_log_has_the_beginning_and_the_end_of_an_outage_and_no_line_per_error() {
        let clock = Arc::new(ManualClock::at(Timestamp::default()));
        let errors = errors(&clock);
        let (process, system) = (Errno::MFILE.into(), Errno::NFILE.into());
        let log = logged(|| {
            errors.accepted();
            for _ in 0..100 {
                errors.failed(&process);
                errors.accepted();
                errors.failed(&system);
                clock.advance(CALM - Duration::from_millis(1));
                errors.accepted();
            }
        });
        assert_eq!(log.lines().count(), 2, "{log}");
        let log = logged(|| {
            clock.advance(Duration::from_millis(1));
            errors.accepted();
            errors.accepted();
        });
        assert_eq!(log.lines().count(), 1, "{log}");
        assert!(log.contains("\"errors\":200"), "{log}");
        let log = logged(|| assert_eq!(errors.failed(&process), PAUSE));
        assert_eq!(log.lines().count(), 1, "the next outage: {log}");
    }
}
