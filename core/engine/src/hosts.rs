//! How every part of the engine asks a host: by which driver, for how long, and what is known of
//! the host meanwhile.

use crate::calls;
use crate::figures::Called;
use crate::locked::locked;
use crate::shared::Shared;
use crate::trials::Answer;
use ostler_driver::{Hypervisor, Site};
use ostler_lifecycle::is_crash;
use ostler_model::{Ability, DriverError, DriverName, HostId, OperationId, VmUuid};
use std::sync::Arc;
use std::time::Duration;

/// The hypervisor driver of a host, and the host's site.
pub(crate) fn driver_of(
    shared: &Shared,
    host: HostId,
) -> Result<(Arc<dyn Hypervisor>, Arc<Site>), DriverError> {
    let directory = shared.directory();
    let known = directory.hosts.get(&host).and_then(|host| host.hypervisor.as_ref());
    let name = known
        .map(|driver| &driver.driver)
        .ok_or_else(|| DriverError::retry("no-host", "the host was removed"))?;
    let driver = shared
        .drivers
        .hypervisor(name)
        .map_err(|error| DriverError::retry("not-loaded", error.to_string()))?;
    let site = directory
        .site(host)
        .ok_or_else(|| DriverError::retry("no-host", "the host was removed"))?;
    Ok((driver, site))
}

/// Runs a call that changes nothing, and waits at most `time` for it.
pub(crate) async fn within<T>(
    time: Duration,
    call: impl Future<Output = Result<T, DriverError>>,
) -> Result<T, DriverError> {
    tokio::time::timeout(time, calls::caught(call))
        .await
        .unwrap_or_else(|_| Err(DriverError::retry("timeout", "the host did not answer in time")))
}

/// Asks the hypervisor driver of a host, which is known, and counts the call. Waits at most `time`.
pub(crate) async fn ask<T>(
    shared: &Shared,
    host: HostId,
    function: &'static str,
    time: Duration,
    call: impl Future<Output = Result<T, DriverError>>,
) -> Result<T, DriverError> {
    let directory = shared.directory();
    let known = directory.hosts.get(&host).and_then(|host| host.hypervisor.as_ref());
    let asked = within(time, call);
    match known {
        Some(known) => {
            let called = Called { driver: &known.driver, host: Some(host), function };
            shared.counted(called, asked).await
        }
        None => asked.await,
    }
}

/// The abilities of a driver on a host. If the host was not probed yet or is not reachable, the
/// abilities that the driver has on some host.
pub(crate) fn abilities(
    shared: &Shared,
    host: HostId,
    driver: &DriverName,
) -> Option<Vec<Ability>> {
    let probed = locked(&shared.host_health)
        .get(&host)
        .filter(|health| health.reachable)
        .map(|health| health.abilities.clone());
    probed.or_else(|| {
        shared.drivers.hypervisor(driver).ok().map(|driver| driver.abilities().to_vec())
    })
}

/// Whether a host did not answer the last time that it was asked.
pub(crate) fn is_silent(shared: &Shared, host: HostId) -> bool {
    locked(&shared.host_health).get(&host).is_some_and(|health| !health.reachable)
}

/// Counts that a driver crashed when the monitor looked at a host. Nothing else of a look is counted:
/// an error may be the host's, and answers are so many that failures of calls would not show.
pub(crate) fn count_crash(shared: &Shared, host: HostId, error: &DriverError) {
    let directory = shared.directory();
    let known = directory.hosts.get(&host).and_then(|host| host.hypervisor.as_ref());
    if let Some(hypervisor) = known.filter(|_| is_crash(error)) {
        let (driver, operation, vm) =
            (&hypervisor.driver, OperationId(0), VmUuid(uuid::Uuid::nil()));
        let answer = Answer { driver, operation, vm, error: Some(error), silent: false };
        shared.trials.answered(answer, shared.now());
    }
}
