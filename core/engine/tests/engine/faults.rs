//! Drivers that fail, lose, delay, hang, crash; and what overtakes what.

use crate::support::{ALPHA, World, config, registry, spec, until};
use async_trait::async_trait;
use ostler_driver::{
    CallControl, ChangeBatch, Changes, DomainSpec, DriverEntry, DriverKind, Hypervisor, Listed,
    Metrics, Reboot, Site, Suspend,
};
use ostler_driver_testkit::fake::{Fake, Op};
use ostler_engine::{EngineConfig, LastError};
use ostler_model::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn retry_unknown_and_late_answers_converge() {
    let world = World::new().await;
    let fake = &world.fake;
    let retry = || DriverError::retry("ordered", "not now");
    for op in [
        Op::Prepare,
        Op::Deploy,
        Op::Save,
        Op::Restore,
        Op::Unpause,
        Op::Copy,
        Op::Delete,
        Op::Remove,
        Op::Observe,
    ] {
        fake.on(op).times(1).fail(retry());
        fake.on(op).times(1).lose();
        fake.on(op).times(2).late(Duration::from_millis(20));
    }
    let vm = world.running("rough").await;
    for verb in [Verb::Suspend, Verb::Resume, Verb::Stop] {
        world.succeeds(vm, verb).await;
    }
    world.act(vm, Verb::Resume).await.expect("accepted");
    world.reaches(vm, State::Running).await;
    fake.on(Op::Destroy).times(1).lose();
    world.succeeds(vm, Verb::PoweroffHard).await;
    world.succeeds(vm, Verb::Delete).await;
    world.healthy();
    assert!(fake.domains(ALPHA).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_whose_answer_is_lost_reaches_the_guest_once() {
    let world = World::new().await;
    let vm = world.running("edge").await;
    let uuid = world.record(vm).uuid;
    world.fake.on(Op::Reboot).times(2).lose();
    world.succeeds(vm, Verb::Reboot).await;
    assert_eq!(world.fake.count(Op::Reboot), 3);
    assert_eq!(world.fake.edges(ALPHA, uuid).reboots, 1);
    world.fake.on(Op::PressPower).times(1).lose();
    world.succeeds(vm, Verb::Poweroff).await;
    assert_eq!(world.fake.edges(ALPHA, uuid).presses, 1);
    world.healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_driver_refuses_fails_with_its_words_and_can_be_recovered() {
    let world = World::new().await;
    let vm = world.held("refused").await;
    world
        .fake
        .on(Op::Deploy)
        .times(1)
        .fail(DriverError::refused("no-kvm", "there is no such machine type"));
    let waited = world.does(vm, Verb::Deploy).await;
    assert!(
        matches!(&waited.operation.outcome, Some(Ended::Failed { error }) if error.code == "no-kvm"),
        "{waited:#?}"
    );
    assert_eq!(waited.state, State::Failed);
    assert!(world.engine.why(vm).expect("answers").why.last_error.is_some_and(
        |told| matches!(told, LastError::Failed { error, .. } if error.code == "no-kvm")
    ));
    world.succeeds(vm, Verb::RecoverRetry).await;
    assert_eq!(world.state(vm), State::Running);
    world.healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_overtakes_a_held_start_and_a_late_start_revives_nothing() {
    let world = World::new().await;
    let vm = world.held("late").await;
    let gate = world.fake.on(Op::Deploy).hold();
    let deploy = world
        .act(vm, Verb::Deploy)
        .await
        .expect("accepted")
        .answer
        .operation
        .expect("an operation");
    gate.reached(1).await;
    let delete = world.act(vm, Verb::Delete).await.expect("accepted").answer;
    assert_eq!(delete.overtook, Some(deploy));
    let weaker = world.engine.wait(deploy, crate::support::PATIENCE).await.expect("waits");
    assert_eq!(
        weaker.operation.outcome,
        Some(Ended::Superseded { by: delete.operation.expect("an operation") })
    );
    // The driver ignores that it is told to stop, and is dropped a grace later; its work goes on at
    // the host until here.
    until("the call to be dropped", || {
        world.record(vm).open.iter().all(|open| open.call != Call::Now(NowCall::Deploy))
    })
    .await;
    assert_ne!(world.state(vm), State::Done, "not while the start may still happen");
    gate.open();
    world.reaches(vm, State::Done).await;
    assert!(world.fake.domains(ALPHA).is_empty());
    world.healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hard_verb_overtakes_a_guest_that_ignores_acpi() {
    let world = World::new().await;
    let vm = world.running("deaf").await;
    world.fake.ignore_acpi(true);
    let soft = world.act(vm, Verb::Poweroff).await.expect("accepted").answer.operation;
    until("the press", || world.fake.edges(ALPHA, world.record(vm).uuid).presses == 1).await;
    let hard = world.act(vm, Verb::PoweroffHard).await.expect("accepted").answer;
    assert_eq!(hard.overtook, soft);
    world.reaches(vm, State::Poweroff).await;
    world.healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_ignores_acpi_is_running_at_the_deadline() {
    let world = World::new().await;
    let patience = Patience { shutdown: Millis(300), ..spec("x").patience };
    let vm = world.running_as(VmSpec { patience, ..spec("deaf") }).await;
    world.fake.ignore_acpi(true);
    let waited = world.does(vm, Verb::Shutdown).await;
    assert!(
        matches!(&waited.operation.outcome, Some(Ended::Failed { error }) if error.code == "guest-ignored"),
        "{waited:#?}"
    );
    assert_eq!(waited.state, State::Running);
    assert_eq!(world.fake.edges(ALPHA, world.record(vm).uuid).presses, 1);
    world.healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_crashes_is_given_up_after_some_tries() {
    let world = World::new().await;
    let vm = world.held("poison").await;
    world.fake.on(Op::Deploy).trap();
    let waited = world.does(vm, Verb::Deploy).await;
    assert!(
        matches!(&waited.operation.outcome, Some(Ended::Failed { error }) if error.code == "driver-trap"),
        "{waited:#?}"
    );
    assert_eq!(world.fake.count(Op::Deploy), ostler_lifecycle::CRASHES_MAX as usize);
    let health = world.engine.driver_health(&"fake".parse().expect("a name"));
    assert_eq!(health.errors, 3);
    world.fake.obey();
    world.succeeds(vm, Verb::Delete).await;
    world.healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_past_its_deadline_is_dropped_and_looked_after() {
    let world = World::new().await;
    let patience = Patience { hypervisor: Millis(100), ..spec("x").patience };
    let vm = world.create(VmSpec { patience, ..spec("slow") }, true).await.expect("creates");
    let gate = world.fake.on(Op::Deploy).times(1).hold_answer();
    world.act(vm, Verb::Deploy).await.expect("accepted");
    gate.reached(1).await;
    until("the call to be dropped", || world.fake.count(Op::Observe) > 0).await;
    gate.open();
    world.reaches(vm, State::Running).await;
    assert_eq!(world.fake.count(Op::Deploy), 1, "a look proved it");
    world.healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_off_beside_a_start_that_was_dropped_is_believed_only_when_that_is_over() {
    let world = World::new().await;
    let patience = Patience { hypervisor: Millis(100), ..spec("x").patience };
    let vm = world.create(VmSpec { patience, ..spec("dropped") }, true).await.expect("creates");
    let gate = world.fake.on(Op::Deploy).times(1).hold();
    world.act(vm, Verb::Deploy).await.expect("accepted");
    gate.reached(1).await;
    // No look is answered while the start is at work at the host: what is there is not known.
    world.reaches(vm, State::Unknown).await;
    let off = world.act(vm, Verb::PoweroffHard).await.expect("accepted").answer;
    let phase = || world.record(vm).operation.map(|active| active.phase);
    until("a look that is not answered", || {
        phase().is_none_or(|phase| matches!(phase, Phase::Blind { .. }))
    })
    .await;
    assert_eq!(
        (world.fake.count(Op::Destroy), world.state(vm)),
        (1, State::Shutdown),
        "not while the start may still happen"
    );
    gate.open();
    // The start has happened after all, and the time for switching off is over: that is told as it
    // is.
    let waited = world
        .engine
        .wait(off.operation.expect("an operation"), crate::support::PATIENCE)
        .await
        .expect("waits");
    assert!(matches!(waited.operation.outcome, Some(Ended::Failed { .. })), "{waited:#?}");
    assert_eq!(waited.state, State::Running);
    world.healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_reaches_a_long_transfer() {
    let world = World::new().await;
    world.fake.long_jobs(100_000);
    let vm = world.held("cancelled").await;
    world.act(vm, Verb::Deploy).await.expect("accepted");
    until("the job to be polled", || world.fake.count(Op::Poll) > 0).await;
    let told = world.engine.why(vm).expect("answers");
    let progress = told.progress.expect("the job tells how far it is");
    assert!(!told.why.waits_for.is_empty() && progress.phase.contains("working"), "{progress:?}");
    world.fake.long_jobs(0);
    world.succeeds(vm, Verb::Delete).await;
    assert_eq!(world.fake.count(Op::Abort), 1);
    // The call was told to stop; the one that ends its job was not.
    assert_eq!(world.fake.transfers_begun(), []);
    world.healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_lane_holds_up_nobody_else_and_not_the_delete() {
    let world = World::with(EngineConfig { lane_width: 1, ..config() }).await;
    let gate = world.fake.on(Op::Deploy).host(ALPHA).times(1).hold();
    let (stuck, waits) = (world.held("stuck").await, world.held("waits").await);
    world.act(stuck, Verb::Deploy).await.expect("accepted");
    gate.reached(1).await;
    world.act(waits, Verb::Deploy).await.expect("accepted");
    let elsewhere = world
        .create(VmSpec { host: Some("beta".parse().expect("a name")), ..spec("beta") }, false)
        .await
        .expect("creates");
    world.reaches(elsewhere, State::Running).await;
    assert_ne!(world.state(waits), State::Running);
    gate.open();
    world.reaches(waits, State::Running).await;
    world.reaches(stuck, State::Running).await;
    world.healthy();
}

/// The fake, whose deploy panics as often as told, and whose list and looks panic when told.
struct Panicking {
    fake: Fake,
    left: AtomicU32,
    blind: AtomicU32,
}

impl Panicking {
    fn maybe(&self, left: &AtomicU32) {
        if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
        {
            panic!("a bug of the driver");
        }
    }
}

#[async_trait]
impl Hypervisor for Panicking {
    fn abilities(&self) -> &[Ability] {
        &[Ability::Reboot, Ability::Suspend, Ability::Changes, Ability::Metrics]
    }
    async fn probe(&self, site: &Site) -> Result<HostFacts, DriverError> {
        Ok(HostFacts { abilities: self.abilities().to_vec(), ..self.fake.probe(site).await? })
    }
    async fn deploy(&self, site: &Site, call: &CallControl, domain: &DomainSpec) -> CallResult {
        self.maybe(&self.left);
        self.fake.deploy(site, call, domain).await
    }
    async fn press_power(&self, site: &Site, call: &CallControl) -> CallResult {
        self.fake.press_power(site, call).await
    }
    async fn destroy(&self, site: &Site, call: &CallControl) -> CallResult {
        self.fake.destroy(site, call).await
    }
    async fn remove(&self, site: &Site, call: &CallControl) -> CallResult {
        self.fake.remove(site, call).await
    }
    async fn observe(&self, site: &Site, vm: VmUuid) -> Result<Observation, DriverError> {
        self.maybe(&self.blind);
        self.fake.observe(site, vm).await
    }
    async fn list(&self, site: &Site) -> Result<Listed, DriverError> {
        self.maybe(&self.blind);
        self.fake.list(site).await
    }
    fn reboot(&self) -> Option<&dyn Reboot> {
        Hypervisor::reboot(&self.fake)
    }
    fn suspend(&self) -> Option<&dyn Suspend> {
        self.fake.suspend()
    }
    fn changes(&self) -> Option<&dyn Changes> {
        Some(self)
    }
    fn metrics(&self) -> Option<&dyn Metrics> {
        self.fake.metrics()
    }
}

#[async_trait]
impl Changes for Panicking {
    async fn changes(
        &self,
        site: &Site,
        cursor: u64,
        wait: Duration,
    ) -> Result<ChangeBatch, DriverError> {
        self.maybe(&self.blind);
        Changes::changes(&self.fake, site, cursor, wait).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_of_a_driver_is_an_answer_and_the_watch_goes_on() {
    let world = World::new().await;
    let (left, blind) = (AtomicU32::new(2), AtomicU32::new(0));
    let panicking = Arc::new(Panicking { fake: world.fake.clone(), left, blind });
    let info = registry(&world.fake).list().remove(0).0;
    let kinds = vec![
        DriverKind::Hypervisor(panicking.clone()),
        DriverKind::Transfer(Arc::new(world.fake.clone())),
    ];
    world.engine.drivers().insert(DriverEntry::new(info, kinds).expect("it has what it states"));
    let vm = world.running("panic").await;
    panicking.blind.store(10, Ordering::SeqCst);
    until("all panics to be over", || panicking.blind.load(Ordering::SeqCst) == 0).await;
    world.fake.crash(ALPHA, world.record(vm).uuid);
    world.reaches(vm, State::Poweroff).await;
    world.healthy();
}

/// Removing the VM's files hangs. What still removes them must not be at work when they are made or
/// removed again.
#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_that_was_dropped_is_over_before_the_next_one_begins() {
    let world = World::new().await;
    let patience = Patience { transfer: Millis(200), ..spec("web").patience };
    let vm = world.running_as(VmSpec { patience, ..spec("web") }).await;
    let gate = world.fake.on(Op::Delete).hold();
    world.act(vm, Verb::Delete).await.expect("accepted");
    let last = || world.engine.why(vm).expect("is there").why.last_error;
    let waits = || matches!(last(), Some(LastError::Now(error)) if error.detail.contains("earlier transfer"));
    until("it to wait for the one that was dropped", waits).await;
    assert_eq!(world.fake.count(Op::Delete), 1);
    gate.open();
    world.reaches(vm, State::Done).await;
    world.healthy();
}
