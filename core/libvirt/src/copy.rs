//! Copies a disk of a running domain, as the disk is at one moment.
//!
//! QEMU mirrors the disk. It copies all of the disk into a file that has no other file below it,
//! and writes what the guest writes meanwhile to both. Once both are the same, the mirror is ended,
//! and the guest goes on with the old disk: the file stays as the disk was at that moment, as after
//! a power failure. The job is QEMU's own, so it outlives the process that asked for it. The stamp
//! says whose job it is, and afterwards that the copy is done: a repeated call copies nothing
//! twice.

use crate::domain_ops::{Order, look_after, write_stamp};
use crate::failure::During;
use crate::folder::Folder;
use crate::jobs::Job;
use crate::link::Link;
use crate::live::Live;
use crate::look::{SeenDomain, description, look};
use crate::raw;
use crate::raw_jobs;
use crate::stamp::Stamp;
use crate::tree::Node;
use crate::xml;
use crate::{calls, failure};
use ostler_driver::FileRef;
use ostler_model::{CallResult, DiskFormat, DiskName, DriverError, ErrorKind, Power};
use std::ffi::CString;
use std::sync::Arc;
use std::time::{Duration, Instant};
use virt_sys as sys;

/// The pause between two looks at the mirror.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest that beginning or ending a mirror may take: QEMU creates a file, or writes what is
/// still on its way.
const STEP: Duration = Duration::from_secs(120);
/// How long every look at the domain may fail while it is copied, before the job ends with that as
/// its answer.
const BLIND_MOST: Duration = Duration::from_secs(60);

/// A copy that is to be made.
#[derive(Clone)]
pub(crate) struct CopyPlan {
    order: Order,
    disk: DiskName,
    target: String,
    folder: Folder,
    xml: CString,
}

impl CopyPlan {
    /// Checks what can be checked without asking anybody.
    pub(crate) fn new(
        order: Order,
        disk: &DiskName,
        target: &FileRef,
        folder: Folder,
        format: DiskFormat,
    ) -> Result<Self, DriverError> {
        let nul = || DriverError::refused("bad-text", "the path has a NUL");
        let xml = raw::c_string(&xml::copy_of_disk(&target.absolute, format)?).ok_or_else(nul)?;
        Ok(Self { order, disk: disk.clone(), target: target.absolute.clone(), folder, xml })
    }

    fn disk_text(&self) -> CString {
        raw::c_string(self.disk.as_str()).unwrap_or_default() // names have no NUL
    }
}

/// The state of a disk's mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mirror {
    /// The disk has no mirror.
    Absent,
    /// It is still being copied.
    Copying,
    /// The disk and the file are the same.
    Same,
    /// The mirror writes to another file: somebody else began it.
    Others,
}

/// The next action of the job.
enum Next {
    Over(CallResult),
    Copies,
    Finish,
    Begin,
}

