//! Asks a driver for the counters of a running guest, when somebody wants to see them. Nothing is
//! kept here: an observer (`/metrics`, later the store) makes histories and rates of them.

use crate::Engine;
use crate::figures::Called;
use crate::handle::EngineError;
use crate::hosts::within;
use crate::unusable::Unusable;
use ostler_driver::DomainMetrics;
use ostler_model::{DriverError, VmId};
use std::time::Duration;

/// How long a host may take to answer with counters. People look at counters, so a late answer is
/// of no use.
const COUNT_TIMEOUT: Duration = Duration::from_secs(5);

impl Engine {
    /// The counters of a VM. None while it does not run, or if its driver cannot count.
    ///
    /// # Errors
    /// When there is no such VM, or its host could not be asked.
    pub async fn counters(&self, vm: VmId) -> Result<Option<DomainMetrics>, EngineError> {
        let record = self.store().read()?.vm(vm)?.ok_or(EngineError::NoSuchVm(vm))?;
        let Some(place) = &record.placement else { return Ok(None) };
        let unusable = |error: DriverError| Unusable::Counters { vm, host: place.host, error };
        let no_driver = |error: ostler_driver::RegistryError| {
            unusable(DriverError::refused("failed", error.to_string()))
        };
        let driver = self.drivers().hypervisor(&place.driver).map_err(no_driver)?;
        let Some(counts) = driver.metrics() else { return Ok(None) };
        let site = self
            .site(place.host)
            .ok_or_else(|| unusable(DriverError::retry("no-host", "the host is not known")))?;
        let called = Called { driver: &place.driver, host: Some(place.host), function: "sample" };
        let sampled = within(COUNT_TIMEOUT, counts.sample(&site));
        let all = self.shared().counted(called, sampled).await.map_err(unusable)?;
        Ok(all.into_iter().find(|counters| counters.vm == Some(record.uuid)))
    }
}
