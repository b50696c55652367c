//! The checks of migrations and of copies of disks in use: jobs that are begun, polled and aborted
//! by effect key.

use super::stage::{Stage, answered, broken, skip};
use super::{Check, Trouble, Verdict, check};
use ostler_driver::{CallControl, DomainSpec, FileRef, JobStatus, Site};
use ostler_model::{
    DiskFormat, DiskName, DomainSeen, DriverError, ErrorKind, Identity, Observation, Outcome,
    Power, VmUuid,
};
use std::future::Future;
use std::time::{Duration, Instant};

/// How often a job is polled.
const POLL_EVERY: Duration = Duration::from_millis(20);

type Begun = Result<JobStatus, DriverError>;

/// All of them.
pub(super) fn checks() -> Vec<Check<Stage>> {
    vec![
        check!(
            "migrate-arrives",
            "a domain that migrated runs there, stamped, and is absent here",
            migrate_arrives
        ),
        check!(
            "migrate-twice",
            "migrate is level: sent again, it finds the domain where it was to be",
            migrate_twice
        ),
        check!(
            "migrate-lost-answer",
            "a migrate whose caller went away converges when it is sent again",
            migrate_lost_answer
        ),
        check!(
            "migrate-abort",
            "after abort the domain runs on here and nowhere else, and can be sent off again",
            migrate_abort
        ),
        check!(
            "migrate-fences",
            "migrate answers stale, and moves nothing, if a higher generation is here",
            migrate_fences
        ),
        check!(
            "migrate-fences-there",
            "the same if a higher generation is at the other host",
            migrate_fences_there
        ),
        check!(
            "migrate-leaves-foreign",
            "a domain of another store is never replaced by one that arrives",
            migrate_leaves_foreign
        ),
        check!(
            "migrate-needs-the-other",
            "a domain whose new host cannot be asked runs on here",
            migrate_needs_the_other
        ),
        check!(
            "copy-disk-twice",
            "copy-disk makes a file beside a running domain; sent again, it answers success",
            copy_disk_twice
        ),
        check!(
            "copy-disk-abort",
            "after abort nothing works at the copy, and it can be begun again",
            copy_disk_abort
        ),
        check!(
            "copy-disk-fences",
            "copy-disk answers stale if a higher generation is there",
            copy_disk_fences
        ),
        check!(
            "copy-disk-nothing",
            "a disk that the domain does not have fails, and leaves no file",
            copy_disk_nothing
        ),
    ]
}

impl Stage {
    /// Begins a job and polls it to its end. If a poll answers that there is no such job, the job
    /// is begun again.
    async fn job<B, P>(
        &self,
        what: &str,
        begin: impl Fn() -> B,
        poll: impl Fn() -> P,
    ) -> Result<Result<Outcome, DriverError>, Trouble>
    where
        B: Future<Output = Begun> + Send,
        P: Future<Output = Begun> + Send,
    {
        let end = Instant::now() + self.patience();
        let mut status = answered(what, self.patience(), begin()).await?;
        loop {
            let again = match &status {
                Ok(JobStatus::Done(outcome)) => return Ok(Ok(outcome.clone())),
                Ok(JobStatus::Pending(progress)) if Instant::now() >= end => {
                    return broken(format!(
                        "{what} is still pending at its deadline: {progress:?}"
                    ));
                }
                Ok(JobStatus::Pending(_)) => false,
                Err(error) if error.kind == ErrorKind::Retry && Instant::now() < end => true,
                Err(error) => return Ok(Err(error.clone())),
            };
            tokio::time::sleep(POLL_EVERY).await;
            status = if again {
                answered(what, self.patience(), begin()).await?
            } else {
                match answered("poll", self.patience(), poll()).await? {
                    Err(error) if error.kind == ErrorKind::Gone => {
                        answered(what, self.patience(), begin()).await?
                    }
                    polled => polled,
                }
            };
        }
    }

    pub(super) async fn migrate(
        &self,
        call: &CallControl,
        journey: &Journey,
    ) -> Result<Result<Outcome, DriverError>, Trouble> {
        let migrates = self.migrates()?;
        let begin = || migrates.begin(&self.site, call, &journey.spec, &journey.to, &[]);
        self.job("migrate", begin, || migrates.poll(&self.site, call)).await
    }

