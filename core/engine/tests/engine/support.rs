//! A world to test in: a store in a directory of its own, the fake as hypervisor driver and
//! transfer driver on two hosts, and an engine.

use ostler_driver::{DriverEntry, DriverInfo, DriverKind, DriverOrigin, Registry};
use ostler_driver_testkit::fake::Fake;
use ostler_engine::{
    ActionRequest, CreateRequest, Engine, EngineConfig, EngineError, Replied, Waited,
};
use ostler_model::*;
use ostler_store::{Options, ResourceChange, Store};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) const ALPHA: HostId = HostId(1);
pub(crate) const BETA: HostId = HostId(2);
const IMAGES: DatastoreId = DatastoreId(1);
const SYSTEM: DatastoreId = DatastoreId(2);
/// Nothing here takes a tenth of this; what does is stuck.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct World {
    pub(crate) fake: Fake,
    pub(crate) engine: Engine,
    dir: tempfile::TempDir,
}

/// Quick where the defaults are patient, and so that runners end all the time.
pub(crate) fn config() -> EngineConfig {
    EngineConfig {
        poll_every: Duration::from_millis(50),
        retry_every: Duration::from_millis(20),
        cancel_grace: Duration::from_millis(50),
        runner_idle: Duration::from_millis(3),
        ..EngineConfig::default()
    }
}

pub(crate) fn host(id: HostId, name: &str) -> Host {
    Host {
        id,
        name: name.parse().expect("a name"),
        hypervisor: Some(DriverRef {
            driver: "fake".parse().expect("a name"),
            config: BTreeMap::new(),
        }),
        // Each its own, so that each has files of its own.
        transport: ExecTransport::Ssh {
            destination: format!("root@{name}"),
            port: 22,
            identity_file: None,
            known_hosts: None,
        },
        labels: BTreeMap::new(),
        state: HostState::On,
        total: Capacity::default(),
        total_is_fixed: false,
        rules: None,
        identity: None,
        added: Timestamp(1),
    }
}

fn datastore(id: DatastoreId, name: &str, kind: DatastoreKind) -> Datastore {
    Datastore {
        id,
        name: name.parse().expect("a name"),
        kind,
        driver: "fake".parse().expect("a name"),
        root: format!("/{name}"),
        shared: false,
        added: Timestamp(1),
    }
}

fn image() -> Image {
    Image {
        id: ImageId(1),
        name: "base".parse().expect("a name"),
        datastore: IMAGES,
        path: "base.qcow2".parse().expect("a path"),
        format: DiskFormat::Qcow2,
        state: ImageState::Ready,
        virtual_size: None,
        stands_alone: true,
        added: Timestamp(1),
    }
}

pub(crate) fn spec(name: &str) -> VmSpec {
    let disk = |name: &str, source| DiskSpec {
        name: name.parse().expect("a name"),
        source,
        format: DiskFormat::Qcow2,
        read_only: false,
    };
    VmSpec {
        name: name.parse().expect("a name"),
        cpu_milli: 1000,
        vcpus: 1,
        memory_mib: 1024,
        boot: BootSpec::default(),
        disks: vec![
            disk(
                "root",
                DiskSource::Image { image: "base".parse().expect("a name"), size_mib: None },
            ),
            disk("data", DiskSource::Blank { size_mib: 10 }),
        ],
        nics: Vec::new(),
        graphics: Graphics::None,
        host: None,
        labels: BTreeMap::new(),
        user_data: String::new(),
        patience: Patience { boot_grace: Millis(0), ..Patience::default() },
        headroom: Headroom::default(),
    }
}

pub(crate) fn registry(fake: &Fake) -> Registry {
    let registry = Registry::new();
    let info = DriverInfo {
        name: "fake".parse().expect("a name"),
        version: "0".to_owned(),
        description: "the fake".to_owned(),
        origin: DriverOrigin::BuiltIn,
        abilities: Vec::new(),
        settings: None,
    };
    let kinds = vec![
        DriverKind::Hypervisor(Arc::new(fake.clone())),
        DriverKind::Transfer(Arc::new(fake.clone())),
    ];
    registry.insert(DriverEntry::new(info, kinds).expect("it has what it states"));
    registry
}

async fn ground(engine: &Engine, fake: &Fake) {
    let resources = [
        ResourceChange::HostPut(host(ALPHA, "alpha")),
        ResourceChange::HostPut(host(BETA, "beta")),
        ResourceChange::DatastorePut(datastore(IMAGES, "images", DatastoreKind::Image)),
        ResourceChange::DatastorePut(datastore(SYSTEM, "system", DatastoreKind::System)),
        ResourceChange::ImagePut(image()),
    ];
    for change in resources {
        engine.change(change, "test").await.expect("changes");
    }
    for host in [ALPHA, BETA] {
        let file =
            ostler_driver_testkit::fake::FakeFile { content: "base".to_owned(), complete: true };
        fake.put_file(
            host,
            "images".parse().expect("a name"),
            "base.qcow2".parse().expect("a path"),
            file,
        );
    }
    until("hosts to be probed", || {
        [ALPHA, BETA]
            .iter()
            .all(|host| engine.host_health(*host).is_some_and(|health| health.reachable))
            && engine
                .store()
                .read()
                .expect("reads")
                .hosts()
                .expect("reads")
                .iter()
                .all(|host| host.total.cpu_milli > 0)
    })
    .await;
}

