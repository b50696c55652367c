//! Actions: the verbs that can be asked of a VM, and their answers.

use crate::{Advice, Operation};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A verb of `POST /v1/vms/{vm}/actions/{verb}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerbInfo {
    /// The verb as it stands in the path.
    pub verb: &'static str,
    /// The effect of the verb, in one line.
    pub about: &'static str,
}

const fn verb(verb: &'static str, about: &'static str) -> VerbInfo {
    VerbInfo { verb, about }
}

/// All verbs. A test of the server compares this list with the verbs of the lifecycle. `adopt` is
/// missing, because it is asked of a host: see `POST /v1/hosts/{host}/adopt`.
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

/// The entry of [`VERBS`] for a verb. None if the verb is not known.
#[must_use]
pub fn verb_info(name: &str) -> Option<&'static VerbInfo> {
    VERBS.iter().find(|info| info.verb == name)
}

/// The body of an action that has no body type of its own. The body may be left out. A field that
/// its verb does not take is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ActionBody {
    /// For deploy: the host, by name or id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// For deploy: refuse if the host's capacity is exceeded.
    #[serde(default)]
    pub enforce: bool,
    /// For recover: skip the check that the statement agrees with the state that the host shows.
    #[serde(default)]
    pub force: bool,
}

/// Something that an operation removes for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Destroyed {
    /// The kind. `disk`: the disk with all data written to it. `memory`: the saved memory.
    /// `snapshot`: nobody can go back to it any more. `changes`: all that the guest did since the
    /// snapshot `name`. Later versions may add kinds.
    pub kind: String,
    /// The name of the disk or of the snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The label that the snapshot's maker gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// For a snapshot: it stays at the hypervisor and is only no longer offered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
}

/// The answer to a request. The request was committed before it was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ActionReply {
    /// The VM.
    pub vm: u64,
    /// The state of the VM now.
    pub state: String,
    /// The record's version now.
    pub version: u64,
    /// The operation that does the work. None if there is no work left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// Whether the VM was already as asked. Then nothing was changed.
    #[serde(default)]
    pub already: bool,
    /// The operation that was overtaken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overtook: Option<u64>,
    /// The things that the operation removes for good if it succeeds. Missing if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub destroys: Vec<Destroyed>,
    /// Whether this is the answer that was given to the same request before (same
    /// `Idempotency-Key`).
    #[serde(default)]
    pub replayed: bool,
    /// Whether the time given in `wait` ended before the operation did.
    #[serde(default)]
    pub timed_out: bool,
}

/// The plan of an action or of a creation (`?dry_run=true`). Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanPreview {
    /// Whether the request would be accepted.
    pub allowed: bool,
    /// The code of the refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The reason why it would be refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Advice on how to go on instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The same as `hint`, for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<Advice>,
    /// For an adoption: how the virtual machine would differ from today's domain from its next
    /// start on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
    /// The states that the VM would pass through. The last one is the state in which it would rest.
    pub states: Vec<String>,
    /// The steps of the operation.
    pub steps: Vec<String>,
    /// The steps in words, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub in_words: Vec<String>,
    /// The operation that the request would overtake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overtakes: Option<u64>,
    /// Snapshots that would be removed, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loses: Vec<String>,
    /// Snapshots that would no longer be offered, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hides: Vec<String>,
    /// All things that would be removed for good. The answer to the action itself has the same
    /// list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub destroys: Vec<Destroyed>,
    /// For a VM that would be created: how the scheduler would judge each host now, one line per
    /// host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scheduler: Vec<String>,
}
