//! Makes the parts of requests and facts: new VMs, arguments, abilities, and what the snapshot
//! rules say. It also checks that a statement of the operator is true.

use crate::deeds;
use crate::run::Sim;
use crate::shell::driver;
use crate::store::Commit;
use crate::world::{File, Site, World, uuid_of};
use ostler_lifecycle::{Adopted, Advice, Decision, Facts, Fate, NewVm, adopt, create};
use ostler_model::{
    Ability, Args, BootSpec, Call, DatastoreId, DiskFormat, DiskName, DiskSource, DiskSpec,
    DiskState, DriverError, Generation, Graphics, Headroom, HostId, ImageId, ImageState, Millis,
    Moment, NicSpec, OperationId, Patience, Placement, Planned, Schedule, ScheduleId, State,
    StepKind, Storage, Subject, Verb, VmId, VmRecord, VmSpec, When,
};
use std::collections::BTreeMap;
use std::rc::Rc;
use strum::IntoEnumIterator;

/// Values about a VM that are drawn by chance or computed.
pub(crate) trait Facets {
    fn args(&mut self, record: &VmRecord, verb: Verb) -> Args;
    fn has_succeeded(&mut self, record: &VmRecord) -> bool;
}

fn spec(name: &str, disks: Vec<DiskSpec>, cpu_milli: u32, memory_mib: u64) -> VmSpec {
    VmSpec {
        name: name.parse().expect("a name"),
        cpu_milli,
        vcpus: 1,
        memory_mib,
        boot: BootSpec::default(),
        disks,
        nics: vec![NicSpec { bridge: "br0".to_owned(), mac: None }],
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
        headroom: Headroom { vcpus: Some(4), memory_mib: Some(512) },
    }
}

impl Sim {
    /// Mirrors `ostler_engine::Engine::create`.
    pub(crate) fn create_one(&mut self) {
        let id = self.next_vm();
        let mut specs = Vec::new();
        let mut disks = Vec::new();
        for name in ["vda", "vdb"].into_iter().take(usize::try_from(self.rng.below(3)).unwrap_or(0))
        {
            let image = self.rng.permille(500).then_some(ImageId(1));
            let source = match image {
                Some(_) => DiskSource::Image { image: "image-1".parse().expect("a name") },
                None => DiskSource::Blank { size_mib: 10 },
            };
            let name: DiskName = name.parse().expect("a name");
            let file = format!("{name}.qcow2").parse().expect("a path");
            specs.push(DiskSpec {
                name: name.clone(),
                source,
                format: DiskFormat::Qcow2,
                read_only: false,
            });
            disks.push(DiskState {
                name,
                file,
                format: DiskFormat::Qcow2,
                image,
                save_as: None,
                adopted: None,
            });
        }
        let (cpu, memory) =
            (u32::try_from(self.rng.within(1, 4)).unwrap_or(1) * 250, self.rng.within(1, 4) * 32);
        let new = self.new_vm(id, spec("vm", specs, cpu, memory), disks);
        let obeys = self.rng.permille(800);
        self.world.being(id).obeys = obeys;
        self.say(|| format!("operator creates VM {id}"));
        let made = create(new, self.now);
        self.put(id, made);
    }

    fn next_vm(&mut self) -> VmId {
        self.created += 1;
        VmId(self.created)
    }

    fn new_vm(&mut self, id: VmId, spec: VmSpec, disks: Vec<DiskState>) -> NewVm {
        self.next_operation += 1;
        let (operation, hold) = (OperationId(self.next_operation), self.rng.permille(100));
        NewVm { id, uuid: uuid_of(id), operation, by: "operator".to_owned(), spec, disks, hold }
    }

    /// A domain that somebody made is found on a host, and becomes a VM.
    pub(crate) fn adopt_one(&mut self) {
        let hosts: Vec<HostId> =
            self.world.hosts.keys().copied().filter(|host| self.world.reaches(*host)).collect();
        if hosts.is_empty() {
            return;
        }
        let (id, host) = (self.next_vm(), *self.rng.pick(&hosts));
        let name: DiskName = "vda".parse().expect("a name");
        let file = "adopted-vda.qcow2";
        let being = self.world.being(id);
        being.domains.insert(host, deeds::wild(&[file]));
        being.clock = 1;
        being.newest.insert(file.to_owned(), 1);
        being
            .folders
            .entry(Site::Shared)
            .or_default()
            .disks
            .insert(file.to_owned(), File { version: 1, complete: true });
        let source = DiskSource::Blank { size_mib: 10 };
        let disk =
            DiskSpec { name: name.clone(), source, format: DiskFormat::Qcow2, read_only: false };
        let state = DiskState {
            name,
            file: file.parse().expect("a path"),
            format: DiskFormat::Qcow2,
            image: None,
            save_as: None,
            adopted: Some("elsewhere/vda.qcow2".parse().expect("a path")),
        };
        let vm = NewVm {
            hold: false,
            ..self.new_vm(id, spec("wild", vec![disk], 250, 32), vec![state])
        };
        let place =
            Placement { host, driver: driver(), generation: Generation(1), since: self.now };
        let storage = Storage { datastore: DatastoreId(1), driver: driver(), shared: true };
        let adopted = Adopted { vm, place, storage, name: "wild".to_owned(), running: true };
        self.say(|| format!("operator adopts VM {id} on host {host}"));
        let made = adopt(adopted, &Facts::bare(crate::world::STORE), self.now);
        self.put(id, made);
    }

