//! Why was a keys file not read, or not changed? Its mistakes are listed with their lines.

use crate::model::api_key::KeyId;
use std::fmt;
use std::path::Path;
use std::path::PathBuf;

/// Why a keys file was not read, or not changed. No part of the file takes effect then.
#[derive(Debug, thiserror::Error)]
pub enum KeysFileError {
    #[error("cannot read {}", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot write {}", path.display())]
    Unwritable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{}", ProblemList(path, problems))]
    Broken {
        path: PathBuf,
        problems: Vec<KeysFileProblem>,
    },
    #[error("{} cannot be edited automatically: {hint}", path.display())]
    Uneditable { path: PathBuf, hint: &'static str },
    #[error("{} has no key {id}", path.display())]
    NoSuchKey { path: PathBuf, id: KeyId },
    #[error("key {id} is revoked already")]
    AlreadyRevoked { id: KeyId },
}

/// A mistake in the file. The message may contain names of fields and ids of keys, never a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysFileProblem {
    /// From 1.
    pub line: usize,
    pub message: String,
}

/// Prints each mistake on a line of its own, as `path:line: message`.
struct ProblemList<'a>(&'a Path, &'a [KeysFileProblem]);

impl fmt::Display for ProblemList<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.1.iter().enumerate() {
            if index > 0 {
                writeln!(out)?;
            }
            write!(out, "{}:{}: {}", self.0.display(), problem.line, problem.message)?;
        }
        Ok(())
    }
}
