//! Events as they are sent: the kind as a word, a summary as a sentence, and the details as data.

use super::operation::verb_of;
use super::vm::destroyed;
use super::{complaint, time};
use crate::words::{self, Names};
use ostler_api as wire;
use ostler_model::{
    Destroyed, DriverError, ErrorKind, Event, EventKind, OperationId, StepKind, Verb,
};
use ostler_store::Reader;
use serde_json::{Value, json};

/// All kinds, as [`event`] calls them.
pub(crate) const EVENT_KINDS: [&str; 13] = [
    "created",
    "state",
    "store-restored",
    "reconciled",
    "operation-began",
    "step-began",
    "step-trouble",
    "operation-ended",
    "snapshots",
    "scheduled",
    "resource",
    "stray",
    "denied",
];

/// An event as it is sent.
pub(crate) fn event(event: &Event, reader: &Reader) -> wire::Event {
    // The record of an old operation may be gone.
    let verb = |id| reader.operation(id).ok().flatten().map(|operation| verb_of(&operation));
    wire::Event {
        seq: event.seq.0,
        at: time(event.at),
        vm: event.vm.map(|vm| vm.0),
        version: event.version.map(|version| version.0),
        kind: word(&event.kind).to_owned(),
        summary: summary(&event.kind, reader, verb),
        data: data(&event.kind, reader),
    }
}

const fn word(kind: &EventKind) -> &'static str {
    match kind {
        EventKind::Created { .. } => "created",
        EventKind::StoreRestored { .. } => "store-restored",
        EventKind::Reconciled { .. } => "reconciled",
        EventKind::State { .. } => "state",
        EventKind::OperationBegan { .. } => "operation-began",
        EventKind::StepBegan { .. } => "step-began",
        EventKind::StepTrouble { .. } => "step-trouble",
        EventKind::OperationEnded { .. } => "operation-ended",
        EventKind::Snapshots { .. } => "snapshots",
        EventKind::Scheduled { .. } => "scheduled",
        EventKind::Resource { .. } => "resource",
        EventKind::Stray { .. } => "stray",
        EventKind::Denied { .. } => "denied",
    }
}

fn summary(
    kind: &EventKind,
    names: &dyn Names,
    verb_of: impl Fn(OperationId) -> Option<String>,
) -> String {
    match kind {
        EventKind::Created { name } => format!("{name} was created"),
        EventKind::StoreRestored { after } => format!(
            "the store was restored from a backup: whatever came after event {after} is lost"
        ),
        EventKind::Reconciled { why } => format!("reconciled with the hosts: {why}"),
        EventKind::State { from, to, reason } => format!("{from} -> {to}: {}", reason.words()),
        EventKind::OperationBegan { operation, verb, by, destroys } => {
            operation_began(*operation, *verb, by, destroys)
        }
        EventKind::StepBegan { step_kind, .. } => step_kind.words().to_owned(),
        EventKind::StepTrouble { step_kind, error, .. } => step_trouble(*step_kind, error),
        EventKind::OperationEnded { operation, outcome, error } => {
            operation_ended(*operation, verb_of(*operation), outcome, error.as_ref())
        }
        EventKind::Snapshots { lost, hidden, by } => snapshots(lost, hidden, by),
        EventKind::Scheduled { schedule, outcome, detail } => {
            format!("scheduled action {schedule} {outcome}: {}", words::came(names, detail))
        }
        EventKind::Resource { resource, name, change, detail } => {
            resource_changed(resource, name, change, detail)
        }
        EventKind::Stray { host, domain, what } => {
            format!("{what} domain {domain} seen on host {}", words::host(names, *host))
        }
        EventKind::Denied { driver, capability, detail } => {
            format!("driver {driver} was denied {capability}: {detail}")
        }
    }
}

