//! Sentences: why a request is refused, and what happened when a scheduled action was due.

use super::{Names, hardware, host, named_vm, resource_refused, scheduler};
use ostler_api::Size;
use ostler_model::{
    Amount, Book, BookKey, Came, Cause, ClaimRefused, DriverError, Holding, HostId, ImageId,
    ImageName, Lack, Misfire, Moment, NotDone, Part, Reason, Refusal, Shown, SnapshotName,
    StepKind,
};

/// The sentence of a refusal.
pub(crate) fn refusal(names: &dyn Names, refusal: &Refusal) -> String {
    let (vm, words) = (named_vm(names, refusal.vm), cause(names, refusal));
    match joint(&refusal.cause) {
        Joint::Subject => format!("{vm} {words}"),
        Joint::Topic => format!("{vm}: {words}"),
        Joint::None => words,
    }
}

/// How the words of a cause are joined to the VM.
enum Joint {
    /// The VM is the subject of the sentence.
    Subject,
    /// The sentence has another subject, and is about the VM.
    Topic,
    /// The sentence does not name the VM.
    None,
}

#[allow(clippy::too_many_lines)] // a table
const fn joint(cause: &Cause) -> Joint {
    match cause {
        Cause::Version { .. }
        | Cause::WrongState { .. }
        | Cause::Busy { .. }
        | Cause::DisksBusy { .. }
        | Cause::FailedOtherwise
        | Cause::PausedWithDisks
        | Cause::PausedWithMemory
        | Cause::NotOff { .. }
        | Cause::MayStillRun
        | Cause::NoPlace
        | Cause::SameHost { .. }
        | Cause::NothingFailed { .. }
        | Cause::BeingDeleted
        | Cause::NoArguments
        | Cause::Invalid { .. }
        | Cause::NoDisk { .. }
        | Cause::NoDiskToSave { .. }
        | Cause::DiskToSave { .. }
        | Cause::NoDiskName
        | Cause::NoFileName { .. }
        | Cause::FileOfOthers
        | Cause::NoImageDatastore
        | Cause::NoNic { .. }
        | Cause::NoBridge { .. }
        | Cause::NoAddress
        | Cause::NoSize
        | Cause::TooLarge { .. }
        | Cause::LosesMemory { .. }
        | Cause::SnapshotThere { .. }
        | Cause::LabelIsAName { .. }
        | Cause::BadLabel { .. }
        | Cause::SnapshotsFull { .. }
        | Cause::NoSnapshot { .. }
        | Cause::SnapshotsCalled { .. }
        | Cause::SnapshotOfOtherHardware { .. }
        | Cause::NotLater { .. }
        | Cause::StatedAhead
        | Cause::BadSchedule { .. }
        | Cause::UnreadSchedule { .. }
        | Cause::SchedulesFull { .. }
        | Cause::NoSchedule { .. } => Joint::Subject,
        Cause::AtOneOfTwoHosts
        | Cause::GuestCannotAnswer { .. }
        | Cause::OffUnseen { .. }
        | Cause::AnswersForForget
        | Cause::AnswersForFence
        | Cause::AnswersWith { .. }
        | Cause::HasDomain
        | Cause::FilesOnLostHost
        | Cause::NoHostNamed
        | Cause::NoSuchHost { .. }
        | Cause::HostUnfit { .. }
        | Cause::OtherDriver { .. }
        | Cause::NotOffered { .. }
        | Cause::NotOfferedThere { .. }
        | Cause::AdoptedDisk { .. }
        | Cause::RulesSayNo { .. }
        | Cause::RulesSilent { .. }
        | Cause::NoRules
        | Cause::NoRulesToAsk { .. }
        | Cause::NoStepOfMigration
        | Cause::ArrivalUnseen { .. }
        | Cause::NoWayBack { .. }
        | Cause::Uncheckable { .. }
        | Cause::OtherHostUnseen
        | Cause::SuccessUnseen { .. }
        | Cause::GoalUnseen { .. }
        | Cause::NotReconciled
        | Cause::NewerElsewhere { .. }
        | Cause::SmallerThanImage { .. } => Joint::Topic,
        Cause::NoImage { .. } | Cause::TooLate | Cause::Claim(_) | Cause::Resource(_) => {
            Joint::None
        }
    }
}

