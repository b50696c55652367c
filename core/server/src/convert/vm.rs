//! VMs.

use super::schedule::schedule;
use super::{complaint, said, spec_to_wire, time};
use crate::words;
use ostler_api as wire;
use ostler_driver::DomainMetrics;
use ostler_engine::{Explained, Preview, Waits, WaitsFor};
use ostler_model::{
    Active, DatastoreId, Destroyed, DiskState, Hint, HistoryEntry, HostId, ImageId, Leftover,
    Phase, Placement, ScheduleId, Snapshot, StepKind, Verb, VmRecord,
};
use ostler_store::{Reader, VmSummary};
use std::borrow::Cow;
use std::collections::HashMap;

/// The names of hosts, datastores and images whose ids are in records. Each answer makes its own,
/// because the names are few and their rows small.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Of hosts.
    pub(crate) hosts: HashMap<HostId, String>,
    /// Of datastores.
    pub(crate) datastores: HashMap<DatastoreId, String>,
    /// Of images.
    pub(crate) images: HashMap<ImageId, String>,
    /// Why scheduled actions were not done, in words.
    pub(crate) not_done: HashMap<ScheduleId, String>,
}

impl Names {
    pub(crate) fn host(&self, id: HostId) -> String {
        self.hosts.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }
}

/// A VM as a line of a list.
pub(crate) fn vm_summary(summary: VmSummary, names: &Names) -> wire::VmSummary {
    wire::VmSummary {
        id: summary.id.0,
        name: summary.name.into(),
        state: said(summary.state),
        owner: summary.owner,
        host: summary.host.map(|host| names.host(host)),
        cpu: wire::CpuMilli(summary.cpu_milli.into()),
        memory: wire::Size(summary.memory_mib),
        memory_bytes: wire::Size(summary.memory_mib).bytes(),
        created: time(summary.created),
        since: time(summary.since),
        version: summary.version.0,
    }
}

/// A VM in full.
pub(crate) fn vm(record: &VmRecord, names: &Names) -> wire::Vm {
    let datastore = record.storage.as_ref().map(|storage| storage.datastore);
    wire::Vm {
        id: record.id.0,
        uuid: record.uuid.to_string(),
        name: record.spec.name.to_string(),
        owner: record.owner.clone(),
        state: said(record.state),
        since: time(record.since),
        reason: said(record.reason),
        created: time(record.created),
        version: record.version.0,
        spec: spec_to_wire(&record.spec),
        placement: record.placement.as_ref().map(|place| placed(place, record, names)),
        moving: record.other().map(|place| moving(place, record, names)),
        resched: record.resched,
        leftovers: record.leftovers.iter().map(|left| leftover(left, names)).collect(),
        datastore: datastore
            .map(|id| names.datastores.get(&id).cloned().unwrap_or_else(|| id.to_string())),
        disks: record.disks.iter().map(|disk| disk_now(disk, record, names)).collect(),
        nics: nics(record),
        operation: record.operation.as_ref().map(active),
        failure: record.failure.as_ref().map(failure),
        running_since: record.running_since.map(time),
        seen: record.seen.as_ref().map(|seen| seen.what.clone()),
        snapshots: record.snapshots.iter().map(snapshot).collect(),
        schedules: record.schedules.iter().map(|planned| schedule(planned, names)).collect(),
        history: record.history.iter().map(|entry| history(entry, names)).collect(),
    }
}

fn placed(place: &Placement, record: &VmRecord, names: &Names) -> wire::Placed {
    wire::Placed {
        host_id: place.host.0,
        host: names.host(place.host),
        driver: place.driver.to_string(),
        domain: record.domain_name(),
        generation: place.generation.0,
        since: time(place.since),
    }
}

/// A VM that moves has two placements, and `other` is one of them: before the switch it is the
/// target, after the switch the source. The target has the higher generation.
fn moving(other: &Placement, record: &VmRecord, names: &Names) -> wire::Moving {
    let here = record.placement.as_ref().map(|place| place.generation);
    wire::Moving {
        direction: if here.is_some_and(|here| here > other.generation) { "from" } else { "to" }
            .to_owned(),
        host_id: other.host.0,
        host: names.host(other.host),
        generation: other.generation.0,
        since: time(other.since),
    }
}

