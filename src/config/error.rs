//! What is wrong with a configuration? Every mistake at once, each with its place, what is wrong and what to do.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

/// One mistake. Prints as `file:line:column: key.path: problem`, and its hint on an indented line of its own.
///
/// A value that came out of the environment or a `file:` reference is in none of the texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// What kind of mistake, in kebab-case (`unknown-key`); stable, so tests and tools can branch on it.
    pub code: &'static str,
    pub file: PathBuf,
    /// Line and column, both from 1, columns in characters. `None` where the file itself cannot be read.
    pub place: Option<Place>,
    /// `routes[2].upstream`; empty for the file as a whole.
    pub path: String,
    pub problem: String,
    pub hint: Option<String>,
}

/// A position in the file, both numbers from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

impl Place {
    /// Right after the last character of `text`: a mistake of something that never came is there, not on a line that the
    /// file does not have. Lines end as YAML's do (YAML 1.2.2 section 5.4).
    pub(in crate::config) fn end_of(text: &str) -> Self {
        let breaks = text.match_indices(['\n', '\r']);
        let is_one = |(at, _): &(usize, &str)| !(text[*at..].starts_with("\r\n"));
        let last = text.rfind(['\n', '\r']).map_or(text, |at| &text[at + 1..]);
        Self {
            line: breaks.filter(is_one).count() + 1,
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

/// Something in a good configuration that somebody should know: it protects less than it looks. Prints like a mistake,
/// with `warning:` before what is the matter.
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

/// After this many the rest is not looked for: nobody reads them, and a hostile file must not cost more.
pub(in crate::config) const ERRORS_MAX: usize = 100;

impl ConfigErrors {
    /// `Err` when there are any, sorted by position; files stand in the order of `files`.
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
