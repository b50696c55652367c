//! Saves a guest's memory into a file, and restores it from there.
//!
//! libvirt finishes a call even if its caller has died. So a repeated call first looks whether an
//! earlier sending of it is at work. It looks again when libvirt refuses it: the refusal may only
//! mean that the earlier sending has just ended.

use crate::domain_ops::{
    Order, abort_job, look_after, look_before, outcome, take_name_back, write_stamp,
};
use crate::element;
use crate::failure::During;
use crate::image;
use crate::live::Live;
use crate::look::{SeenDomain, look};
use crate::raw;
use crate::raw_jobs;
use crate::stamp::Stamp;
use ostler_driver::{DomainSpec, FileRef};
use ostler_model::{CallResult, DriverError, ErrorKind, Observation, Power, PowerReason};
use virt::domain::Domain;
use virt_sys as sys;

/// The code of the error for a save that is still at work for an earlier caller.
pub(crate) const AT_WORK: &str = "save-at-work";

/// Makes the memory be in the file, and the domain be off.
///
/// libvirt finishes a save even if its caller has died, and a repeat may come at any moment of it.
/// libvirt pauses the guest, writes the file under a mark that says *incomplete*, sets the mark to
/// *complete*, ends QEMU, and only then counts the domain as off:
///
/// | the repeat comes | what is there | what is done |
/// |---|---|---|
/// | before the save, or after a failed one | active, perhaps with a part of a file | it is saved |
/// | while the file is written, or QEMU ends | active, paused, our key in its stamp | [`AT_WORK`] |
/// | then, but before our look could tell | libvirt waits, says *not running* | the file decides |
/// | after it | off, or gone | the file decides |
///
/// The file decides: the save has succeeded if the stamp in it has our key, and libvirt accepts its
/// mark.
///
/// So while the domain is off, no answer of libvirt's is taken as the result of a save before the
/// file was read.
pub(crate) fn save(live: &Live, order: &Order, file: &FileRef) -> CallResult {
    element::check_text("path", &file.absolute)?;
    let path = raw::c_string(&file.absolute)
        .ok_or_else(|| DriverError::refused("bad-text", "the path has a NUL"))?;
    let sight = match look(live, order.vm())? {
        Some(sight) if sight.is_active() => sight,
        not_running => return saved_already(live, order, file, not_running),
    };
    let stamp = order.is_meant(&sight)?;
    if sight.power == Power::Crashed {
        return Err(DriverError::refused(
            "crashed",
            "the guest has crashed: there is nothing worth saving",
        ));
    }
    if is_being_saved(order, &sight, &stamp) {
        return Err(DriverError::retry(
            AT_WORK,
            "an earlier sending of this save is still at work",
        ));
    }
    drop_kept(live, &sight)?;
    let stamped =
        write_stamp(live, &sight.domain, &Stamp { save: Some(order.key.clone()), ..stamp });
    let saved = stamped.and_then(|()| {
        raw::save(&sight.domain, &path).map_err(|error| live.error(&error, During::Acting))
    });
    match saved {
        Ok(()) => look_after(live, order.vm()),
        Err(error) => unless_saved(live, order, file, error),
    }
}

/// Finds out the result of a save that was told to stop: the save succeeded, or the guest runs on.
pub(crate) fn save_stopped(live: &Live, order: &Order, file: &FileRef) -> CallResult {
    let sight = match look(live, order.vm())? {
        Some(sight) if sight.is_active() => sight,
        not_running => return saved_already(live, order, file, not_running),
    };
    let stamp = order.is_meant(&sight)?;
    if is_being_saved(order, &sight, &stamp) {
        return Err(DriverError::retry(AT_WORK, "the save is being stopped"));
    }
    Err(DriverError::new(
        ErrorKind::Cancelled,
        "aborted",
        "the save was stopped, and the guest goes on where it was",
    ))
}

/// Ends this very save, if it is at work. No error if it is not. Does not end a job that somebody
/// else began.
pub(crate) fn abort_save(live: &Live, order: &Order) -> Result<(), DriverError> {
    let Some(sight) = look(live, order.vm())?.filter(SeenDomain::is_active) else { return Ok(()) };
    if order.is_meant(&sight)?.save.as_ref() != Some(&order.key) {
        return Ok(());
    }
    let job = raw_jobs::job(&sight.domain).map_err(|error| live.error(&error, During::Asking))?;
    if job.is_some_and(|job| job.operation == sys::VIR_DOMAIN_JOB_OPERATION_SAVE) {
        abort_job(live, order.vm())
    } else {
        Ok(())
    }
}

fn is_being_saved(order: &Order, sight: &SeenDomain, stamp: &Stamp) -> bool {
    let paused_by_libvirt = (sight.power, sight.reason) == (Power::Paused, PowerReason::Starting);
    // If libvirt could not resume the guest after a failed save, the guest is paused without a job.
    paused_by_libvirt && stamp.save.as_ref() == Some(&order.key) && sight.may_have_job()
}

/// The result of a save that libvirt answered with `error`. The error counts only while the domain
/// is active. If the domain is off, an earlier sending may have saved it while this one waited.
fn unless_saved(live: &Live, order: &Order, file: &FileRef, error: DriverError) -> CallResult {
    if error.kind == ErrorKind::Unknown {
        return Err(error);
    }
    match look(live, order.vm()) {
        Ok(Some(sight)) if sight.is_active() => Err(error),
        Ok(not_running) => saved_already(live, order, file, not_running),
        Err(unseen) => Err(DriverError::unknown("lost-connection", unseen.detail)),
    }
}

