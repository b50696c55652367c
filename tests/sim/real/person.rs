//! The operator. It makes requests that make sense, and often requests that do not. It gives up
//! waiting, and repeats requests that were not answered, with the same key. It states nothing that
//! it cannot know.

use super::site::zoned;
use super::watch::Violation;
use super::{Run, dice};
use crate::operator::sensible;
use crate::rng::Rng;
use ostler_engine::{ActionRequest, CreateRequest, Engine, EngineError, Idempotency, Replied};
use ostler_model::{
    Args, BootSpec, DiskFormat, DiskSource, DiskSpec, Graphics, Headroom, HostId, MacAddress,
    Millis, NicSpec, OperationId, Patience, Planned, Schedule, ScheduleId, State, Verb, VmId,
    VmRecord, VmSpec, When,
};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// A request, and its key.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    key: u64,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Create(Box<VmSpec>),
    Act(VmId, ActionRequest),
}

impl What {
    async fn ask(self, engine: &Engine, key: u64) -> Result<Replied, EngineError> {
        let route = match &self {
            Self::Create(_) => "vms".to_owned(),
            Self::Act(vm, request) => format!("vms/{vm}/{}", request.verb),
        };
        let key = Idempotency {
            who: "operator".to_owned(),
            route,
            key: key.to_string(),
            body_hash: "0".repeat(64),
        };
        match self {
            Self::Create(spec) => {
                engine
                    .create(
                        CreateRequest { spec: *spec, hold: false, by: "operator".to_owned() },
                        Some(key),
                    )
                    .await
            }
            Self::Act(vm, request) => engine.act(vm, request, Some(key)).await,
        }
    }
}

impl Run {
    /// The operator's turn.
    pub(crate) fn operate(&mut self) {
        // If the store cannot be read, the checks of the promises (`watch`) find that.
        let records = self.records().unwrap_or_default();
        let alive: Vec<&VmRecord> =
            records.iter().filter(|record| record.state != State::Done).collect();
        let creates = dice(&self.dice).permille(250) && alive.len() < self.weather.population;
        let what = if creates {
            Some(What::Create(Box::new(self.spec())))
        } else if alive.is_empty() {
            None
        } else {
            let record = *dice(&self.dice).pick(&alive);
            self.request(record).map(|request| What::Act(record.id, request))
        };
        let Some(what) = what else { return };
        self.stats.requests += 1;
        let key = self.stats.requests;
        self.say(format!("operator asks: {what:?}"));
        self.send(Asked { key, what });
    }

    fn send(&self, asked: Asked) {
        let (acked, unanswered, lines) =
            (Arc::clone(&self.acked), Arc::clone(&self.unanswered), Arc::clone(&self.lines));
        unanswered.lock().unwrap_or_else(PoisonError::into_inner).push(asked.clone());
        let engine = self.life.engine().clone();
        let sent = tokio::spawn(async move {
            let answer = asked.what.ask(&engine, asked.key).await;
            let lost = matches!(
                answer,
                Err(EngineError::ShuttingDown
                    | EngineError::Crashed
                    | EngineError::Store(_)
                    | EngineError::Read(_))
            );
            if lost {
                return;
            }
            unanswered
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .retain(|other| other.key != asked.key);
            let said = match answer {
                Ok(replied) => {
                    if let Some(operation) = replied.answer.operation {
                        acked
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .insert(operation, replied.answer.vm);
                    }
                    format!(
                        "  answer {}: VM {} {:?}",
                        asked.key, replied.answer.vm, replied.answer.operation
                    )
                }
                Err(error) => format!("  answer {}: {error}", asked.key),
            };
            lines.lock().unwrap_or_else(PoisonError::into_inner).push(said);
        });
        let mut chance = dice(&self.dice);
        if chance.permille(100) {
            // The caller goes away, at any `await`.
            let pause = Duration::from_millis(chance.within(0, 300));
            drop(tokio::spawn(async move {
                tokio::time::sleep(pause).await;
                sent.abort();
            }));
        }
    }

    /// Requests that were not answered before the daemon died are sent again.
    pub(crate) fn repeat(&mut self) {
        let again: Vec<Asked> =
            std::mem::take(&mut *self.unanswered.lock().unwrap_or_else(PoisonError::into_inner));
        for asked in again {
            self.send(asked);
        }
    }