/// The job: begins, waits until both are the same, and ends the mirror.
pub(crate) async fn run(
    job: Arc<Job>,
    link: Arc<Link>,
    plan: CopyPlan,
    patience: Duration,
    until: Instant,
) -> CallResult {
    let held = calls::lock(&link, plan.order.vm(), until).await?;
    let (mut begun, mut blind): (bool, Option<Instant>) = (false, None);
    let result = loop {
        let asked = plan.clone();
        let next = match link.ask(patience, move |live| next(live, &asked, begun)).await {
            Ok(next) => next,
            Err(error) if error.kind != ErrorKind::Retry || !begun => break Err(error),
            Err(error) if blind.get_or_insert_with(Instant::now).elapsed() > BLIND_MOST => {
                break Err(DriverError::unknown(
                    "not-seen",
                    format!("how the copy is cannot be seen: {}", error.detail),
                ));
            }
            Err(_) => {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        blind = None;
        let deed = plan.clone();
        let done = match next {
            Next::Over(result) => break result,
            // The call that stops the job ends the mirror too. But it may come before the mirror
            // has begun, so the job ends it here.
            Next::Copies => {
                begun = true;
                job.works();
                if job.is_stopped() {
                    step(&link, move |live| abort(live, &deed.order, Some(&deed.disk)).map(drop))
                        .await
                } else {
                    tokio::time::sleep(PAUSE).await;
                    Ok(())
                }
            }
            Next::Begin if job.is_stopped() => break Err(calls::cancelled()),
            Next::Begin => {
                begun = true;
                job.works();
                step(&link, move |live| begin(live, &deed)).await
            }
            Next::Finish => {
                job.works();
                break step(&link, move |live| finish(live, &deed)).await;
            }
        };
        if let Err(error) = done {
            break Err(error);
        }
    };
    drop(held);
    match result {
        Err(error) if job.is_stopped() && error.kind != ErrorKind::Unknown => Err(stopped()),
        other => other,
    }
}

fn stopped() -> DriverError {
    DriverError::new(
        ErrorKind::Cancelled,
        "aborted",
        "told to stop: nothing copies any more, and the file is not whole",
    )
}

async fn step<T: Send + 'static>(
    link: &Link,
    deed: impl FnOnce(&Live) -> Result<T, DriverError> + Send + 'static,
) -> Result<T, DriverError> {
    link.work.run(Instant::now() + STEP, None, ErrorKind::Unknown, deed).await
}

fn running(live: &Live, order: &Order) -> Result<(SeenDomain, Stamp), DriverError> {
    let gone = || DriverError::new(ErrorKind::Gone, "not-running", "the domain is not running");
    let sight = look(live, order.vm())?.ok_or_else(gone)?;
    let stamp = order.is_meant(&sight)?;
    match sight.power {
        Power::Running | Power::Paused => Ok((sight, stamp)),
        Power::Off => Err(gone()),
        Power::Crashed => Err(DriverError::refused(
            "crashed",
            "the guest has crashed: its disk is not worth keeping",
        )),
    }
}

fn next(live: &Live, plan: &CopyPlan, begun: bool) -> Result<Next, DriverError> {
    let (sight, stamp) = running(live, &plan.order)?;
    let ours = stamp.job.as_ref() == Some(&plan.order.key);
    Ok(match mirror(live, &sight, &plan.disk, Some(&plan.target))? {
        Mirror::Absent if stamp.copied.as_ref() == Some(&plan.order.key) => {
            Next::Over(look_after(live, plan.order.vm()))
        }
        Mirror::Absent if begun => Next::Over(Err(DriverError::refused(
            "copy-failed",
            "QEMU gave the copy up: its log at the host says why (most often, no space is left)",
        ))),
        Mirror::Absent => Next::Begin,
        Mirror::Copying if ours => Next::Copies,
        Mirror::Same if ours => Next::Finish,
        Mirror::Copying | Mirror::Same | Mirror::Others => {
            Next::Over(Err(DriverError::retry("busy", "another job is at work on this disk")))
        }
    })
}

fn mirror(
    live: &Live,
    sight: &SeenDomain,
    disk: &DiskName,
    target: Option<&str>,
) -> Result<Mirror, DriverError> {
    let domain = description(live, sight, 0)?;
    let is_it = |node: &&Node| {
        node.name == "disk"
            && node.child("target").and_then(|target| target.attr("dev")) == Some(disk.as_str())
    };
    let Some(node) = domain.child("devices").and_then(|devices| devices.children().find(is_it))
    else {
        return Err(DriverError::refused("no-disk", format!("the domain has no disk {disk}")));
    };
    let Some(mirror) = node.child("mirror") else { return Ok(Mirror::Absent) };
    let file = mirror
        .child("source")
        .and_then(|source| source.attr("file"))
        .or_else(|| mirror.attr("file"));
    Ok(match (target, mirror.attr("ready")) {
        (Some(target), _) if file != Some(target) => Mirror::Others,
        (_, Some("yes")) => Mirror::Same,
        _ => Mirror::Copying,
    })
}

fn begin(live: &Live, plan: &CopyPlan) -> Result<(), DriverError> {
    let (sight, stamp) = running(live, &plan.order)?;
    plan.folder.make()?;
    write_stamp(live, &sight.domain, &Stamp { job: Some(plan.order.key.clone()), ..stamp })?;
    // Needed for a domain that has a definition. libvirt forgets such a mirror when the domain
    // stops, and that is wanted.
    let flags = sys::VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB;
    let disk = plan.disk_text();
    let begun = match raw_jobs::block_copy(&sight.domain, &disk, &plan.xml, flags) {
        // An earlier attempt left a file: QEMU writes all of it again.
        Err(error) if failure::is_refusal(&error) => raw_jobs::block_copy(
            &sight.domain,
            &disk,
            &plan.xml,
            flags | sys::VIR_DOMAIN_BLOCK_COPY_REUSE_EXT,
        )
        .map_err(|_| error),
        other => other,
    };
    begun.map_err(|error| live.error(&error, During::Acting))
}

/// Ends the mirror, and notes in the stamp that the file is whole.
fn finish(live: &Live, plan: &CopyPlan) -> CallResult {
    let (sight, stamp) = running(live, &plan.order)?;
    let ended = raw_jobs::end_block_job(&sight.domain, &plan.disk_text());
    ended.map_err(|error| live.error(&error, During::Acting))?;
    write_stamp(live, &sight.domain, &Stamp { copied: Some(plan.order.key.clone()), ..stamp })?;
    look_after(live, plan.order.vm())
}

/// Ends the copy that this effect key began, if it is at work. True once no such copy is at work.
pub(crate) fn abort(
    live: &Live,
    order: &Order,
    disk: Option<&DiskName>,
) -> Result<bool, DriverError> {
    let Some(sight) = look(live, order.vm())?.filter(SeenDomain::is_active) else {
        return Ok(true);
    };
    let stamp = order.may_touch(&sight)?;
    if stamp.job.as_ref() != Some(&order.key) {
        return Ok(true);
    }
    let mut at_work = false;
    for name in mirrored(live, &sight)? {
        if disk.is_some_and(|disk| disk.as_str() != name) {
            continue;
        }
        at_work = true;
        let text = raw::c_string(&name).unwrap_or_default(); // libvirt's own text has no NUL
        if let Err(error) = raw_jobs::end_block_job(&sight.domain, &text) {
            tracing::debug!(error = error.message(), "ending a mirror");
        }
    }
    Ok(!at_work)
}

/// The disks that are mirrored.
fn mirrored(live: &Live, sight: &SeenDomain) -> Result<Vec<String>, DriverError> {
    let domain = description(live, sight, 0)?;
    let devices = domain.child("devices").into_iter().flat_map(Node::children);
    let disks = devices.filter(|node| node.name == "disk" && node.child("mirror").is_some());
    Ok(disks.filter_map(|disk| disk.child("target")?.attr("dev").map(str::to_owned)).collect())
}

/// Bytes done, and bytes in all, of the disks that are mirrored.
pub(crate) fn progress(live: &Live, order: &Order) -> Result<Option<(u64, u64)>, DriverError> {
    let Some(sight) = look(live, order.vm())?.filter(SeenDomain::is_active) else {
        return Ok(None);
    };
    let mut sum = None;
    for name in mirrored(live, &sight)? {
        let text = raw::c_string(&name).unwrap_or_default(); // as above
        let seen = raw_jobs::block_job(&sight.domain, &text)
            .map_err(|error| live.error(&error, During::Asking))?;
        if let Some((done, total)) = seen {
            let (before, of) = sum.unwrap_or((0, 0));
            sum = Some((done + before, total + of));
        }
    }
    Ok(sum)
}
