//! How are log lines and the errors in them formatted?

use std::error::Error;
use std::fmt;

/// The format of log lines and access records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object per line.
    Json,
    /// `key=value` pairs, for people and grep.
    Text,
}

/// Prints an error and its sources, outermost first, joined by `: `. A source is printed twice if the error's own text
/// contains the source.
pub struct ErrorChain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(out, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn an_error_chain_names_every_cause_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot load the keys")]
        struct Outer(#[source] io::Error);
        let error = Outer(io::Error::other("no such file"));
        assert_eq!(ErrorChain(&error).to_string(), "cannot load the keys: no such file");
    }
}
