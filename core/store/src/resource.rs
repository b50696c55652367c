//! Changes of resources that are not VMs. They are judged here as a whole, and written by the
//! module of each table.

use crate::batch::Batch;
use crate::commit::ResourceChange;
use crate::error::{Fault, ReadError};
use crate::meta;
use crate::summary::VmSummary;
use ostler_model::{
    DatastoreId, ImageId, Resource, ResourceKind, ResourceRefused, State, UsedBy, VmId,
};
use redb::ReadableTable;
use std::collections::BTreeSet;

/// The results of other changes in the same commit, for changes that build on them.
#[derive(Default)]
pub(crate) struct Ahead<'a> {
    names: BTreeSet<(&'static str, String)>,
    datastores: BTreeSet<DatastoreId>,
    old: Option<&'a VmSummary>,
    new: Option<&'a VmSummary>,
}

/// The result of judging a change: the reason if it is refused.
pub(crate) type Refusal = Result<Option<ResourceRefused>, ReadError>;

/// There is no such resource.
pub(crate) fn not_found(what: impl Into<Resource>) -> Refusal {
    Ok(Some(ResourceRefused::NotFound { what: what.into() }))
}

/// Something depends on the resource.
pub(crate) fn in_use(what: impl Into<Resource>, by: UsedBy) -> Refusal {
    Ok(Some(ResourceRefused::InUse { what: what.into(), by }))
}

impl<'a> Ahead<'a> {
    /// What the VM's change frees, and what it uses.
    pub(crate) fn of_vm(old: Option<&'a VmSummary>, new: Option<&'a VmSummary>) -> Self {
        // If the commit has no VM, no VM is replaced either.
        Self { old, new, ..Self::default() }
    }

    /// Refuses a name that another row has, or that an earlier change of this commit takes.
    pub(crate) fn name(
        &mut self,
        kind: ResourceKind,
        name: &str,
        owner: Option<u32>,
        id: u32,
    ) -> Refusal {
        let fresh = self.names.insert((kind.into(), name.to_owned()));
        if !fresh || owner.is_some_and(|owner| owner != id) {
            return Ok(Some(ResourceRefused::NameTaken { kind, name: name.to_owned() }));
        }
        Ok(None)
    }

    pub(crate) fn datastore(&self, id: DatastoreId) -> bool {
        self.datastores.contains(&id)
    }

    /// How many disks will stand on an image after the commit. `now` is how many stand on it now.
    pub(crate) fn holds(&self, id: ImageId, now: u64) -> u64 {
        let disks = |vm: Option<&VmSummary>| vm.map_or(0, |vm| vm.disks_on(id));
        now.saturating_sub(disks(self.old)).saturating_add(disks(self.new))
    }
}

