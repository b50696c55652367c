//! The outcome of a verb in a few words: the name that was chosen, the place, the next time. For
//! people; programs read the reply.

use ostler_api::{Destroyed, ScheduleEntry, SnapshotEntry, Vm};
use serde_json::Value;

/// A note on the VM as it is after `verb`, which was sent with `body`. None if there is nothing to
/// tell.
pub(super) fn note(verb: &str, body: &Value, vm: &Vm) -> Option<String> {
    let said = |field: &str| body[field].as_str();
    match verb {
        "disk-attach" => {
            let name = said("name").or_else(|| vm.disks.last().map(|disk| disk.name.as_str()))?;
            Some(format!("with disk {name}"))
        }
        "nic-attach" => {
            vm.nics.last().map(|nic| format!("with network card {} on {}", nic.mac, nic.bridge))
        }
        "snapshot-create" => {
            vm.snapshots.last().map(|made| format!("with snapshot {}", called(made)))
        }
        "disk-snapshot" => Some(format!(
            "disk {} becomes image {} when it is shut down",
            said("disk")?,
            said("image")?
        )),
        "disk-snapshot-live" => Some(format!("image {} is made", said("image")?)),
        "rename" => Some(format!("now called {}", vm.name)),
        "resize" => Some(size(vm)),
        "schedule" => vm.schedules.iter().max_by_key(|planned| planned.id).map(planned),
        "reschedule" => vm
            .schedules
            .iter()
            .find(|planned| Some(u64::from(planned.id)) == body["id"].as_u64())
            .map(planned),
        "stop" => Some("its memory and disks are saved off the host".to_owned()),
        "undeploy" | "undeploy-hard" => Some("its disks are off the host".to_owned()),
        "resched" if vm.resched => Some("the scheduler moves it next".to_owned()),
        _ if vm.state == "pending" => Some("the scheduler places it next".to_owned()),
        "resched"
        | "deploy"
        | "migrate"
        | "migrate-live"
        | "migrate-poweroff"
        | "migrate-poweroff-hard" => {
            vm.placement.as_ref().map(|place| format!("on {}", place.host))
        }
        _ => None,
    }
}

fn size(vm: &Vm) -> String {
    let cpu = vm.spec.cpu.map(|cpu| format!("{cpu} CPUs, ")).unwrap_or_default();
    let vcpus = vm.spec.vcpus.map(|vcpus| format!("{vcpus} virtual, ")).unwrap_or_default();
    format!("with {cpu}{vcpus}{}", vm.spec.memory)
}

fn planned(entry: &ScheduleEntry) -> String {
    let next = entry
        .next_local
        .as_deref()
        .map_or_else(|| "is over".to_owned(), |next| format!("is due {next}"));
    format!("schedule {} {next}", entry.id)
}

/// The things that are removed for good, on one line. None if there are none.
pub(super) fn destroyed(destroys: &[Destroyed]) -> Option<String> {
    let one = |one: &Destroyed| {
        let name = one.name.as_deref().unwrap_or_default();
        let name =
            one.label.as_ref().map_or_else(|| name.to_owned(), |label| format!("{name} ({label})"));
        match one.kind.as_str() {
            "memory" => "saved memory".to_owned(),
            "changes" => format!("all changes since snapshot {name}"),
            "snapshot" if one.hidden => format!("snapshot {name} (no longer offered)"),
            kind => format!("{kind} {name}").trim_end().to_owned(),
        }
    };
    let parts: Vec<String> = destroys.iter().map(one).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// A snapshot's name, with its label if it has one.
pub(super) fn called(snapshot: &SnapshotEntry) -> String {
    match snapshot.label.as_str() {
        "" => snapshot.name.clone(),
        label => format!("{} ({label})", snapshot.name),
    }
}
