//! The facts that a decision may know beside the record. The runner fetches them before the
//! decision.

use crate::admission;
use ostler_model::{
    Ability, DomainSeen, DriverError, DriverName, HostId, HostName, Image, Observation, State,
    Storage, StoreId, Verb, VmRecord,
};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A fresh look, or the error that prevented it.
pub type Look = Result<Observation, DriverError>;

/// The fate of an existing snapshot during a verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It stays.
    Keep,
    /// It is removed by a step of the operation.
    Lose,
    /// It stays at the hypervisor and is no longer offered.
    Hide,
}

/// The answer of the snapshot rules that are bound to the VM's driver, about one verb.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// The rules that were asked; for people.
    pub rules: String,
    /// For snapshot verbs: the reason if the rules refuse the verb.
    pub refused: Option<String>,
    /// One fate for each snapshot of the record, in its order.
    pub fates: Vec<Fate>,
}

/// A host to which a VM could be deployed or moved, with the facts that are known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The host.
    pub host: HostId,
    /// Its hypervisor driver, if it has one.
    pub driver: Option<DriverName>,
    /// The system datastore for a VM that has none yet, if there is one.
    pub storage: Option<Storage>,
    /// The host that was known earlier and is the same hypervisor as this one.
    pub twin: Option<HostName>,
    /// The hosts where the VM has its placement or left something.
    pub near: Vec<Near>,
    /// The host's network interfaces, its bridges among them. None: not known now, and then nothing
    /// is refused for a missing bridge.
    pub interfaces: Option<Arc<BTreeSet<String>>>,
}

/// A host that has something of the VM, beside a candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Near {
    /// The host.
    pub host: HostId,
    /// Its name.
    pub name: HostName,
    /// Whether this host and the candidate are one hypervisor.
    pub one_hypervisor: bool,
    /// Whether this host and the candidate are reached in the same way. Then a path is the same
    /// file on both.
    pub one_file_system: bool,
}

/// A domain that a host has listed, stamped with a VM's identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The host that has listed it.
    pub host: HostId,
    /// The host's hypervisor driver.
    pub driver: DriverName,
    /// The domain.
    pub seen: DomainSeen,
}

/// A domain that is newer than the record, on another host than the VM's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// The domain.
    pub found: Found,
    /// Whether every host that is on has been listed, and no third host has a domain of the VM.
    pub alone: bool,
}

/// The network interfaces of a host, its bridges among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interfaces {
    /// The host's name.
    pub host: HostName,
    /// Their names.
    pub names: Arc<BTreeSet<String>>,
}

/// The facts that are known beside the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// This store. A domain that it did not stamp is not its own.
    pub store: StoreId,
    /// For deploy and migrate: the host that the request names, if there is such a host.
    pub target: Option<Candidate>,
    /// The abilities of the driver on the VM's host. None: not known now, and then nothing is
    /// refused for a missing ability.
    pub abilities: Option<Vec<Ability>>,
    /// The abilities of the driver on the target. None: not known now.
    pub target_abilities: Option<Vec<Ability>>,
    /// For nic-attach: the network interfaces of the VM's host. None: not known now.
    pub interfaces: Option<Interfaces>,
    /// A look begun after the request came in, where [`wants_look`] says that one is needed.
    pub look: Option<Look>,
    /// The answer of the snapshot rules. None: they were not asked because nothing depends on it,
    /// or no rules are bound to the VM's driver. An error is not an answer.
    pub advice: Option<Result<Advice, DriverError>>,
    /// For disk-attach: the image that the disk stands on.
    pub image: Option<Image>,
    /// A domain on another host that is newer than the record ([`crate::elsewhere`]).
    pub elsewhere: Option<Elsewhere>,
    /// For disk-snapshot: the image that is to be made, and the transfer driver of its datastore.
    pub new_image: Option<(Image, DriverName)>,
}

impl Facts {
    /// No fact except the store itself.
    #[must_use]
    pub const fn bare(store: StoreId) -> Self {
        Self {
            store,
            target: None,
            abilities: None,
            target_abilities: None,
            interfaces: None,
            look: None,
            advice: None,
            image: None,
            elsewhere: None,
            new_image: None,
        }
    }
}

/// Whether the runner must look at the host before `verb` is decided.
#[must_use]
pub fn wants_look(record: &VmRecord, verb: Verb) -> bool {
    let unknown = record.state == State::Unknown;
    let judged_by_look = match verb {
        Verb::Resume | Verb::Boot => unknown,
        // A VM that can be seen must not be moved as from a lost host, nor forgotten.
        Verb::Migrate => unknown || record.state == State::Suspended,
        Verb::RecoverSuccess | Verb::Forget => record.placement.is_some(),
        Verb::RecoverFailure => unknown && record.moving.is_some(),
        Verb::Hold
        | Verb::Release
        | Verb::Deploy
        | Verb::Suspend
        | Verb::Stop
        | Verb::ResumeCold
        | Verb::Adopt => false,
        Verb::Poweroff
        | Verb::PoweroffHard
        | Verb::Undeploy
        | Verb::UndeployHard
        | Verb::Reboot
        | Verb::RebootHard => false,
        Verb::Shutdown | Verb::ShutdownHard | Verb::Delete | Verb::DeleteRecreate => false,
        Verb::MigrateLive | Verb::MigratePoweroff | Verb::MigratePoweroffHard => false,
        Verb::DiskAttach | Verb::DiskDetach | Verb::NicAttach | Verb::NicDetach | Verb::Resize => {
            false
        }
        Verb::SnapshotCreate
        | Verb::SnapshotRevert
        | Verb::SnapshotDelete
        | Verb::DiskSnapshotLive => false,
        Verb::Resched | Verb::Unresched | Verb::DiskSnapshot | Verb::DiskSnapshotCancel => false,
        Verb::Update | Verb::Rename | Verb::Schedule | Verb::Unschedule | Verb::Reschedule => false,
        Verb::RecoverRetry | Verb::RecoverUndo => false,
    };
    judged_by_look || admission::needs_off(record, verb)
}

/// Whether the runner must ask the snapshot rules before `verb` is decided.
#[must_use]
pub const fn wants_advice(record: &VmRecord, verb: Verb) -> bool {
    verb.is_snapshot()
        || !(record.snapshots.is_empty() || verb.is_record_only() || verb.is_recovery())
}
