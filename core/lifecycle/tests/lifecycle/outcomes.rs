//! Every cell of the table of outcomes is walked: a VM is brought to the step, the thing happens,
//! and where that leads is compared.

use crate::explained::explained;
use crate::rig::{Fault, Rig, Violation};
use crate::script::args;
use ostler_lifecycle::{Cell, Happens, Input, Leads, outcomes};
use ostler_model::{
    Args, DriverError, Ended, ErrorKind, HostId, Item, Millis, OperationId, Power, PowerReason,
    Refusal, State, StepKind, Timestamp, Verb,
};

/// What is held against every state on the way.
type Each = fn(&Rig) -> Result<(), Violation>;

/// Asks, and lets it go well.
fn done(rig: &mut Rig, verb: Verb) -> Result<(), Violation> {
    ask(rig, verb)?.map_err(|refusal| format!("on the way: {verb}: {refusal}"))?;
    rig.settle().map(|_| ())
}

/// With what fits; hosts that are lost, and are said to be, are.
fn ask(rig: &mut Rig, verb: Verb) -> Result<Result<(), Refusal>, Violation> {
    let lost = verb == Verb::Migrate && rig.state() == State::Unknown;
    let args = if lost {
        Args::Migrate { fenced: true, storage_moved: true }
    } else {
        args(rig, verb, "")
    };
    let host = if verb.is_migration() { HostId(2) } else { HostId(1) };
    rig.ask(verb, args, verb == Verb::Forget, host)
}

/// A VM in the cell's origin, with what the verb acts on.
fn at_origin(cell: &Cell) -> Result<Rig, Violation> {
    let mut rig = Rig::new(1, cell.shared, Fault::None);
    if let Some(verb) = cell.after {
        done(&mut rig, Verb::Deploy)?;
        done(&mut rig, if verb == Verb::Undeploy { Verb::UndeployHard } else { verb })?;
        done(&mut rig, Verb::Resume)?;
    }
    match cell.origin {
        State::Pending => return Ok(rig),
        State::Hold => return done(&mut rig, Verb::Hold).map(|()| rig),
        State::Failed => {
            ask(&mut rig, Verb::Deploy)?.map_err(|refusal| refusal.to_string())?;
            rig.err(0, DriverError::refused("full", "no room"), false)?;
            return Ok(rig);
        }
        _ => done(&mut rig, Verb::Deploy)?,
    }
    match cell.verb {
        Verb::Shutdown | Verb::ShutdownHard => done(&mut rig, Verb::DiskSnapshot)?,
        Verb::SnapshotRevert | Verb::SnapshotDelete => done(&mut rig, Verb::SnapshotCreate)?,
        Verb::NicDetach => done(&mut rig, Verb::NicAttach)?,
        _ => {}
    }
    match cell.origin {
        State::Stopped => done(&mut rig, Verb::Stop)?,
        State::Suspended => done(&mut rig, Verb::Suspend)?,
        State::Poweroff => done(&mut rig, Verb::PoweroffHard)?,
        State::Undeployed => done(&mut rig, Verb::UndeployHard)?,
        State::Unknown => unseen(&mut rig, cell)?,
        _ => {}
    }
    rig.pass_time(Millis::secs(99))?;
    Ok(rig)
}

/// Its host was silent for a minute: for good, if it is fenced; or it is seen again when it is
/// asked.
fn unseen(rig: &mut Rig, cell: &Cell) -> Result<(), Violation> {
    match cell.verb {
        Verb::Migrate => {
            rig.world.pull_the_plug(HostId(1));
            if !cell.shared {
                let brought = rig.world.place(HostId(1)).clone();
                *rig.world.place(HostId(2)) = brought;
                rig.world.brought.insert(HostId(2));
            }
        }
        Verb::Resume | Verb::Boot => rig.world.power(HostId(1), Power::Off, PowerReason::Guest),
        _ => {}
    }
    rig.tell(&Input::CouldNotAsk { since: Timestamp(rig.now.0 - 60_000) })
}

/// The operation is begun, and everything goes well until the cell's step is in hand.
fn to_step(rig: &mut Rig, cell: &Cell, each: Each) -> Result<OperationId, Violation> {
    if cell.verb == Verb::Adopt {
        *rig = Rig::new(1, cell.shared, Fault::None);
        rig.adopt(cell.origin == State::Running)?;
    } else {
        ask(rig, cell.verb)?.map_err(|refusal| format!("{}: {refusal}", cell.verb))?;
    }
    for _ in 0..100 {
        each(rig)?;
        let Some(active) = &rig.record.operation else {
            return Err("it ended before the step".to_owned());
        };
        if active.at == cell.at && !rig.flying.is_empty() {
            let right = active.kind() == Some(cell.step);
            return if right {
                Ok(active.id)
            } else {
                Err(format!("another step: {:?}", active.kind()))
            };
        }
        if rig.flying.is_empty() {
            rig.world.obey();
            rig.tick()?;
        } else {
            rig.answer(0)?;
        }
    }
    Err("it never came to the step".to_owned())
}

/// The call in hand ends so each time, until the step is given up, or is sent in spite of it.
fn fails_until_the_deadline(
    rig: &mut Rig,
    cell: &Cell,
    kind: ErrorKind,
    each: Each,
) -> Result<(), Violation> {
    for round in 0..12 {
        let Some(active) = rig.record.operation.clone() else { return Ok(()) };
        if active.at != cell.at || active.undoing {
            return Ok(());
        }
        match rig.flying.first() {
            Some(flight) if flight.effect.key.item == Item::Look => rig.answer(0)?,
            Some(_) => {
                let late = active.deadline.filter(|_| round > 2);
                rig.now = late.map_or(rig.now, |deadline| rig.now.max(deadline));
                rig.err(0, DriverError::new(kind, "made-up", "as the table wants"), false)?;
            }
            None => drop(rig.tick()?),
        }
        each(rig)?;
    }
    Ok(())
}

