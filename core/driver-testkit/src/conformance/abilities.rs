//! The checks of optional abilities. A check is skipped if the driver does not have the ability.

use super::hypervisor::{one_edge, stamped};
use super::stage::{Stage, answered, broken};
use super::{Check, Verdict, check};
use ostler_driver::FileRef;
use ostler_model::{Ability, ErrorKind, Power, VmUuid};
use std::time::{Duration, Instant};

/// All of them.
pub(super) fn checks() -> Vec<Check<Stage>> {
    vec![
        check!(
            "reboot-once",
            "reboot is sent at most once an identity, and the domain runs on",
            reboot_once
        ),
        check!(
            "reset-once",
            "reset is sent at most once an identity, and the domain runs on",
            reset_once
        ),
        check!(
            "reboot-fences",
            "reboot and reset answer stale if a higher generation is there",
            reboot_fences
        ),
        check!("save-twice", "save is level: off with a complete file is success", save_twice),
        check!(
            "save-lost-answer",
            "a save whose caller went away converges when it is sent again",
            save_lost_answer
        ),
        check!(
            "save-fences",
            "save answers stale, and changes nothing, if a higher generation is there",
            save_fences
        ),
        check!(
            "restore-paused",
            "restore leaves the domain paused, stamped anew; sent again, it answers success",
            restore_paused
        ),
        check!(
            "restore-fences",
            "restore answers stale if a higher generation is there",
            restore_fences
        ),
        check!(
            "restore-needs-memory",
            "restore without a recovery file fails, and nothing runs",
            restore_needs_memory
        ),
        check!("unpause-twice", "unpause is level: a running domain is success", unpause_twice),
        check!("unpause-off-is-gone", "unpause of a domain that is off is gone", unpause_off),
        check!("metrics-tell-of-running", "metrics hold each running domain of ours", metrics_tell),
        check!(
            "changes-wake",
            "a change wakes whoever waits for changes, and the cursor never falls",
            changes_wake
        ),
    ]
}

async fn reboot_once(stage: &Stage) -> Verdict {
    let reboots = stage.reboots()?;
    let vm = stage.vm();
    stage.deploy(vm, 1).await?;
    stage.bench.guest_ready(vm).await;
    let call = stage.call(vm, 1);
    stage.done("reboot", || reboots.reboot(&stage.site, &call)).await?;
    stamped(stage, vm, &call).await?;
    let again = stage.again(&call);
    stage.done("reboot, sent again", || reboots.reboot(&stage.site, &again)).await?;
    one_edge(stage, vm).await?;
    stage.untouched("after reboot", stage.identity(vm, 1)).await
}

async fn reset_once(stage: &Stage) -> Verdict {
    let reboots = stage.reboots()?;
    let vm = stage.vm();
    stage.deploy(vm, 1).await?;
    let call = stage.call(vm, 1);
    stage.done("reset", || reboots.reset(&stage.site, &call)).await?;
    stamped(stage, vm, &call).await?;
    let again = stage.again(&call);
    stage.done("reset, sent again", || reboots.reset(&stage.site, &again)).await?;
    one_edge(stage, vm).await?;
    stage.untouched("after reset", stage.identity(vm, 1)).await
}

async fn reboot_fences(stage: &Stage) -> Verdict {
    let reboots = stage.reboots()?;
    let vm = stage.vm();
    stage.deploy(vm, 5).await?;
    let (reboot, reset) = (stage.call(vm, 4), stage.call(vm, 4));
    stage
        .fails("reboot with a lower generation", ErrorKind::Stale, || {
            reboots.reboot(&stage.site, &reboot)
        })
        .await?;
    stage
        .fails("reset with a lower generation", ErrorKind::Stale, || {
            reboots.reset(&stage.site, &reset)
        })
        .await?;
    stage.untouched("after a stale reboot", stage.identity(vm, 5)).await
}

/// A VM that was saved, and its memory file.
pub(super) async fn saved(stage: &Stage) -> Result<(VmUuid, FileRef), super::Trouble> {
    let suspends = stage.suspends()?;
    let vm = stage.vm();
    let file = stage.bench.recovery(vm);
    stage.deploy(vm, 1).await?;
    let call = stage.call(vm, 1);
    stage.done("save", || suspends.save(&stage.site, &call, &file)).await?;
    stage.off_or_absent(vm, "after save").await?;
    Ok((vm, file))
}

async fn save_twice(stage: &Stage) -> Verdict {
    let suspends = stage.suspends()?;
    let (vm, file) = saved(stage).await?;
    let call = stage.call(vm, 1);
    stage.done("save, sent again", || suspends.save(&stage.site, &call, &file)).await?;
    stage.off_or_absent(vm, "after save was sent again").await
}

async fn save_lost_answer(stage: &Stage) -> Verdict {
    let suspends = stage.suspends()?;
    let vm = stage.vm();
    let file = stage.bench.recovery(vm);
    stage.deploy(vm, 1).await?;
    let call = stage.call(vm, 1);
    stage.drop_early(suspends.save(&stage.site, &call, &file)).await;
    stage.look(vm).await?;
    let again = stage.again(&call);
    stage
        .done("save, after its answer was lost", || suspends.save(&stage.site, &again, &file))
        .await?;
    stage.off_or_absent(vm, "after save was sent again").await?;
    restore(stage, vm, 1, &file).await
}

