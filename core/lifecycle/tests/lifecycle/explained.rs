//! `why` tells what is waited for, since when, until when, and what can be done; and what it says
//! can be done is accepted.

use crate::rig::{Rig, Violation};
use crate::samples::asked;
use crate::script::args;
use ostler_lifecycle::{Facts, can, decide, why_with};
use ostler_model::{Args, HostId, Phase, Refusal, State, StateKind, Verb};

macro_rules! must {
    ($holds:expr, $($words:tt)*) => {
        if !$holds { return Err(format!($($words)*)); }
    };
}

/// Holds what `why` says of the record as it is against what is so.
pub(crate) fn explained(rig: &Rig) -> Result<(), Violation> {
    let record = &rig.record;
    let told = why_with(record, &facts(rig));
    let in_words = format!(
        "why: {:?} ({:?})",
        told.summary,
        record.operation.as_ref().map(|active| &active.phase)
    );
    must!(told.since <= rig.now, "{in_words}: since a time that is to come");
    let waits = !told.waits_for.is_empty();
    match &record.operation {
        Some(active) => {
            must!(waits, "{in_words}: waits for nothing");
            let due = match active.phase {
                Phase::Draining | Phase::Settling => None,
                Phase::Delaying { until }
                | Phase::Backoff { until }
                | Phase::Blind { until, .. } => Some(until),
                Phase::Calling | Phase::Confirming | Phase::Waiting { .. } => active.deadline,
            };
            must!(told.until == due, "{in_words}: until {:?}, and it is {due:?}", told.until);
        }
        None => must!(record.state.kind() != StateKind::Transient, "{in_words}: nobody is at it"),
    }
    must!(record.state != State::Unknown || waits, "{in_words}: waits for nothing");
    must!(
        record.state != State::Failed || (waits && told.last_error.is_some()),
        "{in_words}: no word on what failed"
    );
    possible(rig, &in_words)
}

/// What is known: of the hosts all but what they would answer now.
fn facts(rig: &Rig) -> Facts {
    let asked = asked(
        1,
        Verb::SnapshotCreate,
        Args::NewImage {
            disk: "vda".parse().unwrap(),
            image: "any".parse().unwrap(),
            datastore: None,
        },
        elsewhere(rig),
        false,
    );
    Facts { look: None, ..rig.facts(Some(&asked)) }
}

fn elsewhere(rig: &Rig) -> HostId {
    if rig.host() == Some(HostId(3)) { HostId(2) } else { HostId(3) }
}

/// Everything that can be done is accepted, and nothing that would be is left out.
fn possible(rig: &Rig, in_words: &str) -> Result<(), Violation> {
    use strum::IntoEnumIterator;
    let record = &rig.record;
    let can = can(record, &facts(rig));
    for verb in Verb::iter().filter(|verb| *verb != Verb::Adopt && !verb.is_record_only()) {
        let answer = ask(rig, verb);
        match (can.contains(&verb), answer) {
            (true, Err(refusal)) => {
                return Err(format!("{in_words}: {verb} is offered and refused: {refusal}"));
            }
            (true, Ok(already)) => must!(!already, "{in_words}: {verb} is offered and so already"),
            // What needs a look is offered to whoever has looked.
            (false, Ok(false)) if !ostler_lifecycle::wants_look(record, verb) => {
                return Err(format!("{in_words}: {verb} is possible and not offered"));
            }
            (false, _) => {}
        }
    }
    let ends = record.state == State::Done
        || record
            .operation
            .as_ref()
            .is_some_and(|active| active.verb.strength() >= Verb::Delete.strength());
    must!(ends || can.contains(&Verb::Delete), "{in_words}: it cannot be deleted");
    Ok(())
}

/// Whether it is so already, were it asked.
fn ask(rig: &Rig, verb: Verb) -> Result<bool, Refusal> {
    let lost = verb == Verb::Migrate && rig.state() == State::Unknown;
    let free =
        rig.record.disks.iter().find(|disk| {
            disk.save_as.is_none() && verb != Verb::DiskAttach && verb != Verb::NicAttach
        });
    let free = free.map_or("", |disk| disk.name.as_str());
    let args = match verb {
        Verb::Migrate if lost => Args::Migrate { fenced: true, storage_moved: true },
        Verb::Resize => args(rig, verb, if rig.record.spec.vcpus == 2 { "3" } else { "2" }),
        verb => args(rig, verb, if verb.is_hotplug() { free } else { "" }),
    };
    let request = asked(999, verb, args, elsewhere(rig), false);
    let facts = rig.facts(Some(&request));
    let made = decide(&rig.record, &facts, &ostler_lifecycle::Input::Request(request), rig.now)?;
    Ok(made.answer.is_some_and(|answer| answer.already))
}
