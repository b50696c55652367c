//! The table of decisions: the next action for each pair of states on the two hosts.

use super::*;
use expect_test::expect;
use ostler_model::{EffectKey, Generation, Item, OperationId, StepNo, StoreId, VmUuid};
use std::fmt::Write as _;
use uuid::Uuid;

const STORE: StoreId = StoreId(Uuid::from_u128(1));
const VM: VmUuid = VmUuid(Uuid::from_u128(2));

fn key(step: u64) -> EffectKey {
    EffectKey { vm: VM, operation: OperationId(1), step: StepNo(step), item: Item::Domain }
}

fn identity(generation: u64) -> Identity {
    Identity { store: STORE, vm: VM, generation: Generation(generation) }
}

fn side(power: Power, generation: u64, work: Work, job: Option<u64>) -> Standing {
    Standing {
        power,
        stamp: Some(Stamp { job: job.map(key), ..Stamp::new(identity(generation)) }),
        work,
    }
}

fn order() -> Order {
    Order { store: STORE, key: key(5), generation: Generation(4), spares: None }
}

fn next(there: Option<&Standing>, here: Option<&Standing>, settled: bool) -> String {
    match decide(&order(), &identity(4), there, here, settled) {
        Ok(next) => format!("{next:?}"),
        Err(error) => format!("{} {}", error.kind, error.code),
    }
}

const POWERS: [Power; 4] = [Power::Running, Power::Paused, Power::Off, Power::Crashed];

#[test]
fn with_nothing_there_it_is_sent_once_and_only_if_it_runs() {
    let mut table = String::new();
    writeln!(table, "absent: {}", next(None, None, false)).expect("to a string");
    for power in POWERS {
        for (work, job) in [
            (Work::Nothing, None),
            (Work::Nothing, Some(5)),
            (Work::Migration, Some(5)),
            (Work::Migration, Some(4)),
        ] {
            let here = side(power, 3, work, job);
            let (soon, later) = (next(None, Some(&here), false), next(None, Some(&here), true));
            let later = if soon == later { String::new() } else { format!(", later {later}") };
            writeln!(table, "{power} {work:?} {job:?}: {soon}{later}").expect("to a string");
        }
    }
    expect![[r#"
        absent: gone no-domain
        running Nothing None: Send
        running Nothing Some(5): Send
        running Migration Some(5): Await
        running Migration Some(4): retry busy
        paused Nothing None: refused paused
        paused Nothing Some(5): Settle, later ResumeHere
        paused Migration Some(5): Await
        paused Migration Some(4): retry busy
        off Nothing None: gone not-running
        off Nothing Some(5): gone not-running
        off Migration Some(5): Await
        off Migration Some(4): retry busy
        crashed Nothing None: refused crashed
        crashed Nothing Some(5): refused crashed
        crashed Migration Some(5): Await
        crashed Migration Some(4): retry busy
    "#]]
    .assert_eq(&table);
}

#[test]
fn once_it_runs_there_only_what_is_left_here_is_cleared() {
    let mut table = String::new();
    for power in POWERS {
        let there = side(power, 4, Work::Nothing, None);
        let both = |what: &str, soon: String, later: String| match soon == later {
            true => format!("{what} {soon}"),
            false => format!("{what} {soon}, later {later}"),
        };
        let mut line =
            vec![both("absent", next(Some(&there), None, false), next(Some(&there), None, true))];
        for here in POWERS {
            let here_side = side(here, 3, Work::Nothing, Some(5));
            let word = here.to_string();
            line.push(both(
                &word,
                next(Some(&there), Some(&here_side), false),
                next(Some(&there), Some(&here_side), true),
            ));
            let moving = side(here, 3, Work::Migration, Some(5));
            assert_eq!(next(Some(&there), Some(&moving), true), "Await", "libvirt is at work");
        }
        writeln!(table, "there {power}; here: {}", line.join("; ")).expect("to a string");
    }
    expect![[r#"
        there running; here: absent Done; running unknown runs-twice; paused ClearHere; off ClearHere; crashed ClearHere
        there paused; here: absent Settle, later ResumeThere; running Settle, later ClearThere; paused Settle, later ClearThere; off Settle, later ClearThere; crashed Settle, later ClearThere
        there off; here: absent Done; running ClearThere; paused unknown in-doubt; off ClearHere; crashed ClearHere
        there crashed; here: absent Done; running unknown runs-twice; paused ClearHere; off ClearHere; crashed ClearHere
    "#]]
    .assert_eq(&table);
}

#[test]
fn nobody_elses_domain_and_no_later_placement_is_touched_on_either_side() {
    let running = side(Power::Running, 3, Work::Nothing, None);
    let later = side(Power::Running, 5, Work::Nothing, None);
    assert_eq!(next(Some(&later), Some(&running), false), "stale stale");
    assert_eq!(next(None, Some(&later), false), "stale stale");
    let unstamped = Standing { stamp: None, ..running.clone() };
    assert_eq!(next(Some(&unstamped), Some(&running), false), "refused foreign");
    assert_eq!(next(None, Some(&unstamped), false), "refused foreign");
    // An older placement may be replaced if it is off, and may not if it runs.
    for (power, expected) in
        [(Power::Off, "ClearThere"), (Power::Running, "refused older-generation")]
    {
        let older = side(power, 2, Work::Nothing, None);
        assert_eq!(next(Some(&older), Some(&running), false), expected);
    }
    assert_eq!(
        next(Some(&side(Power::Off, 2, Work::Nothing, None)), None, false),
        "gone no-domain"
    );
}