async fn save_fences(stage: &Stage) -> Verdict {
    let suspends = stage.suspends()?;
    let vm = stage.vm();
    let file = stage.bench.recovery(vm);
    stage.deploy(vm, 5).await?;
    let call = stage.call(vm, 4);
    stage
        .fails("save with a lower generation", ErrorKind::Stale, || {
            suspends.save(&stage.site, &call, &file)
        })
        .await?;
    let call = stage.call(vm, 4);
    stage
        .fails("unpause with a lower generation", ErrorKind::Stale, || {
            suspends.unpause(&stage.site, &call)
        })
        .await?;
    stage.untouched("after a stale save", stage.identity(vm, 5)).await
}

async fn restore(stage: &Stage, vm: VmUuid, generation: u64, file: &FileRef) -> Verdict {
    let suspends = stage.suspends()?;
    let (call, spec) = (stage.call(vm, generation), stage.domain(vm, generation).await);
    stage.done("restore", || suspends.restore(&stage.site, &call, &spec, file)).await?;
    let domain = stage.power(vm, "after restore", Power::Paused).await?;
    if domain.identity == Some(spec.identity) {
        Ok(())
    } else {
        broken(format!("after restore it carries {:?}, not {:?}", domain.identity, spec.identity))
    }
}

async fn restore_paused(stage: &Stage) -> Verdict {
    let (vm, file) = saved(stage).await?;
    restore(stage, vm, 2, &file).await?;
    restore(stage, vm, 2, &file).await
}

async fn restore_fences(stage: &Stage) -> Verdict {
    let suspends = stage.suspends()?;
    let (vm, file) = saved(stage).await?;
    restore(stage, vm, 5, &file).await?;
    let (call, spec) = (stage.call(vm, 4), stage.domain(vm, 4).await);
    let site = &stage.site;
    stage
        .fails("restore with a lower generation", ErrorKind::Stale, || {
            suspends.restore(site, &call, &spec, &file)
        })
        .await
}

async fn restore_needs_memory(stage: &Stage) -> Verdict {
    let suspends = stage.suspends()?;
    let vm = stage.vm();
    let file = stage.bench.recovery(vm);
    let (call, spec) = (stage.call(vm, 1), stage.domain(vm, 1).await);
    let result =
        answered("restore", stage.patience(), suspends.restore(&stage.site, &call, &spec, &file))
            .await?;
    if result.is_ok() {
        return broken("restore answered success, and there is no recovery file");
    }
    stage.off_or_absent(vm, "after a restore without memory").await
}

async fn unpause_twice(stage: &Stage) -> Verdict {
    let suspends = stage.suspends()?;
    let (vm, file) = saved(stage).await?;
    restore(stage, vm, 2, &file).await?;
    for when in ["after unpause", "after unpause was sent again"] {
        let call = stage.call(vm, 2);
        stage.done("unpause", || suspends.unpause(&stage.site, &call)).await?;
        stage.untouched(when, stage.identity(vm, 2)).await?;
    }
    Ok(())
}

async fn unpause_off(stage: &Stage) -> Verdict {
    let suspends = stage.suspends()?;
    let vm = stage.vm();
    stage.deploy(vm, 1).await?;
    let call = stage.call(vm, 1);
    stage.done("destroy", || stage.driver.destroy(&stage.site, &call)).await?;
    let call = stage.call(vm, 1);
    stage
        .fails("unpause of an off domain", ErrorKind::Gone, || suspends.unpause(&stage.site, &call))
        .await?;
    stage.off_or_absent(vm, "after unpause of an off domain").await
}

async fn metrics_tell(stage: &Stage) -> Verdict {
    let counts = stage.part(stage.driver.metrics(), Ability::Metrics)?;
    let vm = stage.vm();
    stage.deploy(vm, 1).await?;
    match answered("metrics", stage.patience(), counts.sample(&stage.site)).await? {
        Ok(samples) if samples.iter().filter(|sample| sample.vm == Some(vm)).count() == 1 => Ok(()),
        Ok(samples) => {
            broken(format!("{} samples, and not exactly one of the running domain", samples.len()))
        }
        Err(error) => broken(format!("metrics answered: {error}")),
    }
}

async fn changes_wake(stage: &Stage) -> Verdict {
    /// How long one call of `changes` waits. It is short, so that the loop below ends in time if a
    /// driver never reports a change.
    const TURN: Duration = Duration::from_millis(200);
    let told = stage.part(stage.driver.changes(), Ability::Changes)?;
    let vm = stage.vm();
    let first = match told.changes(&stage.site, 0, Duration::ZERO).await {
        Ok(batch) => batch.cursor,
        Err(error) => return broken(format!("changes answered: {error}")),
    };
    stage.deploy(vm, 1).await?;
    let (mut cursor, end) = (first, Instant::now() + stage.patience());
    while Instant::now() < end {
        match answered("changes", stage.patience(), told.changes(&stage.site, cursor, TURN)).await?
        {
            Ok(batch) if batch.cursor < cursor => {
                return broken(format!("the cursor fell from {cursor} to {}", batch.cursor));
            }
            Ok(batch) if batch.lost || batch.vms.contains(&vm) => return Ok(()),
            Ok(batch) => cursor = batch.cursor,
            Err(error) => return broken(format!("changes answered: {error}")),
        }
    }
    broken("a domain was deployed, and changes told nothing of it")
}
