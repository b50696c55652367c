//! The checks of a transfer driver that makes disks larger than their image.

use super::stage::{broken, skip};
use super::transfer::prepare;
use super::transfer_stage::Stage;
use super::{Check, Trouble, Verdict, check};
use ostler_driver::{DiskSource, FileRef, TransferJob};
use ostler_model::{DiskFormat, ErrorKind};

const MIB: u64 = 1024 * 1024;
/// By how much a disk is larger than its image.
const MORE_MIB: u64 = 60;

/// All of them.
pub(super) fn checks() -> Vec<Check<Stage>> {
    vec![
        check!(
            "larger-makes-disks",
            "a disk of an image has the size that is asked for, in both formats, and nothing else \
             is left",
            all
        ),
        check!(
            "larger-twice",
            "a larger disk is level: a complete file of the same making is success",
            twice
        ),
        check!(
            "larger-replaces-partial",
            "a partial file is replaced, never taken for a larger disk",
            partial
        ),
        check!(
            "larger-refuses-smaller",
            "a size below the image's is refused, and leaves no file",
            smaller
        ),
    ]
}

/// The image's size in MiB, rounded up.
async fn image_mib(stage: &Stage) -> Result<u64, Trouble> {
    if !stage.driver.larger() {
        return skip("the driver makes no disks that are larger than their image");
    }
    match stage.bench.guest_size(&stage.bench.image().0).await {
        Some(bytes) => Ok(bytes.div_ceil(MIB)),
        None => skip("the bench cannot tell the size of a disk"),
    }
}

fn job(stage: &Stage, target: &FileRef, format: DiskFormat, size_mib: u64) -> TransferJob {
    let (base, base_format) = stage.bench.image();
    let source = DiskSource::Image { base, format: base_format, size_mib: Some(size_mib) };
    prepare(target, format, source)
}

async fn has_size(stage: &Stage, what: &str, disk: &FileRef, size_mib: u64) -> Verdict {
    match stage.bench.guest_size(disk).await {
        Some(bytes) if bytes == size_mib * MIB => Ok(()),
        found => broken(format!("{what}, the disk has {found:?} bytes, not {size_mib} MiB")),
    }
}

async fn all(stage: &Stage) -> Verdict {
    let least = image_mib(stage).await?;
    for format in [DiskFormat::Qcow2, DiskFormat::Raw] {
        // The image's own size is a size like any other.
        for size_mib in [least, least + MORE_MIB] {
            let target = stage.place("disk");
            let what = format!("prepare of {size_mib} MiB as {format}");
            stage.done(&what, &stage.call(), &job(stage, &target, format, size_mib)).await?;
            has_size(stage, &what, &target, size_mib).await?;
            stage.only(&what, &target, &["disk"]).await?;
        }
    }
    Ok(())
}

async fn twice(stage: &Stage) -> Verdict {
    let (size_mib, target, call) =
        (image_mib(stage).await? + MORE_MIB, stage.place("disk"), stage.call());
    let job = job(stage, &target, DiskFormat::Qcow2, size_mib);
    stage.done("prepare", &call, &job).await?;
    stage.done("prepare, sent again", &stage.again(&call), &job).await?;
    stage.done("prepare by another step", &stage.call(), &job).await?;
    has_size(stage, "after prepare was sent thrice", &target, size_mib).await?;
    stage.only("after prepare was sent thrice", &target, &["disk"]).await
}

async fn partial(stage: &Stage) -> Verdict {
    let (size_mib, target) = (image_mib(stage).await? + MORE_MIB, stage.place("disk"));
    stage.bench.leave_partial(&target).await;
    let job = job(stage, &target, DiskFormat::Qcow2, size_mib);
    stage.done("prepare over a partial file", &stage.call(), &job).await?;
    has_size(stage, "after prepare over a partial file", &target, size_mib).await?;
    stage.only("after prepare over a partial file", &target, &["disk"]).await
}

async fn smaller(stage: &Stage) -> Verdict {
    let least = image_mib(stage).await?;
    if least < 2 {
        return skip("the bench's image is not larger than 1 MiB");
    }
    for format in [DiskFormat::Qcow2, DiskFormat::Raw] {
        let target = stage.place("disk");
        match stage.job(&stage.call(), &job(stage, &target, format, least - 1)).await? {
            Err(error) if error.kind == ErrorKind::Refused => {
                stage.there("after it was refused", &target, false).await?;
            }
            Err(error) => {
                return broken(format!("prepare answered {error}; refused was to be expected"));
            }
            Ok(_) => {
                return broken(format!(
                    "prepare as {format} made a disk of {} MiB of an image of {least} MiB",
                    least - 1
                ));
            }
        }
    }
    Ok(())
}
