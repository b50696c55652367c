//! The things that can happen in a story that nobody thought of, and how likely each is.

use crate::rig::Rules;
use ostler_model::{ErrorKind, Verb};
use proptest::prelude::*;

/// One thing that happens.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Somebody asks: for a host, and about one of what there is.
    Ask(Verb, u32, u8),
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
    /// All hosts go, or come back.
    Reach(bool),
    /// One host goes, or comes back.
    ReachOne(u32, bool),
    /// One host loses power.
    Dies(u32),
    /// A host that is seen puts away what was left there.
    Sweep(u32),
    /// What is due by schedule is asked.
    Fire,
    /// The snapshot rules have another opinion.
    Rules(Rules),
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
    /// A migration stops half-way.
    IsHalfMoved,
    /// And ends, one way or the other.
    HalfEnds(bool),
    /// Migrations leave the domain defined where it was, from now on.
    LeavesSource(bool),
}

/// All that can be asked of a VM; the recoveries last.
pub(crate) fn verbs() -> Vec<Verb> {
    use strum::IntoEnumIterator;
    let (recoveries, others): (Vec<Verb>, Vec<Verb>) =
        Verb::iter().filter(|verb| *verb != Verb::Adopt).partition(|verb| verb.is_recovery());
    others.into_iter().chain(recoveries).collect()
}

const RECOVERIES: [Verb; 4] =
    [Verb::RecoverSuccess, Verb::RecoverFailure, Verb::RecoverRetry, Verb::RecoverUndo];

fn verb() -> impl Strategy<Value = Verb> {
    let verbs = verbs();
    prop_oneof![
        6 => Just(Verb::Deploy),
        3 => Just(Verb::Resume),
        2 => Just(Verb::Stop),
        2 => Just(Verb::Suspend),
        2 => Just(Verb::Migrate),
        2 => Just(Verb::MigrateLive),
        18 => (0..verbs.len()).prop_map(move |at| verbs[at]),
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
        2 => Just(Happening::IsHalfMoved),
        2 => any::<bool>().prop_map(Happening::HalfEnds),
        1 => any::<bool>().prop_map(Happening::LeavesSource),
    ]
}

pub(crate) fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (verb(), 1..4u32, any::<u8>()).prop_map(|(verb, host, which)| Act::Ask(verb, host, which)),
        3 => (0..RECOVERIES.len()).prop_map(|at| Act::Recover(RECOVERIES[at])),
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
        2 => (1..4u32, any::<bool>()).prop_map(|(host, there)| Act::ReachOne(host, there)),
        1 => (1..4u32).prop_map(Act::Dies),
        2 => (1..4u32).prop_map(Act::Sweep),
        1 => Just(Act::Fire),
        1 => prop_oneof![3 => Just(Rules::True), 1 => Just(Rules::Hide), 1 => Just(Rules::Lose)].prop_map(Act::Rules),
        1 => any::<bool>().prop_map(Act::Looks),
        1 => any::<bool>().prop_map(Act::Obeys),
        4 => happening().prop_map(Act::Guest),
    ]
}

/// A whole story: how many disks, whether storage is shared, and what happens.
pub(crate) fn story() -> impl Strategy<Value = (usize, bool, Vec<Act>)> {
    (0..3usize, any::<bool>(), beginning(), prop::collection::vec(act(), 1..80)).prop_map(
        |(disks, shared, mut acts, rest)| {
            acts.extend(rest);
            (disks, shared, acts)
        },
    )
}

/// How a story begins: where chance alone would rarely come.
fn beginning() -> impl Strategy<Value = Vec<Act>> {
    let asked = |verbs: &'static [Verb]| {
        let acts: Vec<Act> = verbs
            .iter()
            .flat_map(|verb| {
                [Act::Ask(*verb, if verb.is_migration() { 2 } else { 1 }, 0), Act::Go(12)]
            })
            .collect();
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
        3 => failing(&[Verb::Deploy, Verb::Stop, Verb::Resume, Verb::Deploy]),
        1 => failing(&[Verb::Deploy, Verb::UndeployHard, Verb::Resume, Verb::Deploy]),
        1 => failing(&[Verb::Deploy, Verb::Suspend, Verb::Resume]),
        1 => failing(&[Verb::Deploy, Verb::ShutdownHard]),
        1 => failing(&[Verb::Deploy, Verb::DiskSnapshot, Verb::ShutdownHard]),
        2 => failing(&[Verb::Deploy, Verb::Migrate]),
        1 => failing(&[Verb::Deploy, Verb::Suspend, Verb::Migrate]),
        1 => failing(&[Verb::Deploy, Verb::PoweroffHard, Verb::Migrate]),
        1 => (asked(&[Verb::Deploy, Verb::MigrateLive]), any::<bool>()).prop_map(|(mut acts, leaves)| {
            acts.pop();
            let half = [Act::Go(1), Act::Guest(Happening::IsHalfMoved), Act::Guest(Happening::LeavesSource(leaves))];
            acts.extend(half);
            acts.extend([Act::Fail(0, ErrorKind::Refused), Act::Guest(Happening::HalfEnds(false)), Act::Go(12)]);
            acts
        }),
        2 => failing(&[Verb::Deploy, Verb::MigratePoweroffHard]),
        3 => failing(&[Verb::Deploy, Verb::MigrateLive]),
        1 => failing(&[Verb::Deploy, Verb::DiskAttach]),
        1 => failing(&[Verb::Deploy, Verb::DiskAttach, Verb::DiskDetach]),
        1 => failing(&[Verb::Deploy, Verb::NicAttach]),
        1 => failing(&[Verb::Deploy, Verb::NicAttach, Verb::NicDetach]),
        1 => failing(&[Verb::Deploy, Verb::Resize]),
        1 => failing(&[Verb::Deploy, Verb::DiskSnapshotLive]),
        1 => failing(&[Verb::Deploy, Verb::SnapshotCreate]),
        1 => failing(&[Verb::Deploy, Verb::SnapshotCreate, Verb::SnapshotRevert]),
        1 => failing(&[Verb::Deploy, Verb::SnapshotCreate, Verb::Stop]),
        1 => (asked(&[Verb::Deploy, Verb::MigrateLive]), any::<bool>()).prop_map(|(mut acts, moved)| {
            acts.pop();
            // The answer is lost, and one of the hosts, or both, for a while.
            let half = [Act::Guest(Happening::IsHalfMoved), Act::Reach(false), Act::Lose(0, false), Act::Go(12), Act::Wait(9_999_000)];
            acts.extend(half);
            acts.extend([Act::Go(30), Act::Guest(Happening::HalfEnds(moved)), Act::Reach(true), Act::Observe]);
            acts
        }),
        1 => asked(&[Verb::Deploy]).prop_map(|mut acts| {
            acts.extend([Act::Dies(1), Act::CouldNotAsk(60), Act::Ask(Verb::Migrate, 2, 1)]);
            acts
        }),
    ]
}
