//! The verbs: what is asked of VMs, of several at once, and what came of it.

use super::VmCommand;
use super::hows::Hard;
use super::told;
use super::wait::{self, Deadline};
use crate::context::Context;
use crate::operation::complaint;
use crate::retry::{key, patiently};
use crate::text::took;
use crate::{Exit, Failure, range};
use clap::Args;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use ostler_api::{ActionReply, Client, Operation, PlanPreview, Sent, Span, Vm};
use serde::Serialize;
use serde_json::{Value, json};

/// Requests under way at once. Each may wait for its operation, so this is more than the daemon has cores.
const PARALLEL: usize = 32;

/// How the answer is waited for, and what must be so.
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

/// A verb of several VMs, and what is its own.
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

/// A verb about something that one VM has.
#[derive(Debug, Args)]
pub struct One<H: Args> {
    /// Its id or name, or a range such as 1..5
    vm: String,
    #[command(flatten)]
    how: H,
    #[command(flatten)]
    waiting: Waiting,
}

/// What is a verb's own.
pub trait Ask {
    /// The verb.
    fn verb(&self) -> &'static str;
    /// Its body.
    fn body(&self) -> Result<Value, Failure> {
        Ok(json!({}))
    }
}

impl Hard {
    /// The verb that is meant.
    pub(super) const fn or(&self, soft: &'static str, hard: &'static str) -> &'static str {
        if self.hard { hard } else { soft }
    }
}

impl<H: Args> Many<H> {
    fn plain(&self, verb: &'static str) -> Request {
        Request { verb, body: Ok(json!({})), vms: self.vms.clone(), waiting: self.waiting.clone() }
    }
}

impl<H: Args + Ask> Many<H> {
    fn ask(&self) -> Request {
        Request { verb: self.how.verb(), body: self.how.body(), vms: self.vms.clone(), waiting: self.waiting.clone() }
    }
}

impl<H: Args + Ask> One<H> {
    fn ask(&self) -> Request {
        Request { verb: self.how.verb(), body: self.how.body(), vms: vec![self.vm.clone()], waiting: self.waiting.clone() }
    }
}

/// A verb, its body, of which VMs, and how it is waited for.
pub(super) struct Request {
    pub(super) verb: &'static str,
    pub(super) body: Result<Value, Failure>,
    pub(super) vms: Vec<String>,
    pub(super) waiting: Waiting,
}

/// What is asked for; none if the command is no verb.
pub(super) fn request(command: &VmCommand) -> Option<Request> {
    Some(match command {
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
        VmCommand::Shutdown(args) => args.plain(args.how.or("shutdown", "shutdown-hard")),
        VmCommand::Reboot(args) => args.plain(args.how.or("reboot", "reboot-hard")),
        VmCommand::Deploy(args) => args.ask(),
        VmCommand::Delete(args) => args.ask(),
        VmCommand::Recover(args) => args.ask(),
        VmCommand::Migrate(args) => args.ask(),
        VmCommand::DiskAttach(args) => args.ask(),
        VmCommand::DiskDetach(args) => args.ask(),
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
        | VmCommand::ConsoleLog(_) => return None,
    })
}

