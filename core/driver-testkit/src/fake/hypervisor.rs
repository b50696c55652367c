//! The fake as a hypervisor: the mandatory part.

use super::world::Edge;
use super::{Fake, Op};
use async_trait::async_trait;
use ostler_driver::{
    Adopt, CallControl, Changes, DiskCopy, DomainSpec, Hotplug, Hypervisor, Listed, LiveResize,
    Metrics, Migrate, Reboot, Site, Snapshots, Suspend,
};
use ostler_model::{
    Ability, CallResult, Capacity, DriverError, HostFacts, Millis, Observation, VmUuid,
};

/// The capacity of every host of the fake.
const OFFERED: Capacity = Capacity { cpu_milli: 64_000, memory_mib: 262_144 };

impl Fake {
    fn has(&self, ability: Ability) -> bool {
        self.abilities.contains(&ability)
    }
}

#[async_trait]
impl Hypervisor for Fake {
    fn abilities(&self) -> &[Ability] {
        &self.abilities
    }

    async fn probe(&self, site: &Site) -> Result<HostFacts, DriverError> {
        let abilities = self.abilities.to_vec();
        let host = site.id;
        self.ask(Op::Probe, site, None, move |world| HostFacts {
            total: OFFERED,
            abilities,
            hypervisor: "fake".to_owned(),
            notes: Vec::new(),
            identity: None,
            interfaces: world.interfaces.get(&host).cloned(),
            took: Millis(0),
        })
        .await
    }

    async fn deploy(&self, site: &Site, call: &CallControl, domain: &DomainSpec) -> CallResult {
        let domain = domain.clone();
        self.act(Op::Deploy, site, call, move |world, host, _| world.deploy(host, &domain)).await
    }

    async fn press_power(&self, site: &Site, call: &CallControl) -> CallResult {
        let context = call.context.clone();
        self.act(Op::PressPower, site, call, move |world, host, ignored| {
            world.edge(host, &context, Edge::Press, ignored)
        })
        .await
    }

    async fn destroy(&self, site: &Site, call: &CallControl) -> CallResult {
        let vm = call.context.key.vm;
        self.act(Op::Destroy, site, call, move |world, host, _| Ok(world.destroy(host, vm))).await
    }

    async fn remove(&self, site: &Site, call: &CallControl) -> CallResult {
        let (vm, spares) = (call.context.key.vm, call.context.spares);
        self.act(Op::Remove, site, call, move |world, host, _| Ok(world.undefine(host, vm, spares)))
            .await
    }

    async fn observe(&self, site: &Site, vm: VmUuid) -> Result<Observation, DriverError> {
        let host = site.id;
        if self.busy(host).contains(&vm) {
            self.record(Op::Observe, site, None, Some(vm));
            return Err(DriverError::retry("busy", "a call that was dropped is still at work"));
        }
        self.ask(Op::Observe, site, Some(vm), |world| world.observe(host, vm)).await
    }

    async fn list(&self, site: &Site) -> Result<Listed, DriverError> {
        let host = site.id;
        let domains = self.ask(Op::List, site, None, |world| world.domains(host)).await?;
        Ok(Listed {
            domains: domains.into_iter().map(|domain| domain.seen).collect(),
            unreadable: self.busy(host).into_iter().collect(),
        })
    }

    fn reboot(&self) -> Option<&dyn Reboot> {
        self.has(Ability::Reboot).then_some(self as _)
    }

    fn suspend(&self) -> Option<&dyn Suspend> {
        self.has(Ability::Suspend).then_some(self as _)
    }

    fn changes(&self) -> Option<&dyn Changes> {
        self.has(Ability::Changes).then_some(self as _)
    }

    fn metrics(&self) -> Option<&dyn Metrics> {
        self.has(Ability::Metrics).then_some(self as _)
    }

    fn migrate(&self) -> Option<&dyn Migrate> {
        self.has(Ability::Migrate).then_some(self as _)
    }

    fn hotplug(&self) -> Option<&dyn Hotplug> {
        self.has(Ability::Hotplug).then_some(self as _)
    }

    fn snapshots(&self) -> Option<&dyn Snapshots> {
        self.has(Ability::Snapshots).then_some(self as _)
    }

    fn live_resize(&self) -> Option<&dyn LiveResize> {
        self.has(Ability::LiveResize).then_some(self as _)
    }

    fn disk_copy(&self) -> Option<&dyn DiskCopy> {
        self.has(Ability::DiskCopy).then_some(self as _)
    }

    fn adopt(&self) -> Option<&dyn Adopt> {
        self.has(Ability::Adopt).then_some(self as _)
    }
}
