//! Calls that nobody waits for any more, and that may still be at work: they were dropped at their
//! deadline, or an earlier process has sent them. The next call of the same VM waits for them.

use crate::calls;
use crate::hooks::Sabotage;
use crate::locked::locked;
use crate::shared::Shared;
use ostler_driver::Site;
use ostler_model::{
    Call, CallResult, DriverError, DriverName, Effect, EffectKey, HostId, JobCall, Lane, NowCall,
    Outcome, VmId, VmRecord,
};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long the look before a call may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(15);

/// What may still be at work.
#[derive(Default)]
pub(crate) struct MaybeRunning {
    /// Hosts where a call of a VM may still be at work though nobody waits for it: the call was
    /// dropped, or a previous process sent it. If the host's driver answers a look, no such call is
    /// at work there. The key is that of a job whose driver has said *not now*: sent again, it is
    /// the same job, and waits for nothing.
    hosts: Mutex<HashMap<(VmId, HostId), Option<EffectKey>>>,
    /// Transfer drivers where a call of a VM may still be at work in the same way. Only the
    /// transfer driver itself can tell: a hypervisor does not see who copies or removes files
    /// beside it.
    transfers: Mutex<HashSet<(VmId, DriverName)>>,
    /// VMs from before this process of which an earlier process may have left a transfer at work.
    /// The driver of such a VM's files is asked once.
    inherited: Mutex<HashSet<VmId>>,
}

impl MaybeRunning {
    /// Notes that calls of this VM may be at work on these hosts though nobody waits for them.
    pub(crate) fn mark(&self, vm: VmId, hosts: impl IntoIterator<Item = HostId>) {
        locked(&self.hosts).extend(hosts.into_iter().map(|host| ((vm, host), None)));
    }

    /// Notes that the job of this effect may be at work on these hosts: the driver was asked how
    /// far it is, and said *not now*.
    pub(crate) fn job_on(
        &self,
        vm: VmId,
        key: &EffectKey,
        hosts: impl IntoIterator<Item = HostId>,
    ) {
        let mut marked = locked(&self.hosts);
        for host in hosts {
            marked.entry((vm, host)).or_insert_with(|| Some(key.clone()));
        }
    }

    /// Notes that a transfer of this VM was dropped and may still be at work.
    pub(crate) fn transfers_on(&self, vm: VmId, driver: &DriverName) {
        locked(&self.transfers).insert((vm, driver.clone()));
    }

    /// Notes that an earlier process may have left transfers of these VMs at work.
    pub(crate) fn inherit(&self, vms: impl IntoIterator<Item = VmId>) {
        locked(&self.inherited).extend(vms);
    }

    /// The transfer drivers where a transfer of this VM may still be at work.
    fn transferring(&self, vm: VmId) -> Vec<DriverName> {
        locked(&self.transfers)
            .iter()
            .filter(|(of, _)| *of == vm)
            .map(|(_, driver)| driver.clone())
            .collect()
    }

    /// The driver of the VM's files, if an earlier process may have left a transfer at work there.
    fn inherited(&self, record: &VmRecord) -> Option<DriverName> {
        let storage = record.storage.as_ref()?;
        locked(&self.inherited).contains(&record.id).then(|| storage.driver.clone())
    }

    /// The driver says that no dropped transfer of this VM is at work.
    fn transfers_ended(&self, record: &VmRecord, driver: DriverName) {
        if record.storage.as_ref().is_some_and(|storage| storage.driver == driver) {
            locked(&self.inherited).remove(&record.id);
        }
        locked(&self.transfers).remove(&(record.id, driver));
    }

    /// Whether such a call of this VM may be at work on this host.
    fn is_at(&self, vm: VmId, host: HostId) -> bool {
        locked(&self.hosts).contains_key(&(vm, host))
    }

    /// Whether a call other than this effect may be at work on this host.
    fn is_another_at(&self, effect: &Effect, host: HostId) -> bool {
        let hosts = locked(&self.hosts);
        hosts.get(&(effect.vm, host)).is_some_and(|job| job.as_ref() != Some(&effect.key))
    }

    /// The driver has answered a look: no such call of this VM is at work on this host.
    fn answered(&self, vm: VmId, host: HostId) {
        locked(&self.hosts).remove(&(vm, host));
    }
}

