//! One life of the daemon after another, on one disk and in one world.

use super::decisions::Decisions;
use super::rules::Rules;
use super::site::Slow;
use super::weather::Weather;
use super::{Dice, Fault, dice, spoil};
use ostler_driver::{DriverEntry, DriverInfo, DriverKind, DriverOrigin, Registry};
use ostler_driver_testkit::fake::{Fake, FakeFile};
use ostler_engine::{Engine, EngineConfig, Hooks};
use ostler_model::{
    Ability, Capacity, Datastore, DatastoreId, DatastoreKind, DiskFormat, DriverName, DriverRef,
    ExecTransport, Host, HostId, HostState, Image, ImageId, ImageState, StoreId, Timestamp, VmUuid,
};
use ostler_store::{BackupError, Options, ResourceChange, SimulatedDisk, Store};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

/// The time of day at which runs begin.
pub(crate) const BEGAN: u64 = 1_700_000_000_000;
/// The image that disks are made from.
pub(crate) const IMAGE: ImageId = ImageId(1);
pub(crate) const IMAGES: DatastoreId = DatastoreId(1);
const SYSTEM: DatastoreId = DatastoreId(2);
pub(crate) const IMAGE_STORE: &str = "images";
pub(crate) const SYSTEM_STORE: &str = "system";

pub(crate) struct Life {
    pub(crate) fake: Fake,
    pub(crate) hosts: Vec<HostId>,
    pub(crate) disk: SimulatedDisk,
    /// Commits of all lives that have ended.
    pub(crate) commits: u64,
    /// How many lives have begun.
    pub(crate) lives: u64,
    /// How far the daemon's clock was set back, in milliseconds.
    pub(crate) set_back: Arc<AtomicU64>,
    /// All decisions of the engine.
    pub(crate) decisions: Decisions,
    /// The hosts that are slow for a while.
    pub(crate) slow: Slow,
    weather: Weather,
    began: tokio::time::Instant,
    fault: Fault,
    dice: Dice,
    /// How often, in thousandths of the points that it passes, a part of the engine panics.
    panics: Arc<AtomicU64>,
    up: Option<(Engine, Store, JoinHandle<()>)>,
}

impl Life {
    /// Makes the world, and the first daemon with its hosts and datastores.
    pub(crate) async fn first(dice: &Dice, weather: &Weather, fault: Fault) -> Self {
        let hosts = (1..=u32::try_from(weather.hosts).unwrap_or(2)).map(HostId).collect();
        let mut life = Self {
            fake: Fake::new(),
            hosts,
            disk: SimulatedDisk::default(),
            commits: 0,
            lives: 0,
            set_back: Arc::default(),
            decisions: Decisions::default(),
            slow: Slow::default(),
            began: tokio::time::Instant::now(),
            fault,
            dice: Arc::clone(dice),
            weather: weather.clone(),
            panics: Arc::default(),
            up: None,
        };
        // Images are where all hosts see them.
        life.fake.share(IMAGE_STORE.parse().expect("a name"));
        if weather.shared {
            life.fake.share(SYSTEM_STORE.parse().expect("a name"));
        }
        life.rise().await;
        life.furnish().await;
        life.panics(weather.panic);
        life
    }

    /// From now on parts of the engine panic so many times in a thousand.
    pub(crate) fn panics(&self, permille: u64) {
        self.panics.store(permille, Ordering::Relaxed);
    }

    /// The daemon's time of day.
    pub(crate) fn now(&self) -> Timestamp {
        told(self.began, &self.set_back)
    }

    /// Milliseconds since the run began. Unlike the daemon's clock, this one is never set back.
    pub(crate) fn elapsed(&self) -> u64 {
        passed(self.began)
    }

    /// The backup takes the place of the store.
    pub(crate) fn restore(&mut self, backup: &SimulatedDisk) -> Result<(), BackupError> {
        self.disk = if self.is(Fault::NoRestoreMark) {
            backup.copy()
        } else {
            backup.restored(self.now(), self.fault.of_store())?
        };
        Ok(())
    }

    /// The engine. No test code asks for it while the daemon is down.
    pub(crate) fn engine(&self) -> &Engine {
        &self.up.as_ref().expect("the daemon is up").0
    }

    pub(crate) fn store(&self) -> &Store {
        &self.up.as_ref().expect("the daemon is up").1
    }