    fn spec(&self) -> VmSpec {
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

    fn request(&self, record: &VmRecord) -> Option<ActionRequest> {
        let mut chance = dice(&self.dice);
        let plugs = record.state == State::Running && chance.permille(200);
        let verb = if plugs { *chance.pick(PLUGS) } else { *chance.pick(sensible(record.state)) };
        let ends = matches!(
            verb,
            Verb::Delete | Verb::DeleteRecreate | Verb::Shutdown | Verb::ShutdownHard
        );
        // A person must know that these statements are true, and nobody here does.
        if ends && chance.permille(600) || matches!(verb, Verb::RecoverSuccess | Verb::Forget) {
            return None;
        }
        let host =
            (verb == Verb::Deploy || verb.is_migration()).then(|| *chance.pick(&self.life.hosts));
        let host = host.or_else(|| chance.permille(10).then_some(HostId(99)));
        let args = match verb {
            Verb::DiskAttach => Args::NewDisk {
                name: None,
                source: DiskSource::Blank { size_mib: 1 },
                format: DiskFormat::Qcow2,
                read_only: false,
            },
            Verb::DiskDetach | Verb::DiskSnapshotCancel => {
                Args::Disk { name: record.disks.last()?.name.clone() }
            }
            Verb::NicAttach => {
                Args::NewNic(NicSpec { bridge: "br1".to_owned(), mac: address(&mut chance) })
            }
            Verb::NicDetach if !record.spec.nics.is_empty() => Args::Nic { mac: record.mac_of(0) },
            Verb::SnapshotCreate => Args::NewSnapshot { label: String::new() },
            Verb::SnapshotRevert | Verb::SnapshotDelete => {
                Args::Snapshot { name: record.snapshots.first()?.name.to_string() }
            }
            Verb::Resize => Args::Size {
                cpu_milli: Some(u32::try_from(chance.within(1, 5)).unwrap_or(1) * 250),
                vcpus: Some(u32::try_from(chance.within(1, 4)).unwrap_or(1)),
                memory_mib: Some(chance.within(1, 6) * 256),
            },
            Verb::Rename => {
                Args::Name { name: format!("vm{}", chance.below(1000)).parse().expect("a name") }
            }
            Verb::Update => Args::UserData { text: chance.below(100).to_string() },
            Verb::Schedule => Args::NewSchedule(Box::new(self.planned(&mut chance))),
            Verb::Unschedule | Verb::Reschedule | Verb::DiskSnapshot | Verb::DiskSnapshotLive => {
                return None;
            }
            _ => Args::None,
        };
        Some(ActionRequest { host, args, enforce: true, ..ActionRequest::of(verb, "operator") })
    }

    /// After a restore, people at once start the VMs that they miss.
    pub(crate) fn start_what_is_missed(&mut self) {
        let records = self.records().unwrap_or_default();
        for record in records.iter() {
            let verb = match record.state {
                State::Pending | State::Hold => Verb::Deploy,
                State::Poweroff | State::Suspended | State::Stopped | State::Undeployed => {
                    Verb::Resume
                }
                _ => continue,
            };
            if dice(&self.dice).permille(500) {
                let host = (verb == Verb::Deploy).then(|| *dice(&self.dice).pick(&self.life.hosts));
                self.stats.requests += 1;
                let key = self.stats.requests;
                self.say(format!("operator misses VM {}: {verb}", record.id));
                let asked =
                    ActionRequest { host, enforce: true, ..ActionRequest::of(verb, "operator") };
                self.send(Asked { key, what: What::Act(record.id, asked) });
            }
        }
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

    /// Asks for one VM as large as the unit in which the room of hosts is counted.
    pub(crate) fn ask_for_a_large_one(&mut self, from_image: bool) {
        let mut spec = VmSpec { cpu_milli: 1000, memory_mib: 1024, ..self.spec() };
        let image = |disk: &DiskSpec| matches!(disk.source, DiskSource::Image { .. });
        spec.disks.retain(|disk| from_image || !image(disk));
        if from_image && !spec.disks.iter().any(image) {
            spec.disks.insert(0, root());
        }
        self.stats.requests += 1;
        let key = self.stats.requests;
        self.say(format!("operator asks for a large VM, from the image: {from_image}"));
        self.send(Asked { key, what: What::Create(Box::new(spec)) });
    }

    /// The current store knows every operation that was answered.
    pub(crate) fn remembers(&self) -> Result<(), Violation> {
        let reader = self.life.store().read().map_err(|error| error.to_string())?;
        let acked: Vec<(OperationId, VmId)> = self
            .acked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .map(|(id, vm)| (*id, *vm))
            .collect();
        for (operation, vm) in acked {
            let forgotten = reader.vm(vm).map_err(|error| error.to_string())?.is_none();
            if !forgotten
                && reader.operation(operation).map_err(|error| error.to_string())?.is_none()
            {
                return Err(format!(
                    "lost: operation {operation} of VM {vm} was answered, and the store does not know it"
                ));
            }
        }
        Ok(())
    }

    /// A person decides about the VMs for which the daemon cannot tell which domain is the VM:
    /// first the person removes the other domains.
    pub(crate) async fn accept_in_doubt(&mut self) {
        let Ok(Some(restored)) = self.life.engine().restored() else { return };
        for unreconciled in restored.vms.into_iter().filter(|vm| vm.in_doubt) {
            let Some(record) = self
                .records()
                .ok()
                .and_then(|all| all.iter().find(|record| record.id == unreconciled.vm).cloned())
            else {
                continue;
            };
            let here = record.placement.as_ref().map(|place| place.host);
            for host in self.life.hosts.iter().filter(|host| Some(**host) != here) {
                self.life.fake.drop_domain(*host, record.uuid);
            }
            self.say(format!("operator says that the record of VM {} is right", record.id));
            // If the VM is busy, this is tried again later.
            let _ = self.life.engine().accept_record(record.id, "operator".to_owned()).await;
        }
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
fn root() -> DiskSpec {
    disk("root", DiskSource::Image { image: "base".parse().expect("a name") })
}

/// A person who gives addresses uses only a few of them, so that two VMs get the same one at times.
fn address(chance: &mut Rng) -> Option<MacAddress> {
    let given = chance.permille(200).then(|| format!("52:54:00:00:00:0{}", chance.below(3)));
    given.map(|mac| mac.parse().expect("an address"))
}
