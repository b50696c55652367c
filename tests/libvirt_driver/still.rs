//! A host stands still for longer than keepalive allows, and then continues.

use crate::away::signal_daemon;
use crate::rig::{Rig, SOON};
use ostler_driver::{Changes, Hypervisor};
use ostler_libvirt::{Kvm, KvmOptions};
use ostler_model::ErrorKind;
use ostler_tests::lab;
use ostler_tests::wait::wait_until;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How many questions are asked at the same time: as many as there are lanes.
const AT_ONCE: usize = 4;
/// How many answers each task must have, before it counts as one that always has a question on the
/// way.
const WARM: usize = 20;
/// The timeout of questions. It is much longer than the 8 s that keepalive needs to declare a
/// connection dead.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_host_that_stands_still_and_goes_on_costs_its_connections_and_nothing_else() {
    if !lab::require_libvirt() {
        return;
    }
    let mut rig = Rig::up("still");
    rig.kvm = Arc::new(Kvm::new(KvmOptions { ask_timeout: PATIENCE, ..KvmOptions::default() }));
    for round in 1..=5 {
        let answers: Vec<Arc<AtomicUsize>> = (0..AT_ONCE).map(|_| Arc::default()).collect();
        let asking: Vec<_> = answers
            .iter()
            .map(|count| rig.spawn(ask_until_it_fails(&rig, Arc::clone(count))))
            .collect();
        wait_until("all to ask", SOON, || {
            answers.iter().all(|count| count.load(Ordering::Relaxed) >= WARM)
        });
        let cursor = rig
            .run(Changes::changes(&*rig.kvm, &rig.site, 0, Duration::ZERO))
            .expect("told")
            .cursor;
        let (kvm, site) = (Arc::clone(&rig.kvm), rig.site.clone());
        let listening =
            rig.spawn(async move { Changes::changes(&*kvm, &site, cursor, PATIENCE).await });

        // libvirtd continues only after keepalive has declared all connections dead: those of the
        // questions and that of the events.
        signal_daemon(&rig.host, "STOP");
        for asker in asking {
            let error = rig.run(asker).expect("no panic");
            assert_eq!(
                (error.kind, error.code.as_str()),
                (ErrorKind::Retry, "no-connection"),
                "round {round}: {error}"
            );
        }
        let batch = rig.run(listening).expect("no panic").expect("told");
        assert!(batch.lost, "round {round}: whoever listens is told that the connection closed");
        signal_daemon(&rig.host, "CONT");

        wait_until("every lane to come back", SOON, || {
            let all = (0..AT_ONCE).map(|_| rig.kvm.list(&rig.site));
            rig.run(futures::future::join_all(all)).into_iter().collect::<Result<Vec<_>, _>>()
        });
    }
}

/// Asks again and again. Answers the error of the first failed question.
fn ask_until_it_fails(
    rig: &Rig,
    count: Arc<AtomicUsize>,
) -> impl Future<Output = ostler_model::DriverError> + Send + use<> {
    let (kvm, site) = (Arc::clone(&rig.kvm), rig.site.clone());
    async move {
        loop {
            match kvm.list(&site).await {
                Ok(_) => count.fetch_add(1, Ordering::Relaxed),
                Err(error) => return error,
            };
        }
    }
}