fn leftover(left: &Leftover, names: &Names) -> wire::Leftover {
    wire::Leftover {
        host_id: left.place.host.0,
        host: names.host(left.place.host),
        driver: left.place.driver.to_string(),
        generation: left.place.generation.0,
        files: left.files,
    }
}

fn nics(record: &VmRecord) -> Vec<wire::NicNow> {
    let now = |(at, nic): (usize, &ostler_model::NicSpec)| wire::NicNow {
        bridge: nic.bridge.clone(),
        mac: record.mac_of(at).into(),
    };
    record.spec.nics.iter().enumerate().map(now).collect()
}

fn disk_now(disk: &DiskState, record: &VmRecord, names: &Names) -> wire::DiskNow {
    let own = || format!("vms/{}/{}", record.folder(), disk.file);
    let becomes = disk.save_as.as_ref().map(|new| new.image);
    wire::DiskNow {
        name: disk.name.to_string(),
        file: disk.adopted.as_ref().map_or_else(own, ToString::to_string),
        format: said(disk.format),
        image: disk.image.map(|image| image.0),
        becomes: becomes.map(|id| names.images.get(&id).cloned().unwrap_or_else(|| id.to_string())),
        adopted: disk.adopted.is_some(),
    }
}

fn active(active: &Active) -> wire::ActiveOperation {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    wire::ActiveOperation {
        id: active.id.0,
        verb: said(active.verb),
        step: active.kind().map(said),
        done: count(active.at),
        of: count(active.plan.len()),
        phase: Cow::Borrowed(phase(&active.phase)),
        attempt: active.attempt,
        deadline: active.deadline.map(time),
        undoing: active.undoing,
        error: active.error.as_ref().map(complaint),
    }
}

const fn phase(phase: &Phase) -> &'static str {
    match phase {
        Phase::Draining => "draining",
        Phase::Delaying { .. } => "delaying",
        Phase::Calling => "calling",
        Phase::Backoff { .. } => "backoff",
        Phase::Confirming => "confirming",
        Phase::Waiting { .. } => "waiting",
        Phase::Settling => "settling",
        Phase::Blind { .. } => "blind",
    }
}

fn failure(failure: &ostler_model::Failure) -> wire::Failure {
    wire::Failure {
        operation: failure.operation.0,
        verb: said(failure.verb),
        step: failure.plan.get(failure.at).copied().map(said),
        error: complaint(&failure.error),
        when: time(failure.when),
    }
}

/// Counters.
pub(crate) fn counters(counted: DomainMetrics) -> wire::Counters {
    wire::Counters {
        counted: true,
        cpu_ns: counted.cpu_ns,
        memory_kib: counted.memory_kib,
        disk_read: counted.disk_read,
        disk_written: counted.disk_written,
        net_rx: counted.net_rx,
        net_tx: counted.net_tx,
    }
}

/// A snapshot.
pub(crate) fn snapshot(snapshot: &Snapshot) -> wire::SnapshotEntry {
    wire::SnapshotEntry {
        name: snapshot.name.to_string(),
        label: snapshot.label.clone(),
        made: time(snapshot.made),
        hidden: snapshot.hidden,
        losing: snapshot.losing,
    }
}

fn history(entry: &HistoryEntry, names: &Names) -> wire::HistoryEntry {
    wire::HistoryEntry {
        host: names.host(entry.host),
        from: time(entry.from),
        begun_by: entry.begun_by.map(said),
        generation: entry.generation.0,
        to: entry.to.map(time),
        ended_by: entry.ended_by.map(said),
        cpu: wire::CpuMilli(entry.capacity.cpu_milli),
        memory: wire::Size(entry.capacity.memory_mib),
        memory_bytes: wire::Size(entry.capacity.memory_mib).bytes(),
    }
}

