//! VMs: what is asked for, what is there, and why.

use crate::{CpuMilli, DriverComplaint, Size, Time, VmSpec};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;
use utoipa::ToSchema;

/// The body of `POST /v1/vms`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateVm {
    /// What it is to be.
    pub spec: VmSpec,
    /// Whether the scheduler leaves it alone at first.
    #[serde(default)]
    pub hold: bool,
}

/// A VM in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VmSummary {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Its state.
    #[schema(value_type = String)]
    pub state: Cow<'static, str>,
    /// Who it belongs to.
    pub owner: String,
    /// The host it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// CPUs reserved.
    pub cpu: CpuMilli,
    /// Memory.
    pub memory: Size,
    /// The same in bytes.
    #[serde(default)]
    pub memory_bytes: u64,
    /// When it was created.
    pub created: Time,
    /// Since when it is in its state.
    pub since: Time,
    /// The record's version.
    pub version: u64,
}

/// A page of VMs, by rising id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VmPage {
    /// The VMs.
    pub vms: Vec<VmSummary>,
    /// Where the next page begins: hand it in as `after`. None: this was the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
    /// The event sequence at which this page is true: watch from here and nothing is missed.
    pub seq: u64,
}

/// A VM in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Vm {
    /// Its id.
    pub id: u64,
    /// As hypervisors know it.
    pub uuid: String,
    /// Its name.
    pub name: String,
    /// Who it belongs to.
    pub owner: String,
    /// Its state.
    #[schema(value_type = String)]
    pub state: Cow<'static, str>,
    /// Since when.
    pub since: Time,
    /// Why.
    #[schema(value_type = String)]
    pub reason: Cow<'static, str>,
    /// When it was created.
    pub created: Time,
    /// The record's version; also the ETag.
    pub version: u64,
    /// What it is to be.
    pub spec: VmSpec,
    /// Its place, while it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placed>,
    /// The other host of a migration, while it moves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moving: Option<Moving>,
    /// Whether the scheduler is asked to move it to another host.
    #[serde(default)]
    pub resched: bool,
    /// Hosts that it has left without their being seen empty; they are swept when they are seen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leftovers: Vec<Leftover>,
    /// The system datastore its files are in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datastore: Option<String>,
    /// Its disks as they are; empty before the first placement.
    #[serde(default)]
    pub disks: Vec<DiskNow>,
    /// Its network cards, with the addresses they have.
    #[serde(default)]
    pub nics: Vec<NicNow>,
    /// What is being done to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<ActiveOperation>,
    /// What failed last, while its state is `failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// When the guest was last seen to have started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_since: Option<Time>,
    /// The last fact seen at the hypervisor, in a word or two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<String>,
    /// Its system snapshots.
    #[serde(default)]
    pub snapshots: Vec<SnapshotEntry>,
    /// What is to be done later, and how it went.
    #[serde(default)]
    pub schedules: Vec<ScheduleEntry>,
    /// Where it has been.
    #[serde(default)]
    pub history: Vec<HistoryEntry>,
}

/// Where a VM has its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Placed {
    /// The host's id.
    pub host_id: u32,
    /// The host's name.
    pub host: String,
    /// The hypervisor driver.
    pub driver: String,
    /// The name of its domain at the hypervisor.
    pub domain: String,
    /// The placement's generation.
    pub generation: u64,
    /// Since when.
    pub since: Time,
}

/// The other host of a VM that moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Moving {
    /// `to` that host, or `from` it once it has arrived.
    pub direction: String,
    /// The host's id.
    pub host_id: u32,
    /// The host's name.
    pub host: String,
    /// The generation it has there.
    pub generation: u64,
    /// Since when.
    pub since: Time,
}

/// A host that a VM has left without its being seen empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Leftover {
    /// The host's id.
    pub host_id: u32,
    /// The host's name, or its id if it is gone.
    pub host: String,
    /// The hypervisor driver.
    pub driver: String,
    /// The generation it was there under.
    pub generation: u64,
    /// Whether files may be there, too.
    pub files: bool,
}

/// A network card as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NicNow {
    /// The host's bridge it is plugged into.
    pub bridge: String,
    /// Its address.
    pub mac: String,
}

/// A disk as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DiskNow {
    /// Its name.
    pub name: String,
    /// Its file, below the datastore's root.
    pub file: String,
    /// Its format.
    #[schema(value_type = String)]
    pub format: Cow<'static, str>,
    /// The image below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<u32>,
    /// The image it becomes when the VM is shut down, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub becomes: Option<String>,
    /// Whether the file was there before the VM was: it is never removed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
}

