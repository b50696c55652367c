//! Stories that nobody thought of: random requests, answers, losses, crashes and guests, each decision held against the
//! invariants. In the end the operator stops and the world answers: the VM must come to rest, and a delete to its end.

use crate::rig::{Fault, Rig, Violation};
use ostler_lifecycle::Input;
use ostler_model::{DriverError, ErrorKind, Goal, HostId, Millis, Power, PowerReason, State, StepKind, Timestamp, Verb};
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestRunner};

/// One thing that happens.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Somebody asks.
    Ask(Verb, u32),
    /// Somebody recovers what has failed.
    Recover(Verb),
    /// A call is carried out, and its answer is on its way.
    Execute(usize),
    /// Everything goes as it should for a while.
    Go(usize),
    /// An answer arrives.
    Answer(usize),
    /// A call ends in an error, after it happened or not.
    Lose(usize, bool),
    /// A call fails and nothing has happened.
    Fail(usize, ErrorKind),
    /// The last answer arrives once more.
    AnswerAgain,
    /// The daemon dies; which open calls happened?
    Crash(u8),
    /// Time passes.
    Wait(u64),
    /// The next thing that is due.
    Tick,
    /// The monitor looks.
    Observe,
    /// The monitor begins to look, and tells later.
    BeginLook,
    /// A look that was begun before arrives.
    EndLook,
    /// The monitor could not ask, for so many seconds.
    CouldNotAsk(u64),
    /// The host goes, or comes back.
    Reach(bool),
    /// Drivers look after what they did, or do not.
    Looks(bool),
    /// The guest will obey the button, or not.
    Obeys(bool),
    /// Something happens to the guest.
    Guest(Happening),
}

/// What can happen to a guest without us.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Happening {
    Obeys,
    SwitchesOff,
    Crashes,
    IsDestroyed,
    IsPaused,
    StandsStill,
    /// Somebody starts or resumes it, and the monitor sees that at once.
    IsStarted,
}

const VERBS: [Verb; 21] = [
    Verb::Hold,
    Verb::Release,
    Verb::Deploy,
    Verb::Suspend,
    Verb::Stop,
    Verb::Resume,
    Verb::Poweroff,
    Verb::PoweroffHard,
    Verb::Undeploy,
    Verb::UndeployHard,
    Verb::Shutdown,
    Verb::ShutdownHard,
    Verb::Reboot,
    Verb::RebootHard,
    Verb::Delete,
    Verb::DeleteRecreate,
    Verb::Boot,
    Verb::RecoverSuccess,
    Verb::RecoverFailure,
    Verb::RecoverRetry,
    Verb::RecoverUndo,
];

fn verb() -> impl Strategy<Value = Verb> {
    prop_oneof![
        6 => Just(Verb::Deploy),
        3 => Just(Verb::Resume),
        3 => Just(Verb::Stop),
        3 => Just(Verb::Suspend),
        12 => (0..VERBS.len()).prop_map(|at| VERBS[at]),
    ]
}

fn error() -> impl Strategy<Value = ErrorKind> {
    prop_oneof![
        3 => Just(ErrorKind::Retry),
        2 => Just(ErrorKind::Refused),
        1 => Just(ErrorKind::NotHere),
        1 => Just(ErrorKind::Cancelled),
    ]
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => Just(Happening::Obeys),
        1 => Just(Happening::SwitchesOff),
        1 => Just(Happening::Crashes),
        1 => Just(Happening::IsDestroyed),
        1 => Just(Happening::IsPaused),
        1 => Just(Happening::StandsStill),
        2 => Just(Happening::IsStarted),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (verb(), 1..3u32).prop_map(|(verb, host)| Act::Ask(verb, host)),
        3 => (17..VERBS.len()).prop_map(|at| Act::Recover(VERBS[at])),
        3 => (0..3usize).prop_map(Act::Execute),
        4 => (0..20usize).prop_map(Act::Go),
        24 => (0..3usize).prop_map(Act::Answer),
        3 => (0..3usize, any::<bool>()).prop_map(|(at, happened)| Act::Lose(at, happened)),
        3 => (0..3usize, error()).prop_map(|(at, kind)| Act::Fail(at, kind)),
        1 => Just(Act::AnswerAgain),
        2 => any::<u8>().prop_map(Act::Crash),
        2 => (0..200_000u64).prop_map(Act::Wait),
        6 => Just(Act::Tick),
        4 => Just(Act::Observe),
        3 => Just(Act::BeginLook),
        3 => Just(Act::EndLook),
        1 => (0..120u64).prop_map(Act::CouldNotAsk),
        1 => prop_oneof![2 => Just(true), 1 => Just(false)].prop_map(Act::Reach),
        1 => any::<bool>().prop_map(Act::Looks),
        1 => any::<bool>().prop_map(Act::Obeys),
        4 => happening().prop_map(Act::Guest),
    ]
}