/// Waits for something to become so.
pub(crate) async fn until(what: &str, so: impl Fn() -> bool) {
    assert!(comes(PATIENCE, so).await, "waited too long for {what}");
}

pub(crate) async fn comes(within: Duration, so: impl Fn() -> bool) -> bool {
    let end = Instant::now() + within;
    while !so() {
        if Instant::now() > end {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    true
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(config()).await
    }

    pub(crate) async fn with(config: EngineConfig) -> Self {
        Self::on(Fake::new(), config).await
    }

    pub(crate) async fn on(fake: Fake, config: EngineConfig) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        // The hooks count from where the story begins.
        let quiet = EngineConfig { hooks: Default::default(), ..config.clone() };
        let engine = start(dir.path(), &fake, quiet).await;
        ground(&engine, &fake).await;
        engine.shutdown().await;
        drop(engine);
        let engine = start(dir.path(), &fake, config).await;
        let world = Self { fake, engine, dir };
        world.hosts_seen().await;
        world
    }

    pub(crate) async fn hosts_seen(&self) {
        let seen =
            |host: &HostId| self.engine.host_health(*host).is_some_and(|health| health.reachable);
        // A world whose engine ends at some point may end before that.
        comes(Duration::from_secs(2), || [ALPHA, BETA].iter().all(seen)).await;
    }

    /// `kill -9`, and a new engine with this configuration on what is there.
    pub(crate) async fn restart(self, config: EngineConfig) -> Self {
        let Self { fake, engine, dir, .. } = self;
        engine.abort().await;
        drop(engine);
        let engine = start(dir.path(), &fake, config).await;
        Self { fake, engine, dir }
    }

    /// A backup of the store as it is now.
    pub(crate) fn backup(&self, name: &str) -> std::path::PathBuf {
        let to = self.dir.path().join(name);
        self.engine.store().backup(&to).expect("is written");
        to
    }

    /// The store is lost, and comes back from this backup.
    pub(crate) async fn restored(self, backup: &std::path::Path, config: EngineConfig) -> Self {
        let Self { fake, engine, dir } = self;
        engine.abort().await;
        drop(engine);
        let store = dir.path().join("store.redb");
        std::fs::remove_file(&store).expect("is there");
        ostler_store::restore(backup, &store, ostler_store::Unreadable::Refused).expect("restores");
        let engine = start(dir.path(), &fake, config).await;
        Self { fake, engine, dir }
    }

    pub(crate) async fn create(&self, spec: VmSpec, hold: bool) -> Result<VmId, EngineError> {
        let request = CreateRequest { spec, hold, by: "test".to_owned() };
        self.engine.create(request, None).await.map(|replied| replied.answer.vm)
    }

    pub(crate) async fn held(&self, name: &str) -> VmId {
        self.create(spec(name), true).await.expect("creates")
    }

    /// A VM that runs on alpha.
    pub(crate) async fn running(&self, name: &str) -> VmId {
        self.running_as(spec(name)).await
    }

    pub(crate) async fn running_as(&self, spec: VmSpec) -> VmId {
        let vm = self.create(spec, true).await.expect("creates");
        self.succeeds(vm, Verb::Deploy).await;
        vm
    }

    pub(crate) async fn act(&self, vm: VmId, verb: Verb) -> Result<Replied, EngineError> {
        self.engine.act(vm, ask(verb), None).await
    }

    /// Asks, and waits for the end.
    pub(crate) async fn does(&self, vm: VmId, verb: Verb) -> Waited {
        self.ends(vm, ask(verb)).await
    }

    /// Asks with arguments, and waits for the end.
    pub(crate) async fn ends(&self, vm: VmId, request: ActionRequest) -> Waited {
        let verb = request.verb;
        let replied = self
            .engine
            .act(vm, request, None)
            .await
            .unwrap_or_else(|error| panic!("{verb}: {error}"));
        let operation = replied.answer.operation.expect("an operation");
        let waited = self.engine.wait(operation, PATIENCE).await.expect("waits");
        assert!(!waited.timed_out, "{verb} of VM {vm} did not end: {:?}", self.engine.why(vm));
        waited
    }

    pub(crate) async fn succeeds(&self, vm: VmId, verb: Verb) {
        let waited = self.does(vm, verb).await;
        assert_eq!(
            waited.operation.outcome,
            Some(Ended::Succeeded),
            "{verb}: {:#?}",
            waited.operation
        );
    }

    /// Asks with arguments, and it ends as asked.
    pub(crate) async fn done(&self, vm: VmId, request: ActionRequest) {
        let waited = self.ends(vm, request).await;
        assert_eq!(waited.operation.outcome, Some(Ended::Succeeded), "{:#?}", waited.operation);
    }

    pub(crate) fn record(&self, vm: VmId) -> VmRecord {
        self.engine.store().read().expect("reads").vm(vm).expect("reads").expect("is there")
    }

    pub(crate) fn state(&self, vm: VmId) -> State {
        self.record(vm).state
    }

    pub(crate) async fn reaches(&self, vm: VmId, state: State) {
        assert!(
            comes(PATIENCE, || self.state(vm) == state).await,
            "VM {vm} is not {state}: {:?}, calls {:#?}",
            self.engine.why(vm),
            self.fake.calls().iter().rev().take(10).collect::<Vec<_>>()
        );
    }

    /// What every VM of the store is.
    pub(crate) fn vms(&self) -> Vec<VmRecord> {
        let reader = self.engine.store().read().expect("reads");
        let end = self.engine.store().next_vm_id();
        (1..end.0).filter_map(|id| reader.vm(VmId(id)).expect("reads")).collect()
    }

    pub(crate) fn at_rest(&self) -> bool {
        self.engine.store().read().expect("reads").active_vms().expect("reads").is_empty()
    }

    /// What does not fit together: store, hypervisor, files, books.
    pub(crate) fn findings(&self) -> Vec<String> {
        let mut found = self.engine.store().check().expect("reads");
        found.extend(self.fake.violations());
        let vms = self.vms();
        for host in [ALPHA, BETA] {
            for domain in self.fake.domains(host) {
                let record = vms.iter().find(|vm| vm.uuid == domain.seen.uuid);
                let fits = record.is_some_and(|vm| fits(vm, host, domain.seen.power));
                if !fits {
                    found.push(format!(
                        "{:?} on {host} is {}; VM is {:?}",
                        domain.seen.name,
                        domain.seen.power,
                        record.map(|vm| vm.state)
                    ));
                }
            }
        }
        let running = self.fake.running();
        for vm in &vms {
            let runs = running.iter().filter(|(_, uuid)| *uuid == vm.uuid).count();
            if runs != usize::from(vm.state == State::Running) {
                found.push(format!("VM {} is {} and runs {runs} times", vm.id, vm.state));
            }
        }
        found.extend(self.stray_files(&vms));
        found
    }

    fn stray_files(&self, vms: &[VmRecord]) -> Vec<String> {
        let mut found = Vec::new();
        for host in [HostId::FRONT_END, ALPHA, BETA] {
            for (datastore, path) in self.fake.files(host) {
                let owner = vms.iter().find(|vm| path.as_str().contains(&vm.folder()));
                let belongs = match owner {
                    None => datastore.as_str() == "images",
                    Some(vm) if host == HostId::FRONT_END => vm.files.home,
                    Some(vm) => {
                        vm.files.host
                            && vm.placement.as_ref().is_some_and(|place| place.host == host)
                    }
                };
                if !belongs {
                    found.push(format!(
                        "file {datastore}:{path} on {host}, VM {:?}",
                        owner.map(|vm| vm.state)
                    ));
                }
            }
        }
        found
    }

    pub(crate) fn healthy(&self) {
        assert_eq!(self.findings(), Vec::<String>::new());
    }
}

