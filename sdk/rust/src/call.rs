//! Methods of the contract's types that drivers use in a call.

use crate::{
    Call, Destination, DomainSeen, DomainSpec, EffectId, Error, FilePath, FileRef, Item,
    Observation, OpaqueState, Outcome,
};
use std::fmt;

impl Call {
    /// The VM the call is for.
    #[must_use]
    pub fn vm(&self) -> String {
        self.id().vm
    }

    /// Checks whether the call may continue. Long work should ask this between its parts.
    ///
    /// # Errors
    /// `cancelled` if the host wants the call to end.
    pub fn go_on(&self) -> Result<(), Error> {
        if self.cancelled() {
            Err(Error::cancelled("the host told the call to stop"))
        } else {
            Ok(())
        }
    }

    /// Finds the call's domain with `load`, which is given the VM, and checks whether the call may
    /// touch it. Every mutating call does this first. Only a stamp of an adoption does not, because
    /// the domain that it is for has no stamp yet.
    ///
    /// # Errors
    /// Those of `load`, and those of [`Call::may_touch`].
    pub fn find<D: Stamped>(
        &self,
        load: impl FnOnce(&str) -> Result<Option<D>, Error>,
    ) -> Result<Option<D>, Error> {
        let found = load(&self.vm())?;
        if let Some(domain) = &found {
            self.may_touch(domain)?;
        }
        Ok(found)
    }

    /// Compares the store and the generation that are stamped into a domain with those that the
    /// call acts for.
    ///
    /// # Errors
    /// `refused` with code `foreign` if another store or nobody has stamped it; `stale` if its
    /// generation is higher.
    pub fn may_touch(&self, domain: &impl Stamped) -> Result<(), Error> {
        may_touch(domain.stamp(), &self.store(), self.generation())
    }
}

/// A domain, as a driver keeps or finds it.
pub trait Stamped {
    /// The store and the generation that are stamped into it. None if nobody has stamped it.
    fn stamp(&self) -> Option<(&str, u64)>;
}

fn may_touch(stamp: Option<(&str, u64)>, store: &str, generation: u64) -> Result<(), Error> {
    match stamp {
        None => Err(Error::refused("foreign", "the domain does not carry a stamp")),
        Some((other, _)) if other != store => {
            Err(Error::refused("foreign", format!("the domain belongs to the store {other}")))
        }
        Some((_, stamped)) if stamped > generation => Err(Error::stale(stamped, generation)),
        Some(_) => Ok(()),
    }
}

impl fmt::Display for EffectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.vm, self.operation, self.step, self.item)
    }
}

impl EffectId {
    /// Reads a text that `Display` wrote. None if the text is something else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, '/');
        let (vm, operation, step, item) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        Some(Self {
            vm: vm.to_owned(),
            operation: operation.parse().ok()?,
            step: step.parse().ok()?,
            item: Item::of(item.to_owned()),
        })
    }
}

impl Destination {
    /// The destination host's setting of this driver, or the default. None if there is neither.
    #[must_use]
    pub fn setting(&self, key: &str) -> Option<&str> {
        let found = self.extra.iter().find(|(name, _)| name.strip_prefix("config.") == Some(key));
        found.map(|(_, value)| value.as_str())
    }
}

impl DomainSpec {
    /// The most virtual CPUs that the domain may get while it runs.
    #[must_use]
    pub fn vcpus_most(&self) -> u32 {
        self.number("vcpus-most")
            .and_then(|most| u32::try_from(most).ok())
            .unwrap_or(0)
            .max(self.vcpus)
    }

    /// The most memory that the domain may get while it runs, in MiB.
    #[must_use]
    pub fn memory_most_mib(&self) -> u64 {
        self.number("memory-most-mib").unwrap_or(0).max(self.memory_mib)
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.extra.iter().find(|(name, _)| name == key).and_then(|(_, value)| value.parse().ok())
    }
}

