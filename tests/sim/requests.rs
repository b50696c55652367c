//! The content of requests: what the operator asks for, and with which arguments. Its statements
//! are true (`truths`).

use super::life::{IMAGES, SYSTEM_STORE};
use super::site::zoned;
use super::{Run, dice};
use crate::rng::Rng;
use ostler_driver::{DomainDisk, FileRef};
use ostler_driver_testkit::fake::{FakeDomain, FakeFile, FakeMachine};
use ostler_engine::{ActionRequest, AdoptRequest};
use ostler_model::Verb::*;
use ostler_model::{
    Args, BootSpec, DiskFormat, DiskName, DiskSource, DiskSpec, DomainSeen, Graphics, Headroom,
    HostId, ImageName, ImageState, MacAddress, Millis, NicSpec, Patience, Planned, Power,
    PowerReason, RelPath, Schedule, ScheduleId, State, StateKind, Verb, VmRecord, VmSpec, VmUuid,
    When,
};
use std::collections::BTreeMap;
use strum::IntoEnumIterator;

/// Verbs that make sense for a running VM. A verb that stands here twice is asked for twice as
/// often.
#[rustfmt::skip]
const RUNNING: &[Verb] = &[
    Suspend, Suspend, Stop, Stop, Poweroff, Poweroff, PoweroffHard, Undeploy, UndeployHard, Shutdown, ShutdownHard, Reboot, RebootHard,
    Migrate, Migrate, MigrateLive, MigrateLive, MigrateLive, MigratePoweroff, MigratePoweroffHard, Resched, Unresched, DiskAttach,
    DiskAttach, DiskDetach, NicAttach, NicDetach, SnapshotCreate, SnapshotCreate, SnapshotRevert, SnapshotDelete, DiskSnapshot,
    DiskSnapshotLive, DiskSnapshotCancel, Resize, Update, Rename, Schedule, Unschedule, Reschedule, Delete, DeleteRecreate,
];
/// For a VM that is off on its host.
#[rustfmt::skip]
const OFF: &[Verb] = &[
    Resume, Resume, Resume, Undeploy, Migrate, MigratePoweroff, DiskAttach, DiskDetach, NicAttach, NicDetach, Resize, SnapshotCreate,
    SnapshotDelete, DiskSnapshot, DiskSnapshotLive, DiskSnapshotCancel, Shutdown, ShutdownHard, Delete,
];
/// For a VM that is suspended.
#[rustfmt::skip]
const SUSPENDED: &[Verb] = &[
    Resume, Resume, ResumeCold, Resume, Stop, Migrate, SnapshotCreate, DiskSnapshot, Shutdown, Resched, DiskSnapshotLive,
];
/// For a VM whose operation failed.
#[rustfmt::skip]
const FAILED: &[Verb] = &[
    RecoverRetry, RecoverRetry, RecoverUndo, RecoverUndo, RecoverSuccess, RecoverFailure, DeleteRecreate, Delete, Resize,
];
/// For a VM that is `unknown`.
#[rustfmt::skip]
const UNKNOWN: &[Verb] = &[
    Resume, Boot, PoweroffHard, Undeploy, Migrate, Migrate, Migrate, Forget, Delete, ShutdownHard, Poweroff,
];
/// For a VM that is busy.
#[rustfmt::skip]
const BUSY: &[Verb] = &[
    PoweroffHard, ShutdownHard, UndeployHard, RebootHard, MigratePoweroffHard, Delete, DeleteRecreate, Forget, Boot, RecoverRetry,
    RecoverUndo, RecoverFailure, RecoverSuccess, Update, Verb::Schedule, Rename, DiskSnapshot, Resched,
];

/// The verbs that make sense in a state.
const fn sensible(state: State) -> &'static [Verb] {
    match state {
        State::Pending => &[Deploy, Deploy, Hold, Resize, Rename, Delete, Schedule],
        State::Hold => &[Release, Release, Deploy, Update, Forget],
        State::Running => RUNNING,
        State::Stopped | State::Undeployed => {
            &[Resume, Resume, Resume, Resume, Shutdown, Resize, Delete, DeleteRecreate]
        }
        State::Suspended => SUSPENDED,
        State::Poweroff => OFF,
        State::Failed => FAILED,
        State::Unknown => UNKNOWN,
        State::Done => &[Delete, Forget],
        _ => BUSY,
    }
}