/// The explanation of what a VM waits for. `unseen` says that its host does not answer.
pub(crate) fn why(
    explained: Explained,
    name: String,
    unseen: Option<String>,
    reader: &Reader,
) -> wire::Why {
    let Explained { vm, why, progress, queued, scheduler } = explained;
    let possible = |verb: &Verb| wire::Possible {
        verb: verb.to_string(),
        fenced: why.lost && *verb == Verb::Migrate,
    };
    let possible: Vec<wire::Possible> = why.can.iter().map(possible).collect();
    let restored = why.waits_for.contains(&WaitsFor::Reconciled);
    wire::Why {
        vm: vm.0,
        name,
        summary: words::summary(&why.summary),
        waits_for: words::waits_for(reader, &why.waits_for, progress.as_ref(), queued),
        since: time(why.since),
        until: why.until.map(time),
        last_error: why.last_error.as_ref().map(words::last_error),
        unseen,
        advice: restored
            .then(|| wire::Advice { vm: Some(vm.0), ..words::advice(&Hint::SeeRestored, None) }),
        can: possible.iter().map(wire::Possible::command).collect(),
        possible,
        scheduler: scheduler.iter().map(|line| words::waits(reader, line)).collect(),
    }
}

/// Something that is removed for good.
pub(crate) fn destroyed(what: &Destroyed) -> wire::Destroyed {
    let (kind, name, label, hidden) = match what {
        Destroyed::Disk { name } => ("disk", Some(name.to_string()), None, false),
        Destroyed::Memory => ("memory", None, None, false),
        Destroyed::Snapshot { name, label, hidden } => {
            ("snapshot", Some(name.to_string()), Some(label), *hidden)
        }
        Destroyed::Changes { since, label } => {
            ("changes", Some(since.to_string()), Some(label), false)
        }
    };
    let label = label.filter(|label| !label.is_empty()).cloned();
    wire::Destroyed { kind: kind.to_owned(), name, label, hidden }
}

/// The preview of a request: what it would do.
pub(crate) fn preview(preview: Preview, reader: &Reader) -> wire::PlanPreview {
    let refused = preview.refused;
    let (hint, advice) = refused.as_ref().map(words::of_refusal).unzip();
    wire::PlanPreview {
        allowed: refused.is_none(),
        code: refused.as_ref().map(|refusal| refusal.kind.to_string()),
        hint,
        advice,
        refused: refused.as_ref().map(|refusal| words::refusal(reader, refusal)),
        in_words: preview
            .steps
            .iter()
            .map(|step| {
                step.parse().map_or_else(|_| step.clone(), |kind: StepKind| kind.words().to_owned())
            })
            .collect(),
        changes: Vec::new(),
        states: preview.states,
        steps: preview.steps,
        overtakes: preview.overtakes.map(|operation| operation.0),
        loses: preview.loses,
        hides: preview.hides,
        destroys: preview.destroys.iter().map(destroyed).collect(),
        scheduler: preview.scheduler.iter().map(|line| foreseen(reader, line)).collect(),
    }
}

/// A line of the scheduler about a VM that does not exist yet.
fn foreseen(reader: &Reader, line: &Waits) -> String {
    let words = words::waits(reader, line);
    if *line == Waits::NoStorage { format!("it would wait: {words}") } else { words }
}

/// The preview of an adoption.
pub(crate) fn adoption(changes: Vec<String>, accepted: bool) -> wire::PlanPreview {
    let allowed = accepted || changes.is_empty();
    let refused =
        (!allowed).then(|| "from its next start on it would be another machine".to_owned());
    wire::PlanPreview {
        allowed,
        code: refused.as_ref().map(|_| ostler_api::code::UNUSABLE.to_string()),
        hint: refused.as_ref().map(|_| words::hint(&Hint::AcceptChanges, None)),
        advice: refused.as_ref().map(|_| words::advice(&Hint::AcceptChanges, None)),
        refused,
        changes,
        states: Vec::new(),
        steps: allowed.then(|| StepKind::Stamp.to_string()).into_iter().collect(),
        overtakes: None,
        loses: Vec::new(),
        hides: Vec::new(),
        in_words: allowed.then(|| StepKind::Stamp.words().to_owned()).into_iter().collect(),
        destroys: Vec::new(),
        scheduler: Vec::new(),
    }
}
