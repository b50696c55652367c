//! What an author implements: one trait a kind, one trait an ability.
//!
//! There is no `self`: each call runs in an instance of its own, which is thrown away afterwards. What must outlive a call lives at
//! the host (stamped into the domain), in the state that the host keeps ([`Outcome::keeping`]), or not at all.

use crate::{
    Batch, Call, Destination, DomainDisk, DomainNic, DomainSeen, DomainSpec, Endpoint, Error, FileLook, FileRef, HostFacts,
    Identity, Job, JobStatus, Observation, Outcome, Question, Sample, SaveBackJob, Usage, Verdict, WildDomain,
};

/// All domains of a host.
#[derive(Debug, Clone, Default)]
pub struct Listed {
    /// Those that could be read, ours and others'.
    pub domains: Vec<DomainSeen>,
    /// UUIDs of those that could not be read now; nothing is concluded about them.
    pub unreadable: Vec<String>,
}

/// The mandatory part of a hypervisor driver. Every call converges: asked twice, it ends as if asked once. Every mutating call
/// compares generations first ([`Call::fence`]).
pub trait Hypervisor {
    /// What the target host offers.
    ///
    /// # Errors
    /// `retry` if the host cannot be asked now, `refused` if its settings are wrong.
    fn probe() -> Result<HostFacts, Error>;
    /// Be defined as `domain`, stamped with its identity before it may run, and running.
    ///
    /// # Errors
    /// `stale`; `refused` with code `foreign` if the domain that is there belongs to another store; whatever went wrong.
    fn deploy(call: &Call, domain: DomainSpec) -> Result<Outcome, Error>;
    /// Press the power button and return at once. The call's identity is stamped into the domain first; an identity that is found
    /// there was pressed already, and is not pressed again.
    ///
    /// # Errors
    /// `gone` if it does not run.
    fn press_power(call: &Call) -> Result<Outcome, Error>;
    /// Be off; absent is success. May run beside any other call.
    ///
    /// # Errors
    /// `stale`, or whatever went wrong.
    fn destroy(call: &Call) -> Result<Outcome, Error>;
    /// Be off and undefined, with nothing left at the hypervisor. Absent is success.
    ///
    /// # Errors
    /// `stale`, or whatever went wrong.
    fn remove(call: &Call) -> Result<Outcome, Error>;
    /// What is there of one VM.
    ///
    /// # Errors
    /// Whenever it could not be asked. [`Observation::Absent`] is a fact, and disks are removed because of it.
    fn observe(vm: &str) -> Result<Observation, Error>;
    /// All domains of the host, ours and others'.
    ///
    /// # Errors
    /// Whenever it could not be asked.
    fn list() -> Result<Listed, Error>;
}

/// Ability: reboot and reset. Both are edges, as [`Hypervisor::press_power`] is.
#[allow(clippy::missing_errors_doc)]
pub trait Reboot {
    /// Ask the guest to reboot.
    fn reboot(call: &Call) -> Result<Outcome, Error>;
    /// Press reset.
    fn reset(call: &Call) -> Result<Outcome, Error>;
}

/// Ability: save memory, restore it paused, run on.
#[allow(clippy::missing_errors_doc)]
pub trait Suspend {
    /// Memory written to `file`, and off. Off with a complete file is success.
    fn save(call: &Call, file: FileRef) -> Result<Outcome, Error>;
    /// Restored from `file` as `domain`, stamped anew, and paused.
    fn restore(call: &Call, domain: DomainSpec, file: FileRef) -> Result<Outcome, Error>;
    /// Runs on. Running is success; off is `gone`.
    fn unpause(call: &Call) -> Result<Outcome, Error>;
}

/// Ability: tell of changes.
#[allow(clippy::missing_errors_doc)]
pub trait Changes {
    /// Waits up to `wait_ms` for domains that may have changed after `cursor`. Wake-ups, never facts.
    fn changes(cursor: u64, wait_ms: u64) -> Result<Batch, Error>;
}

/// Ability: counters.
#[allow(clippy::missing_errors_doc)]
pub trait Metrics {
    /// Of all running domains of ours.
    fn sample() -> Result<Vec<Sample>, Error>;
}

/// Ability: move a domain to another host of the same driver.
#[allow(clippy::missing_errors_doc)]
pub trait Migrate {
    /// Begins, or attaches to what this identity began, or finds that it has moved. `domain` is what it is to be there: its generation,
    /// and its files as that host sees them. Done means that it runs there, stamped, and that nothing is left here. An error that is not
    /// `unknown` or `retry` means that nothing works at it any more, and that nothing of it runs there.
    fn begin(call: &Call, domain: DomainSpec, to: Destination) -> Result<JobStatus, Error>;
    /// How far it is; `gone` if no such job is known.
    fn poll(call: &Call) -> Result<JobStatus, Error>;
    /// Stops it. Success means that nothing works at it any more, and that the domain runs where it ran; `unknown` if that cannot be
    /// said.
    fn abort(call: &Call) -> Result<(), Error>;
}

