//! The traits that authors implement: one for each kind of driver, one for each ability.
//!
//! There is no `self`, because each call runs in a new instance, which is thrown away afterwards.
//! Data that must outlive a call is stamped into the domain at the host, or kept by the host as the
//! driver's state ([`Outcome::keeping`]).

use crate::{
    Batch, Call, ConsoleKind, Destination, DiskFormat, DomainDisk, DomainNic, DomainSpec, Endpoint,
    Error, FileLook, FileRef, HostFacts, Identity, Job, JobStatus, LargerJob, Listed, Observation,
    Outcome, Question, Sample, SaveBackJob, Usage, Verdict, WildDomain,
};

/// The mandatory part of a hypervisor driver. Every call converges: sent twice, it has the same
/// result as sent once. Every mutating call compares stores and generations first ([`Call::find`]).
pub trait Hypervisor {
    /// The capacity and version of the target host.
    ///
    /// # Errors
    /// `retry` if the host cannot be asked now, `refused` if its settings are wrong.
    fn probe() -> Result<HostFacts, Error>;
    /// Defines the domain as `domain`, stamps it with its identity before it may run, and starts
    /// it.
    ///
    /// # Errors
    /// `stale`. `refused` with code `foreign` if a domain of another store is there. Other errors
    /// of the hypervisor.
    fn deploy(call: &Call, domain: DomainSpec) -> Result<Outcome, Error>;
    /// Presses the power button and returns at once. It first stamps the call's identity into the
    /// domain. If this identity is there already, the button was pressed before and is not pressed
    /// again.
    ///
    /// # Errors
    /// `gone` if the domain does not run.
    fn press_power(call: &Call) -> Result<Outcome, Error>;
    /// Switches the domain off. A missing domain is a success. This call may run beside any other
    /// call.
    ///
    /// # Errors
    /// `stale`, or other errors of the hypervisor.
    fn destroy(call: &Call) -> Result<Outcome, Error>;
    /// Switches the domain off and removes its definition, so that nothing is left at the
    /// hypervisor. A missing domain is a success.
    ///
    /// # Errors
    /// `stale`, or other errors of the hypervisor.
    fn remove(call: &Call) -> Result<Outcome, Error>;
    /// The domain of one VM, as it is now.
    ///
    /// # Errors
    /// Whenever the hypervisor could not be asked. [`Observation::Absent`] must be certain, because
    /// disks are removed after it.
    fn observe(vm: &str) -> Result<Observation, Error>;
    /// All domains of the host, Ostler's and others.
    ///
    /// # Errors
    /// Whenever the hypervisor could not be asked.
    fn list() -> Result<Listed, Error>;
}

/// Ability: reboot and reset. Both are edge effects, as [`Hypervisor::press_power`] is.
#[allow(clippy::missing_errors_doc)]
pub trait Reboot {
    /// Asks the guest to reboot.
    fn reboot(call: &Call) -> Result<Outcome, Error>;
    /// Presses the reset button.
    fn reset(call: &Call) -> Result<Outcome, Error>;
}

/// Ability: save the memory, restore it, let the domain run again.
#[allow(clippy::missing_errors_doc)]
pub trait Suspend {
    /// Writes the memory to `file` and switches the domain off. If it is off and the file is
    /// complete, this is a success.
    fn save(call: &Call, file: FileRef) -> Result<Outcome, Error>;
    /// Restores the domain from `file` as `domain`, stamps it again, and leaves it paused.
    fn restore(call: &Call, domain: DomainSpec, file: FileRef) -> Result<Outcome, Error>;
    /// Lets the domain run again. A running domain is a success, a domain that is off is `gone`.
    fn unpause(call: &Call) -> Result<Outcome, Error>;
}

/// Ability: report changes.
#[allow(clippy::missing_errors_doc)]
pub trait Changes {
    /// Waits up to `wait_ms` for domains that may have changed after `cursor`. The host only looks
    /// at them earlier; it takes nothing from the report as a fact.
    fn changes(cursor: u64, wait_ms: u64) -> Result<Batch, Error>;
}

/// Ability: counters.
#[allow(clippy::missing_errors_doc)]
pub trait Metrics {
    /// The counters of all running domains of Ostler's.
    fn sample() -> Result<Vec<Sample>, Error>;
}

/// Ability: move a domain to another host of the same driver.
#[allow(clippy::missing_errors_doc)]
pub trait Migrate {
    /// Begins the migration, or attaches to the one that this identity began, or finds that the
    /// domain has moved. `domain` is the domain as it will be at the target, with its generation
    /// there and its files as the target host sees them. `Done` means that the domain runs there,
    /// is stamped, and has left nothing here. After an error other than `unknown` or `retry`
    /// nothing works on the migration any more, and nothing of the domain runs there.
    fn begin(call: &Call, domain: DomainSpec, to: Destination) -> Result<JobStatus, Error>;
    /// How far the migration is. `gone` if no such job is known.
    fn poll(call: &Call) -> Result<JobStatus, Error>;
    /// Stops the migration. Success means that nothing works on it any more and that the domain
    /// runs where it ran. `unknown` if this is not certain.
    fn abort(call: &Call) -> Result<(), Error>;
}

/// Ability: attach and detach while the domain runs. A call is judged by what the domain has now
/// and at its next start.
#[allow(clippy::missing_errors_doc)]
pub trait Hotplug {
    /// Attaches the disk, unless the domain has it.
    fn attach_disk(call: &Call, disk: DomainDisk) -> Result<Outcome, Error>;
    /// Detaches the disk, if the domain has it. Success means that the guest has released it.
    fn detach_disk(call: &Call, name: &str) -> Result<Outcome, Error>;
    /// Attaches the NIC, unless the domain has it.
    fn attach_nic(call: &Call, nic: DomainNic) -> Result<Outcome, Error>;
    /// Detaches the NIC, if the domain has it.
    fn detach_nic(call: &Call, mac: &str) -> Result<Outcome, Error>;
}