impl Run {
    /// A new VM.
    pub(crate) fn spec(&self) -> VmSpec {
        let mut chance = dice(&self.dice);
        let mut disks = vec![root(), disk("data", DiskSource::Blank { size_mib: 10 })];
        disks.truncate(usize::try_from(chance.below(3)).unwrap_or(0));
        let given = address(&mut chance);
        VmSpec {
            name: format!("vm{}", chance.below(1000)).parse().expect("a name"),
            cpu_milli: u32::try_from(chance.within(1, 4)).unwrap_or(1) * 250,
            vcpus: 1,
            memory_mib: chance.within(1, 4) * 256,
            boot: BootSpec::default(),
            disks,
            nics: vec![NicSpec { bridge: "br0".to_owned(), mac: given }],
            graphics: Graphics::None,
            host: None,
            labels: BTreeMap::new(),
            user_data: String::new(),
            patience: Patience {
                shutdown: Millis::secs(30),
                hypervisor: Millis::secs(30),
                transfer: Millis::secs(120),
                boot_grace: Millis::secs(5),
            },
            headroom: Headroom { vcpus: Some(4), memory_mib: Some(2048) },
        }
    }

    /// A request for this VM. None if the operator would have to state what is not true.
    pub(crate) fn request(&self, record: &VmRecord) -> Option<ActionRequest> {
        let mut chance = dice(&self.dice);
        let busy = record.state.kind() == StateKind::Transient;
        if busy && chance.permille(400) {
            return None;
        }
        let verb = verb(&mut chance, record);
        let ends = matches!(verb, Delete | DeleteRecreate | Shutdown | ShutdownHard);
        if ends && chance.permille(600)
            || verb == Forget && !self.may_forget(record)
            || verb == RecoverSuccess && !self.has_succeeded(record)
        {
            return None;
        }
        let host = (verb == Deploy || verb.is_migration()).then(|| *chance.pick(&self.life.hosts));
        let host = host.or_else(|| chance.permille(10).then_some(HostId(99)));
        let args = self.args(&mut chance, record, verb);
        // The statement is true only for the step that the record has now.
        let if_version = (verb == RecoverSuccess).then_some(record.version);
        let by_operator = ActionRequest::of(verb, "operator");
        Some(ActionRequest { host, args, enforce: true, if_version, ..by_operator })
    }

    fn args(&self, chance: &mut Rng, record: &VmRecord, verb: Verb) -> Args {
        let schedule = record.schedules.first().map_or(ScheduleId(0), Planned::id);
        if chance.permille(15) {
            return Args::None;
        }
        match verb {
            Migrate => self.moves(record),
            DiskAttach if record.disks.len() < 5 => self.new_disk(chance),
            DiskDetach | DiskSnapshotCancel => Args::Disk { name: disk_of(chance, record) },
            NicAttach if record.spec.nics.len() < 4 => {
                Args::NewNic(NicSpec { bridge: "br1".to_owned(), mac: address(chance) })
            }
            NicDetach => {
                let at = chance.below(record.spec.nics.len().max(1) as u64);
                Args::Nic { mac: record.mac_of(usize::try_from(at).unwrap_or(0)) }
            }
            SnapshotCreate => Args::NewSnapshot { label: String::new() },
            SnapshotRevert | SnapshotDelete => {
                let first = record.snapshots.first();
                let name = first.map_or_else(|| "none".to_owned(), |found| found.name.to_string());
                Args::Snapshot { name }
            }
            DiskSnapshot | DiskSnapshotLive => {
                let image = format!("image-{}", self.stats.requests).parse().expect("a name");
                Args::NewImage { disk: disk_of(chance, record), image, datastore: None }
            }
            Resize => Args::Size {
                cpu_milli: Some(u32::try_from(chance.within(1, 5)).unwrap_or(1) * 250),
                vcpus: Some(u32::try_from(chance.within(1, 4)).unwrap_or(1)),
                memory_mib: Some(chance.within(1, 6) * 256),
            },
            Rename => {
                Args::Name { name: format!("vm{}", chance.below(1000)).parse().expect("a name") }
            }
            Update => Args::UserData { text: chance.below(100).to_string() },
            Schedule => Args::NewSchedule(Box::new(self.planned(chance))),
            Unschedule => Args::Schedule { id: schedule },
            Reschedule => {
                Args::Reschedule { id: schedule, planned: Box::new(self.planned(chance)) }
            }
            _ => Args::None,
        }
    }

    /// States that a host is fenced only if it is lost for good.
    fn moves(&self, record: &VmRecord) -> Args {
        let on_lost = record.placement.as_ref().is_some_and(|place| Some(place.host) == self.lost);
        if on_lost && record.storage_is_shared() {
            Args::Migrate { fenced: true, storage_moved: false }
        } else {
            Args::None
        }
    }

    fn new_disk(&self, chance: &mut Rng) -> Args {
        let ready = self.ready_images();
        let source = if !ready.is_empty() && chance.permille(400) {
            DiskSource::Image { image: chance.pick(&ready).clone(), size_mib: None }
        } else {
            DiskSource::Blank { size_mib: 1 }
        };
        Args::NewDisk { name: None, source, format: DiskFormat::Qcow2, read_only: false }
    }