fn data(kind: &EventKind, names: &dyn Names) -> Value {
    match kind {
        EventKind::Created { name } => json!({ "name": name }),
        EventKind::StoreRestored { after } => json!({ "after": after.0 }),
        EventKind::Reconciled { why } => json!({ "why": why }),
        EventKind::State { from, to, reason } => {
            json!({ "from": from.to_string(), "to": to.to_string(), "reason": reason.to_string() })
        }
        EventKind::OperationBegan { operation, verb, by, destroys } => json!({
            "operation": operation.0, "verb": verb.to_string(), "by": by,
            "destroys": destroys.iter().map(destroyed).collect::<Vec<_>>(),
        }),
        EventKind::StepBegan { operation, step, step_kind } => {
            json!({ "operation": operation.0, "step": step.0, "step_kind": step_kind.to_string() })
        }
        EventKind::StepTrouble { operation, step_kind, error } => json!({
            "operation": operation.0, "step_kind": step_kind.to_string(),
            "error": trouble(Some(error)),
        }),
        EventKind::OperationEnded { operation, outcome, error } => json!({
            "operation": operation.0, "outcome": outcome, "error": trouble(error.as_ref()),
        }),
        EventKind::Snapshots { lost, hidden, by } => {
            json!({ "lost": lost, "hidden": hidden, "by": by })
        }
        EventKind::Scheduled { schedule, outcome, detail } => json!({
            "schedule": schedule, "outcome": outcome, "detail": words::came(names, detail),
        }),
        EventKind::Resource { resource, name, change, detail } => {
            json!({ "resource": resource, "name": name, "change": change, "detail": detail })
        }
        EventKind::Stray { host, domain, what } => {
            json!({ "host": host.0, "domain": domain, "what": what })
        }
        EventKind::Denied { driver, capability, detail } => {
            json!({ "driver": driver, "capability": capability, "detail": detail })
        }
    }
}

fn operation_began(id: OperationId, verb: Verb, by: &str, destroys: &[Destroyed]) -> String {
    let began = format!("{verb} began (operation {id}), asked by {by}");
    let words: Vec<String> = destroys.iter().map(ToString::to_string).collect();
    if words.is_empty() { began } else { format!("{began}; it destroys: {}", words.join(", ")) }
}

fn step_trouble(step: StepKind, error: &DriverError) -> String {
    let again = if error.kind == ErrorKind::Retry { "; it is tried again" } else { "" };
    format!("{}: {}{again}", step.words(), error.told())
}

fn resource_changed(resource: &str, name: &str, change: &str, detail: &str) -> String {
    let changed = format!("{resource} {name} {change}");
    if detail.is_empty() { changed } else { format!("{changed}: {detail}") }
}

fn operation_ended(
    id: OperationId,
    verb: Option<String>,
    outcome: &str,
    error: Option<&DriverError>,
) -> String {
    let what = verb.map_or_else(
        || format!("operation {id} {outcome}"),
        |verb| format!("{verb} {outcome} (operation {id})"),
    );
    error.map_or_else(|| what.clone(), |error| format!("{what}: {}", error.told()))
}

fn snapshots(lost: &[String], hidden: &[String], by: &str) -> String {
    let part = |what: &str, names: &[String]| {
        (!names.is_empty()).then(|| format!("{what}: {}", names.join(", ")))
    };
    let parts: Vec<String> =
        [part("lost", lost), part("no longer offered", hidden)].into_iter().flatten().collect();
    format!("snapshots {} ({by})", parts.join("; "))
}

fn trouble(error: Option<&DriverError>) -> Value {
    error.map(complaint).map_or(
        Value::Null,
        |error| json!({ "kind": error.kind, "code": error.code, "detail": error.detail }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::NoNames;

    #[test]
    fn summaries_say_what_happened_to_what() {
        let told = |event: &EventKind, verb: Option<&str>| {
            summary(event, &NoNames, |_| verb.map(str::to_owned))
        };
        let error = DriverError::retry("no-connection", "cannot connect");
        let ended = |outcome: &str, error| EventKind::OperationEnded {
            operation: OperationId(59),
            outcome: outcome.to_owned(),
            error,
        };
        assert_eq!(
            told(&ended("succeeded", None), Some("poweroff")),
            "poweroff succeeded (operation 59)"
        );
        let failed = told(&ended("failed", Some(error.clone())), None);
        assert_eq!(failed, "operation 59 failed: cannot connect [no-connection]");
        let trouble = EventKind::StepTrouble {
            operation: OperationId(59),
            step_kind: ostler_model::StepKind::Boot,
            error,
        };
        assert_eq!(
            told(&trouble, None),
            "starting it: cannot connect [no-connection]; it is tried again"
        );
        let (from, to) = (ostler_model::State::Running, ostler_model::State::Poweroff);
        let state = EventKind::State { from, to, reason: ostler_model::Reason::Guest };
        assert_eq!(told(&state, None), "running -> poweroff: the guest switched itself off");
    }

    #[test]
    fn the_kinds_told_are_all_there_are() {
        let error = serde_json::from_value::<EventKind>(json!({ "kind": "nothing" }))
            .expect_err("no such kind")
            .to_string();
        let known: Vec<&str> = error.split('`').skip(3).step_by(2).collect();
        assert_eq!(known, EVENT_KINDS);
    }
}
