//! Tells in words for what a VM waits.

use crate::can;
use crate::facts::Facts;
use ostler_model::{Active, DriverError, Fault, Lane, Moment, Phase, Reason, Side, State, StepKind, Timestamp, VmRecord};

/// The explanation of a VM: for what it waits, since when, until when, and what can be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// The state and its reason, in a sentence.
    pub summary: String,
    /// The event for which it waits; none if it waits for nothing.
    pub waits_for: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// Until when at the latest.
    pub until: Option<Timestamp>,
    /// The last error.
    pub last_error: Option<String>,
    /// The verbs that would be accepted now, as they are written on the command line.
    pub can: Vec<String>,
}

/// Explains `record`, with nothing but the record itself.
#[must_use]
pub fn why(record: &VmRecord) -> Why {
    why_with(record, &can::presumed(record, false))
}

/// Explains `record` with the help of `facts`: the abilities of drivers, a look, the answer of the snapshot rules.
#[must_use]
pub fn why_with(record: &VmRecord, facts: &Facts) -> Why {
    let explained = match &record.operation {
        Some(active) => at_work(record, active),
        None => at_rest(record, facts),
    };
    let lost = can::lost(record, facts);
    Why { can: can::can(record, facts).into_iter().map(|verb| can::command(verb, lost)).collect(), ..explained }
}

fn at_work(record: &VmRecord, active: &Active) -> Why {
    let step = active.kind().map_or("the end", StepKind::words);
    let rolling = if active.undoing { " (rolling back)" } else { "" };
    let (waits_for, until) = waits(record, active, step);
    Why {
        summary: format!(
            "{}: operation {} ({}){rolling}, step {} of {}: {step}",
            record.state,
            active.id,
            active.verb,
            (active.at + 1).min(active.plan.len()),
            active.plan.len()
        ),
        waits_for: Some(waits_for),
        since: active.sent.unwrap_or(record.since),
        until,
        last_error: active.error.as_ref().map(DriverError::told),
        can: Vec::new(),
    }
}

/// The event for which the current step waits, and until when.
fn waits(record: &VmRecord, active: &Active, step: &str) -> (String, Option<Timestamp>) {
    let kind = active.kind();
    let place = kind.map(|kind| place(record, kind)).unwrap_or_default();
    let item = active.pending.first().map(|item| format!(" [{item}]")).unwrap_or_default();
    let looked_at = kind.map_or(Side::Here, StepKind::looked_at);
    let host = |side| record.place(side).map(|place| format!("host {}", place.host)).unwrap_or_else(|| "the host".to_owned());
    match &active.phase {
        Phase::Draining => (format!("earlier driver calls ({}) to return, before {step}", record.open.len()), None),
        Phase::Delaying { until } => ("the guest to have booted, because a press during boot is lost".to_owned(), Some(*until)),
        Phase::Calling => (format!("the driver to answer: {step}{item}{place}, attempt {}", active.attempt), active.deadline),
        Phase::Backoff { until } => (format!("the next attempt of: {step}{item}{place}"), Some(*until)),
        Phase::Confirming => (format!("{} to show whether this worked: {step}", host(looked_at)), active.deadline),
        Phase::Waiting { .. } if kind == Some(StepKind::PressPower) => {
            ("the guest to switch itself off; the power button was pressed once".to_owned(), active.deadline)
        }
        Phase::Waiting { .. } if kind == Some(StepKind::Migrate) => {
            (format!("the guest to have arrived at {}", host(Side::Other)), active.deadline)
        }
        Phase::Waiting { .. } => ("the hypervisor to have started it".to_owned(), active.deadline),
        Phase::Settling => (format!("{} to show in which state the failed step left the VM", host(Side::Here)), None),
        Phase::Blind { until, settling } => {
            let side = if *settling { Side::Here } else { looked_at };
            (format!("{} to answer: it could not be asked", host(side)), Some(*until))
        }
    }
}