    fn put(&mut self, vm: VmId, made: Decision) {
        self.coverage.created(&made);
        let next = Rc::new(made.record.clone());
        self.submit(Commit {
            vm,
            expect: None,
            seen: false,
            answer: None,
            decision: Box::new(made),
            next,
        });
    }

    /// The abilities of the driver on a host.
    pub(crate) fn abilities(host: HostId) -> Vec<Ability> {
        let missing = |ability: &Ability| match host.0 {
            4 => matches!(ability, Ability::Migrate | Ability::Snapshots | Ability::LiveResize),
            5 => matches!(ability, Ability::Suspend | Ability::Hotplug | Ability::DiskCopy),
            _ => false,
        };
        Ability::iter().filter(|ability| !missing(ability)).collect()
    }

    /// The advice of the snapshot rules. It depends only on the VM and the verb, so it is always
    /// the same.
    pub(crate) fn rules(record: &VmRecord, verb: Verb) -> Option<Result<Advice, DriverError>> {
        let of = record.id.0 + verb as u64;
        match of % 13 {
            0 => None,
            1 => Some(Err(DriverError::unknown("driver-trap", "chance"))),
            other => {
                let fate =
                    [Fate::Keep, Fate::Lose, Fate::Hide][usize::try_from(other % 3).unwrap_or(0)];
                let refused = (other == 2).then(|| "chance".to_owned());
                Some(Ok(Advice {
                    rules: "rules".to_owned(),
                    refused,
                    fates: vec![fate; record.snapshots.len()],
                }))
            }
        }
    }

    fn planned(&mut self) -> Planned {
        let verbs = [
            Verb::Poweroff,
            Verb::Resume,
            Verb::Suspend,
            Verb::SnapshotCreate,
            Verb::Reboot,
            Verb::Delete,
            Verb::Migrate,
        ];
        let verb = *self.rng.pick(&verbs);
        let when = if self.rng.permille(500) {
            When::Once { at: Moment::At(self.now.plus(Millis(self.rng.within(1, 200_000)))) }
        } else {
            "every 2m".parse().expect("a time")
        };
        let mut schedule = Schedule::new(ScheduleId(0), verb, when, "operator");
        if self.rng.permille(300) {
            schedule.misfire = "skip 1m".parse().expect("a misfire");
        }
        Planned { schedule, args: Args::None, host: Some(HostId(1)), retry_at: None }
    }

    fn disk_of(&mut self, record: &VmRecord) -> DiskName {
        let names: Vec<DiskName> = record.disks.iter().map(|disk| disk.name.clone()).collect();
        if names.is_empty() || self.rng.permille(50) {
            "vdz".parse().expect("a name")
        } else {
            self.rng.pick(&names).clone()
        }
    }

    fn new_disk(&mut self) -> Args {
        let ready: Vec<_> = self
            .store
            .rows
            .images
            .values()
            .filter(|image| image.state == ImageState::Ready)
            .map(|image| image.name.clone())
            .collect();
        let source = if !ready.is_empty() && self.rng.permille(400) {
            DiskSource::Image { image: self.rng.pick(&ready).clone() }
        } else {
            DiskSource::Blank { size_mib: 1 }
        };
        Args::NewDisk { name: None, source, format: DiskFormat::Qcow2, read_only: false }
    }

    /// States that a host is fenced, or that the storage was moved, only if that is true.
    fn migrate_args(&mut self, record: &VmRecord) -> Args {
        let Some(place) = &record.placement else { return Args::None };
        let fenced = record.state == State::Unknown && !self.world.has_power(place.host);
        if fenced {
            Args::Migrate { fenced, storage_moved: !record.storage_is_shared() }
        } else {
            Args::None
        }
    }

    fn snapshot_args(&mut self, record: &VmRecord) -> Args {
        let names: Vec<String> =
            record.snapshots.iter().map(|snapshot| snapshot.name.to_string()).collect();
        let name = if names.is_empty() { "none".to_owned() } else { self.rng.pick(&names).clone() };
        Args::Snapshot { name }
    }

    fn nic_args(&mut self, record: &VmRecord) -> Args {
        let count = record.spec.nics.len();
        let at = usize::try_from(self.rng.below(count as u64)).unwrap_or(0);
        Args::Nic { mac: record.mac_of(at) }
    }

    fn new_image(&mut self, record: &VmRecord) -> Args {
        let image = format!("image-{}", self.next_operation + 100).parse().expect("a name");
        Args::NewImage { disk: self.disk_of(record), image, datastore: None }
    }
}

