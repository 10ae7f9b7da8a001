//! Is there a person at a terminal, and how wide is it?

use std::io;
use std::io::IsTerminal;

/// Returns the number of columns of the terminal that stdout is; `None` if it is none, or does not tell.
pub fn width() -> Option<usize> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(stdout).ok()?;
    // A terminal without a size, such as a serial line, says 0.
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Returns whether a person can be asked: stdin and stderr are terminals.
pub fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}