/// Whether a domain may be there as it is.
fn fits(vm: &VmRecord, host: HostId, power: Power) -> bool {
    let here = vm.placement.as_ref().is_some_and(|place| place.host == host);
    let off = matches!(vm.state, State::Poweroff | State::Suspended | State::Failed);
    here && match power {
        Power::Running => vm.state == State::Running,
        Power::Off => off,
        Power::Paused => vm.state == State::Suspended,
        Power::Crashed => false,
    }
}

/// A world whose driver has snapshot rules.
impl World {
    pub(crate) async fn ruled(rules: Arc<dyn ostler_driver::SnapshotRules>) -> Self {
        let bound = [("fake".parse().expect("a name"), "rules".parse().expect("a name"))];
        let world = Self::with(EngineConfig { rules: bound.into(), ..config() }).await;
        let info = DriverInfo {
            name: "rules".parse().expect("a name"),
            version: "0".to_owned(),
            description: "rules of a test".to_owned(),
            origin: DriverOrigin::BuiltIn,
            abilities: Vec::new(),
            settings: None,
        };
        let entry = DriverEntry::new(info, vec![DriverKind::Rules(rules)])
            .expect("rules state no abilities");
        world.engine.drivers().insert(entry);
        world
    }
}

async fn start(dir: &std::path::Path, fake: &Fake, config: EngineConfig) -> Engine {
    let store = Store::open(
        &dir.join("store.redb"),
        Options { cache_bytes: 1 << 20, ..Options::default() },
    )
    .expect("opens");
    Engine::start(config, store, registry(fake)).await.expect("starts")
}

/// Of a test; deploys go to alpha.
pub(crate) fn ask(verb: Verb) -> ActionRequest {
    let host = (verb == Verb::Deploy).then_some(ALPHA);
    ActionRequest { host, enforce: true, ..ActionRequest::of(verb, "test") }
}

pub(crate) fn refusal(result: Result<Replied, EngineError>) -> RefusalKind {
    match result {
        Err(EngineError::Refused(refusal)) => refusal.kind,
        other => panic!("not refused: {other:?}"),
    }
}