/// The words of a cause, without the VM.
#[allow(clippy::too_many_lines)] // a table
fn cause(names: &dyn Names, refusal: &Refusal) -> String {
    let verb = refusal.verb;
    match &refusal.cause {
        Cause::Version { has, wanted } => format!("has version {has}, not {wanted}"),
        Cause::WrongState { state } => format!("is {state}; {verb} is not possible from there"),
        Cause::Busy { operation, doing } => {
            format!("is busy: operation {operation} ({doing}) is still running")
        }
        Cause::DisksBusy { operation, doing } => {
            format!(
                "is busy: what becomes of its disks is not changed during operation {operation} \
                 ({doing})"
            )
        }
        Cause::FailedOtherwise => "has failed, and not because of saved memory".to_owned(),
        Cause::PausedWithDisks => {
            "was paused at the hypervisor, and its disks are neither at rest nor can a guest flush \
             them"
                .to_owned()
        }
        Cause::PausedWithMemory => {
            "was paused at the hypervisor and its memory is nowhere but there".to_owned()
        }
        Cause::NotOff { seen } => format!("is {} at its host; {verb} needs it off", seen.words()),
        Cause::MayStillRun => "may still run on its host, which cannot be asked".to_owned(),
        Cause::NoPlace => "has no place to be moved from".to_owned(),
        Cause::SameHost { host: id } => format!("is on host {} already", host(names, *id)),
        Cause::NothingFailed { state } => {
            format!("is {state}: no step is in hand and none has failed")
        }
        Cause::BeingDeleted => "is being deleted; a delete is not taken back".to_owned(),
        Cause::NoArguments => format!("was asked for {verb} without what it needs"),
        Cause::Invalid { part: Part::Vm, error } => format!("cannot have that: {error}"),
        Cause::Invalid { part: Part::Disk, error } => format!("cannot have that disk: {error}"),
        Cause::Invalid { part: Part::Nic, error } => {
            format!("cannot have that network card: {error}")
        }
        Cause::Invalid { part: Part::Size, error } => format!("cannot have that size: {error}"),
        Cause::NoDisk { disk } => format!("has no disk {disk}"),
        Cause::NoDiskToSave { disk } => format!("has no disk {disk} that is to become an image"),
        Cause::DiskToSave { disk, again: false } => {
            format!("is to save disk {disk} as an image when it is shut down")
        }
        Cause::DiskToSave { disk, again: true } => {
            format!("is to save disk {disk} as an image when it is shut down already")
        }
        Cause::NoDiskName => "has no free disk name left".to_owned(),
        Cause::NoFileName { disk } => format!("cannot have a file for disk {disk}"),
        Cause::FileOfOthers => "cannot be given a file that is somebody else's".to_owned(),
        Cause::NoImageDatastore => "has no datastore to save an image to".to_owned(),
        Cause::NoNic { mac } => format!("has no network card {mac}"),
        Cause::NoBridge { host, bridge } => {
            format!("cannot get that network card: host {host} has no bridge {bridge}")
        }
        Cause::NoAddress => "has no free address left".to_owned(),
        Cause::NoSize => "was asked for no size".to_owned(),
        Cause::TooLarge { vcpus, memory_mib } => {
            format!("can have at most {vcpus} virtual CPUs and {memory_mib} MiB while it runs")
        }
        Cause::LosesMemory { from_mib, to_mib } => {
            format!(
                "would go from {from_mib} MiB to {to_mib} MiB: a running guest that loses that \
                 much kills its processes"
            )
        }
        Cause::SnapshotThere { label } => format!("has a snapshot called {label:?} already"),
        Cause::LabelIsAName { label } => {
            format!(
                "cannot have a snapshot called {label:?}: that is how snapshots without a name of \
                 yours are called"
            )
        }
        Cause::BadLabel { most } => {
            format!("cannot have a snapshot called that: at most {most} printable bytes")
        }
        Cause::SnapshotsFull { most } => format!("has {most} snapshots already"),
        Cause::NoSnapshot { name, .. } => format!("has no snapshot {name:?} that is offered"),
        Cause::SnapshotsCalled { name, snapshots } => {
            let called: Vec<&str> = snapshots.iter().map(SnapshotName::as_str).collect();
            format!("has more than one snapshot called {name:?}: {}", called.join(", "))
        }
        Cause::SnapshotOfOtherHardware { name, label, changes } => {
            let label = if label.is_empty() { String::new() } else { format!(" ({label})") };
            let changes: Vec<String> = changes.iter().map(hardware::change).collect();
            format!(
                "cannot go back to snapshot {name}{label}, because its hardware has changed since \
                 then: {}",
                changes.join("; ")
            )
        }
        Cause::NotLater { verb } => format!("cannot have {verb} done later"),
        Cause::StatedAhead => "cannot have it stated ahead of time that a host is fenced, or that \
                               files were moved"
            .to_owned(),
        Cause::BadSchedule { error } => format!("cannot have that schedule: {error}"),
        Cause::UnreadSchedule { error } => {
            format!("has a schedule that cannot be followed: {error}")
        }
        Cause::SchedulesFull { most } => format!("has {most} scheduled actions already"),
        Cause::NoSchedule { id } => format!("has no scheduled action {id}"),
        Cause::AtOneOfTwoHosts => "a migration ended without a word, and it is not known at which \
                                   of two hosts it is"
            .to_owned(),
        Cause::GuestCannotAnswer { reason } => {
            let why = if *reason == Reason::GuestCrashed { "has crashed" } else { "stands still" };
            format!("the guest {why} and cannot answer its power button")
        }
        Cause::OffUnseen { error } => {
            format!("{}; {verb} needs to see that it is off", unseen(error.as_ref()))
        }
        Cause::AnswersForForget => "its host answers; forget is for hosts that are lost".to_owned(),
        Cause::AnswersForFence => {
            "its host answers, and nothing is taken from a host that answers as from one that is \
             lost"
                .to_owned()
        }
        Cause::AnswersWith { seen } => {
            format!("its host answers, and says that it is {}", seen.words())
        }
        Cause::HasDomain => "its host cannot be asked, and has its domain".to_owned(),
        Cause::FilesOnLostHost => {
            "its files are on the host that is lost, and nothing brings them from there".to_owned()
        }
        Cause::NoHostNamed => "no host was named".to_owned(),
        Cause::NoSuchHost { host: id } => format!("there is no host {}", host(names, *id)),
        Cause::HostUnfit { host: id, why } => {
            format!("host {} cannot be used: {}", host(names, *id), scheduler::unfit(why))
        }
        Cause::OtherDriver { host: id, has, needs } => {
            format!("host {} runs {has}, and the VM is made for {needs}", host(names, *id))
        }
        Cause::NotOffered { ability } => format!("its driver does not offer {ability} on its host"),
        Cause::NotOfferedThere { ability } => {
            format!("the driver of the host it would go to does not offer {ability} there")
        }
        Cause::AdoptedDisk { disk } => {
            format!("its disk {disk} was adopted, and only its host sees it")
        }
        Cause::RulesSayNo { rules, reason } => {
            format!("the snapshot rules {rules} say no: {reason}")
        }
        Cause::RulesSilent { error } => {
            format!(
                "the snapshot rules gave no answer ({}), so no snapshot verb is done",
                error.told()
            )
        }
        Cause::NoRules => {
            "no snapshot rules are bound to its driver, so no snapshot verb is done".to_owned()
        }
        Cause::NoRulesToAsk { has_host: true } => {
            "no snapshot rules are bound to its driver".to_owned()
        }
        Cause::NoRulesToAsk { has_host: false } => {
            "it has no host, and so no driver whose rules could be asked".to_owned()
        }
        Cause::NoStepOfMigration => {
            "no step is in hand; it is not known at which of a migration's two hosts the guest is"
                .to_owned()
        }
        Cause::ArrivalUnseen { seen } => {
            let words = seen.map_or_else(
                || "cannot be asked".to_owned(),
                |seen: Shown| format!("is {}", seen.words()),
            );
            format!(
                "whether that is so does not follow from what is seen: where it came from it \
                 {words}"
            )
        }
        Cause::NoWayBack { restored: true } => {
            "there is no way back: the store was restored meanwhile, and what would be removed may \
             be the only copy"
                .to_owned()
        }
        Cause::NoWayBack { restored: false } => {
            "there is no way back: the only copy of something is being removed, or the guest has \
             run since"
                .to_owned()
        }
        Cause::Uncheckable { step } => {
            let harm = if *step == StepKind::DetachNic {
                "another VM may get the address of a card that is still plugged in"
            } else {
                "what comes next loses data"
            };
            format!("that {step} succeeded cannot be checked, and if it did not, {harm}")
        }
        Cause::OtherHostUnseen => {
            "what the step leaves is at the other host, which nobody looked at".to_owned()
        }
        Cause::SuccessUnseen { error } => {
            format!("{}, so that the step succeeded cannot be checked", unseen(error.as_ref()))
        }
        Cause::GoalUnseen { goal, seen } => {
            format!("the step must leave it {goal}, and it is {}", seen.words())
        }
        Cause::NotReconciled => {
            "the store was restored from a backup, and it is not known yet where this VM is by \
             now; nothing is done for it before that"
                .to_owned()
        }
        Cause::NewerElsewhere { host: id, domain } => {
            format!(
                "host {} has its domain {domain}, which is newer than this store's record of the \
                 VM",
                host(names, *id)
            )
        }
        Cause::NoImage { image } => format!("there is no image {image}"),
        Cause::SmallerThanImage { disk, image, least_mib } => {
            format!("disk {disk}: {}", smaller(image, *least_mib))
        }
        Cause::TooLate => "it was too late to begin".to_owned(),
        Cause::Claim(refused) => claim(names, refused),
        Cause::Resource(refused) => resource_refused(names, refused),
    }
}

