//! Which mistakes does a configuration contain? All of them at once, each with its place, its problem and a hint.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

/// One mistake. Prints as `file:line:column: key.path: problem`, with the hint on an indented line of its own.
///
/// None of the texts contains a value that came from the environment or a `file:` reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The kind of the mistake, in kebab-case (`unknown-key`); stable, so that tests and tools can branch on it.
    pub code: &'static str,
    pub file: PathBuf,
    /// Line and column, both from 1, columns in characters. `None` where the file itself cannot be read.
    pub place: Option<Place>,
    /// `routes[2].upstream`; empty for the file as a whole.
    pub path: String,
    pub problem: String,
    pub hint: Option<String>,
}

impl ConfigError {
    /// Returns whether the mistake is a variable of the environment that is unset or empty.
    pub fn is_unset_variable(&self) -> bool {
        self.code == UNSET_VARIABLE
    }

    /// Returns whether the mistake is about this process, not about the text: a variable of the environment that is unset
    /// or empty, a file with a secret, a key or a certificate that cannot be read, or a folder that is not there.
    pub fn is_of_process(&self) -> bool {
        self.is_unset_variable()
            || [UNREADABLE_SECRET, UNREADABLE_KEY, MISSING_FILE, MISSING_FOLDER].contains(&self.code)
    }
}

/// Codes of mistakes that another process may not find in the same text.
pub(in crate::config) const UNSET_VARIABLE: &str = "unresolved-variable";
pub(in crate::config) const UNREADABLE_SECRET: &str = "unresolved-secret";
pub(in crate::config) const UNREADABLE_KEY: &str = "unreadable-key";
pub(in crate::config) const MISSING_FILE: &str = "file-not-found";
pub(in crate::config) const MISSING_FOLDER: &str = "folder-not-found";

/// A position in the file, both numbers from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

impl Place {
    /// Returns the place right after the last character of `text`. A missing end, such as `]`, is reported there, not
    /// on a line that the file does not have. Lines end as in YAML (YAML 1.2.2 section 5.4).
    pub(in crate::config) fn end_of(text: &str) -> Self {
        let breaks = text.match_indices(['\n', '\r']);
        // `\r\n` is one line break: count its `\n`.
        let ends_line = |(at, _): &(usize, &str)| !(text[*at..].starts_with("\r\n"));
        let last = text.rfind(['\n', '\r']).map_or(text, |at| &text[at + 1..]);
        Self {
            line: breaks.filter(ends_line).count() + 1,
            column: last.chars().count() + 1,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.line, self.column)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:", self.file.display())?;
        if let Some(place) = self.place {
            write!(out, "{place}:")?;
        }
        if !self.path.is_empty() {
            write!(out, " {}:", self.path)?;
        }
        write!(out, " {}", self.problem)?;
        if let Some(hint) = &self.hint {
            write!(out, "\n    hint: {hint}")?;
        }
        Ok(())
    }
}

/// A warning about a valid configuration that protects less than it seems
/// to. Prints like a mistake, with `warning:` before the problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigWarning(pub ConfigError);

impl fmt::Display for ConfigWarning {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let warning = ConfigError {
            problem: format!("warning: {}", self.0.problem),
            ..self.0.clone()
        };
        warning.fmt(out)
    }
}

/// Every mistake of a configuration, in the order of its files and of each file's lines. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

/// The maximum of errors that are returned. Reading stops at so many: nobody looks at more, and a hostile file must not
/// cost more.
pub(in crate::config) const ERRORS_MAX: usize = 100;

impl ConfigErrors {
    /// Returns `Err` if there are errors: at most [`ERRORS_MAX`], sorted by file as in `files`, then by place.
    pub(in crate::config) fn or_ok(mut errors: Vec<ConfigError>, files: &[PathBuf]) -> Result<(), Self> {
        if errors.is_empty() {
            return Ok(());
        }
        let order: HashMap<&PathBuf, usize> = files.iter().enumerate().map(|(at, file)| (file, at)).collect();
        errors.sort_by(|a, b| {
            let place = |error: &ConfigError| (order.get(&error.file).copied(), error.place);
            (place(a), &a.path, &a.problem).cmp(&(place(b), &b.path, &b.problem))
        });
        errors.dedup();
        errors.truncate(ERRORS_MAX);
        Err(Self(errors))
    }

    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for error in &self.0 {
            writeln!(out, "{error}")?;
        }
        match self.0.len() {
            1 => write!(out, "1 error"),
            ERRORS_MAX.. => write!(out, "{ERRORS_MAX} errors or more; the search stopped here"),
            count => write!(out, "{count} errors"),
        }
    }
}

impl std::error::Error for ConfigErrors {}
