//! How are log lines written? Events of `tracing`, and of `log` through a bridge, are filtered, escaped, and written to
//! stderr as one line each, through a queue: a thread that logs never waits for the reader of stderr.

use crate::observe::escape;
use crate::observe::line_queue::LineQueue;
use crate::observe::log::Format;
use prometheus::IntCounter;
use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tracing::Level;
use tracing::Metadata;
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Why logging cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("the log level does not read as a filter such as `info` or `keygate=debug`")]
    Filter(#[source] tracing_subscriber::filter::ParseError),
    #[error("somebody else set up logging in this process before")]
    AlreadySet(#[source] tracing_subscriber::util::TryInitError),
    #[error("cannot start the thread that writes log lines")]
    Thread(#[source] io::Error),
}

/// The time limit for writing the queued lines when the process ends.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// The log of the process. On drop, waits until the queued lines are written, but at most [`FLUSH_MAX`].
#[derive(Debug)]
pub struct Log(Arc<LineQueue>);

impl Log {
    /// Writes `text`, which is for a person and not an event, between the log lines. Never waits for stderr.
    pub fn print(&self, text: &str) {
        self.0.push(text.as_bytes());
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // A reader that takes no lines must not keep the process from ending.
        let _ = self.0.flush(FLUSH_MAX);
    }
}

/// Lets the formatter write to the queue. Each write is one whole event, because `LineWriter` makes one write of it.
impl io::Write for &LineQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The directives before the operator's filter, which can override them.
///
/// `pingora_proxy` logs the target and query of each request; the access record has both, without credentials.
const DEFAULT_DIRECTIVES: &str = "pingora_proxy=off,pingora_core=error";

/// Starts logging to stderr for the whole process, also for crates that log through `log`, such as pingora. `level` is
/// a `tracing` filter such as `info` or `keygate=debug`. Counts the lines that are not written in `dropped`.
///
/// # Errors
/// `level` is not a filter, logging was started before, or the system has no thread left.
pub fn init(format: Format, level: &str, dropped: IntCounter) -> Result<Log, LogError> {
    let lines = LineQueue::start("log", io::stderr(), dropped).map_err(LogError::Thread)?;
    let lines = Arc::new(lines);
    match format {
        Format::Json => json(level, Arc::clone(&lines))?.try_init(),
        Format::Text => text(level, Arc::clone(&lines))?.try_init(),
    }
    .map_err(LogError::AlreadySet)?;
    Ok(Log(lines))
}

fn json<W>(level: &str, out: W) -> Result<impl Subscriber + Send + Sync + use<W>, LogError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_writer(Lines(out, Format::Json));
    Ok(tracing_subscriber::registry()
        .with(filter_fn(may_be_logged))
        .with(filter(level)?)
        .with(lines))
}

fn text<W>(level: &str, out: W) -> Result<impl Subscriber + Send + Sync + use<W>, LogError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // No colours: `Lines` would escape their escape sequences too.
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(Lines(out, Format::Text));
    Ok(tracing_subscriber::registry()
        .with(filter_fn(may_be_logged))
        .with(filter(level)?)
        .with(lines))
}

fn filter(level: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::builder()
        .parse(format!("{DEFAULT_DIRECTIVES},{level}"))
        .map_err(LogError::Filter)
}

/// Returns whether an event may be logged. No filter lets crates other than Keygate log at `debug` or `trace`: pingora,
/// hyper and h2 log whole request heads at these levels, with credentials (S143).
fn may_be_logged(metadata: &Metadata<'_>) -> bool {
    let ours = metadata.target().split("::").next() == Some("keygate");
    ours || *metadata.level() <= Level::INFO
}

/// Writes each event as one line without hidden characters. The formatter escapes some hidden characters; this writer
/// escapes the rest, also in messages of other crates.
struct Lines<W>(W, Format);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Lines<W> {
    type Writer = LineWriter<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        LineWriter(self.0.make_writer(), self.1)
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Self::Writer {
        LineWriter(self.0.make_writer_for(metadata), self.1)
    }
}

struct LineWriter<W>(W, Format);

/// The fields that the bridge adds to each event of `log`. They say where in a dependency's source the event is, with a
/// path of the machine that built this program. The text formatter leaves them out by itself.
const BRIDGE_FIELDS: [&str; 4] = [
    ",\"log.target\":",
    ",\"log.module_path\":",
    ",\"log.file\":",
    ",\"log.line\":",
];

/// Returns a line of JSON without the [`BRIDGE_FIELDS`]. In a text value their quotes would be escaped.
fn without_bridge_fields(line: &str) -> Cow<'_, str> {
    let mut line = Cow::Borrowed(line);
    for field in BRIDGE_FIELDS {
        if let Some(start) = line.find(field) {
            let value = &line[start + field.len()..];
            let end = start + field.len() + value_len(value);
            line = Cow::Owned(format!("{}{}", &line[..start], &line[end..]));
        }
    }
    line
}

/// Returns the length of the text or number at the start of `json`.
fn value_len(json: &str) -> usize {
    let Some(text) = json.strip_prefix('"') else {
        return json.find([',', '}']).unwrap_or(json.len());
    };
    let mut is_escaped = false;
    let end = text.find(|character| {
        let ends = character == '"' && !is_escaped;
        is_escaped = character == '\\' && !is_escaped;
        ends
    });
    end.map_or(json.len(), |end| end + 2)
}