impl FileRef {
    /// The same file as [`crate::host::files`] takes it.
    #[must_use]
    pub fn place(&self) -> FilePath {
        FilePath { datastore: self.datastore.clone(), path: self.path.clone() }
    }

    /// The value for a hole of type `path`.
    #[must_use]
    pub fn hole(&self) -> String {
        format!("{}:{}", self.datastore, self.path)
    }

    /// The file at an absolute path, if it lies in the datastore of this file.
    #[must_use]
    pub fn beside(&self, absolute: &str) -> Option<Self> {
        let root = self.absolute.strip_suffix(self.path.as_str())?.trim_end_matches('/');
        let path = absolute.strip_prefix(root)?.strip_prefix('/')?;
        Some(Self {
            datastore: self.datastore.clone(),
            path: path.to_owned(),
            absolute: absolute.to_owned(),
        })
    }
}

impl FilePath {
    /// A file, given by its datastore and its path below the root.
    #[must_use]
    pub fn new(datastore: impl Into<String>, path: impl Into<String>) -> Self {
        Self { datastore: datastore.into(), path: path.into() }
    }

    /// The value for a hole of type `path`.
    #[must_use]
    pub fn hole(&self) -> String {
        format!("{}:{}", self.datastore, self.path)
    }
}

impl Outcome {
    /// The call succeeded. Nothing was looked at afterwards.
    #[must_use]
    pub fn done() -> Self {
        Self::default()
    }

    /// The call succeeded, and a look afterwards has shown this domain.
    #[must_use]
    pub fn seen(domain: DomainSeen) -> Self {
        Self::look(Observation::Present(domain))
    }

    /// The call succeeded, and a look afterwards has shown no domain.
    #[must_use]
    pub fn absent() -> Self {
        Self::look(Observation::Absent)
    }

    /// The call succeeded, and a look afterwards has shown this.
    #[must_use]
    pub fn look(seen: Observation) -> Self {
        Self { seen: Some(seen), ..Self::done() }
    }

    /// The same outcome with the driver's own state, which the host keeps.
    #[must_use]
    pub fn keeping(mut self, version: u32, data: Vec<u8>) -> Self {
        self.state = Some(OpaqueState { version, data });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MigrationMode;

    #[test]
    fn a_neighbour_is_found_by_its_path() {
        let file = FileRef {
            datastore: "s".into(),
            path: "v/vda".into(),
            absolute: "/srv/s/v/vda".into(),
        };
        assert_eq!(file.beside("/srv/s/i/a").map(|found| found.path), Some("i/a".to_owned()));
        assert!(file.beside("/srv/sx/i/a").is_none() && file.beside("/etc/shadow").is_none());
    }

    #[test]
    fn a_domain_of_another_store_is_not_touched_whatever_its_generation() {
        let code = |stamp| may_touch(stamp, "ours", 5).map_err(|error| error.code);
        assert_eq!(code(Some(("ours", 5))), Ok(()));
        assert_eq!(code(Some(("ours", 6))), Err("higher-generation".to_owned()));
        for stamp in [None, Some(("theirs", 1)), Some(("theirs", 9))] {
            assert_eq!(code(stamp), Err("foreign".to_owned()), "{stamp:?}");
        }
    }

    #[test]
    fn an_identity_reads_back() {
        let id = EffectId { vm: "v".into(), operation: 7, step: 9, item: Item::Disk("vda".into()) };
        assert_eq!(EffectId::parse(&id.to_string()), Some(id));
        assert_eq!(EffectId::parse("v/7/x/domain"), None);
        assert_eq!(EffectId::parse("v/7"), None);
    }

    #[test]
    fn settings_of_the_other_host_are_found() {
        let extra = vec![
            ("folder".to_owned(), "no".to_owned()),
            ("config.folder".to_owned(), "b".to_owned()),
        ];
        let to = Destination {
            host: "b".into(),
            mode: MigrationMode::Live,
            move_disks: Vec::new(),
            extra,
        };
        assert_eq!((to.setting("folder"), to.setting("datastore")), (Some("b"), None));
    }
}
