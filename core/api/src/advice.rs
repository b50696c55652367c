//! What can be done about a refusal, for programs: a code, and what it is about. The `hint` beside
//! it says the same in words.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What can be done instead. Each client makes its own words of it: `ostler` names a command, a web
/// page a button.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Advice {
    /// A stable code: `fence`, `list-hosts`, ... (`docs/api.md` lists all). There may be more one
    /// day: show `hint` then.
    pub code: String,
    /// The VM that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<u64>,
    /// The verb that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verb: Option<String>,
    /// For `works-from`: the states from which the verb works.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<String>,
    /// A name like the one that was given, and that there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub near: Option<String>,
}

/// All codes of today. A test of the server compares them with its own.
pub const ADVICE: &[&str] = &[
    "wait",
    "wait-or-hard",
    "wait-or-delete",
    "wait-or-forget",
    "wait-until-seen",
    "ask-again",
    "read-again",
    "wait-or-delete-both",
    "state-arrival",
    "see-arguments",
    "change-request",
    "other-name",
    "give-size",
    "give-address",
    "snapshot-by-name",
    "show-vm",
    "list-vms",
    "list-operations",
    "create-new",
    "works-from",
    "see-why",
    "force-resize",
    "resize-off",
    "deploy",
    "detach-disk",
    "cancel-disk-snapshot",
    "delete-snapshots",
    "set-hardware-back",
    "resume-or-stop",
    "resume-first",
    "hard-off",
    "resume-or-hard-off",
    "power-off-first",
    "keep-on-host",
    "restart-or-delete",
    "name-host",
    "list-hosts",
    "list-wild-domains",
    "empty-host",
    "wait-for-sweep",
    "other-host",
    "other-host-or-room",
    "make-bridge",
    "other-host-or-bridge",
    "host-of-same-driver",
    "show-host",
    "move-powered-off",
    "bring-host-back",
    "bring-back-or-fence",
    "fence",
    "move-storage",
    "move-unfenced",
    "wait-then-move",
    "delete-or-forget",
    "register-image",
    "image-ready",
    "list-images",
    "list-datastores",
    "show-datastore",
    "list-drivers",
    "inspect-driver",
    "name-grants",
    "replace-driver",
    "list-tokens",
    "give-name",
    "accept-changes",
    "name-datastore",
    "add-datastore",
    "list-rules",
    "mend-rules",
    "bind-rules",
    "deploy-and-bind-rules",
    "other-verb",
    "ask-then",
    "change-when",
    "change-plan",
    "unschedule",
    "list-schedules",
    "reschedule",
    "see-misfire",
    "recover-retry",
    "retry-or-delete",
    "retry-or-force",
    "force-recover",
    "ask-again-or-force",
    "force-arrival",
    "see-restored",
    "accept-record",
];

/// A verb that would be accepted now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Possible {
    /// The verb.
    pub verb: String,
    /// Whether it needs the statement that the VM's host is fenced.
    #[serde(default)]
    pub fenced: bool,
}

impl Possible {
    /// The verb with its flags, as it is typed behind `ostler vm`. Capitals stand for what must be
    /// named; the VM is left out.
    #[must_use]
    pub fn command(&self) -> String {
        match self.verb.as_str() {
            "deploy" => "deploy --host HOST".to_owned(),
            "migrate" if self.fenced => "migrate HOST --fenced".to_owned(),
            "migrate" => "migrate HOST".to_owned(),
            "migrate-live" => "migrate HOST --live".to_owned(),
            "migrate-poweroff" => "migrate HOST --poweroff".to_owned(),
            "migrate-poweroff-hard" => "migrate HOST --poweroff-hard".to_owned(),
            "disk-snapshot-live" => "disk-snapshot DISK IMAGE --live".to_owned(),
            "delete-recreate" => "delete --recreate".to_owned(),
            "resume-cold" => "resume --cold".to_owned(),
            "poweroff-hard" => "poweroff --hard".to_owned(),
            "undeploy-hard" => "undeploy --hard".to_owned(),
            "shutdown-hard" => "shutdown --hard".to_owned(),
            "reboot-hard" => "reboot --hard".to_owned(),
            "recover-success" => "recover --success".to_owned(),
            "recover-failure" => "recover --failure".to_owned(),
            "recover-retry" => "recover --retry".to_owned(),
            "recover-undo" => "recover --undo".to_owned(),
            verb => verb.to_owned(),
        }
    }
}