impl<W: io::Write> io::Write for LineWriter<W> {
    /// Writes `event`: one whole event with its line break, because the formatter passes each event in one piece.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let text = match self.1 {
            Format::Json => without_bridge_fields(&text),
            Format::Text => Cow::Borrowed(&*text),
        };
        let mut line = Vec::with_capacity(event.len() + 16);
        escape::push_escaped(&mut line, text.strip_suffix('\n').unwrap_or(&text));
        line.push(b'\n');
        self.0.write_all(&line)?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::mpsc;
    use tracing_subscriber::filter::LevelFilter;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Returns the log of `events`, as JSON.
    pub fn logged(events: impl FnOnce()) -> String {
        logged_as(Format::Json, "info", events)
    }

    /// Returns the output of `events` in `format` under `level`.
    fn logged_as(format: Format, level: &str, events: impl FnOnce()) -> String {
        let memory = Memory::default();
        let out = memory.clone();
        let writer = move || out.clone();
        match format {
            Format::Json => tracing::subscriber::with_default(json(level, writer).unwrap(), events),
            Format::Text => tracing::subscriber::with_default(text(level, writer).unwrap(), events),
        }
        String::from_utf8(std::mem::take(&mut *memory.0.lock().unwrap())).unwrap()
    }

    #[test]
    fn a_json_line_has_the_message_and_the_fields_side_by_side() {
        let line = logged_as(Format::Json, "info", || tracing::info!(listener = "data", "Listening"));
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["message"], "Listening");
        assert_eq!(line["listener"], "data");
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn s144_an_event_stays_one_line_and_moves_no_terminal() {
        let evil = "a\x1B[2J\r\nERROR forged\0\u{202E}\u{9B}\u{2028}\x7F";
        for format in [Format::Json, Format::Text] {
            let out = logged_as(format, "info", || {
                tracing::info!(display = %evil, debug = ?evil, "kid {evil}");
            });
            let line = out.strip_suffix('\n').unwrap();
            assert!(!line.chars().any(escape::is_hidden), "{format:?} {line:?}");
            assert!(line.contains("forged"), "{line:?}");
            if format == Format::Json {
                let read: serde_json::Value = serde_json::from_str(line).unwrap();
                assert!(read["display"].as_str().unwrap().contains("ERROR forged"));
            }
        }
    }

    #[test]
    fn s143_no_filter_makes_another_crate_print_request_heads() {
        for level in ["trace", "debug,pingora_proxy=trace,pingora_core=debug,h2=trace"] {
            let out = logged_as(Format::Text, level, || {
                tracing::trace!(target: "pingora_proxy", "Request header: Bearer leaked");
                tracing::debug!(target: "pingora_core::protocols::http", "Bearer leaked");
                tracing::debug!(target: "h2::codec", "Bearer leaked");
                tracing::debug!(target: "keygatelike", "Bearer leaked");
                tracing::debug!("ours");
            });
            assert!(out.contains("ours") && !out.contains("leaked"), "{level} {out}");
        }
    }

    #[test]
    fn s143_pingora_reports_no_request_unless_asked() {
        let events = || {
            tracing::error!(target: "pingora_proxy", "GET /?access_token=leaked");
            tracing::info!(target: "pingora_core::server", "noise");
            tracing::error!(target: "pingora_core::apps", "a bug");
        };
        let quiet = logged_as(Format::Text, "debug", events);
        assert!(quiet.contains("a bug"), "{quiet}");
        assert!(!quiet.contains("leaked") && !quiet.contains("noise"), "{quiet}");
        assert!(logged_as(Format::Text, "info,pingora_proxy=error", events).contains("leaked"));
    }

    #[test]
    fn an_event_of_a_dependency_has_no_path_of_its_source() {
        let (file, evil) = (
            "/build/.cargo/registry/src/\"x,}\\/listening.rs",
            "a\",\"log.file\":\"b",
        );
        for format in [Format::Json, Format::Text] {
            let line = logged_as(format, "info", || {
                tracing::error!(
                    log.target = "dependency",
                    log.module_path = "dependency::listening",
                    log.file = file,
                    log.line = 7,
                    evil,
                    "it failed"
                );
            });
            assert!(!line.contains("listening") && !line.contains("log.line"), "{line}");
            assert!(line.contains("it failed"), "{line}");
            if format == Format::Json {
                let read: serde_json::Value = serde_json::from_str(&line).unwrap();
                assert_eq!(read["evil"], evil);
                assert_eq!(read["target"], "keygate::observe::subscriber::tests");
            }
        }
    }

    #[test]
    fn the_level_is_a_hint_so_that_unlogged_messages_are_not_formatted() {
        // The bridge from `log` takes its maximum level from this hint. Without a maximum, pingora would format
        // messages that are not logged.
        let hint = |level| json(level, io::sink).unwrap().max_level_hint();
        assert_eq!(hint("info"), Some(LevelFilter::INFO));
        assert_eq!(hint("warn"), Some(LevelFilter::WARN));
    }

    #[test]
    fn a_reader_that_takes_no_lines_costs_lines_and_never_time() {
        /// An output whose writes wait until the test ends.
        struct BlockedOutput(mpsc::Receiver<()>);

        impl io::Write for BlockedOutput {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let _ = self.0.recv();
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        let (_open, opened) = mpsc::channel();
        let dropped = IntCounter::new("dropped", "dropped").unwrap();
        let lines = LineQueue::start_bounded("log", BlockedOutput(opened), dropped.clone(), 1000).unwrap();
        let lines = Arc::new(lines);
        tracing::subscriber::with_default(text("info", Arc::clone(&lines)).unwrap(), || {
            for _ in 0..100 {
                tracing::info!("Configuration reloaded");
            }
        });
        assert!(dropped.get() > 50, "{}", dropped.get());
        assert!(!lines.flush(Duration::ZERO));
    }

    #[test]
    fn a_level_is_refused_when_it_is_no_filter() {
        assert!(filter("info").is_ok());
        assert!(filter("keygate=debug,warn").is_ok());
        assert!(filter("keygate=loud").is_err());
    }
}
