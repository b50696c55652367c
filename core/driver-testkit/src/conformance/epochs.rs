//! The checks that no mutating function does anything for a daemon that is no longer in charge of
//! the store. They run where the host holds each effect of the driver to the epoch of its call:
//! commands, changes of files, connections to sockets.
//!
//! A driver fails them that hides the host's answer, or that acts in a way that the host does not
//! hold.

use super::abilities::saved;
use super::hardware::{growing, spare_disk};
use super::jobs::{Copying, Journey};
use super::snapshots::{listed, name, taken};
use super::stage::{Stage, broken, kind_of};
use super::{Check, Verdict, check};
use ostler_driver::CallControl;
use ostler_model::{DriverError, Epoch, Power, VmUuid};
use std::future::Future;

/// The epoch of a daemon before the one whose calls the other checks send.
const BEFORE: Epoch = Epoch(1);
/// The generation of all domains of these checks.
const GENERATION: u64 = 1;

/// Those of the mandatory interface.
pub(super) fn checks() -> Vec<Check<Stage>> {
    vec![
        check!("deploy-holds-epoch", "deploy makes nothing under a lower epoch", deploy),
        check!("destroy-holds-epoch", "destroy ends nothing under a lower epoch", destroy),
        check!("remove-holds-epoch", "remove removes nothing under a lower epoch", remove),
        check!("press-holds-epoch", "press-power presses nothing under a lower epoch", press),
    ]
}

/// Those of the abilities.
pub(super) fn ability_checks() -> Vec<Check<Stage>> {
    vec![
        check!("reboot-holds-epoch", "reboot and reset press nothing under a lower epoch", reboot),
        check!("save-holds-epoch", "save leaves the domain running under a lower epoch", save),
        check!(
            "restore-holds-epoch",
            "restore and unpause start nothing under a lower epoch",
            restore
        ),
        check!(
            "hotplug-holds-epoch",
            "attach and detach change nothing under a lower epoch",
            hotplug
        ),
        check!("resize-holds-epoch", "resize changes nothing under a lower epoch", resize),
        check!(
            "snapshot-holds-epoch",
            "create, revert and delete change no snapshot under a lower epoch",
            snapshot
        ),
        check!("migrate-holds-epoch", "migrate moves nothing under a lower epoch", migrate),
        check!("copy-disk-holds-epoch", "copy-disk makes nothing under a lower epoch", copy_disk),
    ]
}

/// A call of the daemon before.
fn before(stage: &Stage, vm: VmUuid) -> CallControl {
    let mut call = stage.call(vm, GENERATION);
    call.context.epoch = BEFORE;
    call
}

/// Sends a call of the daemon before, which must be `stale`, code `epoch`.
async fn held<T, F>(
    stage: &Stage,
    what: &str,
    vm: VmUuid,
    send: impl Fn(CallControl) -> F,
) -> Verdict
where
    F: Future<Output = Result<T, DriverError>> + Send,
{
    let call = before(stage, vm);
    is_held(what, &stage.asked(what, || send(call.clone())).await?)
}

fn is_held<T>(what: &str, answer: &Result<T, DriverError>) -> Verdict {
    match answer {
        Err(error) if error.is_superseded() => Ok(()),
        other => broken(format!(
            "{what} under a lower epoch answered {}; stale ({}) was to be expected",
            kind_of(other),
            DriverError::EPOCH
        )),
    }
}

/// A running domain. The host has seen the epoch of the later daemon.
async fn running(stage: &Stage) -> Result<VmUuid, super::Trouble> {
    let vm = stage.vm();
    stage.deploy(vm, GENERATION).await?;
    stage.bench.guest_ready(vm).await;
    Ok(vm)
}

async fn untouched(stage: &Stage, what: &str, vm: VmUuid) -> Verdict {
    let when = format!("after {what} under a lower epoch");
    stage.untouched(&when, stage.identity(vm, GENERATION)).await
}

async fn deploy(stage: &Stage) -> Verdict {
    running(stage).await?;
    let vm = stage.vm();
    let spec = &stage.domain(vm, GENERATION).await;
    let send = |call| async move { stage.driver.deploy(&stage.site, &call, spec).await };
    held(stage, "deploy", vm, send).await?;
    stage.off_or_absent(vm, "after deploy under a lower epoch").await
}

async fn destroy(stage: &Stage) -> Verdict {
    let vm = running(stage).await?;
    let send = |call| async move { stage.driver.destroy(&stage.site, &call).await };
    held(stage, "destroy", vm, send).await?;
    untouched(stage, "destroy", vm).await
}

async fn remove(stage: &Stage) -> Verdict {
    let vm = running(stage).await?;
    let send = |call| async move { stage.driver.remove(&stage.site, &call).await };
    held(stage, "remove", vm, send).await?;
    untouched(stage, "remove", vm).await
}

