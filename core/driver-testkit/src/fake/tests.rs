//! Tests that orders have the effects that they describe.

use super::*;
use ostler_driver::{
    CallControl, DomainDisk, DomainSpec, DriverEntry, DriverInfo, DriverKind, DriverOrigin,
    FileRef, Hotplug, Hypervisor, JobStatus, LiveResize, Migrate, Snapshots, Suspend,
};
use ostler_model::{
    CallContext, DiskFormat, Epoch, ErrorKind, ExecTransport, Firmware, Generation, Graphics,
    Identity, Item, Observation, OperationId, StepNo, StoreId, Timestamp,
};
use std::time::{Duration, Instant};

fn site() -> Site {
    host(1)
}

pub(super) fn host(id: u32) -> Site {
    Site {
        id: HostId(id),
        name: format!("host-{id}").parse().expect("a name"),
        config: BTreeMap::new(),
        transport: ExecTransport::Local,
        roots: BTreeMap::new(),
    }
}

pub(super) fn call(step: u64) -> CallControl {
    let key =
        EffectKey { vm: vm(), operation: OperationId(1), step: StepNo(step), item: Item::Domain };
    let context = CallContext {
        store: StoreId(uuid::Uuid::nil()),
        key,
        attempt: 1,
        generation: Generation(1),
        epoch: Epoch(0),
        spares: None,
        deadline: Timestamp(u64::MAX),
    };
    CallControl::detached(context, Instant::now() + Duration::from_secs(60))
}

pub(super) fn vm() -> VmUuid {
    VmUuid(uuid::Uuid::from_u128(7))
}

