//! `ostler vm`.

mod console;
mod create;
mod hows;
mod list;
mod schedule;
mod show;
mod told;
mod top;
mod verbs;
mod why;

pub(crate) mod wait;

use crate::Failure;
use crate::context::Context;
use clap::Subcommand;
use hows::{Hard, Nothing};
use verbs::{Many, One};

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
    Deploy(Many<hows::Deploy>),
    /// Saves their memory, keeps their files on the host
    Suspend(Many<Nothing>),
    /// Saves their memory and brings everything back: needs no host any more
    Stop(Many<Nothing>),
    /// Starts or restores them again
    Resume(Many<hows::Resume>),
    /// Switches them off, keeps their files on the host
    Poweroff(Many<Hard>),
    /// Switches them off and brings their disks back: needs no host any more
    Undeploy(Many<Hard>),
    /// Switches them off and ends them
    Shutdown(Many<Hard>),
    /// Asks the guests to reboot
    Reboot(Many<Hard>),
    /// Keeps the scheduler away from pending VMs
    Hold(Many<Nothing>),
    /// Lets the scheduler have VMs on hold
    Release(Many<Nothing>),
    /// Ends VMs whatever they are doing
    Delete(Many<hows::Delete>),
    /// Sends the boot again
    Boot(Many<Nothing>),
    /// Moves VMs to another host: their memory is saved and restored there, unless another way is given
    Migrate(Many<hows::Migrate>),
    /// Has the scheduler move VMs to another host
    Resched(Many<Nothing>),
    /// Takes that back
    Unresched(Many<Nothing>),
    /// Plugs a disk in
    DiskAttach(Many<hows::DiskAttach>),
    /// Unplugs a disk and removes it
    DiskDetach(One<hows::DiskDetach>),
    /// Plugs a network card in
    NicAttach(Many<hows::NicAttach>),
    /// Unplugs a network card
    NicDetach(One<hows::NicDetach>),
    /// Makes a system snapshot
    SnapshotCreate(One<hows::SnapshotCreate>),
    /// Goes back to a system snapshot
    SnapshotRevert(One<hows::SnapshotRevert>),
    /// Removes a system snapshot
    SnapshotDelete(One<hows::SnapshotDelete>),
    /// Has a disk become a new image when the VM is shut down, or now with --live
    DiskSnapshot(One<hows::DiskSnapshot>),
    /// Takes a pending disk snapshot back
    DiskSnapshotCancel(One<hows::DiskSnapshotCancel>),
    /// Changes CPUs or memory; while a VM runs, within its headroom
    Resize(Many<hows::Resize>),
    /// Changes the user data, which is kept and shown; no guest is handed it yet
    Update(Many<hows::Update>),
    /// Changes the name
    Rename(One<hows::Rename>),
    /// Has a verb done later, once or again and again
    Schedule(schedule::ScheduleArgs),
    /// Lists what is to be done later, and how it went
    Schedules(schedule::SchedulesArgs),
    /// Takes a scheduled action back
    Unschedule(One<hows::Unschedule>),
    /// Changes when a scheduled action is done
    Reschedule(One<schedule::Reschedule>),
    /// Ends VMs without their hosts, which are lost
    Forget(Many<hows::Forget>),
    /// States how a step ended, sends it again, or rolls it back
    Recover(Many<hows::Recover>),
}

#[cfg(test)]
use verbs::request;

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
        VmCommand::Schedules(args) => schedule::list(cx, args).await,
        VmCommand::ConsoleLog(args) => console::run(cx, args).await,
        // A verb has a request, so it was answered above.
        _ => Ok(()),
    }
}
