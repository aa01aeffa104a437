//! Writes what is made from the flags: manual pages, and completions for bash, zsh and fish, into the folder that is
//! named. `make manual`.

use std::path::PathBuf;
use std::process::ExitCode;

use calico_exporter::cli::Cli;
use clap::CommandFactory;
use clap_complete::{Shell, generate_to};

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: manual FOLDER");
        return ExitCode::from(2);
    };
    match write(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}

fn write(folder: &std::path::Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut Cli::command(), "calico-exporter", folder)?;
    }
    // Version and commit are --version's: pages are the same whoever builds them.
    clap_mangen::generate_to(Cli::command().version(env!("CARGO_PKG_VERSION")), folder)
}