impl Batch<'_> {
    /// Checks whether one of the changes is refused. Writes nothing.
    pub(crate) fn resources_refused(
        &mut self,
        changes: &[ResourceChange],
        mut ahead: Ahead<'_>,
    ) -> Refusal {
        for change in changes {
            if let Some(refused) = self.resource_refused(change, &mut ahead)? {
                return Ok(Some(refused));
            }
            if let ResourceChange::DatastorePut(datastore) = change {
                ahead.datastores.insert(datastore.id);
            }
        }
        Ok(None)
    }

    fn resource_refused(&mut self, change: &ResourceChange, ahead: &mut Ahead<'_>) -> Refusal {
        match change {
            ResourceChange::HostPut(host) => self.host_put_refused(host, ahead),
            ResourceChange::HostEdit { id, edit } => match self.host(*id)? {
                Some(host) => self.host_put_refused(&edit.of(host), ahead),
                None => not_found(*id),
            },
            ResourceChange::HostProbed { id, .. } | ResourceChange::HostIdentified { id, .. } => {
                match self.host(*id)? {
                    Some(_) => Ok(None),
                    None => not_found(*id),
                }
            }
            ResourceChange::HostRemove(id) => self.host_remove_refused(*id),
            ResourceChange::DatastorePut(datastore) => self.datastore_put_refused(datastore, ahead),
            ResourceChange::DatastoreRemove(id) => self.datastore_remove_refused(*id),
            ResourceChange::ImagePut(image) => self.image_put_refused(image, ahead),
            ResourceChange::ImageSetState { id, .. } => match self.image(*id)? {
                Some(_) => Ok(None),
                None => not_found(*id),
            },
            ResourceChange::ImageDiscard(id) => self.image_discard_refused(*id, ahead),
            ResourceChange::ImageRemove(id) => self.image_remove_refused(*id),
            ResourceChange::TokenPut(token) => self.token_put_refused(token),
            ResourceChange::TokenRemove(name) => self.token_remove_refused(name),
            ResourceChange::DriverPut(_)
            | ResourceChange::RulesBind(_)
            | ResourceChange::RestoreOver => Ok(None),
            ResourceChange::DriverRemove(name) => self.driver_remove_refused(name),
            ResourceChange::RulesUnbind(hypervisor) => {
                match self.cold()?.rules.get(hypervisor.as_str()).map_err(Fault::from)?.is_some() {
                    true => Ok(None),
                    false => not_found(Resource::Rules(hypervisor.clone())),
                }
            }
            ResourceChange::SecretPut(secret) => self.secret_put_refused(&secret.key),
            ResourceChange::SecretRemove(key) => self.secret_remove_refused(key),
            ResourceChange::VmForget(id) => self.vm_forget_refused(*id),
        }
    }

    fn vm_forget_refused(&self, id: VmId) -> Refusal {
        match self.vm_summary(id)? {
            None => not_found(id),
            Some(vm) if vm.state != State::Done => in_use(id, UsedBy::NotDone { state: vm.state }),
            Some(vm) if vm.over() => Ok(None),
            Some(vm) => match vm.also_on.first() {
                Some(host) => in_use(id, UsedBy::LeftOn(*host)),
                None => in_use(id, UsedBy::Call),
            },
        }
    }

    /// Makes a change that was judged as good.
    pub(crate) fn resource_apply(&mut self, change: &ResourceChange) -> Result<(), ReadError> {
        match change {
            ResourceChange::HostPut(host) => self.host_put(host),
            ResourceChange::HostEdit { id, edit } => match self.host(*id)? {
                Some(host) => self.host_put(&edit.of(host)),
                None => Ok(()),
            },
            ResourceChange::HostProbed { id, total } => {
                match self.host(*id)?.filter(|host| !host.total_is_fixed) {
                    Some(host) => self.host_put(&ostler_model::Host { total: *total, ..host }),
                    None => Ok(()),
                }
            }
            ResourceChange::HostIdentified { id, identity } => match self.host(*id)? {
                Some(host) => {
                    self.host_put(&ostler_model::Host { identity: identity.clone(), ..host })
                }
                None => Ok(()),
            },
            ResourceChange::HostRemove(id) => self.host_remove(*id),
            ResourceChange::DatastorePut(datastore) => self.datastore_put(datastore),
            ResourceChange::DatastoreRemove(id) => self.datastore_remove(*id),
            ResourceChange::ImagePut(image) => self.image_put(image),
            ResourceChange::ImageSetState { id, state } => match self.image(*id)? {
                Some(image) => self.image_put(&ostler_model::Image { state: *state, ..image }),
                None => Ok(()),
            },
            ResourceChange::ImageDiscard(id) | ResourceChange::ImageRemove(id) => {
                self.image_remove(*id)
            }
            ResourceChange::TokenPut(token) => self.token_put(token),
            ResourceChange::TokenRemove(name) => self.token_remove(name),
            ResourceChange::DriverPut(driver) => self.driver_put(driver),
            ResourceChange::DriverRemove(name) => self.driver_remove(name),
            ResourceChange::RulesBind(binding) => self.rules_bind(binding),
            ResourceChange::RulesUnbind(hypervisor) => self.rules_unbind(hypervisor),
            ResourceChange::SecretPut(secret) => self.secret_put(secret),
            ResourceChange::SecretRemove(key) => self.secret_remove(key),
            ResourceChange::RestoreOver => Ok(meta::restored_remove(&mut self.hot.meta)?),
            ResourceChange::VmForget(id) => match self.vm_summary(*id)? {
                Some(vm) => {
                    self.vm_remove(&vm)?;
                    Ok(self.operation_forget(id.0)?)
                }
                None => Ok(()),
            },
        }
    }
}
