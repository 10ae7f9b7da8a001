//! What do the nouns of the command line have in common? A gate, and a command that it carries out.

use crate::cli::gate::GateClient;
use crate::cli::gate::args::GateArgs;
use clap::Args;
use clap::Subcommand;
use std::error::Error;
use std::io::Write;

#[derive(Debug, Args)]
pub struct Noun<C: Subcommand> {
    #[command(flatten)]
    pub gate: GateArgs,
    #[command(subcommand)]
    pub command: C,
}

/// A command that a gate, or its store where no gate runs, carries out.
pub trait GateCommand: Subcommand {
    /// Calls the gate, and prints its answer.
    ///
    /// # Errors
    /// No answer, a refusal, or an answer that says that something is wrong.
    fn run(&self, gate: &mut GateClient<'_>) -> Result<(), Box<dyn Error>>;
}

impl<C: GateCommand> Noun<C> {
    /// # Errors
    /// No gate and no store, and those of the command.
    pub fn run(&self, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), Box<dyn Error>> {
        self.command.run(&mut GateClient::open(&self.gate, out, err)?)
    }
}
