//! `check("deploy; ok; lost", expect![...])`: a story in words, and how it went, a line a word.
//!
//! | word | meaning |
//! |---|---|
//! | a verb, `!` after it for force | is asked |
//! | `ok`, `ok2` | the first (second) open call is carried out and answers |
//! | `do`, `do2` | it is carried out, its answer is still on its way |
//! | `retry` `refused` `not-here` `gone` `stale` `cancelled` `trap` | it fails, nothing happened |
//! | `lost`, `unknown` | its answer is lost, it happened or not; `lost2` for the second |
//! | `restart`, `restart-after` | the daemon dies before or after the open calls happened |
//! | `tick`, `wait:SECONDS` | the next thing is due, time passes |
//! | `look`, `blind` | the monitor looks, or has not been able to for a minute |
//! | `run` | all calls answer as they should until it rests or waits for the guest |
//! | `drive` | as `run`, but no line a step |
//! | `host-gone` `host-back` `obeys` `ignores` `mute` (answers carry no look) | the world |
//! | `guest-off` `crash` `destroyed` `paused` `io-error` `preserved` `started` `foreign` `above` `older` `undefined` | the guest |

use crate::rig::{ALIEN, Fault, Rig, STORE, UUID};
use expect_test::Expect;
use ostler_lifecycle::Input;
use ostler_model::{DriverError, ErrorKind, Generation, HostId, Identity, Millis, Power, PowerReason, Timestamp, Verb};

pub(crate) struct Stage {
    pub(crate) disks: usize,
    pub(crate) shared: bool,
}

/// One disk that is copied to and fro.
pub(crate) fn check(story: &str, expected: Expect) {
    check_on(Stage { disks: 1, shared: false }, story, expected);
}

pub(crate) fn check_on(stage: Stage, story: &str, expected: Expect) {
    let mut rig = Rig::new(stage.disks, stage.shared, Fault::None);
    let mut out = String::new();
    for word in story.split([';', '\n']).map(str::trim).filter(|word| !word.is_empty()) {
        tell(&mut rig, word, &mut out);
    }
    expected.assert_eq(&out);
}

fn tell(rig: &mut Rig, word: &str, out: &mut String) {
    let said = match play(rig, word, out) {
        Ok(Some(line)) => line,
        Ok(None) => return,
        Err(violation) => panic!("{word}: {violation}\n{out}"),
    };
    *out += &format!("{word:<14} {said}\n");
}

fn play(rig: &mut Rig, word: &str, out: &mut String) -> Result<Option<String>, String> {
    if let Ok(verb) = word.trim_end_matches('!').parse::<Verb>() {
        return match rig.request(verb, word.ends_with('!'), HostId(1))? {
            Ok(()) => Ok(Some(rig.line())),
            Err(refusal) => Ok(Some(format!("refused {}: {}", refusal.kind, refusal.detail))),
        };
    }
    if let Some(secs) = word.strip_prefix("wait:") {
        rig.pass_time(Millis::secs(secs.parse().unwrap()))?;
        return Ok(Some(rig.line()));
    }
    let at = usize::from(word.ends_with('2'));
    let answers = ["ok", "do", "lost", "trap"].contains(&word.trim_end_matches('2'))
        || word.trim_end_matches('2').parse::<ErrorKind>().is_ok();
    assert!(!answers || at < rig.flying.len(), "{word}: no such call is open\n{out}");
    assert!(word != "tick" || rig.record.next_due().is_some(), "{word}: nothing is due\n{out}");
    match word.trim_end_matches('2') {
        "ok" => rig.answer(at)?,
        "do" => {
            rig.execute(at);
            return Ok(None);
        }
        "lost" => rig.err(at, DriverError::unknown("lost", "the answer was lost"), true)?,
        "trap" => rig.err(at, DriverError::unknown("driver-trap", "the driver crashed"), false)?,
        "restart" => rig.restart(|_| false)?,
        "restart-after" => rig.restart(|_| true)?,
        "tick" => {
            rig.tick()?;
        }
        "look" => look(rig)?,
        "blind" => rig.tell(&Input::CouldNotAsk { since: Timestamp(rig.now.0 - 60_000) })?,
        "run" => return run(rig, Some(out)).map(|()| None),
        "drive" => return run(rig, None).map(|()| None),
        "due" => {
            let due = rig.record.next_due().map(|due| due.since(rig.now));
            return Ok(Some(due.map_or_else(|| "nothing".to_owned(), |due| format!("in {due}"))));
        }
        "why" => return Ok(Some(format!("{:?}", ostler_lifecycle::why(&rig.record).waits_for))),
        "memory" => return Ok(Some(format!("{:?}", rig.record.recovery.as_ref().map(|file| (file.complete, file.consumed))))),
        "place" => {
            let files = rig.record.files;
            let place = rig.record.placement.as_ref().map(|place| place.generation.0);
            return Ok(Some(format!("{place:?} host={} home={} placed={}", files.host, files.home, rig.record.placed)));
        }
        "patience" => {
            let last = rig.last.as_ref().and_then(|last| last.effects.last()).map(|effect| effect.patience.to_string());
            return Ok(Some(last.unwrap_or_else(|| "nothing was sent".to_owned())));
        }
        "open" => return Ok(Some(format!("{:?}", rig.open_calls()))),
        kind => match kind.parse::<ErrorKind>() {
            Ok(kind) => rig.err(at, DriverError::new(kind, kind.to_string(), "as the story wants"), false)?,
            Err(_) => {
                world(rig, word);
                return Ok(None);
            }
        },
    }
    Ok(Some(rig.line()))
}

