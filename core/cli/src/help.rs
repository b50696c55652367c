//! `ostler help`: commands, and topics that belong to no command.

use crate::context::Context;
use crate::{Cli, Exit, Failure};
use clap::{Args, CommandFactory};
use std::fmt::Write as _;

/// About what.
#[derive(Debug, Args)]
pub struct HelpArgs {
    /// A command (`vm create`), or exit-codes, environment, output
    topic: Vec<String>,
}

const ENVIRONMENT: &str = "\
OSTLER_SERVER      where the daemon listens, as --server: unix:/PATH or http://ADDRESS:PORT
OSTLER_TOKEN_FILE  the file that holds the token, as --token-file
OSTLER_TOKEN       the token itself, if there is no file
OSTLER_DATA_DIR    the daemon's data directory, where its socket is looked for
                   [default: /var/lib/ostler for root, ~/.local/state/ostler for others]
NO_COLOR           no colours; there are none anyway where no person looks
";

const OUTPUT: &str = "\
-o table  for people (the default)
-o wide   the same with more columns
-o json   as the API says it; lists are arrays, `event watch` prints one event a line
-o yaml   the same as YAML
-o name   what other commands take, one a line: ids of VMs and operations, names of everything else

Results go to standard output; what goes wrong, hints and progress go to standard error.
Verbs answer one entry for each VM: {\"vm\": as typed, \"exit\": its code, \"reply\" or \"plan\" or \"error\"}.
";

fn exit_codes() -> String {
    let mut text = String::new();
    for (exit, about) in Exit::ALL {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}  {about}", exit as u8);
    }
    text + "\nWith several VMs it is the highest of all.\n"
}

/// Prints it.
pub(crate) fn run(cx: &Context, args: &HelpArgs) -> Result<(), Failure> {
    let topic: Vec<&str> = args.topic.iter().map(String::as_str).collect();
    match topic.as_slice() {
        ["exit-codes"] => cx.out.write(&exit_codes()),
        ["environment"] => cx.out.write(ENVIRONMENT),
        ["output"] => cx.out.write(OUTPUT),
        path => cx.out.write(&command_help(path)?),
    }
}

fn command_help(path: &[&str]) -> Result<String, Failure> {
    let mut command = Cli::command();
    command.build();
    for name in path {
        let Some(sub) = command.find_subcommand(name) else {
            let known: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
            let failure = Failure::usage(format!("there is no help on {name}"));
            return Err(match ostler_api::nearest(name, known.iter().copied()) {
                Some(near) => failure.hint(format!("did you mean {near}?")),
                None => failure.hint(format!("known: {}", known.join(", "))),
            });
        };
        command = sub.clone();
    }
    Ok(command.render_long_help().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_finds_commands_and_says_what_there_is() {
        assert!(command_help(&["vm", "create"]).expect("a command").contains("--hold"));
        assert_eq!(command_help(&["vm", "craete"]).expect_err("misspelt").hint.as_deref(), Some("did you mean create?"));
        assert!(exit_codes().contains("7  It did not end"));
    }
}