    async fn migrated(&self, what: &str, call: &CallControl, journey: &Journey) -> Verdict {
        match self.migrate(call, journey).await? {
            Ok(_) => arrived(self, what, journey).await,
            Err(error) => broken(format!("{what} answered: {error}")),
        }
    }
}

/// A migration of a domain: generation 1 here, generation 2 there.
pub(super) struct Journey {
    pub(super) vm: VmUuid,
    pub(super) spec: DomainSpec,
    pub(super) to: Site,
}

pub(super) async fn journey(stage: &Stage) -> Result<Journey, Trouble> {
    stage.migrates()?;
    let to = stage.there()?;
    let vm = stage.vm();
    stage.deploy(vm, 1).await?;
    stage.bench.guest_ready(vm).await;
    let spec = stage.bench.domain_there(stage.identity(vm, 2)).await;
    Ok(Journey { vm, spec, to })
}

async fn running_at(
    stage: &Stage,
    when: &str,
    site: &Site,
    identity: Identity,
) -> Result<DomainSeen, Trouble> {
    match stage.look_at(site, identity.vm).await? {
        Observation::Present(domain)
            if domain.power == Power::Running && domain.identity == Some(identity) =>
        {
            Ok(domain)
        }
        other => {
            broken(format!("{when}, host {} shows {other:?}, not {identity:?} running", site.name))
        }
    }
}

async fn arrived(stage: &Stage, when: &str, journey: &Journey) -> Verdict {
    running_at(stage, when, &journey.to, journey.spec.identity).await?;
    stage.absent(journey.vm, when).await
}

/// Checks that the domain runs here as before, and that nothing of it runs there.
async fn stayed(stage: &Stage, when: &str, vm: VmUuid, to: &Site) -> Verdict {
    running_at(stage, when, &stage.site, stage.identity(vm, 1)).await?;
    match stage.look_at(to, vm).await? {
        Observation::Present(domain) if domain.power != Power::Off => {
            broken(format!("{when}, the domain is {} there", domain.power))
        }
        Observation::Present(_) | Observation::Absent => Ok(()),
    }
}

async fn migrate_arrives(stage: &Stage) -> Verdict {
    let journey = journey(stage).await?;
    let call = stage.call(journey.vm, 2);
    match stage.migrate(&call, &journey).await? {
        Err(error) => broken(format!("migrate answered: {error}")),
        Ok(Outcome { seen: Some(Observation::Present(seen)), .. })
            if seen.identity != Some(journey.spec.identity) =>
        {
            broken(format!("migrate told of {seen:?}"))
        }
        Ok(_) => arrived(stage, "after migrate", &journey).await,
    }
}

async fn migrate_twice(stage: &Stage) -> Verdict {
    let journey = journey(stage).await?;
    for call in stage.thrice(journey.vm, 2) {
        stage.migrated("migrate", &call, &journey).await?;
    }
    Ok(())
}

async fn migrate_lost_answer(stage: &Stage) -> Verdict {
    let migrates = stage.migrates()?;
    let journey = journey(stage).await?;
    let call = stage.call(journey.vm, 2);
    stage.drop_early(migrates.begin(&stage.site, &call, &journey.spec, &journey.to, &[])).await;
    stage.look(journey.vm).await?;
    stage.migrated("migrate, after its answer was lost", &stage.again(&call), &journey).await
}

async fn migrate_abort(stage: &Stage) -> Verdict {
    let migrates = stage.migrates()?;
    let journey = journey(stage).await?;
    let call = stage.call(journey.vm, 2);
    let begin = || migrates.begin(&stage.site, &call, &journey.spec, &journey.to, &[]);
    if let Err(error) = stage.asked("migrate", begin).await? {
        return broken(format!("migrate answered: {error}"));
    }
    match stage.asked("abort", || migrates.abort(&stage.site, &call)).await? {
        Ok(()) => stayed(stage, "after abort", journey.vm, &journey.to).await?,
        // The migration was quicker than the abort: then the domain must have moved.
        Err(error) if error.kind == ErrorKind::Unknown => {
            arrived(stage, "after an abort that came too late", &journey).await?
        }
        Err(error) => return broken(format!("abort answered: {error}")),
    }
    stage.migrated("migrate, after abort", &stage.again(&call), &journey).await
}

