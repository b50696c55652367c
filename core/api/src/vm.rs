//! VMs: the request that creates one, the record as clients see it, and what it waits for.

use crate::{Advice, CpuMilli, DriverComplaint, Possible, Size, Time, VmSpec};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;
use utoipa::ToSchema;

/// The body of `POST /v1/vms`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateVm {
    /// The specification of the VM.
    pub spec: VmSpec,
    /// Whether the VM begins on hold, so that the scheduler does not place it.
    #[serde(default)]
    pub hold: bool,
}

/// A VM in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VmSummary {
    /// The VM's id.
    pub id: u64,
    /// The VM's name.
    pub name: String,
    /// The VM's state.
    #[schema(value_type = String)]
    pub state: Cow<'static, str>,
    /// The name of its owner.
    pub owner: String,
    /// The host that it is placed on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// CPUs that are reserved for it.
    pub cpu: CpuMilli,
    /// Memory of the guest.
    pub memory: Size,
    /// `memory` in bytes.
    #[serde(default)]
    pub memory_bytes: u64,
    /// When it was created.
    pub created: Time,
    /// Since when it is in this state.
    pub since: Time,
    /// The record's version.
    pub version: u64,
}

/// A page of VMs, ordered by id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VmPage {
    /// The VMs.
    pub vms: Vec<VmSummary>,
    /// The start of the next page: send it as `after`. None: this is the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
    /// The number of the newest event that this page includes. A client that watches events from
    /// here misses nothing.
    pub seq: u64,
}

/// A VM in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Vm {
    /// The VM's id.
    pub id: u64,
    /// The VM's UUID, by which hypervisors know it.
    pub uuid: String,
    /// The VM's name.
    pub name: String,
    /// The name of its owner.
    pub owner: String,
    /// The VM's state.
    #[schema(value_type = String)]
    pub state: Cow<'static, str>,
    /// Since when it is in this state.
    pub since: Time,
    /// The reason of the state.
    #[schema(value_type = String)]
    pub reason: Cow<'static, str>,
    /// When it was created.
    pub created: Time,
    /// The record's version. It is the ETag, too.
    pub version: u64,
    /// The specification of the VM.
    pub spec: VmSpec,
    /// The host that it is placed on. None while it has no place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placed>,
    /// The other host of a migration. None while it does not move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moving: Option<Moving>,
    /// Whether the scheduler is asked to move it to another host.
    #[serde(default)]
    pub resched: bool,
    /// Hosts that the VM has left and that were not seen empty since. They are swept when they
    /// answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leftovers: Vec<Leftover>,
    /// The system datastore that holds its files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datastore: Option<String>,
    /// Its disks as they are now. Empty before the first placement.
    #[serde(default)]
    pub disks: Vec<DiskNow>,
    /// Its network cards with their addresses.
    #[serde(default)]
    pub nics: Vec<NicNow>,
    /// The operation in progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<ActiveOperation>,
    /// The last failure, while the state is `failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// When the guest was last seen to have started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_since: Option<Time>,
    /// The state of the domain as the hypervisor showed it last, in a word or two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<String>,
    /// Its system snapshots.
    #[serde(default)]
    pub snapshots: Vec<SnapshotEntry>,
    /// Its scheduled actions, and how they went.
    #[serde(default)]
    pub schedules: Vec<ScheduleEntry>,
    /// The hosts that it has been on.
    #[serde(default)]
    pub history: Vec<HistoryEntry>,
}

/// The place of a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Placed {
    /// The host's id.
    pub host_id: u32,
    /// The host's name.
    pub host: String,
    /// The name of the hypervisor driver.
    pub driver: String,
    /// The name of its domain at the hypervisor.
    pub domain: String,
    /// The placement's generation.
    pub generation: u64,
    /// Since when the VM has this place.
    pub since: Time,
}

/// The other host of a VM that moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Moving {
    /// `to`: the VM moves to that host. `from`: it has arrived, and that host is the one it came
    /// from.
    pub direction: String,
    /// The host's id.
    pub host_id: u32,
    /// The host's name.
    pub host: String,
    /// The generation of the VM's placement there.
    pub generation: u64,
    /// Since when the VM has its placement there.
    pub since: Time,
}

/// A host that a VM has left and that was not seen empty since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Leftover {
    /// The host's id.
    pub host_id: u32,
    /// The host's name. If the host is gone: its id.
    pub host: String,
    /// The name of the hypervisor driver.
    pub driver: String,
    /// The generation of the VM's placement there.
    pub generation: u64,
    /// Whether files may be left there, too.
    pub files: bool,
}

/// A network card as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NicNow {
    /// The host's bridge that the card is plugged into.
    pub bridge: String,
    /// The card's MAC address.
    pub mac: String,
}

/// A disk as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DiskNow {
    /// The disk's name.
    pub name: String,
    /// Its file, below the datastore's root.
    pub file: String,
    /// The file's format.
    #[schema(value_type = String)]
    pub format: Cow<'static, str>,
    /// The id of the image that the disk is based on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<u32>,
    /// The name of the image that the disk is saved as when the VM is shut down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub becomes: Option<String>,
    /// Whether the file is older than the VM. Such a file is never removed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
}

