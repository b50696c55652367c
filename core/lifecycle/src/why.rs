//! Tells for what a VM waits, as data. Those who show it make the words and look up the names.

use crate::allowed;
use crate::facts::Facts;
use ostler_model::{
    Active, DriverError, DriverName, Fault, HostId, Item, Lane, OperationId, Phase, Reason, Side,
    State, StepKind, Timestamp, Verb, VmRecord,
};

/// The explanation of a VM: for what it waits, since when, until when, and what can be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// The state and its reason.
    pub summary: Summary,
    /// The events for which it waits; none if it waits for nothing.
    pub waits_for: Vec<WaitsFor>,
    /// Since when.
    pub since: Timestamp,
    /// Until when at the latest.
    pub until: Option<Timestamp>,
    /// The last error.
    pub last_error: Option<LastError>,
    /// The verbs that would be accepted now.
    pub can: Vec<Verb>,
    /// Whether the VM can be moved only as from a lost host: somebody must state that its host is
    /// fenced.
    pub lost: bool,
}

/// The state of a VM and its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Summary {
    /// An operation is under way.
    AtWork {
        /// The state.
        state: State,
        /// The operation.
        operation: OperationId,
        /// Its verb.
        verb: Verb,
        /// Whether it is being rolled back.
        undoing: bool,
        /// The number of the step, from one.
        at: usize,
        /// How many steps there are.
        of: usize,
        /// The step; none at the end.
        step: Option<StepKind>,
    },
    /// No operation is under way.
    AtRest {
        /// The state.
        state: State,
        /// The reason.
        reason: Reason,
        /// The next scheduled action.
        next: Option<(Verb, Timestamp)>,
    },
}

/// A step and where it acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// The step; none at the end.
    pub step: Option<StepKind>,
    /// The part of the VM that it is about.
    pub item: Option<Item>,
    /// The host; none for the daemon's machine.
    pub host: Option<HostId>,
    /// The driver, if it is known.
    pub driver: Option<DriverName>,
}

/// An event for which a VM waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitsFor {
    /// Earlier driver calls to return, before a step begins.
    EarlierCalls {
        /// How many.
        calls: usize,
        /// The step.
        step: Option<StepKind>,
    },
    /// The guest to have booted.
    GuestBooted,
    /// The driver to answer.
    Driver {
        /// The step.
        call: Done,
        /// The number of the attempt.
        attempt: u32,
    },
    /// The next attempt of a step.
    NextAttempt(Done),
    /// A host to show whether a step worked.
    Confirmation {
        /// The host.
        host: Option<HostId>,
        /// The step.
        step: Option<StepKind>,
    },
    /// The guest to switch itself off.
    GuestOff,
    /// The guest to have arrived at a host.
    Arrival {
        /// The host.
        host: Option<HostId>,
    },
    /// The hypervisor to have started the guest.
    Started,
    /// A host to show in which state a failed step left the VM.
    StateAfterFailure {
        /// The host.
        host: Option<HostId>,
    },
    /// A host to answer.
    Answer {
        /// The host.
        host: Option<HostId>,
    },
    /// It to be known where the VM is, after a restore of the store.
    Reconciled,
    /// A person to look at a domain that is newer than this store.
    PersonAtDomain {
        /// The name of the domain.
        domain: String,
        /// Its host.
        host: HostId,
    },
    /// A person to look at the VM's domain.
    PersonAtOwnDomain {
        /// The host of the record.
        host: HostId,
    },
    /// A person to look at the guest.
    PersonAtGuest {
        /// Its host.
        host: HostId,
        /// Whether it crashed. Otherwise it is paused because of an error, and can be resumed.
        crashed: bool,
    },
    /// The scheduler to find a host.
    Scheduler,
    /// The scheduler to move the VM.
    SchedulerMoves,
    /// Somebody to say what becomes of a VM that failed.
    Recovery {
        /// Whether its saved memory could not be restored, so that it can start from its disks.
        cold: bool,
    },
    /// Both hosts of a migration to be seen.
    BothHosts {
        /// The two hosts.
        hosts: [HostId; 2],
    },
    /// A host to be seen.
    Host {
        /// The host.
        host: HostId,
    },
    /// Somebody to resume the VM from its saved memory.
    Resume,
    /// Hosts to be seen, so that what the VM left there is put away.
    Leftovers {
        /// The hosts.
        hosts: Vec<HostId>,
    },
}