/// Makes a domain of that identity there, which is off. Two domains must never run at once, because
/// the hosts may share the disks.
async fn off_there(stage: &Stage, to: &Site, identity: Identity) -> Verdict {
    let (vm, generation) = (identity.vm, identity.generation.0);
    let (deploy, destroy) = (stage.call(vm, generation), stage.call(vm, generation));
    let spec = stage.bench.domain_there(identity).await;
    stage.done("deploy there", || stage.driver.deploy(to, &deploy, &spec)).await?;
    stage.done("destroy there", || stage.driver.destroy(to, &destroy)).await?;
    match stage.look_at(to, vm).await? {
        Observation::Present(_) => Ok(()),
        Observation::Absent => skip("a domain that is off leaves no trace at this hypervisor"),
    }
}

async fn stale(stage: &Stage, vm: VmUuid, generation: u64, to: &Site, place: &str) -> Verdict {
    let spec = stage.bench.domain_there(stage.identity(vm, generation)).await;
    let (call, journey) = (stage.call(vm, generation), Journey { vm, spec, to: to.clone() });
    match stage.migrate(&call, &journey).await? {
        Err(error) if error.kind == ErrorKind::Stale => {}
        other => {
            return broken(format!(
                "migrate answered {other:?}, and a higher generation is {place}: stale was to be \
                 expected"
            ));
        }
    }
    stage.untouched("after a stale migrate", stage.identity(vm, 5)).await
}

async fn migrate_fences(stage: &Stage) -> Verdict {
    stage.migrates()?;
    let (vm, to) = (stage.vm(), stage.there()?);
    stage.deploy(vm, 5).await?;
    stale(stage, vm, 4, &to, "here").await
}

async fn migrate_fences_there(stage: &Stage) -> Verdict {
    stage.migrates()?;
    let (vm, to) = (stage.vm(), stage.there()?);
    off_there(stage, &to, stage.identity(vm, 9)).await?;
    stage.deploy(vm, 5).await?;
    stale(stage, vm, 6, &to, "there").await
}

async fn migrate_leaves_foreign(stage: &Stage) -> Verdict {
    stage.migrates()?;
    let (vm, to) = (stage.vm(), stage.there()?);
    let others = stage.of_another_store();
    let theirs = others.identity(vm, 1);
    off_there(&others, &to, theirs).await?;
    stage.deploy(vm, 1).await?;
    stage.bench.guest_ready(vm).await;
    let spec = stage.bench.domain_there(stage.identity(vm, 2)).await;
    let journey = Journey { vm, spec, to };
    if stage.migrate(&stage.call(vm, 2), &journey).await?.is_ok() {
        return broken("migrate answered success where another store's domain is");
    }
    stage
        .untouched("after migrate to where another store's domain is", stage.identity(vm, 1))
        .await?;
    match stage.look_at(&journey.to, vm).await? {
        Observation::Present(domain) if domain.identity == Some(theirs) => Ok(()),
        other => broken(format!(
            "after migrate, host {} shows {other:?}, not another store's domain",
            journey.to.name
        )),
    }
}

async fn migrate_needs_the_other(stage: &Stage) -> Verdict {
    let migrates = stage.migrates()?;
    let Some(blind) = stage.bench.blind_site() else {
        return skip("the bench has no host that cannot be asked");
    };
    let vm = stage.vm();
    stage.deploy(vm, 1).await?;
    stage.bench.guest_ready(vm).await;
    let (call, spec) = (stage.call(vm, 2), stage.bench.domain_there(stage.identity(vm, 2)).await);
    let begin = || migrates.begin(&stage.site, &call, &spec, &blind, &[]);
    if let Ok(JobStatus::Done(_)) = answered("migrate", stage.patience(), begin()).await? {
        return broken("migrate answered success, and the other host cannot be asked");
    }
    let aborted = stage.asked("abort", || migrates.abort(&stage.site, &call)).await?;
    if let Err(error) = aborted {
        return broken(format!("abort answered: {error}"));
    }
    stage.untouched("after migrate to a host that cannot be asked", stage.identity(vm, 1)).await
}

