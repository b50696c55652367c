//! The three kinds of driver.

use crate::{CallControl, DomainDisk, DomainNic, DomainSpec, FileLook, FileRef, Site, TransferJob};
use async_trait::async_trait;
use ostler_model::{
    Ability, CallResult, DiskFormat, DiskName, DomainSeen, DriverError, HostFacts, Identity, MacAddress, Observation, Outcome,
    Progress, SnapshotName, State, Verb, VmUuid, WildDomain,
};
use std::time::Duration;

/// A hypervisor driver: drives domains on hosts of one kind.
///
/// The mandatory part is small. [`Hypervisor::abilities`] is the upper bound of the optional part, and [`Hypervisor::probe`] says
/// which abilities one host has. The engine never makes a call for which the ability is missing. Calls are short: a press of the
/// power button returns at once, and the engine waits for its effect.
#[async_trait]
pub trait Hypervisor: Send + Sync {
    /// The abilities that the driver has on some host.
    fn abilities(&self) -> &[Ability];

    /// The capacity of this host, and the driver's abilities on it.
    ///
    /// # Errors
    /// `retry` if the host cannot be asked now; `refused` if its settings are wrong.
    async fn probe(&self, site: &Site) -> Result<HostFacts, DriverError>;

    /// Has the domain defined as `domain`, stamped, and running. Level.
    async fn deploy(&self, site: &Site, call: &CallControl, domain: &DomainSpec) -> CallResult;

    /// Presses the power button once. Edge. Returns at once.
    async fn press_power(&self, site: &Site, call: &CallControl) -> CallResult;

    /// Has the domain off. Level: an absent domain is success. May run beside any other call.
    async fn destroy(&self, site: &Site, call: &CallControl) -> CallResult;

    /// Has no such domain: off and undefined, with nothing of it left at the hypervisor. Level. A domain of the generation that
    /// the call spares ([`CallContext::spares`](ostler_model::CallContext)) is not touched and does not count: the answer is then
    /// *absent*.
    async fn remove(&self, site: &Site, call: &CallControl) -> CallResult;

    /// Asks the guest once to reboot. Edge. Needs [`Ability::Reboot`].
    async fn reboot(&self, site: &Site, call: &CallControl) -> CallResult;

    /// Presses reset once. Edge. Needs [`Ability::Reboot`].
    async fn reset(&self, site: &Site, call: &CallControl) -> CallResult;

    /// Has the memory written to `file`, and the domain off. Level: a domain that is off with a complete file is success. Needs
    /// [`Ability::Suspend`].
    async fn save(&self, site: &Site, call: &CallControl, file: &FileRef) -> CallResult;

    /// Has the domain restored from `file` as `domain`, stamped anew, and paused. Level. Needs [`Ability::Suspend`].
    async fn restore(&self, site: &Site, call: &CallControl, domain: &DomainSpec, file: &FileRef) -> CallResult;

    /// Lets the domain run on. Level: a running domain is success, a domain that is off is `gone`. Needs [`Ability::Suspend`].
    async fn unpause(&self, site: &Site, call: &CallControl) -> CallResult;

    /// Looks at the domain of one VM.
    ///
    /// # Errors
    /// If the host cannot be asked, and while a dropped call may still be at work. An absent domain is not an error.
    async fn observe(&self, site: &Site, vm: VmUuid) -> Result<Observation, DriverError>;

    /// Lists all domains of the host, those of Ostler and all others.
    ///
    /// # Errors
    /// If the host cannot be asked.
    async fn list(&self, site: &Site) -> Result<Listed, DriverError>;

