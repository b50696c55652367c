//! The verbs: what is asked of VMs, of several at once, and what came of it.

use super::VmCommand;
use super::wait::{self, Deadline};
use crate::context::Context;
use crate::operation::complaint;
use crate::retry::{key, patiently};
use crate::text::took;
use crate::{Exit, Failure, range};
use clap::Args;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use ostler_api::{ActionBody, ActionReply, Client, Operation, PlanPreview, Sent, Span};
use serde::Serialize;

/// Requests under way at once. Each may wait for its operation, so this is more than the daemon has cores.
const PARALLEL: usize = 32;

/// What all verbs take.
#[derive(Debug, Args)]
pub(super) struct Common {
    /// Ids, names, or ranges such as 1..5
    #[arg(required = true, value_name = "VM")]
    vms: Vec<String>,
    /// Wait for the operation to end (this is the default)
    #[arg(long, overrides_with = "no_wait")]
    wait: bool,
    /// Return as soon as the request is accepted, which is durable
    #[arg(long, overrides_with = "wait")]
    no_wait: bool,
    /// How long to wait at most; the operation goes on
    #[arg(long, default_value = wait::TIMEOUT, value_name = "TIME")]
    timeout: Span,
    /// Change nothing and tell what would happen
    #[arg(long)]
    dry_run: bool,
    /// Only if the VM still has this version
    #[arg(long, value_name = "VERSION", conflicts_with = "dry_run")]
    if_version: Option<u64>,
}

/// A verb without more.
#[derive(Debug, Args)]
pub struct PlainArgs {
    #[command(flatten)]
    common: Common,
}

/// A verb that can be told not to ask the guest.
#[derive(Debug, Args)]
pub struct HardArgs {
    /// At once, without asking the guest
    #[arg(long)]
    hard: bool,
    #[command(flatten)]
    common: Common,
}

/// `deploy`.
#[derive(Debug, Args)]
pub struct DeployArgs {
    /// On this host (name or id); the scheduler chooses if not given
    #[arg(long)]
    host: Option<String>,
    /// Refuse if the host's capacity is exceeded
    #[arg(long)]
    enforce: bool,
    #[command(flatten)]
    common: Common,
}

/// `delete`.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// End in pending, with the same id and new disks
    #[arg(long)]
    recreate: bool,
    #[command(flatten)]
    common: Common,
}

/// `recover`.
#[derive(Debug, Args)]
#[group(id = "how", required = true, multiple = false, args = ["success", "failure", "retry", "undo"])]
pub struct RecoverArgs {
    /// The step in hand succeeded
    #[arg(long)]
    success: bool,
    /// The step in hand failed
    #[arg(long)]
    failure: bool,
    /// Send the step in hand again
    #[arg(long)]
    retry: bool,
    /// Roll the operation back
    #[arg(long)]
    undo: bool,
    /// Even where it looks like a lie
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    common: Common,
}

impl RecoverArgs {
    const fn verb(&self) -> &'static str {
        if self.success {
            "recover-success"
        } else if self.failure {
            "recover-failure"
        } else if self.retry {
            "recover-retry"
        } else {
            "recover-undo"
        }
    }
}

/// A verb, its body, and what goes with it.
pub(super) struct Request<'a> {
    pub(super) verb: &'static str,
    body: ActionBody,
    common: &'a Common,
}

/// What is asked for; none if the command is no verb.
pub(super) fn request(command: &VmCommand) -> Option<Request<'_>> {
    let plain = |verb, common| Some(Request { verb, body: ActionBody::default(), common });
    let hard = |args: &'_ HardArgs, soft: &'static str, hard: &'static str| if args.hard { hard } else { soft };
    match command {
        VmCommand::Deploy(args) => {
            let body = ActionBody { host: args.host.clone(), enforce: args.enforce, force: false };
            Some(Request { verb: "deploy", body, common: &args.common })
        }
        VmCommand::Recover(args) => {
            let body = ActionBody { force: args.force, ..ActionBody::default() };
            Some(Request { verb: args.verb(), body, common: &args.common })
        }
        VmCommand::Suspend(args) => plain("suspend", &args.common),
        VmCommand::Stop(args) => plain("stop", &args.common),
        VmCommand::Resume(args) => plain("resume", &args.common),
        VmCommand::Hold(args) => plain("hold", &args.common),
        VmCommand::Release(args) => plain("release", &args.common),
        VmCommand::Boot(args) => plain("boot", &args.common),
        VmCommand::Poweroff(args) => plain(hard(args, "poweroff", "poweroff-hard"), &args.common),
        VmCommand::Undeploy(args) => plain(hard(args, "undeploy", "undeploy-hard"), &args.common),
        VmCommand::Shutdown(args) => plain(hard(args, "shutdown", "shutdown-hard"), &args.common),
        VmCommand::Reboot(args) => plain(hard(args, "reboot", "reboot-hard"), &args.common),
        VmCommand::Delete(args) => plain(if args.recreate { "delete-recreate" } else { "delete" }, &args.common),
        VmCommand::Create(_)
        | VmCommand::List(_)
        | VmCommand::Show(_)
        | VmCommand::Top(_)
        | VmCommand::Why(_)
        | VmCommand::ConsoleLog(_) => None,
    }
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

