//! Where does a command print, and in which form?

use crate::cli::render;
use crate::cli::render::Column;
use crate::cli::render::TableStyle;
use crate::cli::terminal;
use clap::Args;
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
    /// The ids alone, one a line, for the next command
    Name,
}

/// How a command prints.
#[derive(Clone, Debug, Args)]
pub struct OutputArgs {
    /// How the answer is printed
    #[arg(short, long, value_name = "FORM", value_enum, default_value_t = OutputForm::Table, global = true)]
    pub output: OutputForm,
    /// Print tables without their headings
    #[arg(long, global = true, hide_short_help = true)]
    pub no_headers: bool,
    /// Print no remarks on stderr, only errors and what cannot be printed again
    #[arg(short, long, global = true, hide_short_help = true)]
    pub quiet: bool,
}

/// Stdout and stderr of a command, and the form of its output.
pub struct Printer<'a> {
    pub form: OutputForm,
    table: TableStyle,
    is_quiet: bool,
    pub out: &'a mut dyn Write,
    pub err: &'a mut dyn Write,
}

impl<'a> Printer<'a> {
    pub fn new(args: &OutputArgs, out: &'a mut dyn Write, err: &'a mut dyn Write) -> Self {
        Self {
            form: args.output,
            table: TableStyle {
                has_headings: !args.no_headers,
                width: terminal::width(),
            },
            is_quiet: args.quiet,
            out,
            err,
        }
    }

    /// Writes a line for people to stderr, which they need: a warning, or a secret that is shown once.
    ///
    /// # Errors
    /// If stderr cannot be written.
    pub fn warn(&mut self, line: &str) -> Result<(), Box<dyn Error>> {
        Ok(writeln!(self.err, "{line}")?)
    }

    /// Writes a remark for people to stderr, unless `--quiet` is given.
    ///
    /// # Errors
    /// If stderr cannot be written.
    pub fn note(&mut self, line: &str) -> Result<(), Box<dyn Error>> {
        if self.is_quiet { Ok(()) } else { self.warn(line) }
    }

    /// Writes a remark for people to stderr, unless `--quiet` is given or the output is JSON.
    ///
    /// # Errors
    /// If stderr cannot be written.
    pub fn note_in_table(&mut self, line: &str) -> Result<(), Box<dyn Error>> {
        match self.form {
            OutputForm::Table | OutputForm::Name => self.note(line),
            OutputForm::Json => Ok(()),
        }
    }

    /// Writes the list `list`, an object with `items`, to stdout. The first of `columns` names an item for the next
    /// command.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub fn items(&mut self, columns: &[Column<'_>], list: &Value) -> Result<(), Box<dyn Error>> {
        let (form, style) = (self.form, self.table);
        let mut omitted = Vec::new();
        self.show(list, |list| match form {
            OutputForm::Name => render::names(columns, &list["items"]),
            OutputForm::Table | OutputForm::Json => {
                let table = render::table(columns, &list["items"], style);
                omitted = table.omitted;
                table.text
            }
        })?;
        if omitted.is_empty() {
            return Ok(());
        }
        let omitted = omitted.join(", ");
        self.note(&format!("Too wide for this terminal, and in `-o json`: {omitted}"))
    }

    /// Writes one item of a list to stdout, on a line of its own and not aligned with others, for a list without an end.
    ///
    /// # Errors
    /// If stdout cannot be written, or has been closed.
    pub fn write_line(&mut self, columns: &[Column<'_>], item: &Value) -> io::Result<()> {
        let line = match self.form {
            OutputForm::Table => render::line(columns, item),
            OutputForm::Json => render::escaped(&item.to_string()),
            OutputForm::Name => render::line(columns.get(..1).unwrap_or_default(), item),
        };
        writeln!(self.out, "{line}").and_then(|()| self.out.flush())
    }

    /// Writes the object `thing` to stdout, with the members in `first` before the others. The first of these names the
    /// object for the next command.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub fn page(&mut self, thing: &Value, first: &[&str]) -> Result<(), Box<dyn Error>> {
        let form = self.form;
        self.show(thing, |thing| match (form, first) {
            (OutputForm::Name, [name, ..]) => render::cell(&thing[*name]) + "\n",
            (OutputForm::Name | OutputForm::Table | OutputForm::Json, _) => render::page(thing, first),
        })
    }

    /// Writes a response to stdout: as JSON (nothing for null), or as the text that `text` returns.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub fn write(&mut self, response: &Value, text: impl FnOnce(&Value) -> String) -> io::Result<()> {
        let text = match self.form {
            OutputForm::Json if response.is_null() => String::new(),
            OutputForm::Json => render::json(response),
            OutputForm::Table | OutputForm::Name => text(response),
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
