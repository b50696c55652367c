//! The daemon's answer to a verb, as one line or as a failure.

use super::asking::Asking;
use super::result_line;
use crate::text::{complaint, took};
use crate::{Exit, Failure, advice};
use ostler_api::{ActionReply, Client, Destroyed, Operation, PlanPreview, Vm};

/// An answer.
pub(super) enum Answer {
    /// The answer to a request.
    Reply(Box<ActionReply>),
    /// The answer to `--dry-run`.
    Plan(Box<PlanPreview>),
}

impl Answer {
    /// The failure, if the answer is not a success.
    pub(super) fn trouble(&self, subject: &str, request: &Asking) -> Option<Failure> {
        match self {
            Self::Plan(plan) if plan.allowed => None,
            Self::Plan(plan) => {
                let exit = if plan.code.as_deref() == Some("busy") {
                    Exit::Conflict
                } else {
                    Exit::Refused
                };
                let failure = Failure::new(
                    exit,
                    format!(
                        "{subject}: {}",
                        plan.refused.as_deref().unwrap_or("it would be refused")
                    ),
                );
                Some(match advice::hint(plan.advice.as_ref(), plan.hint.as_deref()) {
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
                        let what = format!(
                            "{subject}: {} has not ended after {timeout} ({state}); it goes on",
                            operation.verb
                        );
                        Some(Failure::new(Exit::TimedOut, what).hint(format!(
                            "`ostler operation show {id} --wait`, `ostler vm why {}`",
                            reply.vm
                        )))
                    }
                    Some("superseded") => {
                        let by = operation
                            .superseded_by
                            .map_or_else(String::new, |by| format!(" by operation {by}"));
                        Some(Failure::new(
                            Exit::Conflict,
                            format!(
                                "{subject}: {} was overtaken{by} ({})",
                                operation.verb, reply.state
                            ),
                        ))
                    }
                    Some(outcome) => Some(failed(subject, outcome, operation, reply)),
                }
            }
        }
    }

    /// The VM's id, if the answer has it. The id is safer than the name, because a name may be
    /// changed meanwhile.
    pub(super) fn vm(&self) -> Option<u64> {
        match self {
            Self::Reply(reply) => Some(reply.vm),
            Self::Plan(_) => None,
        }
    }

    /// The VM as it is now, if there may be something to tell about it. None if it cannot be read.
    pub(super) async fn now(&self, client: &Client, vm: &str, request: &Asking) -> Option<Vm> {
        let worth_it = match self {
            Self::Reply(reply) => !reply.already && !request.waiting.no_wait,
            Self::Plan(_) => false,
        };
        if worth_it { client.vm(vm).await.ok() } else { None }
    }

    /// The success, as one line.
    pub(super) fn line(&self, verb: &str, request: &Asking, now: Option<&Vm>) -> String {
        match self {
            Self::Plan(plan) => {
                let overtakes = plan
                    .overtakes
                    .map_or_else(String::new, |id| format!(", overtaking operation {id}"));
                let steps = if plan.in_words.is_empty() { &plan.steps } else { &plan.in_words };
                let steps = if steps.is_empty() {
                    String::new()
                } else {
                    format!("; steps: {}", steps.join(", "))
                };
                let losses = losses(&plan.destroys);
                format!(
                    "{verb} would be accepted{overtakes}: {}{steps}{losses}",
                    plan.states.join(" > ")
                )
            }
            Self::Reply(reply) => {
                let overtook = reply
                    .overtook
                    .map_or_else(String::new, |id| format!(", overtook operation {id}"));
                match &reply.operation {
                    _ if reply.already => format!("{} already", reply.state),
                    None => format!("{} ({verb} done{overtook})", reply.state),
                    Some(operation) => match operation.ended {
                        Some(ended) => {
                            let took = took(ended.since(operation.began));
                            let note =
                                now.and_then(|vm| result_line::note(verb, &request.body, vm));
                            let note = note.map_or_else(String::new, |note| format!(", {note}"));
                            let losses = losses(&reply.destroys);
                            format!(
                                "{}{note} ({} took {took}{overtook}){losses}",
                                reply.state, operation.verb
                            )
                        }
                        None => {
                            let losses = result_line::destroyed(&reply.destroys)
                                .map_or_else(String::new, |list| {
                                    format!("; it deletes for good: {list}")
                                });
                            format!(
                                "{} ({} accepted, operation {}{overtook}){losses}",
                                reply.state, operation.verb, operation.id
                            )
                        }
                    },
                }
            }
        }
    }
}

/// The things that are removed for good, to be put behind other words.
fn losses(destroys: &[Destroyed]) -> String {
    result_line::destroyed(destroys)
        .map_or_else(String::new, |list| format!("; deleted for good: {list}"))
}

fn failed(subject: &str, outcome: &str, operation: &Operation, reply: &ActionReply) -> Failure {
    let why = operation
        .error
        .as_ref()
        .map_or_else(String::new, |error| format!(": {}", complaint(error)));
    let step =
        operation.failed_at.as_ref().map_or_else(String::new, |step| format!(" at step {step}"));
    let failure = Failure::new(
        Exit::Refused,
        format!("{subject}: {} {outcome}{step}{why} ({})", operation.verb, reply.state),
    );
    let guest_ignored = operation.error.as_ref().is_some_and(|error| error.code == "guest-ignored");
    failure.hint(match (reply.state.as_str(), operation.verb.as_str()) {
        ("failed" | "unknown", _) => format!("`ostler vm why {}` says what can be done", reply.vm),
        (_, "poweroff" | "undeploy" | "shutdown" | "reboot") if guest_ignored => {
            "ask again when the guest has booted and listens, or with --hard, which does not ask it"
                .to_owned()
        }
        _ => format!("`ostler operation show {}` has every step", operation.id),
    })
}
