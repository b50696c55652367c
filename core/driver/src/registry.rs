//! The loaded drivers. The engine reads the registry for every call; it changes when a driver is
//! loaded.
//!
//! A name can have several drivers: the one that is in place, and earlier ones, which operations
//! stay on that began before they were replaced. Operations are numbered in the order in which they
//! begin. So one number tells which operations these are: all before it.

use crate::{Hypervisor, SnapshotRules, Transfer, parts};
use ostler_model::{Ability, DriverName, OperationId};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::{Arc, RwLock};

/// The kind of a driver, with the driver itself.
#[derive(Clone)]
pub enum DriverKind {
    /// It drives domains.
    Hypervisor(Arc<dyn Hypervisor>),
    /// It moves disks.
    Transfer(Arc<dyn Transfer>),
    /// It knows snapshot rules.
    Rules(Arc<dyn SnapshotRules>),
}

impl DriverKind {
    /// The name of the kind.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Hypervisor(_) => "hypervisor",
            Self::Transfer(_) => "transfer",
            Self::Rules(_) => "snapshot-rules",
        }
    }

    /// The abilities that it states without having their parts.
    fn without_part(&self) -> Vec<Ability> {
        match self {
            Self::Hypervisor(driver) => parts::without_part(&**driver),
            Self::Transfer(_) | Self::Rules(_) => Vec::new(),
        }
    }
}

/// Where a driver comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DriverOrigin {
    /// Compiled into the daemon.
    BuiltIn,
    /// A component.
    Component {
        /// SHA-256 of the component, in hexadecimal.
        digest: String,
        /// The contract version it was built for.
        contract: String,
        /// Capabilities asked for and granted.
        granted: Vec<String>,
        /// Capabilities asked for and not granted.
        missing: Vec<String>,
        /// Who has signed it.
        signed: Vec<SignedBy>,
        /// The names of its secrets.
        secrets: DriverSecrets,
    },
}

/// The names of the secrets of a component. Never their values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DriverSecrets {
    /// Those that its manifest lists, each with its purpose.
    pub reads: Vec<(String, String)>,
    /// Those that the daemon's settings have for it.
    pub in_settings: Vec<String>,
}

/// A signature of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedBy {
    /// The id of the key that the signature names.
    pub key: String,
    /// What the operator calls the key, if it is trusted. Only then the signature was verified.
    pub name: Option<String>,
}

impl fmt::Display for SignedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} ({})", self.key),
            None => write!(f, "key {} (not trusted)", self.key),
        }
    }
}

/// A driver that was found when the daemon started, and could not be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The description, as far as it could be read.
    pub info: DriverInfo,
    /// The reason, for people.
    pub why: String,
}

/// A description of a loaded driver, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverInfo {
    /// Its name.
    pub name: DriverName,
    /// Its own version.
    pub version: String,
    /// Its description, in one sentence.
    pub description: String,
    /// Where it comes from.
    pub origin: DriverOrigin,
    /// The abilities that it has on some host; hypervisor drivers only.
    pub abilities: Vec<Ability>,
    /// All settings that it reads. None if they are not known.
    pub settings: Option<Vec<DriverSetting>>,
}

/// A setting that a driver reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverSetting {
    /// Its name.
    pub name: String,
    /// Its meaning, for people.
    pub about: String,
    /// The value if nobody has set it.
    pub default: Option<String>,
    /// Whether the driver cannot work without it.
    pub required: bool,
}

/// Why a driver is not available.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// It was found when the daemon started, and could not be loaded.
    #[error("driver {name} is not loaded: {why}")]
    LeftOut {
        /// The name asked for.
        name: DriverName,
        /// The reason, for people.
        why: String,
    },
    /// No such driver.
    #[error("no driver named {name} is loaded (loaded: {loaded})")]
    NotLoaded {
        /// The name asked for.
        name: DriverName,
        /// The names of the loaded drivers.
        loaded: String,
    },
    /// The driver is of another kind.
    #[error("driver {name} is a {is} driver; a {wanted} driver is needed here")]
    WrongKind {
        /// The name asked for.
        name: DriverName,
        /// The kind that it is.
        is: &'static str,
        /// The kind that was wanted.
        wanted: &'static str,
    },
}

fn words(abilities: &[Ability]) -> String {
    abilities.iter().map(Ability::to_string).collect::<Vec<_>>().join(", ")
}

/// A hypervisor driver states abilities that it has no part for. A call that needs one would find
/// nothing to call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("driver {name} states abilities that it has no part for: {}", words(.abilities))]
pub struct WithoutPart {
    /// The name of the driver.
    pub name: DriverName,
    /// These abilities.
    pub abilities: Vec<Ability>,
}

/// A driver that may be entered into the registry. It has a part for each ability that it states.
pub struct DriverEntry {
    info: DriverInfo,
    kinds: Vec<DriverKind>,
}

