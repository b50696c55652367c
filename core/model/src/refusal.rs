//! Why a request is refused, as data: a kind, the VM, and a cause with what its sentence needs. No
//! sentence is made here. Names and words belong to those who show it (`server`), because only they
//! know names and only they know for whom they write.

use crate::{
    Ability, ClaimRefused, DiskName, DriverError, DriverName, Goal, HardwareChange, Hint, HostId,
    HostName, ImageName, InvalidSchedule, InvalidSpec, MacAddress, OperationId, Reason,
    ResourceRefused, ScheduleId, SnapshotName, State, StepKind, Unfit, Verb, Version, VmId,
};
use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

/// Why a request is refused. Stable codes of the API.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    IntoStaticStr,
    EnumIter,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum RefusalKind {
    /// The verb is not possible in this state.
    WrongState,
    /// Another operation holds the slot.
    Busy,
    /// The record does not have the version that the request names.
    VersionMismatch,
    /// No host is given, or the host cannot take the VM.
    NoHost,
    /// The host is full.
    NoCapacity,
    /// The image is not there or not ready.
    ImageNotReady,
    /// The request needs a fresh look that says *absent*.
    NotAbsent,
    /// An observation contradicts the operator's statement.
    Contradicted,
    /// The host could not be asked, and the answer is needed.
    CannotAsk,
    /// The driver cannot do it.
    NotAble,
    /// There is no failed operation to recover.
    NothingToRecover,
    /// The snapshot rules refuse it.
    Rules,
    /// The thing that the request names does not exist or exists already, or the request makes no
    /// sense.
    BadRequest,
    /// The old host may still run the VM, or the request does not say where its files are.
    NotFenced,
}

/// A refusal: nothing was changed. Its `Display` is for logs; people are shown the words that
/// `server` makes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{verb} of VM {vm} is refused: {kind} ({cause:?})")]
pub struct Refusal {
    /// Stable code.
    pub kind: RefusalKind,
    /// The verb.
    pub verb: Verb,
    /// The VM.
    pub vm: VmId,
    /// The reason.
    pub cause: Cause,
    /// What can be done instead.
    pub hint: Hint,
}

/// The state in which a look has shown the VM's domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shown {
    /// It runs.
    Running,
    /// It is paused.
    Paused,
    /// It is defined, and off.
    Off,
    /// It crashed and was preserved.
    Crashed,
    /// There is no such domain.
    Absent,
    /// A domain that this store did not stamp.
    Foreign,
    /// It is newer than this store.
    AboveIssued,
    /// A leftover of an earlier placement, off.
    OlderOff,
    /// A leftover of an earlier placement that is not off.
    OlderAlive,
}

/// The part of a VM whose specification would be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The whole.
    Vm,
    /// A disk.
    Disk,
    /// A network card.
    Nic,
    /// The size.
    Size,
}

