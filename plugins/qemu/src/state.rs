//! The file with the memory of a domain's snapshots (`state.qcow2`), and QEMU's jobs on it. With it
//! the guest's disks hold nothing but disks, and a guest without disks has snapshots, too.

use crate::monitor::{Monitor, until};
use crate::place::Place;
use crate::plug::node;
use crate::record::Domain;
use ostler_sdk::host::{exec, files};
use ostler_sdk::{Call, Error, FilePath};
use serde_json::{Value, json};

/// QEMU's name for the file, and the file's own name.
const STATE: &str = "state";
const STATE_FILE: &str = "state.qcow2";
/// QEMU's name for the one job that is at work on snapshots.
const JOB: &str = "snapshot";

/// The file of a domain.
pub(crate) fn state_of(place: &Place, vm: &str) -> FilePath {
    place.file(vm, STATE_FILE)
}

/// Makes the file, unless it is there.
pub(crate) fn make(place: &Place, vm: &str) -> Result<(), Error> {
    let state = state_of(place, vm);
    if files::stat(&state)?.is_none() {
        exec::output("make-state", &[("state", &state.hole())])?;
    }
    Ok(())
}

/// Goes back to a snapshot, in a QEMU of which nothing has run.
pub(crate) fn load(
    call: &Call,
    place: &Place,
    monitor: &mut Monitor,
    domain: &Domain,
    name: &str,
) -> Result<(), Error> {
    let arguments = open(place, monitor, domain, name)?;
    job(call, monitor, "snapshot-load", arguments)
}

/// Hands QEMU the file with the memory, and answers the arguments of a job.
pub(crate) fn open(
    place: &Place,
    monitor: &mut Monitor,
    domain: &Domain,
    name: &str,
) -> Result<Value, Error> {
    let path = files::absolute(&state_of(place, &domain.uuid))?;
    // It has it already if there was a snapshot in this run.
    let _ = monitor.ask(
        "blockdev-add",
        json!({"driver": "qcow2", "node-name": STATE, "file": {"driver": "file", "filename": path}}),
    );
    let disks = domain.hardware.disks.iter().map(|disk| node(&disk.name));
    let devices: Vec<String> = disks.chain([STATE.to_owned()]).collect();
    Ok(json!({"job-id": JOB, "tag": name, "vmstate": STATE, "devices": devices}))
}

/// The arguments for a job that takes no memory.
pub(crate) fn without_memory(arguments: &Value) -> Value {
    let mut fewer = arguments.clone();
    if let Some(fields) = fewer.as_object_mut() {
        fields.remove("vmstate");
    }
    fewer
}

/// Runs a job to its end.
pub(crate) fn job(
    call: &Call,
    monitor: &mut Monitor,
    command: &str,
    arguments: Value,
) -> Result<(), Error> {
    monitor.ask(command, arguments)?;
    match settle(call, monitor)? {
        None => Ok(()),
        Some(error) => Err(Error::retry("snapshot-failed", format!("{command}: {error}"))),
    }
}

/// Waits until no job is at work, also one of a call that was cut. Answers its error.
pub(crate) fn settle(call: &Call, monitor: &mut Monitor) -> Result<Option<String>, Error> {
    until(call, "the work on a snapshot", || {
        let jobs = monitor.ask("query-jobs", json!({}))?;
        let job = jobs.as_array().and_then(|jobs| jobs.iter().find(|job| job["id"] == JOB));
        let Some(job) = job else { return Ok(Some(None)) };
        if job["status"] != "concluded" {
            return Ok(None);
        }
        monitor.ask("job-dismiss", json!({"id": JOB}))?;
        Ok(Some(job.get("error").and_then(Value::as_str).map(str::to_owned)))
    })
}

/// The snapshots of a domain, oldest first, as the file with the memory has them.
pub(crate) fn names(place: &Place, vm: &str) -> Result<Vec<String>, Error> {
    let state = state_of(place, vm);
    if files::stat(&state)?.is_none() {
        return Ok(Vec::new());
    }
    snapshots_in(&state)
}

/// The snapshots in a disk that QEMU may have open.
pub(crate) fn snapshots_in(disk: &FilePath) -> Result<Vec<String>, Error> {
    let told = exec::output("list-snapshots", &[("disk", &disk.hole())])?;
    let told: Value = serde_json::from_slice(&told)
        .map_err(|error| Error::retry("unreadable", format!("qemu-img said: {error}")))?;
    let all = told["snapshots"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(all.iter().filter_map(|one| one["name"].as_str().map(str::to_owned)).collect())
}