    /// Begins to move the running domain to `to`, or finds that it has moved. `domain` describes it at `to`: with the call's
    /// generation, and its files as `to` sees them. If a job with the same effect key is at work, the call attaches to it.
    /// `move_disks` are the disks that the two hosts do not share; the driver moves them too. *Done* means: the domain runs
    /// there, stamped with `domain`'s identity, and nothing of it is left here. An error other than `unknown` and `retry` means:
    /// the job does not work any more, and nothing of the domain runs there. Level. Needs [`Ability::Migrate`].
    ///
    /// # Errors
    /// As [`ostler_model::ErrorKind`] says.
    async fn begin_migrate(
        &self,
        _site: &Site,
        _call: &CallControl,
        _domain: &DomainSpec,
        _to: &Site,
        _move_disks: &[DiskName],
    ) -> Result<JobStatus, DriverError> {
        Err(not_able(Ability::Migrate))
    }

    /// Begins to copy a disk of the running domain into `target`: a complete file of `format` with no file below it. The copy
    /// shows the disk at one moment before the answer. The domain is not changed. Level. Needs [`Ability::DiskCopy`].
    ///
    /// # Errors
    /// As [`ostler_model::ErrorKind`] says.
    async fn begin_copy_disk(
        &self,
        _site: &Site,
        _call: &CallControl,
        _disk: &DiskName,
        _target: &FileRef,
        _format: DiskFormat,
    ) -> Result<JobStatus, DriverError> {
        Err(not_able(Ability::DiskCopy))
    }

    /// The progress of the job that was begun with this effect key.
    ///
    /// # Errors
    /// `gone` if no such job is known; the caller then begins it again.
    async fn poll_job(&self, _site: &Site, _call: &CallControl, job: HypervisorJob) -> Result<JobStatus, DriverError> {
        Err(not_able(job.ability()))
    }

    /// Stops the job that was begun with this effect key. Success means that the job does not work any more, and that the domain
    /// runs where it ran before.
    ///
    /// # Errors
    /// `unknown` if the driver cannot tell whether that is so.
    async fn abort_job(&self, _site: &Site, _call: &CallControl, job: HypervisorJob) -> Result<(), DriverError> {
        Err(not_able(job.ability()))
    }

    /// Has the disk plugged in, now and at the next start. Level. Needs [`Ability::Hotplug`].
    async fn attach_disk(&self, _site: &Site, _call: &CallControl, _disk: &DomainDisk) -> CallResult {
        Err(not_able(Ability::Hotplug))
    }

    /// Has the disk unplugged, now and at the next start. Success means that the guest has released it. Level. Needs
    /// [`Ability::Hotplug`].
    async fn detach_disk(&self, _site: &Site, _call: &CallControl, _disk: &DiskName) -> CallResult {
        Err(not_able(Ability::Hotplug))
    }

    /// Has the network card plugged in, now and at the next start. Level. Needs [`Ability::Hotplug`].
    async fn attach_nic(&self, _site: &Site, _call: &CallControl, _nic: &DomainNic) -> CallResult {
        Err(not_able(Ability::Hotplug))
    }

    /// Has the network card unplugged, now and at the next start. Level. Needs [`Ability::Hotplug`].
    async fn detach_nic(&self, _site: &Site, _call: &CallControl, _mac: &MacAddress) -> CallResult {
        Err(not_able(Ability::Hotplug))
    }

    /// Gives the domain this many virtual CPUs and this much memory, now and at the next start. Level. Needs
    /// [`Ability::LiveResize`].
    async fn resize(&self, _site: &Site, _call: &CallControl, _vcpus: u32, _memory_mib: u64) -> CallResult {
        Err(not_able(Ability::LiveResize))
    }

    /// Have a snapshot of memory and disks of that name, and run on. Level. Needs [`Ability::Snapshots`].
    async fn create_snapshot(&self, _site: &Site, _call: &CallControl, _name: &SnapshotName) -> CallResult {
        Err(not_able(Ability::Snapshots))
    }

    /// Reverts the domain to the snapshot, stamps it anew before a virtual CPU runs, and lets it run. Edge: if the call's effect
    /// key is already stamped into the domain, the revert is done. Needs [`Ability::Snapshots`].
    async fn revert_snapshot(&self, _site: &Site, _call: &CallControl, _name: &SnapshotName) -> CallResult {
        Err(not_able(Ability::Snapshots))
    }