/// What came of it, before it is printed.
struct Ended {
    outcome: Outcome,
    /// A line for people.
    line: Option<String>,
    failure: Option<Failure>,
}

/// Asks, of several VMs at once, and prints each result when it is there.
pub(super) async fn run(cx: &Context, request: Request<'_>) -> Result<(), Failure> {
    let vms = range::expand(&request.common.vms)?;
    if request.common.if_version.is_some() && vms.len() > 1 {
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
        eprintln!("{left} more were not asked");
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

async fn ask(client: &Client, vm: &str, request: &Request<'_>) -> Ended {
    let outcome = Outcome { vm: vm.to_owned(), exit: 0, reply: None, plan: None, error: None, hint: None };
    let subject = format!("vm {vm}");
    let result = if request.common.dry_run { preview(client, vm, request).await } else { act(client, vm, request).await };
    let (answer, failure) = match result {
        Ok(answer) => {
            let failure = answer.trouble(&subject, request);
            (Some(answer), failure)
        }
        Err(failure) => (None, Some(failure.about(&subject))),
    };
    let line = answer.as_ref().map(|answer| crate::text::clean(&format!("{subject}: {}", answer.line(request))));
    let (reply, plan) = match answer {
        Some(Answer::Reply(reply)) => (Some(*reply), None),
        Some(Answer::Plan(plan)) => (None, Some(plan)),
        None => (None, None),
    };
    let (error, hint) = failure.as_ref().map_or((None, None), |failure| (failure.what.clone(), failure.hint.clone()));
    let exit = failure.as_ref().map_or(Exit::Ok, |failure| failure.exit) as u8;
    Ended { outcome: Outcome { exit, reply, plan, error, hint, ..outcome }, line, failure }
}

async fn preview(client: &Client, vm: &str, request: &Request<'_>) -> Result<Answer, Failure> {
    Ok(Answer::Plan(patiently(|| client.preview(vm, request.verb, &request.body)).await?))
}

/// Asks, with one key however often it must be sent, and waits for the end.
async fn act(client: &Client, vm: &str, request: &Request<'_>) -> Result<Answer, Failure> {
    let common = request.common;
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
    Ok(Answer::Reply(Box::new(reply)))
}

enum Answer {
    Reply(Box<ActionReply>),
    Plan(PlanPreview),
}

impl Answer {
    /// What is wrong with it, if something is.
    fn trouble(&self, subject: &str, request: &Request<'_>) -> Option<Failure> {
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
                    None if request.common.no_wait => None,
                    None => {
                        let (timeout, state) = (request.common.timeout, &reply.state);
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

    /// The good news, on a line.
    fn line(&self, request: &Request<'_>) -> String {
        match self {
            Self::Plan(plan) => {
                let overtakes = plan.overtakes.map_or_else(String::new, |id| format!(", overtaking operation {id}"));
                let steps = if plan.steps.is_empty() { String::new() } else { format!(" ({})", plan.steps.join(", ")) };
                format!("{} would be accepted{overtakes}: {}{steps}", request.verb, plan.states.join(" > "))
            }
            Self::Reply(reply) => {
                let overtook = reply.overtook.map_or_else(String::new, |id| format!(", overtook operation {id}"));
                match &reply.operation {
                    _ if reply.already => format!("{} already", reply.state),
                    None => format!("{} ({} done{overtook})", reply.state, request.verb),
                    Some(operation) => match operation.ended {
                        Some(ended) => {
                            let took = took(ended.since(operation.began));
                            format!("{} ({} took {took}{overtook})", reply.state, operation.verb)
                        }
                        None => format!("{} ({} accepted, operation {}{overtook})", reply.state, operation.verb, operation.id),
                    },
                }
            }
        }
    }
}

fn failed(subject: &str, outcome: &str, operation: &Operation, reply: &ActionReply) -> Failure {
    let why = operation.error.as_ref().map_or_else(String::new, |error| format!(": {}", complaint(error)));
    let failure = Failure::new(Exit::Refused, format!("{subject}: {} {outcome}{why} ({})", operation.verb, reply.state));
    failure.hint(format!("`ostler vm why {}` says what can be done", reply.vm))
}