/// A running domain, its disk, and the place for a copy of that disk.
pub(super) struct Copying {
    pub(super) vm: VmUuid,
    pub(super) disk: DiskName,
    target: FileRef,
}

impl Copying {
    pub(super) async fn new(stage: &Stage, generation: u64) -> Result<Self, Trouble> {
        stage.copies()?;
        let vm = stage.vm();
        let Some(target) = stage.bench.copy_place(vm) else {
            return skip("the bench has no place for copies of disks");
        };
        let (call, mut spec) = (stage.call(vm, generation), stage.domain(vm, generation).await);
        if spec.disks.is_empty() {
            spec.disks.extend(stage.bench.spare_disk(vm).await);
        }
        let Some(disk) = spec.disks.first().map(|disk| disk.name.clone()) else {
            return skip("the bench's domain has no disk");
        };
        stage.done("deploy", || stage.driver.deploy(&stage.site, &call, &spec)).await?;
        Ok(Self { vm, disk, target })
    }

    pub(super) async fn copy(
        &self,
        stage: &Stage,
        call: &CallControl,
        disk: &DiskName,
    ) -> Result<Result<Outcome, DriverError>, Trouble> {
        let copies = stage.copies()?;
        let begin = || copies.begin(&stage.site, call, disk, &self.target, DiskFormat::Raw);
        stage.job("copy-disk", begin, || copies.poll(&stage.site, call)).await
    }

    async fn copied(&self, stage: &Stage, what: &str, call: &CallControl) -> Verdict {
        if let Err(error) = self.copy(stage, call, &self.disk).await? {
            return broken(format!("{what} answered: {error}"));
        }
        self.there(stage, what, true).await?;
        stage.untouched(what, stage.identity(self.vm, 1)).await
    }

    pub(super) async fn there(&self, stage: &Stage, when: &str, wanted: bool) -> Verdict {
        match stage.bench.is_there(&self.target).await {
            Some(found) if found != wanted => broken(format!(
                "after {when}, {} is {}there",
                self.target.path,
                if found { "" } else { "not " }
            )),
            Some(_) | None => Ok(()),
        }
    }
}

async fn copy_disk_twice(stage: &Stage) -> Verdict {
    let copying = Copying::new(stage, 1).await?;
    for call in stage.thrice(copying.vm, 1) {
        copying.copied(stage, "copy-disk", &call).await?;
    }
    Ok(())
}

async fn copy_disk_abort(stage: &Stage) -> Verdict {
    let copies = stage.copies()?;
    let copying = Copying::new(stage, 1).await?;
    let call = stage.call(copying.vm, 1);
    let begin =
        || copies.begin(&stage.site, &call, &copying.disk, &copying.target, DiskFormat::Raw);
    if let Err(error) = stage.asked("copy-disk", begin).await? {
        return broken(format!("copy-disk answered: {error}"));
    }
    if let Err(error) = stage.asked("abort", || copies.abort(&stage.site, &call)).await? {
        return broken(format!("abort answered: {error}"));
    }
    stage.untouched("after abort", stage.identity(copying.vm, 1)).await?;
    copying.copied(stage, "copy-disk, after abort", &stage.again(&call)).await
}

async fn copy_disk_fences(stage: &Stage) -> Verdict {
    let copying = Copying::new(stage, 5).await?;
    match copying.copy(stage, &stage.call(copying.vm, 4), &copying.disk).await? {
        Err(error) if error.kind == ErrorKind::Stale => {}
        other => {
            return broken(format!(
                "copy-disk with a lower generation answered {other:?}; stale was to be expected"
            ));
        }
    }
    stage.untouched("after a stale copy-disk", stage.identity(copying.vm, 5)).await
}

async fn copy_disk_nothing(stage: &Stage) -> Verdict {
    let copying = Copying::new(stage, 1).await?;
    let Ok(other) = "vdz".parse() else { return skip("vdz is no disk's name") };
    if copying.copy(stage, &stage.call(copying.vm, 1), &other).await?.is_ok() {
        return broken("copy-disk of a disk that the domain does not have answered success");
    }
    copying.there(stage, "copy-disk of nothing", false).await
}
