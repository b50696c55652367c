//! A component as a hypervisor driver.

use super::jobs::at_work;
use super::{Component, act, ask};
use crate::convert;
use crate::own_files::About;
use async_trait::async_trait;
use ostler_driver::{
    Adopt, CallControl, Changes, Console, DiskCopy, DomainSpec, Fence, Hotplug, Hypervisor, Listed,
    LiveResize, Metrics, Migrate, Reboot, Site, Snapshots, Suspend,
};
use ostler_model::{
    Ability, CallResult, DomainSeen, DriverError, ExecTransport, HostFacts, Observation, Outcome,
    VmUuid,
};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// The time for a question about one domain. A hypervisor that takes longer counts as not
/// answering.
pub(super) const OBSERVE: Duration = Duration::from_secs(10);
/// The time for a question about a whole host.
pub(super) const ASK_HOST: Duration = Duration::from_secs(30);

/// A list that tells nothing of the VMs in `busy`: their domains may change while it is read.
fn untold(mut listed: Listed, busy: BTreeSet<VmUuid>) -> Listed {
    let is_busy = |seen: &DomainSeen| {
        busy.contains(&seen.uuid)
            || seen.identity.is_some_and(|identity| busy.contains(&identity.vm))
    };
    listed.domains.retain(|seen| !is_busy(seen));
    let told: BTreeSet<VmUuid> = listed.unreadable.iter().copied().collect();
    listed.unreadable.extend(busy.difference(&told));
    listed
}

/// Whether commands reach this host over ssh.
pub(super) fn over_ssh(site: &Site) -> bool {
    matches!(site.transport, ExecTransport::Ssh { .. })
}

#[async_trait]
impl Hypervisor for Component {
    fn abilities(&self) -> &[Ability] {
        &self.0.abilities
    }

    async fn probe(&self, site: &Site) -> Result<HostFacts, DriverError> {
        let begun = Instant::now();
        let facts = |given| convert::facts(given, &self.0.abilities, begun.elapsed());
        let mut facts: HostFacts =
            ask!(self, site, ASK_HOST, [], facts, hypervisor, call_probe, "probe")?;
        facts.notes.extend(self.0.side.services.unkept.note(&site.name));
        Ok(facts)
    }

    async fn deploy(&self, site: &Site, call: &CallControl, domain: &DomainSpec) -> CallResult {
        let told = convert::domain(domain);
        act!(self, site, call, [About::Domain(domain)], hypervisor, call_deploy, "deploy", &told)
    }

    async fn press_power(&self, site: &Site, call: &CallControl) -> CallResult {
        act!(self, site, call, [], hypervisor, call_press_power, "press-power")
    }

    async fn destroy(&self, site: &Site, call: &CallControl) -> CallResult {
        act!(self, site, call, [], hypervisor, call_destroy, "destroy")
    }

    async fn remove(&self, site: &Site, call: &CallControl) -> CallResult {
        // The contract cannot name the generation to spare, so the host is asked for it first.
        if let Some(spared) = call.context.spares
            && let Observation::Present(seen) = self.observe(site, call.context.key.vm).await?
            && seen.identity.is_some_and(|identity| {
                identity.vm == call.context.key.vm && identity.generation == spared
            })
        {
            return Ok(Outcome { seen: Some(Observation::Absent), state: None });
        }
        act!(self, site, call, [], hypervisor, call_remove, "remove")
    }

    async fn observe(&self, site: &Site, vm: VmUuid) -> Result<Observation, DriverError> {
        self.at_rest(vm, over_ssh(site))?;
        if self.jobs_at_work(site).await?.contains(&vm) {
            return Err(at_work(vm, site));
        }
        let name = vm.to_string();
        let seen = |given| convert::observation(given, Some(vm));
        ask!(self, site, OBSERVE, [About::Vm(vm)], seen, hypervisor, call_observe, "observe", &name)
    }

    async fn list(&self, site: &Site) -> Result<Listed, DriverError> {
        // Also what ends while the list is made: the list may have been read before.
        let mut busy = self.0.side.orphans.all();
        busy.extend(self.jobs_at_work(site).await?);
        let listed =
            ask!(self, site, ASK_HOST, [], convert::listed, hypervisor, call_list, "list")?;
        busy.extend(self.0.side.orphans.all());
        Ok(untold(listed, busy))
    }

    fn reboot(&self) -> Option<&dyn Reboot> {
        self.0.exports.reboot.is_some().then_some(self as _)
    }

    fn suspend(&self) -> Option<&dyn Suspend> {
        self.0.exports.suspend.is_some().then_some(self as _)
    }

    fn changes(&self) -> Option<&dyn Changes> {
        self.0.exports.changes.is_some().then_some(self as _)
    }

    fn metrics(&self) -> Option<&dyn Metrics> {
        self.0.exports.metrics.is_some().then_some(self as _)
    }

    fn migrate(&self) -> Option<&dyn Migrate> {
        self.0.exports.migrate.is_some().then_some(self as _)
    }

    fn hotplug(&self) -> Option<&dyn Hotplug> {
        self.0.exports.hotplug.is_some().then_some(self as _)
    }

    fn snapshots(&self) -> Option<&dyn Snapshots> {
        self.0.exports.snapshots.is_some().then_some(self as _)
    }

    fn live_resize(&self) -> Option<&dyn LiveResize> {
        self.0.exports.live_resize.is_some().then_some(self as _)
    }

    fn disk_copy(&self) -> Option<&dyn DiskCopy> {
        self.0.exports.disk_copy.is_some().then_some(self as _)
    }

    fn adopt(&self) -> Option<&dyn Adopt> {
        self.0.exports.adopt.is_some().then_some(self as _)
    }

    fn console(&self) -> Option<&dyn Console> {
        self.0.exports.console.is_some().then_some(self as _)
    }

    fn fence(&self) -> Option<&dyn Fence> {
        self.0.exports.fence.is_some().then_some(self as _)
    }
}
