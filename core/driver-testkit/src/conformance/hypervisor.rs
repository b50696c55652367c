//! The checks of the mandatory interface.

use super::stage::{Stage, answered, broken, kind_of, skip};
use super::{Check, Verdict, check};
use ostler_model::{ErrorKind, Generation, Observation, Outcome, Power, VmUuid};

/// All of them.
pub(super) fn checks() -> Vec<Check<Stage>> {
    vec![
        check!(
            "probe-answers",
            "probe says what the host offers, and no ability that the driver does not have",
            probe_answers
        ),
        check!(
            "observe-absent",
            "a domain that was never there is absent, and asking does not fail",
            observe_absent
        ),
        check!(
            "blind-never-absent",
            "absent is a fact: a driver that cannot ask answers an error",
            blind_never_absent
        ),
        check!(
            "deploy-runs",
            "after deploy the domain runs, and is stamped with its identity",
            deploy_runs
        ),
        check!(
            "deploy-twice",
            "deploy is level: sent again, it finds the domain and answers success",
            deploy_twice
        ),
        check!(
            "deploy-lost-answer",
            "a deploy whose caller went away converges when it is sent again",
            deploy_lost_answer
        ),
        check!(
            "deploy-restamps",
            "a later placement is stamped with its own generation",
            deploy_restamps
        ),
        check!(
            "deploy-fences",
            "deploy answers stale, and changes nothing, if a higher generation is there",
            deploy_fences
        ),
        check!(
            "deploy-leaves-foreign",
            "a domain of another store is never touched",
            deploy_leaves_foreign
        ),
        check!(
            "answer-is-a-look",
            "what an answer has seen is a look made after the effect",
            answer_is_a_look
        ),
        check!("list-has-ours", "list holds the domain, once, with its identity", list_has_ours),
        check!(
            "destroy-twice",
            "destroy is level: off is success, and so is absent",
            destroy_twice
        ),
        check!(
            "destroy-fences",
            "destroy answers stale, and changes nothing, if a higher generation is there",
            destroy_fences
        ),
        check!(
            "destroy-beside-deploy",
            "destroy may run beside any other call, and a destroy afterwards leaves it off",
            destroy_beside
        ),
        check!(
            "remove-twice",
            "remove is level: a running domain goes, and absent is success",
            remove_twice
        ),
        check!(
            "remove-lost-answer",
            "a remove whose caller went away converges when it is sent again",
            remove_lost_answer
        ),
        check!(
            "remove-fences",
            "remove answers stale, and changes nothing, if a higher generation is there",
            remove_fences
        ),
        check!(
            "press-once",
            "the power button is pressed at most once an identity, which is stamped first",
            press_once
        ),
        check!(
            "press-fences",
            "press-power answers stale, and presses nothing, if a higher generation is there",
            press_fences
        ),
        check!(
            "cancelled-ends",
            "a call that was told to stop ends, and a repeat converges",
            cancelled_ends
        ),
    ]
}

async fn probe_answers(stage: &Stage) -> Verdict {
    let facts = match answered("probe", stage.patience(), stage.driver.probe(&stage.site)).await? {
        Ok(facts) => facts,
        Err(error) => return broken(format!("probe answered: {error}")),
    };
    if facts.total.cpu_milli == 0 || facts.total.memory_mib == 0 {
        return broken(format!("the host offers nothing: {:?}", facts.total));
    }
    match facts.abilities.iter().find(|ability| !stage.driver.abilities().contains(ability)) {
        Some(ability) => {
            broken(format!("probe claims {ability}, which the driver does not export"))
        }
        None => Ok(()),
    }
}

async fn observe_absent(stage: &Stage) -> Verdict {
    stage.absent(stage.vm(), "never deployed").await
}

async fn blind_never_absent(stage: &Stage) -> Verdict {
    let Some(blind) = stage.bench.blind_site() else {
        return skip("the bench has no host that cannot be asked");
    };
    if let Ok(seen) =
        answered("observe", stage.patience(), stage.driver.observe(&blind, stage.vm())).await?
    {
        return broken(format!("observe answered {seen:?} for a host that cannot be asked"));
    }
    match answered("list", stage.patience(), stage.driver.list(&blind)).await? {
        Ok(listed) => broken(format!(
            "list answered {} domains of a host that cannot be asked",
            listed.domains.len()
        )),
        Err(_) => Ok(()),
    }
}

async fn deploy_runs(stage: &Stage) -> Verdict {
    let vm = stage.vm();
    stage.deploy(vm, 1).await?;
    stage.untouched("after deploy", stage.identity(vm, 1)).await
}

async fn deploy_twice(stage: &Stage) -> Verdict {
    let (vm, driver) = (stage.vm(), &stage.driver);
    let (call, spec) = (stage.call(vm, 1), stage.domain(vm, 1).await);
    stage.done("deploy", || driver.deploy(&stage.site, &call, &spec)).await?;
    let again = stage.again(&call);
    stage.done("deploy, sent again", || driver.deploy(&stage.site, &again, &spec)).await?;
    stage.untouched("after deploy was sent twice", spec.identity).await?;
    stage.deploy(vm, 1).await?;
    stage.untouched("after deploy by another step", spec.identity).await
}