    /// Has no snapshot of that name. The domain may run or be off; an absent domain has no snapshots, which is success. Level.
    /// Needs [`Ability::Snapshots`].
    async fn delete_snapshot(&self, _site: &Site, _call: &CallControl, _name: &SnapshotName) -> CallResult {
        Err(not_able(Ability::Snapshots))
    }

    /// The names of the domain's snapshots, oldest first. Needs [`Ability::Snapshots`].
    ///
    /// # Errors
    /// If the host cannot be asked.
    async fn list_snapshots(&self, _site: &Site, _vm: VmUuid) -> Result<Vec<String>, DriverError> {
        Err(not_able(Ability::Snapshots))
    }

    /// Describes a domain that this store did not make. Needs [`Ability::Adopt`].
    ///
    /// # Errors
    /// `gone` if there is no such domain; `refused` if a specification cannot describe a part of it (a disk that is not a file).
    async fn inspect(&self, _site: &Site, _vm: VmUuid) -> Result<WildDomain, DriverError> {
        Err(not_able(Ability::Adopt))
    }

    /// Stamps `identity` into the domain, and changes nothing else. Refused (`foreign`) if another store has stamped it. Level.
    /// Needs [`Ability::Adopt`].
    async fn stamp(&self, _site: &Site, _call: &CallControl, _identity: &Identity) -> CallResult {
        Err(not_able(Ability::Adopt))
    }

    /// Waits up to `wait` for domains that may have changed after `cursor`. The result only says where to look; it is not a fact.
    /// Needs [`Ability::Changes`].
    ///
    /// # Errors
    /// If the host cannot be asked; the caller then polls instead.
    async fn changes(&self, site: &Site, cursor: u64, wait: Duration) -> Result<ChangeBatch, DriverError>;

    /// Counters of running domains. Needs [`Ability::Metrics`].
    ///
    /// # Errors
    /// If the host cannot be asked.
    async fn metrics(&self, site: &Site) -> Result<Vec<DomainMetrics>, DriverError>;
}

/// The error code of a driver that does not have the ability that the call needs.
pub const NOT_ABLE: &str = "not-able";

/// The error of a call whose ability is missing. The engine checks the host's abilities before each call, so this error shows
/// that the driver was changed in between.
fn not_able(ability: Ability) -> DriverError {
    DriverError::refused(NOT_ABLE, format!("this driver cannot {ability}"))
}

/// A long job of a hypervisor driver. It is begun, polled and aborted by its effect key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HypervisorJob {
    /// A live migration.
    Migrate,
    /// The copy of a disk in use.
    CopyDisk,
}

impl HypervisorJob {
    /// The ability that the job needs.
    #[must_use]
    pub const fn ability(self) -> Ability {
        match self {
            Self::Migrate => Ability::Migrate,
            Self::CopyDisk => Ability::DiskCopy,
        }
    }
}

/// The domains of a host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listed {
    /// All domains that could be read.
    pub domains: Vec<DomainSeen>,
    /// Domains that could not be read now. Nothing may be concluded about them.
    pub unreadable: Vec<VmUuid>,
}

/// Domains that may have changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChangeBatch {
    /// The cursor for the next call.
    pub cursor: u64,
    /// The VMs whose domains may have changed.
    pub vms: Vec<VmUuid>,
    /// Whether some changes were lost. Then the caller must look at all domains.
    pub lost: bool,
}

/// Counters of one domain. They rise since its start, unless the field says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DomainMetrics {
    /// The VM of the domain.
    pub vm: Option<VmUuid>,
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

/// A transfer driver: brings disks to hosts and takes them away.
///
/// A long job is begun, polled and aborted by its effect key, so that the job can outlive an instance of the driver and the
/// daemon. If a job with the same effect key is at work, `begin` attaches to it.
#[async_trait]
pub trait Transfer: Send + Sync {
    /// Begins `job`, or finds that it is done.
    ///
    /// # Errors
    /// As [`ostler_model::ErrorKind`] says.
    async fn begin(&self, site: &Site, call: &CallControl, job: &TransferJob) -> Result<JobStatus, DriverError>;