    fn ready_images(&self) -> Vec<ImageName> {
        let images = self.life.store().read().and_then(|reader| reader.images());
        let ready = |image: &ostler_model::Image| {
            image.datastore == IMAGES && image.state == ImageState::Ready
        };
        images.unwrap_or_default().into_iter().filter(ready).map(|image| image.name).collect()
    }

    /// An action for later.
    fn planned(&self, chance: &mut Rng) -> Planned {
        let verb = *chance.pick(&[
            Verb::Resume,
            Verb::Resume,
            Verb::Poweroff,
            Verb::Suspend,
            Verb::RebootHard,
        ]);
        let at = self.life.now().plus(Millis(chance.within(1_000, 120_000)));
        let schedule = zoned(&Schedule::new(ScheduleId(0), verb, When::once(at), "operator"));
        Planned { schedule, args: Args::None, host: None, retry_at: None }
    }

    /// Finds a domain on a host that somebody has made there, and asks to adopt it.
    pub(crate) fn find_wild(&self) -> AdoptRequest {
        let host = self.living_host();
        let mut chance = dice(&self.dice);
        let uuid = VmUuid(uuid::Uuid::from_u64_pair(chance.next(), chance.next()));
        let name = format!("wild{}", chance.below(100_000));
        let path: RelPath = format!("legacy/{name}.qcow2").parse().expect("a path");
        let datastore = || SYSTEM_STORE.parse().expect("a name");
        let content = FakeFile { content: "made by hand".to_owned(), complete: true };
        self.life.fake.put_file(host, datastore(), path.clone(), content);
        let absolute = format!("/{SYSTEM_STORE}/{path}");
        let disk = DomainDisk {
            name: "vda".parse().expect("a name"),
            file: FileRef { host, datastore: datastore(), path, absolute },
            format: DiskFormat::Qcow2,
            read_only: false,
            below: None,
        };
        let seen = DomainSeen {
            uuid,
            name: name.clone(),
            identity: None,
            power: Power::Running,
            reason: PowerReason::None,
            last_edge: None,
        };
        let machine =
            FakeMachine { vcpus: 1, memory_mib: 256, disks: vec![disk], ..FakeMachine::default() };
        let run = chance.next();
        self.life.fake.put(host, FakeDomain { seen, run, edges: Default::default(), machine });
        let by = "operator".to_owned();
        AdoptRequest { host, domain: name, name: None, accept_changes: true, by }
    }
}

/// A verb that makes sense, and sometimes any verb. The operator is fond of what it has planned and
/// made before.
fn verb(chance: &mut Rng, record: &VmRecord) -> Verb {
    let running = record.state == State::Running;
    let later = record.disks.iter().any(|disk| disk.save_as.is_some());
    let fond: &[(bool, &[Verb])] = &[
        (running, PLUGS),
        (running, &[MigrateLive, MigrateLive, MigrateLive, Migrate, MigratePoweroff]),
        (running && !record.snapshots.is_empty(), &[SnapshotRevert, SnapshotDelete]),
        (!record.schedules.is_empty(), &[Unschedule, Reschedule]),
        (later, &[DiskSnapshotCancel]),
        (record.resched, &[Unresched]),
    ];
    if chance.permille(60) {
        return *chance.pick(&Verb::iter().collect::<Vec<_>>());
    }
    for (_, verbs) in fond.iter().filter(|(holds, _)| *holds) {
        if chance.permille(150) {
            return *chance.pick(verbs);
        }
    }
    *chance.pick(sensible(record.state))
}

fn disk_of(chance: &mut Rng, record: &VmRecord) -> DiskName {
    let names: Vec<DiskName> = record.disks.iter().map(|disk| disk.name.clone()).collect();
    if names.is_empty() || chance.permille(50) {
        "vdz".parse().expect("a name")
    } else {
        chance.pick(&names).clone()
    }
}

/// Verbs that change hardware. They are asked for more often than chance would do.
const PLUGS: &[Verb] = &[Verb::DiskAttach, Verb::NicAttach, Verb::Resize];

fn disk(name: &str, source: DiskSource) -> DiskSpec {
    DiskSpec {
        name: name.parse().expect("a name"),
        source,
        format: DiskFormat::Qcow2,
        read_only: false,
    }
}

/// The disk that stands on the image.
pub(crate) fn root() -> DiskSpec {
    disk("root", DiskSource::Image { image: "base".parse().expect("a name"), size_mib: None })
}

/// A person who gives addresses uses only a few of them, so that two VMs get the same one at times.
fn address(chance: &mut Rng) -> Option<MacAddress> {
    let given = chance.permille(200).then(|| format!("52:54:00:00:00:0{}", chance.below(3)));
    given.map(|mac| mac.parse().expect("an address"))
}