async fn deploy_lost_answer(stage: &Stage) -> Verdict {
    let (vm, driver) = (stage.vm(), &stage.driver);
    let (call, spec) = (stage.call(vm, 1), stage.domain(vm, 1).await);
    stage.drop_early(driver.deploy(&stage.site, &call, &spec)).await;
    stage.look(vm).await?;
    let again = stage.again(&call);
    stage
        .done("deploy, after its answer was lost", || driver.deploy(&stage.site, &again, &spec))
        .await?;
    stage.untouched("after deploy was sent again", spec.identity).await
}

async fn deploy_restamps(stage: &Stage) -> Verdict {
    let vm = stage.vm();
    stage.deploy(vm, 1).await?;
    off(stage, vm, 1).await?;
    stage.deploy(vm, 2).await?;
    stage.untouched("after deploy with the next generation", stage.identity(vm, 2)).await
}

async fn deploy_fences(stage: &Stage) -> Verdict {
    let vm = stage.vm();
    stage.deploy(vm, 5).await?;
    let (call, spec) = (stage.call(vm, 4), stage.domain(vm, 4).await);
    stage
        .fails("deploy with a lower generation", ErrorKind::Stale, || {
            stage.driver.deploy(&stage.site, &call, &spec)
        })
        .await?;
    stage.untouched("after a stale deploy", stage.identity(vm, 5)).await
}

async fn deploy_leaves_foreign(stage: &Stage) -> Verdict {
    let (theirs, vm) = (stage.of_another_store(), stage.vm());
    theirs.deploy(vm, 1).await?;
    let (call, ours) = (stage.call(vm, 2), stage.domain(vm, 2).await);
    let result = stage
        .outcome("deploy over another store's", || stage.driver.deploy(&stage.site, &call, &ours))
        .await?;
    if result.is_ok() {
        return broken("deploy answered success over another store's domain");
    }
    theirs.untouched("after a deploy over another store's", theirs.identity(vm, 1)).await
}

fn agrees(what: &str, outcome: &Outcome, seen: &Observation) -> Verdict {
    match (&outcome.seen, seen) {
        (None, _) | (Some(Observation::Absent), Observation::Absent) => Ok(()),
        (Some(Observation::Present(told)), Observation::Present(found))
            if told.power == found.power && told.identity == found.identity =>
        {
            Ok(())
        }
        (Some(told), found) => {
            broken(format!("{what} told of {told:?}, and then observe found {found:?}"))
        }
    }
}

async fn answer_is_a_look(stage: &Stage) -> Verdict {
    let (vm, site) = (stage.vm(), &stage.site);
    let outcome = stage.deploy(vm, 1).await?;
    agrees("deploy", &outcome, &stage.look(vm).await?)?;
    let call = stage.call(vm, 1);
    let outcome = stage.done("destroy", || stage.driver.destroy(site, &call)).await?;
    agrees("destroy", &outcome, &stage.look(vm).await?)?;
    let call = stage.call(vm, 1);
    let outcome = stage.done("remove", || stage.driver.remove(site, &call)).await?;
    agrees("remove", &outcome, &stage.look(vm).await?)
}

async fn list_has_ours(stage: &Stage) -> Verdict {
    let vm = stage.vm();
    stage.deploy(vm, 1).await?;
    let listed = match answered("list", stage.patience(), stage.driver.list(&stage.site)).await? {
        Ok(listed) => listed,
        Err(error) => return broken(format!("list answered: {error}")),
    };
    let found: Vec<_> = listed.domains.iter().filter(|domain| domain.uuid == vm).collect();
    match found.as_slice() {
        [one] if one.identity == Some(stage.identity(vm, 1)) => Ok(()),
        [one] => broken(format!("list tells of it with identity {:?}", one.identity)),
        others => broken(format!("list tells of it {} times", others.len())),
    }
}

async fn off(stage: &Stage, vm: VmUuid, generation: u64) -> Verdict {
    let call = stage.call(vm, generation);
    stage.done("destroy", || stage.driver.destroy(&stage.site, &call)).await?;
    stage.off_or_absent(vm, "after destroy").await
}

async fn destroy_twice(stage: &Stage) -> Verdict {
    let vm = stage.vm();
    off(stage, vm, 1).await?;
    stage.deploy(vm, 1).await?;
    off(stage, vm, 1).await?;
    off(stage, vm, 1).await
}

async fn destroy_fences(stage: &Stage) -> Verdict {
    let vm = stage.vm();
    stage.deploy(vm, 5).await?;
    let call = stage.call(vm, 4);
    stage
        .fails("destroy with a lower generation", ErrorKind::Stale, || {
            stage.driver.destroy(&stage.site, &call)
        })
        .await?;
    stage.untouched("after a stale destroy", stage.identity(vm, 5)).await
}

