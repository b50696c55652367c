//! What a decision may know beside the record: fetched before it, by the runner.

use ostler_model::{Ability, DriverError, DriverName, HostId, Observation, State, Storage, StoreId, Verb, VmRecord};

/// A fresh look, or why it could not be had.
pub type Look = Result<Observation, DriverError>;

/// A place a VM could be deployed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The host.
    pub host: HostId,
    /// Its hypervisor driver.
    pub driver: DriverName,
    /// The system datastore for a VM that has none yet.
    pub storage: Storage,
}

/// What is known beside the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// This store: what it did not stamp is not its own.
    pub store: StoreId,
    /// For deploy: where to.
    pub target: Option<Target>,
    /// What the driver can do on the VM's host. None: not known now, nothing is refused for it.
    pub abilities: Option<Vec<Ability>>,
    /// A look begun after the request came in, where [`wants_look`] says that one is needed.
    pub look: Option<Look>,
}

impl Facts {
    /// Only who we are.
    #[must_use]
    pub const fn bare(store: StoreId) -> Self {
        Self { store, target: None, abilities: None, look: None }
    }
}

/// Whether the runner must look at the host before `verb` is decided.
#[must_use]
pub const fn wants_look(record: &VmRecord, verb: Verb) -> bool {
    match verb {
        Verb::Resume | Verb::Boot => matches!(record.state, State::Unknown),
        Verb::RecoverSuccess => record.placement.is_some(),
        Verb::Hold
        | Verb::Release
        | Verb::Deploy
        | Verb::Suspend
        | Verb::Stop
        | Verb::Poweroff
        | Verb::PoweroffHard
        | Verb::Undeploy
        | Verb::UndeployHard
        | Verb::Shutdown
        | Verb::ShutdownHard
        | Verb::Reboot
        | Verb::RebootHard
        | Verb::Delete
        | Verb::DeleteRecreate
        | Verb::RecoverFailure
        | Verb::RecoverRetry
        | Verb::RecoverUndo => false,
    }
}