/// The host on which a step acts, and the driver through which it acts.
fn place(record: &VmRecord, kind: StepKind) -> String {
    let at_home = matches!(kind, StepKind::CopyOut | StepKind::DropHome);
    let host = record.place(kind.sent_to()).filter(|_| !at_home);
    let at = host.map_or_else(|| " on the daemon's machine".to_owned(), |place| format!(" on host {}", place.host));
    let driver = match kind.call().lane() {
        Lane::Hypervisor => host.map(|place| &place.driver),
        // The image's datastore may have another driver.
        Lane::Transfer if kind == StepKind::SaveBack => None,
        Lane::Transfer => record.storage.as_ref().map(|storage| &storage.driver),
    };
    driver.map_or_else(|| at.clone(), |driver| format!("{at} through driver {driver}"))
}

fn at_rest(record: &VmRecord, facts: &Facts) -> Why {
    let failure = record.failure.as_ref().map(|failure| {
        let step = failure.plan.get(failure.at).map_or("its end", |kind| kind.words());
        let (operation, verb, error) = (failure.operation, failure.verb, failure.error.told());
        match failure.undoing {
            false => format!("operation {operation} ({verb}) failed while {step}: {error}"),
            true => format!("operation {operation} ({verb}) failed, and so did its rollback, while {step}: {error}"),
        }
    });
    let next =
        record.schedules.iter().filter_map(|planned| Some((planned.try_at()?, planned.schedule.verb))).min_by_key(|next| next.0);
    let planned = next.map(|(at, verb)| format!("; next by schedule: {verb} at {}", Moment::At(at))).unwrap_or_default();
    let waits: Vec<String> = [rests_for(record, facts), leftovers(record)].into_iter().flatten().collect();
    Why {
        summary: format!("{}: {}{planned}", record.state, record.reason.words()),
        waits_for: (!waits.is_empty()).then(|| waits.join("; and ")),
        since: record.blind_since.unwrap_or(record.since),
        until: None,
        last_error: failure,
        can: Vec::new(),
    }
}

/// The event for which a VM at rest waits.
fn rests_for(record: &VmRecord, facts: &Facts) -> Option<String> {
    let here = record.placement.as_ref().map(|place| place.host);
    if record.is_unreconciled() {
        let waits = "it to be known where this VM is by now: the store was restored from a backup (ostler admin restored)";
        return Some(waits.to_owned());
    }
    if let (State::Unknown, Reason::StoreIsStale, Some(found)) = (record.state, record.reason, &facts.elsewhere) {
        return Some(format!("a person to look at the domain {} on host {}", found.seen.name, found.host));
    }
    match (record.state, here, &record.other) {
        (State::Pending, ..) => Some("the scheduler to find a host".to_owned()),
        (State::Failed, ..) => Some(failed_waits_for(record)),
        (State::Unknown, Some(here), Some(other)) => Some(format!(
            "hosts {here} and {} both to be seen: a migration ended without a word, and the guest is at one of them. Whoever knows \
             that it arrived states recover --success, that it did not recover --failure",
            other.host
        )),
        (State::Unknown, Some(here), None) => Some(match record.reason.fault() {
            Some(Fault::NotOurs) => {
                format!("a person to look at its domain: on host {here}, if it has not moved since")
            }
            Some(Fault::StandsStill) => {
                format!("a person to look at the guest on host {here}, and to resume it or switch it off (--hard)")
            }
            Some(Fault::Crashed) => format!("a person to look at the guest on host {here}, and to switch it off (--hard)"),
            None => format!("host {here} to be seen"),
        }),
        (State::Suspended, ..) if record.reason == Reason::StepFailed && record.usable_recovery().is_some() => Some(
            "somebody to resume it. If its saved memory cannot be restored: resume --cold drops that, and starts it from its disks"
                .to_owned(),
        ),
        (_, Some(_), _) if record.resched => Some("the scheduler to move it to another host".to_owned()),
        (_, _, _) => None,
    }
}

fn failed_waits_for(record: &VmRecord) -> String {
    let restoring = record.failure.as_ref().is_some_and(|failure| failure.plan.get(failure.at) == Some(&StepKind::Restore));
    let cold = if restoring { "; resume --cold drops its saved memory and starts it from its disks" } else { "" };
    format!("somebody to say what becomes of it: recover, or delete{cold}")
}

/// The hosts on which leftovers of the VM are still to be swept.
fn leftovers(record: &VmRecord) -> Option<String> {
    let hosts: Vec<String> = record.leftovers.iter().map(|left| left.place.host.to_string()).collect();
    (!hosts.is_empty()).then(|| format!("host {} to be seen: what it left there is put away then", hosts.join(", ")))
}
