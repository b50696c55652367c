//! Faulty versions of the calls on a running domain.

use super::{Fault, Faulty};
use ostler_driver::{
    Adopt, CallControl, DiskCopy, DomainSpec, FileRef, Hypervisor, JobStatus, Migrate, Site,
    Snapshots,
};
use ostler_model::{
    CallResult, DiskFormat, DiskName, DriverError, ErrorKind, HostId, Identity, Observation,
    Outcome, SnapshotName, WildDomain,
};

fn done() -> JobStatus {
    JobStatus::Done(Outcome::default())
}

fn gone() -> DriverError {
    DriverError::new(ErrorKind::Gone, "gone", "there is no such thing")
}

impl Faulty {
    /// Answers success and does nothing. It compares generations as a correct driver does.
    pub(super) async fn nothing(&self, site: &Site, call: &CallControl) -> CallResult {
        match self.inner.observe(site, call.context.key.vm).await? {
            Observation::Present(domain) => match domain.identity {
                Some(identity) if identity.generation > call.context.generation => {
                    Err(DriverError::new(
                        ErrorKind::Stale,
                        "higher-generation",
                        "a higher one is there",
                    ))
                }
                Some(_) | None => Ok(Outcome::default()),
            },
            Observation::Absent => Err(gone()),
        }
    }

    pub(super) async fn has(
        &self,
        site: &Site,
        call: &CallControl,
        is: impl Fn(&WildDomain) -> bool,
    ) -> bool {
        self.inner.inspect(site, call.context.key.vm).await.is_ok_and(|wild| is(&wild))
    }

    pub(super) async fn faulty_migrate(
        &self,
        site: &Site,
        call: &CallControl,
        domain: &DomainSpec,
        to: &Site,
    ) -> Result<JobStatus, DriverError> {
        let (call, vm) = (self.twist(call, false), domain.identity.vm);
        let here = self.inner.domain(site.id, vm);
        let there = self.inner.domain(to.id, vm);
        if self.is(Fault::MigrateFailsIfMoved) && here.is_none() {
            return Err(gone());
        }
        let theirs = there
            .and_then(|there| there.seen.identity)
            .is_some_and(|found| found.store != domain.identity.store);
        if self.is(Fault::MigrateRunsOverForeign) && theirs
            || self.is(Fault::MigrateRunsOverHigher) && !theirs && here.is_some()
        {
            self.inner.drop_domain(to.id, vm);
        }
        let status =
            Migrate::begin(&self.inner, site, &call, &self.meant(&call, domain), to, &[]).await;
        match (&status, here) {
            (Err(error), _)
                if self.is(Fault::MigrateBelievesTheBlind) && error.code == "unreachable" =>
            {
                self.inner.drop_domain(site.id, vm);
                return Ok(done());
            }
            (Ok(JobStatus::Done(_)), Some(here)) if self.is(Fault::MigrateStaysHereToo) => {
                self.inner.put(site.id, here)
            }
            (Ok(JobStatus::Done(_)), Some(here)) if self.is(Fault::MigrateForgetsStamp) => {
                self.unstamped(to.id, here.seen.identity, vm)
            }
            _ => {}
        }
        status
    }

    fn unstamped(&self, host: HostId, identity: Option<Identity>, vm: ostler_model::VmUuid) {
        if let Some(mut arrived) = self.inner.domain(host, vm) {
            arrived.seen.identity = identity;
            self.inner.put(host, arrived);
        }
    }

    pub(super) async fn faulty_copy(
        &self,
        site: &Site,
        call: &CallControl,
        disk: &DiskName,
        target: &FileRef,
        format: DiskFormat,
    ) -> Result<JobStatus, DriverError> {
        let call = self.twist(call, false);
        if self.is(Fault::CopyMakesNothing)
            && self.has(site, &call, |wild| wild.disks.iter().any(|(name, ..)| name == disk)).await
        {
            return self.nothing(site, &call).await.map(|_| done());
        }
        match DiskCopy::begin(&self.inner, site, &call, disk, target, format).await {
            Err(error) if self.is(Fault::CopyTakesAnyDisk) && error.code == "no-disk" => Ok(done()),
            status => status,
        }
    }

    pub(super) async fn faulty_attach(
        &self,
        site: &Site,
        call: &CallControl,
        there: bool,
        attach: impl Future<Output = CallResult> + Send,
    ) -> CallResult {
        if self.is(Fault::AttachFailsIfThere) && there {
            return Err(DriverError::refused("exists", "it is there already"));
        }
        if self.is(Fault::AttachDoesNothing) {
            return self.nothing(site, call).await;
        }
        match attach.await {
            Err(error) if self.is(Fault::AttachMakesDomains) && error.kind == ErrorKind::Gone => {
                Ok(Outcome::default())
            }
            result => result,
        }
    }

    pub(super) async fn faulty_detach(
        &self,
        there: bool,
        detach: impl Future<Output = CallResult> + Send,
    ) -> CallResult {
        match detach.await {
            Ok(_) if self.is(Fault::DetachFailsIfGone) && !there => Err(gone()),
            result => result,
        }
    }

    pub(super) async fn faulty_revert(
        &self,
        site: &Site,
        call: &CallControl,
        name: &SnapshotName,
    ) -> CallResult {
        let vm = call.context.key.vm;
        let before = self.inner.domain(site.id, vm);
        // `twist` sets the highest generation, and a revert would stamp it. So `ForgetsGeneration`
        // twists stale calls only.
        let stale = before
            .as_ref()
            .and_then(|domain| domain.seen.identity)
            .is_some_and(|found| found.generation > call.context.generation);
        let twisted = if self.is(Fault::ForgetsGeneration) && !stale {
            call.clone()
        } else {
            self.twist(call, true)
        };
        let result = self.inner.revert(site, &twisted, name).await;
        match result {
            Ok(_) if self.is(Fault::RevertForgetsStamp) => {
                self.unstamped(site.id, before.and_then(|before| before.seen.identity), vm);
                Ok(Outcome::default())
            }
            Ok(_)
                if self.is(Fault::RevertLeavesOff)
                    && before
                        .is_some_and(|before| before.seen.power == ostler_model::Power::Off) =>
            {
                self.inner.destroy(site, call).await
            }
            Err(error) if self.is(Fault::RevertStartsAnew) && error.code == "no-snapshot" => {
                Ok(Outcome::default())
            }
            result => result,
        }
    }

    pub(super) async fn faulty_stamp(
        &self,
        site: &Site,
        call: &CallControl,
        identity: &Identity,
    ) -> CallResult {
        let call = self.twist(call, false);
        let found = self.inner.domain(site.id, identity.vm).and_then(|domain| domain.seen.identity);
        if self.is(Fault::StampFailsIfStamped) && found == Some(*identity) {
            return Err(DriverError::refused("exists", "it is stamped already"));
        }
        if self.is(Fault::StampTakesForeign)
            && found.is_some_and(|found| found.store != identity.store)
        {
            self.unstamped(site.id, None, identity.vm);
        }
        self.inner.stamp(site, &call, identity).await
    }
}
