//! What a commit is made of, and what comes of it.

use ostler_model::{
    Claim, ClaimRefused, Datastore, DatastoreId, DiskFormat, DriverName, Effect, EffectKey, EventKind, EventSeq, Host, HostId,
    HostName, HostState, Identified, Image, ImageId, ImageName, ImageState, MacAddress, OperationRecord, RelPath, Timestamp,
    Version, VmId, VmRecord,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One all-or-nothing change. Everything in it holds together after any crash, or nothing of it does.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// The record, written only if it is still as the decision found it.
    pub vm: Option<VmChange>,
    /// What must hold, checked in order against the rows as they then are.
    pub claims: Vec<Claim>,
    /// Operations as they are now: added, or put in the place of the row with the same id.
    pub operations: Vec<OperationRecord>,
    /// Driver calls that are now begun. Each must stand in the record's `open`.
    pub outbox_put: Vec<Effect>,
    /// Driver calls that are over. One that is not there is no error.
    pub outbox_del: Vec<EffectKey>,
    /// What happened; numbered by the store.
    pub events: Vec<EventDraft>,
    /// The answer to keep for a repeat of the same request.
    pub idempotency: Option<IdempotencyRow>,
    /// Changes of what is no VM. At most one change a resource.
    pub resources: Vec<ResourceChange>,
}

/// A record, and what it replaces.
#[derive(Debug, Clone)]
pub struct VmChange {
    /// The record as it shall be; its version is above `expect`.
    pub record: Arc<VmRecord>,
    /// The version it was decided on; none if there must be no such record yet.
    pub expect: Option<Version>,
}

/// An event that has no number yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventDraft {
    /// When it was decided.
    pub at: Timestamp,
    /// The VM it is about.
    pub vm: Option<VmId>,
    /// The VM's version that it came with.
    pub version: Option<Version>,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// The answer once given to a request that carried an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyRow {
    /// Who asked.
    pub who: String,
    /// Method and path.
    pub route: String,
    /// The key the client chose.
    pub key: String,
    /// Hash of the body: the same key with another body is a mistake of the client.
    #[serde(with = "crate::row::bytes")]
    pub body_hash: Vec<u8>,
    /// The whole answer, as the caller wants it back.
    #[serde(with = "crate::row::bytes")]
    pub answer: Vec<u8>,
    /// When. Forgotten [`crate::IDEMPOTENCY_KEPT`] later.
    pub at: Timestamp,
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRow {
    /// Its name; unique.
    pub name: String,
    /// SHA-256 of the secret, hexadecimal. The secret is shown once and kept nowhere.
    pub hash_hex: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created: Timestamp,
    /// When it stops working.
    pub expires: Option<Timestamp>,
}

/// A driver that was installed from a file. Built-in drivers have no row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriverRow {
    /// Its name; unique.
    pub name: DriverName,
    /// The component's file.
    pub file: String,
    /// SHA-256 of the file as installed, hexadecimal: another file is not loaded.
    pub digest: String,
    /// What the operator granted: a capability, and within it what exactly.
    #[serde(default)]
    pub grants: BTreeMap<String, Vec<String>>,
    /// The driver's own settings. Not secret.
    #[serde(default)]
    pub config: BTreeMap<String, String>,
    /// Whether it is loaded at start.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// When it was installed.
    pub added: Timestamp,
}

fn yes() -> bool {
    true
}

/// Which snapshot rules answer for a hypervisor driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesBinding {
    /// The hypervisor driver.
    pub hypervisor: DriverName,
    /// The driver that holds the rules.
    pub rules: DriverName,
}

/// Fields of a host that operators change. What is not given stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostEdit {
    /// What it is to be.
    pub state: Option<HostState>,
    /// All its labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// All its driver's settings; of no account for a host without a driver.
    pub config: Option<BTreeMap<String, String>>,
    /// The snapshot rules that count on it; `Some(None)` takes them away.
    pub rules: Option<Option<DriverName>>,
    /// The hypervisor that it is found to be with these settings, if that is known.
    pub identity: Option<Option<Identified>>,
}

impl HostEdit {
    /// The host as it will be.
    #[must_use]
    pub(crate) fn of(&self, mut host: Host) -> Host {
        let Self { state, labels, config, rules, identity } = self.clone();
        host.state = state.unwrap_or(host.state);
        host.labels = labels.unwrap_or(host.labels);
        host.rules = rules.unwrap_or(host.rules);
        host.identity = identity.unwrap_or(host.identity);
        if let (Some(config), Some(driver)) = (config, host.hypervisor.as_mut()) {
            driver.config = config;
        }
        host
    }
}

