//! How many CPUs and how much memory a guest has, as QEMU tells it, and how they are changed.
//!
//! The machine has the most memory that the guest can get. A balloon in the guest takes what it does
//! not have yet, and gives that back. A guest without a driver for it has all memory of the machine.

use crate::monitor::Monitor;
use crate::record::Hardware;
use ostler_sdk::Error;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

const MIB: u64 = 1024 * 1024;

/// A place for a CPU.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Socket {
    /// The kind of CPU that fits.
    #[serde(rename = "type")]
    kind: String,
    props: Map<String, Value>,
    /// The CPU in it.
    qom_path: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Balloon {
    /// What it leaves to the guest, in bytes.
    actual: u64,
}

fn asked<T: DeserializeOwned>(monitor: &mut Monitor, command: &str) -> Result<T, Error> {
    let told = monitor.ask(command, json!({}))?;
    serde_json::from_value(told)
        .map_err(|error| Error::unknown("no-qmp", format!("{command} answered: {error}")))
}

/// The places for CPUs, in the order in which they are filled.
fn sockets(monitor: &mut Monitor) -> Result<Vec<Socket>, Error> {
    let mut found: Vec<Socket> = asked(monitor, "query-hotpluggable-cpus")?;
    found.sort_by_key(|socket| {
        ["socket-id", "die-id", "core-id", "thread-id"]
            .map(|id| socket.props.get(id).and_then(Value::as_u64).unwrap_or(0))
    });
    Ok(found)
}

/// How many CPUs there are.
pub(crate) fn cpus(monitor: &mut Monitor) -> Result<u32, Error> {
    let taken = sockets(monitor)?.iter().filter(|socket| socket.qom_path.is_some()).count();
    Ok(u32::try_from(taken).unwrap_or(u32::MAX))
}

/// Plugs in CPUs until there are so many.
pub(crate) fn plug_cpus(monitor: &mut Monitor, wanted: u32) -> Result<(), Error> {
    for (at, socket) in (1..=wanted).zip(sockets(monitor)?) {
        if socket.qom_path.is_none() {
            let mut device = json!({"driver": socket.kind, "id": format!("cpu-{at}")});
            if let Some(fields) = device.as_object_mut() {
                fields.extend(socket.props);
            }
            monitor.ask("device_add", device)?;
        }
    }
    Ok(())
}

/// What the balloon leaves to the guest, in MiB. None while it is between two sizes.
pub(crate) fn memory_mib(monitor: &mut Monitor) -> Result<Option<u64>, Error> {
    let Balloon { actual } = asked(monitor, "query-balloon")?;
    Ok(actual.is_multiple_of(MIB).then_some(actual / MIB))
}

/// The line that tells the balloon how much to leave.
pub(crate) fn balloon_to(memory_mib: u64) -> Value {
    json!({"execute": "balloon", "arguments": {"value": memory_mib.saturating_mul(MIB)}})
}

/// Tells the balloon how much to leave. The guest follows in its own time.
pub(crate) fn ask_balloon(monitor: &mut Monitor, memory_mib: u64) -> Result<(), Error> {
    monitor.ask("balloon", balloon_to(memory_mib)["arguments"].clone()).map(drop)
}

/// The size with which a guest boots.
pub(crate) fn at_boot(monitor: &mut Monitor, hardware: &Hardware) -> Result<(), Error> {
    if hardware.room.balloon && hardware.memory_mib < hardware.memory_most_mib() {
        ask_balloon(monitor, hardware.memory_mib)?;
    }
    Ok(())
}