async fn destroy_beside(stage: &Stage) -> Verdict {
    let vm = stage.vm();
    let (deploy, destroy, spec) = (stage.call(vm, 1), stage.call(vm, 1), stage.domain(vm, 1).await);
    let both = async {
        tokio::join!(
            stage.driver.deploy(&stage.site, &deploy, &spec),
            stage.driver.destroy(&stage.site, &destroy)
        )
    };
    let (_, destroyed) = answered("deploy and destroy", stage.patience(), both).await?;
    if let Err(error) = &destroyed
        && error.kind != ErrorKind::Retry
    {
        return broken(format!("destroy beside deploy answered {}", kind_of(&destroyed)));
    }
    off(stage, vm, 1).await
}

async fn remove_twice(stage: &Stage) -> Verdict {
    let vm = stage.vm();
    stage.deploy(vm, 1).await?;
    for when in ["after remove of a running domain", "after remove of what is gone"] {
        let call = stage.call(vm, 1);
        stage.done("remove", || stage.driver.remove(&stage.site, &call)).await?;
        stage.absent(vm, when).await?;
    }
    Ok(())
}

async fn remove_lost_answer(stage: &Stage) -> Verdict {
    let vm = stage.vm();
    stage.deploy(vm, 1).await?;
    let call = stage.call(vm, 1);
    stage.drop_early(stage.driver.remove(&stage.site, &call)).await;
    stage.look(vm).await?;
    let again = stage.again(&call);
    stage
        .done("remove, after its answer was lost", || stage.driver.remove(&stage.site, &again))
        .await?;
    stage.absent(vm, "after remove was sent again").await
}

async fn remove_fences(stage: &Stage) -> Verdict {
    let vm = stage.vm();
    stage.deploy(vm, 5).await?;
    let call = stage.call(vm, 4);
    stage
        .fails("remove with a lower generation", ErrorKind::Stale, || {
            stage.driver.remove(&stage.site, &call)
        })
        .await?;
    stage.untouched("after a stale remove", stage.identity(vm, 5)).await
}

async fn press_once(stage: &Stage) -> Verdict {
    let vm = stage.vm();
    stage.deploy(vm, 1).await?;
    stage.bench.guest_ready(vm).await;
    let call = stage.call(vm, 1);
    stage.done("press-power", || stage.driver.press_power(&stage.site, &call)).await?;
    stamped(stage, vm, &call).await?;
    let again = stage.again(&call);
    // The guest may already have switched itself off. So `gone` is as good an answer to a repeat as
    // success.
    let result = stage
        .outcome("press-power, sent again", || stage.driver.press_power(&stage.site, &again))
        .await?;
    if result.as_ref().is_err_and(|error| error.kind != ErrorKind::Gone) {
        return broken(format!("press-power, sent again, answered {}", kind_of(&result)));
    }
    stamped(stage, vm, &call).await?;
    one_edge(stage, vm).await
}

/// Checks that the call's effect key is stamped into the domain, if the domain is still there.
pub(super) async fn stamped(
    stage: &Stage,
    vm: VmUuid,
    call: &ostler_driver::CallControl,
) -> Verdict {
    match stage.look(vm).await? {
        Observation::Present(domain) if domain.last_edge.as_ref() != Some(&call.context.key) => {
            broken(format!(
                "the domain's last edge is {:?}, not the one that was sent",
                domain.last_edge
            ))
        }
        Observation::Present(_) | Observation::Absent => Ok(()),
    }
}

/// Checks that exactly one edge effect reached the guest, if the bench can tell.
pub(super) async fn one_edge(stage: &Stage, vm: VmUuid) -> Verdict {
    match stage.bench.edges(vm).await {
        Some(1) | None => Ok(()),
        Some(count) => {
            broken(format!("it was sent twice under one identity, and the guest felt {count}"))
        }
    }
}

async fn press_fences(stage: &Stage) -> Verdict {
    let vm = stage.vm();
    stage.deploy(vm, 5).await?;
    let call = stage.call(vm, 4);
    stage
        .fails("press-power with a lower generation", ErrorKind::Stale, || {
            stage.driver.press_power(&stage.site, &call)
        })
        .await?;
    stage.untouched("after a stale press-power", stage.identity(vm, 5)).await
}

async fn cancelled_ends(stage: &Stage) -> Verdict {
    let vm = stage.vm();
    let (call, spec) = (stage.call(vm, 1), stage.domain(vm, 1).await);
    call.cancel.cancel();
    // The call may answer success or `cancelled`. It must answer.
    let result = answered(
        "a cancelled deploy",
        stage.patience(),
        stage.driver.deploy(&stage.site, &call, &spec),
    )
    .await?;
    if let Ok(outcome) = &result {
        agrees("a cancelled deploy", outcome, &stage.look(vm).await?)?;
    }
    let again = stage.again(&call);
    stage
        .done("deploy, after it was cancelled", || stage.driver.deploy(&stage.site, &again, &spec))
        .await?;
    let domain = stage.power(vm, "after deploy was sent again", Power::Running).await?;
    match domain.identity.map(|identity| identity.generation) {
        Some(Generation(1)) => Ok(()),
        other => broken(format!("it carries generation {other:?}")),
    }
}
