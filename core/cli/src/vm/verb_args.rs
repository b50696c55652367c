//! The options of each verb on the command line. They are the same for `ostler vm VERB` and for
//! `ostler vm schedule`.

use super::verbs::{Ask, Loss};
use crate::{Failure, specfile};
use clap::{ArgGroup, Args};
use ostler_api::{
    ActionBody, CpuMilli, DiskAttachBody, DiskDetachBody, DiskSnapshotBody, DiskSnapshotCancelBody,
    ForgetBody, MigrateBody, NicAttachBody, NicDetachBody, RenameBody, ResizeBody, Size,
    SnapshotBody, SnapshotCreateBody, UnscheduleBody, UpdateBody,
};
use serde::Serialize;
use serde_json::Value;
use std::path::PathBuf;

/// A body as JSON, as it is sent.
pub(super) fn sent<T: Serialize>(body: &T) -> Result<Value, Failure> {
    serde_json::to_value(body).map_err(|err| Failure::usage(format!("that cannot be sent: {err}")))
}

/// No options.
#[derive(Debug, Args)]
pub struct Nothing {}

/// Whether to act without asking the guest.
#[derive(Debug, Args)]
pub struct Hard {
    /// At once, without asking the guest
    #[arg(long)]
    pub(super) hard: bool,
}

/// `resume`.
#[derive(Debug, Args)]
pub struct Resume {
    /// From its disks: saved memory is dropped. For memory that cannot be restored
    #[arg(long)]
    pub(super) cold: bool,
}

impl Ask for Resume {
    fn verb(&self) -> &'static str {
        if self.cold { "resume-cold" } else { "resume" }
    }
}

/// `deploy`.
#[derive(Debug, Args)]
pub struct Deploy {
    /// On this host (name or id); to leave it to the scheduler, `release` it
    #[arg(long)]
    host: Option<String>,
    /// Refuse if the host's capacity is exceeded
    #[arg(long)]
    enforce: bool,
}

impl Ask for Deploy {
    fn verb(&self) -> &'static str {
        "deploy"
    }

    fn body(&self) -> Result<Value, Failure> {
        sent(&ActionBody { host: self.host.clone(), enforce: self.enforce, force: false })
    }
}

/// `delete`.
#[derive(Debug, Args)]
pub struct Delete {
    /// Begin again: end in pending, with the same id and new disks
    #[arg(long)]
    recreate: bool,
}

impl Delete {
    /// What is lost with it.
    pub(super) const fn loss(&self) -> Loss {
        if self.recreate { Loss::Part } else { Loss::Vm }
    }
}

impl Ask for Delete {
    fn verb(&self) -> &'static str {
        if self.recreate { "delete-recreate" } else { "delete" }
    }
}

/// `recover`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("how").required(true).args(["success", "failure", "retry", "undo"])))]
pub struct Recover {
    /// Tell Ostler that the step succeeded: it goes on with the next one
    #[arg(long)]
    success: bool,
    /// Tell Ostler that the step failed
    #[arg(long)]
    failure: bool,
    /// Do the step again
    #[arg(long)]
    retry: bool,
    /// Undo what the operation did so far
    #[arg(long)]
    undo: bool,
    /// Override the check that what you tell is what is seen
    #[arg(long)]
    force: bool,
}

impl Ask for Recover {
    fn verb(&self) -> &'static str {
        if self.success {
            "recover-success"
        } else if self.failure {
            "recover-failure"
        } else if self.retry {
            "recover-retry"
        } else {
            "recover-undo"
        }
    }

    fn body(&self) -> Result<Value, Failure> {
        sent(&ActionBody { force: self.force, ..ActionBody::default() })
    }
}

/// `migrate`.
#[derive(Debug, Args)]
pub(super) struct Move {
    /// The host to move to: name or id
    #[arg(value_name = "HOST")]
    host: String,
    /// While it runs: the guest does not notice
    #[arg(long, group = "mode")]
    live: bool,
    /// Switched off gracefully and started there
    #[arg(long, group = "mode")]
    poweroff: bool,
    /// Switched off at once and started there
    #[arg(long, group = "mode")]
    poweroff_hard: bool,
    /// Refuse if the host's capacity is exceeded
    #[arg(long)]
    enforce: bool,
}

impl Move {
    fn sent(&self) -> MigrateBody {
        MigrateBody { host: self.host.clone(), enforce: self.enforce, ..MigrateBody::default() }
    }
}

