//! VMs that are changed while they are: plugged, resized, snapshotted, saved as images, renamed,
//! planned for. Over the fake.

use crate::support::{ALPHA, World, ask, refusal, until};
use async_trait::async_trait;
use ostler_driver::{RulesQuestion, RulesVerdict, SnapshotFate, SnapshotRules, Verdict};
use ostler_driver_testkit::fake::Op;
use ostler_engine::{ActionRequest, EngineError};
use ostler_model::*;
use ostler_store::ResourceChange;

fn with(verb: Verb, args: Args) -> ActionRequest {
    ActionRequest { args, ..ask(verb) }
}

fn machine(world: &World, vm: VmId) -> ostler_driver_testkit::fake::FakeMachine {
    world.fake.domain(ALPHA, world.record(vm).uuid).expect("is there").machine
}

fn new_disk() -> Args {
    Args::NewDisk {
        name: None,
        source: DiskSource::Blank { size_mib: 5 },
        format: DiskFormat::Qcow2,
        read_only: false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_is_told_all_files_below_a_disk_where_they_are_known() {
    let world = World::new().await;
    let vm = world.running("layers").await;
    let below = |world: &World| -> Vec<_> {
        machine(world, vm).disks.into_iter().map(|disk| disk.below).collect()
    };
    let [Some(root), Some(data)] = &below(&world)[..] else { panic!("{:?}", below(&world)) };
    assert_eq!(
        (root.len(), root[0].file.absolute.as_str(), root[0].format),
        (1, "/images/base.qcow2", DiskFormat::Qcow2)
    );
    assert!(data.is_empty());
    // An image of a store from before files were looked at may stand on others.
    let image = world
        .engine
        .store()
        .read()
        .expect("reads")
        .image(ImageId(1))
        .expect("reads")
        .expect("there");
    let before = ResourceChange::ImagePut(Image { stands_alone: false, ..image });
    world.engine.change(before, "test").await.expect("changes");
    world.succeeds(vm, Verb::PoweroffHard).await;
    world.succeeds(vm, Verb::Resume).await;
    assert_eq!(below(&world), [None, Some(Vec::new())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_is_plugged_in_and_out() {
    let world = World::new().await;
    let vm = world.running("a").await;
    world.done(vm, with(Verb::DiskAttach, new_disk())).await;
    assert_eq!(world.state(vm), State::Running);
    assert_eq!(
        machine(&world, vm).disks.last().map(|disk| disk.name.to_string()),
        Some("vda".to_owned())
    );
    world.healthy();
    world
        .done(vm, with(Verb::DiskDetach, Args::Disk { name: "vda".parse().expect("a name") }))
        .await;
    assert_eq!(
        (
            machine(&world, vm).disks.len(),
            world.record(vm).disks.len(),
            world.record(vm).spec.disks.len()
        ),
        (2, 2, 2)
    );
    world.healthy();
    let unknown = with(Verb::DiskDetach, Args::Disk { name: "vdz".parse().expect("a name") });
    assert_eq!(refusal(world.engine.act(vm, unknown, None).await), RefusalKind::BadRequest);
    assert_eq!(refusal(world.act(vm, Verb::DiskAttach).await), RefusalKind::BadRequest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_cannot_be_plugged_in_leaves_nothing() {
    let world = World::new().await;
    let vm = world.running("a").await;
    world.fake.on(Op::AttachDisk).fail(DriverError::refused("no", "as the test wants"));
    let waited = world.ends(vm, with(Verb::DiskAttach, new_disk())).await;
    assert!(matches!(waited.operation.outcome, Some(Ended::Failed { .. })));
    assert_eq!(
        (world.state(vm), world.record(vm).disks.len(), world.record(vm).spec.disks.len()),
        (State::Running, 2, 2)
    );
    world.healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_of_a_vm_that_is_off_is_there_at_its_next_start() {
    let world = World::new().await;
    let vm = world.running("a").await;
    world.succeeds(vm, Verb::PoweroffHard).await;
    world.done(vm, with(Verb::DiskAttach, new_disk())).await;
    assert_eq!(world.state(vm), State::Poweroff);
    world.succeeds(vm, Verb::Resume).await;
    assert_eq!(machine(&world, vm).disks.len(), 3);
    world.healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn cards_keep_their_addresses_when_others_come_and_go() {
    let world = World::new().await;
    let vm = world.running("a").await;
    let nic = || Args::NewNic(NicSpec { bridge: "br0".to_owned(), mac: None });
    world.done(vm, with(Verb::NicAttach, nic())).await;
    world.done(vm, with(Verb::NicAttach, nic())).await;
    let macs: Vec<MacAddress> =
        machine(&world, vm).nics.iter().map(|nic| nic.mac.clone()).collect();
    assert!(macs.len() == 2 && macs[0] != macs[1]);
    world.done(vm, with(Verb::NicDetach, Args::Nic { mac: macs[0].clone() })).await;
    assert_eq!(
        machine(&world, vm).nics.iter().map(|nic| nic.mac.clone()).collect::<Vec<_>>(),
        [macs[1].clone()]
    );
    world.succeeds(vm, Verb::PoweroffHard).await;
    world.succeeds(vm, Verb::Resume).await;
    assert_eq!(machine(&world, vm).nics[0].mac, macs[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_grows_while_it_runs_as_far_as_there_is_headroom() {
    let world = World::new().await;
    let mut spec = crate::support::spec("a");
    spec.headroom = Headroom { vcpus: Some(4), memory_mib: Some(2048) };
    let vm = world.running_as(spec).await;
    let size =
        |vcpus, memory_mib| with(Verb::Resize, Args::Size { cpu_milli: None, vcpus, memory_mib });
    world.done(vm, size(Some(3), Some(1500))).await;
    assert_eq!((machine(&world, vm).vcpus, machine(&world, vm).memory_mib), (3, 1500));
    world.healthy();
    assert_eq!(
        refusal(world.engine.act(vm, size(Some(5), None), None).await),
        RefusalKind::BadRequest
    );
    world.fake.on(Op::Resize).times(1).fail(DriverError::refused("no", "as the test wants"));
    world.ends(vm, size(Some(4), None)).await;
    assert_eq!(
        (world.record(vm).spec.vcpus, world.state(vm)),
        (3, State::Running),
        "what it was before"
    );
    world.succeeds(vm, Verb::PoweroffHard).await;
    world
        .engine
        .act(vm, size(Some(8), None), None)
        .await
        .expect("at rest only the record is changed");
    world.succeeds(vm, Verb::Resume).await;
    assert_eq!(machine(&world, vm).vcpus, 8);
    world.healthy();
}

struct Rules;

#[async_trait]
impl SnapshotRules for Rules {
    async fn judge(&self, question: &RulesQuestion) -> Result<RulesVerdict, DriverError> {
        let verdict = if question.snapshots.len() >= 2 && question.verb == "snapshot-create" {
            Verdict::Refused { reason: "two are enough".to_owned() }
        } else {
            Verdict::Allowed
        };
        let fate = match question.verb.as_str() {
            "reboot" | "snapshot-create" | "snapshot-delete" | "snapshot-revert" => {
                SnapshotFate::Keep
            }
            "suspend" | "observed" => SnapshotFate::Hide,
            _ => SnapshotFate::Lose,
        };
        Ok(RulesVerdict { verdict, fates: vec![fate; question.snapshots.len()] })
    }
}

fn named(verb: Verb, name: &str) -> ActionRequest {
    with(verb, Args::Snapshot { name: name.to_owned() })
}

fn new_snapshot(label: &str) -> ActionRequest {
    with(Verb::SnapshotCreate, Args::NewSnapshot { label: label.to_owned() })
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_made_gone_back_to_and_removed_as_the_rules_allow() {
    let world = World::ruled(std::sync::Arc::new(Rules)).await;
    let vm = world.running("a").await;
    world.done(vm, new_snapshot("first")).await;
    world.done(vm, new_snapshot("second")).await;
    let refused = world.engine.act(vm, new_snapshot("third"), None).await.expect_err("refused");
    let says = |cause: &Cause| matches!(cause, Cause::RulesSayNo { reason, .. } if reason.contains("two are enough"));
    assert!(matches!(&refused, EngineError::Refused(refused) if says(&refused.cause)), "{refused}");
    world.done(vm, named(Verb::SnapshotRevert, "first")).await;
    let name = world.record(vm).snapshot("first").expect("is offered").name.clone();
    assert_eq!(machine(&world, vm).reverted_to, Some(name));
    world.done(vm, named(Verb::SnapshotDelete, "first")).await;
    assert_eq!((machine(&world, vm).snapshots.len(), world.record(vm).snapshots.len()), (1, 1));
    assert_eq!(
        refusal(world.engine.act(vm, named(Verb::SnapshotDelete, "first"), None).await),
        RefusalKind::BadRequest
    );
    let preview = world.engine.preview(vm, ask(Verb::PoweroffHard)).await.expect("answers");
    assert_eq!((preview.loses.len(), preview.steps.len()), (1, 2), "{preview:?}");
    assert_eq!(world.record(vm).snapshots.len(), 1, "only asked");
    world.succeeds(vm, Verb::PoweroffHard).await;
    assert_eq!((world.record(vm).snapshots.len(), world.fake.count(Op::DeleteSnapshot)), (0, 2));
    world.healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_hidden_by_what_is_seen_and_lost_by_what_is_done() {
    let world = World::ruled(std::sync::Arc::new(Rules)).await;
    let vm = world.running("a").await;
    world.done(vm, new_snapshot("first")).await;
    world.fake.guest_off(ALPHA, world.record(vm).uuid);
    world.reaches(vm, State::Poweroff).await;
    assert!(world.record(vm).snapshots[0].hidden, "as the rules say of what is observed");
    let health = world.engine.driver_health(&"rules".parse().expect("a name"));
    assert!(
        health.calls >= 2 && health.errors == 0,
        "of the snapshot, and of what was observed: {health:?}"
    );
    assert!(world.record(vm).snapshot("first").is_none(), "no longer offered");
    world.succeeds(vm, Verb::Resume).await;
    assert_eq!(world.record(vm).snapshots.len(), 0, "removed by a step of resume");
    world.healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_rules_no_snapshot_is_made() {
    let world = World::new().await;
    let vm = world.running("a").await;
    assert_eq!(refusal(world.engine.act(vm, new_snapshot(""), None).await), RefusalKind::Rules);
}

fn image(world: &World, name: &str) -> Option<Image> {
    world
        .engine
        .store()
        .read()
        .expect("reads")
        .image_by_name(&name.parse().expect("a name"))
        .expect("reads")
}

fn save_as(verb: Verb, image: &str) -> ActionRequest {
    let image = image.parse().expect("a name");
    with(verb, Args::NewImage { disk: "data".parse().expect("a name"), image, datastore: None })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_becomes_an_image_now_or_at_the_end_or_not() {
    let world = World::new().await;
    let vm = world.running("a").await;
    world.done(vm, save_as(Verb::DiskSnapshotLive, "now")).await;
    assert_eq!(
        (image(&world, "now").map(|image| image.state), world.state(vm)),
        (Some(ImageState::Ready), State::Running)
    );
    world.engine.act(vm, save_as(Verb::DiskSnapshot, "never"), None).await.expect("marked");
    assert_eq!(image(&world, "never").map(|image| image.state), Some(ImageState::Locked));
    let cancel =
        with(Verb::DiskSnapshotCancel, Args::Disk { name: "data".parse().expect("a name") });
    world.engine.act(vm, cancel, None).await.expect("taken back");
    assert_eq!(image(&world, "never"), None);
    world.engine.act(vm, save_as(Verb::DiskSnapshot, "later"), None).await.expect("marked");
    world.succeeds(vm, Verb::ShutdownHard).await;
    assert_eq!(image(&world, "later").map(|image| image.state), Some(ImageState::Ready));
    let mut spec = crate::support::spec("b");
    spec.disks[0].source =
        DiskSource::Image { image: "later".parse().expect("a name"), size_mib: None };
    world.running_as(spec).await;
    world.healthy();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_to_become_an_image_and_did_not_is_to_be_looked_at() {
    let world = World::new().await;
    let vm = world.running("a").await;
    world.fake.on(Op::CopyDisk).times(1).fail(DriverError::refused("no", "as the test wants"));
    world.ends(vm, save_as(Verb::DiskSnapshotLive, "half")).await;
    assert_eq!(
        (image(&world, "half").map(|image| image.state), world.state(vm)),
        (Some(ImageState::Error), State::Running)
    );
    world.engine.act(vm, save_as(Verb::DiskSnapshot, "lost"), None).await.expect("marked");
    let twice =
        world.engine.act(vm, save_as(Verb::DiskSnapshot, "lost"), None).await.expect_err("refused");
    let again = |cause: &Cause| matches!(cause, Cause::DiskToSave { again: true, .. });
    assert!(matches!(&twice, EngineError::Refused(refused) if again(&refused.cause)), "{twice}");
    world.succeeds(vm, Verb::Delete).await;
    assert_eq!(image(&world, "lost").map(|image| image.state), Some(ImageState::Error));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_edited_beside_what_runs() {
    let world = World::new().await;
    let vm = world.running("a").await;
    let gate = world.fake.on(Op::Destroy).hold();
    let off =
        world.act(vm, Verb::PoweroffHard).await.expect("accepted").answer.operation.expect("one");
    gate.reached(1).await;
    let step = world.record(vm).step;
    world.done(vm, with(Verb::Rename, Args::Name { name: "b".parse().expect("a name") })).await;
    world.done(vm, with(Verb::Update, Args::UserData { text: "hello".to_owned() })).await;
    let record = world.record(vm);
    assert_eq!(
        (record.spec.name.as_str(), record.spec.user_data.as_str(), record.step),
        ("b", "hello", step)
    );
    assert_eq!(record.operation.map(|active| active.id), Some(off));
    gate.open();
    world.reaches(vm, State::Poweroff).await;
}

fn planned(verb: Verb, when: When) -> Args {
    let schedule = Schedule::new(ScheduleId::default(), verb, when, "");
    Args::NewSchedule(Box::new(Planned { schedule, args: Args::None, host: None, retry_at: None }))
}

fn soon() -> When {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_millis();
    When::once(Timestamp(u64::try_from(now).expect("fits") + 300))
}

fn last(world: &World, vm: VmId) -> ScheduleState {
    world.record(vm).schedules.last().expect("is kept").schedule.state.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_planned_is_done_and_what_is_refused_is_told() {
    let world = World::new().await;
    let vm = world.running("a").await;
    world
        .engine
        .act(vm, with(Verb::Schedule, planned(Verb::PoweroffHard, soon())), None)
        .await
        .expect("planned");
    assert!(matches!(last(&world, vm), ScheduleState::Waiting));
    world.reaches(vm, State::Poweroff).await;
    until("it to be told as done", || matches!(last(&world, vm), ScheduleState::Done { .. })).await;
    assert_eq!(world.record(vm).schedules[0].schedule.next, None);
    world
        .engine
        .act(vm, with(Verb::Schedule, planned(Verb::Suspend, soon())), None)
        .await
        .expect("planned");
    until("it to be told as failed", || matches!(last(&world, vm), ScheduleState::Failed { .. }))
        .await;
    assert_eq!(world.state(vm), State::Poweroff);
    let first = world.record(vm).schedules[0].id();
    world
        .engine
        .act(vm, with(Verb::Unschedule, Args::Schedule { id: first }), None)
        .await
        .expect("taken back");
    assert_eq!(world.record(vm).schedules.len(), 1);
    let never = with(Verb::Schedule, planned(Verb::Suspend, When::once(Timestamp(1))));
    assert_eq!(refusal(world.engine.act(vm, never, None).await), RefusalKind::BadRequest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_action_that_its_resources_refuse_is_told_and_holds_up_no_other() {
    let world = World::new().await;
    let vm = world.running("a").await;
    // There is an image of that name: so it is for whatever saves an image each night.
    let disk = "data".parse().expect("a name");
    let args = Args::NewImage { disk, image: "base".parse().expect("a name"), datastore: None };
    let schedule = Schedule::new(ScheduleId::default(), Verb::DiskSnapshotLive, soon(), "");
    let nightly =
        Args::NewSchedule(Box::new(Planned { schedule, args, host: None, retry_at: None }));
    world.engine.act(vm, with(Verb::Schedule, nightly), None).await.expect("planned");
    world
        .engine
        .act(vm, with(Verb::Schedule, planned(Verb::PoweroffHard, soon())), None)
        .await
        .expect("planned");
    world.reaches(vm, State::Poweroff).await;
    let first = || world.record(vm).schedules[0].schedule.clone();
    let taken = ResourceRefused::NameTaken { kind: ResourceKind::Image, name: "base".to_owned() };
    let refused = |why: &NotDone| matches!(why, NotDone::Refused(refused) if refused.cause == Cause::Resource(taken.clone()));
    until(
        "it to be told",
        || matches!(first().state, ScheduleState::Failed { why, .. } if refused(&why)),
    )
    .await;
    assert_eq!(first().next, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_removed_for_good_is_told_before_and_with_the_answer() {
    let world = World::ruled(std::sync::Arc::new(Rules)).await;
    let vm = world.running("a").await;
    world.done(vm, new_snapshot("first")).await;
    let disk = |name: &str| Destroyed::Disk { name: name.parse().expect("a name") };
    let disks: Vec<Destroyed> =
        world.record(vm).disks.iter().map(|known| disk(known.name.as_str())).collect();
    let made = world.record(vm).snapshot("first").expect("is offered").name.clone();
    let first = Destroyed::Snapshot { name: made, label: "first".to_owned(), hidden: false };
    let detach =
        with(Verb::DiskDetach, Args::Disk { name: world.record(vm).disks[0].name.clone() });
    for (asked, destroys) in [
        (ask(Verb::Reboot), vec![]),
        (detach, vec![disks[0].clone(), first]),
        (ask(Verb::Suspend), vec![]),
        (ask(Verb::ShutdownHard), vec![disks[1].clone(), Destroyed::Memory]),
    ] {
        let before = world.engine.preview(vm, asked.clone()).await.expect("answers");
        let answer = world.engine.act(vm, asked.clone(), None).await.expect("accepted").answer;
        assert_eq!((&before.destroys, &answer.destroys), (&destroys, &destroys), "{}", asked.verb);
        world
            .engine
            .wait(answer.operation.expect("an operation"), std::time::Duration::from_secs(20))
            .await
            .expect("ends");
    }
    assert_eq!(world.state(vm), State::Done);
    world.healthy();
}
