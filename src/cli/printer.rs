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

/// Stdout and stderr of a command, and the form of its output (`--output`).
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
    /// If stderr cannot be written.
    pub fn note(&mut self, line: &str) -> Result<(), Box<dyn Error>> {
        Ok(writeln!(self.err, "{line}")?)
    }

    /// Writes a line for people to stderr, unless the output is JSON.
    ///
    /// # Errors
    /// If stderr cannot be written.
    pub fn note_in_table(&mut self, line: &str) -> Result<(), Box<dyn Error>> {
        match self.form {
            OutputForm::Table => self.note(line),
            OutputForm::Json => Ok(()),
        }
    }

    /// Writes a response to stdout: as JSON (nothing for null), or as the text that `text` returns.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub fn write(&mut self, response: &Value, text: impl FnOnce(&Value) -> String) -> io::Result<()> {
        let text = match self.form {
            OutputForm::Json if response.is_null() => String::new(),
            OutputForm::Json => render::json(response),
            OutputForm::Table => text(response),
        };
        self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush())
    }

    /// Does the same as [`Printer::write`], but accepts that the reader closes the pipe early: `response` is not lost,
    /// because it can be requested again.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub fn show(&mut self, response: &Value, text: impl FnOnce(&Value) -> String) -> Result<(), Box<dyn Error>> {
        ignore_closed_pipe(self.write(response, text))
    }
}

/// Returns the result of a write to stdout; ignores that the reader has closed the pipe (`keygate schema | head -1`).
///
/// # Errors
/// Any other error.
pub fn ignore_closed_pipe(written: io::Result<()>) -> Result<(), Box<dyn Error>> {
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(format!("cannot write to stdout: {error}").into()),
        Ok(()) | Err(_) => Ok(()),
    }
}
