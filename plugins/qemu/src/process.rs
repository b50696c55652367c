//! The QEMU process of a domain: starts it, looks at it, ends it.

use crate::monitor::{Monitor, until};
use crate::place::Place;
use crate::record::{Domain, End, Hardware, Process};
use crate::{plug, size, state};
use ostler_sdk::host::{clock, config, exec, files, random};
use ostler_sdk::{Call, Error, ErrorKind, FilePath, Outcome, PowerReason};
use serde_json::json;

/// How long a look waits for a monitor. A QEMU that takes longer hangs.
pub(crate) const LOOK_MS: u64 = 2000;
/// The same where one call looks at all domains.
pub(crate) const GLANCE_MS: u64 = 300;
/// How long a change waits for a monitor: QEMU may be busy with a disk.
const ACT_MS: u64 = 10_000;

/// What a guest begins with.
pub(crate) enum Begin<'a> {
    /// It boots.
    Boot,
    /// It goes on from saved memory, and stays paused.
    Memory(&'a str),
    /// It goes on from a snapshot.
    Snapshot(&'a str),
}

/// A mark for a new process.
pub(crate) fn mark() -> String {
    random::bytes(8).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Looks at the process of a domain.
pub(crate) fn look(place: &Place, vm: &str, wait_ms: u64) -> Result<Process, Error> {
    let file = place.file(vm, "look");
    let ask = || Monitor::open(&file, wait_ms).and_then(|mut monitor| monitor.status());
    // A process that ends while it is asked is asked once more.
    let answer = match ask() {
        Err(error) if error.code == "closed" => ask(),
        answer => answer,
    };
    match answer {
        Ok(status) => Ok(Process::Lives(status)),
        Err(error) if error.code == "no-socket" => Ok(Process::Ended),
        Err(error) if error.code == "refused" => Ok(Process::Died),
        Err(error) => Err(error),
    }
}

/// The monitor for changes. A domain without a process is `gone`.
pub(crate) fn act(place: &Place, vm: &str) -> Result<Monitor, Error> {
    Monitor::open(&place.file(vm, "act"), ACT_MS).map_err(|error| match error.code.as_str() {
        "no-socket" | "refused" => Error::gone("not-running", "the domain does not run"),
        _ => error,
    })
}

/// The answer of a call that succeeded: a look, or none if the monitor hangs.
pub(crate) fn outcome(place: &Place, domain: &Domain) -> Result<Outcome, Error> {
    let Ok(process) = look(place, &domain.uuid, LOOK_MS) else { return Ok(Outcome::done()) };
    let end = place.end(&domain.uuid)?;
    Ok(Outcome::seen(domain.seen(&process, end.as_ref())))
}

/// Starts the process of `domain`, which has a new mark, and lets it go. The order is what makes it
/// safe beside a destroy and after a cut: the record is written first; QEMU waits, with nothing of
/// the guest run; only if nobody has ended this start meanwhile, the guest is let go.
pub(crate) fn start(
    call: &Call,
    place: &Place,
    domain: &mut Domain,
    begin: &Begin<'_>,
) -> Result<(), Error> {
    place.write(domain)?;
    call.go_on()?;
    let answer = launch(place, domain, begin).and_then(|()| let_go(call, place, domain, begin));
    if answer.is_err() {
        // The first error says why. If this fails, the process waits, paused, until it is ended.
        let _ = kill(call, place, &domain.uuid);
    }
    answer
}

fn launch(place: &Place, domain: &Domain, begin: &Begin<'_>) -> Result<(), Error> {
    let console = FilePath::new(domain.console.0.clone(), domain.console.1.clone());
    if let Some((folder, _)) = console.path.rsplit_once('/') {
        files::make_folder(&FilePath::new(console.datastore.clone(), folder))?;
    }
    let file = |name: &str| place.file(&domain.uuid, name).hole();
    for path in [place.file(&domain.uuid, "pid"), console.clone()] {
        // QEMU would take what follows a comma for an option.
        if files::absolute(&path)?.contains(',') {
            return Err(Error::refused("bad-path", "a path of a domain's files has a comma in it"));
        }
    }
    let accel = config::get("accel")?.unwrap_or_else(|| "kvm:tcg".to_owned());
    let hardware = &domain.hardware;
    let (vcpus, most) = (hardware.vcpus.to_string(), hardware.vcpus_most().to_string());
    let memory = hardware.memory_most_mib().to_string();
    let (pid, act, look) = (file("pid"), file("act"), file("look"));
    let console = console.hole();
    let mut holes = vec![
        ("name", domain.name.as_str()),
        ("vm", &domain.uuid),
        ("vcpus", &vcpus),
        ("vcpus-most", &most),
        ("memory", &memory),
        ("pid", &pid),
        ("act", &act),
        ("look", &look),
        ("console", &console),
    ];
    holes.extend(accel.split(':').map(|word| ("accel", accelerator(word, hardware))));
    if matches!(begin, Begin::Memory(_)) {
        holes.push(("incoming", "defer"));
    }
    let exit = exec::run("start", &holes, domain.config().as_bytes())?;
    if exit.code == Some(0) { Ok(()) } else { Err(exec::failed("start", &exit)) }
}

/// An emulated guest that has room for CPUs runs all of them in one thread. If each had a thread of
/// its own, QEMU could end itself when a CPU is plugged in: a CPU gets its share of the memory for
/// translated code when it begins, and all of that may be handed out by then.
fn accelerator<'a>(word: &'a str, hardware: &Hardware) -> &'a str {
    let grows = hardware.vcpus_most() > hardware.vcpus;
    if word == "tcg" && grows { "tcg,thread=single" } else { word }
}