/// The reason for a refusal, with the data of its sentence. The VM and the verb are in the
/// [`Refusal`].
///
/// It is stored with scheduled actions. A variant that goes leaves rows behind that show
/// [`crate::NotDone::Told`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    // The record.
    /// The record has another version than the request names.
    Version {
        /// The version of the record.
        has: Version,
        /// The version that is named.
        wanted: Version,
    },
    /// The verb is not possible from this state.
    WrongState {
        /// The state.
        state: State,
    },
    /// An operation is still running.
    Busy {
        /// The operation.
        operation: OperationId,
        /// Its verb.
        doing: Verb,
    },
    /// An operation is running, and until it ends nobody may change what becomes of the VM's disks.
    DisksBusy {
        /// The operation.
        operation: OperationId,
        /// Its verb.
        doing: Verb,
    },
    /// A migration ended with an unknown outcome: it is not known at which of two hosts the VM is.
    AtOneOfTwoHosts,
    /// The VM failed, but not because of saved memory.
    FailedOtherwise,

    // What a look shows, or does not show.
    /// The guest cannot answer its power button.
    GuestCannotAnswer {
        /// The reason: it has crashed, or it is paused because of an error.
        reason: Reason,
    },
    /// The VM was paused at the hypervisor: its disks are neither at rest nor can its guest flush
    /// them.
    PausedWithDisks,
    /// The VM was paused at the hypervisor: its memory is nowhere but there.
    PausedWithMemory,
    /// The verb needs the VM off, and it is not.
    NotOff {
        /// The state that was seen.
        seen: Shown,
    },
    /// The verb needs to see that the VM is off. Its host could not be asked; without an error,
    /// nobody looked.
    OffUnseen {
        /// The error of the driver.
        error: Option<DriverError>,
    },
    /// The VM's host answers, and only what is on a lost host is forgotten.
    AnswersForForget,
    /// The VM's host answers, and nothing is taken from such a host as from one that is lost.
    AnswersForFence,
    /// The VM's host answers, and shows the VM.
    AnswersWith {
        /// The state that was seen.
        seen: Shown,
    },
    /// The host cannot be asked. It has the VM's domain, which is off.
    HasDomain,
    /// The host cannot be asked, and the VM may still run there.
    MayStillRun,
    /// The VM's files are on the host that is lost.
    FilesOnLostHost,

    // Hosts and drivers.
    /// The VM has no place that it could be moved from.
    NoPlace,
    /// No host was named.
    NoHostNamed,
    /// There is no such host.
    NoSuchHost {
        /// The host that was named.
        host: HostId,
    },
    /// The host cannot take the VM.
    HostUnfit {
        /// The host.
        host: HostId,
        /// The reason.
        why: Unfit,
    },
    /// The VM is on that host already.
    SameHost {
        /// The host.
        host: HostId,
    },
    /// The host has another driver than the VM.
    OtherDriver {
        /// The host.
        host: HostId,
        /// The driver of the host.
        has: DriverName,
        /// The driver that the VM is made for.
        needs: DriverName,
    },
    /// The driver of the VM's host does not offer an ability there.
    NotOffered {
        /// The ability.
        ability: Ability,
    },
    /// The driver of the host that the VM would go to does not offer an ability there.
    NotOfferedThere {
        /// The ability.
        ability: Ability,
    },
    /// Only the VM's host sees a disk that was adopted.
    AdoptedDisk {
        /// The disk.
        disk: DiskName,
    },

    // What the request names.
    /// The verb was asked for without its arguments.
    NoArguments,
    /// The VM would not be valid.
    Invalid {
        /// The part that is wrong.
        part: Part,
        /// The fault.
        error: InvalidSpec,
    },
    /// The VM has no such disk.
    NoDisk {
        /// The name.
        disk: DiskName,
    },
    /// The VM has no such disk that is to become an image.
    NoDiskToSave {
        /// The name.
        disk: DiskName,
    },
    /// The disk is to become an image when the VM is shut down.
    DiskToSave {
        /// The disk.
        disk: DiskName,
        /// Whether the request asks for the same once more.
        again: bool,
    },
    /// The VM has no free disk name left.
    NoDiskName,
    /// The name of the disk makes no valid file name.
    NoFileName {
        /// The disk.
        disk: DiskName,
    },
    /// A file of somebody else is not given to a VM.
    FileOfOthers,
    /// There is no image of that name.
    NoImage {
        /// The name.
        image: ImageName,
    },
    /// The disk would be smaller than its image.
    SmallerThanImage {
        /// The disk.
        disk: DiskName,
        /// Its image.
        image: ImageName,
        /// The least size, in MiB.
        least_mib: u64,
    },
    /// There is no datastore to save an image to.
    NoImageDatastore,
    /// The VM has no such network card.
    NoNic {
        /// The address.
        mac: MacAddress,
    },
    /// No network address is free.
    NoAddress,
    /// The request names no size.
    NoSize,
    /// A running VM cannot become that large.
    TooLarge {
        /// The most virtual CPUs.
        vcpus: u32,
        /// The most memory.
        memory_mib: u64,
    },
    /// A running guest would lose so much memory that it kills its processes.
    LosesMemory {
        /// The memory now.
        from_mib: u64,
        /// The memory that is asked for.
        to_mib: u64,
    },

    // Snapshots.
    /// The VM has a snapshot with that label.
    SnapshotThere {
        /// The label.
        label: String,
    },
    /// The label looks like a name that Ostler gives.
    LabelIsAName {
        /// The label.
        label: String,
    },
    /// The label is too long, or not printable.
    BadLabel {
        /// The most bytes.
        most: usize,
    },
    /// The VM has as many snapshots as it may have.
    SnapshotsFull {
        /// How many those are.
        most: usize,
    },
    /// No snapshot of that name or label is offered.
    NoSnapshot {
        /// The name or label.
        name: String,
        /// The names and labels of the snapshots that are offered.
        #[serde(default)]
        known: Vec<String>,
    },
    /// Several snapshots have that label.
    SnapshotsCalled {
        /// The label.
        name: String,
        /// Their names.
        snapshots: Vec<SnapshotName>,
    },
    /// The VM's hardware has changed since the snapshot was made, and a revert would bring the old
    /// hardware back.
    SnapshotOfOtherHardware {
        /// The snapshot's name.
        name: SnapshotName,
        /// The label that its maker gave it; may be empty.
        #[serde(default)]
        label: String,
        /// The changes since then.
        changes: Vec<HardwareChange>,
    },
    /// The snapshot rules refuse it.
    RulesSayNo {
        /// The rules.
        rules: String,
        /// Their reason.
        reason: String,
    },
    /// The snapshot rules gave no answer.
    RulesSilent {
        /// The error.
        error: DriverError,
    },
    /// No snapshot rules are bound to the driver. No snapshot verb is done then.
    NoRules,
    /// No snapshot rules can be asked, because the VM has no host or none are bound to its driver.
    NoRulesToAsk {
        /// Whether the VM has a host.
        has_host: bool,
    },

    // Scheduled actions.
    /// The verb cannot be done later.
    NotLater {
        /// The verb that is to be scheduled.
        verb: Verb,
    },
    /// A statement about a host or files cannot be made ahead of time.
    StatedAhead,
    /// The schedule is not valid.
    BadSchedule {
        /// The fault.
        error: InvalidSchedule,
    },
    /// This version of Ostler cannot follow the schedule.
    UnreadSchedule {
        /// What is not understood.
        error: InvalidSchedule,
    },
    /// The VM has as many scheduled actions as it may have.
    SchedulesFull {
        /// How many those are.
        most: usize,
    },
    /// The VM's host does not have the bridge that a new network card is to be plugged into.
    NoBridge {
        /// The host.
        host: HostName,
        /// The name of the bridge.
        bridge: String,
    },
    /// The VM has no such scheduled action.
    NoSchedule {
        /// Its id.
        id: ScheduleId,
    },
    /// The scheduled action came too late to begin.
    TooLate,

    // Recovery.
    /// No step is in hand and none has failed.
    NothingFailed {
        /// The state.
        state: State,
    },
    /// No step is in hand, and it is not known at which host of a migration the guest is.
    NoStepOfMigration,
    /// What a person states about a migration does not follow from what is seen at the host that
    /// the VM came from.
    ArrivalUnseen {
        /// The state that was seen; none if the host cannot be asked.
        seen: Option<Shown>,
    },
    /// A delete is not taken back.
    BeingDeleted,
    /// There is no way back.
    NoWayBack {
        /// Whether the reason is that the store was restored meanwhile.
        restored: bool,
    },
    /// Nothing can show that the step succeeded, and data is lost if it did not.
    Uncheckable {
        /// The step.
        step: StepKind,
    },
    /// The step leaves something at the other host, and nobody looked there.
    OtherHostUnseen,
    /// The host could not be asked whether the step succeeded; without an error, nobody looked.
    SuccessUnseen {
        /// The error of the driver.
        error: Option<DriverError>,
    },
    /// The step has another goal than what is seen.
    GoalUnseen {
        /// The goal of the step.
        goal: Goal,
        /// The state that was seen.
        seen: Shown,
    },

    // A restored store.
    /// The store was restored, and it is not known yet where the VM is.
    NotReconciled,
    /// A host has a domain of the VM that is newer than this store's record.
    NewerElsewhere {
        /// The host.
        host: HostId,
        /// The name of the domain.
        domain: String,
    },

    // The store.
    /// A claim does not hold.
    Claim(Box<ClaimRefused>),
    /// The store refuses the change of a resource.
    Resource(ResourceRefused),
}

impl Shown {
    /// In a word or two.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Off => "off",
            Self::Crashed => "crashed",
            Self::Absent => "absent",
            Self::Foreign => "not ours",
            Self::AboveIssued => "newer than this store",
            Self::OlderOff => "an older placement, off",
            Self::OlderAlive => "an older placement, alive",
        }
    }
}
