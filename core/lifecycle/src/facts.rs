//! What a decision may know beside the record: fetched before it, by the runner.

use crate::placement::Candidate;
use crate::restored::Found;
use ostler_model::{Ability, DriverError, DriverName, Image, Observation, State, StoreId, Verb, VmRecord};

/// A fresh look, or why it could not be had.
pub type Look = Result<Observation, DriverError>;

/// What becomes of an existing snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It stays.
    Keep,
    /// It is removed by a step of the operation.
    Lose,
    /// It stays at the hypervisor and is no longer offered.
    Hide,
}

/// What the snapshot rules bound to the VM say about a verb.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// Who was asked; for people.
    pub rules: String,
    /// For snapshot verbs: why not.
    pub refused: Option<String>,
    /// One for each snapshot of the record, in its order.
    pub fates: Vec<Fate>,
}

/// What is known beside the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// This store: what it did not stamp is not its own.
    pub store: StoreId,
    /// For deploy and migrate: the host that was named, if there is one.
    pub target: Option<Candidate>,
    /// What the driver can do on the VM's host. None: not known now, nothing is refused for it.
    pub abilities: Option<Vec<Ability>>,
    /// What the driver can do on the target. None: not known now.
    pub target_abilities: Option<Vec<Ability>>,
    /// A look begun after the request came in, where [`wants_look`] says that one is needed.
    pub look: Option<Look>,
    /// What the snapshot rules say. None: they were not asked, because nothing depends on it. An error is no answer.
    pub advice: Option<Result<Advice, DriverError>>,
    /// For disk-attach: the image that the disk stands on.
    pub image: Option<Image>,
    /// A domain on another host that is newer than the record ([`crate::is_elsewhere`]).
    pub elsewhere: Option<Found>,
    /// For disk-snapshot: the image to be, and its datastore's transfer driver.
    pub new_image: Option<(Image, DriverName)>,
}

impl Facts {
    /// Only who we are.
    #[must_use]
    pub const fn bare(store: StoreId) -> Self {
        Self {
            store,
            target: None,
            abilities: None,
            target_abilities: None,
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
    match verb {
        Verb::Resume | Verb::Boot => matches!(record.state, State::Unknown),
        // Not to move or forget what can be seen.
        Verb::Migrate if matches!(record.state, State::Unknown | State::Suspended) => true,
        Verb::RecoverSuccess | Verb::Forget => record.placement.is_some(),
        Verb::RecoverFailure => matches!(record.state, State::Unknown) && record.other.is_some(),
        _ => crate::request::needs_off(record, verb),
    }
}

/// Whether the runner must ask the snapshot rules before `verb` is decided.
#[must_use]
pub const fn wants_advice(record: &VmRecord, verb: Verb) -> bool {
    verb.is_snapshot() || !(record.snapshots.is_empty() || verb.is_record_only() || verb.is_recovery())
}