/// The result of a repeated save that finds the domain off or gone: done if the file is whole and
/// this call wrote it. A file that another save wrote counts only if libvirt still knows that the
/// domain went off by being saved.
fn saved_already(
    live: &Live,
    order: &Order,
    file: &FileRef,
    sight: Option<SeenDomain>,
) -> CallResult {
    let gone = |detail: &str| Err(DriverError::new(ErrorKind::Gone, "not-running", detail));
    if let Some(sight) = &sight {
        order.is_meant(sight)?;
        if sight.managed {
            return gone(
                "somebody had libvirt save the domain, after any save of ours: its memory is with \
                 libvirt",
            );
        }
        if ran_on(sight.reason) {
            return gone(
                "the domain ended by itself, or was ended: memory that was saved before that is \
                 too old for its disks",
            );
        }
    }
    let went_off_saved = sight.as_ref().is_some_and(|sight| sight.reason == PowerReason::Saved);
    let image = image::read(live, &file.absolute)?;
    let stamp = image.stamp.filter(|stamp| {
        stamp.identity.vm == order.vm() && stamp.identity.generation == order.generation
    });
    let by_this_call = |stamp: &Stamp| stamp.save.as_ref() == Some(&order.key);
    if stamp.is_some_and(|stamp| went_off_saved || by_this_call(&stamp)) {
        return match &sight {
            Some(sight) => look_before(live, sight),
            None => Ok(outcome(Observation::Absent)),
        };
    }
    gone("the domain is not running, and was not saved to this file")
}

/// Whether a domain that is off for this reason has run after any save of it. If the libvirt daemon
/// dies between writing the file and ending QEMU, the guest runs on when the daemon is back. If the
/// daemon dies while it ends QEMU, it later finds QEMU dead and says *crashed*: then nothing has
/// run.
const fn ran_on(reason: PowerReason) -> bool {
    match reason {
        PowerReason::Guest
        | PowerReason::Destroyed
        | PowerReason::Person
        | PowerReason::Migrated => true,
        PowerReason::None
        | PowerReason::Saved
        | PowerReason::Kept
        | PowerReason::Crashed
        | PowerReason::Starting
        | PowerReason::IoError
        | PowerReason::Watchdog => false,
    }
}

/// Removes older memory that libvirt keeps. It must not stay beside newer memory: a later start
/// would go on from it, and a person who finds it would take it for the newest.
fn drop_kept(live: &Live, sight: &SeenDomain) -> Result<(), DriverError> {
    let kept = sight.managed
        || sight.domain.has_managed_save(0).map_err(|error| live.error(&error, During::Asking))?;
    if kept {
        sight.domain.managed_save_remove(0).map_err(|error| live.error(&error, During::Acting))?;
    }
    Ok(())
}

/// Makes the domain be there as it was saved, with the new stamp, and paused.
pub(crate) fn restore(live: &Live, order: &Order, spec: &DomainSpec, file: &FileRef) -> CallResult {
    element::check_text("path", &file.absolute)?;
    let mut off = None;
    if let Some(sight) = look(live, order.vm())? {
        let stamp = order.may_touch(&sight)?;
        if sight.is_active() {
            return if stamp.identity == spec.identity && sight.power != Power::Crashed {
                look_before(live, &sight)
            } else {
                Err(DriverError::refused(
                    "older-generation",
                    "an older placement of this VM is still there: remove it first",
                ))
            };
        }
        off = Some((sight, stamp.identity.generation));
    }
    let image = image::read(live, &file.absolute)?;
    let ours = |stamp: &Stamp| {
        stamp.identity.vm == order.vm() && stamp.identity.store == spec.identity.store
    };
    let Some(saved) = image.stamp.clone().filter(ours) else {
        return Err(DriverError::refused(
            "foreign",
            format!("{} holds the memory of another domain", file.absolute),
        ));
    };
    let xml = image.as_domain(spec)?;
    if let Some((sight, generation)) = off {
        if sight.managed && generation >= saved.identity.generation {
            let detail = "libvirt keeps memory of this VM that is newer than the file: resume \
                          --cold goes without the file";
            return Err(DriverError::refused("newer-memory", detail));
        }
        take_name_back(live, &sight.domain, &spec.name)?;
        drop_kept(live, &sight)?;
    }
    // Defined first: a domain that is restored without a definition would vanish when it stops.
    let restored = Domain::define_xml(live.connect(), &xml).and_then(|_| {
        Domain::domain_restore_flags(
            live.connect(),
            &file.absolute,
            Some(&xml),
            sys::VIR_DOMAIN_SAVE_PAUSED,
        )
    });
    match restored.map_err(|error| live.error(&error, During::Placing)) {
        Ok(_) => look_after(live, order.vm()),
        Err(error) => unless_restored(live, order, spec, error),
    }
}

/// The result of a restore that libvirt answered with `error`. An earlier sending, whose caller is
/// gone, may have restored the domain.
fn unless_restored(
    live: &Live,
    order: &Order,
    spec: &DomainSpec,
    error: DriverError,
) -> CallResult {
    if error.kind == ErrorKind::Unknown {
        return Err(error);
    }
    match look(live, order.vm()) {
        Ok(Some(sight)) => {
            let same = sight.mark.stamp().is_some_and(|stamp| stamp.identity == spec.identity);
            let restored = same && sight.is_active() && sight.power != Power::Crashed;
            if restored { look_before(live, &sight) } else { Err(error) }
        }
        Ok(None) => Err(error),
        Err(unseen) => Err(DriverError::unknown("lost-connection", unseen.detail)),
    }
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
