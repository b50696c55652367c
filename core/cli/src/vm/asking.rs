//! Sends one verb to several VMs at once, waits for each, and prints each result when it is there.

use super::answer::Answer;
use super::sure;
use super::verbs::{Loss, Request, Waiting};
use super::wait::{self, Deadline};
use crate::context::Context;
use crate::out::aside;
use crate::retry::{key, patiently};
use crate::{Exit, Failure, range};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use ostler_api::{ActionReply, Client, PlanPreview, Sent};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

/// How many requests run at once. Each may wait for its operation, so this is more than the daemon
/// has cores.
const PARALLEL: usize = 32;
/// How long the command looks at the VMs after an interrupt, to print which operations go on.
const LAST_LOOK: Duration = Duration::from_secs(2);

/// The result for one VM, as it is printed with `-o json`.
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

/// The request that is sent to each VM.
pub(super) struct Asking {
    verb: &'static str,
    of_held: Option<&'static str>,
    pub(super) body: Value,
    pub(super) waiting: Waiting,
    /// Whether results are printed as lines for people.
    for_people: bool,
}

/// The result for one VM before it is printed.
struct Ended {
    outcome: Outcome,
    /// The line for people.
    line: Option<String>,
    failure: Option<Failure>,
}

/// Sends the request to the VMs, several at once, and prints each result when it is there.
pub(super) async fn run(cx: &Context, request: Request) -> Result<(), Failure> {
    let vms = range::expand(&request.vms)?;
    let Request { verb, body, waiting, of_held, loss, .. } = request;
    let request = Asking { verb, of_held, body: body?, waiting, for_people: cx.out.for_people() };
    if request.waiting.if_version.is_some() && vms.len() > 1 {
        return Err(Failure::usage("--if-version is about one VM").hint("ask for one VM at a time"));
    }
    let client = cx.client()?;
    if let Some(loss) = loss {
        sure::ask(&client, &vms, verb, &request.body, loss == Loss::Vm).await?;
    }
    let (mut outcomes, mut worst, mut stop) = (Vec::new(), Exit::Ok, false);
    let mut waiting = vms.iter().enumerate();
    let (mut under_way, mut asked) = (FuturesUnordered::new(), BTreeSet::new());
    loop {
        while under_way.len() < PARALLEL && !stop {
            let Some((place, vm)) = waiting.next() else { break };
            let (client, request) = (&client, &request);
            asked.insert(place);
            under_way.push(async move { (place, ask(client, vm, request).await) });
        }
        let Some(next) = wait::unless_interrupted(under_way.next()).await else {
            drop(under_way);
            return Err(interrupted(
                &client,
                asked.iter().map(|place| vms[*place].as_str()),
                waiting.len(),
            )
            .await);
        };
        let Some((place, ended)) = next else { break };
        asked.remove(&place);
        worst = worst.max(tell(cx, &ended, stop)?);
        // The daemon cannot be reached, so the other VMs are not tried.
        stop |= ended.outcome.exit == Exit::Unreachable as u8;
        outcomes.push((place, ended.outcome));
    }
    drop(under_way);
    let left = waiting.len();
    if left > 0 {
        aside(&format!("{left} more were not asked"));
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
        // An unreachable daemon is reported only once.
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

/// Prints which operations go on after an interrupt. The requests are durable; only this command
/// does not wait any more.
async fn interrupted(client: &Client, asked: impl Iterator<Item = &str>, left: usize) -> Failure {
    let looks =
        asked.map(|vm| async move { (vm, client.vm(vm).await) }).collect::<FuturesUnordered<_>>();
    let mut looks = looks.take_until(Box::pin(tokio::time::sleep(LAST_LOOK)));
    aside("");
    while let Some((vm, look)) = looks.next().await {
        if let Some(operation) = look.ok().and_then(|vm| vm.operation) {
            let (id, verb) = (operation.id, operation.verb);
            aside(&format!(
                "vm {vm}: operation {id} ({verb}) goes on: `ostler operation show {id} --wait`"
            ));
        }
    }
    if left > 0 {
        aside(&format!("{left} more were not asked"));
    }
    Failure::silent(Exit::Interrupted)
}

async fn ask(client: &Client, vm: &str, request: &Asking) -> Ended {
    let outcome =
        Outcome { vm: vm.to_owned(), exit: 0, reply: None, plan: None, error: None, hint: None };
    let subject = format!("vm {vm}");
    let (verb, result) = match verb_for(client, vm, request).await {
        Ok(verb) if request.waiting.dry_run => (verb, preview(client, vm, verb, request).await),
        Ok(verb) => (verb, act(client, vm, verb, request).await),
        Err(failure) => (request.verb, Err(failure)),
    };
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
            Some(crate::text::clean(&format!(
                "{subject}: {}",
                answer.line(verb, request, now.as_ref())
            )))
        }
        _ => None,
    };
    let (reply, plan) = match answer {
        Some(Answer::Reply(reply)) => (Some(*reply), None),
        Some(Answer::Plan(plan)) => (None, Some(*plan)),
        None => (None, None),
    };
    let (error, hint) = failure
        .as_ref()
        .map_or((None, None), |failure| (failure.what.clone(), failure.hint.clone()));
    let exit = failure.as_ref().map_or(Exit::Ok, |failure| failure.exit) as u8;
    Ended { outcome: Outcome { exit, reply, plan, error, hint, ..outcome }, line, failure }
}

/// The verb for this VM. For `start` it depends on whether the VM is on hold.
async fn verb_for(client: &Client, vm: &str, request: &Asking) -> Result<&'static str, Failure> {
    match request.of_held {
        Some(held) if patiently(|| client.vm(vm)).await?.state == "hold" => Ok(held),
        Some(_) | None => Ok(request.verb),
    }
}

async fn preview(
    client: &Client,
    vm: &str,
    verb: &str,
    request: &Asking,
) -> Result<Answer, Failure> {
    Ok(Answer::Plan(Box::new(patiently(|| client.preview(vm, verb, &request.body)).await?)))
}

/// Sends the request, with the same key however often it must be sent, and waits for the end.
async fn act(client: &Client, vm: &str, verb: &str, request: &Asking) -> Result<Answer, Failure> {
    let common = &request.waiting;
    let deadline = Deadline::after(common.timeout.duration());
    let wait = (!common.no_wait).then(|| deadline.part());
    let sent = Sent { wait, if_version: common.if_version, idempotency_key: Some(key()) };
    let mut reply = patiently(|| client.act(vm, verb, &request.body, &sent)).await?;
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
    follow_to_the_scheduler(client, verb, &mut reply, deadline).await?;
    Ok(Answer::Reply(Box::new(reply)))
}

/// Some verbs leave the rest to the scheduler. They end when the scheduler has done its part.
async fn follow_to_the_scheduler(
    client: &Client,
    verb: &str,
    reply: &mut ActionReply,
    deadline: Deadline,
) -> Result<(), Failure> {
    let handed_over = match verb {
        "resume" | "resume-cold" => reply.state == "pending",
        "resched" => !reply.already,
        _ => false,
    };
    let asked = reply.operation.as_ref();
    if !handed_over
        || asked.is_some_and(|operation| operation.outcome.as_deref() != Some("succeeded"))
    {
        return Ok(());
    }
    let after = asked.map_or(0, |operation| operation.id);
    let (now, brought) = wait::for_scheduler(client, reply.vm, after, deadline).await?;
    (reply.state, reply.version) = (now.state.into_owned(), now.version);
    reply.operation = brought.or(reply.operation.take());
    Ok(())
}