fn let_go(call: &Call, place: &Place, domain: &mut Domain, begin: &Begin<'_>) -> Result<(), Error> {
    let mut monitor = act(place, &domain.uuid)?;
    plug::all(&mut monitor, domain)?;
    match begin {
        Begin::Boot => {
            size::at_boot(&mut monitor, &domain.hardware)?;
            monitor.ask("system_reset", json!({}))?;
        }
        Begin::Memory(source) => incoming(call, &mut monitor, source)?,
        Begin::Snapshot(name) => state::load(call, place, &mut monitor, domain, name)?,
    }
    call.go_on()?;
    if place.end(&domain.uuid)?.is_some_and(|end| end.run == domain.run) {
        return Err(Error::gone("destroyed", "the domain was destroyed while it was started"));
    }
    domain.let_go = true;
    place.write(domain)?;
    match begin {
        Begin::Memory(_) => Ok(()),
        Begin::Boot | Begin::Snapshot(_) => monitor.ask("cont", json!({})).map(drop),
    }
}

/// Reads saved memory. QEMU ends if it does not fit.
fn incoming(call: &Call, monitor: &mut Monitor, source: &str) -> Result<(), Error> {
    monitor.ask("migrate-incoming", json!({"uri": format!("exec:cat {}", quoted(source)?)}))?;
    let read = until(call, "the memory to be read", || {
        Ok((monitor.status()? != "inmigrate").then_some(()))
    });
    read.map_err(|error| match error.code.as_str() {
        "closed" => Error::refused("bad-memory", "QEMU could not go on from the saved memory"),
        _ => error,
    })
}

/// A path for QEMU's `exec:`, which a shell reads.
pub(crate) fn quoted(path: &str) -> Result<String, Error> {
    if path.contains('\'') {
        return Err(Error::refused("bad-path", format!("{path} has a quote in it")));
    }
    Ok(format!("'{path}'"))
}

/// Lets a guest run that was let go, if the call that did so was stopped before QEMU was told. Its
/// state is then one of `waits`. A guest that a destroy is ending stays as it is.
pub(crate) fn go_on(place: &Place, domain: &Domain, waits: &[&str]) -> Result<(), Error> {
    let vm = &domain.uuid;
    match look(place, vm, LOOK_MS)? {
        Process::Lives(status) if waits.contains(&status.as_str()) => {
            let mut monitor = act(place, vm)?;
            if place.end(vm)?.is_some_and(|end| end.run == domain.run) {
                return Err(Error::gone("destroyed", "the domain was destroyed meanwhile"));
            }
            monitor.ask("cont", json!({})).map(drop)
        }
        Process::Lives(_) | Process::Ended | Process::Died => Ok(()),
    }
}

/// Ends the process of a domain at once, whatever it does, and waits until it is gone.
pub(crate) fn kill(call: &Call, place: &Place, vm: &str) -> Result<(), Error> {
    let pid = place.file(vm, "pid");
    if files::stat(&pid)?.is_some() {
        let exit = exec::run("kill", &[("pid", &pid.hole())], &[])?;
        // 1 and 3: no process holds the file any more.
        if !matches!(exit.code, Some(0 | 1 | 3)) {
            return Err(exec::failed("kill", &exit));
        }
    }
    let until_ms = clock::monotonic_ms() + ACT_MS.min(call.remaining_ms());
    loop {
        match look(place, vm, GLANCE_MS) {
            Ok(process) if !process.lives() => return Ok(()),
            Err(error) if error.kind != ErrorKind::Retry => return Err(error),
            Ok(_) | Err(_) if clock::monotonic_ms() > until_ms => {
                return Err(Error::retry("not-ended", "QEMU does not end"));
            }
            Ok(_) | Err(_) => clock::sleep_ms(10)?,
        }
    }
}

/// Ends the domain, and what may just be starting it. The reason is written first.
pub(crate) fn end(
    call: &Call,
    place: &Place,
    domain: Domain,
    reason: PowerReason,
) -> Result<Domain, Error> {
    let mut domain = domain;
    loop {
        let vm = domain.uuid.clone();
        let runs = look(place, &vm, GLANCE_MS).map_or(true, |process| process.lives());
        if runs || !domain.let_go {
            place.write_end(&vm, &End { run: domain.run.clone(), reason })?;
        }
        kill(call, place, &vm)?;
        match place.domain(&vm)? {
            // Another start began meanwhile.
            Some(now) if now.run != domain.run => domain = now,
            Some(now) => return Ok(now),
            None => return Ok(domain),
        }
        call.go_on()?;
    }
}
