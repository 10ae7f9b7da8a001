//! How do shells and `man` learn the command line? From its definition.

use crate::cli::args::CompletionShell;
use crate::cli::parse;
use clap_complete::Shell;
use std::io;
use std::path::Path;

/// Returns a script of `shell` that completes commands, options and the words that these take.
pub fn completions(shell: CompletionShell) -> Vec<u8> {
    let shell = match shell {
        CompletionShell::Bash => Shell::Bash,
        CompletionShell::Zsh => Shell::Zsh,
        CompletionShell::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut parse::command(), "keygate", &mut script);
    script
}

/// Writes a page for each command into `folder`, which is made where it is missing.
///
/// # Errors
/// If the folder or a page cannot be written.
pub fn write_man_pages(folder: &Path) -> Result<(), String> {
    let written = |()| clap_mangen::generate_to(parse::command(), folder);
    let result: io::Result<()> = std::fs::create_dir_all(folder).and_then(written);
    result.map_err(|error| format!("{}: {error}", folder.display()))
}
