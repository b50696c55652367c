//! Whether and where a VM is moved. The steps are in [`crate::recipe`], the two hosts' parts in [`Draft::switch`].

use crate::draft::Draft;
use crate::sight::sight;
use ostler_model::{Ability, Args, Claim, HostId, Placement, Refusal, RefusalKind, Request, State, Verb};

/// Checks that the VM can be moved to the target, and gives it a place there. Its capacity is held at both hosts from now on.
pub(crate) fn prepare(draft: &mut Draft<'_>, asked: &Request) -> Result<(), Refusal> {
    let id = draft.record.id;
    let Some(here) = draft.record.placement.clone() else {
        return Err(draft.refuse(asked.verb, RefusalKind::NoHost, format!("VM {id} has no place to be moved from"), "deploy it"));
    };
    let Some(target) = draft.facts.target.clone() else {
        let detail = format!("VM {id}: no host to move it to");
        return Err(draft.refuse(asked.verb, RefusalKind::NoHost, detail, "name a host that is on and has the VM's driver"));
    };
    if target.host == here.host {
        let detail = format!("VM {id} is on host {} already", here.host);
        return Err(draft.refuse(asked.verb, RefusalKind::BadRequest, detail, "name another host"));
    }
    if target.driver != here.driver {
        let detail = format!("VM {id}: host {} runs {}, and the VM is made for {}", target.host, target.driver, here.driver);
        return Err(draft.refuse(asked.verb, RefusalKind::NotAble, detail, "name a host with the same driver"));
    }
    empty_there(draft, asked.verb, target.host)?;
    target_is_able(draft, asked)?;
    match draft.record.state {
        State::Unknown => fenced(draft, asked)?,
        State::Suspended if draft.record.usable_recovery().is_none() => {
            let detail = format!("VM {id} was paused at the hypervisor and its memory is nowhere but there");
            return Err(draft.refuse(asked.verb, RefusalKind::WrongState, detail, "resume it, or stop it, then move it"));
        }
        _ => {}
    }
    let record = &mut draft.record;
    record.issued = record.issued.next();
    record.other = Some(Placement { host: target.host, driver: target.driver, generation: record.issued, since: draft.now });
    record.other_domain = false;
    // The wish is granted by the try: one that fails is told, and not begun again and again.
    record.resched = false;
    draft.claims.push(Claim::Capacity { host: target.host, enforce: asked.enforce });
    Ok(())
}

/// A VM does not come to a host where something of an earlier stay may be: that domain may even run. It is put away as soon as the host
/// is seen, but not where the VM has its place.
pub(crate) fn empty_there(draft: &Draft<'_>, verb: Verb, host: HostId) -> Result<(), Refusal> {
    if draft.record.leftovers.iter().all(|left| left.place.host != host) {
        return Ok(());
    }
    let detail = format!("VM {}: what it left on host {host} is not put away yet", draft.record.id);
    Err(draft.refuse(
        verb,
        RefusalKind::NoHost,
        detail,
        "that is done as soon as the host is seen; wait for it, or name another host",
    ))
}

fn target_is_able(draft: &Draft<'_>, asked: &Request) -> Result<(), Refusal> {
    let needed = match asked.verb {
        Verb::MigrateLive => Ability::Migrate,
        Verb::Migrate if draft.record.state == State::Running => Ability::Suspend,
        _ => return Ok(()),
    };
    match &draft.facts.target_abilities {
        Some(able) if !able.contains(&needed) => {
            let detail = format!("VM {}: the driver of the host it would go to does not offer {needed} there", draft.record.id);
            Err(draft.refuse(asked.verb, RefusalKind::NotAble, detail, "see `ostler host show`; --poweroff needs less"))
        }
        Some(_) | None => Ok(()),
    }
}

/// A VM that cannot be seen is started elsewhere only if nothing of it can run where it was: the one thing worse than a VM that does
/// not run is one that runs twice. Its storage is not touched, so the new host must see it.
fn fenced(draft: &Draft<'_>, asked: &Request) -> Result<(), Refusal> {
    let record = &draft.record;
    let id = record.id;
    let (stated, moved) = match &asked.args {
        Args::Migrate { fenced, storage_moved } => (*fenced, *storage_moved),
        _ => (false, false),
    };
    if let Some(Ok(seen)) = &draft.facts.look {
        let seen = sight(record, draft.facts.store, seen);
        let detail = format!("VM {id}: its host answers, and says that it is {}", seen.words());
        return Err(draft.refuse(asked.verb, RefusalKind::Contradicted, detail, "wait until it is settled, then move it as usual"));
    }
    if !stated {
        let detail = format!("VM {id} may still run on its host, which cannot be asked");
        let hint = "make sure that the host is off, then say so with --fenced; or wait until it is back";
        return Err(draft.refuse(asked.verb, RefusalKind::NotFenced, detail, hint));
    }
    if !record.storage_is_shared() && !moved {
        let detail = format!("VM {id}: its files are on the host that is lost, and nothing brings them from there");
        let hint = "bring them to the same path on the new host, then say so with --storage-moved";
        return Err(draft.refuse(asked.verb, RefusalKind::NotFenced, detail, hint));
    }
    Ok(())
}
