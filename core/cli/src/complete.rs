//! `ostler completion`.

use crate::context::Context;
use crate::{Cli, Failure};
use clap::{Arg, Args, Command, CommandFactory, ValueEnum, ValueHint};
use clap_complete::Shell;

/// The shell to print completions for.
#[derive(Debug, Args)]
pub struct CompletionArgs {
    /// The shell: `source <(ostler completion bash)`
    shell: For,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum For {
    Bash,
    Zsh,
    Fish,
}

/// Prints the completions.
pub(crate) fn run(cx: &Context, args: &CompletionArgs) -> Result<(), Failure> {
    let shell = match args.shell {
        For::Bash => Shell::Bash,
        For::Zsh => Shell::Zsh,
        For::Fish => Shell::Fish,
    };
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut without_files(Cli::command()), "ostler", &mut text);
    cx.out.write(&String::from_utf8_lossy(&text))
}

/// Marks arguments that are not paths as "no file". Otherwise shells offer local files for every
/// value, names of VMs and hosts included.
fn without_files(command: Command) -> Command {
    command.mut_args(hinted).mut_subcommands(without_files)
}

fn hinted(arg: Arg) -> Arg {
    let unknown = arg.get_action().takes_values() && arg.get_value_hint() == ValueHint::Unknown;
    if unknown { arg.value_hint(ValueHint::Other) } else { arg }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_offered_for_paths_alone() {
        let root = without_files(Cli::command());
        let hint = |path: &[&str], arg: &str| {
            let command =
                path.iter().fold(&root, |command, name| command.find_subcommand(name).expect(name));
            command.get_arguments().find(|known| known.get_id() == arg).expect(arg).get_value_hint()
        };
        for (path, arg) in [
            (&["vm", "suspend"][..], "vms"),
            (&["vm", "list"], "host"),
            (&["host", "show"], "host"),
        ] {
            assert_eq!(hint(path, arg), ValueHint::Other, "{path:?} {arg}");
        }
        for (path, arg) in [
            (&["vm", "create"][..], "file"),
            (&["driver", "add"], "file"),
            (&["admin", "backup"], "file"),
        ] {
            assert_eq!(hint(path, arg), ValueHint::AnyPath, "{path:?} {arg}");
        }
    }
}
