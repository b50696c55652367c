//! The content of a commit, and its possible results.

use ostler_model::{
    Claim, ClaimRefused, Datastore, DatastoreId, DriverName, Effect, EffectKey, EventKind,
    EventSeq, Host, HostId, HostState, Identified, Image, ImageId, ImageState, OperationId,
    OperationRecord, ResourceRefused, SecretKey, SecretValue, Timestamp, Version, VmId, VmRecord,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One change that is applied as a whole or not at all, also after a crash.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// The record. It is written only if the stored one is still as the decision found it.
    pub vm: Option<VmChange>,
    /// The claims. They are checked in order, against the rows as they then are.
    pub claims: Vec<Claim>,
    /// Operations as they are now. Each is added, or replaces the row with the same id.
    pub operations: Vec<OperationRecord>,
    /// Driver calls that begin now. Each must be in the record's `open`.
    pub outbox_put: Vec<Effect>,
    /// Driver calls that have ended. A call that is not in the outbox is no error.
    pub outbox_del: Vec<EffectKey>,
    /// The events. The store numbers them.
    pub events: Vec<EventDraft>,
    /// The answer to keep, for a repeat of the same request.
    pub idempotency: Option<IdempotencyRow>,
    /// Changes of resources that are not VMs. At most one change per resource.
    pub resources: Vec<ResourceChange>,
}

/// A record, and the version that it replaces.
#[derive(Debug, Clone)]
pub struct VmChange {
    /// The new record. Its version is above `expect`.
    pub record: Arc<VmRecord>,
    /// The version on which the decision was made. None if there must be no such record yet.
    pub expect: Option<Version>,
}

/// An event that has no number yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventDraft {
    /// When it was decided.
    pub at: Timestamp,
    /// The VM that it is about.
    pub vm: Option<VmId>,
    /// The version of the VM's record after the commit with this event.
    pub version: Option<Version>,
    /// The kind of the event, with its details.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// The answer that was given to a request with an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyRow {
    /// Who asked.
    pub who: String,
    /// Method and path.
    pub route: String,
    /// The key that the client chose.
    pub key: String,
    /// Hash of the body. The same key with another body is a mistake of the client.
    #[serde(with = "crate::row::bytes")]
    pub body_hash: Vec<u8>,
    /// The whole answer, in the form in which the caller wants it back.
    #[serde(with = "crate::row::bytes")]
    pub answer: Vec<u8>,
    /// When it was given. It is forgotten after [`crate::IDEMPOTENCY_KEPT`].
    pub at: Timestamp,
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRow {
    /// Its name; unique.
    pub name: String,
    /// SHA-256 of the secret, hexadecimal. The secret is shown once and kept nowhere.
    pub hash_hex: String,
    /// The scopes that it has.
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
    /// SHA-256 of the file as installed, hexadecimal. A file with another digest is not loaded.
    pub digest: String,
    /// The operator's grants: each capability, with the list of what exactly is allowed.
    #[serde(default)]
    pub grants: BTreeMap<String, Vec<String>>,
    /// The driver's own settings. Not secret.
    #[serde(default)]
    pub config: BTreeMap<String, String>,
    /// Whether it is loaded at the start.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// When it was installed.
    pub added: Timestamp,
    /// Whether it may be taken back by itself for a while after it was installed, because it took
    /// the place of another file.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub on_trial: bool,
    /// The files that had the name before, newest first. The first is kept, so that it can be put
    /// back; the others as long as operations need them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<EarlierDriver>,
}

/// A file that was a driver before another one took its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarlierDriver {
    /// Its own version.
    pub version: String,
    /// The component's file.
    pub file: String,
    /// SHA-256 of the file as installed, hexadecimal.
    pub digest: String,
    /// The grants that it had.
    #[serde(default)]
    pub grants: BTreeMap<String, Vec<String>>,
    /// The settings that it had.
    #[serde(default)]
    pub config: BTreeMap<String, String>,
    /// When it was installed.
    pub added: Timestamp,
    /// Operations before this one stay on it. 0: none does.
    pub until: OperationId,
    /// Whether it was on trial itself when another file took its place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub on_trial: bool,
    /// Why it was taken back, for people. None if another file took its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_back: Option<String>,
}

fn yes() -> bool {
    true
}

/// The snapshot rules that are bound to a hypervisor driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesBinding {
    /// The hypervisor driver.
    pub hypervisor: DriverName,
    /// The driver that holds the rules.
    pub rules: DriverName,
}

