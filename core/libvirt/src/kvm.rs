//! The driver as the engine sees it.

use crate::deeds::{self, Edge, Order};
use crate::host;
use crate::link::{Link, Live};
use crate::look;
use crate::options::{HostConfig, KvmOptions};
use crate::raw;
use crate::stats;
use async_trait::async_trait;
use ostler_driver::{CallControl, ChangeBatch, DomainMetrics, DomainSpec, FileRef, Hypervisor, Listed, Site};
use ostler_model::{Ability, CallResult, DriverError, ErrorKind, ExecTransport, HostFacts, Observation, VmUuid};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The KVM driver, for many hosts. A host's settings: `uri` (libvirt's, needed), `accel` (`auto`, `kvm`, `tcg`), `cache`
/// (`none`, `writeback`, `writethrough`), `cpu-shares` (`on`, `off`).
pub struct Kvm {
    options: KvmOptions,
    /// By URI. Hosts are few and a link that is not used holds no thread: none is ever taken out.
    links: Mutex<HashMap<String, Arc<Link>>>,
}

impl Kvm {
    /// A driver with no connection yet; each is opened when it is first needed.
    #[must_use]
    pub fn new(options: KvmOptions) -> Self {
        Self { options, links: Mutex::default() }
    }

    fn link(&self, site: &Site) -> Result<(Arc<Link>, HostConfig), DriverError> {
        let config = HostConfig::of(site)?;
        // One insert; nothing in between can panic.
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = links.get(&config.uri) {
            return Ok((Arc::clone(link), config));
        }
        let link = Arc::new(Link::new(&config.uri, self.options.open_timeout));
        links.insert(config.uri.clone(), Arc::clone(&link));
        Ok((link, config))
    }

    fn order(&self, call: &CallControl) -> Order {
        Order { store: self.options.store, key: call.context.key.clone(), generation: call.context.generation }
    }

    /// As [`Self::order`], and the specification must be the call's own.
    fn order_for(&self, call: &CallControl, domain: &DomainSpec) -> Result<Order, DriverError> {
        let order = self.order(call);
        let same = domain.identity.vm == order.key.vm && domain.identity.generation == order.generation;
        if !same || order.store.is_some_and(|store| store != domain.identity.store) {
            return Err(DriverError::refused("bad-identity", "the specification's identity is not the call's"));
        }
        Ok(Order { store: Some(domain.identity.store), ..order })
    }

    /// A call that changes a domain: one at a time, on the work road.
    async fn change(link: &Link, call: &CallControl, deed: impl FnOnce(&Live) -> CallResult + Send + 'static) -> CallResult {
        let vm = call.context.key.vm;
        let waiting = tokio::time::timeout_at(call.until.into(), link.locks.of(vm).lock_owned());
        let held = tokio::select! {
            biased;
            () = call.cancel.cancelled() => return Err(cancelled()),
            held = waiting => held.map_err(|_| DriverError::retry("busy", "another call is still at work on this domain"))?,
        };
        let claim = link.locks.begin(vm, Some(held));
        let cancel = call.cancel.clone();
        let deed = move |live: &Live| if cancel.is_cancelled() { Err(cancelled()) } else { deed(live) };
        link.work.run(call.until, Some(claim), ErrorKind::Unknown, deed).await
    }

    async fn press(&self, site: &Site, call: &CallControl, edge: Edge) -> CallResult {
        let (link, _) = self.link(site)?;
        let order = self.order(call);
        Self::change(&link, call, move |live| deeds::edge(live, &order, edge)).await
    }

    /// A question, on the express road.
    async fn ask<T: Send + 'static>(
        &self,
        link: &Link,
        question: impl FnOnce(&Live) -> Result<T, DriverError> + Send + 'static,
    ) -> Result<T, DriverError> {
        link.express.run(Instant::now() + self.options.ask_timeout, None, ErrorKind::Retry, question).await
    }
}

fn cancelled() -> DriverError {
    DriverError::new(ErrorKind::Cancelled, "cancelled", "told to stop before anything was sent")
}

