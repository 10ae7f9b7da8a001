//! How does a noun of the command line, such as `keygate keys`, run its commands on a gate or on the gate's store?

use crate::cli::gate::GateClient;
use crate::cli::gate::args::GateArgs;
use clap::Args;
use clap::Subcommand;
use std::error::Error;
use std::io::Write;

#[derive(Debug, Args)]
pub struct GateCommandLine<C: Subcommand> {
    #[command(flatten)]
    pub gate: GateArgs,
    #[command(subcommand)]
    pub command: C,
}

/// A command that a running gate executes, or that this process executes on the store of a stopped gate.
pub trait GateCommand: Subcommand {
    /// Calls the gate and prints its response.
    ///
    /// # Errors
    /// If no gate responds, if the gate refuses the request, or if the response reports a problem.
    fn run(&self, gate: &mut GateClient<'_>) -> Result<(), Box<dyn Error>>;
}

impl<C: GateCommand> GateCommandLine<C> {
    /// Finds the gate or its store and runs the command.
    ///
    /// # Errors
    /// If there is neither a gate nor a store, or if the command fails.
    pub fn run(&self, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), Box<dyn Error>> {
        self.command.run(&mut GateClient::open(&self.gate, out, err)?)
    }
}