/// The operation in progress. A VM has at most one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ActiveOperation {
    /// The operation's id.
    pub id: u64,
    /// The verb.
    #[schema(value_type = String)]
    pub verb: Cow<'static, str>,
    /// The current step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub step: Option<Cow<'static, str>>,
    /// How many steps are done.
    pub done: u32,
    /// How many steps there are in all.
    pub of: u32,
    /// The phase of the current step, in a word.
    #[schema(value_type = String)]
    pub phase: Cow<'static, str>,
    /// How often the current call was sent.
    pub attempt: u32,
    /// When the current step counts as failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Time>,
    /// Whether the operation is rolling back.
    #[serde(default)]
    pub undoing: bool,
    /// The last error of the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<DriverComplaint>,
}

/// A failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    /// The id of the operation that failed.
    pub operation: u64,
    /// The verb.
    #[schema(value_type = String)]
    pub verb: Cow<'static, str>,
    /// The step that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub step: Option<Cow<'static, str>>,
    /// The driver's error.
    pub error: DriverComplaint,
    /// When it failed.
    pub when: Time,
}

/// A system snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotEntry {
    /// The snapshot's name.
    pub name: String,
    /// The label that its maker gave it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// When the snapshot was made.
    pub made: Time,
    /// Whether the snapshot is no longer offered.
    pub hidden: bool,
    /// Whether the operation in progress removes it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub losing: bool,
}

/// A scheduled action, which is due once or again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScheduleEntry {
    /// The action's id within the VM. An id is never used again.
    pub id: u32,
    /// The verb.
    #[schema(value_type = String)]
    pub verb: Cow<'static, str>,
    /// The body of that verb.
    #[schema(value_type = Object)]
    pub args: Value,
    /// The time, as it was written.
    pub when: String,
    /// The time zone of `when`.
    pub zone: String,
    /// How to treat a run that is late.
    pub misfire: String,
    /// The earliest moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Time>,
    /// The latest moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// The largest number of runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// The name of the token that made it; `local` over the unix socket.
    pub by: String,
    /// When it is due next. None if it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Time>,
    /// The moment of `next`, as clocks of the zone show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_local: Option<String>,
    /// When it is asked again, because the VM was busy when it was due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Time>,
    /// How often it was due and was begun or refused.
    pub fired: u32,
    /// How it went last: `waiting` (never due so far), `running`, `done` or `failed` (or missed).
    pub last: String,
    /// The moment of `last`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_at: Option<Time>,
    /// The operation of `last`. None for `waiting` and `failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<u64>,
    /// The reason of the failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A stay of a VM on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HistoryEntry {
    /// The host's name. If the host is gone: its id.
    pub host: String,
    /// When the stay began.
    pub from: Time,
    /// The verb that brought the VM there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub begun_by: Option<Cow<'static, str>>,
    /// The generation of the VM's placement there.
    #[serde(default)]
    pub generation: u64,
    /// When the stay ended. None while the VM is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Time>,
    /// The verb that ended the stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub ended_by: Option<Cow<'static, str>>,
    /// CPUs that the VM held there.
    pub cpu: CpuMilli,
    /// Memory that the VM held there.
    pub memory: Size,
    /// `memory` in bytes.
    #[serde(default)]
    pub memory_bytes: u64,
}

/// What a VM waits for, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Why {
    /// The VM's id.
    pub vm: u64,
    /// The VM's name.
    #[serde(default)]
    pub name: String,
    /// The state and its reason, in a sentence.
    pub summary: String,
    /// What the VM waits for. None if its state is a state of rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// Since when.
    pub since: Time,
    /// The latest moment until which it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// The last error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// A note that the VM's host does not answer. Then the state is the one that was seen last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unseen: Option<String>,
    /// What to do about what it waits for, for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<Advice>,
    /// The verbs that would be accepted now.
    #[serde(default)]
    pub possible: Vec<Possible>,
    /// The same as `possible`, in the words of the command line.
    pub can: Vec<String>,
    /// For a pending VM: the last answer of the scheduler, one line per host.
    #[serde(default)]
    pub scheduler: Vec<String>,
}

/// The answer of the snapshot rules that apply to a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotAdvice {
    /// The VM's snapshots.
    pub snapshots: Vec<SnapshotEntry>,
    /// The name of the driver whose rules were asked.
    pub rules: String,
    /// Whether a snapshot may be made now.
    pub allowed: bool,
    /// The reason if not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// The resources that a running VM uses. Its hypervisor counts since the VM started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counters {
    /// Whether there are numbers. There are if the VM runs and its driver can count.
    pub counted: bool,
    /// CPU time used, in nanoseconds.
    pub cpu_ns: u64,
    /// Memory used now, in KiB.
    pub memory_kib: u64,
    /// Bytes read from disks.
    pub disk_read: u64,
    /// Bytes written to disks.
    pub disk_written: u64,
    /// Bytes received by NICs.
    pub net_rx: u64,
    /// Bytes sent by NICs.
    pub net_tx: u64,
}

/// A part of a VM's serial console log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConsoleChunk {
    /// The offset of the text, in bytes from the start of the log.
    pub from: u64,
    /// The offset of the next part: send it as `from`.
    pub next: u64,
    /// The length of the log now, in bytes.
    pub size: u64,
    /// The text. Bytes that are not UTF-8 are replaced.
    pub text: String,
}
