//! Other CPUs and memory for a guest that runs. Memory is asked of the guest first: if the guest does
//! not follow, it gets back what it had, and no CPU has been plugged in.

use crate::driver::{Qemu, begin_there};
use crate::monitor::{Monitor, until};
use crate::process::{act, outcome};
use crate::size::{ask_balloon, balloon_to, cpus, memory_mib, plug_cpus};
use ostler_sdk::host::clock;
use ostler_sdk::{Call, Error, ErrorKind, LiveResize, Outcome};

/// The longest wait for a balloon. It gives or takes some gigabytes a second.
const BALLOON_MS: u64 = 60_000;

impl LiveResize for Qemu {
    fn resize(call: &Call, vcpus: u32, wanted_mib: u64) -> Result<Outcome, Error> {
        let (place, mut domain) = begin_there(call)?;
        let mut monitor = act(&place, &domain.uuid)?;
        let status = monitor.status()?;
        if status != "running" {
            let told = format!("the guest is {status} and cannot follow");
            return Err(Error::refused("paused", told));
        }
        // A call that was cut may have plugged CPUs in.
        domain.hardware.vcpus = cpus(&mut monitor)?;
        domain.hardware.fits(vcpus, wanted_mib)?;
        let before_mib = domain.hardware.memory_mib;
        if domain.hardware.room.balloon {
            // Also if the record has this size: a call that was cut may have asked for another.
            ask_balloon(&mut monitor, wanted_mib)?;
        }
        if wanted_mib != before_mib {
            follow(call, &mut monitor, wanted_mib, before_mib)?;
        }
        if let Err(error) = plug_cpus(&mut monitor, vcpus) {
            let _ = monitor.tell(&[balloon_to(before_mib)]);
            return Err(error);
        }
        (domain.hardware.vcpus, domain.hardware.memory_mib) = (vcpus, wanted_mib);
        place.write(&domain)?;
        outcome(&place, &domain)
    }
}

/// Waits until the balloon has the size. If it stops before, it is asked for the size before.
fn follow(
    call: &Call,
    monitor: &mut Monitor,
    wanted_mib: u64,
    before_mib: u64,
) -> Result<(), Error> {
    let until_ms = clock::monotonic_ms() + BALLOON_MS;
    let followed = until(call, "the guest's balloon", || {
        if memory_mib(monitor)? == Some(wanted_mib) {
            return Ok(Some(()));
        }
        let late = clock::monotonic_ms() > until_ms;
        if late { Err(Error::retry("not-yet", "waited for the guest's balloon")) } else { Ok(None) }
    });
    followed.map_err(|error| {
        let ignored = error.code == "not-yet";
        if ignored || error.kind == ErrorKind::Cancelled {
            // This call may only tell, and wait for nothing.
            let _ = monitor.tell(&[balloon_to(before_mib)]);
        }
        if ignored {
            let told = format!(
                "the guest's balloon did not go to {wanted_mib} MiB in time: it is asked for the \
                 {before_mib} MiB of before again"
            );
            return Error::refused("guest-ignored", told);
        }
        error
    })
}
