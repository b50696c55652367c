//! The checks of a transfer driver.

use super::stage::{answered, broken, skip};
use super::transfer_stage::Stage;
use super::{Check, Trouble, Verdict, check};
use ostler_driver::{
    CallControl, DiskSource, FileKind, FileLook, FileRef, SaveBackJob, TransferJob,
};
use ostler_model::{DiskFormat, DriverError, ErrorKind};
use std::time::Duration;

/// All of them.
pub(super) fn checks() -> Vec<Check<Stage>> {
    vec![
        check!(
            "prepare-makes-disks",
            "prepare makes overlays, blank and swap disks, in both formats, and leaves nothing \
             else",
            prepare_all
        ),
        check!(
            "prepare-twice",
            "prepare is level: a complete file of the same making is success",
            prepare_twice
        ),
        check!(
            "prepare-replaces-partial",
            "a partial file is replaced, never taken for a disk",
            prepare_partial
        ),
        check!(
            "prepare-lost-answer",
            "a prepare whose caller went away converges when it is sent again",
            prepare_lost
        ),
        check!(
            "prepare-needs-image",
            "prepare on an image that is not there fails, and leaves no file",
            prepare_no_image
        ),
        check!(
            "prepare-refuses-names",
            "prepare on an image that names another file is refused before anything opens that \
             file, and leaves no file",
            prepare_names
        ),
        check!(
            "look-tells",
            "a look says what a disk is: format, size for the guest, nothing wrong with it",
            inspect_tells
        ),
        check!("look-finds-names", "a look tells the other files that a disk names", inspect_names),
        check!("look-nothing", "a look at what is not there is gone", inspect_nothing),
        check!(
            "copy-keeps-source",
            "copy makes the target, and the source is untouched",
            copy_keeps
        ),
        check!("copy-twice", "copy is level: sent again, it answers success", copy_twice),
        check!(
            "copy-source-gone",
            "a source that is absent beside a verified target is success",
            copy_gone
        ),
        check!("copy-nothing", "copy of what is not there fails, and leaves no file", copy_nothing),
        check!(
            "copy-overlay",
            "a copied overlay stands on its base as the destination sees it",
            copy_overlay
        ),
        check!(
            "copy-recovery",
            "a recovery file has no disk format, and is copied all the same",
            copy_recovery
        ),
        check!(
            "delete-twice",
            "delete is level: a file goes, a folder goes with all below it, and absent is success",
            delete_twice
        ),
        check!(
            "abort-stops",
            "after abort nothing works at the job, and it can be begun again",
            abort_stops
        ),
        check!(
            "save-back-twice",
            "an image is made of a disk, which is untouched; sent again, it answers success",
            save_back_twice
        ),
        check!(
            "save-back-stands-alone",
            "an image can be used when the disk and what that stood on are gone",
            save_back_alone
        ),
        check!(
            "save-back-disk-gone",
            "a disk that is absent beside a complete image is success",
            save_back_gone
        ),
        check!(
            "save-back-replaces-partial",
            "a partial image is replaced, never taken for an image",
            save_back_partial
        ),
        check!(
            "save-back-nothing",
            "an image of what is not there fails, and leaves no file",
            save_back_nothing
        ),
        check!(
            "save-back-refuses-names",
            "a disk that names another file than its image is refused before anything opens that \
             file, and leaves no file",
            save_back_names
        ),
    ]
}

pub(super) fn prepare(target: &FileRef, format: DiskFormat, source: DiskSource) -> TransferJob {
    TransferJob::Prepare { target: target.clone(), format, source }
}

fn overlay(stage: &Stage, target: &FileRef) -> TransferJob {
    let (base, format) = stage.bench.image();
    prepare(target, DiskFormat::Qcow2, DiskSource::Image { base, format, size_mib: None })
}