/// Makes sure that only one mutating call of a VM is at work at a time. After a call that nobody
/// waits for any more, the next call is sent only when the driver answers a look. A driver does not
/// answer a look while a dropped call is at work. A call of the transfer lane waits only for
/// dropped transfers. No host is looked at for it, because `lifecycle` asks for a transfer after a
/// hypervisor call only when a look has shown what came of that call, or when a person has said
/// that the host is lost. A look here would hold back the second case for ever.
pub(crate) async fn alone(
    shared: &Shared,
    effect: &Effect,
    record: &VmRecord,
) -> Result<(), DriverError> {
    if matches!(effect.call, Call::Now(NowCall::Destroy | NowCall::Observe)) {
        return Ok(());
    }
    transfers_are_over(shared, record).await?;
    if effect.call.lane() == Lane::Transfer {
        return Ok(());
    }
    for host in touched(effect, record) {
        if !shared.executor.maybe_running.is_another_at(effect, host)
            || shared.config.hooks.sabotage == Sabotage::CallsBeside
        {
            continue;
        }
        match tokio::time::timeout(
            LOOK_TIMEOUT,
            calls::observe_at(shared, host, &effect.driver, record),
        )
        .await
        {
            Ok(Ok(_)) => shared.executor.maybe_running.answered(effect.vm, host),
            Ok(Err(error)) => {
                return Err(DriverError::retry(
                    "earlier-call",
                    format!("an earlier call may still be at work: {error}"),
                ));
            }
            Err(_) => {
                let detail =
                    "an earlier call may still be at work: the host did not answer in time";
                return Err(DriverError::retry("earlier-call", detail));
            }
        }
    }
    Ok(())
}

/// Makes sure that no dropped transfer of this VM is still at work.
///
/// # Errors
/// *Retry* while a transfer driver cannot say that nothing of it is at work.
pub(crate) async fn transfers_are_over(
    shared: &Shared,
    record: &VmRecord,
) -> Result<(), DriverError> {
    if shared.config.hooks.sabotage == Sabotage::TransfersBeside {
        return Ok(());
    }
    let at_work = |error: String| {
        DriverError::retry(
            "earlier-call",
            format!("an earlier transfer may still be at work: {error}"),
        )
    };
    // If its driver is not loaded, nobody can tell, and the VM must not wait for that.
    let inherited = shared
        .executor
        .maybe_running
        .inherited(record)
        .filter(|driver| shared.drivers.transfer(driver).is_ok());
    let directory = shared.directory();
    let sites: Vec<Site> = record
        .places()
        .filter_map(|place| directory.site(place.host))
        .map(Arc::unwrap_or_clone)
        .collect();
    for driver in shared.executor.maybe_running.transferring(record.id).into_iter().chain(inherited)
    {
        let transfer =
            shared.drivers.transfer(&driver).map_err(|error| at_work(error.to_string()))?;
        let idle = calls::caught(transfer.idle(record.uuid, &sites));
        match tokio::time::timeout(LOOK_TIMEOUT, idle).await {
            Ok(Ok(())) => shared.executor.maybe_running.transfers_ended(record, driver),
            Ok(Err(error)) => return Err(at_work(error.to_string())),
            Err(_) => return Err(at_work("the driver did not answer in time".to_owned())),
        }
    }
    Ok(())
}

/// The hosts where an earlier call could still act on the same domain: the host of the call, and
/// for a migration, or a call at its other host, both hosts of the migration.
pub(crate) fn touched(effect: &Effect, record: &VmRecord) -> Vec<HostId> {
    let other = record.other().map(|place| place.host);
    let here = record.placement.as_ref().map(|place| place.host);
    let mut hosts = vec![effect.host];
    if effect.call == Call::Job(JobCall::Migrate) || Some(effect.host) == other {
        hosts.extend(here);
        hosts.extend(other);
    }
    hosts.sort_unstable();
    hosts.dedup();
    hosts
}

/// A destroy may run beside a call that nobody waits for any more. That call may start the domain
/// again after the destroy, so the domain that the destroy saw proves nothing. So its answer
/// carries no look. A later look is answered only when the other call is over.
pub(crate) fn beside(shared: &Shared, effect: &Effect, result: CallResult) -> CallResult {
    match result {
        Ok(outcome)
            if effect.call == Call::Now(NowCall::Destroy)
                && shared.executor.maybe_running.is_at(effect.vm, effect.host) =>
        {
            Ok(Outcome { seen: None, ..outcome })
        }
        Ok(_) | Err(_) => result,
    }
}
