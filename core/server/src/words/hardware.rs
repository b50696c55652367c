//! The words of changes of a VM's hardware.

use ostler_model::{HardwareChange, Size};

/// One change, as a sentence without its full stop.
pub(super) fn change(change: &HardwareChange) -> String {
    match change {
        HardwareChange::DiskAttached(name) => format!("disk {name} was attached"),
        HardwareChange::DiskDetached(name) => format!("disk {name} was detached"),
        HardwareChange::NicAttached(mac) => format!("network card {mac} was attached"),
        HardwareChange::NicDetached(mac) => format!("network card {mac} was detached"),
        HardwareChange::Resized { from, to } => {
            format!("it was resized from {} to {}", size(*from), size(*to))
        }
    }
}

fn size(size: Size) -> String {
    let Size { cpu_milli, vcpus, memory_mib } = size;
    let cpu = f64::from(cpu_milli) / 1000.0;
    format!("{vcpus} virtual CPUs, {cpu} CPUs reserved and {memory_mib} MiB")
}
