//! `ostler`: reads the command line, does it, says what went wrong, and ends with the exit code that says it in a number.

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
            // Help and the version are asked for by such an error, too.
            None => err.exit(),
        },
    };
    match ended(cli) {
        Ok(exit) => exit.into(),
        Err(err) => {
            // Nobody may read it; the exit code tells, too.
            let _ = writeln!(std::io::stderr(), "error: {err:#}");
            Exit::Server.into()
        }
    }
}

fn ended(cli: Cli) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // Requests wait, they do not compute; only `plugin test` computes, and brings threads of its own.
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
