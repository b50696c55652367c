//! The driver against libvirt's own test driver, which lives in this process: no daemon, no root.

use super::*;
use ostler_driver::{DriverEntry, DriverInfo, DriverKind, DriverOrigin};
use ostler_model::{
    CallContext, EffectKey, Epoch, ExecTransport, Generation, HostId, Item, OperationId, Power,
    StepNo, StoreId, Timestamp,
};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use uuid::Uuid;

fn site(uri: &str) -> Site {
    Site {
        id: HostId(1),
        name: "h".parse().expect("valid"),
        config: BTreeMap::from([("uri".to_owned(), uri.to_owned())]),
        transport: ExecTransport::Local,
        roots: BTreeMap::new(),
    }
}

fn call(vm: VmUuid, until: Instant) -> CallControl {
    let key = EffectKey { vm, operation: OperationId(1), step: StepNo(1), item: Item::Domain };
    CallControl::detached(
        CallContext {
            store: StoreId(Uuid::from_u128(1)),
            key,
            attempt: 1,
            generation: Generation(1),
            epoch: Epoch(0),
            spares: None,
            deadline: Timestamp(0),
        },
        until,
    )
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

#[test]
fn the_driver_has_a_part_for_each_ability_that_it_states() {
    let kvm = Kvm::new(KvmOptions::default());
    let info = DriverInfo {
        name: "kvm".parse().expect("a name"),
        version: "0".to_owned(),
        description: "KVM".to_owned(),
        origin: DriverOrigin::BuiltIn,
        abilities: kvm.abilities().to_vec(),
        settings: None,
    };
    let entry = DriverEntry::new(info, vec![DriverKind::Hypervisor(Arc::new(kvm))]);
    assert!(entry.is_ok(), "{:?}", entry.err());
}

#[tokio::test]
async fn a_domain_that_nobody_stamped_is_seen_and_left_alone_until_it_is_adopted() {
    let (kvm, site) = (Kvm::new(KvmOptions::default()), site("test:///default"));
    let listed = Hypervisor::list(&kvm, &site).await.expect("lists");
    let [wild] = listed.domains.as_slice() else {
        panic!("the test driver has one domain: {listed:?}")
    };
    assert_eq!((wild.name.as_str(), wild.power, wild.identity), ("test", Power::Running, None));
    let call = call(wild.uuid, soon());
    for result in [
        kvm.destroy(&site, &call).await,
        kvm.remove(&site, &call).await,
        kvm.press_power(&site, &call).await,
    ] {
        assert_eq!(result.expect_err("not ours").code, "foreign");
    }
    assert_eq!(
        kvm.observe(&site, wild.uuid).await.expect("asked"),
        Observation::Present(wild.clone())
    );
    assert_eq!(
        kvm.observe(&site, VmUuid(Uuid::from_u128(5))).await.expect("asked"),
        Observation::Absent
    );
    is_adopted_and_given_cpus(&kvm, &site, wild.uuid).await;
}

#[tokio::test]
async fn a_call_whose_time_is_over_or_that_was_cancelled_sends_nothing() {
    let (kvm, site) = (Kvm::new(KvmOptions::default()), site("test:///default"));
    let vm = VmUuid(Uuid::from_u128(6));
    let late = kvm.remove(&site, &call(vm, Instant::now())).await.expect_err("too late");
    assert!(matches!(late.kind, ErrorKind::Retry | ErrorKind::Unknown), "{late}");
    let stopped = call(vm, soon());
    stopped.cancel.cancel();
    assert_eq!(
        kvm.remove(&site, &stopped).await.expect_err("cancelled").kind,
        ErrorKind::Cancelled
    );
    assert_eq!(
        kvm.remove(&site, &call(vm, soon())).await.expect("absent").seen,
        Some(Observation::Absent)
    );
}

#[tokio::test]
async fn a_host_that_cannot_be_reached_is_retried_and_never_empty() {
    let kvm = Kvm::new(KvmOptions::default());
    let site = site("qemu+unix:///system?socket=/nonexistent/socket");
    for _ in 0..3 {
        for error in [
            kvm.observe(&site, VmUuid(Uuid::from_u128(7))).await.expect_err("not reached"),
            Hypervisor::list(&kvm, &site).await.expect_err("not reached"),
            Changes::changes(&kvm, &site, 0, Duration::ZERO).await.expect_err("not reached"),
            kvm.destroy(&site, &call(VmUuid(Uuid::from_u128(7)), soon()))
                .await
                .expect_err("not reached"),
        ] {
            assert_eq!(
                (error.kind, error.code.as_str()),
                (ErrorKind::Retry, "no-connection"),
                "{error}"
            );
        }
    }
}

#[tokio::test]
async fn a_specification_of_another_identity_is_not_sent() {
    let kvm = Kvm::new(KvmOptions::default());
    let vm = VmUuid(Uuid::from_u128(8));
    let mut spec = crate::xml::tests::spec();
    for (store, uuid, generation) in [(2, vm, 1), (1, VmUuid(Uuid::from_u128(9)), 1), (1, vm, 2)] {
        spec.identity.store = StoreId(Uuid::from_u128(store));
        (spec.identity.vm, spec.identity.generation) = (uuid, Generation(generation));
        let error = kvm
            .deploy(&site("test:///default"), &call(vm, soon()), &spec)
            .await
            .expect_err("another's");
        assert_eq!(error.code, "bad-identity");
    }
}

/// Uses the test driver's only domain, which the whole process shares.
async fn is_adopted_and_given_cpus(kvm: &Kvm, site: &Site, vm: VmUuid) {
    let call = call(vm, soon());
    let connect = virt::connect::Connect::open(Some("test:///default")).expect("opens");
    let domain = virt::domain::Domain::lookup_by_uuid(&connect, vm.0).expect("there");
    let stamped = Identity { store: StoreId(Uuid::from_u128(1)), vm, generation: Generation(1) };
    kvm.stamp(site, &call, &stamped).await.expect("stamped");
    domain.set_vcpus_flags(1, virt_sys::VIR_DOMAIN_VCPU_LIVE).expect("one");
    let mib = domain.get_max_memory().expect("told") / 1024;
    for _ in 0..2 {
        kvm.resize(site, &call, 2, mib).await.expect("resized");
        assert_eq!(domain.get_vcpus_flags(virt_sys::VIR_DOMAIN_VCPU_LIVE).expect("told"), 2);
    }
    assert_eq!(kvm.resize(site, &call, 1, mib).await.expect_err("no way back").code, "fewer-cpus");
    assert_eq!(kvm.resize(site, &call, 3, mib).await.expect_err("no room").code, "beyond-most");
}

/// Polls a call once: then it has gone as far as it can without another event.
async fn started<T>(future: &mut std::pin::Pin<&mut impl Future<Output = T>>) {
    tokio::select! {
        biased;
        _ = future => panic!("it cannot have ended"),
        () = std::future::ready(()) => {}
    }
}

#[tokio::test]
async fn a_save_that_waits_for_its_turn_while_it_is_told_to_stop_does_not_begin() {
    let vm = VmUuid(Uuid::from_u128(11));
    let identity = Identity { store: StoreId(Uuid::from_u128(1)), vm, generation: Generation(1) };
    let stamp = quick_xml::se::to_string_with_root(
        crate::stamp::ELEMENT,
        &crate::stamp::Stamp::new(identity).xml(),
    );
    let dir = std::env::temp_dir().join(format!("ostler-stopped-save-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a folder");
    // In the test driver each connection has a state of its own. The domain runs in each of them.
    let host = dir.join("host.xml");
    let domain = format!(
        "<node><domain type='test'><name>a</name><uuid>{vm}</uuid><metadata>{}</metadata><memory>8192</memory>\
         <os><type>hvm</type></os></domain></node>",
        stamp.expect("serialises")
    );
    std::fs::write(&host, domain).expect("written");
    let (kvm, site) =
        (Kvm::new(KvmOptions::default()), site(&format!("test://{}", host.display())));
    let (link, _) = kvm.link(&site).expect("a link");
    // All lanes are taken until the save was told to stop.
    let gate = Arc::new(std::sync::Barrier::new(5));
    let lanes: Vec<_> = (0..4)
        .map(|_| {
            let (link, gate) = (Arc::clone(&link), Arc::clone(&gate));
            let wait = move |_: &Live| {
                gate.wait();
                Ok(())
            };
            Box::pin(async move { link.work.run(soon(), None, ErrorKind::Retry, wait).await })
        })
        .collect();
    let mut lanes: Vec<_> = lanes;
    for lane in &mut lanes {
        started(&mut lane.as_mut()).await;
    }
    let mut file = crate::xml::tests::spec().console_log;
    file.absolute = dir.join("memory").display().to_string();
    let (call, stopping) = (call(vm, soon()), Arc::new(AtomicBool::new(false)));
    let saving = kvm.save_to(&link, &call, &file, Folder::of(&site, &file.absolute), &stopping);
    tokio::pin!(saving);
    started(&mut saving).await;
    stopping.store(true, Ordering::Release);
    gate.wait();
    let error = saving.await.expect_err("it was told to stop");
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Cancelled, "aborted"), "{error}");
    assert!(!dir.join("memory").exists(), "nothing was written");
    // Files that stay in the folder for temporary files fail no test.
    drop(std::fs::remove_dir_all(&dir));
}