/// As [`Rig::observe`], but the story may be one where nothing can agree.
fn look(rig: &mut Rig) -> Result<(), String> {
    let Some(host) = rig.host() else { return Ok(()) };
    let seen = rig.world.see(host);
    rig.tell(&Input::Observed { step: rig.record.step, seen, there: None })
}

fn run(rig: &mut Rig, mut out: Option<&mut String>) -> Result<(), String> {
    for _ in 0..100 {
        if rig.flying.is_empty() {
            return Ok(());
        }
        let call = rig.flying[0].effect.call;
        rig.answer(0)?;
        if let Some(out) = out.as_mut() {
            **out += &format!("  {:<12} {}\n", call.to_string(), rig.line());
        }
    }
    Err("it runs for ever".to_owned())
}

fn world(rig: &mut Rig, word: &str) {
    let host = HostId(1);
    let stamp = |rig: &mut Rig, identity: Option<Identity>| {
        let made = || crate::world::Domain {
            power: Power::Running,
            reason: PowerReason::None,
            identity: None,
            edges: Vec::new(),
            pressed: false,
        };
        rig.world.domains.entry(host).or_insert_with(made).identity = identity;
    };
    let ours = |generation| Some(Identity { store: STORE, vm: UUID, generation: Generation(generation) });
    match word {
        "host-gone" => rig.world.reachable = false,
        "host-back" => rig.world.reachable = true,
        "obeys" => rig.world.obeys = true,
        "ignores" => rig.world.obeys = false,
        "obey" => assert!(rig.world.obey(), "there is nothing to obey"),
        "mute" => rig.world.looks = false,
        "guest-off" => rig.world.power(host, Power::Off, PowerReason::Guest),
        "crash" => rig.world.power(host, Power::Off, PowerReason::Crashed),
        "destroyed" => rig.world.power(host, Power::Off, PowerReason::Destroyed),
        "off" => rig.world.power(host, Power::Off, PowerReason::None),
        "paused" => rig.world.power(host, Power::Paused, PowerReason::Person),
        "io-error" => rig.world.power(host, Power::Paused, PowerReason::IoError),
        "watchdog" => rig.world.power(host, Power::Paused, PowerReason::Watchdog),
        "starting" => rig.world.power(host, Power::Paused, PowerReason::Starting),
        "preserved" => rig.world.power(host, Power::Crashed, PowerReason::None),
        "started" => {
            if !rig.world.domains.contains_key(&host) {
                stamp(rig, ours(1));
            }
            rig.world.power(host, Power::Running, PowerReason::None);
            rig.world.runs(host);
        }
        "undefined" => {
            rig.world.domains.remove(&host);
        }
        "foreign" => stamp(rig, Some(Identity { store: ALIEN, vm: UUID, generation: Generation(1) })),
        "unstamped" => stamp(rig, None),
        "above" => stamp(rig, ours(99)),
        "older" => stamp(rig, ours(0)),
        "unable" => rig.abilities = Some(vec![]),
        other => panic!("{other:?} is no word of a story"),
    }
}
