//! `check("deploy; ok; lost", expect![...])`: a story in words, and how it went, a line a word.
//!
//! | word | meaning |
//! |---|---|
//! | a verb, `!` after it for force, `@2` for the host, `:what` for what it is about | is asked |
//! | `ok`, `ok2` | the first (second) open call is carried out and answers |
//! | `do`, `do2` | it is carried out, its answer is still on its way |
//! | `retry` `refused` `not-here` `gone` `stale` `cancelled` `trap` | it fails, nothing happened |
//! | `lost`, `unknown` | its answer is lost, it happened or not; `lost2` for the second |
//! | `restart`, `restart-after` | the daemon dies before or after the open calls happened |
//! | `tick`, `wait:SECONDS` | the next thing is due, time passes |
//! | `look`, `blind` | the monitor looks, or has not been able to for a minute |
//! | `run` | all calls answer as they should until it rests or waits for the guest |
//! | `drive` | as `run`, but no line a step |
//! | `in-vain` | no call and no look gets to its host until the operation ends |
//! | `go:STEPS` | as many answers, or things that are due, and one line |
//! | `host-gone` `host-back` `obeys` `ignores` `mute` (answers carry no look) | the world; `@2` for one host |
//! | `guest-off` `crash` `destroyed` `paused` `io-error` `preserved` `started` `foreign` `above` `older` `undefined` | the guest; `@2` |
//! | `half-moved`, `moved`, `unmoved` | the hypervisors stop half-way through a migration, and end it one way or the other |
//! | `plug-pulled@1`, `sweep@1`, `fire` | a host loses power; what was left there is swept; what is due by schedule is asked |
//! | `fenced-for-good@1` | a host burns down, and the operator states that it does not come back |
//! | `drop-memory@1` | memory files that nobody will use are removed there |
//! | `bring@2` | the operator brings the VM's files to a host |
//! | `steps` | the steps of the last operation, `!` behind those that came to nothing |
//! | `destroys` | what the last answer says is removed for good |
//! | `where`, `hardware`, `holds`, `images`, `snapshots` | what the record, and the world, say |

use crate::rig::{ALIEN, Fault, Rig, Rules, UUID};
use expect_test::Expect;
use ostler_lifecycle::{Input, unused_memory};
use ostler_model::{
    Args, Destroyed, DiskFormat, DiskSource, DriverError, ErrorKind, EventKind, Generation, HostId,
    Identity, Millis, Moment, NicSpec, Planned, Power, PowerReason, Schedule, ScheduleId,
    Timestamp, Verb, When,
};

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

/// `migrate!@2:fenced` is a verb, force, a host and what it is about.
fn request(rig: &mut Rig, word: &str) -> Option<Result<String, String>> {
    let (head, about) = word.split_once(':').unwrap_or((word, ""));
    let (head, host) =
        head.split_once('@').map_or((head, 1), |(head, host)| (head, host.parse().unwrap()));
    let verb = head.trim_end_matches('!').parse::<Verb>().ok()?;
    let args = args(rig, verb, about);
    let answer = rig.ask(verb, args, head.ends_with('!'), HostId(host));
    Some(answer.map(|answer| match answer {
        Ok(()) => rig.line(),
        Err(refusal) => format!("refused {}: {:?}", refusal.kind, refusal.cause),
    }))
}

/// What `verb` is asked with; what is not told is what fits.
pub(crate) fn args(rig: &Rig, verb: Verb, about: &str) -> Args {
    let spec = &rig.record.spec;
    let disk =
        |at: usize| about.parse().ok().or_else(|| spec.disks.get(at).map(|disk| disk.name.clone()));
    match verb {
        Verb::Migrate => Args::Migrate {
            fenced: about.contains("fenced"),
            storage_moved: about.contains("moved"),
        },
        Verb::DiskAttach => Args::NewDisk {
            name: about.parse().ok(),
            source: DiskSource::Blank { size_mib: 1 },
            format: DiskFormat::Qcow2,
            read_only: false,
        },
        Verb::DiskDetach | Verb::DiskSnapshotCancel => {
            disk(0).map_or(Args::None, |name| Args::Disk { name })
        }
        Verb::NicAttach => {
            Args::NewNic(NicSpec { bridge: "br0".to_owned(), mac: about.parse().ok() })
        }
        Verb::NicDetach => spec
            .nics
            .first()
            .and_then(|nic| nic.mac.clone())
            .map_or(Args::None, |mac| Args::Nic { mac }),
        Verb::SnapshotCreate => Args::NewSnapshot { label: about.to_owned() },
        Verb::SnapshotRevert | Verb::SnapshotDelete => {
            let last = rig
                .record
                .snapshots
                .iter()
                .rfind(|snapshot| !snapshot.hidden)
                .map(|snapshot| snapshot.name.to_string());
            Args::Snapshot {
                name: if about.is_empty() { last.unwrap_or_default() } else { about.to_owned() },
            }
        }
        Verb::DiskSnapshot | Verb::DiskSnapshotLive => disk(0).map_or(Args::None, |disk| {
            Args::NewImage { disk, image: "golden".parse().unwrap(), datastore: None }
        }),
        Verb::Resize => {
            let cpu_milli = about.strip_suffix('m').and_then(|milli| milli.parse().ok());
            let memory_mib = about.strip_prefix('m').and_then(|mib| mib.parse().ok());
            Args::Size { cpu_milli, vcpus: about.parse().ok(), memory_mib }
        }
        Verb::Update => Args::UserData { text: about.to_owned() },
        Verb::Rename => {
            Args::Name { name: about.parse().unwrap_or_else(|_| "other".parse().unwrap()) }
        }
        Verb::Schedule => Args::NewSchedule(Box::new(planned(rig, about))),
        Verb::Reschedule => {
            Args::Reschedule { id: ScheduleId(0), planned: Box::new(planned(rig, about)) }
        }
        Verb::Unschedule => Args::Schedule { id: ScheduleId(0) },
        _ => Args::None,
    }
}