impl Ask for Move {
    fn verb(&self) -> &'static str {
        match (self.live, self.poweroff, self.poweroff_hard) {
            (true, ..) => "migrate-live",
            (false, true, _) => "migrate-poweroff",
            (false, false, true) => "migrate-poweroff-hard",
            (false, false, false) => "migrate",
        }
    }

    fn body(&self) -> Result<Value, Failure> {
        sent(&self.sent())
    }
}

/// `migrate`, with statements that only an operator can make.
#[derive(Debug, Args)]
pub struct Migrate {
    #[command(flatten)]
    how: Move,
    /// For a VM whose host does not answer: you state that nothing of that host runs any more
    #[arg(long, conflicts_with = "mode")]
    fenced: bool,
    /// Also for such a VM: you state that the new host sees its files, though no storage is shared
    #[arg(long, conflicts_with = "mode")]
    storage_moved: bool,
}

impl Ask for Migrate {
    fn verb(&self) -> &'static str {
        self.how.verb()
    }

    fn body(&self) -> Result<Value, Failure> {
        sent(&MigrateBody {
            fenced: self.fenced,
            storage_moved: self.storage_moved,
            ..self.how.sent()
        })
    }
}

/// `disk-attach`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("content").required(true).args(["image", "blank", "swap"])))]
pub struct DiskAttach {
    /// A copy on write of this image (name or id)
    #[arg(long)]
    image: Option<String>,
    /// Empty, of this size: 1GiB
    #[arg(long, value_name = "SIZE")]
    blank: Option<Size>,
    /// With --image: the size of the disk, if it is to be larger than the image
    #[arg(long, value_name = "SIZE", conflicts_with_all = ["blank", "swap"])]
    size: Option<Size>,
    /// Formatted as swap space, of this size
    #[arg(long, value_name = "SIZE")]
    swap: Option<Size>,
    /// The disk's name and target device; the first free one of vda, vdb, ... if not given
    #[arg(long)]
    name: Option<String>,
    /// qcow2 or raw [default: qcow2, raw for swap]
    #[arg(long)]
    format: Option<String>,
    /// The guest may only read
    #[arg(long)]
    read_only: bool,
}

impl Ask for DiskAttach {
    fn verb(&self) -> &'static str {
        "disk-attach"
    }

    fn body(&self) -> Result<Value, Failure> {
        sent(&DiskAttachBody {
            name: self.name.clone(),
            image: self.image.clone(),
            size: self.blank.or(self.size),
            swap: self.swap,
            format: self.format.clone(),
            read_only: self.read_only,
        })
    }
}

/// `disk-detach`.
#[derive(Debug, Args)]
pub struct DiskDetach {
    /// The disk: vdb
    disk: String,
}

impl Ask for DiskDetach {
    fn verb(&self) -> &'static str {
        "disk-detach"
    }

    fn body(&self) -> Result<Value, Failure> {
        sent(&DiskDetachBody { name: self.disk.clone() })
    }
}

/// `nic-attach`.
#[derive(Debug, Args)]
pub struct NicAttach {
    /// The host's bridge it is plugged into
    #[arg(long)]
    bridge: String,
    /// The card's MAC address; if not given, one is chosen and stays the same
    #[arg(long)]
    mac: Option<String>,
}

impl Ask for NicAttach {
    fn verb(&self) -> &'static str {
        "nic-attach"
    }

    fn body(&self) -> Result<Value, Failure> {
        sent(&NicAttachBody { bridge: self.bridge.clone(), mac: self.mac.clone() })
    }
}

/// `nic-detach`.
#[derive(Debug, Args)]
pub struct NicDetach {
    /// The card's MAC address; `vm show` lists them
    mac: String,
}

impl Ask for NicDetach {
    fn verb(&self) -> &'static str {
        "nic-detach"
    }

    fn body(&self) -> Result<Value, Failure> {
        sent(&NicDetachBody { mac: self.mac.clone() })
    }
}

/// `snapshot-create`.
#[derive(Debug, Args)]
pub struct SnapshotCreate {
    /// A label of your own: the snapshot can be named by it, too
    name: Option<String>,
}

impl Ask for SnapshotCreate {
    fn verb(&self) -> &'static str {
        "snapshot-create"
    }

    fn body(&self) -> Result<Value, Failure> {
        sent(&SnapshotCreateBody { name: self.name.clone() })
    }
}

/// `snapshot-revert`.
#[derive(Debug, Args)]
pub struct SnapshotRevert {
    /// The snapshot's name or label; `vm snapshots` lists them
    snapshot: String,
}

impl Ask for SnapshotRevert {
    fn verb(&self) -> &'static str {
        "snapshot-revert"
    }

    fn body(&self) -> Result<Value, Failure> {
        sent(&SnapshotBody { name: self.snapshot.clone() })
    }
}

