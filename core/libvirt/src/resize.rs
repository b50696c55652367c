//! Changes the CPUs and the memory of a running domain.
//!
//! A domain is started with room for the most that its specification names, and grows into it: CPUs
//! are plugged in, and the balloon gives memory back. A change of memory is a request to the guest.
//! Success means that the balloon has reached the size; a guest that does not follow keeps the
//! memory that it had. A running guest is never asked to give up a CPU: QEMU may wait for it for
//! ever.
//!
//! An emulated guest never gets a CPU plugged in. QEMU gives each CPU its share of the memory for
//! translated code when the CPU begins, and QEMU ends itself if all of that memory is handed out at
//! that moment (seen with QEMU 7.2, `tcg_region_initial_alloc`). That depends on what the guest has
//! run, and nobody can ask for it.

use crate::calls;
use crate::domain_ops::{Order, look_after};
use crate::failure::During;
use crate::link::Link;
use crate::live::Live;
use crate::look::{SeenDomain, description, look};
use ostler_driver::CallControl;
use ostler_model::{CallResult, DriverError, ErrorKind, Power, VmUuid};
use std::time::{Duration, Instant};
use virt::error::Error;
use virt_sys as sys;

/// The pause between two looks at the balloon.
const PAUSE: Duration = Duration::from_millis(100);
/// The part of a call's time that is kept for taking the request back.
const MARGIN: Duration = Duration::from_secs(2);
/// The longest wait for a balloon. It gives or takes some gigabytes a second.
const MOST: Duration = Duration::from_secs(60);

/// Sizes, in the units of libvirt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    /// Virtual CPUs.
    pub(crate) vcpus: u32,
    /// Memory.
    pub(crate) kib: u64,
}

/// The size before the change.
struct Before {
    kib: u64,
}

