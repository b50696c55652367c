//! The engine's part when another file becomes a driver: the file is tried, operations stay on the
//! file they began with, and one that fares badly is taken back.

use crate::Engine;
use crate::figures::DriverFigures;
use crate::handle::DriverHealth;
use crate::hosts::within;
use crate::locked::locked;
use crate::shared::Shared;
use crate::trials::TakeBack;
use futures::StreamExt as _;
use ostler_driver::DriverEntry;
use ostler_model::{DriverError, DriverName, HostId, HostName, Millis, OperationId, Timestamp};
use ostler_store::{ReadError, Reader};
use std::sync::Arc;
use std::time::Duration;

/// How long a host may take to answer a file that is tried.
const TRY_TIMEOUT: Duration = Duration::from_secs(10);
/// A file is tried on so many hosts at most. A fault of the file shows on the first ones.
const TRIED_MOST: usize = 16;
/// How many of them are asked at once.
const TRIED_AT_ONCE: usize = 8;
/// How often it is looked which earlier files no operation needs any more.
const RETIRE_EVERY: Duration = Duration::from_secs(5);

/// A host that does not answer a new file, and answers the file that is in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAnswered {
    /// The host.
    pub host: HostName,
    /// Its answer.
    pub error: DriverError,
}

impl Engine {
    /// Tries a file before it becomes the driver of that name: it must describe and list each host
    /// of the driver that answers the file that is in place. Nothing is changed.
    ///
    /// # Errors
    /// The first host that does not answer it.
    pub async fn try_driver(
        &self,
        driver: &DriverName,
        entry: &DriverEntry,
    ) -> Result<(), NotAnswered> {
        let Some(hypervisor) = entry.hypervisor() else { return Ok(()) };
        let directory = self.shared().directory();
        let answers = |host: HostId| self.host_health(host).is_some_and(|health| health.reachable);
        let sites: Vec<_> = directory
            .hosts
            .values()
            .filter(|host| host.hypervisor.as_ref().is_some_and(|of| of.driver == *driver))
            .filter(|host| answers(host.id))
            .filter_map(|host| directory.site(host.id))
            .take(TRIED_MOST)
            .collect();
        let tried = futures::stream::iter(sites).map(|site| {
            let hypervisor = Arc::clone(&hypervisor);
            async move {
                let both = async {
                    hypervisor.probe(&site).await?;
                    hypervisor.list(&site).await
                };
                let found = within(TRY_TIMEOUT, both).await;
                found.map_err(|error| NotAnswered { host: site.name.clone(), error })
            }
        });
        let mut tried = tried.buffer_unordered(TRIED_AT_ONCE);
        while let Some(found) = tried.next().await {
            found?;
        }
        Ok(())
    }

    /// Call this when another file, of this digest, has become the driver of that name. Operations
    /// before `from` stay on the file before. If `since` is given, the file is on trial from then
    /// on: see [`Engine::next_spike`].
    pub fn driver_changed(
        &self,
        driver: &DriverName,
        file: &str,
        from: OperationId,
        since: Option<Timestamp>,
    ) {
        let shared = self.shared();
        match since {
            Some(since) => {
                let now = shared.now();
                shared.trials.begin(driver, file.to_owned(), from, (now, now.since(since)));
            }
            None => shared.trials.settle(driver),
        }
        self.probe_hosts_of(driver);
    }

    /// The driver is called again: its file fares badly, and stays all the same.
    pub fn driver_stays(&self, driver: &DriverName) {
        self.shared().trials.call_again(driver);
    }

    /// The driver is forgotten.
    pub fn driver_removed(&self, driver: &DriverName) {
        self.shared().figures.forget(driver);
        self.shared().trials.settle(driver);
    }

    /// Has the hosts of a hypervisor driver probed at once: its file, or its grants, are others, and
    /// it may be able to do other things there.
    pub fn probe_hosts_of(&self, driver: &DriverName) {
        let shared = self.shared();
        let directory = shared.directory();
        let of = |host: &&ostler_model::Host| {
            host.hypervisor.as_ref().is_some_and(|hypervisor| hypervisor.driver == *driver)
        };
        shared.probes.want_now(directory.hosts.values().filter(of).map(|host| host.id));
    }

    /// Waits until a driver's file that is on trial fares so badly that it is to be taken back. Until
    /// it is, or [`Engine::driver_stays`] is called, the driver gets no calls but looks and
    /// destroys.
    pub async fn next_spike(&self) -> TakeBack {
        self.shared().trials.next_spike().await
    }

    /// Counts and the last error of a driver's calls since the start.
    #[must_use]
    pub fn driver_health(&self, driver: &DriverName) -> DriverHealth {
        let shared = self.shared();
        let now = shared.now();
        let counted = locked(&shared.driver_health).get(driver).cloned().unwrap_or_default();
        let directory = shared.directory();
        let named =
            |(host, left): (HostId, Millis)| Some((directory.hosts.get(&host)?.name.clone(), left));
        DriverHealth {
            trial_until: shared.trials.trial_until(driver, now),
            paused: shared.trials.pauses(driver, now).into_iter().filter_map(named).collect(),
            ..counted
        }
    }
}

impl Engine {
    /// How fast and how healthy a driver is, and it is on each of its hosts.
    #[must_use]
    pub fn driver_figures(&self, driver: &DriverName) -> DriverFigures {
        let directory = self.shared().directory();
        let named = |host| Some(directory.hosts.get(&host)?.name.clone());
        self.shared().figures.of(driver, named)
    }
}

/// The first operation that has not ended. None if all have.
///
/// # Errors
/// When the store cannot be read.
pub fn oldest_operation(reader: &Reader) -> Result<Option<OperationId>, ReadError> {
    let mut oldest = None;
    for vm in reader.active_vms()? {
        let operation = reader.vm_summary(vm)?.and_then(|summary| summary.operation);
        oldest = operation.map(|operation| operation.id).into_iter().chain(oldest).min();
    }
    Ok(oldest)
}

/// Unloads earlier files of drivers that no operation needs any more. Runs until the daemon ends.
pub(crate) async fn retire(shared: Arc<Shared>) {
    while !shared.stop.is_cancelled() {
        if shared.drivers.earlier() > 0 {
            let store = shared.store.clone();
            let asked = tokio::task::spawn_blocking(move || oldest_operation(&store.read()?));
            // If the store cannot be read, the files stay loaded for now.
            if let Ok(Ok(oldest)) = asked.await {
                shared.drivers.retire(oldest);
            }
        }
        tokio::select! {
            biased;
            () = tokio::time::sleep(RETIRE_EVERY) => {}
            () = shared.stop.cancelled() => {}
        }
    }
}