/// A secret of a driver. `Debug` does not print its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRow {
    /// Whose it is, and its name.
    #[serde(flatten)]
    pub key: SecretKey,
    /// Its value, in plain text: decision 19 says why.
    pub value: SecretValue,
    /// When this value was set.
    pub set: Timestamp,
}

/// The fields of a host that operators change. A field that is not given stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostEdit {
    /// The new state.
    pub state: Option<HostState>,
    /// All labels of the host.
    pub labels: Option<BTreeMap<String, String>>,
    /// All settings of its hypervisor driver. Ignored for a host without a driver.
    pub config: Option<BTreeMap<String, String>>,
    /// The snapshot rules of this host. `Some(None)` removes them.
    pub rules: Option<Option<DriverName>>,
    /// The hypervisor that the host is found to be with these settings, if that is known.
    pub identity: Option<Option<Identified>>,
}

impl HostEdit {
    /// The host after this edit.
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

/// A change of a resource that is not a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResourceChange {
    /// Adds the host, or replaces the host with its id.
    HostPut(Host),
    /// Changes the given fields. The other fields stay as they are at the commit. So it cannot undo
    /// a change that another operator or a probe has made meanwhile.
    HostEdit {
        /// The host.
        id: HostId,
        /// The changes.
        edit: HostEdit,
    },
    /// Sets only the capacity that a probe has found. If the operator has stated the capacity, it
    /// stays as it is.
    HostProbed {
        /// The host.
        id: HostId,
        /// The capacity.
        total: ostler_model::Capacity,
    },
    /// Sets only the hypervisor identity that was found. This is not refused if another host has
    /// the same identity. That is reported, and the operator has to resolve it.
    HostIdentified {
        /// The host.
        id: HostId,
        /// The hypervisor identity, and since when it is known.
        identity: Option<ostler_model::Identified>,
    },
    /// Removes the host, and the secrets that are for it. Refused while a VM has its placement there, migrates from or to it, or may
    /// have left something there.
    HostRemove(HostId),
    /// Adds the datastore, or replaces the one with its id.
    DatastorePut(Datastore),
    /// Removes the datastore. Refused while it holds images or disks of VMs.
    DatastoreRemove(DatastoreId),
    /// Adds the image, or replaces the one with its id.
    ImagePut(Image),
    /// Sets only the image's state.
    ImageSetState {
        /// The image.
        id: ImageId,
        /// The new state.
        state: ImageState,
    },
    /// Removes an image that was never ready: one that is locked or in error. Refused if it is
    /// ready, or while a disk stands on it. If there is no such image, this is no error. Unlike
    /// `ImageRemove`, it may be in one commit with the change of the VM that was to write the
    /// image.
    ImageDiscard(ImageId),
    /// Removes the image. Refused while a disk stands on it, and while it is locked, because then
    /// somebody writes it.
    ImageRemove(ImageId),
    /// Adds the token. Refused if another token has its name or its hash.
    TokenPut(TokenRow),
    /// Removes the token with this name.
    TokenRemove(String),
    /// Adds the driver, or replaces the one with its name.
    DriverPut(DriverRow),
    /// Removes the driver and its secrets. Refused while a host, a datastore or a rules binding names it.
    DriverRemove(DriverName),
    /// Binds rules to a hypervisor driver. Replaces an earlier binding.
    RulesBind(RulesBinding),
    /// Removes the binding of this hypervisor driver.
    RulesUnbind(DriverName),
    /// Sets the secret. Replaces an earlier value. Refused if it is for a host that is not there, or
    /// that another driver reaches.
    SecretPut(SecretRow),
    /// Removes the secret.
    SecretRemove(SecretKey),
    /// Forgets a VM that is done, and its operations. Its id is never used again. Refused while
    /// something of it may be left on a host, or one of its driver calls may be under way.
    VmForget(VmId),
    /// Removes the mark of a restore: all VMs are reconciled.
    RestoreOver,
}

/// The result of a commit that could be decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// The commit was applied and is durable.
    Applied {
        /// The number of the last event after it.
        seq: EventSeq,
    },
    /// The record is no longer as the decision found it. Nothing was changed. Decide again.
    Stale {
        /// The version that the record has. None if there is no such record.
        found: Option<Version>,
    },
    /// A claim did not hold. Nothing was changed.
    ClaimRefused(ClaimRefused),
    /// The same request was answered before. Nothing was changed.
    Replayed(IdempotencyRow),
    /// The same idempotency key was used before with another body. Nothing was changed.
    IdempotencyConflict,
    /// The change of a resource was refused. Nothing was changed.
    Refused(ResourceRefused),
}
