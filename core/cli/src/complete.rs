//! `ostler completion`.

use crate::context::Context;
use crate::{Cli, Failure};
use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::Shell;

/// For which shell.
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

/// Prints it.
pub(crate) fn run(cx: &Context, args: &CompletionArgs) -> Result<(), Failure> {
    let shell = match args.shell {
        For::Bash => Shell::Bash,
        For::Zsh => Shell::Zsh,
        For::Fish => Shell::Fish,
    };
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ostler", &mut text);
    cx.out.write(&String::from_utf8_lossy(&text))
}
