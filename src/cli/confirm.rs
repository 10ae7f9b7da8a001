//! Does the user mean it, where a command ends a credential for good?

use crate::cli::printer::Printer;
use crate::cli::terminal;
use clap::Args;
use std::error::Error;
use std::io::BufRead;

/// The consent to a command that ends a credential.
#[derive(Clone, Debug, Args)]
pub struct ConfirmArgs {
    /// Do not ask; needed where there is no terminal to ask on
    #[arg(short, long)]
    yes: bool,
}

impl ConfirmArgs {
    /// Asks on the terminal whether `consequence` is meant, unless `--yes` is given.
    ///
    /// Without a terminal nobody can be asked, and the command fails, as `gh` does. `kubectl` asks nobody, but what it
    /// deletes can be applied again; a credential that ended is gone, and its holders are locked out. A script says once
    /// that it means it.
    ///
    /// # Errors
    /// If the user does not agree, if nobody can be asked, or if the terminal cannot be read or written.
    pub fn confirm(&self, printer: &mut Printer<'_>, consequence: &str) -> Result<(), Box<dyn Error>> {
        if self.yes {
            return Ok(());
        }
        if !terminal::is_interactive() {
            let hint = "there is no terminal to ask on, so say that you mean it: --yes";
            return Err(format!("nothing was done. {consequence}, for good, and {hint}").into());
        }
        write!(printer.err, "{consequence}, for good. Go on? [y/N] ")?;
        printer.err.flush()?;
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        if is_yes(&answer) {
            Ok(())
        } else {
            Err("nothing was done".into())
        }
    }
}

fn is_yes(answer: &str) -> bool {
    ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_yes() {
        for yes in ["y\n", "Y\n", "yes\r\n", " YES "] {
            assert!(is_yes(yes), "{yes:?}");
        }
        for no in ["", "\n", "n\n", "yep\n", "curl -i http://127.0.0.1/\n", "y y\n"] {
            assert!(!is_yes(no), "{no:?}");
        }
    }
}