/// A whole story: how many disks, whether storage is shared, and what happens.
pub(crate) fn story() -> impl Strategy<Value = (usize, bool, Vec<Act>)> {
    (0..3usize, any::<bool>(), beginning(), prop::collection::vec(act(), 1..80)).prop_map(|(disks, shared, mut acts, rest)| {
        acts.extend(rest);
        (disks, shared, acts)
    })
}

/// How a story begins: where chance alone would rarely come.
fn beginning() -> impl Strategy<Value = Vec<Act>> {
    let asked = |verbs: &'static [Verb]| {
        let acts: Vec<Act> = verbs.iter().flat_map(|verb| [Act::Ask(*verb, 1), Act::Go(12)]).collect();
        Just(acts)
    };
    let failing = |verbs: &'static [Verb]| {
        (asked(verbs), 0..6usize, error()).prop_map(|(mut acts, steps, kind)| {
            acts.pop();
            acts.extend([Act::Go(steps), Act::Fail(0, kind)]);
            acts
        })
    };
    prop_oneof![
        2 => Just(Vec::new()),
        1 => asked(&[Verb::Deploy]),
        1 => asked(&[Verb::Deploy, Verb::Suspend]),
        1 => asked(&[Verb::Deploy, Verb::Stop, Verb::Resume]),
        1 => failing(&[Verb::Deploy, Verb::Stop]),
        1 => failing(&[Verb::Deploy, Verb::UndeployHard]),
        1 => failing(&[Verb::Deploy, Verb::Stop, Verb::Resume, Verb::Deploy]),
        1 => failing(&[Verb::Deploy, Verb::UndeployHard, Verb::Resume, Verb::Deploy]),
        1 => failing(&[Verb::Deploy, Verb::Suspend, Verb::Resume]),
        1 => failing(&[Verb::Deploy, Verb::ShutdownHard]),
    ]
}

fn guest(rig: &mut Rig, happening: Happening) -> Result<(), Violation> {
    let Some((host, power)) = rig.world.domains.iter().next().map(|(host, domain)| (*host, domain.power)) else { return Ok(()) };
    match (happening, power) {
        (Happening::Obeys, _) => {
            rig.world.obey();
        }
        (Happening::SwitchesOff, Power::Running) => rig.world.power(host, Power::Off, PowerReason::Guest),
        (Happening::Crashes, Power::Running) => rig.world.power(host, Power::Off, PowerReason::Crashed),
        (Happening::IsDestroyed, Power::Running | Power::Paused) => rig.world.power(host, Power::Off, PowerReason::Destroyed),
        (Happening::IsPaused, Power::Running) => rig.world.power(host, Power::Paused, PowerReason::Person),
        (Happening::StandsStill, Power::Running) => rig.world.power(host, Power::Paused, PowerReason::IoError),
        // In the middle of an operation, or unseen, nobody could know that memory is older than disks now.
        (Happening::IsStarted, Power::Off | Power::Paused)
            if rig.record.operation.is_none() && rig.world.answers(host) && rig.state() != State::Failed =>
        {
            rig.world.power(host, Power::Running, PowerReason::None);
            rig.world.runs(host);
            rig.observe()?;
        }
        _ => {}
    }
    Ok(())
}

/// Whether the operator would tell the truth. Lies about files are believed, because no look can contradict them.
fn true_to_say(rig: &Rig) -> bool {
    let in_hand = match (&rig.record.operation, &rig.record.failure) {
        (Some(active), _) => active.kind(),
        (None, Some(failure)) => failure.plan.get(failure.at).copied(),
        (None, None) => None,
    };
    in_hand.is_none_or(|kind| kind.goal() != Goal::Nothing && kind != StepKind::Save && kind != StepKind::Restore)
}

