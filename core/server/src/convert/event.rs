//! Events: the kind in a word, the whole in a sentence, the particulars as data.

use super::named::named;
use super::vm::destroyed;
use super::{complaint, time};
use ostler_api as wire;
use ostler_model::{Destroyed, DriverError, Event, EventKind};
use ostler_store::Reader;
use serde_json::{Value, json};

/// All kinds, as [`event`] calls them.
pub(crate) const EVENT_KINDS: [&str; 13] = [
    "created",
    "store-restored",
    "reconciled",
    "state",
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
    let (kind, summary, data) = kind(&event.kind);
    // A name that cannot be read is no reason to keep the event back.
    let summary = if kind == "stray" { named(reader, &summary).unwrap_or(summary) } else { summary };
    wire::Event {
        seq: event.seq.0,
        at: time(event.at),
        vm: event.vm.map(|vm| vm.0),
        version: event.version.map(|version| version.0),
        kind: kind.to_owned(),
        summary,
        data,
    }
}

fn kind(kind: &EventKind) -> (&'static str, String, Value) {
    match kind {
        EventKind::Created { name } => ("created", format!("{name} was created"), json!({ "name": name })),
        EventKind::StoreRestored { after } => (
            "store-restored",
            format!("the store was restored from a backup: whatever came after event {after} is lost"),
            json!({ "after": after.0 }),
        ),
        EventKind::Reconciled { why } => ("reconciled", format!("reconciled with the hosts: {why}"), json!({ "why": why })),
        EventKind::State { from, to, reason } => (
            "state",
            format!("{from} -> {to} ({reason})"),
            json!({ "from": from.to_string(), "to": to.to_string(), "reason": reason.to_string() }),
        ),
        EventKind::OperationBegan { operation, verb, by, destroys } => (
            "operation-began",
            format!("{verb} began, asked by {by}{}", destroyed_words(destroys)),
            json!({
                "operation": operation.0, "verb": verb.to_string(), "by": by,
                "destroys": destroys.iter().map(destroyed).collect::<Vec<_>>(),
            }),
        ),
        EventKind::StepBegan { operation, step, step_kind } => (
            "step-began",
            format!("step {step_kind} began"),
            json!({ "operation": operation.0, "step": step.0, "step_kind": step_kind.to_string() }),
        ),
        EventKind::StepTrouble { operation, step_kind, error } => (
            "step-trouble",
            format!("step {step_kind}: {error}"),
            json!({ "operation": operation.0, "step_kind": step_kind.to_string(), "error": trouble(Some(error)) }),
        ),
        EventKind::OperationEnded { operation, outcome, error } => (
            "operation-ended",
            error.as_ref().map_or_else(|| format!("operation {outcome}"), |error| format!("operation {outcome}: {error}")),
            json!({ "operation": operation.0, "outcome": outcome, "error": trouble(error.as_ref()) }),
        ),
        EventKind::Snapshots { lost, hidden, by } => {
            ("snapshots", snapshots(lost, hidden, by), json!({ "lost": lost, "hidden": hidden, "by": by }))
        }
        EventKind::Scheduled { schedule, outcome, detail } => (
            "scheduled",
            format!("scheduled action {schedule} {outcome}: {detail}"),
            json!({ "schedule": schedule, "outcome": outcome, "detail": detail }),
        ),
        EventKind::Resource { resource, name, change, detail } => (
            "resource",
            format!("{resource} {name} {change}"),
            json!({ "resource": resource, "name": name, "change": change, "detail": detail }),
        ),
        EventKind::Stray { host, domain, what } => (
            "stray",
            format!("{what} domain {domain} seen on host {host}"),
            json!({ "host": host.0, "domain": domain, "what": what }),
        ),
        EventKind::Denied { driver, capability, detail } => (
            "denied",
            format!("driver {driver} was denied {capability}: {detail}"),
            json!({ "driver": driver, "capability": capability, "detail": detail }),
        ),
    }
}

fn destroyed_words(destroys: &[Destroyed]) -> String {
    let words: Vec<String> = destroys.iter().map(ToString::to_string).collect();
    if words.is_empty() { String::new() } else { format!("; it destroys: {}", words.join(", ")) }
}

fn snapshots(lost: &[String], hidden: &[String], by: &str) -> String {
    let part = |what: &str, names: &[String]| (!names.is_empty()).then(|| format!("{what}: {}", names.join(", ")));
    let parts: Vec<String> = [part("lost", lost), part("no longer offered", hidden)].into_iter().flatten().collect();
    format!("snapshots {} ({by})", parts.join("; "))
}

fn trouble(error: Option<&DriverError>) -> Value {
    error.map(complaint).map_or(Value::Null, |error| json!({ "kind": error.kind, "code": error.code, "detail": error.detail }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kinds_told_are_all_there_are() {
        let error = serde_json::from_value::<EventKind>(json!({ "kind": "nothing" })).expect_err("no such kind").to_string();
        let known: Vec<&str> = error.split('`').skip(3).step_by(2).collect();
        assert_eq!(known, EVENT_KINDS);
    }
}
