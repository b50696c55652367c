//! Advice that goes with a refusal, as a code. Each client makes its own words of it: the command
//! line names a command, a web page a button.

use crate::State;
use serde::{Deserialize, Serialize};
use strum::{EnumIter, IntoStaticStr};

/// What can be done instead. Its code is a stable code of the API, so a variant is never renamed
/// and never gets another meaning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr, EnumIter)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Hint {
    // Time helps, or another question.
    /// Wait until the operation of the VM has ended.
    Wait,
    /// Wait for the operation, or overtake it with a verb that does not ask the guest.
    WaitOrHard,
    /// Wait for the operation. Only a delete overtakes it, and that ends the VM.
    WaitOrDelete,
    /// Wait for the delete. Only forget overtakes it, and that is for hosts that are lost.
    WaitOrForget,
    /// Wait until the state that was seen is in the record.
    WaitUntilSeen,
    /// Ask again.
    AskAgain,
    /// Read the VM again and decide anew.
    ReadAgain,
    /// The operation is settled once both hosts of the migration are seen. A delete ends the VM on
    /// both.
    WaitOrDeleteBoth,
    /// The migration is settled once both hosts are seen. A person can state whether the guest has
    /// arrived.
    StateArrival,

    // The request must say something else.
    /// Look up which arguments the verb takes.
    SeeArguments,
    /// Ask for something else.
    ChangeRequest,
    /// Choose another name.
    OtherName,
    /// Say which size is wanted.
    GiveSize,
    /// Say which network address is wanted.
    GiveAddress,
    /// Use the snapshot's own name. If another snapshot is called like that, delete that one first.
    SnapshotByName,
    /// The VM's page shows its disks, network cards and snapshots.
    ShowVm,
    /// The list of VMs shows which there are.
    ListVms,
    /// The list of the VM's operations shows which there are.
    ListOperations,
    /// Create a new VM, because a VM that is done stays done.
    CreateNew,
    /// The verb works from these states.
    WorksFrom {
        /// The states.
        states: Vec<State>,
    },
    /// See what the VM waits for, and what can be done about it.
    SeeWhy,
    /// A number without a unit is MiB. With force the memory is taken away all the same.
    ForceResize,
    /// Power the VM off, resize it and resume it; or create it with more headroom.
    ResizeOff,

    // Something of the VM must be done first.
    /// Deploy the VM.
    Deploy,
    /// Detach a disk first.
    DetachDisk,
    /// Take back first that the disk is to become an image.
    CancelDiskSnapshot,
    /// Delete some snapshots first.
    DeleteSnapshots,
    /// Attach, detach and resize until the VM has the hardware of the snapshot again.
    SetHardwareBack,
    /// Resume the VM, or stop it, and then move it.
    ResumeOrStop,
    /// Resume the VM, or suspend it after that.
    ResumeFirst,
    /// Power the VM off without asking the guest.
    HardOff,
    /// Resume the VM, or power it off without asking the guest.
    ResumeOrHardOff,
    /// Power the VM off first without asking the guest, or wait until it is seen again.
    PowerOffFirst,
    /// Suspend the VM or power it off: then it stays on its host.
    KeepOnHost,
    /// Power the VM off and resume it, or delete it.
    RestartOrDelete,

    // Hosts.
    /// Name a host that is on, or leave the choice to the scheduler.
    NameHost,
    /// The list of hosts shows which there are.
    ListHosts,
    /// The host's page lists the wild domains that are on it.
    ListWildDomains,
    /// Move the VMs away as from a fenced host, or forget them, and ask again.
    EmptyHost,
    /// Wait until what VMs left there is put away. Then the host can be removed without stating
    /// that it is fenced.
    WaitForSweep,
    /// Name another host.
    OtherHost,
    /// Name another host, or free some capacity.
    OtherHostOrRoom,
    /// Make the bridge on the host, or name another bridge.
    MakeBridge,
    /// Make the bridge on the host, or name another host.
    OtherHostOrBridge,
    /// Name a host that has the same driver.
    HostOfSameDriver,
    /// The host's page shows what its driver can do.
    ShowHost,
    /// Move the VM powered off: that needs less of the drivers.
    MovePoweredOff,
    /// Bring the host back.
    BringHostBack,
    /// Bring the host back, or make sure that it is off and state that it is fenced.
    BringBackOrFence,
    /// Make sure that the host is off and state that it is fenced; or wait until it is back.
    Fence,
    /// Bring the files to the same path on the new host, and state that.
    MoveStorage,
    /// Move the VM without stating that its host is fenced.
    MoveUnfenced,
    /// Wait until the VM's state is settled, then move it as usual.
    WaitThenMove,
    /// Delete the VM. With force it is forgotten although its host answers.
    DeleteOrForget,

    // Images, datastores, rules.
    /// Register the file as an image.
    RegisterImage,
    /// Register the image, or wait until it is ready.
    ImageReady,
    /// The list of images shows which there are.
    ListImages,
    /// The list of datastores shows which there are.
    ListDatastores,
    /// The datastore's page shows its directory.
    ShowDatastore,
    /// The list of drivers shows which there are.
    ListDrivers,
    /// The manifest of the driver's file says which capabilities it asks for.
    InspectDriver,
    /// Look at the commands of the driver's new file, and name all grants that it is to have.
    NameGrants,
    /// Say that the driver is to be put in the place of the one of that name.
    ReplaceDriver,
    /// The list of tokens shows which there are.
    ListTokens,
    /// Give the VM another name than its domain has.
    GiveName,
    /// Change the domain at the hypervisor first, or accept the changes.
    AcceptChanges,
    /// Name an image datastore.
    NameDatastore,
    /// Add a system datastore.
    AddDatastore,
    /// The list of drivers shows which snapshot rules are bound.
    ListRules,
    /// Mend the snapshot rules or replace them.
    MendRules,
    /// Install snapshot rules and bind them to the driver.
    BindRules,
    /// Deploy the VM, and bind snapshot rules to the driver of its host.
    DeployAndBindRules,

    // Scheduled actions.
    /// Schedule another verb.
    OtherVerb,
    /// Ask at that time: a person must look first.
    AskThen,
    /// Change when it is due.
    ChangeWhen,
    /// Change what is planned.
    ChangePlan,
    /// Take back scheduled actions that are over.
    Unschedule,
    /// The list of scheduled actions shows which there are.
    ListSchedules,
    /// Change the scheduled action, so that this version understands it.
    Reschedule,
    /// The scheduled action says how late it may be.
    SeeMisfire,

    // Recovery.
    /// A retry sends the step again.
    RecoverRetry,
    /// A retry goes on; a delete goes on and never gives up.
    RetryOrDelete,
    /// A retry does the step again and verifies it; with force the statement is believed.
    RetryOrForce,
    /// With force the statement is believed.
    ForceRecover,
    /// Ask again; or with force the statement is believed.
    AskAgainOrForce,
    /// Look at the other host; then with force the statement is believed. A VM that runs twice
    /// destroys its disks.
    ForceArrival,

    // A restored store.
    /// See which hosts are waited for since the restore, and how to state that the record is right.
    SeeRestored,
    /// Restore a newer backup; or make sure that the domain is not the VM, and state that the
    /// record is right.
    AcceptRecord,
}

impl Hint {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.into()
    }
}
