//! Memory to a file and back. QEMU migrates into the file, and later from it.
//!
//! A migration goes on when the call that began it is gone, so the record names its file: the next
//! call goes on with it, or stops it.

use crate::driver::{Before, Qemu, begin, begin_there, clear, lives};
use crate::monitor::{Monitor, until};
use crate::place::Place;
use crate::process::{self, Begin, act, outcome, quoted};
use crate::record::{Domain, End};
use crate::size;
use ostler_sdk::host::files;
use ostler_sdk::{
    Call, DomainSpec, Error, ErrorKind, FilePath, FileRef, Outcome, PowerReason, Suspend,
};
use serde_json::{Value, json};

/// As fast as the disk takes it: 1 TiB a second.
const BANDWIDTH: u64 = 1 << 40;

impl Suspend for Qemu {
    fn save(call: &Call, file: FileRef) -> Result<Outcome, Error> {
        let (place, mut domain) = begin_there(call)?;
        if lives(&place, &domain)?.is_none() {
            return match files::stat(&file.place())? {
                Some(_) => outcome(&place, &domain),
                None => Err(Error::gone("not-running", "the domain is off, and was not saved")),
            };
        }
        let mut monitor = act(&place, &domain.uuid)?;
        write_memory(call, &place, &mut monitor, &mut domain, &file)?;
        let end = End { run: domain.run.clone(), reason: PowerReason::Saved };
        place.write_end(&domain.uuid, &end)?;
        drop(monitor);
        process::kill(call, &place, &domain.uuid)?;
        domain.saving = None;
        place.write(&domain)?;
        outcome(&place, &domain)
    }

    fn restore(call: &Call, spec: DomainSpec, file: FileRef) -> Result<Outcome, Error> {
        let (place, found) = begin(call)?;
        if let (Before::Same, Some(domain)) = (clear(call, &place, &spec, found.as_ref())?, &found)
        {
            return outcome(&place, domain);
        }
        if files::stat(&file.place())?.is_none() {
            return Err(Error::gone("no-memory", "the file with the saved memory is not there"));
        }
        let mut domain = Domain::new(&spec, process::mark(), found.as_ref())?;
        if let Some(found) = &found {
            // The memory fits the machine that it was saved of.
            domain.hardware.room = found.hardware.room;
        }
        process::start(call, &place, &mut domain, &Begin::Memory(&file.absolute))?;
        outcome(&place, &domain)
    }

    fn unpause(call: &Call) -> Result<Outcome, Error> {
        let (place, domain) = begin_there(call)?;
        let mut monitor = act(&place, &domain.uuid)?;
        if monitor.status()? != "running" {
            monitor.ask("cont", json!({}))?;
        }
        outcome(&place, &domain)
    }
}

/// Stops the guest and writes its memory. The file has its own name only when it is complete.
fn write_memory(
    call: &Call,
    place: &Place,
    monitor: &mut Monitor,
    domain: &mut Domain,
    file: &FileRef,
) -> Result<(), Error> {
    let part = FilePath::new(file.datastore.clone(), format!("{}.part", file.path));
    let ours = domain.saving.as_ref() == Some(&file.hole());
    if ours && at_work_or_done(monitor)? {
        call.progress(0, 0, "going on with the saving that was begun");
    } else {
        give_up(call, monitor)?;
        domain.saving = Some(file.hole());
        domain.hardware.vcpus = size::cpus(monitor)?;
        place.write(domain)?;
        if let Some((folder, _)) = part.path.rsplit_once('/') {
            files::make_folder(&FilePath::new(part.datastore.clone(), folder))?;
        }
        files::remove(&part)?;
        files::remove(&file.place())?;
        monitor.ask("stop", json!({}))?;
        monitor.ask("migrate-set-parameters", json!({"max-bandwidth": BANDWIDTH}))?;
        let target = quoted(&format!("{}.part", file.absolute))?;
        monitor.ask("migrate", json!({"uri": format!("exec:cat > {target}")}))?;
    }
    let written = until(call, "the memory to be written", || written(call, monitor));
    if let Err(error) = written {
        // Another call may go on with it, unless this one was told to stop.
        if error.kind == ErrorKind::Cancelled || error.code == "not-saved" {
            let back = ["migrate_cancel", "cont"].map(|command| json!({"execute": command}));
            monitor.tell(&back)?;
        }
        return Err(error);
    }
    if files::stat(&part)?.is_some() { files::rename(&part, &file.place()) } else { Ok(()) }
}

fn migration(monitor: &mut Monitor) -> Result<(String, Value), Error> {
    let answer = monitor.ask("query-migrate", json!({}))?;
    let status = answer.get("status").and_then(Value::as_str).unwrap_or("none").to_owned();
    Ok((status, answer))
}

fn at_work_or_done(monitor: &mut Monitor) -> Result<bool, Error> {
    let (status, _) = migration(monitor)?;
    Ok(match status.as_str() {
        "setup" | "active" | "device" => true,
        "completed" => monitor.status()? == "postmigrate",
        _ => false,
    })
}

fn written(call: &Call, monitor: &mut Monitor) -> Result<Option<()>, Error> {
    let (status, answer) = migration(monitor)?;
    match status.as_str() {
        "completed" => Ok(Some(())),
        "failed" | "cancelled" | "none" => {
            let why = answer.get("error-desc").and_then(Value::as_str).unwrap_or(&status);
            Err(Error::retry("not-saved", format!("the memory was not written: {why}")))
        }
        _ => {
            let number = |key: &str| answer["ram"].get(key).and_then(Value::as_u64).unwrap_or(0);
            call.progress(number("transferred"), number("total"), "writing memory");
            Ok(None)
        }
    }
}

/// Stops a migration that is at work, and takes the disks back after one that is done.
fn give_up(call: &Call, monitor: &mut Monitor) -> Result<(), Error> {
    until(call, "an earlier saving to end", || {
        let status = migration(monitor)?.0;
        if matches!(status.as_str(), "setup" | "active" | "device") {
            monitor.ask("migrate_cancel", json!({}))?;
        }
        let ended = !matches!(status.as_str(), "setup" | "active" | "device" | "cancelling");
        Ok(ended.then_some(()))
    })?;
    if monitor.status()? == "postmigrate" {
        monitor.ask("cont", json!({}))?;
    }
    Ok(())
}
