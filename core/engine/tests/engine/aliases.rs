//! One hypervisor under two host names: nothing of a guest is lost, and once that is known, the
//! second takes no VMs.

use crate::support::{ALPHA, BETA, World, ask, registry, spec, until};
use async_trait::async_trait;
use ostler_driver::{
    CallControl, DomainSpec, DriverEntry, DriverKind, FileRef, Hypervisor, JobStatus, Listed,
    Migrate, Site, Suspend,
};
use ostler_driver_testkit::fake::{Fake, Op};
use ostler_engine::{ActionRequest, EngineError, Waits, WhyNot};
use ostler_model::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The fake, which has all that is on beta where it has what is on alpha.
struct Aliased {
    fake: Fake,
    /// Hosts up to this id say which hypervisor they are.
    told: AtomicU32,
}

impl Aliased {
    fn at(site: &Site) -> Site {
        Site { id: if site.id == BETA { ALPHA } else { site.id }, ..site.clone() }
    }
}

#[async_trait]
impl Hypervisor for Aliased {
    fn abilities(&self) -> &[Ability] {
        &[Ability::Migrate, Ability::Suspend]
    }
    async fn probe(&self, site: &Site) -> Result<HostFacts, DriverError> {
        let identity = (site.id.0 <= self.told.load(Ordering::SeqCst))
            .then(|| HypervisorId::new("the one").expect("valid"));
        Ok(HostFacts {
            identity,
            abilities: self.abilities().to_vec(),
            ..self.fake.probe(site).await?
        })
    }
    async fn deploy(&self, site: &Site, call: &CallControl, domain: &DomainSpec) -> CallResult {
        self.fake.deploy(&Self::at(site), call, domain).await
    }
    async fn press_power(&self, site: &Site, call: &CallControl) -> CallResult {
        self.fake.press_power(&Self::at(site), call).await
    }
    async fn destroy(&self, site: &Site, call: &CallControl) -> CallResult {
        self.fake.destroy(&Self::at(site), call).await
    }
    async fn remove(&self, site: &Site, call: &CallControl) -> CallResult {
        self.fake.remove(&Self::at(site), call).await
    }
    async fn observe(&self, site: &Site, vm: VmUuid) -> Result<Observation, DriverError> {
        self.fake.observe(&Self::at(site), vm).await
    }
    async fn list(&self, site: &Site) -> Result<Listed, DriverError> {
        self.fake.list(&Self::at(site)).await
    }
    fn suspend(&self) -> Option<&dyn Suspend> {
        Some(self)
    }
    fn migrate(&self) -> Option<&dyn Migrate> {
        Some(self)
    }
}

#[async_trait]
impl Suspend for Aliased {
    async fn save(&self, site: &Site, call: &CallControl, file: &FileRef) -> CallResult {
        self.fake.save(&Self::at(site), call, file).await
    }
    async fn restore(
        &self,
        site: &Site,
        call: &CallControl,
        domain: &DomainSpec,
        file: &FileRef,
    ) -> CallResult {
        self.fake.restore(&Self::at(site), call, domain, file).await
    }
    async fn unpause(&self, site: &Site, call: &CallControl) -> CallResult {
        self.fake.unpause(&Self::at(site), call).await
    }
}

#[async_trait]
impl Migrate for Aliased {
    async fn begin(
        &self,
        site: &Site,
        call: &CallControl,
        domain: &DomainSpec,
        to: &Site,
        move_disks: &[DiskName],
    ) -> Result<JobStatus, DriverError> {
        self.fake.begin(&Self::at(site), call, domain, &Self::at(to), move_disks).await
    }
    async fn poll(&self, site: &Site, call: &CallControl) -> Result<JobStatus, DriverError> {
        self.fake.poll(&Self::at(site), call).await
    }
    async fn abort(&self, site: &Site, call: &CallControl) -> Result<(), DriverError> {
        self.fake.abort(&Self::at(site), call).await
    }
}