/// Ability: attach and detach while it runs, judged by what the domain has, now and at its next start.
#[allow(clippy::missing_errors_doc)]
pub trait Hotplug {
    /// Have the disk.
    fn attach_disk(call: &Call, disk: DomainDisk) -> Result<Outcome, Error>;
    /// Have no such disk; success means that the guest has let go of it.
    fn detach_disk(call: &Call, name: &str) -> Result<Outcome, Error>;
    /// Have the NIC.
    fn attach_nic(call: &Call, nic: DomainNic) -> Result<Outcome, Error>;
    /// Have no such NIC.
    fn detach_nic(call: &Call, mac: &str) -> Result<Outcome, Error>;
}

/// Ability: system snapshots, named by the host.
#[allow(clippy::missing_errors_doc)]
pub trait Snapshots {
    /// Have a snapshot of memory and disks of that name, and run on.
    fn create(call: &Call, name: &str) -> Result<Outcome, Error>;
    /// Be as it was then, stamped anew before a virtual CPU runs, and run. An edge, as [`Hypervisor::press_power`] is.
    fn revert(call: &Call, name: &str) -> Result<Outcome, Error>;
    /// Have no such snapshot, whether it runs or not; a domain that is absent has none.
    fn delete(call: &Call, name: &str) -> Result<Outcome, Error>;
    /// Those there are, oldest first.
    fn list(vm: &str) -> Result<Vec<String>, Error>;
}

/// Ability: change a running domain.
#[allow(clippy::missing_errors_doc)]
pub trait LiveResize {
    /// Have so many virtual CPUs and so much memory, at most what [`DomainSpec::vcpus_most`] and [`DomainSpec::memory_most_mib`] said.
    fn resize(call: &Call, vcpus: u32, memory_mib: u64) -> Result<Outcome, Error>;
}

/// Ability: copy a disk in use into an image.
#[allow(clippy::missing_errors_doc)]
pub trait DiskCopy {
    /// Begins, or attaches to what this identity began, or finds it done. `target` becomes a complete file of `format` (`qcow2` or `raw`)
    /// that stands on no other; the domain is left as it was.
    fn begin(call: &Call, disk: &str, target: FileRef, format: &str) -> Result<JobStatus, Error>;
    /// How far it is; `gone` if no such job is known.
    fn poll(_call: &Call) -> Result<JobStatus, Error> {
        Err(Error::gone("no-such-job", "this driver works within `begin`: begin it again"))
    }
    /// Stops it. Success means that nothing works at it any more.
    fn abort(_call: &Call) -> Result<(), Error> {
        Ok(())
    }
}

/// Ability: say what a domain is that somebody else made, and stamp it.
#[allow(clippy::missing_errors_doc)]
pub trait Adopt {
    /// What it is; `gone` if there is none, `refused` if it has something that the contract has no word for.
    fn inspect(vm: &str) -> Result<WildDomain, Error>;
    /// Have `identity` in the domain, and change in nothing else. Another store's is `refused` with code `foreign`.
    fn stamp(call: &Call, identity: Identity) -> Result<Outcome, Error>;
}

/// Ability: a console endpoint that the host connects to.
#[allow(clippy::missing_errors_doc)]
pub trait Console {
    /// `kind` is `vnc` or `serial`.
    fn open(vm: &str, kind: &str) -> Result<Endpoint, Error>;
}

/// Ability: prove the target host off.
#[allow(clippy::missing_errors_doc)]
pub trait Fence {
    /// Success means that nothing of that host runs any more.
    fn fence(call: &Call) -> Result<(), Error>;
}

/// A transfer driver. All jobs converge.
#[allow(clippy::missing_errors_doc)]
pub trait Transfer {
    /// Begins a job, or attaches to what this identity began, or finds it done. A driver that works within the call reports
    /// progress, looks at [`Call::go_on`] and answers `done`.
    fn begin(call: &Call, job: Job) -> Result<JobStatus, Error>;
    /// How far it is; `gone` if no such job is known.
    fn poll(_call: &Call) -> Result<JobStatus, Error> {
        Err(Error::gone("no-such-job", "this driver works within `begin`: begin it again"))
    }
    /// Stops it. Success means that nothing works at it any more.
    fn abort(_call: &Call) -> Result<(), Error> {
        Ok(())
    }
}

/// Ability of a transfer driver: images are made from disks.
#[allow(clippy::missing_errors_doc)]
pub trait TransferImages {
    /// Make an image of a disk that nobody writes: a complete file that stands on no other. Polled and aborted as all jobs of
    /// [`Transfer`] are.
    fn begin_save_back(call: &Call, job: SaveBackJob) -> Result<JobStatus, Error>;
}

/// Ability of a transfer driver: it says what a file is, before anything is made to stand on it.
#[allow(clippy::missing_errors_doc)]
pub trait TransferInspect {
    /// Looks at a file; changes nothing, and opens no other file that it names ([`crate::qcow2`] reads names). An absent file is `gone`.
    fn inspect(file: FileRef) -> Result<FileLook, Error>;
}

/// Ability of a transfer driver: how much a datastore holds.
#[allow(clippy::missing_errors_doc)]
pub trait TransferUsage {
    /// In MiB.
    fn usage(datastore: &str) -> Result<Usage, Error>;
}

/// Snapshot rules. Pure: the same question has the same answer; no grant is needed.
pub trait SnapshotRules {
    /// May this snapshot verb be done, and what becomes of each existing snapshot when this verb is done?
    fn judge(question: Question) -> Verdict;
}
