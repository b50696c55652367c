//! The verbs as they are typed, and the request that each makes.

use super::VmCommand;
use super::verb_args::Hard;
use super::wait;
use crate::Failure;
use clap::Args;
use ostler_api::Span;
use serde_json::{Value, json};

/// How to wait for the end, and under which conditions to act.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Waiting {
    /// Wait for the operation to end (this is the default)
    #[arg(long, overrides_with = "no_wait")]
    pub(super) wait: bool,
    /// Return as soon as the request is accepted, which is durable
    #[arg(long, overrides_with = "wait")]
    pub(super) no_wait: bool,
    /// How long to wait at most; the operation goes on
    #[arg(long, default_value = wait::TIMEOUT, value_name = "TIME")]
    pub(super) timeout: Span,
    /// Change nothing and tell what would happen
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Only if the VM still has this version
    #[arg(long, value_name = "VERSION", conflicts_with = "dry_run")]
    pub(super) if_version: Option<u64>,
}

/// A verb for one or more VMs, with its options.
#[derive(Debug, Args)]
pub struct Many<H: Args> {
    /// Ids, names, or ranges such as 1..5
    #[arg(required = true, value_name = "VM")]
    vms: Vec<String>,
    #[command(flatten)]
    how: H,
    #[command(flatten)]
    waiting: Waiting,
}

/// A verb about something that one VM has, with its options.
#[derive(Debug, Args)]
pub struct One<H: Args> {
    /// Its id or name, or a range such as 1..5
    vm: String,
    #[command(flatten)]
    how: H,
    #[command(flatten)]
    waiting: Waiting,
}

/// The options of a verb.
pub trait Ask {
    /// The verb.
    fn verb(&self) -> &'static str;
    /// The verb's body.
    fn body(&self) -> Result<Value, Failure> {
        Ok(json!({}))
    }
}

/// A verb that deletes something for good. On a terminal the command asks before it is sent.
#[derive(Debug, Args)]
pub struct Final<H: Args> {
    #[command(flatten)]
    pub(super) how: H,
    /// Do not ask on a terminal whether it may be destroyed; elsewhere nobody is asked
    #[arg(short, long)]
    pub(super) yes: bool,
}

impl<H: Args + Ask> Ask for Final<H> {
    fn verb(&self) -> &'static str {
        self.how.verb()
    }

    fn body(&self) -> Result<Value, Failure> {
        self.how.body()
    }
}

impl Hard {
    /// The verb, depending on `--hard`.
    pub(super) const fn or(&self, soft: &'static str, hard: &'static str) -> &'static str {
        if self.hard { hard } else { soft }
    }
}

impl<H: Args> Many<H> {
    fn plain(&self, verb: &'static str) -> Request {
        Request::new(verb, Ok(json!({})), self.vms.clone(), self.waiting.clone())
    }
}

impl<H: Args + Ask> Many<H> {
    fn ask(&self) -> Request {
        Request::new(self.how.verb(), self.how.body(), self.vms.clone(), self.waiting.clone())
    }
}

impl<H: Args + Ask> One<H> {
    fn ask(&self) -> Request {
        Request::new(self.how.verb(), self.how.body(), vec![self.vm.clone()], self.waiting.clone())
    }
}

/// What a verb deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// The VM with everything that belongs to it.
    Vm,
    /// Something that the VM has.
    Part,
}

/// A verb, its body, its VMs, and how to wait for it.
pub(super) struct Request {
    pub(super) verb: &'static str,
    pub(super) body: Result<Value, Failure>,
    pub(super) vms: Vec<String>,
    pub(super) waiting: Waiting,
    /// The verb for a VM on hold, if it is another one.
    pub(super) of_held: Option<&'static str>,
    /// What is deleted, if an operator at a terminal must be asked first.
    pub(super) loss: Option<Loss>,
}

impl Request {
    pub(super) fn new(
        verb: &'static str,
        body: Result<Value, Failure>,
        vms: Vec<String>,
        waiting: Waiting,
    ) -> Self {
        Self { verb, body, vms, waiting, of_held: None, loss: None }
    }

    /// The same request with what it deletes. Nobody is asked with `--yes` or for a dry run.
    fn destroying(self, loss: Loss, yes: bool) -> Self {
        Self { loss: (!yes && !self.waiting.dry_run).then_some(loss), ..self }
    }
}

/// The request of a command. None if the command is no verb.
pub(super) fn request(command: &VmCommand) -> Option<Request> {
    Some(match command {
        // For a VM that is pending or running, the answer to `resume` says so.
        VmCommand::Start(args) => Request { of_held: Some("release"), ..args.plain("resume") },
        VmCommand::Suspend(args) => args.plain("suspend"),
        VmCommand::Stop(args) => args.plain("stop"),
        VmCommand::Resume(args) => args.ask(),
        VmCommand::Hold(args) => args.plain("hold"),
        VmCommand::Release(args) => args.plain("release"),
        VmCommand::Boot(args) => args.plain("boot"),
        VmCommand::Resched(args) => args.plain("resched"),
        VmCommand::Unresched(args) => args.plain("unresched"),
        VmCommand::Poweroff(args) => args.plain(args.how.or("poweroff", "poweroff-hard")),
        VmCommand::Undeploy(args) => args.plain(args.how.or("undeploy", "undeploy-hard")),
        VmCommand::Shutdown(args) => {
            let verb = args.how.how.or("shutdown", "shutdown-hard");
            args.plain(verb).destroying(Loss::Vm, args.how.yes)
        }
        VmCommand::Reboot(args) => args.plain(args.how.or("reboot", "reboot-hard")),
        VmCommand::Reset(args) => args.plain("reboot-hard"),
        VmCommand::Deploy(args) => args.ask(),
        VmCommand::Delete(args) => args.ask().destroying(args.how.how.loss(), args.how.yes),
        VmCommand::Recover(args) => args.ask(),
        VmCommand::Migrate(args) => args.ask(),
        VmCommand::DiskAttach(args) => args.ask(),
        VmCommand::DiskDetach(args) => args.ask().destroying(Loss::Part, args.how.yes),
        VmCommand::NicAttach(args) => args.ask(),
        VmCommand::NicDetach(args) => args.ask(),
        VmCommand::SnapshotCreate(args) => args.ask(),
        VmCommand::SnapshotRevert(args) => args.ask(),
        VmCommand::SnapshotDelete(args) => args.ask(),
        VmCommand::DiskSnapshot(args) => args.ask(),
        VmCommand::DiskSnapshotCancel(args) => args.ask(),
        VmCommand::Resize(args) => args.ask(),
        VmCommand::Update(args) => args.ask(),
        VmCommand::Rename(args) => args.ask(),
        VmCommand::Schedule(args) => args.request(),
        VmCommand::Unschedule(args) => args.ask(),
        VmCommand::Reschedule(args) => args.ask(),
        VmCommand::Forget(args) => args.ask(),
        VmCommand::Create(_)
        | VmCommand::List(_)
        | VmCommand::Show(_)
        | VmCommand::Top(_)
        | VmCommand::Why(_)
        | VmCommand::Schedules(_)
        | VmCommand::Snapshots(_)
        | VmCommand::ConsoleLog(_) => return None,
    })
}