    /// The progress of the job.
    ///
    /// # Errors
    /// `gone` if no such job is known; the caller then begins it again.
    async fn poll(&self, site: &Site, call: &CallControl) -> Result<JobStatus, DriverError>;

    /// Stops the job. Success means that the job does not work any more.
    ///
    /// # Errors
    /// `unknown` if the driver cannot tell whether that is so.
    async fn abort(&self, site: &Site, call: &CallControl) -> Result<(), DriverError>;

    /// Checks that no dropped call for this VM is still at work. A dropped call may go on at the host, and files that it still
    /// removes must not be made anew until it has ended. A driver whose work always ends with its calls answers success.
    ///
    /// # Errors
    /// `retry` while a dropped call is at work.
    async fn idle(&self, _vm: VmUuid) -> Result<(), DriverError> {
        Ok(())
    }

    /// Inspects a file. Changes nothing, and opens no other file that it names. Needs the transfer ability to look.
    ///
    /// # Errors
    /// `gone` if there is no such file; `refused` with code [`NOT_ABLE`] if the driver cannot inspect files; else the error that
    /// kept it from reading the file.
    async fn inspect_file(&self, _site: &Site, _file: &FileRef, _patience: Duration) -> Result<FileLook, DriverError> {
        Err(DriverError::refused(NOT_ABLE, "this driver cannot look into files"))
    }
}

/// The progress of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobStatus {
    /// It is at work.
    Pending(Progress),
    /// It is done.
    Done(Outcome),
}

/// Snapshot rules: they say which snapshots may be made, reverted and deleted, and whether existing snapshots stay.
#[async_trait]
pub trait SnapshotRules: Send + Sync {
    /// Answers one question. Pure: the same question always has the same answer.
    ///
    /// # Errors
    /// If the rules gave no answer or crashed. The engine then refuses snapshot verbs, and hides snapshots for all other verbs.
    async fn judge(&self, question: &RulesQuestion) -> Result<RulesVerdict, DriverError>;
}

/// A question to snapshot rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulesQuestion {
    /// The verb in kebab-case: one of [`Verb`]'s names (also `snapshot-create`, `snapshot-revert` and `snapshot-delete`), or
    /// `observed` for a change that monitoring saw.
    pub verb: String,
    /// The VM's state.
    pub state: State,
    /// Name, format and whether it is read-only, of each disk.
    pub disks: Vec<(String, String, bool)>,
    /// The names of existing snapshots, oldest first.
    pub snapshots: Vec<String>,
    /// For revert and delete: the name of the snapshot.
    pub subject: Option<String>,
    /// The hypervisor driver's abilities on the host.
    pub abilities: Vec<Ability>,
    /// The current time, in milliseconds since the Unix epoch.
    pub now_ms: u64,
}

impl RulesQuestion {
    /// The name of a verb in a question.
    #[must_use]
    pub fn verb_name(verb: Verb) -> String {
        verb.to_string()
    }
}

/// Whether a snapshot verb is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may be done.
    Allowed,
    /// It may not be done; the reason is for people.
    Refused {
        /// The reason.
        reason: String,
    },
}

/// The fate of an existing snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotFate {
    /// It stays.
    Keep,
    /// It is removed: right after the operation's first step if that step stops the guest, else before all steps.
    Lose,
    /// It stays at the hypervisor, but Ostler no longer offers it.
    Hide,
}

/// The answer of snapshot rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulesVerdict {
    /// For snapshot verbs: whether it may be done. For all other verbs: allowed.
    pub verdict: Verdict,
    /// The fate of each existing snapshot, in the order of the question.
    pub fates: Vec<SnapshotFate>,
}