/// Why a disk cannot have the size that was asked for.
pub(super) fn smaller(image: &ImageName, least_mib: u64) -> String {
    let least = Size(least_mib);
    format!(
        "image {image} has {least}, and a disk cannot be smaller than its image; give a size of at \
         least {least}, or none for the size of the image"
    )
}

fn unseen(error: Option<&DriverError>) -> String {
    match error {
        Some(error) => format!("its host could not be asked ({})", error.told()),
        None => "nobody looked at its host".to_owned(),
    }
}

/// Why a claim does not hold.
pub(crate) fn claim(names: &dyn Names, refused: &ClaimRefused) -> String {
    let Holding { book, key, amount } = &refused.claim.holding;
    let called = match &refused.lack {
        Lack::Closed { called, .. } | Lack::Full { called, .. } => Some(called),
        Lack::Missing | Lack::Taken { .. } => None,
    };
    let what = thing(names, *book, key, called);
    match (&refused.lack, book) {
        (Lack::Missing, _) => format!("there is no {what}"),
        (Lack::Closed { state, .. }, Book::Host) => format!("{what} is {state} and takes no VMs"),
        (Lack::Closed { state, .. }, Book::Image | Book::Mac) => format!("{what} is {state}"),
        (Lack::Full { taken, limit, .. }, Book::Host) => {
            let [taken, limit, needed] =
                [*taken, *limit, amount.unwrap_or_default()].map(Amount::capacity);
            format!(
                "{what} is full: {} of {} CPUs and {} of {} MiB are reserved, and {} CPUs and {} \
                 MiB are needed",
                taken.cpus(),
                limit.cpus(),
                taken.memory_mib,
                limit.memory_mib,
                needed.cpus(),
                needed.memory_mib
            )
        }
        (Lack::Full { taken, limit, .. }, Book::Image | Book::Mac) => {
            format!("{what} is held by {} of {} already", taken.0[0], limit.0[0])
        }
        (Lack::Taken { by, name }, Book::Mac) => {
            format!(
                "the {what} is that of VM {name} (id {by}): give another, or none and one is chosen"
            )
        }
        (Lack::Taken { by, name }, Book::Host | Book::Image) => {
            format!("the {what} is that of VM {name} (id {by}): name another")
        }
    }
}

