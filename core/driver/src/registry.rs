//! Which drivers are loaded. Read on every call, written when an operator loads or removes one.

use crate::{Hypervisor, SnapshotRules, Transfer};
use ostler_model::{Ability, DriverName};
use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

/// What a driver is.
#[derive(Clone)]
pub enum DriverKind {
    /// Drives domains.
    Hypervisor(Arc<dyn Hypervisor>),
    /// Moves disks.
    Transfer(Arc<dyn Transfer>),
    /// Judges snapshots.
    Rules(Arc<dyn SnapshotRules>),
}

impl DriverKind {
    /// In a word.
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

/// What people are told about a loaded driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverInfo {
    /// Its name.
    pub name: DriverName,
    /// Its own version.
    pub version: String,
    /// In a sentence.
    pub description: String,
    /// Where it comes from.
    pub origin: DriverOrigin,
    /// What it can do on some host; hypervisors only.
    pub abilities: Vec<Ability>,
}

/// Why a driver cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// No such driver.
    #[error("no driver named {name} is loaded (loaded: {loaded})")]
    NotLoaded {
        /// The name asked for.
        name: DriverName,
        /// Those there are.
        loaded: String,
    },
    /// Another kind.
    #[error("driver {name} is a {is} driver; a {wanted} driver is needed here")]
    WrongKind {
        /// The name asked for.
        name: DriverName,
        /// What it is.
        is: &'static str,
        /// What was wanted.
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
    /// None loaded.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Loads a driver, or replaces the one of that name. Calls in flight end on the old one. One component may be several kinds.
    pub fn insert(&self, info: DriverInfo, kinds: Vec<DriverKind>) {
        let name = info.name.clone();
        self.write().insert(name, Entry { info, kinds });
    }

    /// What is loaded.
    #[must_use]
    pub fn list(&self) -> Vec<(DriverInfo, Vec<&'static str>)> {
        let entries = self.read();
        entries.values().map(|entry| (entry.info.clone(), entry.kinds.iter().map(DriverKind::word).collect())).collect()
    }

    /// One of them, if it is loaded.
    #[must_use]
    pub fn get(&self, name: &DriverName) -> Option<(DriverInfo, Vec<&'static str>)> {
        let entries = self.read();
        entries.get(name).map(|entry| (entry.info.clone(), entry.kinds.iter().map(DriverKind::word).collect()))
    }

    /// A hypervisor driver.
    ///
    /// # Errors
    /// None of that name, or none of that kind.
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
    /// None of that name, or none of that kind.
    pub fn transfer(&self, name: &DriverName) -> Result<Arc<dyn Transfer>, RegistryError> {
        self.find(name, "transfer", |kind| if let DriverKind::Transfer(driver) = kind { Some(Arc::clone(driver)) } else { None })
    }

    /// Snapshot rules.
    ///
    /// # Errors
    /// None of that name, or none of that kind.
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
        // A panic while the map was held cannot leave it half written: each write is one insert.
        self.entries.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<DriverName, Entry>> {
        self.entries.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