/// A change of something that is no VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResourceChange {
    /// Adds the host, or puts it in the place of the one with its id.
    HostPut(Host),
    /// Changes the fields that are given and leaves the others as they are when it is committed: it cannot undo what another operator
    /// or a probe changed meanwhile.
    HostEdit {
        /// Which.
        id: HostId,
        /// What becomes of it.
        edit: HostEdit,
    },
    /// Says only what a probe found. Leaves a host alone whose capacity the operator stated.
    HostProbed {
        /// Which.
        id: HostId,
        /// What it offers.
        total: ostler_model::Capacity,
    },
    /// Says only which hypervisor it was found to be. Not refused if another host is the same: that is told, and the operator's to end.
    HostIdentified {
        /// Which.
        id: HostId,
        /// The hypervisor, and since when that is known.
        identity: Option<ostler_model::Identified>,
    },
    /// Removes it; refused while a VM has its place on it, migrates from or to it, or may have left something there.
    HostRemove(HostId),
    /// Adds or replaces.
    DatastorePut(Datastore),
    /// Removes it; refused while it holds images or disks of VMs.
    DatastoreRemove(DatastoreId),
    /// Adds or replaces.
    ImagePut(Image),
    /// Says only whether it can be used.
    ImageSetState {
        /// Which.
        id: ImageId,
        /// What it is to be.
        state: ImageState,
    },
    /// Removes one that was never fit for use: locked, or in error. Refused once it is ready, or while a disk stands on it; one that is
    /// not there is no error. Unlike a removal it may go with the change of the VM that was to write it.
    ImageDiscard(ImageId),
    /// Removes it; refused while a disk stands on it, and while it is locked, as somebody writes it then.
    ImageRemove(ImageId),
    /// Adds it; refused while there is another of its name.
    TokenPut(TokenRow),
    /// Removes it by name.
    TokenRemove(String),
    /// Adds or replaces.
    DriverPut(DriverRow),
    /// Removes it; refused while a host, datastore or rules binding names it.
    DriverRemove(DriverName),
    /// Binds rules to a hypervisor driver, in the place of those bound before.
    RulesBind(RulesBinding),
    /// Takes the binding away.
    RulesUnbind(DriverName),
    /// Forgets a VM that is done, with its operations; its id is never used again. Refused while something of it may be left on a host.
    VmForget(VmId),
    /// Takes the mark of a restore away: all VMs are reconciled.
    RestoreOver,
}

/// What came of a commit that could be decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// It holds, durably.
    Applied {
        /// The number of the last event now.
        seq: EventSeq,
    },
    /// The record is no longer as the decision found it. Nothing was changed: decide again.
    Stale {
        /// The version it has; none if there is no such record.
        found: Option<Version>,
    },
    /// A claim did not hold. Nothing was changed.
    ClaimRefused(ClaimRefused),
    /// The same request was answered before. Nothing was changed.
    Replayed(IdempotencyRow),
    /// The same idempotency key was used before with another body. Nothing was changed.
    IdempotencyConflict,
    /// A resource cannot be changed so. Nothing was changed.
    Refused(ResourceRefused),
}

/// Why a resource cannot be changed so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResourceRefused {
    /// Names are unique.
    #[error("there is already a {kind} called {name}: choose another name")]
    NameTaken {
        /// What.
        kind: ResourceKind,
        /// The name.
        name: String,
    },
    /// One hypervisor is one host.
    #[error(
        "that hypervisor is host {other} already: under two names its capacity would count twice, and a VM that moved from one to \
         the other would be lost. If they are two machines, their driver must tell them apart (for kvm: give one of them a host_uuid \
         of its own in libvirtd.conf)"
    )]
    SameHypervisor {
        /// The host that it is.
        other: HostName,
    },
    /// Something stands on it.
    #[error("the {kind} {which} is in use by {by}: move or delete that first")]
    InUse {
        /// What.
        kind: ResourceKind,
        /// Its id or name.
        which: String,
        /// What stands on it.
        by: String,
    },
    /// A file is one image, or several of the same format: of two formats one would read the other's bytes.
    #[error("the file {path} is the image {image} already, as {format}: give the same format, or use another file")]
    FileTaken {
        /// Which.
        path: RelPath,
        /// What it is already.
        image: ImageName,
        /// And in which format.
        format: DiskFormat,
    },
    /// There is no such thing.
    #[error("there is no {kind} {which}")]
    NotFound {
        /// What.
        kind: ResourceKind,
        /// Its id or name.
        which: String,
    },
    /// The VM's UUID belongs to another VM of this store.
    #[error("the UUID of VM {vm} belongs to VM {other} already")]
    UuidTaken {
        /// The new one.
        vm: VmId,
        /// Whose it is.
        other: VmId,
    },
    /// A network card of another VM has that address.
    #[error("the network address {mac} is that of VM {name} (id {vm}): give another, or none and one is chosen")]
    MacTaken {
        /// The address.
        mac: MacAddress,
        /// Whose it is.
        vm: VmId,
        /// What that one is called.
        name: String,
    },
}

/// A kind of resource, for messages and codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::Display, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum ResourceKind {
    /// A host.
    Host,
    /// A datastore.
    Datastore,
    /// An image.
    Image,
    /// A token.
    Token,
    /// A driver.
    Driver,
    /// A binding of snapshot rules.
    Rules,
    /// A VM.
    #[strum(serialize = "VM")]
    Vm,
}