/// Ability: system snapshots. The host chooses their names.
#[allow(clippy::missing_errors_doc)]
pub trait Snapshots {
    /// Makes a snapshot of memory and disks with that name, unless there is one. The domain keeps
    /// running.
    fn create(call: &Call, name: &str) -> Result<Outcome, Error>;
    /// Goes back to the snapshot, stamps the domain before a virtual CPU runs, and lets it run. An
    /// edge effect, as [`Hypervisor::press_power`] is.
    fn revert(call: &Call, name: &str) -> Result<Outcome, Error>;
    /// Removes the snapshot, whether the domain runs or not. A missing snapshot or domain is a
    /// success.
    fn delete(call: &Call, name: &str) -> Result<Outcome, Error>;
    /// The names of the snapshots, oldest first.
    fn list(vm: &str) -> Result<Vec<String>, Error>;
}

/// Ability: change a running domain.
#[allow(clippy::missing_errors_doc)]
pub trait LiveResize {
    /// Gives the domain so many virtual CPUs and so much memory. Both are at most
    /// [`DomainSpec::vcpus_most`] and [`DomainSpec::memory_most_mib`].
    fn resize(call: &Call, vcpus: u32, memory_mib: u64) -> Result<Outcome, Error>;
}

/// Ability: copy a disk in use into an image.
#[allow(clippy::missing_errors_doc)]
pub trait DiskCopy {
    /// Begins the copy, or attaches to the one that this identity began, or finds it done. `target`
    /// becomes a complete file of `format` that names no other file. The domain
    /// is left as it was.
    fn begin(
        call: &Call,
        disk: &str,
        target: FileRef,
        format: DiskFormat,
    ) -> Result<JobStatus, Error>;
    /// How far the copy is. `gone` if no such job is known.
    fn poll(_call: &Call) -> Result<JobStatus, Error> {
        Err(Error::gone("no-such-job", "this driver works within `begin`: begin it again"))
    }
    /// Stops the copy. Success means that nothing works on it any more.
    fn abort(_call: &Call) -> Result<(), Error> {
        Ok(())
    }
}

/// Ability: describe and stamp a domain that somebody else made.
#[allow(clippy::missing_errors_doc)]
pub trait Adopt {
    /// Describes the domain. `gone` if there is none, `refused` if it has something that the
    /// contract cannot express.
    fn inspect(vm: &str) -> Result<WildDomain, Error>;
    /// Stamps the domain with `identity`, and changes nothing else. A domain of another store is
    /// `refused` with code `foreign`.
    fn stamp(call: &Call, identity: Identity) -> Result<Outcome, Error>;
}

/// Ability: a console endpoint that the host connects to.
#[allow(clippy::missing_errors_doc)]
pub trait Console {
    /// Opens a console of that kind.
    fn open(vm: &str, kind: ConsoleKind) -> Result<Endpoint, Error>;
}

/// Ability: prove that the target host is off.
#[allow(clippy::missing_errors_doc)]
pub trait Fence {
    /// Fences the host. Success means that nothing of that host runs any more.
    fn fence(call: &Call) -> Result<(), Error>;
}

/// A transfer driver. All jobs converge.
#[allow(clippy::missing_errors_doc)]
pub trait Transfer {
    /// Begins a job, or attaches to the one that this identity began, or finds it done. A driver
    /// that does all work within this call reports progress, asks [`Call::go_on`] between parts,
    /// and answers `done`.
    fn begin(call: &Call, job: Job) -> Result<JobStatus, Error>;
    /// How far the job is. `gone` if no such job is known.
    fn poll(_call: &Call) -> Result<JobStatus, Error> {
        Err(Error::gone("no-such-job", "this driver works within `begin`: begin it again"))
    }
    /// Stops the job. Success means that nothing works on it any more.
    fn abort(_call: &Call) -> Result<(), Error> {
        Ok(())
    }
}

/// Ability of a transfer driver: make images from disks.
#[allow(clippy::missing_errors_doc)]
pub trait TransferImages {
    /// Makes an image of a disk that nobody writes: a complete file that names no other file. It is
    /// polled and aborted like all jobs of [`Transfer`].
    fn begin_save_back(call: &Call, job: SaveBackJob) -> Result<JobStatus, Error>;
}

/// Ability of a transfer driver: make a disk that is larger than its image.
#[allow(clippy::missing_errors_doc)]
pub trait TransferLarger {
    /// Makes a disk that begins as an image and has the size of the job. `refused` with code
    /// `smaller-than-image` if the image is larger. It is polled and aborted like all jobs of
    /// [`Transfer`].
    fn begin_larger(call: &Call, job: LargerJob) -> Result<JobStatus, Error>;
}

/// Ability of a transfer driver: describe a file before anything is based on it.
#[allow(clippy::missing_errors_doc)]
pub trait TransferInspect {
    /// Looks at a file. It changes nothing, and opens no other file that the file names
    /// ([`crate::qcow2`] reads the names). A missing file is `gone`.
    fn inspect(file: FileRef) -> Result<FileLook, Error>;
}

/// Ability of a transfer driver: tell how much a datastore holds.
#[allow(clippy::missing_errors_doc)]
pub trait TransferUsage {
    /// The space of a datastore, in MiB.
    fn usage(datastore: &str) -> Result<Usage, Error>;
}

/// Snapshot rules. They do no IO: the same question always has the same answer. They need no grant.
pub trait SnapshotRules {
    /// Answers whether this snapshot verb is allowed, and what happens to each existing snapshot
    /// when this verb is done.
    fn judge(question: Question) -> Verdict;
}