/// `poweroff in 60`, `hold every 60`: seconds from now on.
fn planned(rig: &Rig, about: &str) -> Planned {
    let words: Vec<&str> = about.split(' ').collect();
    let verb = words[0].parse().unwrap_or(Verb::Hold);
    let secs = Millis::secs(words.get(2).and_then(|secs| secs.parse().ok()).unwrap_or(60));
    let when = match words.get(1) {
        Some(&"every") => format!("every {}m", secs.0 / 60_000).parse().unwrap(),
        _ => When::Once { at: Moment::At(rig.now.plus(secs)) },
    };
    Planned {
        schedule: Schedule::new(ScheduleId(0), verb, when, "operator"),
        args: Args::None,
        host: None,
        retry_at: None,
    }
}

/// Words about what is left at one host.
fn at_a_host(rig: &mut Rig, word: &str) -> Result<Option<String>, String> {
    let Some((what, host)) = word.split_once('@') else { return Ok(None) };
    let Ok(host) = host.parse().map(HostId) else { return Ok(None) };
    match what {
        "fenced-for-good" => {
            rig.world.domains.remove(&host);
            rig.world.places.remove(&host);
            rig.tell(&Input::HostGone { host })?;
            Ok(Some(r#where(rig)))
        }
        "sweep" => {
            let swept = rig.sweep(host)?;
            Ok(Some(if swept { rig.line() } else { "nothing is swept".to_owned() }))
        }
        "drop-memory" => {
            for name in unused_memory(&rig.record, host).to_vec() {
                rig.tell(&Input::MemoryRemoved { name })?;
            }
            Ok(Some(rig.line()))
        }
        _ => Ok(None),
    }
}

fn play(rig: &mut Rig, word: &str, out: &mut String) -> Result<Option<String>, String> {
    if let Some(said) = request(rig, word) {
        return said.map(Some);
    }
    if let Some(secs) = word.strip_prefix("wait:") {
        rig.pass_time(Millis::secs(secs.parse().unwrap()))?;
        return Ok(Some(rig.line()));
    }
    if let Some(steps) = word.strip_prefix("go:") {
        for _ in 0..steps.parse().unwrap() {
            if rig.flying.is_empty() {
                rig.tick()?;
            } else {
                rig.answer(0)?;
            }
        }
        return Ok(Some(rig.line()));
    }
    if let Some(line) = at_a_host(rig, word)? {
        return Ok(Some(line));
    }
    let at = usize::from(word.ends_with('2') && !word.contains('@'));
    let answers = ["ok", "do", "lost", "trap"].contains(&word.trim_end_matches('2'))
        || word.trim_end_matches('2').parse::<ErrorKind>().is_ok();
    assert!(!answers || at < rig.flying.len(), "{word}: no such call is open\n{out}");
    assert!(word != "tick" || rig.record.next_due().is_some(), "{word}: nothing is due\n{out}");
    if let Some(told) = told(rig, word) {
        return Ok(Some(told));
    }
    match word.trim_end_matches(if word.contains('@') { '@' } else { '2' }) {
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
        "in-vain" => in_vain(rig)?,
        "fire" => {
            rig.fire()?;
        }
        "adopted" => rig.adopt(true)?,
        "adopted-off" => rig.adopt(false)?,
        kind => match kind.parse::<ErrorKind>() {
            Ok(kind) => {
                rig.err(at, DriverError::new(kind, kind.to_string(), "as the story wants"), false)?
            }
            Err(_) => {
                world(rig, word);
                return Ok(None);
            }
        },
    }
    Ok(Some(rig.line()))
}

/// The steps of the last operation, and the one that it failed at.
fn steps(rig: &Rig) -> String {
    let Some(last) = rig.operations.values().next_back() else { return "none".to_owned() };
    let step = |step: &ostler_model::StepTrace| {
        format!(
            "{}{}{}",
            if step.undoing { "undo " } else { "" },
            step.kind,
            if step.failed { "!" } else { "" }
        )
    };
    let steps: Vec<String> = last.steps.iter().map(step).collect();
    format!("{}; failed at {:?}", steps.join(", "), last.failed_at().map(|step| step.to_string()))
}

/// What the answer says that the operation removes for good. The event that it began says the same.
fn destroys(rig: &Rig) -> String {
    let Some(last) = &rig.last else { return "nothing was decided".to_owned() };
    let told = last.answer.as_ref().map(|answer| answer.destroys.clone()).unwrap_or_default();
    let began = last.events.iter().find_map(|event| match event {
        EventKind::OperationBegan { destroys, .. } => Some(destroys.clone()),
        _ => None,
    });
    assert!(began.is_none_or(|began| began == told), "the answer and the event differ");
    let kept = |what: &Destroyed| matches!(what, Destroyed::Snapshot { hidden: true, .. });
    let words: Vec<String> = told
        .iter()
        .map(|what| format!("{what}{}", if kept(what) { " (hidden)" } else { "" }))
        .collect();
    if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
}

/// What is told of the record, and of the world.
fn told(rig: &Rig, word: &str) -> Option<String> {
    let record = &rig.record;
    Some(match word {
        "due" => {
            let due = record.next_due().map(|due| due.since(rig.now));
            due.map_or_else(|| "nothing".to_owned(), |due| format!("in {due}"))
        }
        "why" => format!("{:?}", ostler_lifecycle::why(record).waits_for),
        "destroys" => destroys(rig),
        "steps" => steps(rig),
        "memory" => {
            format!("{:?}", record.recovery.as_ref().map(|file| (file.complete, file.consumed)))
        }
        "unused" => {
            format!("{:?}", record.unused.iter().map(ToString::to_string).collect::<Vec<_>>())
        }
        "place" => {
            let files = record.files;
            let place = record.placement.as_ref().map(|place| place.generation.0);
            format!("{place:?} host={} home={} placed={}", files.host, files.home, record.placed)
        }
        "where" => r#where(rig),
        "hardware" => {
            let domain = rig.host().and_then(|host| rig.world.domains.get(&host));
            let plugged =
                domain.map(|domain| (domain.disks.len(), domain.nics.len(), domain.vcpus));
            let spec = &record.spec;
            format!(
                "record: {:?}, domain: {plugged:?}",
                (record.disks.len(), spec.nics.len(), spec.vcpus)
            )
        }
        "holds" => record.held().map_or_else(
            || "nothing".to_owned(),
            |(_, held)| format!("{} thousandths of a CPU", held.cpu_milli),
        ),
        "images" => format!("{:?}", rig.images.values().collect::<Vec<_>>()),
        "snapshots" => {
            let kept: Vec<String> = record
                .snapshots
                .iter()
                .map(|kept| format!("{}{}", kept.name, if kept.hidden { " (hidden)" } else { "" }))
                .collect();
            kept.join(", ")
        }
        "schedules" => {
            let kept = record
                .schedules
                .iter()
                .map(|planned| format!("{} {:?}", planned.schedule.verb, planned.schedule.state));
            kept.collect::<Vec<_>>().join(", ")
        }
        "patience" => {
            let last = rig
                .last
                .as_ref()
                .and_then(|last| last.effects.last())
                .map(|effect| effect.patience.to_string());
            last.unwrap_or_else(|| "nothing was sent".to_owned())
        }
        "open" => format!("[{}]", rig.open_calls().join(", ")),
        _ => return None,
    })
}

/// Where the record says that something of the VM is, and where the world has it.
pub(crate) fn r#where(rig: &Rig) -> String {
    let record = &rig.record;
    let at = |place: &ostler_model::Placement| format!("{}g{}", place.host, place.generation);
    let mut out = format!("at {}", record.placement.as_ref().map_or_else(|| "-".to_owned(), at));
    if let Some(other) = record.other() {
        out += &format!(
            " other {}{}",
            at(other),
            if record.domain_at_other() { " (domain)" } else { "" }
        );
    }
    for left in &record.leftovers {
        out += &format!(" left {}{}", at(&left.place), if left.files { " (files)" } else { "" });
    }
    out += " | domains:";
    for (host, domain) in &rig.world.domains {
        out += &format!(" {host} {}", domain.power);
    }
    out += " | files:";
    for (host, _) in rig.world.places.iter().filter(|(_, place)| !place.is_empty()) {
        out += &format!(" {host}");
    }
    out
}

/// As [`Rig::observe`], but the story may be one where nothing can agree.
fn look(rig: &mut Rig) -> Result<(), String> {
    let Some((seen, there)) = rig.seen() else {
        rig.last = None;
        return Ok(());
    };
    rig.tell(&Input::Observed { step: rig.record.step, seen, there })
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

/// No call gets to its host, and no look, until the operation ends.
fn in_vain(rig: &mut Rig) -> Result<(), String> {
    for _ in 0..2000 {
        if !rig.flying.is_empty() {
            rig.err(0, DriverError::retry("no-connection", "nobody answers"), false)?;
        } else if rig.record.operation.is_none() || !rig.tick()? {
            return Ok(());
        }
    }
    Err("it tries for ever".to_owned())
}

fn world(rig: &mut Rig, word: &str) {
    let (word, host) = word
        .split_once('@')
        .map_or((word, None), |(word, host)| (word, Some(HostId(host.parse().unwrap()))));
    let one = host.unwrap_or(HostId(1));
    let stamp = |rig: &mut Rig, generation| {
        let identity = rig.world.ours(generation);
        rig.world.stranger(one, identity);
    };
    let power = |rig: &mut Rig, power, reason| rig.world.power(one, power, reason);
    match (word, host) {
        ("host-gone", None) => rig.world.reach(false),
        ("host-back", None) => rig.world.reach(true),
        ("host-gone", Some(host)) => drop(rig.world.silent.insert(host)),
        ("host-back", Some(host)) => drop(rig.world.silent.remove(&host)),
        ("plug-pulled", _) => rig.world.pull_the_plug(one),
        ("bring", _) => {
            let brought = rig.world.place(rig.record.placement.as_ref().unwrap().host).clone();
            *rig.world.place(one) = brought;
            rig.world.brought.insert(one);
        }
        ("half-moved", _) => rig.world.half_moved(&rig.record),
        ("moved", _) => rig.world.half_ends(true),
        ("unmoved", _) => rig.world.half_ends(false),
        ("leaves-source", _) => rig.world.leaves_source = true,
        ("obeys", _) => rig.world.obeys = true,
        ("ignores", _) => rig.world.obeys = false,
        ("obey", _) => assert!(rig.world.obey(), "there is nothing to obey"),
        ("mute", _) => rig.world.looks = false,
        ("guest-off", _) => power(rig, Power::Off, PowerReason::Guest),
        ("crash", _) => power(rig, Power::Off, PowerReason::Crashed),
        ("destroyed", _) => power(rig, Power::Off, PowerReason::Destroyed),
        ("saved", _) => power(rig, Power::Off, PowerReason::Saved),
        ("kept", _) => power(rig, Power::Off, PowerReason::Kept),
        ("off", _) => power(rig, Power::Off, PowerReason::None),
        ("paused", _) => power(rig, Power::Paused, PowerReason::Person),
        ("io-error", _) => power(rig, Power::Paused, PowerReason::IoError),
        ("watchdog", _) => power(rig, Power::Paused, PowerReason::Watchdog),
        ("starting", _) => power(rig, Power::Paused, PowerReason::Starting),
        ("preserved", _) => power(rig, Power::Crashed, PowerReason::None),
        ("started", _) => {
            if !rig.world.domains.contains_key(&one) {
                stamp(rig, 1);
            }
            rig.world.power(one, Power::Running, PowerReason::None);
            rig.world.runs(one);
        }
        ("undefined", _) => drop(rig.world.domains.remove(&one)),
        ("foreign", _) => rig
            .world
            .stranger(one, Some(Identity { store: ALIEN, vm: UUID, generation: Generation(1) })),
        ("unstamped", _) => rig.world.stranger(one, None),
        ("above", _) => stamp(rig, 99),
        ("older", _) => stamp(rig, 0),
        ("unable", _) => rig.abilities = Some(vec![]),
        ("unable-there", _) => rig.target_abilities = Some(vec![]),
        ("rules-lose", _) => rig.rules = Rules::Lose,
        ("rules-hide", _) => rig.rules = Rules::Hide,
        ("rules-refuse", _) => rig.rules = Rules::Refuse,
        ("rules-silent", _) => rig.rules = Rules::Silent,
        ("rules-none", _) => rig.rules = Rules::None,
        ("rules-true", _) => rig.rules = Rules::True,
        (other, _) => panic!("{other:?} is no word of a story"),
    }
}