pub(super) fn copy(
    from: &FileRef,
    to: &FileRef,
    format: Option<DiskFormat>,
    base: Option<FileRef>,
) -> TransferJob {
    TransferJob::Copy { from: from.clone(), to: to.clone(), format, base }
}

async fn prepare_all(stage: &Stage) -> Verdict {
    let (base, base_format) = stage.bench.image();
    for format in [DiskFormat::Qcow2, DiskFormat::Raw] {
        let image = DiskSource::Image { base: base.clone(), format: base_format, size_mib: None };
        for source in [image, DiskSource::Blank { size_mib: 4 }, DiskSource::Swap { size_mib: 4 }] {
            let target = stage.place("disk");
            let what = format!("prepare of {source:?} as {format}");
            stage.done(&what, &stage.call(), &prepare(&target, format, source)).await?;
            stage.there(&what, &target, true).await?;
            stage.only(&what, &target, &["disk"]).await?;
        }
    }
    Ok(())
}

async fn prepare_twice(stage: &Stage) -> Verdict {
    for overlaid in [true, false] {
        let target = stage.place("disk");
        let job = if overlaid { overlay(stage, &target) } else { stage.blank(&target) };
        let call = stage.call();
        stage.done("prepare", &call, &job).await?;
        stage.done("prepare, sent again", &stage.again(&call), &job).await?;
        stage.done("prepare by another step", &stage.call(), &job).await?;
        stage.only("after prepare was sent thrice", &target, &["disk"]).await?;
    }
    Ok(())
}

async fn prepare_partial(stage: &Stage) -> Verdict {
    for overlaid in [true, false] {
        let (target, fresh) = (stage.place("disk"), stage.place("disk"));
        stage.bench.leave_partial(&target).await;
        let job = |file: &FileRef| if overlaid { overlay(stage, file) } else { stage.blank(file) };
        stage.done("prepare over a partial file", &stage.call(), &job(&target)).await?;
        stage.only("after prepare over a partial file", &target, &["disk"]).await?;
        // A complete disk can be copied and verified; a partial file cannot.
        let base = overlaid.then(|| stage.bench.image().0);
        stage
            .done(
                "copy of the disk",
                &stage.call(),
                &copy(&target, &fresh, Some(DiskFormat::Qcow2), base),
            )
            .await?;
        if stage.bench.is_partial(&target).await {
            return broken("the partial file is still there");
        }
    }
    Ok(())
}

async fn prepare_lost(stage: &Stage) -> Verdict {
    let target = stage.place("disk");
    let (call, job) = (stage.call(), overlay(stage, &target));
    // Long enough for the call to reach the driver, too short for a real driver to finish.
    let _ = tokio::time::timeout(
        Duration::from_millis(2),
        stage.driver.begin(&stage.site, &call, &job),
    )
    .await;
    stage.done("prepare, after its answer was lost", &stage.again(&call), &job).await?;
    stage.only("after prepare was sent again", &target, &["disk"]).await
}

async fn prepare_no_image(stage: &Stage) -> Verdict {
    let (base, target) = (stage.place("no-image"), stage.place("disk"));
    let job = prepare(
        &target,
        DiskFormat::Qcow2,
        DiskSource::Image { base, format: DiskFormat::Qcow2, size_mib: None },
    );
    if stage.job(&stage.call(), &job).await?.is_ok() {
        return broken("prepare on an image that is not there answered success");
    }
    stage.there("after it failed", &target, false).await
}

async fn prepare_names(stage: &Stage) -> Verdict {
    let Some((base, format)) = stage.bench.leading_out().await else {
        return skip("the bench has no such image");
    };
    for wanted in [DiskFormat::Qcow2, DiskFormat::Raw] {
        let target = stage.place("disk");
        let job = prepare(
            &target,
            wanted,
            DiskSource::Image { base: base.clone(), format, size_mib: None },
        );
        match stage.job(&stage.call(), &job).await? {
            Err(error) if error.kind == ErrorKind::Refused => {
                stage.there("after it was refused", &target, false).await?
            }
            Err(error) => {
                return broken(format!("prepare answered {error}; refused was to be expected"));
            }
            Ok(_) => {
                return broken(format!(
                    "prepare as {wanted} made a disk of an image that names another file"
                ));
            }
        }
    }
    Ok(())
}