/// `snapshot-delete`.
#[derive(Debug, Args)]
pub struct SnapshotDelete {
    /// The snapshot's name or label; `vm snapshots` lists them
    snapshot: String,
}

impl Ask for SnapshotDelete {
    fn verb(&self) -> &'static str {
        "snapshot-delete"
    }

    fn body(&self) -> Result<Value, Failure> {
        sent(&SnapshotBody { name: self.snapshot.clone() })
    }
}

/// `disk-snapshot`.
#[derive(Debug, Args)]
pub struct DiskSnapshot {
    /// The disk: vda
    disk: String,
    /// The name of the image it becomes
    image: String,
    /// Now, while the guest uses it, instead of when the VM is shut down
    #[arg(long)]
    live: bool,
    /// The image datastore (name or id) [default: that of the disk's image, or the only one]
    #[arg(long)]
    datastore: Option<String>,
}

impl Ask for DiskSnapshot {
    fn verb(&self) -> &'static str {
        if self.live { "disk-snapshot-live" } else { "disk-snapshot" }
    }

    fn body(&self) -> Result<Value, Failure> {
        sent(&DiskSnapshotBody {
            disk: self.disk.clone(),
            image: self.image.clone(),
            datastore: self.datastore.clone(),
        })
    }
}

/// `disk-snapshot-cancel`.
#[derive(Debug, Args)]
pub struct DiskSnapshotCancel {
    /// The disk: vda
    disk: String,
}

impl Ask for DiskSnapshotCancel {
    fn verb(&self) -> &'static str {
        "disk-snapshot-cancel"
    }

    fn body(&self) -> Result<Value, Failure> {
        sent(&DiskSnapshotCancelBody { disk: self.disk.clone() })
    }
}

/// `resize`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("size").required(true).multiple(true).args(["cpu", "vcpus", "memory"])))]
pub struct Resize {
    /// CPUs that placement reserves: 0.5
    #[arg(long, value_name = "NUMBER", value_parser = crate::cpus::cpus)]
    cpu: Option<CpuMilli>,
    /// Virtual CPUs the guest sees
    #[arg(long, value_name = "NUMBER")]
    vcpus: Option<u32>,
    /// Memory: 2GiB
    #[arg(long, value_name = "SIZE")]
    memory: Option<Size>,
    /// Refuse if the host's capacity is exceeded
    #[arg(long)]
    enforce: bool,
    /// Take more than half of its memory from a running guest
    #[arg(long)]
    force: bool,
}

impl Ask for Resize {
    fn verb(&self) -> &'static str {
        "resize"
    }

    fn body(&self) -> Result<Value, Failure> {
        sent(&ResizeBody {
            cpu: self.cpu,
            vcpus: self.vcpus,
            memory: self.memory,
            enforce: self.enforce,
            force: self.force,
        })
    }
}

/// `update`.
#[derive(Debug, Args)]
pub struct Update {
    /// The file that holds the new user data, or - for standard input
    #[arg(long, value_name = "FILE")]
    user_data: PathBuf,
}

impl Ask for Update {
    fn verb(&self) -> &'static str {
        "update"
    }

    fn body(&self) -> Result<Value, Failure> {
        let text = specfile::text(&self.user_data)
            .map_err(|failure| failure.hint("say a file, or - for standard input"))?;
        sent(&UpdateBody { user_data: text })
    }
}

/// `rename`.
#[derive(Debug, Args)]
pub struct Rename {
    /// The new name
    #[arg(value_name = "NEW")]
    name: String,
}

impl Ask for Rename {
    fn verb(&self) -> &'static str {
        "rename"
    }

    fn body(&self) -> Result<Value, Failure> {
        sent(&RenameBody { name: self.name.clone() })
    }
}

/// `unschedule`.
#[derive(Debug, Args)]
pub struct Unschedule {
    /// The id of the scheduled action; `vm schedules` lists them
    id: u32,
}

impl Ask for Unschedule {
    fn verb(&self) -> &'static str {
        "unschedule"
    }

    fn body(&self) -> Result<Value, Failure> {
        sent(&UnscheduleBody { id: self.id })
    }
}

/// `forget`.
#[derive(Debug, Args)]
pub struct Forget {
    /// Even though its host answers
    #[arg(long)]
    force: bool,
}

impl Ask for Forget {
    fn verb(&self) -> &'static str {
        "forget"
    }

    fn body(&self) -> Result<Value, Failure> {
        sent(&ForgetBody { force: self.force })
    }
}
