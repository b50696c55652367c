//! The three kinds of driver.

use crate::{CallControl, DomainDisk, DomainNic, DomainSpec, FileLook, FileRef, Site, TransferJob};
use async_trait::async_trait;
use ostler_model::{
    Ability, CallResult, DiskFormat, DiskName, DomainSeen, DriverError, HostFacts, Identity, MacAddress, Observation, Outcome,
    Progress, SnapshotName, State, Verb, VmUuid, WildDomain,
};
use std::time::Duration;

/// Drives domains on hosts of one kind.
///
/// The mandatory part is small; [`Hypervisor::abilities`] is the upper bound of the rest and [`Hypervisor::probe`] narrows it to
/// one host. The engine never calls what is absent. Calls are short: a press of the power button returns at once, the engine waits.
#[async_trait]
pub trait Hypervisor: Send + Sync {
    /// What the driver can do on some host.
    fn abilities(&self) -> &[Ability];

    /// What this host offers and what the driver can do on it.
    ///
    /// # Errors
    /// `retry` if the host cannot be asked now, `refused` if its settings are wrong.
    async fn probe(&self, site: &Site) -> Result<HostFacts, DriverError>;

    /// Be defined as `domain`, stamped, and running. Level.
    async fn deploy(&self, site: &Site, call: &CallControl, domain: &DomainSpec) -> CallResult;

    /// Press the power button, once. Edge; returns at once.
    async fn press_power(&self, site: &Site, call: &CallControl) -> CallResult;

    /// Be off. Level; absent is success. May run beside any other call.
    async fn destroy(&self, site: &Site, call: &CallControl) -> CallResult;

    /// Be absent: off and undefined, with nothing of it left at the hypervisor. Level. A domain of the generation that the call spares
    /// ([`CallContext::spares`](ostler_model::CallContext)) is left alone and does not count: the answer is that nothing is there.
    async fn remove(&self, site: &Site, call: &CallControl) -> CallResult;

    /// Ask the guest to reboot, once. Edge. Needs [`Ability::Reboot`].
    async fn reboot(&self, site: &Site, call: &CallControl) -> CallResult;

    /// Press reset, once. Edge. Needs [`Ability::Reboot`].
    async fn reset(&self, site: &Site, call: &CallControl) -> CallResult;

    /// Memory written to `file`, and off. Level: an off domain with a complete file is success. Needs [`Ability::Suspend`].
    async fn save(&self, site: &Site, call: &CallControl, file: &FileRef) -> CallResult;

    /// Be restored from `file` as `domain`, re-stamped, and paused. Level. Needs [`Ability::Suspend`].
    async fn restore(&self, site: &Site, call: &CallControl, domain: &DomainSpec, file: &FileRef) -> CallResult;

    /// Run on. Level: a running domain is success, an off one is `gone`. Needs [`Ability::Suspend`].
    async fn unpause(&self, site: &Site, call: &CallControl) -> CallResult;

    /// What is there of one VM.
    ///
    /// # Errors
    /// When it cannot be asked, and while a dropped call may still be at work. Never to say *absent*.
    async fn observe(&self, site: &Site, vm: VmUuid) -> Result<Observation, DriverError>;

    /// All domains of the host, ours and others'.
    ///
    /// # Errors
    /// When it cannot be asked.
    async fn list(&self, site: &Site) -> Result<Listed, DriverError>;

    /// Begins to move the running domain to `to`, where it is to be `domain` (the call's generation, and its files as `to` sees them), or
    /// finds that it has moved. An identity that is at work is attached to. `move_disks` are disks in use that the two hosts do not
    /// share: the driver moves them too. Done means: it runs there, stamped with `domain`'s identity, and nothing of it is left here. An
    /// error other than `unknown` and `retry` means: nothing works at it any more, and nothing of it runs there. Level.
    /// Needs [`Ability::Migrate`].
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

    /// Begins to copy a disk of the running domain, as it is at some moment until the answer, into `target`: a complete file of `format`
    /// that stands on no other. The domain is left as it was. Level. Needs [`Ability::DiskCopy`].
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

    /// How far the job that this identity began is.
    ///
    /// # Errors
    /// `gone` if no such job is known: begin it again.
    async fn poll_job(&self, _site: &Site, _call: &CallControl, job: HypervisorJob) -> Result<JobStatus, DriverError> {
        Err(not_able(job.ability()))
    }

    /// Stops the job that this identity began. Success means that nothing works at it any more, and that the domain runs where it ran.
    ///
    /// # Errors
    /// `unknown` if that cannot be said.
    async fn abort_job(&self, _site: &Site, _call: &CallControl, job: HypervisorJob) -> Result<(), DriverError> {
        Err(not_able(job.ability()))
    }

