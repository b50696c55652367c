//! The libvirt daemon of a host is away, hangs or dies; a call to it is dropped.

use crate::rig::{self, Rig, SOON, refusal};
use ostler_driver::{Changes, Hypervisor};
use ostler_model::{ErrorKind, Observation, Power, PowerReason};
use ostler_tests::lab::{self, LibvirtHost};
use ostler_tests::wait::wait_until;
use std::time::{Duration, Instant};

#[test]
fn a_daemon_that_is_away_answers_nothing_and_comes_back() {
    if !lab::require_libvirt() {
        return;
    }
    let rig = Rig::up("away");
    let vm = rig.vm(&[]);
    rig.deploy(&vm, 1, 1).expect("deploys");
    let cursor =
        rig.run(Changes::changes(&*rig.kvm, &rig.site, 0, Duration::ZERO)).expect("told").cursor;
    rig.host.stop_daemon();
    for _ in 0..3 {
        assert_eq!(refusal(rig.observe(&vm)), (ErrorKind::Retry, "no-connection".to_owned()));
        assert_eq!(refusal(rig.run(rig.kvm.list(&rig.site))).0, ErrorKind::Retry);
        assert_eq!(
            refusal(rig.destroy(&vm, 2)),
            (ErrorKind::Retry, "no-connection".to_owned()),
            "nothing was sent"
        );
    }
    rig.host.start_daemon();
    rig.wait_for(&vm, Power::Running, PowerReason::None);
    let batch = rig.run(Changes::changes(&*rig.kvm, &rig.site, cursor, SOON)).expect("told");
    assert!(batch.lost, "events were missed");
    // The daemon is killed right before a call. The driver must notice that the old connection is
    // dead.
    rig.host.kill_daemon();
    wait_until("the daemon to be asked again", SOON, || rig.destroy(&vm, 2));
    assert_eq!(rig.remove(&vm, 3).expect("removes").seen, Some(Observation::Absent));
}

#[test]
fn a_daemon_that_hangs_costs_its_callers_their_deadline_and_nobody_else() {
    if !lab::require_libvirt() {
        return;
    }
    let (hung, well) = (Rig::up("hung"), Rig::up("well"));
    let (vm, other) = (hung.vm(&[]), well.vm(&[]));
    hung.deploy(&vm, 1, 1).expect("deploys");
    hung.host.virsh(&["version"]).expect("answers");
    signal_daemon(&hung.host, "STOP");
    let began = Instant::now();
    let short = rig::call((hung.store, vm.uuid), 2, 1, Duration::from_millis(700));
    let doubt = refusal(hung.run(hung.kvm.press_power(&hung.site, &short)));
    assert!(matches!(doubt.0, ErrorKind::Unknown | ErrorKind::Retry), "{doubt:?}");
    assert!(began.elapsed() < Duration::from_secs(5), "the deadline holds: {:?}", began.elapsed());
    assert_eq!(
        refusal(hung.observe(&vm)),
        (ErrorKind::Retry, "busy".to_owned()),
        "an orphan may still be at work"
    );
    // The driver still serves its other hosts.
    let site = well.site.clone();
    assert_eq!(
        hung.run(hung.kvm.observe(&site, other.uuid)).expect("answers"),
        Observation::Absent
    );
    signal_daemon(&hung.host, "CONT");
    wait_until("the hung host to answer again", SOON, || hung.observe(&vm));
    wait_until("the hung host to be worked on again", SOON, || hung.remove(&vm, 3));
}

#[test]
fn a_question_that_the_daemon_dies_under_is_not_answered() {
    if !lab::require_libvirt() {
        return;
    }
    let rig = Rig::up("dies");
    let vm = rig.vm(&[]);
    rig.deploy(&vm, 1, 1).expect("deploys");
    rig.observe(&vm).expect("both connections are open");
    signal_daemon(&rig.host, "STOP");
    let (kvm, site, uuid) = (rig.kvm.clone(), rig.site.clone(), vm.uuid);
    let mut asking =
        rig.spawn(async move { (kvm.observe(&site, uuid).await, kvm.list(&site).await) });
    let (kvm, site, call) = (rig.kvm.clone(), rig.site.clone(), rig.call(&vm, 2, 1));
    let removing = rig.spawn(async move { kvm.remove(&site, &call).await });
    let unanswered = rig.run(async {
        tokio::time::timeout(Duration::from_millis(300), &mut asking).await.is_err()
    });
    assert!(unanswered && !removing.is_finished(), "a daemon that is stopped answers nothing");
    rig.host.kill_daemon();
    let (observed, listed) = rig.run(asking).expect("no panic");
    assert_eq!(refusal(observed), (ErrorKind::Retry, "no-connection".to_owned()));
    assert!(
        listed.is_err_and(|error| error.kind == ErrorKind::Retry) || rig.observe(&vm).is_ok(),
        "an error, or the truth"
    );
    assert_eq!(
        refusal(rig.run(removing).expect("no panic")),
        (ErrorKind::Retry, "no-connection".to_owned()),
        "nothing was sent"
    );
    rig.wait_for(&vm, Power::Running, PowerReason::None);
}

#[test]
fn a_dropped_call_is_not_forgotten() {
    if !lab::require_libvirt() {
        return;
    }
    let rig = Rig::up("dropped");
    let vm = rig.vm(&[]);
    let (kvm, site, spec, call) =
        (rig.kvm.clone(), rig.site.clone(), rig.spec(&vm, 1), rig.call(&vm, 1, 1));
    rig.run(rig.kvm.probe(&rig.site)).expect("connected");
    let deploying = rig.spawn(async move { kvm.deploy(&site, &call, &spec).await });
    wait_until("the start to be under way", SOON, || {
        rig.host.virsh(&["list", "--all", "--name"]).is_ok_and(|names| names.contains(&vm.name))
    });
    deploying.abort();
    let _ = rig.run(deploying); // the call was dropped, or was already done; both may happen
    // The driver answers `busy` until its thread has returned, and then the truth. It must never
    // answer that the domain is absent.
    let after = wait_until("the dropped start to end", SOON, || match rig.observe(&vm) {
        Err(error) if error.code == "busy" => Err(error.to_string()),
        other => Ok(other),
    });
    match after.expect("asked") {
        Observation::Present(seen) => assert_eq!(seen.power, Power::Running),
        Observation::Absent => panic!("it was being started"),
    }
}

/// Sends a signal to the libvirt daemon of a host.
pub(crate) fn signal_daemon(host: &LibvirtHost, signal: &str) {
    let needle = host.dir().join("run").to_string_lossy().into_owned();
    let is_it = |path: &std::path::Path| {
        let name = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
        name.trim() == "libvirtd"
            && std::fs::read_to_string(path.join("mountinfo"))
                .is_ok_and(|text| text.contains(&needle))
    };
    let found = std::fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| is_it(path));
    let process = found
        .expect("the host's libvirtd")
        .file_name()
        .expect("a number")
        .to_string_lossy()
        .into_owned();
    let done = std::process::Command::new("kill")
        .args([&format!("-{signal}"), &process])
        .status()
        .expect("kill runs");
    assert!(done.success());
}
