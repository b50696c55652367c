//! `ostler vm`.

mod answer;
mod asking;
mod console;
mod create;
mod list;
mod result_line;
mod schedule;
mod show;
mod snapshots;
mod sure;
mod top;
mod verb_args;
mod verbs;
mod why;

pub(crate) mod several;
pub(crate) mod wait;

use crate::Failure;
use crate::context::Context;
use clap::Subcommand;
use verb_args::{Hard, Nothing};
use verbs::{Final, Many, One};

/// VMs.
#[derive(Debug, Subcommand)]
pub enum VmCommand {
    /// Creates a VM from a specification in TOML, YAML or JSON
    #[command(alias = "add")]
    Create(create::CreateArgs),
    /// Lists VMs; those that are done are hidden
    #[command(alias = "ls")]
    List(list::ListArgs),
    /// Shows all about VMs
    #[command(aliases = ["info", "get", "describe", "inspect", "dominfo"])]
    Show(show::ShowArgs),
    /// Shows states and what is being done, again and again
    Top(top::TopArgs),
    /// Says what VMs wait for, and what can be done
    Why(why::WhyArgs),
    /// Prints the log of a VM's serial console
    #[command(aliases = ["log", "logs"])]
    ConsoleLog(console::ConsoleArgs),
    /// Starts VMs: releases those on hold, resumes those that are off or saved
    Start(Many<Nothing>),
    /// Places VMs on a host and starts them
    Deploy(Many<verb_args::Deploy>),
    /// Saves their memory to a file; their files stay on the host
    Suspend(Many<Nothing>),
    /// Saves their memory, brings memory and disks off the host and frees the host
    Stop(Many<Nothing>),
    /// Starts VMs that are off, and has saved ones go on where they were
    Resume(Many<verb_args::Resume>),
    /// Powers them off; their files stay on the host
    #[command(alias = "power-off")]
    Poweroff(Many<Hard>),
    /// Powers them off, brings their disks off the host and frees the host
    Undeploy(Many<Hard>),
    /// Powers them off and DELETES them with their disks; `poweroff` keeps them
    Shutdown(Many<Final<Hard>>),
    /// Asks the guests to reboot
    #[command(alias = "restart")]
    Reboot(Many<Hard>),
    /// Presses reset: the same as `reboot --hard`
    #[command(hide = true)]
    Reset(Many<Nothing>),
    /// Keeps the scheduler away from pending VMs
    Hold(Many<Nothing>),
    /// Lets the scheduler have VMs on hold
    Release(Many<Nothing>),
    /// DELETES VMs and their disks at once, whatever they are doing
    #[command(aliases = ["rm", "remove"])]
    Delete(Many<Final<verb_args::Delete>>),
    /// Retries starting VMs whose start hangs
    Boot(Many<Nothing>),
    /// Moves VMs to another host: their memory is saved and restored there, unless another way is
    /// given
    #[command(alias = "move")]
    Migrate(Many<verb_args::Migrate>),
    /// Has the scheduler move VMs to another host
    Resched(Many<Nothing>),
    /// Takes back what `resched` asked for
    Unresched(Many<Nothing>),
    /// Plugs a disk in
    #[command(alias = "attach-disk")]
    DiskAttach(Many<verb_args::DiskAttach>),
    /// Unplugs a disk and DELETES it
    DiskDetach(One<Final<verb_args::DiskDetach>>),
    /// Plugs a network card in
    #[command(aliases = ["attach-nic", "attach-interface"])]
    NicAttach(Many<verb_args::NicAttach>),
    /// Unplugs a network card
    #[command(aliases = ["detach-nic", "detach-interface"])]
    NicDetach(One<verb_args::NicDetach>),
    /// Makes a system snapshot
    SnapshotCreate(One<verb_args::SnapshotCreate>),
    /// Goes back to a system snapshot
    #[command(alias = "snapshot-restore")]
    SnapshotRevert(One<verb_args::SnapshotRevert>),
    /// Removes a system snapshot
    #[command(aliases = ["snapshot-rm", "snapshot-remove"])]
    SnapshotDelete(One<verb_args::SnapshotDelete>),
    /// Lists system snapshots
    #[command(alias = "snapshot-list")]
    Snapshots(snapshots::SnapshotsArgs),
    /// Saves a disk as a new image when the VM is shut down, or now with --live; nothing to revert
    /// to
    #[command(visible_alias = "save-disk-as")]
    DiskSnapshot(One<verb_args::DiskSnapshot>),
    /// Takes a `disk-snapshot` back that waits for the VM to be shut down
    DiskSnapshotCancel(One<verb_args::DiskSnapshotCancel>),
    /// Changes CPUs or memory; while a VM runs, within its headroom
    Resize(Many<verb_args::Resize>),
    /// Changes the user data, which is kept and shown; no guest is handed it yet
    Update(Many<verb_args::Update>),
    /// Changes the name
    Rename(One<verb_args::Rename>),
    /// Has a verb done later, once or again and again
    Schedule(schedule::ScheduleArgs),
    /// Lists what is to be done later, and how it went
    Schedules(schedule::SchedulesArgs),
    /// Takes a scheduled action back
    Unschedule(One<verb_args::Unschedule>),
    /// Changes when a scheduled action is done
    Reschedule(One<schedule::Reschedule>),
    /// Ends VMs whose hosts are lost for good
    Forget(Many<verb_args::Forget>),
    /// For a failed VM: tells Ostler that the failed step succeeded, retries it, or undoes the
    /// operation
    Recover(Many<verb_args::Recover>),
}

#[cfg(test)]
use verbs::request;

/// The verb of the API that a command asks for. None for commands that only read or that create.
#[cfg(test)]
pub(crate) fn verb_of(command: &VmCommand) -> Option<String> {
    verbs::request(command).map(|request| request.verb.to_owned())
}

/// Runs the command.
pub(crate) async fn run(cx: &Context, command: VmCommand) -> Result<(), Failure> {
    if let Some(request) = verbs::request(&command) {
        return asking::run(cx, request).await;
    }
    match command {
        VmCommand::Create(args) => create::run(cx, args).await,
        VmCommand::List(args) => list::run(cx, args).await,
        VmCommand::Show(args) => show::run(cx, args).await,
        VmCommand::Top(args) => top::run(cx, args).await,
        VmCommand::Why(args) => why::run(cx, args).await,
        VmCommand::Schedules(args) => schedule::list(cx, args).await,
        VmCommand::Snapshots(args) => snapshots::list(cx, args).await,
        VmCommand::ConsoleLog(args) => console::run(cx, args).await,
        // All other commands are verbs. Each verb has a request and was handled above.
        _ => Ok(()),
    }
}
