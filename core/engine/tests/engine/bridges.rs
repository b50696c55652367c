//! A bridge is looked for when it is named, on the hosts that are to use it.

use crate::support::{ALPHA, BETA, World, ask, config, spec, until};
use ostler_driver_testkit::fake::Op;
use ostler_engine::{
    ActionRequest, CreateRequest, EngineConfig, EngineError, NotCreated, Unusable, Waits, WhyNot,
};
use ostler_model::*;
use ostler_store::{HostEdit, ResourceChange};
use std::time::Duration;

fn on(bridge: &str) -> VmSpec {
    VmSpec { nics: vec![NicSpec { bridge: bridge.to_owned(), mac: None }], ..spec("carded") }
}

fn create(spec: VmSpec) -> CreateRequest {
    CreateRequest { spec, by: "test".to_owned(), hold: false }
}

fn nic(bridge: &str) -> ActionRequest {
    ActionRequest {
        args: Args::NewNic(NicSpec { bridge: bridge.to_owned(), mac: None }),
        ..ask(Verb::NicAttach)
    }
}

/// Two hosts whose interfaces are known. The monitor has probed them, and does not do so again by
/// itself while a test runs.
async fn bridged() -> World {
    bridged_with(Duration::from_secs(60)).await
}

async fn bridged_with(poll_every: Duration) -> World {
    let world = World::new().await;
    world.fake.set_interfaces(ALPHA, &["lo", "br0"]);
    world.fake.set_interfaces(BETA, &["lo", "br1"]);
    let world = world.restart(EngineConfig { poll_every, ..config() }).await;
    let known = |host: &HostId| {
        world.engine.host_health(*host).is_some_and(|health| health.interfaces.is_some())
    };
    until("the interfaces to be known", || [ALPHA, BETA].iter().all(known)).await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_whose_bridge_no_host_has_is_refused_before_it_is_made() {
    let world = bridged().await;
    let refused = world.engine.create(create(on("br7")), None).await.expect_err("no host has it");
    let nowhere =
        Unusable::NotCreated(NotCreated::NoBridgeAnywhere { bridge: "br7".to_owned(), hosts: 2 });
    assert!(matches!(&refused, EngineError::Unusable(why) if *why == nowhere), "{refused}");
    let alpha: HostName = "alpha".parse().expect("a name");
    let only = VmSpec { host: Some(alpha.clone()), ..on("br1") };
    let refused = world.engine.preview_create(create(only)).await.expect_err("alpha has none");
    let lacks =
        Unusable::NotCreated(NotCreated::NoBridge { bridge: "br1".to_owned(), host: alpha });
    assert!(matches!(&refused, EngineError::Unusable(why) if *why == lacks), "{refused}");
    assert_eq!(world.vms().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_goes_to_the_host_that_has_its_bridge() {
    let world = bridged().await;
    let vm = world.engine.create(create(on("br1")), None).await.expect("beta has it").answer.vm;
    world.reaches(vm, State::Running).await;
    assert_eq!(world.record(vm).placement.map(|place| place.host), Some(BETA));
    let to_alpha = ActionRequest { host: Some(ALPHA), ..ask(Verb::MigrateLive) };
    let refused = world.engine.act(vm, to_alpha, None).await.expect_err("alpha has no such bridge");
    let lacks = Cause::HostUnfit { host: ALPHA, why: Unfit::NoBridge("br1".to_owned()) };
    assert!(
        matches!(&refused, EngineError::Refused(refusal) if refusal.cause == lacks),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_that_was_made_since_the_last_probe_is_found() {
    let world = bridged().await;
    let vm = world.running_as(VmSpec { nics: Vec::new(), ..on("br0") }).await;
    let host = world.record(vm).placement.expect("it runs").host;
    let refused =
        world.engine.act(vm, nic("br9"), None).await.expect_err("there is no such bridge");
    let lacks = |cause: &Cause| matches!(cause, Cause::NoBridge { bridge, .. } if bridge == "br9");
    assert!(
        matches!(&refused, EngineError::Refused(refusal) if lacks(&refusal.cause)),
        "{refused}"
    );
    assert_eq!(world.record(vm).spec.nics.len(), 0);
    world.fake.set_interfaces(host, &["br9"]);
    world.done(vm, nic("br9")).await;
    let probes = || world.fake.calls().iter().filter(|call| call.op == Op::Probe).count();
    let before = probes();
    world.done(vm, nic("br9")).await;
    assert_eq!(probes(), before, "a bridge that is known to be there costs no probe");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_takes_no_vms_now_may_have_the_bridge() {
    // Every 30th list comes with a regular probe. That is later than this test waits.
    let world = bridged_with(Duration::from_secs(1)).await;
    let edit = HostEdit { state: Some(HostState::Draining), ..HostEdit::default() };
    world
        .engine
        .change(ResourceChange::HostEdit { id: BETA, edit }, "test")
        .await
        .expect("changes");
    let vm = world
        .engine
        .create(create(on("br1")), None)
        .await
        .expect("beta has it, and may take VMs later")
        .answer
        .vm;
    until("the scheduler to say why it waits", || {
        let said = world.engine.why(vm).expect("explains").scheduler;
        let lacks = |line: &Waits| matches!(line, Waits::Host(_, WhyNot::Unfit(Unfit::NoBridge(bridge))) if bridge == "br1");
        said.iter().any(lacks)
    })
    .await;
    // The bridge is made on the host that lacks it, and nobody tells.
    world.fake.set_interfaces(ALPHA, &["br1"]);
    world.reaches(vm, State::Running).await;
    assert_eq!(world.record(vm).placement.map(|place| place.host), Some(ALPHA));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_about_a_missing_bridge_share_their_probes() {
    let world = bridged().await;
    let before = world.fake.count(Op::Probe);
    // So all have asked before the first probe is answered.
    world.fake.on(Op::Probe).delay(Duration::from_millis(100));
    let asked = (0..40).map(|_| world.engine.create(create(on("br9")), None));
    let refused = futures::future::join_all(asked).await;
    assert!(refused.iter().all(Result::is_err), "{refused:?}");
    // Two hosts, and each is probed again for those who asked after the first probe began.
    let probes = world.fake.count(Op::Probe) - before;
    assert!(probes <= 4, "{probes} probes for 40 requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_refused_where_the_driver_cannot_tell() {
    let world = World::new().await;
    let vm = world.engine.create(create(on("br7")), None).await.expect("nobody knows").answer.vm;
    world.reaches(vm, State::Running).await;
    world.done(vm, nic("br8")).await;
}

/// The monitor lists each host once a minute here.
#[tokio::test(flavor = "multi_thread")]
async fn hosts_of_a_driver_that_was_replaced_are_probed_at_once() {
    let world = bridged().await;
    world.fake.set_interfaces(ALPHA, &["lo", "br0", "br9"]);
    world.engine.probe_hosts_of(&"fake".parse().expect("a name"));
    until("alpha to be probed", || {
        let health = world.engine.host_health(ALPHA).expect("it was reached");
        health.interfaces.is_some_and(|names| names.contains("br9"))
    })
    .await;
}