impl DriverEntry {
    /// A driver with its kinds. One component may be of several kinds.
    ///
    /// # Errors
    /// If a hypervisor driver states an ability that it has no part for.
    pub fn new(info: DriverInfo, kinds: Vec<DriverKind>) -> Result<Self, WithoutPart> {
        let abilities: Vec<Ability> = kinds.iter().flat_map(DriverKind::without_part).collect();
        if abilities.is_empty() {
            Ok(Self { info, kinds })
        } else {
            Err(WithoutPart { name: info.name, abilities })
        }
    }

    /// The words of its kinds.
    #[must_use]
    pub fn kinds(&self) -> Vec<&'static str> {
        self.kinds.iter().map(DriverKind::word).collect()
    }

    /// Its hypervisor driver, if it is one: to try it before it is in place.
    #[must_use]
    pub fn hypervisor(&self) -> Option<Arc<dyn Hypervisor>> {
        self.kinds.iter().find_map(|kind| {
            if let DriverKind::Hypervisor(driver) = kind { Some(Arc::clone(driver)) } else { None }
        })
    }
}

/// Calls that belong to no operation go to the driver that is in place.
const NO_OPERATION: OperationId = OperationId(0);

/// How many earlier drivers of one name are kept for operations, at most. If there were more, the
/// operations of the oldest go on with the next one.
pub const EARLIER_MAX: usize = 8;

/// The drivers of one name.
struct Named {
    /// The one that is in place.
    entry: DriverEntry,
    /// Those that were replaced, oldest first.
    earlier: Vec<Earlier>,
}

/// A driver that was replaced.
struct Earlier {
    entry: DriverEntry,
    /// Operations before this one stay on it.
    until: OperationId,
}

impl Named {
    fn only(entry: DriverEntry) -> Self {
        Self { entry, earlier: Vec::new() }
    }

    /// The driver for an operation: the oldest that it can have begun with. The number 0 is of
    /// calls that belong to no operation.
    fn of(&self, operation: OperationId) -> &DriverEntry {
        let began = |earlier: &&Earlier| operation.0 > 0 && operation < earlier.until;
        self.earlier.iter().find(began).map_or(&self.entry, |earlier| &earlier.entry)
    }

    fn keep(&mut self, entry: DriverEntry, until: OperationId) {
        self.earlier.push(Earlier { entry, until });
        self.earlier.sort_by_key(|earlier| earlier.until);
        let surplus = self.earlier.len().saturating_sub(EARLIER_MAX);
        self.earlier.drain(..surplus);
    }
}

/// The drivers by name.
#[derive(Default)]
struct Drivers {
    loaded: BTreeMap<DriverName, Named>,
    /// Some of these names may be loaded by now, from another file.
    left_out: BTreeMap<DriverName, LeftOut>,
}

/// The loaded drivers, and those that could not be loaded. Cheap to clone; all clones see the same.
#[derive(Clone, Default)]
pub struct Registry {
    drivers: Arc<RwLock<Drivers>>,
}

impl Registry {
    /// A registry without drivers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Loads a driver, or puts it in the place of the one of that name. Calls that have begun end on
    /// the old driver. All later calls go to the new one, but those of operations that stay on an
    /// earlier driver.
    pub fn insert(&self, entry: DriverEntry) {
        match self.write().loaded.entry(entry.info.name.clone()) {
            Entry::Occupied(mut named) => named.get_mut().entry = entry,
            Entry::Vacant(free) => drop(free.insert(Named::only(entry))),
        }
    }

    /// Puts a driver in the place of the one of that name. Operations before `until` stay on the
    /// old one.
    pub fn succeed(&self, entry: DriverEntry, until: OperationId) {
        match self.write().loaded.entry(entry.info.name.clone()) {
            Entry::Occupied(mut named) => {
                let named = named.get_mut();
                let old = std::mem::replace(&mut named.entry, entry);
                named.keep(old, until);
            }
            Entry::Vacant(free) => drop(free.insert(Named::only(entry))),
        }
    }

    /// Puts a driver in the place of all of that name, for all operations. Calls that have begun end
    /// on the driver that they began on.
    pub fn replace_all(&self, entry: DriverEntry) {
        self.write().loaded.insert(entry.info.name.clone(), Named::only(entry));
    }

    /// Loads an earlier driver beside the one that is in place, for operations before `until`.
    /// Without a driver in place, nothing is loaded.
    pub fn keep_earlier(&self, entry: DriverEntry, until: OperationId) {
        if let Some(named) = self.write().loaded.get_mut(&entry.info.name) {
            named.keep(entry, until);
        }
    }

    /// Unloads the earlier drivers that no operation needs. `oldest` is the first operation that has
    /// not ended.
    pub fn retire(&self, oldest: Option<OperationId>) {
        let needed = |earlier: &Earlier| oldest.is_some_and(|oldest| oldest < earlier.until);
        for named in self.write().loaded.values_mut() {
            named.earlier.retain(needed);
        }
    }

