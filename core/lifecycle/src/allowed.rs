//! Finds out which verbs a VM accepts now, by trying each one with `decide`. So an offered verb is
//! never refused because of the record.

use crate::decision::Input;
use crate::facts::{Advice, Candidate, Facts, Fate, Look};
use crate::input::decide;
use crate::recipe;
use ostler_model::{
    Args, DatastoreId, DiskFormat, DiskSource, DomainSeen, DriverError, HostId, Identity, Image,
    ImageId, ImageState, NicSpec, Observation, OperationId, Phase, Power, PowerReason, Reason,
    Request, State, Storage, StoreId, Timestamp, Verb, VmRecord,
};
use strum::IntoEnumIterator;

/// The verbs that would be accepted and would change something, as far as `facts` tell. If nothing
/// is known, give the facts of [`presumed`]. Verbs that only change the record, also those about
/// schedules, are left out: every VM that is not done accepts them.
#[must_use]
pub fn can(record: &VmRecord, facts: &Facts) -> Vec<Verb> {
    let mut verbs: Vec<Verb> = Verb::iter()
        .filter(|verb| !verb.is_record_only() && *verb != Verb::Adopt)
        .filter(|verb| facts.look.is_some() || !needs_silence(record, *verb))
        .filter(|verb| begins(record, facts, *verb))
        .collect();
    // Verbs that carry on an operation come first, verbs that end the VM come last.
    verbs.sort_by_key(|verb| {
        (!verb.is_recovery(), verb.strength() >= ostler_model::Strength::Delete)
    });
    verbs
}

/// Whether the VM can be moved only as from a lost host: it is `unknown`, or it rests off and its
/// host does not answer.
pub(crate) fn lost(record: &VmRecord, facts: &Facts) -> bool {
    let silent = matches!(facts.look, Some(Err(_)));
    record.state == State::Unknown || silent && recipe::rests_off(record.state)
}

/// Whether `verb` is meant for hosts that do not answer, and nothing shows that this VM's host does
/// not answer.
fn needs_silence(record: &VmRecord, verb: Verb) -> bool {
    let blind = record
        .operation
        .as_ref()
        .is_some_and(|active| matches!(active.phase, Phase::Blind { .. }) || active.blind > 0);
    // After a migration with an unknown outcome, the silent host may be the other one.
    let unseen = record.state == State::Unknown
        && record.reason == Reason::CannotAsk
        && record.moving.is_none();
    let silent = blind || (record.operation.is_none() && unseen);
    let for_silent =
        verb == Verb::Forget || (verb == Verb::Migrate && record.state == State::Unknown);
    for_silent && !silent && record.placement.is_some()
}

fn begins(record: &VmRecord, facts: &Facts, verb: Verb) -> bool {
    let Some(args) = args(record, facts, verb) else { return false };
    let asked = Request {
        operation: OperationId(u64::MAX),
        verb,
        by: String::new(),
        args,
        host: facts.target.as_ref().map(|target| target.host),
        enforce: false,
        force: false,
        if_version: None,
        schedule: None,
    };
    decide(record, facts, &Input::Request(asked), record.since)
        .is_ok_and(|made| made.answer.is_some_and(|answer| !answer.already))
}

/// The facts that are presumed if nobody has asked: there is another host, drivers lack no ability,
/// the snapshot rules agree, and the last observation is still true. `silent` says that the VM's
/// host does not answer.
#[must_use]
pub fn presumed(record: &VmRecord, silent: bool) -> Facts {
    let store: StoreId =
        "00000000-0000-0000-0000-000000000000".parse().expect("digits and dashes are a UUID");
    let storage = Storage { datastore: DatastoreId(0), driver: any(), shared: true };
    let driver = record.placement.as_ref().map_or_else(any, |place| place.driver.clone());
    let image = Image {
        id: ImageId(u32::MAX),
        name: any(),
        datastore: DatastoreId(0),
        path: any(),
        format: DiskFormat::Qcow2,
        state: ImageState::Locked,
        virtual_size: None,
        stands_alone: true,
        added: Timestamp(0),
    };
    let fates = vec![Fate::Keep; record.snapshots.len()];
    Facts {
        target: Some(Candidate {
            host: HostId(u32::MAX),
            driver: Some(driver),
            storage: Some(storage),
            twin: None,
            near: vec![],
            interfaces: None,
        }),
        advice: Some(Ok(Advice { rules: String::new(), refused: None, fates })),
        new_image: Some((image, any())),
        look: if silent {
            Some(Err(DriverError::retry("cannot-ask", "the host does not answer")))
        } else {
            seen_last(record, store)
        },
        ..Facts::bare(store)
    }
}