pub(super) async fn made(stage: &Stage) -> Result<FileRef, Trouble> {
    let file = stage.place("disk");
    stage.done("prepare", &stage.call(), &stage.blank(&file)).await?;
    Ok(file)
}

async fn copy_keeps(stage: &Stage) -> Verdict {
    let (from, to) = (made(stage).await?, stage.place("copy"));
    stage.done("copy", &stage.call(), &copy(&from, &to, Some(DiskFormat::Qcow2), None)).await?;
    stage.only("after copy", &to, &["copy"]).await?;
    stage.only("after copy", &from, &["disk"]).await
}

async fn copy_twice(stage: &Stage) -> Verdict {
    let (from, to, call) = (made(stage).await?, stage.place("copy"), stage.call());
    let job = copy(&from, &to, Some(DiskFormat::Qcow2), None);
    stage.done("copy", &call, &job).await?;
    stage.done("copy, sent again", &stage.again(&call), &job).await?;
    stage.only("after copy was sent twice", &to, &["copy"]).await
}

async fn copy_gone(stage: &Stage) -> Verdict {
    let (from, to, call) = (made(stage).await?, stage.place("copy"), stage.call());
    let job = copy(&from, &to, Some(DiskFormat::Qcow2), None);
    stage.done("copy", &call, &job).await?;
    stage.done("delete", &stage.call(), &TransferJob::Delete { target: from }).await?;
    stage.done("copy, sent again after its source was removed", &stage.again(&call), &job).await?;
    stage.there("after that", &to, true).await
}

async fn copy_nothing(stage: &Stage) -> Verdict {
    let (from, to) = (stage.place("disk"), stage.place("copy"));
    match stage.job(&stage.call(), &copy(&from, &to, Some(DiskFormat::Qcow2), None)).await? {
        Err(error) if error.kind == ErrorKind::Gone => {
            stage.there("after it failed", &to, false).await
        }
        Err(error) => {
            broken(format!("copy of what is not there answered {error}; gone was to be expected"))
        }
        Ok(_) => broken("copy of what is not there answered success"),
    }
}

async fn copy_overlay(stage: &Stage) -> Verdict {
    let (from, to) = (stage.place("disk"), stage.place("copy"));
    let (base, _) = stage.bench.image();
    stage.done("prepare", &stage.call(), &overlay(stage, &from)).await?;
    let job = copy(&from, &to, Some(DiskFormat::Qcow2), Some(base));
    stage.done("copy of an overlay", &stage.call(), &job).await?;
    stage.only("after copy of an overlay", &to, &["copy"]).await?;
    // The copy must count as made the same way. A copy without its base would be replaced.
    stage.done("prepare over the copy", &stage.call(), &overlay(stage, &to)).await
}

async fn copy_recovery(stage: &Stage) -> Verdict {
    let (from, to) = (stage.place("memory"), stage.place("memory"));
    stage.bench.leave_partial(&from).await;
    stage.done("copy of a recovery file", &stage.call(), &copy(&from, &to, None, None)).await?;
    stage.only("after copy of a recovery file", &to, &["memory"]).await
}

