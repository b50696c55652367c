//! The loaded drivers. The engine reads the registry for every call; it changes when a driver is loaded.

use crate::{Hypervisor, SnapshotRules, Transfer};
use ostler_model::{Ability, DriverName};
use std::collections::BTreeMap;
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
}

/// Where a driver comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DriverOrigin {
    /// Compiled into the daemon.
    BuiltIn,
    /// A component.
    Component {
        /// SHA-256 of the file, in hexadecimal.
        digest: String,
        /// The contract version it was built for.
        contract: String,
        /// Capabilities asked for and granted.
        granted: Vec<String>,
        /// Capabilities asked for and not granted.
        missing: Vec<String>,
    },
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
}

/// Why a driver is not available.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
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

struct Entry {
    info: DriverInfo,
    kinds: Vec<DriverKind>,
}

/// The loaded drivers. Cheap to clone; all clones see the same.
#[derive(Clone, Default)]
pub struct Registry {
    entries: Arc<RwLock<BTreeMap<DriverName, Entry>>>,
}

impl Registry {
    /// A registry without drivers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Loads a driver, or replaces the one of that name. Calls that have begun end on the old driver. One component may be of
    /// several kinds.
    pub fn insert(&self, info: DriverInfo, kinds: Vec<DriverKind>) {
        let name = info.name.clone();
        self.write().insert(name, Entry { info, kinds });
    }

    /// All loaded drivers, each with its kinds.
    #[must_use]
    pub fn list(&self) -> Vec<(DriverInfo, Vec<&'static str>)> {
        let entries = self.read();
        entries.values().map(|entry| (entry.info.clone(), entry.kinds.iter().map(DriverKind::word).collect())).collect()
    }

    /// The driver of that name with its kinds, if it is loaded.
    #[must_use]
    pub fn get(&self, name: &DriverName) -> Option<(DriverInfo, Vec<&'static str>)> {
        let entries = self.read();
        entries.get(name).map(|entry| (entry.info.clone(), entry.kinds.iter().map(DriverKind::word).collect()))
    }

    /// A hypervisor driver.
    ///
    /// # Errors
    /// If no driver of that name is loaded, or it is not of that kind.
    pub fn hypervisor(&self, name: &DriverName) -> Result<Arc<dyn Hypervisor>, RegistryError> {
        self.find(
            name,
            "hypervisor",
            |kind| if let DriverKind::Hypervisor(driver) = kind { Some(Arc::clone(driver)) } else { None },
        )
    }

    /// A transfer driver.
    ///
    /// # Errors
    /// If no driver of that name is loaded, or it is not of that kind.
    pub fn transfer(&self, name: &DriverName) -> Result<Arc<dyn Transfer>, RegistryError> {
        self.find(name, "transfer", |kind| if let DriverKind::Transfer(driver) = kind { Some(Arc::clone(driver)) } else { None })
    }

    /// Snapshot rules.
    ///
    /// # Errors
    /// If no driver of that name is loaded, or it is not of that kind.
    pub fn rules(&self, name: &DriverName) -> Result<Arc<dyn SnapshotRules>, RegistryError> {
        self.find(name, "snapshot-rules", |kind| if let DriverKind::Rules(driver) = kind { Some(Arc::clone(driver)) } else { None })
    }

    fn find<T>(
        &self,
        name: &DriverName,
        wanted: &'static str,
        pick: impl Fn(&DriverKind) -> Option<T>,
    ) -> Result<T, RegistryError> {
        let entries = self.read();
        let Some(entry) = entries.get(name) else {
            let loaded = entries.keys().map(DriverName::as_str).collect::<Vec<_>>().join(", ");
            return Err(RegistryError::NotLoaded { name: name.clone(), loaded });
        };
        entry.kinds.iter().find_map(pick).ok_or_else(|| RegistryError::WrongKind {
            name: name.clone(),
            is: entry.kinds.first().map_or("useless", DriverKind::word),
            wanted,
        })
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<DriverName, Entry>> {
        // A panic while the lock was held cannot leave the map half written: each write is one insert.
        self.entries.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<DriverName, Entry>> {
        self.entries.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
