//! Hosts.

use crate::batch::Batch;
use crate::error::{Fault, ReadError};
use crate::read::Reader;
use crate::resource::{Ahead, Refusal, in_use, not_found};
use crate::row::{self, Row};
use crate::tables::{HOST, HOST_BY_NAME};
use ostler_model::{
    Host, HostId, HostName, HypervisorId, ResourceKind, ResourceRefused, UsedBy, VmId,
};
use redb::ReadableTable;

impl Row for Host {
    const TABLE: &'static str = "host";
}

impl Batch<'_> {
    /// A host as this batch sees it.
    pub(crate) fn host(&self, id: HostId) -> Result<Option<Host>, ReadError> {
        let kept = self.hot.host.get(id.0).map_err(Fault::from)?;
        Ok(kept.map(|kept| row::decode(kept.value(), id)).transpose()?)
    }

    /// The driver, its settings and the transport tell which hypervisor the host is. If they change
    /// while VMs are there, the host could show another, empty hypervisor. Then its VMs would count
    /// as gone, and they would be started a second time, or their disks would be removed while they
    /// run.
    pub(crate) fn host_put_refused(&mut self, host: &Host, ahead: &mut Ahead<'_>) -> Refusal {
        let moved =
            |old: &Host| (&old.hypervisor, &old.transport) != (&host.hypervisor, &host.transport);
        let old = self.host(host.id)?;
        if old.as_ref().is_some_and(moved)
            && let Some(vm) = self.first_vm_on(host.id)?
        {
            return in_use(host.id, UsedBy::FoundBy(vm));
        }
        let name = host.name.as_str();
        let owner = self.cold()?.host_by_name.get(name).map_err(Fault::from)?.map(|id| id.value());
        if let Some(refused) = ahead.name(ResourceKind::Host, name, owner, host.id.0)? {
            return Ok(Some(refused));
        }
        let told = |host: &Host| host.identity.as_ref().map(|identity| identity.id.clone());
        match told(host).filter(|id| old.as_ref().and_then(told).as_ref() != Some(id)) {
            Some(id) => Ok(self
                .host_identified(&id, host.id)?
                .map(|other| ResourceRefused::SameHypervisor { other })),
            None => Ok(None),
        }
    }

    /// Finds another host that is this hypervisor.
    fn host_identified(
        &self,
        id: &HypervisorId,
        but: HostId,
    ) -> Result<Option<HostName>, ReadError> {
        for entry in self.hot.host.iter().map_err(Fault::from)? {
            let (key, kept) = entry.map_err(Fault::from)?;
            let host: Host = row::decode(kept.value(), key.value())?;
            if host.id != but && host.identity.as_ref().is_some_and(|identity| identity.id == *id) {
                return Ok(Some(host.name));
            }
        }
        Ok(None)
    }

    pub(crate) fn host_remove_refused(&mut self, id: HostId) -> Refusal {
        if self.host(id)?.is_none() {
            return not_found(id);
        }
        if id == HostId::FRONT_END {
            return in_use(id, UsedBy::Daemon);
        }
        match self.first_vm_on(id)? {
            Some(vm) => in_use(id, self.use_of(id, vm)?),
            None => Ok(None),
        }
    }

    /// The first VM of which something is or may be on a host.
    fn first_vm_on(&self, id: HostId) -> Result<Option<VmId>, ReadError> {
        let mut rows =
            self.hot.vm_by_host.range((id.0, 0)..=(id.0, u64::MAX)).map_err(Fault::from)?;
        Ok(rows.next().transpose().map_err(Fault::from)?.map(|(key, _)| VmId(key.value().1)))
    }

    /// What such a VM has or may have on the host.
    fn use_of(&self, id: HostId, vm: VmId) -> Result<UsedBy, ReadError> {
        Ok(match self.vm_summary(vm)? {
            Some(summary) if summary.host == Some(id) => UsedBy::Placed(vm),
            Some(summary) if summary.holds_on(id) => UsedBy::Moving(vm),
            Some(_) | None => UsedBy::LeftBy(vm),
        })
    }

    pub(crate) fn host_put(&mut self, host: &Host) -> Result<(), ReadError> {
        let old = self.host(host.id)?;
        let kept = row::encode(host)?;
        self.hot.host.insert(host.id.0, kept.as_slice()).map_err(Fault::from)?;
        if old.as_ref().map(|old| &old.name) == Some(&host.name) {
            return Ok(());
        }
        let names = &mut self.cold()?.host_by_name;
        if let Some(old) = old {
            names.remove(old.name.as_str()).map_err(Fault::from)?;
        }
        names.insert(host.name.as_str(), host.id.0).map_err(Fault::from)?;
        Ok(())
    }

    pub(crate) fn host_remove(&mut self, id: HostId) -> Result<(), ReadError> {
        if let Some(old) = self.host(id)? {
            self.hot.host.remove(id.0).map_err(Fault::from)?;
            self.cold()?.host_by_name.remove(old.name.as_str()).map_err(Fault::from)?;
            self.secrets_remove(|_, host| host == Some(id.0))?;
        }
        Ok(())
    }
}

impl Reader {
    /// A host.
    ///
    /// # Errors
    /// When the store or the row cannot be read.
    pub fn host(&self, id: HostId) -> Result<Option<Host>, ReadError> {
        let kept = self.table(HOST)?.get(id.0).map_err(Fault::from)?;
        Ok(kept.map(|kept| row::decode(kept.value(), id)).transpose()?)
    }

    /// A host by name.
    ///
    /// # Errors
    /// When the store or the row cannot be read.
    pub fn host_by_name(&self, name: &HostName) -> Result<Option<Host>, ReadError> {
        match self.table(HOST_BY_NAME)?.get(name.as_str()).map_err(Fault::from)? {
            Some(id) => self.host(HostId(id.value())),
            None => Ok(None),
        }
    }

    /// All hosts, lowest id first.
    ///
    /// # Errors
    /// When the store or a row cannot be read.
    pub fn hosts(&self) -> Result<Vec<Host>, ReadError> {
        let table = self.table(HOST)?;
        let mut found = Vec::new();
        for entry in ReadableTable::iter(&table).map_err(Fault::from)? {
            let (id, kept) = entry.map_err(Fault::from)?;
            found.push(row::decode(kept.value(), id.value())?);
        }
        Ok(found)
    }
}
