//! How is a panic reported? Counted, and logged with its location only: its message may quote client input.

use prometheus::IntCounter;
use std::cell::Cell;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

thread_local! {
    /// `true` while a panic on this thread ends in [`catch`], which counts it.
    static CATCHING: Cell<bool> = const { Cell::new(false) };
}

/// Returns the result of `work`; `None` if it panics, which counts in `panics`.
pub fn catch<T>(panics: &IntCounter, work: impl FnOnce() -> T) -> Option<T> {
    CATCHING.set(true);
    // A value that `work` was changing may be half changed: the caller must discard everything it lent.
    let outcome = catch_unwind(AssertUnwindSafe(work));
    CATCHING.set(false);
    outcome.inspect_err(|_| panics.inc()).ok()
}

/// Logs every panic of the process from here on, and counts in `panics` those that [`catch`] does not.
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
