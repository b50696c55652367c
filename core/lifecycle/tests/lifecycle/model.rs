//! Stories that nobody thought of: random requests, answers, losses, crashes and guests, each
//! decision held against the invariants. In the end the operator stops and the world answers: the
//! VM must come to rest, and a delete to its end.

use crate::acts::{Act, Happening, story, verbs};
use crate::explained::explained;
use crate::rig::{Fault, Rig, Violation};
use crate::script::{args, r#where};
use crate::strangers::strangers;
use crate::world::HOSTS;
use ostler_lifecycle::Input;
use ostler_model::{
    Args, DriverError, ErrorKind, Goal, HostId, Millis, Power, PowerReason, State, StepKind,
    Timestamp, Verb,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestError, TestRunner};

fn guest(rig: &mut Rig, happening: Happening) -> Result<(), Violation> {
    match happening {
        Happening::IsHalfMoved => half_move(rig),
        Happening::HalfEnds(moved) => rig.world.half_ends(moved),
        Happening::LeavesSource(leaves) => rig.world.leaves_source = leaves,
        _ => {}
    }
    let at_it = |host: &&HostId| rig.host() == Some(**host);
    let alive = |host: &&HostId| rig.world.domains[host].power != Power::Off;
    let host = rig
        .world
        .domains
        .keys()
        .find(alive)
        .or_else(|| rig.world.domains.keys().find(at_it))
        .copied();
    let Some((host, power)) = host.map(|host| (host, rig.world.domains[&host].power)) else {
        return Ok(());
    };
    // What is neither here nor there is the hypervisors' own.
    if rig
        .world
        .domains
        .values()
        .any(|domain| matches!(domain.reason, PowerReason::Starting | PowerReason::Migrated))
    {
        return Ok(());
    }
    match (happening, power) {
        (Happening::Obeys, _) => {
            rig.world.obey();
        }
        (Happening::SwitchesOff, Power::Running) => {
            rig.world.power(host, Power::Off, PowerReason::Guest)
        }
        (Happening::Crashes, Power::Running) => {
            rig.world.power(host, Power::Off, PowerReason::Crashed)
        }
        (Happening::IsDestroyed, Power::Running | Power::Paused) => {
            rig.world.power(host, Power::Off, PowerReason::Destroyed)
        }
        (Happening::IsPaused, Power::Running) => {
            rig.world.power(host, Power::Paused, PowerReason::Person)
        }
        (Happening::StandsStill, Power::Running) => {
            rig.world.power(host, Power::Paused, PowerReason::IoError)
        }
        // In the middle of an operation, or unseen, nobody could know that memory is older than
        // disks now.
        (Happening::IsStarted, Power::Off | Power::Paused)
            if rig.record.operation.is_none()
                && rig.world.answers(host)
                && rig.state() != State::Failed
                && rig.host() == Some(host)
                && rig.record.moving.is_none() =>
        {
            only_what_is_known(rig, host);
            rig.world.power(host, Power::Running, PowerReason::None);
            rig.world.runs(host);
            rig.observe()?;
        }
        _ => {}
    }
    Ok(())
}

/// Whoever starts a domain by hand does not plug in again what was taken from the VM while it was
/// off.
fn only_what_is_known(rig: &mut Rig, host: HostId) {
    let (record, domains) = (&rig.record, &mut rig.world.domains);
    let Some(domain) = domains.get_mut(&host) else { return };
    domain.disks.retain(|file| record.disks.iter().any(|disk| disk.file.as_str() == file));
    let nics = |mac: &String| {
        record
            .spec
            .nics
            .iter()
            .any(|nic| nic.mac.as_ref().is_some_and(|known| known.to_string() == *mac))
    };
    domain.nics.retain(nics);
}

/// Only while the call that moves it is open, and is not carried out yet.
fn half_move(rig: &mut Rig) {
    let open = rig.flying.iter().any(|flight| {
        flight.effect.call == ostler_model::Call::Job(ostler_model::JobCall::Migrate)
            && flight.done.is_none()
    });
    let moves =
        rig.record.operation.as_ref().and_then(|active| active.kind()) == Some(StepKind::Migrate);
    if open && moves && rig.world.domains.len() == 1 {
        let record = rig.record.clone();
        rig.world.half_moved(&record);
    }
}

/// Whether the operator would tell the truth. Lies about files are believed, because no look can
/// contradict them.
fn true_to_say(rig: &Rig, verb: Verb) -> bool {
    if let (State::Unknown, Some(other)) = (rig.state(), rig.record.other()) {
        let gone = rig
            .host()
            .and_then(|host| rig.world.domains.get(&host))
            .is_none_or(|domain| domain.power == Power::Off);
        let arrived = gone && rig.world.domains.contains_key(&other.host);
        let stands_half_way =
            rig.world.domains.values().any(|domain| domain.reason == PowerReason::Starting);
        return !stands_half_way
            && arrived == (verb == Verb::RecoverSuccess)
            && (arrived || rig.world.domains.contains_key(&rig.host().unwrap()));
    }
    if verb != Verb::RecoverSuccess {
        return true;
    }
    let in_hand = match (&rig.record.operation, &rig.record.failure) {
        (Some(active), _) => active.kind(),
        (None, Some(failure)) => failure.plan.get(failure.at).copied(),
        (None, None) => None,
    };
    in_hand.is_none_or(|kind| {
        kind.goal() != Goal::Nothing && kind != StepKind::Save && kind != StepKind::Restore
    })
}

/// What is asked about, and whether the operator may ask that: nobody says of a host that it is off
/// while its guest runs.
fn fitting(rig: &mut Rig, verb: Verb, which: u8, to: HostId) -> Args {
    let disks = rig.record.spec.disks.len().max(1);
    let disk =
        rig.record.spec.disks.get(usize::from(which) % disks).map(|disk| disk.name.to_string());
    let about = match verb {
        Verb::DiskDetach
        | Verb::DiskSnapshot
        | Verb::DiskSnapshotLive
        | Verb::DiskSnapshotCancel => disk.unwrap_or_default(),
        Verb::Resize => (1 + which % 4).to_string(),
        Verb::Update => which.to_string(),
        Verb::Schedule | Verb::Reschedule => {
            let verbs = verbs();
            format!(
                "{} {} {}",
                verbs[usize::from(which) % verbs.len()],
                if which.is_multiple_of(2) { "in" } else { "every" },
                60 + 60 * u32::from(which)
            )
        }
        _ => String::new(),
    };
    if let (Verb::Migrate, State::Unknown, Some(from)) = (verb, rig.state(), rig.host()) {
        let off = rig.world.domains.get(&from).is_none_or(|domain| domain.power == Power::Off);
        let fenced =
            off && !rig.world.answers(from) && which % 2 == 1 && rig.record.moving.is_none();
        if fenced
            && !rig.world.shared
            && rig.record.leftovers.iter().all(|left| left.place.host != to)
        {
            let brought = rig.world.place(from).clone();
            *rig.world.place(to) = brought;
            rig.world.brought.insert(to);
        }
        return Args::Migrate { fenced, storage_moved: fenced };
    }
    args(rig, verb, &about)
}

fn ask(rig: &mut Rig, verb: Verb, host: u32, which: u8) -> Result<(), Violation> {
    if matches!(verb, Verb::RecoverSuccess | Verb::RecoverFailure) && !true_to_say(rig, verb) {
        return Ok(());
    }
    let args = fitting(rig, verb, which, HostId(host));
    let before = rig.record.clone();
    let answer = rig.ask(verb, args, false, HostId(host))?;
    match answer {
        Err(refusal) if (refusal.vm, refusal.verb) != (before.id, verb) => {
            Err(format!("a refusal of something else: {refusal}"))
        }
        Err(_) if rig.record != before => Err("a refused request changed something".to_owned()),
        Err(_)
            if verb == Verb::Delete
                && !rig.restored
                && before.operation.is_none_or(|active| active.verb != Verb::Forget) =>
        {
            Err("a delete was refused".to_owned())
        }
        Err(_) | Ok(()) => Ok(()),
    }
}

fn end_look(rig: &mut Rig) -> Result<(), Violation> {
    match rig.late_looks.pop() {
        Some((step, seen, there, ended)) if step != rig.record.step || ended != rig.ended => {
            let before = rig.record.clone();
            rig.tell(&Input::Observed { step, seen, there })?;
            if before == rig.record {
                Ok(())
            } else {
                Err("a look from before this step or an operation's end counted".to_owned())
            }
        }
        Some(_) | None => Ok(()),
    }
}

pub(crate) fn happen(rig: &mut Rig, act: &Act) -> Result<(), Violation> {
    let error = |kind| DriverError::new(kind, "made-up", "as the story wants");
    match act {
        Act::Ask(verb, host, which) => ask(rig, *verb, *host, *which),
        Act::Recover(verb) if rig.state() == State::Failed || rig.record.moving.is_some() => {
            ask(rig, *verb, 1, 0)
        }
        Act::Recover(_) => Ok(()),
        Act::Execute(at) => {
            rig.execute(*at);
            Ok(())
        }
        Act::Go(steps) => {
            for _ in 0..*steps {
                if rig.flying.is_empty() {
                    rig.world.obey();
                    rig.tick()?;
                } else {
                    rig.answer(0)?;
                }
            }
            Ok(())
        }
        Act::Answer(at) => rig.answer(*at),
        Act::Lose(at, happened) => rig.err(*at, error(ErrorKind::Unknown), *happened),
        Act::Fail(at, kind) => {
            if rig.flying.get(*at).is_some_and(|flight| flight.done.is_none()) {
                rig.err(*at, error(*kind), false)
            } else {
                Ok(())
            }
        }
        Act::AnswerAgain => rig.answer_again(),
        Act::Crash(happened) => rig.restart(|at| happened & (1 << (at % 8)) != 0),
        Act::Wait(ms) => rig.pass_time(Millis(*ms)),
        Act::Tick => rig.tick().map(|_| ()),
        Act::Observe => rig.observe(),
        Act::BeginLook => {
            if let Some((seen, there)) = rig.seen() {
                rig.late_looks.push((rig.record.step, seen, there, rig.ended));
            }
            Ok(())
        }
        Act::EndLook => end_look(rig),
        Act::CouldNotAsk(secs) => {
            let since = Timestamp(rig.now.0.saturating_sub(secs * 1000));
            rig.tell(&Input::CouldNotAsk { since })
        }
        Act::Sweep(host) => rig.sweep(HostId(*host)).map(|_| ()),
        Act::Fire => rig.fire().map(|_| ()),
        Act::Guest(happening) => guest(rig, *happening),
        Act::Reach(_)
        | Act::ReachOne(..)
        | Act::Dies(_)
        | Act::Rules(_)
        | Act::Looks(_)
        | Act::Obeys(_) => {
            change(rig, act);
            Ok(())
        }
    }
}

/// What is outside becomes another.
fn change(rig: &mut Rig, act: &Act) {
    match act {
        Act::Reach(there) => rig.world.reach(*there),
        Act::ReachOne(host, true) => drop(rig.world.silent.remove(&HostId(*host))),
        Act::ReachOne(host, false) => drop(rig.world.silent.insert(HostId(*host))),
        // A guest that stands half-way through a migration is the hypervisors' own.
        Act::Dies(host)
            if rig.world.domains.values().all(|domain| domain.reason != PowerReason::Starting) =>
        {
            rig.world.pull_the_plug(HostId(*host));
        }
        Act::Rules(rules) => rig.rules = *rules,
        Act::Looks(looks) => rig.world.looks = *looks,
        Act::Obeys(obeys) => rig.world.obeys = *obeys,
        _ => {}
    }
}

/// Runs a story, then lets the VM come to rest, then deletes it.
pub(crate) fn run(disks: usize, shared: bool, acts: &[Act], fault: Fault) -> Result<(), Violation> {
    let mut rig = Rig::new(disks, shared, fault);
    for act in acts {
        happen(&mut rig, act)?;
        if fault == Fault::None {
            strangers(&rig)?;
        }
    }
    rig.world.half_ends(false);
    rig.world.reach(true);
    rig.settle()?;
    rig.observe()?;
    sweep_all(&mut rig)?;
    if fault == Fault::None {
        explained(&rig)?;
    }
    if rig.state() != State::Done {
        ask(&mut rig, Verb::Delete, 1, 0)?;
        rig.settle()?;
    }
    if rig.state() != State::Done {
        return Err(format!("deleted, and it is {}", rig.state()));
    }
    sweep_all(&mut rig)?;
    nothing_is_left(&rig)
}

/// In any order, until nothing more is put away.
fn sweep_all(rig: &mut Rig) -> Result<(), Violation> {
    for _ in 0..=HOSTS.len() {
        for host in HOSTS {
            rig.sweep(host)?;
        }
    }
    Ok(())
}

fn nothing_is_left(rig: &Rig) -> Result<(), Violation> {
    let leftovers = &rig.record.leftovers;
    if !leftovers.is_empty() {
        return Err(format!("leak: {leftovers:?} is never put away"));
    }
    if let Some(host) = rig.world.of_ours().next() {
        return Err(format!("leak: a domain on host {host} at the end"));
    }
    let mut left = rig
        .world
        .places
        .iter()
        .filter(|(host, place)| !place.is_empty() && !rig.world.brought.contains(host));
    left.next()
        .map_or(Ok(()), |(host, place)| Err(format!("leak: files at {host} at the end: {place:?}")))
}

/// The story, a line an act, for whoever must understand why it went wrong.
fn told(disks: usize, shared: bool, acts: &[Act]) -> String {
    let mut rig = Rig::new(disks, shared, Fault::None);
    let mut out = format!("{disks} disks, {}\n", if shared { "shared" } else { "not shared" });
    for act in acts {
        rig.last = None;
        let went = happen(&mut rig, act);
        let act = format!("{act:?}");
        out += &format!("{act:<40} {} | {}\n", rig.line(), r#where(&rig));
        if let Err(violation) = went {
            out += &format!("{violation}\n");
            break;
        }
    }
    out
}

fn config(cases: u32) -> Config {
    Config {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "tests/lifecycle/model.proptest-regressions",
        ))),
        ..Config::default()
    }
}