    /// The daemon is started.
    pub(crate) async fn rise(&mut self) {
        let options = Options {
            cache_bytes: 1 << 20,
            store_id: Some(StoreId(uuid::Uuid::from_u128(0x57))),
            sabotage: self.fault.of_store(),
            ..Options::default()
        };
        let (chance, slowest) = (Arc::clone(&self.dice), self.weather.sync);
        let takes = Box::new(move || Duration::from_millis(dice(&chance).within(1, slowest)));
        let (store, writer) =
            self.disk.open(options, takes).expect("the store opens after every loss of power");
        let writer = tokio::spawn(writer);
        let engine = Engine::start(self.config(), store.clone(), registry(&self.fake))
            .await
            .expect("starts");
        self.up = Some((engine, store, writer));
        self.lives += 1;
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn config(&self) -> EngineConfig {
        let (began, chance, set_back) =
            (self.began, Arc::clone(&self.dice), Arc::clone(&self.set_back));
        let (panics, drawn, held_up) =
            (Arc::clone(&self.panics), Arc::clone(&self.dice), Arc::clone(&self.dice));
        let hooks = Hooks {
            sabotage: self.fault.of_engine(),
            panics: Some(Arc::new(move |_| {
                let chance = panics.load(Ordering::Relaxed);
                chance > 0 && dice(&drawn).permille(chance)
            })),
            now: Some(Arc::new(move || told(began, &set_back))),
            uuid: Some(Arc::new(move || {
                let mut dice = dice(&chance);
                VmUuid(uuid::Uuid::from_u64_pair(dice.next(), dice.next()))
            })),
            decides: Some(self.decisions.hook(self.fault, &self.fake)),
            sends: spoil::sends(self.fault, &self.dice),
            held_up: Some(Arc::new(move || Duration::from_millis(dice(&held_up).below(50)))),
            ..Hooks::default()
        };
        let rules = self
            .weather
            .rules
            .then(|| [name("fake"), name("plain")].map(|driver| (driver, name("rules"))));
        EngineConfig {
            hooks,
            lane_width: self.weather.lane_width,
            rules: rules.into_iter().flatten().collect(),
            ..EngineConfig::default()
        }
    }

    /// The daemon dies as with `kill -9`. Driver calls go on.
    pub(crate) async fn die(&mut self) {
        let Some((engine, store, writer)) = self.up.take() else { return };
        self.commits += store.written().commits;
        writer.abort();
        engine.abort().await;
        drop((engine, store));
        // The writer is gone once its task has been dropped, and this waits for that.
        let _ = writer.await;
    }

    /// The machine loses power: each write that was not synced is lost or kept, by chance.
    pub(crate) fn lose_power(&mut self) {
        let chance = Arc::clone(&self.dice);
        self.disk = self.disk.after_power_loss(|| dice(&chance).permille(500));
    }

    async fn furnish(&self) {
        let engine = self.engine();
        let (room, last) = (self.weather.room, self.hosts.last());
        let driver = |id: &HostId| {
            if self.weather.plain && Some(id) == last { "plain" } else { "fake" }
        };
        let hosts = self.hosts.iter().map(|id| host(*id, driver(id), room));
        let mut resources: Vec<_> = hosts.map(ResourceChange::HostPut).collect();
        let (images, system) = (DatastoreKind::Image, DatastoreKind::System);
        for made in [
            datastore(IMAGES, IMAGE_STORE, images, true),
            datastore(SYSTEM, SYSTEM_STORE, system, self.weather.shared),
        ] {
            resources.push(ResourceChange::DatastorePut(made));
        }
        resources.push(ResourceChange::ImagePut(image()));
        for change in resources {
            engine.change(change, "test").await.expect("changes");
        }
        let file = FakeFile { content: "base".to_owned(), complete: true };
        let (datastore, path) = (IMAGE_STORE.parse(), "base.qcow2".parse());
        let (datastore, path) = (datastore.expect("a name"), path.expect("a path"));
        self.fake.put_file(HostId::FRONT_END, datastore, path, file);
    }
}

/// The name of a driver.
fn name(of: &str) -> DriverName {
    of.parse().expect("a name")
}

fn passed(began: tokio::time::Instant) -> u64 {
    u64::try_from(tokio::time::Instant::now().duration_since(began).as_millis())
        .unwrap_or(u64::MAX - BEGAN)
}

fn told(began: tokio::time::Instant, set_back: &AtomicU64) -> Timestamp {
    Timestamp(BEGAN + passed(began) - set_back.load(Ordering::Relaxed))
}

fn host(id: HostId, driver: &str, room: u64) -> Host {
    let called = format!("host{id}");
    Host {
        id,
        hypervisor: Some(DriverRef { driver: name(driver), config: BTreeMap::new() }),
        // Each host has a transport of its own, so that each has files of its own.
        transport: ExecTransport::Ssh {
            destination: format!("root@{called}"),
            port: 22,
            identity_file: None,
            known_hosts: None,
        },
        name: called.parse().expect("a name"),
        labels: BTreeMap::new(),
        state: HostState::On,
        total: Capacity { cpu_milli: room * 1000, memory_mib: room * 1024 },
        total_is_fixed: true,
        rules: None,
        identity: None,
        added: Timestamp(BEGAN),
    }
}

fn datastore(id: DatastoreId, called: &str, kind: DatastoreKind, shared: bool) -> Datastore {
    let root = format!("/{called}");
    let called = called.parse().expect("a name");
    Datastore {
        id,
        name: called,
        kind,
        driver: name("fake"),
        root,
        shared,
        added: Timestamp(BEGAN),
    }
}

fn image() -> Image {
    Image {
        id: IMAGE,
        name: "base".parse().expect("a name"),
        datastore: IMAGES,
        path: "base.qcow2".parse().expect("a path"),
        format: DiskFormat::Qcow2,
        state: ImageState::Ready,
        virtual_size: None,
        stands_alone: true,
        added: Timestamp(BEGAN),
    }
}

/// The abilities that the driver `plain` has. The others are refused on its host.
const PLAIN: &[Ability] = &[Ability::Suspend, Ability::Reboot, Ability::Hotplug, Ability::Changes];

fn registry(fake: &Fake) -> Registry {
    let registry = Registry::new();
    let plain = Arc::new(fake.as_driver_with(PLAIN));
    let drivers = [
        (
            "fake",
            vec![
                DriverKind::Hypervisor(Arc::new(fake.clone())),
                DriverKind::Transfer(Arc::new(fake.clone())),
            ],
        ),
        ("plain", vec![DriverKind::Hypervisor(plain)]),
        ("rules", vec![DriverKind::Rules(Arc::new(Rules))]),
    ];
    for (called, kinds) in drivers {
        let info = DriverInfo {
            name: name(called),
            version: "0".to_owned(),
            description: "a driver of the simulation".to_owned(),
            origin: DriverOrigin::BuiltIn,
            abilities: Vec::new(),
            settings: None,
        };
        registry.insert(DriverEntry::new(info, kinds).expect("it has what it states"));
    }
    registry
}