impl Facets for Sim {
    fn args(&mut self, record: &VmRecord, verb: Verb) -> Args {
        let schedule = ScheduleId(u32::try_from(self.rng.below(3)).unwrap_or(0));
        if self.rng.permille(15) {
            return Args::None;
        }
        match verb {
            Verb::Migrate => self.migrate_args(record),
            Verb::DiskAttach if record.disks.len() < 5 => self.new_disk(),
            Verb::DiskDetach | Verb::DiskSnapshotCancel => {
                Args::Disk { name: self.disk_of(record) }
            }
            Verb::NicAttach if record.spec.nics.len() < 4 => {
                Args::NewNic(NicSpec { bridge: "br1".to_owned(), mac: None })
            }
            Verb::NicDetach => self.nic_args(record),
            Verb::SnapshotCreate => Args::NewSnapshot { label: String::new() },
            Verb::SnapshotRevert | Verb::SnapshotDelete => self.snapshot_args(record),
            Verb::DiskSnapshot | Verb::DiskSnapshotLive => self.new_image(record),
            Verb::Resize => Args::Size {
                cpu_milli: Some(u32::try_from(self.rng.within(1, 5)).unwrap_or(1) * 250),
                vcpus: Some(u32::try_from(self.rng.within(1, 5)).unwrap_or(1)),
                memory_mib: Some(self.rng.within(1, 5) * 32),
            },
            Verb::Update => Args::UserData { text: self.rng.below(100).to_string() },
            Verb::Rename => {
                Args::Name { name: format!("vm-{}", self.rng.below(100)).parse().expect("a name") }
            }
            Verb::Schedule => Args::NewSchedule(Box::new(self.planned())),
            Verb::Unschedule => Args::Schedule { id: schedule },
            Verb::Reschedule => {
                Args::Reschedule { id: schedule, planned: Box::new(self.planned()) }
            }
            _ => Args::None,
        }
    }

    /// True if the step of the current operation, or the one that failed, has reached its aim.
    fn has_succeeded(&mut self, record: &VmRecord) -> bool {
        let active = record
            .operation
            .as_ref()
            .and_then(|active| Some((active.kind()?, active.subject.clone())));
        let failed = record.failure.as_ref().and_then(|failure| {
            Some((failure.plan.get(failure.at).copied()?, failure.subject.clone()))
        });
        let Some((kind, subject)) = active.or(failed) else { return false };
        if self.works.values().any(|work| work.effect.vm == record.id && !work.done) {
            return false;
        }
        let Some(being) = self.world.beings.get(&record.id) else { return false };
        let here = record.placement.as_ref().map_or(HostId::FRONT_END, |place| place.host);
        let other = record.other.as_ref().map_or(HostId::FRONT_END, |place| place.host);
        let folder = |host| {
            being.folders.get(&World::site(record, host)).filter(|folder| !folder.is_empty())
        };
        let memory = record.recovery.as_ref().map(|file| file.name.to_string());
        let about = |disk: &&DiskState| ostler_lifecycle::recipe::concerns(&subject, &disk.name);
        let domain = being.domains.get(&here);
        match kind {
            StepKind::DropHost => folder(here).is_none(),
            StepKind::DropHome => folder(HostId::FRONT_END).is_none(),
            StepKind::DropOther => folder(other).is_none(),
            StepKind::PrepareDisks | StepKind::PrepareOther => {
                let at = if kind == StepKind::PrepareDisks { here } else { other };
                let there = |disk: &DiskState| {
                    let found = folder(at).and_then(|folder| folder.disks.get(disk.file.as_str()));
                    found.is_some_and(|file| {
                        file.complete && (kind == StepKind::PrepareOther || file.version > 0)
                    })
                };
                record.disks.iter().filter(about).all(there)
            }
            StepKind::Save => folder(here)
                .is_some_and(|folder| memory.is_some_and(|name| folder.memory.contains_key(&name))),
            StepKind::SaveBack | StepKind::CopyDisk => {
                let now = if let Subject::DiskImage { becomes, .. } = &subject {
                    Some(becomes.image)
                } else {
                    None
                };
                let later = record
                    .disks
                    .iter()
                    .filter_map(|disk| disk.save_as.as_ref())
                    .map(|becomes| becomes.image);
                later.chain(now).all(|image| self.world.images.contains(&image))
            }
            StepKind::AttachDisk => domain.is_some_and(|domain| {
                record
                    .disks
                    .iter()
                    .filter(about)
                    .all(|disk| domain.disks.contains(disk.file.as_str()))
            }),
            StepKind::DetachDisk => domain.is_some_and(|domain| {
                !record
                    .disks
                    .iter()
                    .filter(about)
                    .any(|disk| domain.disks.contains(disk.file.as_str()))
            }),
            // The other steps change nothing that could be checked here, or a look checks them. The
            // calls that are named here never count as done.
            kind => {
                !matches!(kind.call(), Call::Stamp | Call::CreateSnapshot | Call::RevertSnapshot)
            }
        }
    }
}
