//! A copy of a disk in use, as a whole file: a backup job of QEMU's, within one call. It copies what
//! the disk held when it began; the guest runs on.

use crate::driver::{Qemu, begin_there};
use crate::monitor::{Monitor, until};
use crate::plug::node;
use crate::process::{act, outcome};
use ostler_sdk::host::{exec, files};
use ostler_sdk::{Call, DiskCopy, DiskFormat, Error, FilePath, FileRef, JobStatus};
use serde_json::{Value, json};

/// QEMU's name for the job, and for the file that it writes.
const COPY: &str = "copy";

impl DiskCopy for Qemu {
    fn begin(
        call: &Call,
        disk: &str,
        target: FileRef,
        format: DiskFormat,
    ) -> Result<JobStatus, Error> {
        let (place, domain) = begin_there(call)?;
        if !domain.hardware.disks.iter().any(|known| known.name == disk) {
            return Err(Error::gone("no-disk", format!("the domain has no disk {disk}")));
        }
        let mut monitor = act(&place, &domain.uuid)?;
        clear(call, &mut monitor)?;
        let id = call.id();
        let suffix = format!(".new-{}-{}", id.operation, id.step);
        let scratch = FilePath::new(target.datastore.clone(), target.path.clone() + &suffix);
        let copied = copy(call, &mut monitor, disk, &scratch, format.as_str());
        if let Err(error) = copied {
            // A call that was told to stop can only tell, so the next one clears up.
            let _ = monitor.tell(&[json!({"execute": "job-cancel", "arguments": {"id": COPY}})]);
            let _ = files::remove(&scratch);
            return Err(error);
        }
        files::rename(&scratch, &target.place())?;
        outcome(&place, &domain).map(JobStatus::Done)
    }
}

/// Ends what a call that was cut has left: the copy begins anew.
fn clear(call: &Call, monitor: &mut Monitor) -> Result<(), Error> {
    until(call, "an earlier copy to end", || {
        match status(monitor)? {
            None => return Ok(Some(())),
            Some(job) if job["status"] == "concluded" => {
                monitor.ask("job-dismiss", json!({"id": COPY}))?;
            }
            // QEMU refuses this if the job has just ended.
            Some(_) => drop(monitor.ask("job-cancel", json!({"id": COPY}))),
        }
        Ok(None)
    })?;
    // It is not there if no copy was cut.
    let _ = monitor.ask("blockdev-del", json!({"node-name": COPY}));
    Ok(())
}

fn copy(
    call: &Call,
    monitor: &mut Monitor,
    disk: &str,
    scratch: &FilePath,
    format: &str,
) -> Result<(), Error> {
    if let Some((folder, _)) = scratch.path.rsplit_once('/') {
        files::make_folder(&FilePath::new(scratch.datastore.clone(), folder))?;
    }
    files::remove(scratch)?;
    let size = size(monitor, disk)?.to_string();
    let holes = [("format", format), ("file", &scratch.hole()), ("size", &size)];
    exec::output("make-disk", &holes)?;
    let path = files::absolute(scratch)?;
    monitor.ask(
        "blockdev-add",
        json!({"driver": format, "node-name": COPY, "file": {"driver": "file", "filename": path}}),
    )?;
    monitor.ask(
        "blockdev-backup",
        json!({"job-id": COPY, "device": node(disk), "target": COPY, "sync": "full",
               "auto-dismiss": false}),
    )?;
    let ended = until(call, "the disk to be copied", || {
        let Some(job) = status(monitor)? else { return Ok(Some(None)) };
        let number = |key: &str| job[key].as_u64().unwrap_or(0);
        call.progress(number("current-progress"), number("total-progress"), "copying the disk");
        let error = job["error"].as_str().map(str::to_owned);
        Ok((job["status"] == "concluded").then_some(error))
    })?;
    clear(call, monitor)?;
    match ended {
        None => Ok(()),
        Some(error) => Err(Error::retry("not-copied", error)),
    }
}

/// The job, if there is one.
fn status(monitor: &mut Monitor) -> Result<Option<Value>, Error> {
    let jobs = monitor.ask("query-jobs", json!({}))?;
    Ok(jobs.as_array().and_then(|jobs| jobs.iter().find(|job| job["id"] == COPY)).cloned())
}

/// The size of a disk as the guest sees it, in bytes.
fn size(monitor: &mut Monitor, disk: &str) -> Result<u64, Error> {
    let nodes = monitor.ask("query-named-block-nodes", json!({"flat": true}))?;
    let found =
        nodes.as_array().and_then(|all| all.iter().find(|one| one["node-name"] == node(disk)));
    found
        .and_then(|found| found["image"]["virtual-size"].as_u64())
        .ok_or_else(|| Error::gone("no-disk", format!("QEMU has no disk {disk}")))
}