async fn delete_twice(stage: &Stage) -> Verdict {
    let file = made(stage).await?;
    for what in ["after delete", "after delete of what is gone"] {
        stage.done("delete", &stage.call(), &TransferJob::Delete { target: file.clone() }).await?;
        stage.there(what, &file, false).await?;
    }
    let file = made(stage).await?;
    let (Some((folder, _)), Some((absolute, _))) =
        (file.path.as_str().rsplit_once('/'), file.absolute.rsplit_once('/'))
    else {
        return skip("the bench's files are in no folder");
    };
    let Ok(path) = folder.parse() else { return skip("the bench's folder has no name") };
    let target = FileRef { path, absolute: absolute.to_owned(), ..file.clone() };
    stage.done("delete of a folder", &stage.call(), &TransferJob::Delete { target }).await?;
    stage.there("after delete of its folder", &file, false).await
}

async fn abort_stops(stage: &Stage) -> Verdict {
    let target = stage.place("disk");
    let (call, job) = (stage.call(), stage.blank(&target));
    let patience = stage.bench.patience();
    let _ = answered("begin", patience, stage.driver.begin(&stage.site, &call, &job)).await?;
    if let Err(error) = answered("abort", patience, stage.driver.abort(&stage.site, &call)).await? {
        return broken(format!("abort answered: {error}"));
    }
    stage.done("begin, after abort", &stage.again(&call), &job).await?;
    stage.only("after it was begun again", &target, &["disk"]).await
}

pub(super) fn save_back(disk: &FileRef, image: &FileRef) -> SaveBackJob {
    let (disk, image) = (disk.clone(), image.clone());
    SaveBackJob { disk, from_format: DiskFormat::Qcow2, image, format: DiskFormat::Qcow2 }
}

/// Makes an image of `disk`. The check is skipped if the driver makes no images.
async fn image_of(stage: &Stage, disk: &FileRef) -> Result<(FileRef, CallControl), Trouble> {
    image_upon(stage, disk, None).await
}

/// The same for a disk that stands on `base`.
async fn image_upon(
    stage: &Stage,
    disk: &FileRef,
    base: Option<&FileRef>,
) -> Result<(FileRef, CallControl), Trouble> {
    let (image, mut call) = (stage.place("image"), stage.call());
    call.related.read.extend(base.cloned());
    match stage.job(&call, &save_back(disk, &image)).await? {
        Ok(_) => Ok((image, call)),
        Err(error) => broken(format!("save-back answered: {error}")),
    }
}

async fn save_back_twice(stage: &Stage) -> Verdict {
    let disk = made(stage).await?;
    let (image, call) = image_of(stage, &disk).await?;
    stage.done("save-back, sent again", &stage.again(&call), &save_back(&disk, &image)).await?;
    stage.done("save-back by another step", &stage.call(), &save_back(&disk, &image)).await?;
    stage.only("after save-back", &image, &["image"]).await?;
    stage.only("after save-back", &disk, &["disk"]).await
}

async fn save_back_alone(stage: &Stage) -> Verdict {
    let (base, format) = stage.bench.image();
    let (below, disk, fresh) = (stage.place("below"), stage.place("disk"), stage.place("fresh"));
    stage
        .done("copy of the image", &stage.call(), &copy(&base, &below, Some(format), None))
        .await?;
    let source = DiskSource::Image { base: below.clone(), format, size_mib: None };
    stage.done("prepare", &stage.call(), &prepare(&disk, DiskFormat::Qcow2, source)).await?;
    let (image, _) = image_upon(stage, &disk, Some(&below)).await?;
    for target in [disk, below] {
        stage.done("delete", &stage.call(), &TransferJob::Delete { target }).await?;
    }
    // Making a raw disk reads the whole image.
    let source = DiskSource::Image { base: image, format: DiskFormat::Qcow2, size_mib: None };
    stage
        .done("prepare on the image", &stage.call(), &prepare(&fresh, DiskFormat::Raw, source))
        .await?;
    stage.there("after that", &fresh, true).await
}

async fn save_back_gone(stage: &Stage) -> Verdict {
    let disk = made(stage).await?;
    let (image, call) = image_of(stage, &disk).await?;
    stage.done("delete", &stage.call(), &TransferJob::Delete { target: disk.clone() }).await?;
    let what = "save-back, sent again after its disk was removed";
    stage.done(what, &stage.again(&call), &save_back(&disk, &image)).await?;
    stage.there("after that", &image, true).await
}

