//! What a VM waits for, in words.

use ostler_model::{Active, Phase, Reason, State, StepKind, Timestamp, VmRecord};

/// What is waited for, since when, until when, and what can be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// The state and its reason, in a sentence.
    pub summary: String,
    /// What is waited for; none in a state of rest.
    pub waits_for: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// Until when at the latest.
    pub until: Option<Timestamp>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// What an operator can do: verbs, in the words of the command line.
    pub can: Vec<String>,
}

/// Explains `record`.
#[must_use]
pub fn why(record: &VmRecord) -> Why {
    match &record.operation {
        Some(active) => at_work(record, active),
        None => at_rest(record),
    }
}

fn at_work(record: &VmRecord, active: &Active) -> Why {
    let step = active.kind().map_or_else(|| "the end".to_owned(), |kind| words(kind).to_owned());
    let rolling = if active.undoing { " (rolling back)" } else { "" };
    let place = record
        .placement
        .as_ref()
        .map(|place| format!(" on host {} through driver {}", place.host, place.driver))
        .unwrap_or_default();
    let item = active.pending.first().map(|item| format!(" [{item}]")).unwrap_or_default();
    let (waits_for, until) = match &active.phase {
        Phase::Draining => (format!("{} earlier driver call(s) to return before {step}", record.open.len()), None),
        Phase::Delaying { until } => ("the guest to have booted, because a press during boot is lost".to_owned(), Some(*until)),
        Phase::Calling => (format!("the driver to answer: {step}{item}{place}, attempt {}", active.attempt), active.deadline),
        Phase::Backoff { until } => (format!("the next attempt of: {step}{item}{place}"), Some(*until)),
        Phase::Confirming => (format!("a look at the host, to know what came of: {step}"), active.deadline),
        Phase::Waiting { .. } if active.kind() == Some(StepKind::PressPower) => {
            ("the guest to switch itself off; the power button was pressed once".to_owned(), active.deadline)
        }
        Phase::Waiting { .. } => ("the hypervisor to have started it".to_owned(), active.deadline),
        Phase::Settling => ("a look at the host, to know which state the failed step leaves".to_owned(), None),
        Phase::Blind { until, .. } => ("the host to answer: it could not be asked".to_owned(), Some(*until)),
    };
    let mut can = vec!["recover --retry".to_owned(), "delete".to_owned()];
    if matches!(active.kind(), Some(StepKind::PressPower | StepKind::Reboot)) {
        can.insert(0, format!("{} --hard", active.verb));
    }
    Why {
        summary: format!(
            "{}: operation {} ({}){rolling}, step {} of {}: {step}",
            record.state,
            active.id,
            active.verb,
            active.at + 1,
            active.plan.len()
        ),
        waits_for: Some(waits_for),
        since: active.sent.unwrap_or(record.since),
        until,
        last_error: active.error.as_ref().map(ToString::to_string),
        can,
    }
}

fn at_rest(record: &VmRecord) -> Why {
    let can: Vec<&str> = match record.state {
        State::Pending => vec!["deploy --host HOST", "hold", "delete"],
        State::Hold => vec!["release", "deploy --host HOST", "delete"],
        State::Running => vec!["suspend", "stop", "poweroff", "undeploy", "shutdown", "reboot", "delete"],
        State::Stopped | State::Undeployed => vec!["resume", "shutdown", "delete"],
        State::Suspended => vec!["resume", "stop", "shutdown", "delete"],
        State::Poweroff => vec!["resume", "undeploy", "shutdown", "delete"],
        State::Failed => vec!["recover --retry", "recover --success", "recover --undo", "delete", "delete --recreate"],
        State::Unknown => vec!["resume (once it is seen off)", "poweroff --hard", "delete"],
        State::Done => vec![],
        State::Prolog
        | State::Boot
        | State::Migrate
        | State::Hotplug
        | State::Snapshot
        | State::Save
        | State::Epilog
        | State::Shutdown => vec!["delete"],
    };
    let failure = record.failure.as_ref().map(|failure| {
        let step = failure.plan.get(failure.at).map_or("its end", |kind| words(*kind));
        format!("operation {} ({}) failed while {step}: {}", failure.operation, failure.verb, failure.error)
    });
    let waits_for = match record.state {
        State::Pending => Some("the scheduler to find a host".to_owned()),
        State::Unknown => Some("its host to be seen".to_owned()),
        State::Hold
        | State::Prolog
        | State::Boot
        | State::Running
        | State::Migrate
        | State::Hotplug
        | State::Snapshot
        | State::Save
        | State::Epilog
        | State::Shutdown
        | State::Stopped
        | State::Suspended
        | State::Poweroff
        | State::Undeployed
        | State::Failed
        | State::Done => None,
    };
    Why {
        summary: format!("{}: {}", record.state, because(record.reason)),
        waits_for,
        since: record.blind_since.unwrap_or(record.since),
        until: None,
        last_error: failure,
        can: can.into_iter().map(str::to_owned).collect(),
    }
}