/// The last error of a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LastError {
    /// The operation that is under way had it.
    Now(DriverError),
    /// An operation ended with it, and the VM failed.
    Failed {
        /// The operation.
        operation: OperationId,
        /// Its verb.
        verb: Verb,
        /// The step; none at the end.
        step: Option<StepKind>,
        /// Whether the rollback failed, too.
        undoing: bool,
        /// The error.
        error: DriverError,
    },
    /// An earlier operation ended with it, and the VM went on.
    Earlier {
        /// The operation.
        operation: OperationId,
        /// Its verb; none for the creation.
        verb: Option<Verb>,
        /// The step that failed.
        step: Option<StepKind>,
        /// The error.
        error: DriverError,
    },
}

/// Explains `record`, with nothing but the record itself.
#[must_use]
pub fn why(record: &VmRecord) -> Why {
    why_with(record, &allowed::presumed(record, false))
}

/// Explains `record` with the help of `facts`: the abilities of drivers, a look, the answer of the
/// snapshot rules.
#[must_use]
pub fn why_with(record: &VmRecord, facts: &Facts) -> Why {
    let explained = match &record.operation {
        Some(active) => at_work(record, active),
        None => at_rest(record, facts),
    };
    Why { can: allowed::can(record, facts), lost: allowed::lost(record, facts), ..explained }
}

fn at_work(record: &VmRecord, active: &Active) -> Why {
    let (waits_for, until) = waits(record, active);
    Why {
        summary: Summary::AtWork {
            state: record.state,
            operation: active.id,
            verb: active.verb,
            undoing: active.undoing,
            at: (active.at + 1).min(active.plan.len()),
            of: active.plan.len(),
            step: active.kind(),
        },
        waits_for: vec![waits_for],
        since: active.sent.unwrap_or(record.since),
        until,
        last_error: active.error.clone().map(LastError::Now),
        can: Vec::new(),
        lost: false,
    }
}

/// The event for which the current step waits, and until when.
fn waits(record: &VmRecord, active: &Active) -> (WaitsFor, Option<Timestamp>) {
    let step = active.kind();
    let looked_at = step.map_or(Side::Here, StepKind::looked_at);
    let host = |side| record.place(side).map(|place| place.host);
    match &active.phase {
        Phase::Draining => (WaitsFor::EarlierCalls { calls: record.open.len(), step }, None),
        Phase::Delaying { until } => (WaitsFor::GuestBooted, Some(*until)),
        Phase::Calling => (
            WaitsFor::Driver { call: call(record, active), attempt: active.attempt },
            active.deadline,
        ),
        Phase::Backoff { until } => (WaitsFor::NextAttempt(call(record, active)), Some(*until)),
        Phase::Confirming => {
            (WaitsFor::Confirmation { host: host(looked_at), step }, active.deadline)
        }
        Phase::Waiting { .. } if step == Some(StepKind::PressPower) => {
            (WaitsFor::GuestOff, active.deadline)
        }
        Phase::Waiting { .. } if step == Some(StepKind::Migrate) => {
            (WaitsFor::Arrival { host: host(Side::Other) }, active.deadline)
        }
        Phase::Waiting { .. } => (WaitsFor::Started, active.deadline),
        Phase::Settling => (WaitsFor::StateAfterFailure { host: host(Side::Here) }, None),
        Phase::Blind { until, settling } => {
            let side = if *settling { Side::Here } else { looked_at };
            (WaitsFor::Answer { host: host(side) }, Some(*until))
        }
    }
}

