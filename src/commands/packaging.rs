//! `tidegate completions SHELL` and `tidegate man FOLDER`: what shells and `man` know of the program, made from its own
//! table of commands.
//!
//! They read no configuration.

use std::path::Path;
use std::process::ExitCode;

use clap::Command;
use clap_complete::Shell;

use super::output::put;
use super::serve::end;

/// Prints a shell's completions for this program.
pub fn completions(mut program: Command, shell: Shell) -> ExitCode {
    let name = program.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut program, name, &mut script);
    end(put(&String::from_utf8_lossy(&script)))
}

/// Writes the manual's pages into a folder: one for the program, one for each command.
pub fn manual(program: Command, folder: &Path) -> ExitCode {
    let written = std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(program, folder));
    end(written.map_err(|fault| format!("could not write the manual into {}: {fault}", folder.display())))
}