/// A reason in words.
const fn because(reason: Reason) -> &'static str {
    match reason {
        Reason::Asked => "as asked",
        Reason::Guest => "the guest switched itself off",
        Reason::Crashed => "the hypervisor's process died",
        Reason::DestroyedOutside => "it was switched off outside of Ostler",
        Reason::StartedOutside => "it was started outside of Ostler",
        Reason::External => "it was paused at the hypervisor; there is no recovery file",
        Reason::IoError => "the guest stands still because a disk failed",
        Reason::Watchdog => "the guest's watchdog bit",
        Reason::GuestCrashed => "the guest crashed and is kept to be looked at",
        Reason::CannotAsk => "its host could not be asked",
        Reason::StoreIsStale => "a generation at the host does not fit this store (an old backup?); nothing is touched",
        Reason::Foreign => "a domain of its UUID is there that this store did not make; nothing is touched",
        Reason::StepFailed => "a step failed",
        Reason::SeenAgain => "it is seen again",
    }
}

/// A step in words.
const fn words(kind: StepKind) -> &'static str {
    match kind {
        StepKind::PrepareDisks => "making its disks",
        StepKind::CopyIn => "copying its files to the host",
        StepKind::DropHome => "removing its files at the front end",
        StepKind::Boot => "starting it",
        StepKind::Restore => "restoring its memory",
        StepKind::Unpause => "letting it run on",
        StepKind::DropRecovery => "removing the used recovery file",
        StepKind::PressPower => "pressing its power button",
        StepKind::PowerOff => "switching it off",
        StepKind::Save => "writing its memory out",
        StepKind::Remove => "removing its domain",
        StepKind::CopyOut => "copying its files to the front end",
        StepKind::DropHost => "removing its files on the host",
        StepKind::Reboot => "asking the guest to reboot",
        StepKind::Reset => "pressing reset",
        StepKind::CopyAcross => "copying its files to the other host",
        StepKind::PrepareOther => "making its disks on the other host",
        StepKind::Migrate => "moving it, running, to the other host",
        StepKind::Switch => "changing hosts",
        StepKind::RemoveOther => "removing its domain from the other host",
        StepKind::DropOther => "removing its files from the other host",
        StepKind::AttachDisk => "plugging the disk in",
        StepKind::DetachDisk => "unplugging the disk; the guest must let go of it",
        StepKind::DropDisk => "removing the disk's file",
        StepKind::AttachNic => "plugging the network card in",
        StepKind::DetachNic => "unplugging the network card; the guest must let go of it",
        StepKind::CopyDisk => "copying the disk into an image while it is in use",
        StepKind::SaveBack => "saving disks as images",
        StepKind::Resize => "changing its CPUs and memory while it runs",
        StepKind::CreateSnapshot => "making the snapshot",
        StepKind::RevertSnapshot => "going back to the snapshot",
        StepKind::DeleteSnapshot => "removing snapshots",
        StepKind::Stamp => "writing our identity into the domain",
    }
}
