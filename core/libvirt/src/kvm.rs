//! The driver, as the engine calls it: its mandatory part. Its abilities are in the folder `kvm/`.

mod abilities;
mod jobs;
mod suspend;

use crate::bridge;
use crate::calls;
use crate::domain_ops::{self, Edge, Order};
use crate::folder::Folder;
use crate::host;
use crate::link::Link;
use crate::links::Links;
use crate::live::Live;
use crate::look;
use crate::options::{HostConfig, KvmOptions};
use crate::road::OpenTimes;
use async_trait::async_trait;
use ostler_driver::{
    Adopt, CallControl, Changes, DiskCopy, DomainSpec, Hotplug, Hypervisor, Listed, LiveResize,
    Metrics, Migrate, Reboot, Site, Snapshots, Suspend,
};
use ostler_model::{
    Ability, CallResult, DriverError, ErrorKind, HostFacts, Identity, Observation, VmUuid,
};
use std::sync::Arc;
use std::time::Duration;

/// The KVM driver, for many hosts. A host's settings are `uri` (libvirt's, required), `accel`
/// (`auto`, `kvm`, `tcg`), `cache` (`none`, `writeback`, `writethrough`), `cpu-shares` (`on`,
/// `off`) and `bridge-check` (`on`; `off`: a bridge that libvirt does not list may still be there).
/// Two more are for live migration to the host: `migrate-uri` (how other hosts' libvirt daemons
/// reach this one; the `uri` itself if that goes over a network) and `migrate-address` (where they
/// send memory).
pub struct Kvm {
    options: KvmOptions,
    links: Links,
}

impl Kvm {
    /// A driver without connections. Each is opened when it is first needed.
    #[must_use]
    pub fn new(options: KvmOptions) -> Self {
        let times = OpenTimes { wait: options.open_timeout, give_up: options.open_give_up };
        Self { options, links: Links::new(times) }
    }

    fn link(&self, site: &Site) -> Result<(Arc<Link>, HostConfig), DriverError> {
        let config = HostConfig::of(site)?;
        let (link, unused) = self.links.get(&config.uri);
        if !unused.is_empty() {
            // Closing a connection needs a thread, or blocks this one.
            drop(tokio::task::spawn_blocking(move || drop(unused)));
        }
        Ok((link, config))
    }

    fn order(&self, call: &CallControl) -> Order {
        let context = &call.context;
        Order {
            store: context.store,
            key: context.key.clone(),
            generation: context.generation,
            spares: context.spares,
        }
    }

    /// As [`Self::order`], and the specification must have the call's identity.
    fn order_for(&self, call: &CallControl, domain: &DomainSpec) -> Result<Order, DriverError> {
        self.order_of(call, &domain.identity)
    }

    /// As [`Self::order`], and the identity must be the call's.
    fn order_of(&self, call: &CallControl, identity: &Identity) -> Result<Order, DriverError> {
        let order = self.order(call);
        let same = identity.vm == order.key.vm && identity.generation == order.generation;
        if !same || order.store != identity.store {
            return Err(DriverError::refused(
                "bad-identity",
                "the specification's identity is not the call's",
            ));
        }
        Ok(order)
    }

    async fn press(&self, site: &Site, call: &CallControl, edge: Edge) -> CallResult {
        let (link, _) = self.link(site)?;
        let order = self.order(call);
        calls::change(&link, call, move |live| domain_ops::edge(live, &order, edge)).await
    }

    /// Asks a question, on the express road.
    async fn ask<T: Send + 'static>(
        &self,
        link: &Link,
        question: impl FnOnce(&Live) -> Result<T, DriverError> + Send + 'static,
    ) -> Result<T, DriverError> {
        link.ask(self.options.ask_timeout, question).await
    }
}

/// The pause between two attempts to stop a job or a save.
const STOP_PAUSE: Duration = Duration::from_millis(200);

fn orphaned(vm: VmUuid) -> DriverError {
    DriverError::retry("busy", format!("an earlier call may still be at work on {vm}"))
}

fn bridges_of(domain: &DomainSpec) -> Vec<String> {
    domain.nics.iter().map(|nic| nic.bridge.clone()).collect()
}

#[async_trait]
impl Hypervisor for Kvm {
    fn abilities(&self) -> &[Ability] {
        &host::ABILITIES
    }

    async fn probe(&self, site: &Site) -> Result<HostFacts, DriverError> {
        let (link, config) = self.link(site)?;
        self.ask(&link, move |live| host::probe(live, &config)).await
    }

    async fn deploy(&self, site: &Site, call: &CallControl, domain: &DomainSpec) -> CallResult {
        let (link, config) = self.link(site)?;
        let bridges = bridges_of(domain);
        let (order, domain) = (self.order_for(call, domain)?, domain.clone());
        let folder = Folder::of(site, &domain.console_log.absolute);
        let deed = move |live: &Live| {
            folder.make().and_then(|()| domain_ops::deploy(live, &order, &config, &domain))
        };
        let deployed = calls::change(&link, call, deed).await;
        deployed.map_err(|error| bridge::told(error, site, bridges.iter().map(String::as_str)))
    }

    async fn press_power(&self, site: &Site, call: &CallControl) -> CallResult {
        self.press(site, call, Edge::Press).await
    }

    async fn destroy(&self, site: &Site, call: &CallControl) -> CallResult {
        let (link, _) = self.link(site)?;
        let order = self.order(call);
        // Runs beside any other call: it needs neither the domain's lock nor a lane of the work
        // road.
        let claim = link.locks.begin(call.context.key.vm, None);
        link.express
            .run(call.until, Some(claim), ErrorKind::Unknown, move |live| {
                domain_ops::destroy(live, &order)
            })
            .await
    }

    async fn remove(&self, site: &Site, call: &CallControl) -> CallResult {
        let (link, _) = self.link(site)?;
        let order = self.order(call);
        calls::change(&link, call, move |live| domain_ops::remove(live, &order)).await
    }

    async fn observe(&self, site: &Site, vm: VmUuid) -> Result<Observation, DriverError> {
        let (link, _) = self.link(site)?;
        if link.locks.is_orphaned(vm) {
            return Err(orphaned(vm));
        }
        let seen = self.ask(&link, move |live| look::observe(live, vm)).await;
        // A call may have become an orphan during the look.
        if link.locks.is_orphaned(vm) { Err(orphaned(vm)) } else { seen }
    }

    async fn list(&self, site: &Site) -> Result<Listed, DriverError> {
        let (link, _) = self.link(site)?;
        let locks = Arc::clone(&link.locks);
        self.ask(&link, move |live| look::list(live, |vm| locks.is_orphaned(vm))).await
    }

    fn reboot(&self) -> Option<&dyn Reboot> {
        Some(self)
    }

    fn suspend(&self) -> Option<&dyn Suspend> {
        Some(self)
    }

    fn changes(&self) -> Option<&dyn Changes> {
        Some(self)
    }

    fn metrics(&self) -> Option<&dyn Metrics> {
        Some(self)
    }

    fn migrate(&self) -> Option<&dyn Migrate> {
        Some(self)
    }

    fn hotplug(&self) -> Option<&dyn Hotplug> {
        Some(self)
    }

    fn snapshots(&self) -> Option<&dyn Snapshots> {
        Some(self)
    }

    fn live_resize(&self) -> Option<&dyn LiveResize> {
        Some(self)
    }

    fn disk_copy(&self) -> Option<&dyn DiskCopy> {
        Some(self)
    }

    fn adopt(&self) -> Option<&dyn Adopt> {
        Some(self)
    }
}

#[cfg(test)]
#[path = "kvm_tests.rs"]
mod tests;