/// A world whose two hosts are one hypervisor, with a guest that runs on alpha.
async fn aliased() -> (World, Arc<Aliased>, VmId) {
    let world = World::new().await;
    let driver = Arc::new(Aliased { fake: world.fake.clone(), told: AtomicU32::new(0) });
    let info = registry(&world.fake).list().remove(0).0;
    let kinds = vec![
        DriverKind::Hypervisor(driver.clone()),
        DriverKind::Transfer(Arc::new(world.fake.clone())),
    ];
    world.engine.drivers().insert(DriverEntry::new(info, kinds).expect("it has what it states"));
    let vm = world.running_as(VmSpec { disks: Vec::new(), ..spec("a") }).await;
    (world, driver, vm)
}

fn live_to(host: HostId) -> ActionRequest {
    ActionRequest { host: Some(host), ..ask(Verb::MigrateLive) }
}

fn run_of(world: &World, vm: VmId) -> Option<u64> {
    world.fake.domain(ALPHA, world.record(vm).uuid).map(|domain| domain.run)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_is_moved_to_another_name_of_its_hypervisor_runs_on() {
    let (world, _, vm) = aliased().await;
    let before = run_of(&world, vm);
    assert!(before.is_some());
    let waited = world.ends(vm, live_to(BETA)).await;
    let Some(Ended::Failed { error }) = waited.operation.outcome else {
        panic!("{:#?}", waited.operation)
    };
    assert_eq!(error.kind, ErrorKind::Refused, "{error}");
    assert_eq!(
        (world.state(vm), run_of(&world, vm)),
        (State::Running, before),
        "{:?}",
        world.engine.why(vm)
    );
    let record = world.record(vm);
    assert_eq!((record.moving, record.leftovers.len()), (None, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_moved_in_doubt_is_not_removed_at_the_other_name_either() {
    let (world, _, vm) = aliased().await;
    let before = run_of(&world, vm);
    world.fake.on(Op::Migrate).times(1).fail(DriverError::retry("later", "as the test wants"));
    let waited = world.ends(vm, live_to(BETA)).await;
    assert!(
        matches!(waited.operation.outcome, Some(Ended::Failed { .. })),
        "{:#?}",
        waited.operation
    );
    assert_eq!(
        (world.state(vm), run_of(&world, vm)),
        (State::Running, before),
        "{:?}",
        world.engine.why(vm)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_turns_out_to_be_another_takes_no_vms_and_says_so() {
    let (world, driver, vm) = aliased().await;
    for host in [ALPHA, BETA] {
        driver.told.store(host.0, Ordering::SeqCst);
        let known = || {
            world
                .engine
                .store()
                .read()
                .expect("reads")
                .host(host)
                .expect("reads")
                .is_some_and(|host| host.identity.is_some())
        };
        until("its identity to be known", known).await;
    }
    let error = || world.engine.host_health(BETA).and_then(|health| health.error);
    until("it to be told", || {
        error().is_some_and(|error| error.contains("the same hypervisor as host alpha"))
    })
    .await;
    assert_eq!(world.engine.host_health(ALPHA).expect("known").error, None);
    let refused =
        world.engine.act(vm, live_to(BETA), None).await.expect_err("it would move onto itself");
    let EngineError::Refused(refused) = refused else { panic!("{refused}") };
    let one = Unfit::OneHypervisor("alpha".parse().expect("a name"));
    assert_eq!(refused.cause, Cause::HostUnfit { host: BETA, why: one.clone() });
    let preview = world.engine.preview(vm, live_to(BETA)).await.expect("previews");
    assert_eq!(preview.refused, Some(refused));
    // It is chosen for nothing.
    let waits = world
        .create(VmSpec { host: Some("beta".parse().expect("a name")), ..spec("b") }, false)
        .await
        .expect("creates");
    let said = || world.engine.why(waits).expect("told").scheduler;
    until("the scheduler to say why", || {
        said().iter().any(|line| matches!(line, Waits::Host(_, WhyNot::Unfit(why)) if *why == one))
    })
    .await;
    assert_eq!(world.state(waits), State::Pending);
}