    /// How many earlier drivers are loaded.
    #[must_use]
    pub fn earlier(&self) -> usize {
        self.read().loaded.values().map(|named| named.earlier.len()).sum()
    }

    /// Remembers why a driver could not be loaded, so that whoever needs it is told.
    pub fn leave_out(&self, left_out: LeftOut) {
        self.write().left_out.insert(left_out.info.name.clone(), left_out);
    }

    /// The drivers that could not be loaded, and are not loaded from another file either.
    #[must_use]
    pub fn left_out(&self) -> Vec<LeftOut> {
        let drivers = self.read();
        let missing = |name: &DriverName| !drivers.loaded.contains_key(name);
        let all = drivers.left_out.iter();
        all.filter(|(name, _)| missing(name)).map(|(_, left_out)| left_out.clone()).collect()
    }

    /// All loaded drivers, each with its kinds.
    #[must_use]
    pub fn list(&self) -> Vec<(DriverInfo, Vec<&'static str>)> {
        let drivers = self.read();
        let entries = &drivers.loaded;
        entries
            .values()
            .map(|named| &named.entry)
            .map(|entry| (entry.info.clone(), entry.kinds.iter().map(DriverKind::word).collect()))
            .collect()
    }

    /// The driver of that name with its kinds, if it is loaded.
    #[must_use]
    pub fn get(&self, name: &DriverName) -> Option<(DriverInfo, Vec<&'static str>)> {
        let drivers = self.read();
        let entries = &drivers.loaded;
        entries
            .get(name)
            .map(|named| &named.entry)
            .map(|entry| (entry.info.clone(), entry.kinds.iter().map(DriverKind::word).collect()))
    }

    /// A hypervisor driver.
    ///
    /// # Errors
    /// If no driver of that name is loaded, or it is not of that kind.
    pub fn hypervisor(&self, name: &DriverName) -> Result<Arc<dyn Hypervisor>, RegistryError> {
        self.hypervisor_for(name, NO_OPERATION)
    }

    /// The hypervisor driver on which an operation stays.
    ///
    /// # Errors
    /// If no driver of that name is loaded, or it is not of that kind.
    pub fn hypervisor_for(
        &self,
        name: &DriverName,
        operation: OperationId,
    ) -> Result<Arc<dyn Hypervisor>, RegistryError> {
        self.find(name, operation, "hypervisor", |kind| {
            if let DriverKind::Hypervisor(driver) = kind { Some(Arc::clone(driver)) } else { None }
        })
    }

    /// A transfer driver.
    ///
    /// # Errors
    /// If no driver of that name is loaded, or it is not of that kind.
    pub fn transfer(&self, name: &DriverName) -> Result<Arc<dyn Transfer>, RegistryError> {
        self.transfer_for(name, NO_OPERATION)
    }

    /// The transfer driver on which an operation stays.
    ///
    /// # Errors
    /// If no driver of that name is loaded, or it is not of that kind.
    pub fn transfer_for(
        &self,
        name: &DriverName,
        operation: OperationId,
    ) -> Result<Arc<dyn Transfer>, RegistryError> {
        self.find(name, operation, "transfer", |kind| {
            if let DriverKind::Transfer(driver) = kind { Some(Arc::clone(driver)) } else { None }
        })
    }

    /// Snapshot rules.
    ///
    /// # Errors
    /// If no driver of that name is loaded, or it is not of that kind.
    pub fn rules(&self, name: &DriverName) -> Result<Arc<dyn SnapshotRules>, RegistryError> {
        self.find(name, NO_OPERATION, "snapshot-rules", |kind| {
            if let DriverKind::Rules(driver) = kind { Some(Arc::clone(driver)) } else { None }
        })
    }

    fn find<T>(
        &self,
        name: &DriverName,
        operation: OperationId,
        wanted: &'static str,
        pick: impl Fn(&DriverKind) -> Option<T>,
    ) -> Result<T, RegistryError> {
        let drivers = self.read();
        let entries = &drivers.loaded;
        let Some(entry) = entries.get(name).map(|named| named.of(operation)) else {
            if let Some(left_out) = drivers.left_out.get(name) {
                let (name, why) = (name.clone(), left_out.why.clone());
                return Err(RegistryError::LeftOut { name, why });
            }
            let loaded = entries.keys().map(DriverName::as_str).collect::<Vec<_>>().join(", ");
            return Err(RegistryError::NotLoaded { name: name.clone(), loaded });
        };
        entry.kinds.iter().find_map(pick).ok_or_else(|| RegistryError::WrongKind {
            name: name.clone(),
            is: entry.kinds.first().map_or("useless", DriverKind::word),
            wanted,
        })
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Drivers> {
        // A panic while the lock was held cannot leave the map half written: no code of others
        // runs under the lock.
        self.drivers.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Drivers> {
        self.drivers.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