/// A look that would show again why the VM is `unknown`. None if the reason is not one that a look
/// at its domain has shown.
fn seen_last(record: &VmRecord, store: StoreId) -> Option<Look> {
    let place = record.placement.as_ref().filter(|_| record.state == State::Unknown)?;
    let shows = [
        (Reason::IoError, Power::Paused, PowerReason::IoError),
        (Reason::Watchdog, Power::Paused, PowerReason::Watchdog),
        (Reason::GuestCrashed, Power::Crashed, PowerReason::None),
    ];
    let (_, power, reason) = shows.into_iter().find(|(shown, ..)| *shown == record.reason)?;
    let identity = Some(Identity { store, vm: record.uuid, generation: place.generation });
    let (uuid, name) = (record.uuid, record.domain_name());
    Some(Ok(Observation::Present(DomainSeen {
        uuid,
        name,
        identity,
        power,
        reason,
        last_edge: None,
    })))
}

/// A word that is valid as a name of every kind.
pub(crate) fn any<T: std::str::FromStr<Err: std::fmt::Debug>>() -> T {
    "any".parse().expect("a word of small letters is a name of every kind")
}

/// Arguments with which `verb` can be requested. None if the VM lacks what they must name, for
/// example a disk to detach.
fn args(record: &VmRecord, facts: &Facts, verb: Verb) -> Option<Args> {
    let disk =
        || record.disks.iter().find(|disk| disk.save_as.is_none()).map(|disk| disk.name.clone());
    Some(match verb {
        Verb::Migrate if lost(record, facts) => Args::Migrate { fenced: true, storage_moved: true },
        Verb::Migrate => Args::None,
        Verb::DiskAttach => Args::NewDisk {
            name: None,
            source: DiskSource::Blank { size_mib: 1 },
            format: DiskFormat::Qcow2,
            read_only: false,
        },
        Verb::DiskDetach => Args::Disk { name: disk()? },
        Verb::NicAttach => Args::NewNic(NicSpec { bridge: "any".to_owned(), mac: None }),
        Verb::NicDetach => record.spec.nics.first().map(|_| Args::Nic { mac: record.mac_of(0) })?,
        Verb::SnapshotCreate => Args::NewSnapshot { label: String::new() },
        Verb::SnapshotRevert | Verb::SnapshotDelete => {
            let offered = record.snapshots.iter().rfind(|snapshot| !snapshot.hidden)?;
            Args::Snapshot { name: offered.name.to_string() }
        }
        Verb::DiskSnapshotLive => Args::NewImage { disk: disk()?, image: any(), datastore: None },
        Verb::Resize => {
            let size = record.spec.size();
            let other = if size.cpu_milli > 1 { size.cpu_milli - 1 } else { size.cpu_milli + 1 };
            Args::Size { cpu_milli: Some(other), vcpus: None, memory_mib: None }
        }
        Verb::Hold
        | Verb::Release
        | Verb::Deploy
        | Verb::Suspend
        | Verb::Stop
        | Verb::Adopt
        | Verb::Forget => Args::None,
        Verb::Resume | Verb::ResumeCold | Verb::Boot | Verb::Reboot | Verb::RebootHard => {
            Args::None
        }
        Verb::Poweroff | Verb::PoweroffHard | Verb::Undeploy | Verb::UndeployHard => Args::None,
        Verb::Shutdown | Verb::ShutdownHard | Verb::Delete | Verb::DeleteRecreate => Args::None,
        Verb::MigrateLive | Verb::MigratePoweroff | Verb::MigratePoweroffHard => Args::None,
        Verb::Resched | Verb::Unresched | Verb::DiskSnapshot | Verb::DiskSnapshotCancel => {
            Args::None
        }
        Verb::Update | Verb::Rename | Verb::Schedule | Verb::Unschedule | Verb::Reschedule => {
            Args::None
        }
        Verb::RecoverSuccess | Verb::RecoverFailure | Verb::RecoverRetry | Verb::RecoverUndo => {
            Args::None
        }
    })
}
