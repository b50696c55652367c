//! The checks of snapshots.

use super::hardware::{grown, has_size};
use super::hypervisor::stamped;
use super::stage::{Stage, broken};
use super::{Check, Trouble, Verdict, check};
use ostler_model::{ErrorKind, Power, SnapshotName, VmUuid};

/// All of them.
pub(super) fn checks() -> Vec<Check<Stage>> {
    vec![
        check!(
            "snapshot-twice",
            "create-snapshot is level: there is one of that name, and the domain runs on",
            create_twice
        ),
        check!(
            "snapshot-lost-answer",
            "a create-snapshot whose caller went away converges when it is sent again",
            create_lost
        ),
        check!(
            "snapshot-fences",
            "create, revert and delete answer stale if a higher generation is there",
            fences
        ),
        check!(
            "revert-once",
            "a domain goes back at most once an identity, which is stamped first",
            revert_once
        ),
        check!(
            "revert-brings-back",
            "a domain that was reverted is as it was, and runs, even if it was off",
            revert_brings_back
        ),
        check!(
            "revert-restamps",
            "a domain that was reverted carries the generation that it was reverted for",
            revert_restamps
        ),
        check!(
            "revert-needs-snapshot",
            "a snapshot that is not there is gone, and the domain runs on",
            revert_nothing
        ),
        check!(
            "delete-snapshot-twice",
            "delete-snapshot is level, for domains that run, are off, and are absent",
            delete_twice
        ),
    ]
}

/// Parses a snapshot's name.
pub(super) fn name(text: &str) -> Result<SnapshotName, Trouble> {
    text.parse()
        .or_else(|error| super::stage::skip(format!("{text} is no snapshot's name: {error}")))
}

pub(super) async fn listed(stage: &Stage, when: &str, vm: VmUuid, wanted: &[&str]) -> Verdict {
    let snaps = stage.snaps()?;
    match stage.asked("list-snapshots", || snaps.list(&stage.site, vm)).await? {
        Ok(found) if found == wanted => Ok(()),
        Ok(found) => broken(format!("{when}, there are the snapshots {found:?}, not {wanted:?}")),
        Err(error) => broken(format!("list-snapshots answered: {error}")),
    }
}

/// A running domain with the snapshot `one`.
pub(super) async fn taken(
    stage: &Stage,
    generation: u64,
) -> Result<(VmUuid, SnapshotName), Trouble> {
    let snaps = stage.snaps()?;
    let (vm, one) = (stage.vm(), name("one")?);
    stage.deploy(vm, generation).await?;
    stage.bench.guest_ready(vm).await;
    let call = stage.call(vm, generation);
    stage.done("create-snapshot", || snaps.create(&stage.site, &call, &one)).await?;
    Ok((vm, one))
}

async fn create_twice(stage: &Stage) -> Verdict {
    let snaps = stage.snaps()?;
    let (vm, one) = taken(stage, 1).await?;
    for call in stage.thrice(vm, 1) {
        stage.done("create-snapshot", || snaps.create(&stage.site, &call, &one)).await?;
        listed(stage, "after create-snapshot was sent again", vm, &["one"]).await?;
    }
    let (call, two) = (stage.call(vm, 1), name("another")?);
    stage.done("create-snapshot", || snaps.create(&stage.site, &call, &two)).await?;
    listed(stage, "after a second create-snapshot", vm, &["one", "another"]).await?;
    stage.untouched("after create-snapshot", stage.identity(vm, 1)).await
}

async fn create_lost(stage: &Stage) -> Verdict {
    let snaps = stage.snaps()?;
    let (vm, one) = (stage.vm(), name("one")?);
    stage.deploy(vm, 1).await?;
    stage.bench.guest_ready(vm).await;
    let call = stage.call(vm, 1);
    stage.drop_early(snaps.create(&stage.site, &call, &one)).await;
    stage.look(vm).await?;
    let again = stage.again(&call);
    let create = || snaps.create(&stage.site, &again, &one);
    stage.done("create-snapshot, after its answer was lost", create).await?;
    listed(stage, "after create-snapshot was sent again", vm, &["one"]).await?;
    stage.untouched("after create-snapshot was sent again", stage.identity(vm, 1)).await
}

async fn fences(stage: &Stage) -> Verdict {
    let (vm, one) = taken(stage, 5).await?;
    let (driver, site, two) = (stage.snaps()?, &stage.site, name("two")?);
    let call = stage.call(vm, 4);
    stage
        .fails("create-snapshot with a lower generation", ErrorKind::Stale, || {
            driver.create(site, &call, &two)
        })
        .await?;
    stage
        .fails("revert-snapshot with a lower generation", ErrorKind::Stale, || {
            driver.revert(site, &call, &one)
        })
        .await?;
    stage
        .fails("delete-snapshot with a lower generation", ErrorKind::Stale, || {
            driver.delete(site, &call, &one)
        })
        .await?;
    listed(stage, "after stale calls", vm, &["one"]).await?;
    stage.untouched("after stale calls", stage.identity(vm, 5)).await
}