/// The operation that holds a VM's one slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ActiveOperation {
    /// Its id.
    pub id: u64,
    /// What was asked.
    #[schema(value_type = String)]
    pub verb: Cow<'static, str>,
    /// The step in hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub step: Option<Cow<'static, str>>,
    /// How far: steps done, and steps in all.
    pub done: u32,
    /// Steps in all.
    pub of: u32,
    /// Where the step stands, in a word.
    #[schema(value_type = String)]
    pub phase: Cow<'static, str>,
    /// How often the item in hand was sent.
    pub attempt: u32,
    /// When the step counts as failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Time>,
    /// Whether it rolls back what went before.
    #[serde(default)]
    pub undoing: bool,
    /// What the step last ended with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<DriverComplaint>,
}

/// What failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    /// The operation.
    pub operation: u64,
    /// What was asked.
    #[schema(value_type = String)]
    pub verb: Cow<'static, str>,
    /// The step that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub step: Option<Cow<'static, str>>,
    /// What the driver said.
    pub error: DriverComplaint,
    /// When.
    pub when: Time,
}

/// A system snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotEntry {
    /// Its name.
    pub name: String,
    /// What its maker calls it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// When it was made.
    pub made: Time,
    /// Whether it is no longer offered.
    pub hidden: bool,
    /// Whether the operation in hand removes it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub losing: bool,
}

/// Something that is to be done later, once or again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScheduleEntry {
    /// Its id within the VM; never used again.
    pub id: u32,
    /// What is asked of the VM.
    #[schema(value_type = String)]
    pub verb: Cow<'static, str>,
    /// With what: that verb's body.
    #[schema(value_type = Object)]
    pub args: Value,
    /// When, as it was written.
    pub when: String,
    /// The time zone whose clocks that goes by.
    pub zone: String,
    /// What becomes of it if it is late.
    pub misfire: String,
    /// Not before this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Time>,
    /// Not after this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// How often at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// Who made it.
    pub by: String,
    /// When it is due next; none if it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Time>,
    /// The same, as clocks of the zone show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_local: Option<String>,
    /// The VM was busy when it was due: it is asked again then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Time>,
    /// How often it was due and begun, or refused.
    pub fired: u32,
    /// How it went last: `waiting` (for the first time), `running`, `done` or `failed` (or missed).
    pub last: String,
    /// When that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_at: Option<Time>,
    /// The operation that was, or is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<u64>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// One stay on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HistoryEntry {
    /// The host: its name, or its id if it is gone.
    pub host: String,
    /// From when.
    pub from: Time,
    /// The verb that brought it there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub begun_by: Option<Cow<'static, str>>,
    /// The generation it was there under.
    #[serde(default)]
    pub generation: u64,
    /// Until when; none while it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Time>,
    /// The verb that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub ended_by: Option<Cow<'static, str>>,
    /// CPUs it held.
    pub cpu: CpuMilli,
    /// Memory it held.
    pub memory: Size,
    /// The same in bytes.
    #[serde(default)]
    pub memory_bytes: u64,
}

/// What a VM waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Why {
    /// Whose.
    pub vm: u64,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// The state and its reason, in a sentence.
    pub summary: String,
    /// What is waited for; none in a state of rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// Since when.
    pub since: Time,
    /// Until when at the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// What went wrong last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// That its host does not answer: the state is the one that was seen last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unseen: Option<String>,
    /// What can be done, in the words of the command line.
    pub can: Vec<String>,
    /// For pending VMs: what the scheduler said last, a line a host.
    #[serde(default)]
    pub scheduler: Vec<String>,
}

/// What the snapshot rules bound to a VM say now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotAdvice {
    /// Its snapshots.
    pub snapshots: Vec<SnapshotEntry>,
    /// The rules that were asked.
    pub rules: String,
    /// Whether a snapshot may be made now.
    pub allowed: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// What a running VM uses, counted by its hypervisor since it started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counters {
    /// Whether there are any: the VM runs, and its driver can count.
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
    /// Where the text begins, in bytes from the start of the log.
    pub from: u64,
    /// Where the next part begins: hand it in as `from`.
    pub next: u64,
    /// How long the log is now.
    pub size: u64,
    /// The text; what is not UTF-8 is replaced.
    pub text: String,
}
