//! Installed drivers, and the snapshot rules that are bound to each hypervisor driver.

use crate::batch::Batch;
use crate::commit::{DriverRow, RulesBinding};
use crate::error::{Fault, ReadError};
use crate::read::Reader;
use crate::resource::{Refusal, in_use, not_found};
use crate::row::{self, Row};
use crate::tables::{DRIVER, RULES};
use ostler_model::{Datastore, DriverName, Host, Resource, UsedBy};
use redb::ReadableTable;

impl Row for DriverRow {
    const TABLE: &'static str = "driver";
}

impl Row for RulesBinding {
    const TABLE: &'static str = "rules";
}

impl Batch<'_> {
    /// Reads all hosts and datastores: there are few of them, and drivers are rarely removed.
    pub(crate) fn driver_remove_refused(&mut self, name: &DriverName) -> Refusal {
        if self.cold()?.driver.get(name.as_str()).map_err(Fault::from)?.is_none() {
            return not_found(Resource::Driver(name.clone()));
        }
        let driver = Resource::Driver(name.clone());
        for entry in self.hot.host.iter().map_err(Fault::from)? {
            let (id, kept) = entry.map_err(Fault::from)?;
            let host: Host = row::decode(kept.value(), id.value())?;
            if host.hypervisor.is_some_and(|hypervisor| hypervisor.driver == *name) {
                return in_use(driver, UsedBy::HypervisorOf(host.id));
            }
            if host.rules.as_ref() == Some(name) {
                return in_use(driver, UsedBy::RulesOfHost(host.id));
            }
        }
        for entry in self.hot.datastore.iter().map_err(Fault::from)? {
            let (id, kept) = entry.map_err(Fault::from)?;
            let datastore: Datastore = row::decode(kept.value(), id.value())?;
            if datastore.driver == *name {
                return in_use(driver, UsedBy::FilesIn(datastore.id));
            }
        }
        for entry in self.cold()?.rules.iter().map_err(Fault::from)? {
            let (hypervisor, kept) = entry.map_err(Fault::from)?;
            let binding: RulesBinding = row::decode(kept.value(), hypervisor.value())?;
            if binding.rules == *name || binding.hypervisor == *name {
                return in_use(driver, UsedBy::RulesOf(binding.hypervisor));
            }
        }
        Ok(None)
    }

    pub(crate) fn driver_put(&mut self, driver: &DriverRow) -> Result<(), ReadError> {
        let kept = row::encode(driver)?;
        self.cold()?.driver.insert(driver.name.as_str(), kept.as_slice()).map_err(Fault::from)?;
        Ok(())
    }

    pub(crate) fn driver_remove(&mut self, name: &DriverName) -> Result<(), ReadError> {
        self.cold()?.driver.remove(name.as_str()).map_err(Fault::from)?;
        self.secrets_remove(|driver, _| driver == name.as_str())
    }

    pub(crate) fn rules_bind(&mut self, binding: &RulesBinding) -> Result<(), ReadError> {
        let kept = row::encode(binding)?;
        self.cold()?
            .rules
            .insert(binding.hypervisor.as_str(), kept.as_slice())
            .map_err(Fault::from)?;
        Ok(())
    }

    pub(crate) fn rules_unbind(&mut self, hypervisor: &DriverName) -> Result<(), ReadError> {
        self.cold()?.rules.remove(hypervisor.as_str()).map_err(Fault::from)?;
        Ok(())
    }
}

impl Reader {
    /// An installed driver.
    ///
    /// # Errors
    /// When the store or the row cannot be read.
    pub fn driver(&self, name: &DriverName) -> Result<Option<DriverRow>, ReadError> {
        let kept = self.table(DRIVER)?.get(name.as_str()).map_err(Fault::from)?;
        Ok(kept.map(|kept| row::decode(kept.value(), name)).transpose()?)
    }

    /// All installed drivers, by name.
    ///
    /// # Errors
    /// When the store or a row cannot be read.
    pub fn drivers(&self) -> Result<Vec<DriverRow>, ReadError> {
        let table = self.table(DRIVER)?;
        let mut found = Vec::new();
        for entry in ReadableTable::iter(&table).map_err(Fault::from)? {
            let (name, kept) = entry.map_err(Fault::from)?;
            found.push(row::decode(kept.value(), name.value())?);
        }
        Ok(found)
    }

    /// The snapshot rules that are bound to a hypervisor driver.
    ///
    /// # Errors
    /// When the store or the row cannot be read.
    pub fn rules_of(&self, hypervisor: &DriverName) -> Result<Option<DriverName>, ReadError> {
        let kept = self.table(RULES)?.get(hypervisor.as_str()).map_err(Fault::from)?;
        let binding: Option<RulesBinding> =
            kept.map(|kept| row::decode(kept.value(), hypervisor)).transpose()?;
        Ok(binding.map(|binding| binding.rules))
    }

    /// All bindings of snapshot rules, by hypervisor driver.
    ///
    /// # Errors
    /// When the store or a row cannot be read.
    pub fn rules(&self) -> Result<Vec<RulesBinding>, ReadError> {
        let table = self.table(RULES)?;
        let mut found = Vec::new();
        for entry in ReadableTable::iter(&table).map_err(Fault::from)? {
            let (hypervisor, kept) = entry.map_err(Fault::from)?;
            found.push(row::decode(kept.value(), hypervisor.value())?);
        }
        Ok(found)
    }
}