fn orphaned(vm: VmUuid) -> DriverError {
    DriverError::retry("busy", format!("an earlier call may still be at work on {vm}"))
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
        let (order, domain) = (self.order_for(call, domain)?, domain.clone());
        make_console_folder(site, &domain)?;
        Self::change(&link, call, move |live| deeds::deploy(live, &order, &config, &domain)).await
    }

    async fn press_power(&self, site: &Site, call: &CallControl) -> CallResult {
        self.press(site, call, Edge::Press).await
    }

    async fn destroy(&self, site: &Site, call: &CallControl) -> CallResult {
        let (link, _) = self.link(site)?;
        let order = self.order(call);
        // Beside any other call: neither its lock nor its lanes.
        let claim = link.locks.begin(call.context.key.vm, None);
        link.express.run(call.until, Some(claim), ErrorKind::Unknown, move |live| deeds::destroy(live, &order)).await
    }

    async fn remove(&self, site: &Site, call: &CallControl) -> CallResult {
        let (link, _) = self.link(site)?;
        let order = self.order(call);
        Self::change(&link, call, move |live| deeds::remove(live, &order)).await
    }

    async fn reboot(&self, site: &Site, call: &CallControl) -> CallResult {
        self.press(site, call, Edge::Reboot).await
    }

    async fn reset(&self, site: &Site, call: &CallControl) -> CallResult {
        self.press(site, call, Edge::Reset).await
    }

    async fn save(&self, site: &Site, call: &CallControl, file: &FileRef) -> CallResult {
        let (link, _) = self.link(site)?;
        let (order, file) = (self.order(call), file.clone());
        let saving = Self::change(&link, call, move |live| deeds::save(live, &order, &file));
        tokio::pin!(saving);
        tokio::select! {
            done = &mut saving => return done,
            () = call.cancel.cancelled() => {}
        }
        // Minutes of writing can be stopped; libvirt then lets the guest run on, and the save answers "aborted".
        let vm = call.context.key.vm;
        if let Err(error) = self.ask(&link, move |live| deeds::abort_job(live, vm)).await {
            tracing::warn!(%vm, %error, "a save that was cancelled could not be stopped");
        }
        saving.await
    }

    async fn restore(&self, site: &Site, call: &CallControl, domain: &DomainSpec, file: &FileRef) -> CallResult {
        let (link, _) = self.link(site)?;
        let (order, domain, file) = (self.order_for(call, domain)?, domain.clone(), file.clone());
        Self::change(&link, call, move |live| deeds::restore(live, &order, &domain, &file)).await
    }

    async fn unpause(&self, site: &Site, call: &CallControl) -> CallResult {
        let (link, _) = self.link(site)?;
        let order = self.order(call);
        Self::change(&link, call, move |live| deeds::unpause(live, &order)).await
    }

    async fn observe(&self, site: &Site, vm: VmUuid) -> Result<Observation, DriverError> {
        let (link, _) = self.link(site)?;
        if link.locks.is_orphaned(vm) {
            return Err(orphaned(vm));
        }
        let seen = self.ask(&link, move |live| look::observe(live, vm)).await;
        // A call may have lost its caller while we looked.
        if link.locks.is_orphaned(vm) { Err(orphaned(vm)) } else { seen }
    }

    async fn list(&self, site: &Site) -> Result<Listed, DriverError> {
        let (link, _) = self.link(site)?;
        let locks = Arc::clone(&link.locks);
        self.ask(&link, move |live| look::list(live, |vm| locks.is_orphaned(vm))).await
    }

    async fn changes(&self, site: &Site, cursor: u64, wait: Duration) -> Result<ChangeBatch, DriverError> {
        let (link, _) = self.link(site)?;
        // Events come only over an open connection.
        self.ask(&link, |_| Ok(())).await?;
        Ok(link.feed.after(cursor, wait).await)
    }

    async fn metrics(&self, site: &Site) -> Result<Vec<DomainMetrics>, DriverError> {
        let (link, _) = self.link(site)?;
        let read = |live: &Live| raw::stats(live.connect()).map_err(|error| live.error(&error, crate::failure::During::Asking));
        let all = self.ask(&link, read).await?;
        Ok(all.iter().filter_map(stats::metrics).collect())
    }
}

#[cfg(test)]
#[path = "kvm_tests.rs"]
mod tests;

/// QEMU opens the console's log but makes no folder for it. A transfer driver made it if the VM has disks; on hosts that are reached
/// over ssh a VM needs at least one.
fn make_console_folder(site: &Site, domain: &DomainSpec) -> Result<(), DriverError> {
    let Some(folder) = std::path::Path::new(&domain.console_log.absolute).parent() else { return Ok(()) };
    match site.transport {
        ExecTransport::Local => std::fs::create_dir_all(folder)
            .map_err(|error| DriverError::refused("console-folder", format!("cannot make {}: {error}", folder.display()))),
        ExecTransport::Ssh { .. } => Ok(()),
    }
}