async fn press(stage: &Stage) -> Verdict {
    let vm = running(stage).await?;
    let edges = stage.bench.edges(vm).await;
    let send = |call| async move { stage.driver.press_power(&stage.site, &call).await };
    held(stage, "press-power", vm, send).await?;
    no_edge(stage, vm, edges).await?;
    untouched(stage, "press-power", vm).await
}

async fn no_edge(stage: &Stage, vm: VmUuid, before: Option<u32>) -> Verdict {
    if stage.bench.edges(vm).await == before {
        Ok(())
    } else {
        broken("a press, reboot or reset under a lower epoch reached the guest")
    }
}

async fn reboot(stage: &Stage) -> Verdict {
    let reboots = stage.reboots()?;
    let vm = running(stage).await?;
    let edges = stage.bench.edges(vm).await;
    let send = |call| async move { reboots.reboot(&stage.site, &call).await };
    held(stage, "reboot", vm, send).await?;
    let send = |call| async move { reboots.reset(&stage.site, &call).await };
    held(stage, "reset", vm, send).await?;
    no_edge(stage, vm, edges).await?;
    untouched(stage, "reboot", vm).await
}

async fn save(stage: &Stage) -> Verdict {
    let suspends = stage.suspends()?;
    let vm = running(stage).await?;
    let file = &stage.bench.recovery(vm);
    let send = |call| async move { suspends.save(&stage.site, &call, file).await };
    held(stage, "save", vm, send).await?;
    untouched(stage, "save", vm).await
}

async fn restore(stage: &Stage) -> Verdict {
    let suspends = stage.suspends()?;
    let (vm, file) = &saved(stage).await?;
    let spec = &stage.domain(*vm, GENERATION).await;
    let send = |call| async move { suspends.restore(&stage.site, &call, spec, file).await };
    held(stage, "restore", *vm, send).await?;
    stage.off_or_absent(*vm, "after restore under a lower epoch").await?;
    let call = stage.call(*vm, GENERATION);
    stage.done("restore", || suspends.restore(&stage.site, &call, spec, file)).await?;
    let send = |call| async move { suspends.unpause(&stage.site, &call).await };
    held(stage, "unpause", *vm, send).await?;
    stage.power(*vm, "after unpause under a lower epoch", Power::Paused).await.map(drop)
}

async fn hotplug(stage: &Stage) -> Verdict {
    let (plugs, site) = (stage.plugs()?, &stage.site);
    let (vm, disk) = &spare_disk(stage, GENERATION).await?;
    let send = |call| async move { plugs.attach_disk(site, &call, disk).await };
    held(stage, "attach-disk", *vm, send).await?;
    let call = stage.call(*vm, GENERATION);
    stage.done("attach-disk", || plugs.attach_disk(site, &call, disk)).await?;
    let send = |call| async move { plugs.detach_disk(site, &call, &disk.name).await };
    held(stage, "detach-disk", *vm, send).await?;
    untouched(stage, "hotplug", *vm).await
}

async fn resize(stage: &Stage) -> Verdict {
    let resizes = stage.resizes()?;
    let spec = growing(stage, GENERATION).await?;
    let (vcpus, memory) = (spec.vcpus_most, spec.memory_most_mib);
    let send = |call| async move { resizes.resize(&stage.site, &call, vcpus, memory).await };
    held(stage, "resize", spec.identity.vm, send).await?;
    untouched(stage, "resize", spec.identity.vm).await
}

async fn snapshot(stage: &Stage) -> Verdict {
    let (snaps, site) = (stage.snaps()?, &stage.site);
    let (vm, one) = &taken(stage, GENERATION).await?;
    let two = &name("two")?;
    let send = |call| async move { snaps.create(site, &call, two).await };
    held(stage, "create-snapshot", *vm, send).await?;
    let send = |call| async move { snaps.revert(site, &call, one).await };
    held(stage, "revert-snapshot", *vm, send).await?;
    let send = |call| async move { snaps.delete(site, &call, one).await };
    held(stage, "delete-snapshot", *vm, send).await?;
    listed(stage, "after snapshot calls under a lower epoch", *vm, &["one"]).await?;
    untouched(stage, "snapshot calls", *vm).await
}

async fn migrate(stage: &Stage) -> Verdict {
    stage.migrates()?;
    let to = stage.there()?;
    let vm = running(stage).await?;
    let spec = stage.bench.domain_there(stage.identity(vm, GENERATION)).await;
    let journey = Journey { vm, spec, to };
    is_held("migrate", &stage.migrate(&before(stage, vm), &journey).await?)?;
    untouched(stage, "migrate", vm).await
}

async fn copy_disk(stage: &Stage) -> Verdict {
    let copying = Copying::new(stage, GENERATION).await?;
    let call = before(stage, copying.vm);
    is_held("copy-disk", &copying.copy(stage, &call, &copying.disk).await?)?;
    copying.there(stage, "copy-disk under a lower epoch", false).await?;
    untouched(stage, "copy-disk", copying.vm).await
}
