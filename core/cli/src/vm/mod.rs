//! `ostler vm`.

mod console;
mod create;
mod list;
mod show;
mod top;
mod verbs;
mod why;

pub(crate) mod wait;

use crate::Failure;
use crate::context::Context;
use clap::Subcommand;

/// VMs.
#[derive(Debug, Subcommand)]
pub enum VmCommand {
    /// Creates a VM from a specification in TOML, YAML or JSON
    Create(create::CreateArgs),
    /// Lists VMs; those that are done are hidden
    List(list::ListArgs),
    /// Shows all about a VM
    Show(show::ShowArgs),
    /// Shows states and what is being done, again and again
    Top(top::TopArgs),
    /// Says what VMs wait for, and what can be done
    Why(why::WhyArgs),
    /// Prints the log of a VM's serial console
    ConsoleLog(console::ConsoleArgs),
    /// Places VMs on a host and starts them
    Deploy(verbs::DeployArgs),
    /// Saves their memory, keeps their files on the host
    Suspend(verbs::PlainArgs),
    /// Saves their memory and brings everything back: needs no host any more
    Stop(verbs::PlainArgs),
    /// Starts or restores them again
    Resume(verbs::PlainArgs),
    /// Switches them off, keeps their files on the host
    Poweroff(verbs::HardArgs),
    /// Switches them off and brings their disks back: needs no host any more
    Undeploy(verbs::HardArgs),
    /// Switches them off and ends them
    Shutdown(verbs::HardArgs),
    /// Asks the guests to reboot
    Reboot(verbs::HardArgs),
    /// Keeps the scheduler away from pending VMs
    Hold(verbs::PlainArgs),
    /// Lets the scheduler have VMs on hold
    Release(verbs::PlainArgs),
    /// Ends VMs whatever they are doing
    Delete(verbs::DeleteArgs),
    /// Sends the boot again
    Boot(verbs::PlainArgs),
    /// States how a step ended, sends it again, or rolls it back
    Recover(verbs::RecoverArgs),
}

/// The verb of the API that a command asks for; none for those that only look or create.
#[cfg(test)]
pub(crate) fn verb_of(command: &VmCommand) -> Option<String> {
    verbs::request(command).map(|request| request.verb.to_owned())
}

/// Does it.
pub(crate) async fn run(cx: &Context, command: VmCommand) -> Result<(), Failure> {
    if let Some(request) = verbs::request(&command) {
        return verbs::run(cx, request).await;
    }
    match command {
        VmCommand::Create(args) => create::run(cx, args).await,
        VmCommand::List(args) => list::run(cx, args).await,
        VmCommand::Show(args) => show::run(cx, args).await,
        VmCommand::Top(args) => top::run(cx, args).await,
        VmCommand::Why(args) => why::run(cx, args).await,
        VmCommand::ConsoleLog(args) => console::run(cx, args).await,
        // A verb has a request, so it was answered above.
        _ => Ok(()),
    }
}
