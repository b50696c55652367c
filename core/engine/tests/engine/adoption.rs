//! Domains that somebody else made, and become VMs. Over the fake.

use crate::support::{ALPHA, World, ask, comes, config, until};
use crate::wild::{adopt, system, wild, wild_at};
use ostler_driver_testkit::fake::Op;
use ostler_engine::{ActionRequest, AdoptRequest, EngineConfig, EngineError, NotAdopted, Unusable};
use ostler_model::*;
use std::time::Duration;

const OLD: VmUuid = VmUuid(uuid::Uuid::from_u128(9));

#[tokio::test(flavor = "multi_thread")]
async fn a_wild_domain_becomes_a_vm_and_nothing_of_it_is_restarted() {
    let world = World::new().await;
    world.fake.put(ALPHA, wild(&world, OLD));
    let vm = world.engine.adopt(adopt(), None).await.expect("adopted").answer.vm;
    world.reaches(vm, State::Running).await;
    let domain = || world.fake.domain(ALPHA, OLD).expect("is there");
    assert_eq!((domain().run, domain().seen.name.as_str()), (77, "old-timer"));
    assert_eq!(domain().seen.identity.map(|identity| identity.vm), Some(OLD));
    assert_eq!((world.record(vm).spec.vcpus, world.record(vm).spec.memory_mib), (2, 512));
    assert!(world.engine.adopt(adopt(), None).await.is_err(), "it is a VM already");
    world.succeeds(vm, Verb::PoweroffHard).await;
    world.succeeds(vm, Verb::Resume).await;
    assert_eq!(domain().machine.disks[0].file.path.as_str(), "legacy/old.qcow2");
    world.succeeds(vm, Verb::Delete).await;
    assert_eq!(
        world
            .fake
            .files(ALPHA)
            .iter()
            .filter(|(_, path)| path.as_str().starts_with("legacy/"))
            .count(),
        1,
        "not ours to remove"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_that_cannot_be_stamped_stays_wild() {
    let world = World::new().await;
    world.fake.put(ALPHA, wild(&world, OLD));
    world.fake.on(Op::Stamp).times(1).fail(DriverError::refused("no", "as the test wants"));
    let request = || AdoptRequest { domain: OLD.to_string(), ..adopt() };
    let vm = world.engine.adopt(request(), None).await.expect("begun").answer.vm;
    world.reaches(vm, State::Done).await;
    assert_eq!(world.fake.domain(ALPHA, OLD).map(|domain| domain.run), Some(77));
    let again = world.engine.adopt(request(), None).await.expect("adopted").answer.vm;
    world.reaches(again, State::Running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_adoption_forgets_nothing() {
    let world = World::new().await;
    world.fake.put(ALPHA, wild(&world, OLD));
    let former = world.engine.adopt(adopt(), None).await.expect("adopted").answer.vm;
    world.reaches(former, State::Running).await;
    world.succeeds(former, Verb::Delete).await;
    let mut elsewhere = wild(&world, OLD);
    elsewhere.machine.disks[0].file.absolute = "/srv/old.qcow2".to_owned();
    world.fake.put(ALPHA, elsewhere);
    world.engine.adopt(adopt(), None).await.expect_err("its disk lies in no datastore");
    assert_eq!(world.state(former), State::Done, "what was is still told");
    world.fake.put(ALPHA, wild(&world, OLD));
    let vm = world.engine.adopt(adopt(), None).await.expect("adopted").answer.vm;
    world.reaches(vm, State::Running).await;
    assert_eq!(world.record(vm).issued, Generation(2), "no generation of a UUID is used twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_in_the_folder_of_a_vm_is_not_adopted() {
    for folder in ["vms", "home"] {
        let world = World::new().await;
        let path = format!("{folder}/{OLD}/old.qcow2");
        world.fake.put(ALPHA, wild_at(&world, OLD, &path));
        let refused =
            world.engine.adopt(adopt(), None).await.expect_err("the folder goes with the VM");
        assert!(
            matches!(
                &refused,
                EngineError::Unusable(Unusable::NotAdopted {
                    why: NotAdopted::DiskInFolder { .. },
                    ..
                })
            ),
            "{refused}"
        );
        assert!(world.fake.file(ALPHA, &system(), &path.parse().expect("a path")).is_some());
        assert!(world.vms().is_empty());
    }
}

fn save_as(verb: Verb, image: &str) -> ActionRequest {
    let (disk, image) = ("vda".parse().expect("a name"), image.parse().expect("a name"));
    let datastore = Some("images".parse().expect("a name"));
    ActionRequest { args: Args::NewImage { disk, image, datastore }, ..ask(verb) }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adopted_disk_becomes_an_image_though_the_vm_has_no_folder_yet() {
    let world = World::new().await;
    world.fake.put(ALPHA, wild(&world, OLD));
    let vm = world.engine.adopt(adopt(), None).await.expect("adopted").answer.vm;
    world.reaches(vm, State::Running).await;
    world.succeeds(vm, Verb::PoweroffHard).await;
    world.done(vm, save_as(Verb::DiskSnapshotLive, "now")).await;
    world.engine.act(vm, save_as(Verb::DiskSnapshot, "later"), None).await.expect("marked");
    world.succeeds(vm, Verb::ShutdownHard).await;
    let reader = world.engine.store().read().expect("reads");
    for name in ["now", "later"] {
        let image =
            reader.image_by_name(&name.parse().expect("a name")).expect("reads").expect("is there");
        assert_eq!(image.state, ImageState::Ready, "{name}");
        let file = world
            .fake
            .file(ALPHA, &"images".parse().expect("a name"), &image.path)
            .expect("is there");
        assert_eq!(file.content, "qcow2 of old");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_whose_domain_is_somebody_elses_by_now_can_be_forgotten_and_adopted_again() {
    let world = World::with(EngineConfig { runner_idle: Duration::from_secs(1), ..config() }).await;
    world.fake.put(ALPHA, wild(&world, OLD));
    let vm = world.engine.adopt(adopt(), None).await.expect("adopted").answer.vm;
    world.reaches(vm, State::Running).await;
    // Defined anew, without our identity.
    world.fake.drop_domain(ALPHA, OLD);
    world.fake.put(ALPHA, wild(&world, OLD));
    world.fake.guest_off(ALPHA, OLD);
    world.reaches(vm, State::Unknown).await;
    world.done(vm, ActionRequest { force: true, ..ask(Verb::Forget) }).await;
    until("nothing of it to be waited for", || world.record(vm).leftovers.is_empty()).await;
    assert!(
        !comes(Duration::from_millis(100), || world.fake.domain(ALPHA, OLD).is_none()).await,
        "touched"
    );
    let again = world.engine.adopt(adopt(), None).await.expect("adopted").answer.vm;
    world.reaches(again, State::Poweroff).await;
}
