//! Requests that need no driver call. Most of them are served during another operation, too.

use crate::draft::Draft;
use crate::hardware::{new_image, resize};
use crate::refusals::bad;
use crate::{schedules, slot};
use ostler_model::{Args, Cause, Hint, ImageChange, Part, Refusal, RefusalKind, Request, Verb};

/// Whether `verb` needs no slot, so that it can run beside an operation.
pub(crate) const fn goes_beside(verb: Verb) -> bool {
    verb.is_record_only()
}

/// Does what is asked, and writes it down as an operation that has ended.
pub(crate) fn apply(draft: &mut Draft<'_>, asked: &Request) -> Result<(), Refusal> {
    let before = draft.record.clone();
    match (asked.verb, &asked.args) {
        (Verb::Resched, _) => draft.record.resched = true,
        (Verb::Unresched, _) => draft.record.resched = false,
        (Verb::Resize, _) => drop(resize(draft, asked)?),
        (Verb::Update, Args::UserData { text }) => draft.record.spec.user_data.clone_from(text),
        (Verb::Rename, Args::Name { name }) => draft.record.spec.name = name.clone(),
        (Verb::DiskSnapshot, Args::NewImage { disk, .. }) => {
            not_while_busy(draft, asked)?;
            let becomes = new_image(draft, asked, disk)?;
            if let Some(known) = draft.record.disks.iter_mut().find(|known| known.name == *disk) {
                known.save_as = Some(becomes);
            }
        }
        (Verb::DiskSnapshotCancel, Args::Disk { name }) => cancel_image(draft, asked, name)?,
        (Verb::Schedule, Args::NewSchedule(planned)) => schedules::add(draft, asked, planned)?,
        (Verb::Unschedule, Args::Schedule { id }) => schedules::remove(draft, asked, *id)?,
        (Verb::Reschedule, Args::Reschedule { id, planned }) => {
            schedules::replace(draft, asked, *id, planned)?
        }
        (_, _) => return Err(bad(draft, asked, Cause::NoArguments, Hint::SeeArguments)),
    }
    if let Err(error) = draft.record.spec.check() {
        return Err(bad(
            draft,
            asked,
            Cause::Invalid { part: Part::Vm, error },
            Hint::ChangeRequest,
        ));
    }
    if draft.record == before && draft.images.is_empty() {
        draft.already(None);
        return Ok(());
    }
    slot::instant(draft, asked);
    draft.accept(Some(asked.operation), None);
    Ok(())
}

/// Refuses a change of which disks become images while an operation runs. The operation may be
/// saving or unplugging that disk, or ending the VM.
fn not_while_busy(draft: &Draft<'_>, asked: &Request) -> Result<(), Refusal> {
    let Some(active) = &draft.record.operation else { return Ok(()) };
    let cause = Cause::DisksBusy { operation: active.id, doing: active.verb };
    Err(draft.refuse(asked.verb, RefusalKind::Busy, cause, Hint::Wait))
}

fn cancel_image(
    draft: &mut Draft<'_>,
    asked: &Request,
    name: &ostler_model::DiskName,
) -> Result<(), Refusal> {
    not_while_busy(draft, asked)?;
    let found = draft
        .record
        .disks
        .iter_mut()
        .find(|disk| disk.name == *name)
        .and_then(|disk| disk.save_as.take());
    match found {
        Some(becomes) => {
            draft.images.push(ImageChange::Discard { image: becomes.image });
            Ok(())
        }
        None => Err(bad(draft, asked, Cause::NoDiskToSave { disk: name.clone() }, Hint::ShowVm)),
    }
}

/// A VM is forgotten only if its host cannot be asked, or if that is forced. If the host answers,
/// the VM can be deleted in the normal way.
pub(crate) fn may_forget(draft: &Draft<'_>, asked: &Request) -> Result<(), Refusal> {
    match &draft.facts.look {
        Some(Ok(_)) if !asked.force => Err(draft.refuse(
            asked.verb,
            RefusalKind::Contradicted,
            Cause::AnswersForForget,
            Hint::DeleteOrForget,
        )),
        Some(_) | None => Ok(()),
    }
}

/// The VM leaves its hosts, and no host is asked. Things that may be there are written down as
/// leftovers, and swept when the hosts are seen.
pub(crate) fn forget(draft: &mut Draft<'_>) {
    let record = &mut draft.record;
    // It is not known whether the guest had begun to arrive at the other host, so a domain may be
    // there.
    if let Some(moving) = &mut record.moving {
        moving.domain = true;
    }
    if let Some(place) = record.placement.clone() {
        let files = std::mem::take(&mut record.files.host);
        draft.leave_behind(place, files);
    }
    draft.leave_host(Some(Verb::Forget));
}
