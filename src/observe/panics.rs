//! How is a panic reported? It is counted and logged with its location, but without its message, which may quote client
//! input.

use prometheus::IntCounter;
use std::cell::Cell;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

thread_local! {
    /// `true` while [`catch`] runs on this thread: `catch` counts a panic, so the hook of [`report`] must not.
    static CATCHING: Cell<bool> = const { Cell::new(false) };
}

/// Returns the result of `work`. If `work` panics, counts the panic in `panics` and returns `None`.
pub fn catch<T>(panics: &IntCounter, work: impl FnOnce() -> T) -> Option<T> {
    CATCHING.set(true);
    // A panic may leave a value half changed: the caller must discard each value that `work` borrowed mutably.
    let outcome = catch_unwind(AssertUnwindSafe(work));
    CATCHING.set(false);
    outcome.inspect_err(|_| panics.inc()).ok()
}

/// Installs a panic hook that logs each panic of the process, and counts in `panics` those outside of [`catch`].
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
    fn a_panic_counts_once_in_catch_and_outside() {
        let panics = IntCounter::new("panics", "panics").unwrap();
        // With the hook, as in the gate: it must not count what `catch` counts.
        report(panics.clone());
        assert_eq!(catch(&panics, || 1), Some(1));
        assert_eq!(panics.get(), 0);
        assert_eq!(catch(&panics, || -> i32 { panic!("on purpose") }), None);
        assert_eq!(panics.get(), 1);
        let outside = std::thread::spawn(|| -> i32 { panic!("on purpose") }).join();
        assert!(outside.is_err());
        assert_eq!(panics.get(), 2, "a panic outside of `catch`");
        assert!(catch_unwind(|| -> i32 { panic!("on purpose") }).is_err());
        assert_eq!(panics.get(), 3, "on the thread of an earlier `catch`");
        // The hook is of the whole process.
        drop(std::panic::take_hook());
    }
}