    /// Have the disk, now and at the next start. Level. Needs [`Ability::Hotplug`].
    async fn attach_disk(&self, _site: &Site, _call: &CallControl, _disk: &DomainDisk) -> CallResult {
        Err(not_able(Ability::Hotplug))
    }

    /// Have no such disk, now and at the next start; success means that the guest has let go of it. Level. Needs [`Ability::Hotplug`].
    async fn detach_disk(&self, _site: &Site, _call: &CallControl, _disk: &DiskName) -> CallResult {
        Err(not_able(Ability::Hotplug))
    }

    /// Have the network card, now and at the next start. Level. Needs [`Ability::Hotplug`].
    async fn attach_nic(&self, _site: &Site, _call: &CallControl, _nic: &DomainNic) -> CallResult {
        Err(not_able(Ability::Hotplug))
    }

    /// Have no such network card, now and at the next start. Level. Needs [`Ability::Hotplug`].
    async fn detach_nic(&self, _site: &Site, _call: &CallControl, _mac: &MacAddress) -> CallResult {
        Err(not_able(Ability::Hotplug))
    }

    /// Have so many virtual CPUs and so much memory, now and at the next start. Level. Needs [`Ability::LiveResize`].
    async fn resize(&self, _site: &Site, _call: &CallControl, _vcpus: u32, _memory_mib: u64) -> CallResult {
        Err(not_able(Ability::LiveResize))
    }

    /// Have a snapshot of memory and disks of that name, and run on. Level. Needs [`Ability::Snapshots`].
    async fn create_snapshot(&self, _site: &Site, _call: &CallControl, _name: &SnapshotName) -> CallResult {
        Err(not_able(Ability::Snapshots))
    }

    /// Be as the snapshot says, re-stamped before a virtual CPU runs, and run. Edge: an identity that is found stamped was reverted
    /// already. Needs [`Ability::Snapshots`].
    async fn revert_snapshot(&self, _site: &Site, _call: &CallControl, _name: &SnapshotName) -> CallResult {
        Err(not_able(Ability::Snapshots))
    }

    /// Have no snapshot of that name; the domain may run or be off, and an absent one has none. Level. Needs [`Ability::Snapshots`].
    async fn delete_snapshot(&self, _site: &Site, _call: &CallControl, _name: &SnapshotName) -> CallResult {
        Err(not_able(Ability::Snapshots))
    }

    /// The names of the snapshots there are, oldest first. Needs [`Ability::Snapshots`].
    ///
    /// # Errors
    /// When it cannot be asked.
    async fn list_snapshots(&self, _site: &Site, _vm: VmUuid) -> Result<Vec<String>, DriverError> {
        Err(not_able(Ability::Snapshots))
    }

    /// What a domain is that this store did not make. Needs [`Ability::Adopt`].
    ///
    /// # Errors
    /// `gone` if there is none, `refused` if it has something that no specification can say (a disk that is no file).
    async fn inspect(&self, _site: &Site, _vm: VmUuid) -> Result<WildDomain, DriverError> {
        Err(not_able(Ability::Adopt))
    }

    /// Have `identity` in the domain, and change in nothing else. Refused (`foreign`) if another store's is in it. Level.
    /// Needs [`Ability::Adopt`].
    async fn stamp(&self, _site: &Site, _call: &CallControl, _identity: &Identity) -> CallResult {
        Err(not_able(Ability::Adopt))
    }

    /// Waits up to `wait` for domains that may have changed after `cursor`. Wake-ups, never facts. Needs [`Ability::Changes`].
    ///
    /// # Errors
    /// When it cannot be asked; the caller falls back to polling.
    async fn changes(&self, site: &Site, cursor: u64, wait: Duration) -> Result<ChangeBatch, DriverError>;

    /// Counters of running domains. Needs [`Ability::Metrics`].
    ///
    /// # Errors
    /// When it cannot be asked.
    async fn metrics(&self, site: &Site) -> Result<Vec<DomainMetrics>, DriverError>;
}

/// The code of a driver that has not the ability that was asked for.
pub const NOT_ABLE: &str = "not-able";

/// The engine asks the host's abilities before it calls; whoever sees this has met a driver that changed in between.
fn not_able(ability: Ability) -> DriverError {
    DriverError::refused(NOT_ABLE, format!("this driver cannot {ability}"))
}

/// A job of a hypervisor driver that takes long: begun, polled and aborted by identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HypervisorJob {
    /// A live migration.
    Migrate,
    /// The copy of a disk in use.
    CopyDisk,
}