/// What the stories reach: a story that goes nowhere proves nothing.
#[test]
fn the_stories_reach_every_state_step_and_phase() {
    use proptest::strategy::ValueTree;
    use std::collections::BTreeSet;
    use strum::IntoEnumIterator;
    let mut runner = TestRunner::deterministic();
    let (mut states, mut steps, mut words) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for _ in 0..6000 {
        let (disks, shared, acts) = story().new_tree(&mut runner).unwrap().current();
        let mut rig = Rig::new(disks, shared, Fault::None);
        for act in &acts {
            happen(&mut rig, act).unwrap();
            states.insert(rig.state());
            if let Some(active) = &rig.record.operation {
                let phase = format!("{:?}", active.phase);
                words.insert(phase.split(' ').next().unwrap_or_default().to_owned());
                steps.extend(active.kind().map(|kind| (kind, active.undoing)));
                if rig.record.open.len() > 1 {
                    words.insert(format!("{} calls at a time", rig.record.open.len()));
                }
            }
        }
    }
    let missed: Vec<State> = State::iter().filter(|state| !states.contains(state)).collect();
    assert!(missed.is_empty(), "states never reached: {missed:?}");
    // A switch is a step of the record, over as soon as it begins; and what is adopted is told in
    // stories.
    let never = [StepKind::Switch, StepKind::Stamp];
    let missed: Vec<StepKind> = StepKind::iter()
        .filter(|kind| !steps.contains(&(*kind, false)) && !never.contains(kind))
        .collect();
    assert!(missed.is_empty(), "steps never reached: {missed:?}");
    let back: Vec<StepKind> = StepKind::iter()
        .filter_map(ostler_lifecycle::recipe::undo)
        .chain([StepKind::Boot, StepKind::Restore])
        .collect();
    let missed: Vec<StepKind> = back
        .into_iter()
        .filter(|kind| !steps.contains(&(*kind, true)) && !never.contains(kind))
        .collect();
    assert!(missed.is_empty(), "never rolled back by: {missed:?}");
    for word in [
        "Draining",
        "Delaying",
        "Calling",
        "Backoff",
        "Confirming",
        "Waiting",
        "Settling",
        "Blind",
        "2 calls at a time",
    ] {
        assert!(words.contains(word), "never: {word}");
    }
}

#[test]
fn whatever_happens_nothing_is_lost_and_it_comes_to_rest() {
    let cases =
        std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(3000);
    let outcome = TestRunner::new(config(cases)).run(&story(), |(disks, shared, acts)| {
        run(disks, shared, &acts, Fault::None).map_err(TestCaseError::fail)
    });
    match outcome {
        Err(TestError::Fail(reason, (disks, shared, acts))) => {
            panic!("{reason}\n{}", told(disks, shared, &acts))
        }
        Err(TestError::Abort(reason)) => panic!("{reason}"),
        Ok(()) => {}
    }
}