async fn revert_once(stage: &Stage) -> Verdict {
    let snaps = stage.snaps()?;
    let (vm, one) = taken(stage, 1).await?;
    let call = stage.call(vm, 1);
    stage.done("revert-snapshot", || snaps.revert(&stage.site, &call, &one)).await?;
    stamped(stage, vm, &call).await?;
    // A second revert would undo the change that is made here.
    let spec = stage.domain(vm, 1).await;
    let grows = stage.driver.live_resize().is_some();
    if grows {
        stage.bench.guest_ready(vm).await;
        grown(stage, &stage.call(vm, 1), &spec).await?;
    }
    let again = stage.again(&call);
    stage.done("revert-snapshot, sent again", || snaps.revert(&stage.site, &again, &one)).await?;
    stamped(stage, vm, &call).await?;
    if grows {
        has_size(
            stage,
            "revert-snapshot, sent again,",
            vm,
            (spec.vcpus_most, spec.memory_most_mib),
        )
        .await?;
    }
    if let Some(count) = stage.bench.edges(vm).await.filter(|count| *count > 1) {
        return broken(format!("it was sent twice under one identity, and the guest felt {count}"));
    }
    stage.untouched("after revert-snapshot", stage.identity(vm, 1)).await
}

async fn revert_brings_back(stage: &Stage) -> Verdict {
    let snaps = stage.snaps()?;
    let (vm, one) = taken(stage, 1).await?;
    let spec = stage.domain(vm, 1).await;
    let grows = stage.driver.live_resize().is_some();
    for off in [false, true] {
        if grows {
            grown(stage, &stage.call(vm, 1), &spec).await?;
        }
        if off {
            let call = stage.call(vm, 1);
            stage.done("destroy", || stage.driver.destroy(&stage.site, &call)).await?;
        }
        let call = stage.call(vm, 1);
        stage.done("revert-snapshot", || snaps.revert(&stage.site, &call, &one)).await?;
        stage.power(vm, "after revert-snapshot", Power::Running).await?;
        stage.bench.guest_ready(vm).await;
        if grows {
            has_size(stage, "revert-snapshot", vm, (spec.vcpus, spec.memory_mib)).await?;
        }
        listed(stage, "after revert-snapshot", vm, &["one"]).await?;
    }
    Ok(())
}

async fn revert_restamps(stage: &Stage) -> Verdict {
    let snaps = stage.snaps()?;
    let (vm, one) = taken(stage, 1).await?;
    let call = stage.call(vm, 2);
    stage.done("revert-snapshot", || snaps.revert(&stage.site, &call, &one)).await?;
    stage.untouched("after revert-snapshot for a later generation", stage.identity(vm, 2)).await
}

async fn revert_nothing(stage: &Stage) -> Verdict {
    let snaps = stage.snaps()?;
    let (vm, _) = taken(stage, 1).await?;
    let (call, other) = (stage.call(vm, 1), name("other")?);
    let revert = || snaps.revert(&stage.site, &call, &other);
    stage.fails("revert-snapshot to what is not there", ErrorKind::Gone, revert).await?;
    stage.untouched("after revert-snapshot to what is not there", stage.identity(vm, 1)).await
}

async fn delete_twice(stage: &Stage) -> Verdict {
    let snaps = stage.snaps()?;
    let (vm, one) = taken(stage, 1).await?;
    let delete = async |call: &ostler_driver::CallControl| {
        stage.done("delete-snapshot", || snaps.delete(&stage.site, call, &one)).await.map(drop)
    };
    for call in stage.thrice(vm, 1) {
        delete(&call).await?;
        listed(stage, "after delete-snapshot", vm, &[]).await?;
    }
    stage.untouched("after delete-snapshot", stage.identity(vm, 1)).await?;
    let (create, destroy, remove) = (stage.call(vm, 1), stage.call(vm, 1), stage.call(vm, 1));
    stage.done("create-snapshot", || snaps.create(&stage.site, &create, &one)).await?;
    stage.done("destroy", || stage.driver.destroy(&stage.site, &destroy)).await?;
    delete(&stage.call(vm, 1)).await?;
    listed(stage, "after delete-snapshot of a domain that is off", vm, &[]).await?;
    stage.off_or_absent(vm, "after delete-snapshot of a domain that is off").await?;
    stage.done("remove", || stage.driver.remove(&stage.site, &remove)).await?;
    delete(&stage.call(vm, 1)).await?;
    listed(stage, "of a domain that is absent", vm, &[]).await
}
