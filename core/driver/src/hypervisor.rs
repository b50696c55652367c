//! A hypervisor driver: the mandatory part, and an accessor for each optional part.

use crate::abilities::{
    Adopt, Changes, Console, DiskCopy, Fence, Hotplug, LiveResize, Metrics, Migrate, Reboot,
    Snapshots, Suspend,
};
use crate::answers::Listed;
use crate::{CallControl, DomainSpec, Site};
use async_trait::async_trait;
use ostler_model::{Ability, CallResult, DriverError, HostFacts, Observation, VmUuid};

/// A hypervisor driver: drives domains on hosts of one kind.
///
/// The mandatory part is small. For each optional ability there is a trait, and an accessor here
/// that answers the driver's part. [`Hypervisor::abilities`] is the upper bound of what the driver
/// can do, and [`Hypervisor::probe`] says which abilities one host has. A driver that states an
/// ability and has no part for it is refused ([`DriverEntry::new`](crate::DriverEntry::new)). The
/// engine never makes a call for which the ability is missing. Calls are short: a press of the
/// power button returns at once, and the engine waits for its effect.
#[async_trait]
pub trait Hypervisor: Send + Sync {
    /// The abilities that the driver has on some host.
    fn abilities(&self) -> &[Ability];

    /// The capacity of this host, and the driver's abilities on it.
    ///
    /// # Errors
    /// `retry` if the host cannot be asked now; `refused` if its settings are wrong.
    async fn probe(&self, site: &Site) -> Result<HostFacts, DriverError>;

    /// Has the domain defined as `domain`, stamped, and running. Level.
    async fn deploy(&self, site: &Site, call: &CallControl, domain: &DomainSpec) -> CallResult;

    /// Presses the power button once. Edge. Returns at once.
    async fn press_power(&self, site: &Site, call: &CallControl) -> CallResult;

    /// Has the domain off. Level: an absent domain is success. May run beside any other call.
    async fn destroy(&self, site: &Site, call: &CallControl) -> CallResult;

    /// Has no such domain: off and undefined, with nothing of it left at the hypervisor. Level. A
    /// domain of the generation that the call spares
    /// ([`CallContext::spares`](ostler_model::CallContext)) is not touched and does not count: the
    /// answer is then *absent*.
    async fn remove(&self, site: &Site, call: &CallControl) -> CallResult;

    /// Looks at the domain of one VM.
    ///
    /// # Errors
    /// If the host cannot be asked, and while a dropped call may still be at work. An absent domain
    /// is not an error.
    async fn observe(&self, site: &Site, vm: VmUuid) -> Result<Observation, DriverError>;

    /// Lists all domains of the host, those of Ostler and all others.
    ///
    /// # Errors
    /// If the host cannot be asked.
    async fn list(&self, site: &Site) -> Result<Listed, DriverError>;

    /// The part for [`Ability::Reboot`], if the driver has it.
    fn reboot(&self) -> Option<&dyn Reboot> {
        None
    }

    /// The part for [`Ability::Suspend`], if the driver has it.
    fn suspend(&self) -> Option<&dyn Suspend> {
        None
    }

    /// The part for [`Ability::Changes`], if the driver has it.
    fn changes(&self) -> Option<&dyn Changes> {
        None
    }

    /// The part for [`Ability::Metrics`], if the driver has it.
    fn metrics(&self) -> Option<&dyn Metrics> {
        None
    }

    /// The part for [`Ability::Migrate`], if the driver has it.
    fn migrate(&self) -> Option<&dyn Migrate> {
        None
    }

    /// The part for [`Ability::Hotplug`], if the driver has it.
    fn hotplug(&self) -> Option<&dyn Hotplug> {
        None
    }

    /// The part for [`Ability::Snapshots`], if the driver has it.
    fn snapshots(&self) -> Option<&dyn Snapshots> {
        None
    }

    /// The part for [`Ability::LiveResize`], if the driver has it.
    fn live_resize(&self) -> Option<&dyn LiveResize> {
        None
    }

    /// The part for [`Ability::DiskCopy`], if the driver has it.
    fn disk_copy(&self) -> Option<&dyn DiskCopy> {
        None
    }

    /// The part for [`Ability::Adopt`], if the driver has it.
    fn adopt(&self) -> Option<&dyn Adopt> {
        None
    }

    /// The part for [`Ability::Console`], if the driver has it.
    fn console(&self) -> Option<&dyn Console> {
        None
    }

    /// The part for [`Ability::Fence`], if the driver has it.
    fn fence(&self) -> Option<&dyn Fence> {
        None
    }
}