fn ask(rig: &mut Rig, verb: Verb, host: u32) -> Result<(), Violation> {
    if verb == Verb::RecoverSuccess && !true_to_say(rig) {
        return Ok(());
    }
    let before = rig.record.clone();
    let answer = rig.request(verb, false, HostId(host))?;
    match answer {
        Err(refusal) if refusal.detail.is_empty() || refusal.hint.is_empty() => Err("a refusal without words".to_owned()),
        Err(_) if rig.record != before => Err("a refused request changed something".to_owned()),
        Err(_) if matches!(verb, Verb::Delete) => Err("a delete was refused".to_owned()),
        Err(_) | Ok(()) => Ok(()),
    }
}

fn end_look(rig: &mut Rig) -> Result<(), Violation> {
    match rig.late_looks.pop() {
        Some((step, seen, there, ended)) if step != rig.record.step || ended != rig.ended => {
            let before = rig.record.clone();
            rig.tell(&Input::Observed { step, seen, there })?;
            if before == rig.record { Ok(()) } else { Err("a look from before this step or an operation's end counted".to_owned()) }
        }
        Some(_) | None => Ok(()),
    }
}

fn happen(rig: &mut Rig, act: &Act) -> Result<(), Violation> {
    let error = |kind| DriverError::new(kind, "made-up", "as the story wants");
    match act {
        Act::Ask(verb, host) => ask(rig, *verb, *host),
        Act::Recover(verb) if rig.state() == State::Failed => ask(rig, *verb, 1),
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
        Act::Reach(there) => {
            rig.world.reach(*there);
            Ok(())
        }
        Act::Looks(looks) => {
            rig.world.looks = *looks;
            Ok(())
        }
        Act::Obeys(obeys) => {
            rig.world.obeys = *obeys;
            Ok(())
        }
        Act::Guest(happening) => guest(rig, *happening),
    }
}

/// Runs a story, then lets the VM come to rest, then deletes it.
pub(crate) fn run(disks: usize, shared: bool, acts: &[Act], fault: Fault) -> Result<(), Violation> {
    let mut rig = Rig::new(disks, shared, fault);
    for act in acts {
        happen(&mut rig, act)?;
        let _ = ostler_lifecycle::why(&rig.record);
    }
    rig.world.reach(true);
    rig.settle()?;
    rig.observe()?;
    if rig.state() == State::Done {
        return Ok(());
    }
    ask(&mut rig, Verb::Delete, 1)?;
    rig.settle()?;
    if rig.state() == State::Done { Ok(()) } else { Err(format!("deleted, and it is {}", rig.state())) }
}

fn config(cases: u32) -> Config {
    Config {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/lifecycle/model.proptest-regressions"))),
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
    for _ in 0..3000 {
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
    let not_yet = [State::Migrate, State::Hotplug, State::Snapshot];
    let missed: Vec<State> = State::iter().filter(|state| !states.contains(state) && !not_yet.contains(state)).collect();
    assert!(missed.is_empty(), "states never reached: {missed:?}");
    let missed: Vec<StepKind> = StepKind::iter().filter(|kind| !steps.contains(&(*kind, false))).collect();
    assert!(missed.is_empty(), "steps never reached: {missed:?}");
    let back = [StepKind::Remove, StepKind::DropHost, StepKind::CopyOut, StepKind::DropHome, StepKind::CopyIn];
    let missed: Vec<StepKind> = back.into_iter().filter(|kind| !steps.contains(&(*kind, true))).collect();
    assert!(missed.is_empty(), "never rolled back by: {missed:?}");
    for word in ["Draining", "Delaying", "Calling", "Backoff", "Confirming", "Waiting", "Settling", "Blind", "2 calls at a time"] {
        assert!(words.contains(word), "never: {word}");
    }
}

#[test]
fn whatever_happens_nothing_is_lost_and_it_comes_to_rest() {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(3000);
    let outcome = TestRunner::new(config(cases))
        .run(&story(), |(disks, shared, acts)| run(disks, shared, &acts, Fault::None).map_err(TestCaseError::fail));
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