/// What came of one VM's request, as it is printed with `-o json`.
#[derive(Debug, Serialize)]
struct Outcome {
    vm: String,
    exit: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<ActionReply>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<PlanPreview>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

/// What is asked of each VM.
struct Asking {
    verb: &'static str,
    body: Value,
    waiting: Waiting,
    /// Whether what came of it is told in a line.
    for_people: bool,
}

/// What came of it, before it is printed.
struct Ended {
    outcome: Outcome,
    /// A line for people.
    line: Option<String>,
    failure: Option<Failure>,
}

/// Asks, of several VMs at once, and prints each result when it is there.
pub(super) async fn run(cx: &Context, request: Request) -> Result<(), Failure> {
    let vms = range::expand(&request.vms)?;
    let request = Asking { verb: request.verb, body: request.body?, waiting: request.waiting, for_people: cx.out.for_people() };
    if request.waiting.if_version.is_some() && vms.len() > 1 {
        return Err(Failure::usage("--if-version is about one VM").hint("ask for one VM at a time"));
    }
    let client = cx.client()?;
    let (mut outcomes, mut worst, mut stop) = (Vec::new(), Exit::Ok, false);
    let mut waiting = vms.iter().enumerate();
    let mut under_way = FuturesUnordered::new();
    loop {
        while under_way.len() < PARALLEL && !stop {
            let Some((place, vm)) = waiting.next() else { break };
            let (client, request) = (&client, &request);
            under_way.push(async move { (place, ask(client, vm, request).await) });
        }
        let Some((place, ended)) = under_way.next().await else { break };
        worst = worst.max(tell(cx, &ended, stop)?);
        // Nobody there: the rest need not be tried.
        stop |= ended.outcome.exit == Exit::Unreachable as u8;
        outcomes.push((place, ended.outcome));
    }
    drop(under_way);
    let left = waiting.len();
    if left > 0 {
        crate::out::aside(&format!("{left} more were not asked"));
    }
    outcomes.sort_by_key(|(place, _)| *place);
    let outcomes: Vec<Outcome> = outcomes.into_iter().map(|(_, outcome)| outcome).collect();
    match cx.out.format {
        crate::out::Format::Json => cx.out.write(&crate::out::json(&outcomes)?)?,
        crate::out::Format::Yaml => cx.out.write(&crate::out::yaml(&outcomes)?)?,
        _ => {}
    }
    if worst == Exit::Ok { Ok(()) } else { Err(Failure::silent(worst)) }
}

fn tell(cx: &Context, ended: &Ended, quiet: bool) -> Result<Exit, Failure> {
    if let Some(failure) = &ended.failure {
        // That nobody is there is said once.
        if !(quiet && failure.exit == Exit::Unreachable) {
            failure.tell();
        }
        return Ok(failure.exit);
    }
    match (&ended.line, cx.out.format) {
        (Some(line), _) if cx.out.for_people() => cx.out.line(line)?,
        (_, crate::out::Format::Name) => cx.out.line(&ended.outcome.vm)?,
        _ => {}
    }
    Ok(Exit::Ok)
}

async fn ask(client: &Client, vm: &str, request: &Asking) -> Ended {
    let outcome = Outcome { vm: vm.to_owned(), exit: 0, reply: None, plan: None, error: None, hint: None };
    let subject = format!("vm {vm}");
    let result = if request.waiting.dry_run { preview(client, vm, request).await } else { act(client, vm, request).await };
    let (answer, failure) = match result {
        Ok(answer) => {
            let failure = answer.trouble(&subject, request);
            (Some(answer), failure)
        }
        Err(failure) => (None, Some(failure.about(&subject))),
    };
    let line = match &answer {
        Some(answer) if failure.is_none() && request.for_people => {
            let id = answer.vm().map_or_else(|| vm.to_owned(), |id| id.to_string());
            let now = answer.now(client, &id, request).await;
            Some(crate::text::clean(&format!("{subject}: {}", answer.line(request, now.as_ref()))))
        }
        _ => None,
    };
    let (reply, plan) = match answer {
        Some(Answer::Reply(reply)) => (Some(*reply), None),
        Some(Answer::Plan(plan)) => (None, Some(*plan)),
        None => (None, None),
    };
    let (error, hint) = failure.as_ref().map_or((None, None), |failure| (failure.what.clone(), failure.hint.clone()));
    let exit = failure.as_ref().map_or(Exit::Ok, |failure| failure.exit) as u8;
    Ended { outcome: Outcome { exit, reply, plan, error, hint, ..outcome }, line, failure }
}

async fn preview(client: &Client, vm: &str, request: &Asking) -> Result<Answer, Failure> {
    Ok(Answer::Plan(Box::new(patiently(|| client.preview(vm, request.verb, &request.body)).await?)))
}

/// Asks, with one key however often it must be sent, and waits for the end.
async fn act(client: &Client, vm: &str, request: &Asking) -> Result<Answer, Failure> {
    let common = &request.waiting;
    let deadline = Deadline::after(common.timeout.duration());
    let wait = (!common.no_wait).then(|| deadline.part());
    let sent = Sent { wait, if_version: common.if_version, idempotency_key: Some(key()) };
    let mut reply = patiently(|| client.act(vm, request.verb, &request.body, &sent)).await?;
    if common.no_wait {
        return Ok(Answer::Reply(Box::new(reply)));
    }
    if let Some(operation) = reply.operation.take_if(|operation| operation.outcome.is_none()) {
        let ended = wait::for_end(client, operation, deadline).await?;
        reply.timed_out = ended.outcome.is_none();
        reply.operation = Some(ended);
        let id = reply.vm.to_string();
        let now = patiently(|| client.vm(&id)).await?;
        (reply.state, reply.version) = (now.state.into_owned(), now.version);
    }
    follow_to_the_scheduler(client, request, &mut reply, deadline).await?;
    Ok(Answer::Reply(Box::new(reply)))
}

/// A verb that leaves the rest to the scheduler is over when that has done it.
async fn follow_to_the_scheduler(
    client: &Client,
    request: &Asking,
    reply: &mut ActionReply,
    deadline: Deadline,
) -> Result<(), Failure> {
    let handed_over = match request.verb {
        "resume" | "resume-cold" => reply.state == "pending",
        "resched" => !reply.already,
        _ => false,
    };
    let asked = reply.operation.as_ref();
    if !handed_over || asked.is_some_and(|operation| operation.outcome.as_deref() != Some("succeeded")) {
        return Ok(());
    }
    let after = asked.map_or(0, |operation| operation.id);
    let (now, brought) = wait::for_scheduler(client, reply.vm, after, deadline).await?;
    (reply.state, reply.version) = (now.state.into_owned(), now.version);
    reply.operation = brought.or(reply.operation.take());
    Ok(())
}

enum Answer {
    Reply(Box<ActionReply>),
    Plan(Box<PlanPreview>),
}

impl Answer {
    /// What is wrong with it, if something is.
    fn trouble(&self, subject: &str, request: &Asking) -> Option<Failure> {
        match self {
            Self::Plan(plan) if plan.allowed => None,
            Self::Plan(plan) => {
                let exit = if plan.code.as_deref() == Some("busy") { Exit::Conflict } else { Exit::Refused };
                let failure =
                    Failure::new(exit, format!("{subject}: {}", plan.refused.as_deref().unwrap_or("it would be refused")));
                Some(match &plan.hint {
                    Some(hint) => failure.hint(hint),
                    None => failure,
                })
            }
            Self::Reply(reply) => {
                let operation = reply.operation.as_ref()?;
                let id = operation.id;
                match operation.outcome.as_deref() {
                    Some("succeeded") => None,
                    None if request.waiting.no_wait => None,
                    None => {
                        let (timeout, state) = (request.waiting.timeout, &reply.state);
                        let what = format!("{subject}: {} has not ended after {timeout} ({state}); it goes on", operation.verb);
                        Some(
                            Failure::new(Exit::TimedOut, what)
                                .hint(format!("`ostler operation show {id} --wait`, `ostler vm why {}`", reply.vm)),
                        )
                    }
                    Some("superseded") => {
                        let by = operation.superseded_by.map_or_else(String::new, |by| format!(" by operation {by}"));
                        Some(Failure::new(
                            Exit::Conflict,
                            format!("{subject}: {} was overtaken{by} ({})", operation.verb, reply.state),
                        ))
                    }
                    Some(outcome) => Some(failed(subject, outcome, operation, reply)),
                }
            }
        }
    }

