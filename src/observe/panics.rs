//! What becomes of a panic? It is counted, and logged by its place alone: its message may quote what a client sent.

use prometheus::IntCounter;
use std::cell::Cell;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

thread_local! {
    /// Whether a panic on this thread ends in [`catch`], which counts it.
    static CATCHING: Cell<bool> = const { Cell::new(false) };
}

/// What `work` gives; `None` when it panics, which counts in `panics`.
pub fn catch<T>(panics: &IntCounter, work: impl FnOnce() -> T) -> Option<T> {
    CATCHING.set(true);
    // A value that `work` was changing may be half changed: the caller gives up whatever it lent.
    let outcome = catch_unwind(AssertUnwindSafe(work));
    CATCHING.set(false);
    outcome.inspect_err(|_| panics.inc()).ok()
}

/// From here on, for the whole process, every panic is logged, and those that nobody catches count in `panics` too.
pub fn report(panics: IntCounter) {
    std::panic::set_hook(Box::new(move |info| {
        if !CATCHING.get() {
            panics.inc();
        }
        let place = info.location().map_or_else(String::new, ToString::to_string);
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        tracing::error!(place, thread, "Panicked");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caught_panic_counts_once_and_gives_nothing() {
        let panics = IntCounter::new("panics", "panics").unwrap();
        assert_eq!(catch(&panics, || 1), Some(1));
        assert_eq!(panics.get(), 0);
        assert_eq!(catch(&panics, || -> i32 { panic!("on purpose") }), None);
        assert_eq!(panics.get(), 1);
        assert!(!CATCHING.get());
    }
}