impl HypervisorJob {
    /// The ability it belongs to.
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
    /// All that could be read.
    pub domains: Vec<DomainSeen>,
    /// Domains that could not be read now; nothing may be concluded about them.
    pub unreadable: Vec<VmUuid>,
}

/// Domains that may have changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChangeBatch {
    /// To be handed in next time.
    pub cursor: u64,
    /// Look at these.
    pub vms: Vec<VmUuid>,
    /// Some were lost: look at all.
    pub lost: bool,
}

/// Counters of one domain, rising since its start unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DomainMetrics {
    /// Which.
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

/// Brings disks to hosts and takes them away.
///
/// A long job is begun, polled and aborted by identity, so that neither an instance nor the daemon has to live as long as the
/// job. `begin` with an identity that is at work attaches to it.
#[async_trait]
pub trait Transfer: Send + Sync {
    /// Begins `job`, or finds it done.
    ///
    /// # Errors
    /// As [`ostler_model::ErrorKind`] says.
    async fn begin(&self, site: &Site, call: &CallControl, job: &TransferJob) -> Result<JobStatus, DriverError>;

    /// How far the job is.
    ///
    /// # Errors
    /// `gone` if no such job is known: begin it again.
    async fn poll(&self, site: &Site, call: &CallControl) -> Result<JobStatus, DriverError>;

    /// Stops the job. Success means that nothing works at it any more.
    ///
    /// # Errors
    /// `unknown` if that cannot be said.
    async fn abort(&self, site: &Site, call: &CallControl) -> Result<(), DriverError>;

    /// Whether nothing of a call for this VM that nobody waits for any more is still at work: what was dropped may go on at the host, and
    /// what it still removes must not be made anew meanwhile. For a driver whose work ends with its calls that is always so.
    ///
    /// # Errors
    /// `retry` while something is.
    async fn idle(&self, _vm: VmUuid) -> Result<(), DriverError> {
        Ok(())
    }

    /// What a file is. Changes nothing, and opens no other file that it names. Needs the transfer ability to look.
    ///
    /// # Errors
    /// `gone` if there is none; `refused` with code [`NOT_ABLE`] if the driver cannot look; whatever kept it from looking.
    async fn inspect_file(&self, _site: &Site, _file: &FileRef, _patience: Duration) -> Result<FileLook, DriverError> {
        Err(DriverError::refused(NOT_ABLE, "this driver cannot look into files"))
    }
}

/// How far a job is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobStatus {
    /// At work.
    Pending(Progress),
    /// Done.
    Done(Outcome),
}

/// Says which snapshots may be made, reverted and deleted, and what becomes of the existing ones.
#[async_trait]
pub trait SnapshotRules: Send + Sync {
    /// Judges one question. Pure: the same question has the same answer.
    ///
    /// # Errors
    /// No answer or a trap; the engine then refuses snapshot verbs and hides snapshots for all others.
    async fn judge(&self, question: &RulesQuestion) -> Result<RulesVerdict, DriverError>;
}

/// What the rules are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulesQuestion {
    /// The verb, in kebab-case: one of [`Verb`]'s names, `snapshot-create`, `snapshot-revert`, `snapshot-delete`, or
    /// `observed` for what monitoring saw.
    pub verb: String,
    /// The VM's state.
    pub state: State,
    /// Name, format and whether it is read-only, of each disk.
    pub disks: Vec<(String, String, bool)>,
    /// The names of existing snapshots, oldest first.
    pub snapshots: Vec<String>,
    /// For revert and delete: the snapshot meant.
    pub subject: Option<String>,
    /// What the driver can do on the host.
    pub abilities: Vec<Ability>,
    /// Milliseconds since the Unix epoch.
    pub now_ms: u64,
}

impl RulesQuestion {
    /// The name rules know a verb by.
    #[must_use]
    pub fn verb_name(verb: Verb) -> String {
        verb.to_string()
    }
}

/// Yes, or no and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may be done.
    Allowed,
    /// It may not; the reason is for people.
    Refused {
        /// Why.
        reason: String,
    },
}

/// What becomes of an existing snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotFate {
    /// It stays.
    Keep,
    /// It is removed before the operation's own steps.
    Lose,
    /// It stays at the hypervisor and is no longer offered.
    Hide,
}

/// What the rules say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulesVerdict {
    /// For snapshot verbs: may it be done? Allowed for all others.
    pub verdict: Verdict,
    /// For each existing snapshot, in the order asked.
    pub fates: Vec<SnapshotFate>,
}