/// Makes the domain have that size.
pub(crate) async fn resize(
    link: &Link,
    call: &CallControl,
    order: &Order,
    size: Size,
    patience: Duration,
) -> CallResult {
    let (vm, whose) = (order.vm(), order.clone());
    let before = calls::change(link, call, move |live| ask_for(live, &whose, size)).await?;
    let until = (call.until - MARGIN.min(call.until.saturating_duration_since(Instant::now())))
        .min(Instant::now() + MOST);
    loop {
        let kib = link.ask(patience, move |live| balloon(live, vm)).await?;
        if kib == size.kib {
            return link.ask(patience, move |live| look_after(live, vm)).await;
        }
        if Instant::now() >= until || call.cancel.is_cancelled() {
            let whose = order.clone();
            calls::change_anyway(link, call, move |live| {
                set_memory(live, &running(live, &whose)?, before.kib)
            })
            .await?;
            let detail = format!(
                "the guest's balloon went to {} MiB and no further: it has its {} MiB again",
                kib / 1024,
                before.kib / 1024
            );
            return Err(DriverError::refused("guest-ignored", detail));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn running(live: &Live, order: &Order) -> Result<SeenDomain, DriverError> {
    let gone = || DriverError::new(ErrorKind::Gone, "not-running", "the domain is not running");
    let sight = look(live, order.vm())?.filter(SeenDomain::is_active).ok_or_else(gone)?;
    order.is_meant(&sight)?;
    match sight.power {
        Power::Running => Ok(sight),
        Power::Paused | Power::Crashed | Power::Off => {
            Err(DriverError::refused("paused", "the guest stands still and cannot follow"))
        }
    }
}

fn ask_for(live: &Live, order: &Order, size: Size) -> Result<Before, DriverError> {
    let sight = running(live, order)?;
    let asking = |error: Error| live.error(&error, During::Asking);
    let domain = &sight.domain;
    let vcpus = domain.get_vcpus_flags(sys::VIR_DOMAIN_VCPU_LIVE).map_err(asking)?;
    let vcpus_most = domain
        .get_vcpus_flags(sys::VIR_DOMAIN_VCPU_LIVE | sys::VIR_DOMAIN_VCPU_MAXIMUM)
        .map_err(asking)?;
    let kib_most = domain.get_max_memory().map_err(asking)?;
    check(size, vcpus, vcpus_most, kib_most)?;
    if vcpus < size.vcpus && description(live, &sight, 0)?.attr("type") == Some("qemu") {
        let detail = "the guest is emulated, and QEMU may end it when a CPU is plugged in: \
                      poweroff, resize, resume";
        return Err(DriverError::refused("emulated", detail));
    }
    let before = Before { kib: balloon_of(live, &sight)? };
    let is_persistent = domain.is_persistent().map_err(asking)?;
    let acting = |error: Error| live.error(&error, During::Acting);
    if vcpus < size.vcpus {
        domain.set_vcpus_flags(size.vcpus, sys::VIR_DOMAIN_VCPU_LIVE).map_err(acting)?;
    }
    if is_persistent {
        domain.set_vcpus_flags(size.vcpus, sys::VIR_DOMAIN_VCPU_CONFIG).map_err(acting)?;
    }
    set_memory(live, &sight, size.kib)?;
    Ok(before)
}

/// Checks that the domain has room for the size, and that no CPU is taken away.
fn check(size: Size, vcpus: u32, vcpus_most: u32, kib_most: u64) -> Result<(), DriverError> {
    if size.vcpus > vcpus_most || size.kib > kib_most {
        let detail = format!(
            "the domain was started with room for {vcpus_most} CPUs and {} MiB: poweroff, resize, \
             resume",
            kib_most / 1024
        );
        return Err(DriverError::refused("beyond-most", detail));
    }
    if size.vcpus < vcpus {
        let detail = format!(
            "the guest has {vcpus} CPUs, and none is taken from a guest that runs: poweroff, \
             resize, resume"
        );
        return Err(DriverError::refused("fewer-cpus", detail));
    }
    Ok(())
}

fn set_memory(live: &Live, sight: &SeenDomain, kib: u64) -> Result<(), DriverError> {
    let acting = |error: Error| live.error(&error, During::Acting);
    let is_persistent =
        sight.domain.is_persistent().map_err(|error| live.error(&error, During::Asking))?;
    sight.domain.set_memory_flags(kib, sys::VIR_DOMAIN_MEM_LIVE).map_err(acting)?;
    if is_persistent {
        sight.domain.set_memory_flags(kib, sys::VIR_DOMAIN_MEM_CONFIG).map_err(acting)?;
    }
    Ok(())
}

/// The balloon's size now.
fn balloon(live: &Live, vm: VmUuid) -> Result<u64, DriverError> {
    let gone = || DriverError::new(ErrorKind::Gone, "not-running", "the domain stopped");
    let sight = look(live, vm)?.filter(SeenDomain::is_active).ok_or_else(gone)?;
    balloon_of(live, &sight)
}

fn balloon_of(live: &Live, sight: &SeenDomain) -> Result<u64, DriverError> {
    let stats = sight.domain.memory_stats(0).map_err(|error| live.error(&error, During::Asking))?;
    let actual = stats
        .iter()
        .find(|stat| stat.tag == sys::VIR_DOMAIN_MEMORY_STAT_ACTUAL_BALLOON)
        .map(|stat| stat.val);
    actual.ok_or_else(|| {
        DriverError::refused(
            "no-balloon",
            "the domain has no balloon: its memory is what it was started with",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_grows_into_its_room_and_gives_back_no_cpu() {
        let code = |vcpus, mib: u64| {
            check(Size { vcpus, kib: mib * 1024 }, 2, 4, 256 * 1024).map_err(|error| error.code)
        };
        assert_eq!(code(2, 128), Ok(()));
        assert_eq!(code(4, 256), Ok(()));
        assert_eq!(code(5, 128), Err("beyond-most".to_owned()));
        assert_eq!(code(2, 257), Err("beyond-most".to_owned()));
        assert_eq!(code(1, 128), Err("fewer-cpus".to_owned()));
    }
}
