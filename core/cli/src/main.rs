//! `ostler`: reads the command line, runs the command, prints a failure, and ends with its exit
//! code.

use anyhow::Context as _;
use clap::Parser;
use ostler_cli::{Cli, Exit};
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let typed: Vec<_> = std::env::args_os().collect();
    let cli = match Cli::try_parse_from(&typed) {
        Ok(cli) => cli,
        Err(err) => match ostler_cli::no_such_command(&err, &typed) {
            Some(failure) => {
                failure.tell();
                return failure.exit.into();
            }
            // `--help` and `--version` come as such an error, too.
            None => err.exit(),
        },
    };
    match ended(cli) {
        Ok(exit) => exit.into(),
        Err(err) => {
            // Writing to standard error may fail. The exit code still tells that the command
            // failed.
            let _ = writeln!(std::io::stderr(), "error: {err:#}");
            Exit::Server.into()
        }
    }
}

fn ended(cli: Cli) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // Requests only wait. `plugin test` does compute, but it starts threads of its own.
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start threads")?;
    Ok(match runtime.block_on(ostler_cli::run(cli)) {
        Ok(()) => Exit::Ok,
        Err(failure) => {
            failure.tell();
            failure.exit
        }
    })
}