fn recover(rig: &mut Rig, verb: Verb) -> Result<Option<Refusal>, Violation> {
    let before = rig.record.clone();
    match ask(rig, verb)? {
        Ok(()) => {
            // What was in flight was told to stop, and did.
            if rig.flying.first().is_some_and(|flight| flight.done.is_none())
                && rig.record.open.iter().any(|open| open.cancelled)
            {
                rig.err(
                    0,
                    DriverError::new(ErrorKind::Cancelled, "cancelled", "as the table wants"),
                    false,
                )?;
            }
            Ok(None)
        }
        Err(refusal) if rig.record == before => Ok(Some(refusal)),
        Err(_) => Err("a refused request changed something".to_owned()),
    }
}

/// What happens in the cell. A refusal, if it is one.
fn happens(rig: &mut Rig, cell: &Cell, each: Each) -> Result<Option<Refusal>, Violation> {
    let error = |kind| DriverError::new(kind, "made-up", "as the table wants");
    match cell.happens {
        Happens::Done => rig.answer(0)?,
        Happens::Late => {
            ask(rig, Verb::RecoverRetry)?.map_err(|refusal| refusal.to_string())?;
            rig.answer(0)?;
        }
        Happens::NoAnswer => rig.restart(|_| false)?,
        Happens::Refused => rig.err(0, error(ErrorKind::Refused), false)?,
        // Of what is to be unplugged that is true only once it is.
        Happens::Gone => rig.err(
            0,
            error(ErrorKind::Gone),
            matches!(cell.step, StepKind::DetachDisk | StepKind::DetachNic),
        )?,
        Happens::Retry => fails_until_the_deadline(rig, cell, ErrorKind::Retry, each)?,
        Happens::Unknown => fails_until_the_deadline(rig, cell, ErrorKind::Unknown, each)?,
        Happens::RecoverSuccess => {
            rig.execute(0);
            rig.world.obey();
            return recover(rig, Verb::RecoverSuccess);
        }
        Happens::RecoverFailure => return recover(rig, Verb::RecoverFailure),
        Happens::RecoverRetry => return recover(rig, Verb::RecoverRetry),
        Happens::RecoverUndo => return recover(rig, Verb::RecoverUndo),
        Happens::Boot => return recover(rig, Verb::Boot),
    }
    Ok(None)
}

/// Walks the cell; `each` looks at every state on the way.
fn walk(cell: &Cell, each: Each) -> Result<(), Violation> {
    let mut rig = at_origin(cell)?;
    let operation = to_step(&mut rig, cell, each)?;
    let refusal = happens(&mut rig, cell, each)?;
    each(&rig)?;
    match (cell.leads, refusal) {
        (Leads::Refused(kind), Some(refusal)) if refusal.kind == kind => return each(&rig),
        (Leads::Refused(kind), refusal) => {
            return Err(format!("refused as {kind}, says the table; {refusal:?}"));
        }
        (_, Some(refusal)) => return Err(format!("refused: {refusal}")),
        (_, None) => {}
    }
    settle(&mut rig, each)?;
    let succeeded = rig.outcomes.get(&operation) == Some(&Ended::Succeeded);
    let went = if succeeded { Leads::Succeeds(rig.state()) } else { Leads::Fails(rig.state()) };
    if went == cell.leads { Ok(()) } else { Err(format!("it went {went:?}")) }
}

/// All goes well from here on, and every state on the way explains itself.
fn settle(rig: &mut Rig, each: Each) -> Result<(), Violation> {
    for _ in 0..300 {
        each(rig)?;
        if !rig.flying.is_empty() {
            rig.answer(0)?;
        } else if rig.record.operation.is_some() {
            rig.world.obey();
            rig.tick()?;
        } else {
            return Ok(());
        }
    }
    Err("it does not come to rest".to_owned())
}

#[test]
fn each_cell_of_the_table_leads_where_it_says() {
    let cells = outcomes();
    let wrong: Vec<String> = cells
        .iter()
        .filter_map(|cell| walk(cell, explained).err().map(|why| format!("{cell:?}: {why}")))
        .collect();
    assert!(wrong.is_empty(), "{} of {} cells:\n{}", wrong.len(), cells.len(), wrong.join("\n"));
}

/// A negative control: whatever a cell says, another word in it turns the walk red.
#[test]
fn a_cell_that_says_otherwise_is_noticed() {
    let otherwise = |leads| match leads {
        Leads::Succeeds(state) => Leads::Fails(state),
        Leads::Fails(State::Running) => Leads::Fails(State::Poweroff),
        Leads::Fails(_) => Leads::Fails(State::Running),
        Leads::Refused(_) => Leads::Succeeds(State::Running),
    };
    let lies = outcomes().into_iter().map(|cell| Cell { leads: otherwise(cell.leads), ..cell });
    let believed: Vec<Cell> = lies.filter(|cell| walk(cell, |_| Ok(())).is_ok()).collect();
    assert!(believed.is_empty(), "believed: {believed:?}");
}

#[test]
fn the_table_has_every_step_of_every_operation() {
    use strum::IntoEnumIterator;
    let cells = outcomes();
    let missed: Vec<_> = StepKind::iter()
        .filter(|step| *step != StepKind::Switch && cells.iter().all(|cell| cell.step != *step))
        .collect();
    assert!(missed.is_empty(), "no cell has {missed:?}");
}
