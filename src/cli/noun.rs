//! How do the nouns of the command line run their commands? Each has a gate, and a command for it.

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

/// A command that a running gate executes, or this process on the gate's store.
pub trait GateCommand: Subcommand {
    /// Calls the gate and prints its response.
    ///
    /// # Errors
    /// If no gate responds, if it refuses, or if the response reports a problem.
    fn run(&self, gate: &mut GateClient<'_>) -> Result<(), Box<dyn Error>>;
}

impl<C: GateCommand> Noun<C> {
    /// Finds the gate or its store and runs the command.
    ///
    /// # Errors
    /// If there is neither, or if the command fails.
    pub fn run(&self, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), Box<dyn Error>> {
        self.command.run(&mut GateClient::open(&self.gate, out, err)?)
    }
}
