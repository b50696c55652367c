//! Actions: what can be asked of a VM, and what is answered.

use crate::Operation;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A verb of `POST /v1/vms/{vm}/actions/{verb}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerbInfo {
    /// The word in the path.
    pub verb: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
}

const fn verb(verb: &'static str, about: &'static str) -> VerbInfo {
    VerbInfo { verb, about }
}

/// All verbs. A test of the server compares them with the lifecycle's. `adopt` is none of a VM: see `POST /v1/hosts/{host}/adopt`.
pub const VERBS: &[VerbInfo] = &[
    verb("hold", "keep the scheduler away from a pending VM"),
    verb("release", "let the scheduler have a VM on hold"),
    verb("deploy", "place it on a host and start it"),
    verb("suspend", "save its memory to a file, keep its files on the host"),
    verb("stop", "save its memory, bring memory and disks off the host, free the host"),
    verb("resume", "start it, or have it go on where it was saved"),
    verb("resume-cold", "start it from its disks; saved memory is dropped"),
    verb("poweroff", "power it off gracefully, keep its files on the host"),
    verb("poweroff-hard", "power it off at once, keep its files on the host"),
    verb("undeploy", "power it off gracefully, bring its disks off the host, free the host"),
    verb("undeploy-hard", "power it off at once, bring its disks off the host, free the host"),
    verb("shutdown", "power it off gracefully and delete it with its disks"),
    verb("shutdown-hard", "power it off at once and delete it with its disks"),
    verb("reboot", "ask the guest to reboot"),
    verb("reboot-hard", "press reset"),
    verb("delete", "delete it with its disks at once, whatever it is doing"),
    verb("delete-recreate", "as delete, but end in pending with the same id"),
    verb("boot", "retry a start that hangs"),
    verb("migrate", "move it to another host: its memory is saved and restored there"),
    verb("migrate-live", "move it to another host while it runs"),
    verb("migrate-poweroff", "move it to another host, powered off gracefully and started there"),
    verb("migrate-poweroff-hard", "move it to another host, powered off at once and started there"),
    verb("resched", "have the scheduler move it to another host"),
    verb("unresched", "take back what resched asked for"),
    verb("disk-attach", "plug a disk in"),
    verb("disk-detach", "unplug a disk and delete it"),
    verb("nic-attach", "plug a network card in"),
    verb("nic-detach", "unplug a network card"),
    verb("snapshot-create", "make a system snapshot"),
    verb("snapshot-revert", "go back to a system snapshot"),
    verb("snapshot-delete", "remove a system snapshot"),
    verb("disk-snapshot", "save a disk as a new image when the VM is shut down"),
    verb("disk-snapshot-live", "save a disk as a new image now"),
    verb("disk-snapshot-cancel", "take a disk-snapshot back that waits for the VM to be shut down"),
    verb("resize", "change its CPUs or memory"),
    verb("update", "change its user data"),
    verb("rename", "change its name"),
    verb("schedule", "have something done later"),
    verb("unschedule", "take a scheduled action back"),
    verb("reschedule", "change a scheduled action"),
    verb("forget", "end it though its host is lost for good"),
    verb("recover-success", "tell that the step in hand succeeded: it goes on"),
    verb("recover-failure", "tell that the step in hand failed"),
    verb("recover-retry", "do the step in hand again"),
    verb("recover-undo", "undo what the operation did so far"),
];

/// What is known of a verb.
#[must_use]
pub fn verb_info(name: &str) -> Option<&'static VerbInfo> {
    VERBS.iter().find(|info| info.verb == name)
}

/// The body of an action that has none of its own; may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ActionBody {
    /// For deploy: the host, by name or id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// For deploy: refuse if the host's capacity is exceeded.
    #[serde(default)]
    pub enforce: bool,
    /// For recover: override the check that what is stated is what is seen.
    #[serde(default)]
    pub force: bool,
}

/// Something that an operation removes for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Destroyed {
    /// `disk`: it and what was written to it. `memory`: the saved memory. `snapshot`: nobody can go back to it any more. `changes`: all
    /// that the guest did since the snapshot `name`. There may be more kinds one day.
    pub kind: String,
    /// The disk's name, or the snapshot's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the snapshot's maker calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Of a snapshot: it stays at the hypervisor and is only no longer offered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
}

/// What became of a request. It was committed before it was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ActionReply {
    /// The VM.
    pub vm: u64,
    /// The state it is in now.
    pub state: String,
    /// The record's version now.
    pub version: u64,
    /// The operation that does it; none where nothing is left to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// Whether it was so already: nothing was changed.
    #[serde(default)]
    pub already: bool,
    /// The operation that was overtaken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overtook: Option<u64>,
    /// What the operation removes for good, if it goes through. Nothing, if that is missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub destroys: Vec<Destroyed>,
    /// Whether this is the answer that was given to the same request before (same `Idempotency-Key`).
    #[serde(default)]
    pub replayed: bool,
    /// Whether `wait` was over before the operation was.
    #[serde(default)]
    pub timed_out: bool,
}

/// What an action or a creation would do (`?dry_run=true`). Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanPreview {
    /// Whether it would be accepted.
    pub allowed: bool,
    /// The code of the refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Why it would be refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// What to do instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// For an adoption: in what the domain would be another machine from its next start on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
    /// The states it would pass through, ending with the one it would rest in.
    pub states: Vec<String>,
    /// The steps it would take.
    pub steps: Vec<String>,
    /// The same steps in words, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub in_words: Vec<String>,
    /// The operation it would overtake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overtakes: Option<u64>,
    /// Snapshots that would be removed, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loses: Vec<String>,
    /// Snapshots that would no longer be offered, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hides: Vec<String>,
    /// All that would be removed for good: the same list that the answer to the action itself tells.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub destroys: Vec<Destroyed>,
    /// For a VM that would be created: what the scheduler would do with it now, a line a host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scheduler: Vec<String>,
}
