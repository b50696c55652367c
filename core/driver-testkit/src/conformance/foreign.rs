//! The checks that a domain of another store is left alone by every mutating function.
//!
//! Two stores may have a VM of one UUID: an old copy of a store that somebody starts, or a host that
//! two installations share. Generations of two stores cannot be compared, so a driver that compares
//! only them destroys the domain of the other store.

use super::abilities::saved;
use super::hardware::{growing, spare_disk, spare_nic};
use super::jobs::{Copying, Journey};
use super::snapshots::{name, taken};
use super::stage::{Stage, broken, kind_of, skip};
use super::{Check, Trouble, Verdict, check};
use ostler_driver::CallControl;
use ostler_model::{DriverError, ErrorKind, Observation, VmUuid};
use std::future::Future;

/// The code of the error. The engine knows it.
const FOREIGN: &str = "foreign";

/// Those of the mandatory interface.
pub(super) fn checks() -> Vec<Check<Stage>> {
    vec![
        check!(
            "destroy-leaves-foreign",
            "destroy refuses a domain of another store, and changes nothing",
            destroy
        ),
        check!(
            "remove-leaves-foreign",
            "remove refuses a domain of another store, and changes nothing",
            remove
        ),
        check!(
            "press-leaves-foreign",
            "press-power refuses a domain of another store, and presses nothing",
            press
        ),
    ]
}

/// Those of the abilities.
pub(super) fn ability_checks() -> Vec<Check<Stage>> {
    vec![
        check!(
            "reboot-leaves-foreign",
            "reboot and reset refuse a domain of another store, and press nothing",
            reboot
        ),
        check!(
            "save-leaves-foreign",
            "save and unpause refuse a domain of another store, and change nothing",
            save
        ),
        check!(
            "restore-leaves-foreign",
            "restore refuses a domain of another store, and starts nothing",
            restore
        ),
        check!(
            "hotplug-leaves-foreign",
            "attach and detach refuse a domain of another store, and change nothing",
            hotplug
        ),
        check!(
            "resize-leaves-foreign",
            "resize refuses a domain of another store, and changes nothing",
            resize
        ),
        check!(
            "snapshot-leaves-foreign",
            "create, revert and delete refuse a domain of another store, and change nothing",
            snapshot
        ),
        check!(
            "migrate-leaves-foreign-here",
            "migrate refuses a domain of another store, and moves nothing",
            migrate
        ),
        check!(
            "copy-disk-leaves-foreign",
            "copy-disk refuses a domain of another store",
            copy_disk
        ),
    ]
}

/// The other store's generation of each domain here. Ours is higher, so that only the store can
/// tell a driver that the domain is not ours.
const THEIRS: u64 = 1;
const OURS: u64 = 2;

/// Sends a call of our store, which must be refused.
async fn refused<T, F>(
    stage: &Stage,
    what: &str,
    vm: VmUuid,
    send: impl Fn(CallControl) -> F,
) -> Verdict
where
    F: Future<Output = Result<T, DriverError>> + Send,
{
    let call = stage.call(vm, OURS);
    is_refused(what, &stage.asked(what, || send(call.clone())).await?)
}

fn is_refused<T>(what: &str, answer: &Result<T, DriverError>) -> Verdict {
    match answer {
        Err(error) if error.kind == ErrorKind::Refused && error.code == FOREIGN => Ok(()),
        other => broken(format!(
            "{what} of another store's domain answered {}; refused ({FOREIGN}) was to be expected",
            kind_of(other)
        )),
    }
}

/// A running domain of another store, and the stage of that store.
async fn theirs(stage: &Stage) -> Result<(Stage, VmUuid), Trouble> {
    let theirs = stage.of_another_store();
    let vm = theirs.vm();
    theirs.deploy(vm, THEIRS).await?;
    Ok((theirs, vm))
}

async fn destroy(stage: &Stage) -> Verdict {
    let (theirs, vm) = theirs(stage).await?;
    let send = |call| async move { stage.driver.destroy(&stage.site, &call).await };
    refused(stage, "destroy", vm, send).await?;
    theirs.untouched("after destroy by another store", theirs.identity(vm, THEIRS)).await
}

async fn remove(stage: &Stage) -> Verdict {
    let (theirs, vm) = theirs(stage).await?;
    let send = |call| async move { stage.driver.remove(&stage.site, &call).await };
    refused(stage, "remove", vm, send).await?;
    theirs.untouched("after remove by another store", theirs.identity(vm, THEIRS)).await
}

async fn press(stage: &Stage) -> Verdict {
    let (theirs, vm) = theirs(stage).await?;
    let send = |call| async move { stage.driver.press_power(&stage.site, &call).await };
    refused(stage, "press-power", vm, send).await?;
    theirs.untouched("after press-power by another store", theirs.identity(vm, THEIRS)).await
}

