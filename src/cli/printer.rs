//! Where does a command print, and in which form?

use crate::cli::render;
use clap::ValueEnum;
use serde_json::Value;
use std::error::Error;
use std::io;
use std::io::ErrorKind;
use std::io::Write;

/// How an answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputForm {
    /// For people
    Table,
    /// As it came
    Json,
}

/// Stdout and stderr of a command, and the form of its answers (`--output`).
pub struct Printer<'a> {
    pub form: OutputForm,
    pub out: &'a mut dyn Write,
    pub err: &'a mut dyn Write,
}

impl<'a> Printer<'a> {
    pub fn new(form: OutputForm, out: &'a mut dyn Write, err: &'a mut dyn Write) -> Self {
        Self { form, out, err }
    }

    /// Writes a line for people to stderr.
    ///
    /// # Errors
    /// Stderr cannot be written.
    pub fn note(&mut self, line: &str) -> Result<(), Box<dyn Error>> {
        Ok(writeln!(self.err, "{line}")?)
    }

    /// Writes a line for people to stderr, unless the answer is printed as it came.
    ///
    /// # Errors
    /// Stderr cannot be written.
    pub fn note_in_table(&mut self, line: &str) -> Result<(), Box<dyn Error>> {
        match self.form {
            OutputForm::Table => self.note(line),
            OutputForm::Json => Ok(()),
        }
    }

    /// Writes an answer to stdout: as it came, where it is not null, or for people what `text` makes of it.
    ///
    /// # Errors
    /// Stdout cannot be written.
    pub fn write(&mut self, answer: &Value, text: impl FnOnce(&Value) -> String) -> io::Result<()> {
        let text = match self.form {
            OutputForm::Json if answer.is_null() => String::new(),
            OutputForm::Json => render::json(answer),
            OutputForm::Table => text(answer),
        };
        self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush())
    }

    /// Writes an answer that can be had again, as [`Printer::write`] does: a reader may stop when it has read enough.
    ///
    /// # Errors
    /// Stdout cannot be written.
    pub fn show(&mut self, answer: &Value, text: impl FnOnce(&Value) -> String) -> Result<(), Box<dyn Error>> {
        unless_closed(self.write(answer, text))
    }
}

/// Ignores that the reader has closed the pipe (`keygate schema | head -1`).
///
/// # Errors
/// Any other.
pub fn unless_closed(written: io::Result<()>) -> Result<(), Box<dyn Error>> {
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(format!("cannot write to stdout: {error}").into()),
        Ok(()) | Err(_) => Ok(()),
    }
}
