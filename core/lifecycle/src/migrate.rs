//! Checks whether and where a VM can be moved. The steps are in [`crate::recipe`], the swap of the
//! two placements in [`Draft::switch`].

use crate::domain_status::status;
use crate::draft::Draft;
use crate::recipe::{self, Plan};
use crate::{abilities, placement};
use ostler_model::{
    Ask, Cause, Hint, Move, Placement, Refusal, RefusalKind, Request, State, StepKind, VmRecord,
};

/// Checks that the VM can be moved to the target, and gives it a placement there. From now on it
/// holds its capacity at both hosts. Returns whether the host that it leaves is lost.
pub(crate) fn prepare(draft: &mut Draft<'_>, asked: &Request) -> Result<bool, Refusal> {
    let Some(here) = draft.record.placement.clone() else {
        return Err(draft.refuse(asked.verb, RefusalKind::NoHost, Cause::NoPlace, Hint::Deploy));
    };
    let target = placement::target(draft, asked)?;
    if target.host == here.host {
        return Err(draft.refuse(
            asked.verb,
            RefusalKind::BadRequest,
            Cause::SameHost { host: here.host },
            Hint::OtherHost,
        ));
    }
    if target.driver != here.driver {
        let cause =
            Cause::OtherDriver { host: target.host, has: target.driver, needs: here.driver };
        return Err(draft.refuse(asked.verb, RefusalKind::NotAble, cause, Hint::HostOfSameDriver));
    }
    target_is_able(draft, asked)?;
    let lost = fenced(draft, asked)?;
    if draft.record.state == State::Suspended && !lost && draft.record.usable_recovery().is_none() {
        return Err(draft.refuse(
            asked.verb,
            RefusalKind::WrongState,
            Cause::PausedWithMemory,
            Hint::ResumeOrStop,
        ));
    }
    let record = &mut draft.record;
    record.issued = record.issued.next();
    record.moving = Some(Move::to(Placement {
        host: target.host,
        driver: target.driver,
        generation: record.issued,
        since: draft.now,
    }));
    // One attempt uses up the wish to be moved (`resched`). If the attempt fails, that is told, and
    // the move is not begun again and again.
    record.resched = false;
    draft.asks.push(Ask::room(target.host, asked.enforce));
    Ok(lost)
}

/// The state of a VM that was off on a host that cannot be seen any more. Memory that was not saved
/// is lost with its host.
pub(crate) const fn at_rest(saved: bool) -> State {
    if saved { State::Suspended } else { State::Poweroff }
}

/// The steps to leave a lost host. That host is asked nothing. A VM that was off stays off.
pub(crate) fn from_lost(record: &VmRecord) -> Plan {
    let off = recipe::rests_off(record.state) || record.was_off;
    let start = if off { vec![] } else { recipe::start(record) };
    [vec![StepKind::Switch], start].concat()
}

fn target_is_able(draft: &Draft<'_>, asked: &Request) -> Result<(), Refusal> {
    match (abilities::needed(&draft.record, asked.verb), &draft.facts.target_abilities) {
        (Some(needed), Some(able)) if !able.contains(&needed) => {
            let cause = Cause::NotOfferedThere { ability: needed };
            Err(draft.refuse(asked.verb, RefusalKind::NotAble, cause, Hint::MovePoweredOff))
        }
        (Some(_), Some(_) | None) | (None, _) => Ok(()),
    }
}

/// Whether the VM leaves a host that is lost.
///
/// A VM that cannot be seen is started elsewhere only if nothing of it can run on its old host: to
/// run twice is worse than not to run. Its storage is not touched, so the new host must see it. A
/// VM that is off is moved in the same way if its host does not answer: a normal migration would
/// have to remove it there first.
fn fenced(draft: &Draft<'_>, asked: &Request) -> Result<bool, Refusal> {
    let record = &draft.record;
    let rests = recipe::rests_off(record.state);
    if !rests && record.state != State::Unknown {
        return Ok(false);
    }
    let (stated, moved) = (asked.args.fenced(), asked.args.storage_moved());
    if rests && !matches!(draft.facts.look, Some(Err(_))) {
        if !stated || draft.facts.look.is_none() {
            return Ok(false);
        }
        return Err(draft.refuse(
            asked.verb,
            RefusalKind::Contradicted,
            Cause::AnswersForFence,
            Hint::MoveUnfenced,
        ));
    }
    if let Some(Ok(seen)) = &draft.facts.look {
        let seen = status(record, draft.facts.store, seen);
        let cause = Cause::AnswersWith { seen: seen.shown() };
        return Err(draft.refuse(asked.verb, RefusalKind::Contradicted, cause, Hint::WaitThenMove));
    }
    if !stated {
        let cause = if rests { Cause::HasDomain } else { Cause::MayStillRun };
        return Err(draft.refuse(asked.verb, RefusalKind::NotFenced, cause, Hint::Fence));
    }
    if !record.storage_is_shared() && !moved {
        return Err(draft.refuse(
            asked.verb,
            RefusalKind::NotFenced,
            Cause::FilesOnLostHost,
            Hint::MoveStorage,
        ));
    }
    Ok(true)
}