/// The call of the current step: the host on which it acts, and the driver through which it acts.
fn call(record: &VmRecord, active: &Active) -> Done {
    let (step, item) = (active.kind(), active.pending.first().cloned());
    let Some(kind) = step else { return Done { step, item, host: None, driver: None } };
    let at_home = matches!(kind, StepKind::CopyOut | StepKind::DropHome);
    let place = record.place(kind.sent_to()).filter(|_| !at_home);
    let driver = match kind.call().lane() {
        Lane::Hypervisor => place.map(|place| &place.driver),
        // The image's datastore may have another driver.
        Lane::Transfer if kind == StepKind::SaveBack => None,
        Lane::Transfer => record.storage.as_ref().map(|storage| &storage.driver),
    };
    Done { step, item, host: place.map(|place| place.host), driver: driver.cloned() }
}

fn at_rest(record: &VmRecord, facts: &Facts) -> Why {
    let last_error = record.failure.as_ref().map(|failure| LastError::Failed {
        operation: failure.operation,
        verb: failure.verb,
        step: failure.plan.get(failure.at).copied(),
        undoing: failure.undoing,
        error: failure.error.clone(),
    });
    let planned = record
        .schedules
        .iter()
        .filter_map(|planned| Some((planned.schedule.verb, planned.try_at()?)));
    Why {
        summary: Summary::AtRest {
            state: record.state,
            reason: record.reason,
            next: planned.min_by_key(|next| next.1),
        },
        waits_for: [rests_for(record, facts), leftovers(record)].into_iter().flatten().collect(),
        since: record.blind_since.unwrap_or(record.since),
        until: None,
        last_error,
        can: Vec::new(),
        lost: false,
    }
}

/// The event for which a VM at rest waits.
fn rests_for(record: &VmRecord, facts: &Facts) -> Option<WaitsFor> {
    let here = record.placement.as_ref().map(|place| place.host);
    if record.is_unreconciled() {
        return Some(WaitsFor::Reconciled);
    }
    if let (State::Unknown, Reason::StoreIsStale, Some(newer)) =
        (record.state, record.reason, &facts.elsewhere)
    {
        return Some(WaitsFor::PersonAtDomain {
            domain: newer.found.seen.name.clone(),
            host: newer.found.host,
        });
    }
    match (record.state, here, record.other()) {
        (State::Pending, ..) => Some(WaitsFor::Scheduler),
        (State::Failed, ..) => {
            let failure = record.failure.as_ref();
            let cold = failure
                .is_some_and(|failure| failure.plan.get(failure.at) == Some(&StepKind::Restore));
            Some(WaitsFor::Recovery { cold })
        }
        (State::Unknown, Some(here), Some(other)) => {
            Some(WaitsFor::BothHosts { hosts: [here, other.host] })
        }
        (State::Unknown, Some(host), None) => Some(match record.reason.fault() {
            Some(Fault::NotOurs) => WaitsFor::PersonAtOwnDomain { host },
            Some(Fault::StandsStill) => WaitsFor::PersonAtGuest { host, crashed: false },
            Some(Fault::Crashed) => WaitsFor::PersonAtGuest { host, crashed: true },
            None => WaitsFor::Host { host },
        }),
        (State::Suspended, ..)
            if record.reason == Reason::StepFailed && record.usable_recovery().is_some() =>
        {
            Some(WaitsFor::Resume)
        }
        (_, Some(_), _) if record.resched => Some(WaitsFor::SchedulerMoves),
        (_, _, _) => None,
    }
}

/// The hosts on which leftovers of the VM are still to be swept.
fn leftovers(record: &VmRecord) -> Option<WaitsFor> {
    let hosts: Vec<HostId> = record.leftovers.iter().map(|left| left.place.host).collect();
    (!hosts.is_empty()).then_some(WaitsFor::Leftovers { hosts })
}