#[tokio::test]
async fn a_held_call_that_is_dropped_keeps_the_vm_busy() {
    let fake = Fake::new();
    let gate = fake.on(Op::Destroy).hold();
    let (held, at) = (fake.clone(), site());
    let work = tokio::spawn(async move { held.destroy(&at, &call(1)).await });
    gate.reached(1).await;
    assert_eq!(fake.observe(&site(), vm()).await, Ok(Observation::Absent));
    work.abort();
    assert!(work.await.expect_err("aborted").is_cancelled());
    assert_eq!(fake.observe(&site(), vm()).await.expect_err("busy").code, "busy");
    gate.open();
    while fake.observe(&site(), vm()).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[test]
fn the_fake_has_the_parts_that_it_states_and_no_others() {
    let none = Fake::with_abilities(&[]);
    assert!(none.suspend().is_none() && none.migrate().is_none() && none.adopt().is_none());
    for ability in Fake::new().abilities() {
        let info = DriverInfo {
            name: "fake".parse().expect("a name"),
            version: "0".to_owned(),
            description: "one ability".to_owned(),
            origin: DriverOrigin::BuiltIn,
            abilities: vec![*ability],
            settings: None,
        };
        let fake = Fake::with_abilities(&[*ability]);
        let entry = DriverEntry::new(info, vec![DriverKind::Hypervisor(Arc::new(fake))]);
        assert!(entry.is_ok(), "{:?}", entry.err());
    }
}

#[tokio::test]
async fn orders_are_counted_and_narrowed() {
    let fake = Fake::new();
    fake.on(Op::Destroy).times(1).fail(DriverError::retry("ordered", ""));
    fake.on(Op::Destroy).host(HostId(9)).fail(DriverError::retry("elsewhere", ""));
    assert_eq!(fake.destroy(&site(), &call(1)).await.expect_err("ordered").code, "ordered");
    assert!(fake.destroy(&site(), &call(1)).await.is_ok());
    fake.on(Op::Destroy).lose();
    assert_eq!(fake.destroy(&site(), &call(1)).await.expect_err("lost").kind, ErrorKind::Unknown);
    fake.obey();
    assert!(fake.destroy(&site(), &call(1)).await.is_ok());
    assert_eq!(fake.count(Op::Destroy), 4);
}

#[tokio::test]
async fn two_mutating_calls_of_one_vm_are_told() {
    let fake = Fake::new();
    let gate = fake.on(Op::Remove).hold();
    let (held, at) = (fake.clone(), site());
    let work = tokio::spawn(async move { held.remove(&at, &call(1)).await });
    gate.reached(1).await;
    assert!(fake.destroy(&site(), &call(2)).await.is_ok());
    assert!(fake.violations().is_empty(), "destroy may run beside others");
    assert!(fake.unpause(&site(), &call(3)).await.is_err());
    assert_eq!(fake.violations().len(), 1);
    gate.step();
    assert!(work.await.expect("joined").is_ok());
}

#[tokio::test]
async fn a_host_that_is_cut_off_says_nothing() {
    let fake = Fake::new();
    fake.cut_off(HostId(1), true);
    assert_eq!(fake.observe(&site(), vm()).await.expect_err("away").kind, ErrorKind::Retry);
    assert!(Hypervisor::list(&fake, &site()).await.is_err());
    fake.cut_off(HostId(1), false);
    assert!(Hypervisor::list(&fake, &site()).await.is_ok());
}

pub(super) fn file(host: u32, path: &str) -> FileRef {
    let datastore = "system".parse().expect("a name");
    FileRef {
        host: HostId(host),
        datastore,
        path: path.parse().expect("a path"),
        absolute: format!("/{host}/{path}"),
    }
}

pub(super) fn domain(host: u32, generation: u64) -> DomainSpec {
    let disk = |name: &str| DomainDisk {
        name: name.parse().expect("a name"),
        file: file(host, name),
        format: DiskFormat::Qcow2,
        read_only: false,
        below: None,
    };
    DomainSpec {
        identity: Identity {
            store: StoreId(uuid::Uuid::nil()),
            vm: vm(),
            generation: Generation(generation),
        },
        name: "it".to_owned(),
        title: "it".to_owned(),
        vcpus: 1,
        cpu_milli: 1000,
        vcpus_most: 4,
        memory_mib: 64,
        memory_most_mib: 128,
        firmware: Firmware::Bios,
        kernel: None,
        initrd: None,
        cmdline: String::new(),
        disks: vec![disk("vda"), disk("vdb")],
        nics: Vec::new(),
        graphics: Graphics::None,
        console_log: file(host, "console.log"),
    }
}

async fn running() -> Fake {
    let fake = Fake::new();
    fake.deploy(&host(1), &call(1), &domain(1, 1)).await.expect("deployed");
    let disk = file(1, "vdb");
    fake.put_file(
        HostId(1),
        disk.datastore,
        disk.path,
        FakeFile { content: "data".to_owned(), complete: true },
    );
    fake
}

#[tokio::test]
async fn a_domain_moves_with_the_disks_it_is_told_to_take() {
    let fake = running().await;
    let run = fake.domain(HostId(1), vm()).expect("there").run;
    fake.long_jobs(2);
    let (spec, disks) = (domain(2, 2), ["vdb".parse().expect("a name")]);
    let begin = async |step| fake.begin(&host(1), &call(step), &spec, &host(2), &disks).await;
    assert!(matches!(begin(2).await, Ok(JobStatus::Pending(_))));
    assert!(matches!(begin(2).await, Ok(JobStatus::Pending(_))), "attached to");
    assert_eq!(begin(3).await.expect_err("another").code, "busy");
    let poll = async || fake.poll(&host(1), &call(2)).await;
    assert!(matches!(poll().await, Ok(JobStatus::Pending(_))));
    assert_eq!(fake.running(), [(HostId(1), vm())]);
    assert!(matches!(poll().await, Ok(JobStatus::Done(_))));
    assert_eq!(fake.running(), [(HostId(2), vm())]);
    assert!(fake.domains(HostId(1)).is_empty());
    let moved = fake.domain(HostId(2), vm()).expect("there");
    assert_eq!(
        (moved.run, moved.seen.identity, &moved.machine.disks),
        (run, Some(spec.identity), &spec.disks)
    );
    let disk = file(2, "vdb");
    assert_eq!(fake.file(HostId(2), &disk.datastore, &disk.path).expect("copied").content, "data");
    assert_eq!(poll().await.expect_err("ended").kind, ErrorKind::Gone);
    assert!(matches!(begin(2).await, Ok(JobStatus::Done(_))), "it has moved");
}

#[tokio::test]
async fn a_domain_runs_on_where_it_was_while_the_hosts_have_lost_each_other() {
    let fake = running().await;
    fake.long_jobs(1);
    let spec = domain(2, 2);
    fake.cut_off(HostId(2), true);
    let begin = async |step| fake.begin(&host(1), &call(step), &spec, &host(2), &[]).await;
    assert_eq!(begin(2).await.expect_err("away").kind, ErrorKind::Retry);
    fake.cut_off(HostId(2), false);
    assert!(matches!(begin(2).await, Ok(JobStatus::Pending(_))));
    fake.cut_off(HostId(2), true);
    let poll = async || fake.poll(&host(1), &call(2)).await;
    assert_eq!(poll().await.expect_err("away").kind, ErrorKind::Retry);
    assert_eq!(fake.running(), [(HostId(1), vm())]);
    assert_eq!(fake.abort(&host(1), &call(2)).await, Ok(()));
    assert_eq!(poll().await.expect_err("aborted").kind, ErrorKind::Gone);
    assert_eq!(fake.running(), [(HostId(1), vm())]);
    assert!(fake.jobs_at_work().is_empty());
}

#[tokio::test]
async fn a_call_beside_a_migration_is_told() {
    let fake = running().await;
    fake.long_jobs(1);
    fake.begin(&host(1), &call(2), &domain(2, 2), &host(2), &[]).await.expect("begun");
    assert!(fake.destroy(&host(1), &call(3)).await.is_ok());
    assert!(fake.violations().is_empty(), "destroy may run beside others");
    assert!(fake.resize(&host(1), &call(4), 2, 64).await.is_err());
    assert_eq!(fake.violations().len(), 1);
    let ended = fake.poll(&host(1), &call(2)).await.expect_err("it was destroyed");
    assert_eq!((ended.kind, fake.running()), (ErrorKind::Gone, Vec::new()));
}

#[tokio::test]
async fn a_snapshot_brings_back_what_was() {
    let fake = running().await;
    let name = "s-1".parse().expect("a name");
    fake.create(&host(1), &call(2), &name).await.expect("made");
    fake.resize(&host(1), &call(3), 3, 100).await.expect("grown");
    fake.detach_disk(&host(1), &call(4), &"vdb".parse().expect("a name")).await.expect("detached");
    for _ in 0..2 {
        fake.revert(&host(1), &call(5), &name).await.expect("reverted");
    }
    let found = fake.domain(HostId(1), vm()).expect("there");
    assert_eq!(
        (found.machine.vcpus, found.machine.memory_mib, found.machine.disks.len()),
        (1, 64, 2)
    );
    assert_eq!((found.edges.reverts, found.seen.last_edge), (1, Some(call(5).context.key)));
    fake.delete(&host(1), &call(6), &name).await.expect("deleted");
    assert_eq!(Snapshots::list(&fake, &host(1), vm()).await, Ok(Vec::new()));
    assert_eq!(
        fake.resize(&host(1), &call(7), 5, 64).await.expect_err("too many").code,
        "beyond-most"
    );
}