async fn save_back_partial(stage: &Stage) -> Verdict {
    let (disk, image) = (made(stage).await?, stage.place("image"));
    image_of(stage, &disk).await?;
    stage.bench.leave_partial(&image).await;
    stage.done("save-back over a partial file", &stage.call(), &save_back(&disk, &image)).await?;
    if stage.bench.is_partial(&image).await {
        return broken("the partial file is still there");
    }
    stage.only("after save-back over a partial file", &image, &["image"]).await
}

async fn save_back_nothing(stage: &Stage) -> Verdict {
    image_of(stage, &made(stage).await?).await?;
    let (disk, image) = (stage.place("disk"), stage.place("image"));
    match stage.job(&stage.call(), &save_back(&disk, &image)).await? {
        Err(error) if error.kind == ErrorKind::Gone => {
            stage.there("after it failed", &image, false).await
        }
        Err(error) => broken(format!(
            "save-back of what is not there answered {error}; gone was to be expected"
        )),
        Ok(_) => broken("save-back of what is not there answered success"),
    }
}

async fn save_back_names(stage: &Stage) -> Verdict {
    image_of(stage, &made(stage).await?).await?;
    let Some((disk, _)) = stage.bench.leading_out().await else {
        return skip("the bench has no such disk");
    };
    let image = stage.place("image");
    match stage.job(&stage.call(), &save_back(&disk, &image)).await? {
        Err(error) if error.kind == ErrorKind::Refused => {
            stage.there("after it was refused", &image, false).await
        }
        Err(error) => broken(format!("save-back answered {error}; refused was to be expected")),
        Ok(_) => broken("save-back made an image of a disk that names another file"),
    }
}

/// The driver's answer about a file. The check is skipped if the driver cannot inspect files.
async fn look(stage: &Stage, file: &FileRef) -> Result<Result<FileLook, DriverError>, Trouble> {
    let patience = stage.bench.patience();
    let Some(inspects) = stage.driver.inspect() else {
        return skip("the driver cannot look into files");
    };
    answered("inspect", patience, inspects.inspect(&stage.site, file, patience)).await
}

async fn inspect_tells(stage: &Stage) -> Verdict {
    let (base, format) = stage.bench.image();
    let disk = made(stage).await?;
    for (file, format) in [(base, format), (disk, DiskFormat::Qcow2)] {
        let found = match look(stage, &file).await? {
            Ok(found) => found,
            Err(error) => return broken(format!("inspect of {} answered {error}", file.path)),
        };
        let sound = found.names.is_empty() && !found.encrypted && found.damage.is_none();
        if found.kind != FileKind::File
            || found.format != format.to_string()
            || found.virtual_size == 0
            || !sound
        {
            return broken(format!(
                "{} is a sound {format} disk, and this was told of it: {found:?}",
                file.path
            ));
        }
    }
    Ok(())
}

async fn inspect_names(stage: &Stage) -> Verdict {
    let Some((file, _)) = stage.bench.leading_out().await else {
        return skip("the bench has no such image");
    };
    match look(stage, &file).await? {
        Ok(found) if found.names.is_empty() => {
            broken(format!("a disk that names another file, and this was told of it: {found:?}"))
        }
        Ok(_) => Ok(()),
        Err(error) => broken(format!("inspect answered {error}")),
    }
}

async fn inspect_nothing(stage: &Stage) -> Verdict {
    match look(stage, &stage.place("nothing")).await? {
        Err(error) if error.kind == ErrorKind::Gone => Ok(()),
        Err(error) => broken(format!(
            "inspect of what is not there answered {error}; gone was to be expected"
        )),
        Ok(found) => broken(format!("of a file that is not there it was told: {found:?}")),
    }
}