    /// The VM's id, if it is told: a name may be another by now.
    fn vm(&self) -> Option<u64> {
        match self {
            Self::Reply(reply) => Some(reply.vm),
            Self::Plan(_) => None,
        }
    }

    /// The VM as it is now, if there may be something to say about it. What cannot be read is not said.
    async fn now(&self, client: &Client, vm: &str, request: &Asking) -> Option<Vm> {
        let worth_it = match self {
            Self::Reply(reply) => !reply.already && !request.waiting.no_wait,
            Self::Plan(plan) => !(plan.loses.is_empty() && plan.hides.is_empty()),
        };
        if worth_it { client.vm(vm).await.ok() } else { None }
    }

    /// The good news, on a line.
    fn line(&self, request: &Asking, now: Option<&Vm>) -> String {
        match self {
            Self::Plan(plan) => {
                let overtakes = plan.overtakes.map_or_else(String::new, |id| format!(", overtaking operation {id}"));
                let steps = if plan.steps.is_empty() { String::new() } else { format!(" ({})", plan.steps.join(", ")) };
                let fates = fates(plan, now);
                format!("{} would be accepted{overtakes}: {}{steps}{fates}", request.verb, plan.states.join(" > "))
            }
            Self::Reply(reply) => {
                let overtook = reply.overtook.map_or_else(String::new, |id| format!(", overtook operation {id}"));
                match &reply.operation {
                    _ if reply.already => format!("{} already", reply.state),
                    None => format!("{} ({} done{overtook})", reply.state, request.verb),
                    Some(operation) => match operation.ended {
                        Some(ended) => {
                            let took = took(ended.since(operation.began));
                            let note = now.and_then(|vm| told::note(request.verb, &request.body, vm));
                            let note = note.map_or_else(String::new, |note| format!(", {note}"));
                            format!("{}{note} ({} took {took}{overtook})", reply.state, operation.verb)
                        }
                        None => format!("{} ({} accepted, operation {}{overtook})", reply.state, operation.verb, operation.id),
                    },
                }
            }
        }
    }
}

/// What would become of snapshots.
fn fates(plan: &PlanPreview, now: Option<&Vm>) -> String {
    let called = |name: &String| {
        let known = now.and_then(|vm| vm.snapshots.iter().find(|snapshot| snapshot.name == *name));
        known.map_or_else(|| name.clone(), told::called)
    };
    let part = |what: &str, names: &[String]| {
        let names: Vec<String> = names.iter().map(called).collect();
        if names.is_empty() { String::new() } else { format!("; {what}: {}", names.join(", ")) }
    };
    part("snapshots lost", &plan.loses) + &part("snapshots no longer offered", &plan.hides)
}

fn failed(subject: &str, outcome: &str, operation: &Operation, reply: &ActionReply) -> Failure {
    let why = operation.error.as_ref().map_or_else(String::new, |error| format!(": {}", complaint(error)));
    let step = operation.failed_at.as_ref().map_or_else(String::new, |step| format!(" at step {step}"));
    let failure = Failure::new(Exit::Refused, format!("{subject}: {} {outcome}{step}{why} ({})", operation.verb, reply.state));
    let guest_ignored = operation.error.as_ref().is_some_and(|error| error.code == "guest-ignored");
    failure.hint(match (reply.state.as_str(), operation.verb.as_str()) {
        ("failed" | "unknown", _) => format!("`ostler vm why {}` says what can be done", reply.vm),
        (_, "poweroff" | "undeploy" | "shutdown" | "reboot") if guest_ignored => {
            "ask again when the guest has booted and listens, or with --hard, which does not ask it".to_owned()
        }
        _ => format!("`ostler operation show {}` has every step", operation.id),
    })
}
