//! The checks that stop a transfer driver at its calls to the host.

use super::cuts::{End, Play, each_cut, plain};
use super::stage::answered;
use super::transfer::{copy, made, prepare, save_back};
use super::transfer_stage::{Stage, Work};
use super::{Check, Trouble, Verdict, check};
use async_trait::async_trait;
use ostler_driver::{CallControl, DiskSource, FileRef, SaveBackJob, TransferJob};
use ostler_model::{DiskFormat, DriverError, Outcome};

/// A job of a transfer driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Job {
    Overlay,
    Whole,
    Blank,
    Swap,
    Copy,
    Delete,
    SaveBack,
}

/// Makes the check of one job.
macro_rules! cut {
    ($name:literal, $job:ident) => {{
        async fn run(stage: &Stage) -> Verdict {
            each_cut(&stage.cutting, &Played { stage, job: Job::$job }).await
        }
        check!($name, RULE, run)
    }};
}

const RULE: &str = "a job that is stopped at any call to the host and sent again ends as in one \
                    piece: the file is whole, and nothing is left over";

/// All of them.
pub(super) fn checks() -> Vec<Check<Stage>> {
    vec![
        cut!("prepare-overlay-cut", Overlay),
        cut!("prepare-whole-cut", Whole),
        cut!("prepare-blank-cut", Blank),
        cut!("prepare-swap-cut", Swap),
        cut!("copy-cut", Copy),
        cut!("delete-cut", Delete),
        cut!("save-back-cut", SaveBack),
    ]
}

/// One job on a stage.
struct Played<'a> {
    stage: &'a Stage,
    job: Job,
}

enum Given {
    Transfer(TransferJob),
    SaveBack(SaveBackJob),
}

/// A job, and the files that it is about.
struct Scene {
    given: Given,
    target: FileRef,
    /// The file that is read. It must stay as it is.
    source: Option<FileRef>,
}

impl Played<'_> {
    /// Whether the target must hold the same bytes as the source.
    fn same_bytes(&self) -> bool {
        matches!(self.job, Job::Whole | Job::Copy)
    }

    /// Looks at the target as the driver sees it.
    async fn look(&self, target: &FileRef) -> Result<String, Trouble> {
        let (stage, patience) = (self.stage, self.stage.bench.patience());
        let Some(inspects) = stage.driver.inspect() else { return Ok("not told".to_owned()) };
        let look = inspects.inspect(&stage.site, target, patience);
        Ok(match answered("inspect", patience, look).await? {
            Ok(found) => format!(
                "{:?} of format {} with {} bytes for the guest, damage {:?}",
                found.kind, found.format, found.virtual_size, found.damage
            ),
            Err(error) => error.to_string(),
        })
    }

    async fn folder(&self, of: &FileRef) -> String {
        let mut names = self.stage.bench.beside(of).await;
        names.sort_unstable();
        let names: Vec<_> = names.iter().map(|name| plain(name)).collect();
        format!("{names:?}")
    }
}

#[async_trait]
impl Play for Played<'_> {
    type Scene = Scene;

    async fn begin(&self) -> Result<Scene, Trouble> {
        let stage = self.stage;
        let target = stage.place("disk");
        let (base, base_format) = stage.bench.image();
        let image = DiskSource::Image { base: base.clone(), format: base_format, size_mib: None };
        let given = |format, source| Given::Transfer(prepare(&target, format, source));
        let (given, source) = match self.job {
            Job::Overlay => (given(DiskFormat::Qcow2, image), Some(base)),
            Job::Whole => (given(DiskFormat::Raw, image), Some(base)),
            Job::Blank => (given(DiskFormat::Qcow2, DiskSource::Blank { size_mib: 4 }), None),
            Job::Swap => (given(DiskFormat::Qcow2, DiskSource::Swap { size_mib: 4 }), None),
            Job::Copy => {
                let from = made(stage).await?;
                let job = copy(&from, &target, Some(DiskFormat::Qcow2), None);
                (Given::Transfer(job), Some(from))
            }
            Job::Delete => {
                let target = made(stage).await?;
                let job = TransferJob::Delete { target: target.clone() };
                return Ok(Scene { given: Given::Transfer(job), target, source: None });
            }
            Job::SaveBack => {
                let from = made(stage).await?;
                (Given::SaveBack(save_back(&from, &target)), Some(from))
            }
        };
        Ok(Scene { given, target, source })
    }

    fn call(&self, _: &Scene) -> CallControl {
        self.stage.call()
    }

    fn again(&self, call: &CallControl) -> CallControl {
        self.stage.again(call)
    }

    async fn send(
        &self,
        scene: &Scene,
        call: &CallControl,
    ) -> Result<Result<Outcome, DriverError>, Trouble> {
        let work = match &scene.given {
            Given::Transfer(job) => Work::Transfer(job),
            Given::SaveBack(job) => Work::SaveBack(job),
        };
        self.stage.job(call, work).await
    }

    async fn halfway(&self, _: &Scene, _: &CallControl) -> Verdict {
        Ok(())
    }

    async fn end(&self, scene: &Scene, _: &CallControl, _: bool) -> Result<End, Trouble> {
        let (bench, mut end) = (&self.stage.bench, End::default());
        end.fact("the folder of the file", self.folder(&scene.target).await);
        let content = bench.content(&scene.target).await;
        let length = content.as_ref().map(|content| format!("{} bytes long", content.len()));
        end.fact("the file", length.unwrap_or_else(|| "not there".to_owned()));
        if content.is_some() {
            end.fact("the file, as the driver tells it,", self.look(&scene.target).await?);
        }
        if let Some(source) = &scene.source {
            end.fact("the folder of the source", self.folder(source).await);
            if self.same_bytes() {
                let same = content == bench.content(source).await;
                end.fact(
                    "the content of the file",
                    if same { "that of its source" } else { "another" },
                );
            }
        }
        Ok(end)
    }

    async fn tidy(&self) {
        self.stage.tidy().await;
    }
}
