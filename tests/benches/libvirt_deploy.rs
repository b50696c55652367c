//! Measures how much the KVM driver adds to a start: `deploy` of a new domain beside `virsh define`
//! and `start` of the same XML.
//!
//! `cargo bench -p ostler-tests --bench libvirt_deploy [-- ROUNDS]`. The two alternate, so that
//! noise hits both. virsh runs both commands in one process. The time of such a process by itself
//! is measured apart (`virsh version`), because virsh pays it and the driver does not.

#[path = "../libvirt_driver/rig.rs"]
#[allow(dead_code)]
mod rig;

use ostler_tests::lab;
use rig::{Rig, seen};
use std::process::Command;
use std::time::{Duration, Instant};

/// How many rounds, unless told otherwise. One round takes about 1.5 s.
const ROUNDS: usize = 15;

fn main() {
    if !lab::require_libvirt() {
        return;
    }
    let rounds =
        std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(ROUNDS);
    let rig = Rig::up("bench");
    let (mut ours, mut virsh, mut process) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=rounds {
        let vm = rig.vm(&[]);
        let (took, _) = timed(|| seen(rig.deploy(&vm, 1, 1)));
        let xml = rig.host.dir().join("same.xml");
        std::fs::write(&xml, rig.host.virsh(&["dumpxml", "--inactive", &vm.name]).expect("dumped"))
            .expect("written");
        rig.remove(&vm, 2).expect("removed");
        let both = format!("define {}; start {}", xml.display(), vm.name);
        let (floor, ()) = timed(|| direct(rig.host.uri(), &both));
        rig.remove(&vm, 3).expect("removed");
        let (alone, ()) = timed(|| direct(rig.host.uri(), "version"));
        // The first round fills caches and opens connections. It is not counted.
        if round > 0 {
            ours.push(took);
            virsh.push(floor);
            process.push(alone);
        }
    }
    let (ours, virsh, process) = (median(ours), median(virsh), median(process));
    println!("deploy by the driver          {:7.1} ms", ms(ours));
    println!(
        "virsh define + start          {:7.1} ms   (ratio {:.3})",
        ms(virsh),
        ms(ours) / ms(virsh)
    );
    let bare = virsh.saturating_sub(process);
    println!(
        "  without virsh's own process {:7.1} ms   (ratio {:.3}, {:+.1} ms)",
        ms(bare),
        ms(ours) / ms(bare),
        ms(ours) - ms(bare)
    );
}

fn direct(uri: &str, commands: &str) {
    let done =
        Command::new("virsh").args(["-q", "-c", uri, commands]).output().expect("virsh runs");
    assert!(done.status.success(), "{commands}: {}", String::from_utf8_lossy(&done.stderr));
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let began = Instant::now();
    let done = work();
    (began.elapsed(), done)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