/// A thing that VMs hold, with its kind: `host kvm1`. If the thing is gone by now, its name is the
/// one from the time when the claim was judged.
fn thing(names: &dyn Names, book: Book, key: &BookKey, called: Option<&String>) -> String {
    let id = key.as_str().parse().ok();
    let name = match book {
        Book::Host => id.and_then(|id| names.host_name(HostId(id))),
        Book::Image => id.and_then(|id| names.image_name(ImageId(id))),
        Book::Mac => None,
    };
    format!(
        "{} {}",
        book.noun(),
        name.or_else(|| called.cloned()).unwrap_or_else(|| key.to_string())
    )
}

/// The sentence on why a scheduled action was not done.
pub(crate) fn not_done(names: &dyn Names, why: &NotDone) -> String {
    match why {
        NotDone::Refused(refused) => format!("{}: {}", refused.kind, refusal(names, refused)),
        NotDone::Missed { planned: None, grace: None } => "it was too late to begin".to_owned(),
        NotDone::Missed { planned, grace } => {
            let planned = planned
                .map_or_else(String::new, |at| format!(": it was due at {}", Moment::At(at)));
            let words = grace.map(|grace| Misfire::Skip { grace }.to_string());
            let late = words
                .as_deref()
                .and_then(|words| words.strip_prefix("skip "))
                .map(|late| format!(", more than {late} before"));
            format!("missed{planned}{}", late.unwrap_or_default())
        }
        NotDone::Failed(error) => error.told(),
        NotDone::Overtaken(by) => format!("overtaken by operation {by}"),
        NotDone::Told(text) => text.clone(),
    }
}

/// The sentence on what happened when a scheduled action was due.
pub(crate) fn came(names: &dyn Names, came: &Came) -> String {
    match came {
        Came::Began { verb, operation: Some(operation) } => {
            format!("{verb} is operation {operation}")
        }
        Came::Began { verb, operation: None } => format!("{verb}: it was so already"),
        Came::Done(operation) => format!("operation {operation} is done"),
        Came::NotDone(why) => not_done(names, why),
        Came::Told(text) => text.clone(),
    }
}