async fn reboot(stage: &Stage) -> Verdict {
    let reboots = stage.reboots()?;
    let (theirs, vm) = theirs(stage).await?;
    let send = |call| async move { reboots.reboot(&stage.site, &call).await };
    refused(stage, "reboot", vm, send).await?;
    let send = |call| async move { reboots.reset(&stage.site, &call).await };
    refused(stage, "reset", vm, send).await?;
    if let Some(edges) = stage.bench.edges(vm).await.filter(|edges| *edges > 0) {
        return broken(format!("{edges} reboots or resets reached another store's guest"));
    }
    theirs.untouched("after reboot by another store", theirs.identity(vm, THEIRS)).await
}

async fn save(stage: &Stage) -> Verdict {
    let suspends = stage.suspends()?;
    let (theirs, vm) = theirs(stage).await?;
    let file = &stage.bench.recovery(vm);
    let send = |call| async move { suspends.save(&stage.site, &call, file).await };
    refused(stage, "save", vm, send).await?;
    let send = |call| async move { suspends.unpause(&stage.site, &call).await };
    refused(stage, "unpause", vm, send).await?;
    theirs.untouched("after save by another store", theirs.identity(vm, THEIRS)).await
}

async fn restore(stage: &Stage) -> Verdict {
    let suspends = stage.suspends()?;
    let theirs = stage.of_another_store();
    let (vm, file) = saved(&theirs).await?;
    if theirs.look(vm).await? == Observation::Absent {
        return skip("a domain that is off leaves no trace at this hypervisor");
    }
    let (spec, file) = (&stage.domain(vm, OURS).await, &file);
    let send = |call| async move { suspends.restore(&stage.site, &call, spec, file).await };
    refused(stage, "restore", vm, send).await?;
    theirs.off_or_absent(vm, "after restore by another store").await
}

async fn hotplug(stage: &Stage) -> Verdict {
    let (plugs, site, theirs) = (stage.plugs()?, &stage.site, stage.of_another_store());
    let (vm, disk) = spare_disk(&theirs, THEIRS).await?;
    let disk = &disk;
    let send = |call| async move { plugs.attach_disk(site, &call, disk).await };
    refused(stage, "attach-disk", vm, send).await?;
    let send = |call| async move { plugs.detach_disk(site, &call, &disk.name).await };
    refused(stage, "detach-disk", vm, send).await?;
    theirs.untouched("after hotplug by another store", theirs.identity(vm, THEIRS)).await?;
    if stage.bench.spare_nic().is_none() {
        return Ok(());
    }
    let (vm, nic) = spare_nic(&theirs, THEIRS).await?;
    let nic = &nic;
    let send = |call| async move { plugs.attach_nic(site, &call, nic).await };
    refused(stage, "attach-nic", vm, send).await?;
    let send = |call| async move { plugs.detach_nic(site, &call, &nic.mac).await };
    refused(stage, "detach-nic", vm, send).await?;
    theirs.untouched("after hotplug by another store", theirs.identity(vm, THEIRS)).await
}

async fn resize(stage: &Stage) -> Verdict {
    let (resizes, theirs) = (stage.resizes()?, stage.of_another_store());
    let spec = growing(&theirs, THEIRS).await?;
    let (vcpus, memory) = (spec.vcpus_most, spec.memory_most_mib);
    let send = |call| async move { resizes.resize(&stage.site, &call, vcpus, memory).await };
    refused(stage, "resize", spec.identity.vm, send).await?;
    theirs.untouched("after resize by another store", spec.identity).await
}

async fn snapshot(stage: &Stage) -> Verdict {
    let (snaps, site, theirs) = (stage.snaps()?, &stage.site, stage.of_another_store());
    let (vm, one) = taken(&theirs, THEIRS).await?;
    let (one, two) = (&one, &name("two")?);
    let send = |call| async move { snaps.create(site, &call, two).await };
    refused(stage, "create-snapshot", vm, send).await?;
    let send = |call| async move { snaps.revert(site, &call, one).await };
    refused(stage, "revert-snapshot", vm, send).await?;
    let send = |call| async move { snaps.delete(site, &call, one).await };
    refused(stage, "delete-snapshot", vm, send).await?;
    super::snapshots::listed(stage, "after calls of another store", vm, &["one"]).await?;
    theirs.untouched("after snapshot calls by another store", theirs.identity(vm, THEIRS)).await
}

async fn migrate(stage: &Stage) -> Verdict {
    stage.migrates()?;
    let to = stage.there()?;
    let (theirs, vm) = theirs(stage).await?;
    let spec = stage.bench.domain_there(stage.identity(vm, OURS)).await;
    let journey = Journey { vm, spec, to };
    is_refused("migrate", &stage.migrate(&stage.call(vm, OURS), &journey).await?)?;
    theirs.untouched("after migrate by another store", theirs.identity(vm, THEIRS)).await
}

async fn copy_disk(stage: &Stage) -> Verdict {
    let theirs = stage.of_another_store();
    let copying = Copying::new(&theirs, THEIRS).await?;
    let call = stage.call(copying.vm, OURS);
    is_refused("copy-disk", &copying.copy(stage, &call, &copying.disk).await?)?;
    copying.there(stage, "copy-disk by another store", false).await?;
    theirs.untouched("after copy-disk by another store", theirs.identity(copying.vm, THEIRS)).await
}
