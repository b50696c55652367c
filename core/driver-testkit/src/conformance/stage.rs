//! The stage for checks of a hypervisor driver: fresh VMs, effect keys for calls, and bounded
//! waits.

use super::cuts::Cutting;
use super::{Bench, Trouble, Verdict};
use ostler_driver::{
    Adopt, CallControl, DiskCopy, DomainSpec, Hotplug, Hypervisor, LiveResize, Migrate, Reboot,
    Site, Snapshots, Suspend,
};
use ostler_model::{
    Ability, CallContext, CallResult, DomainSeen, DriverError, EffectKey, Epoch, ErrorKind,
    Generation, Identity, Item, Observation, OperationId, Outcome, Power, StepNo, StoreId,
    Timestamp, VmUuid,
};
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often a wait looks again.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Added to the deadline of a call: a driver that keeps its deadline answers before this time has
/// passed.
const GRACE: Duration = Duration::from_secs(2);

/// A driver, its bench, and the VMs that a check has made.
pub(super) struct Stage {
    pub(super) driver: Arc<dyn Hypervisor>,
    pub(super) bench: Arc<dyn Bench>,
    pub(super) site: Site,
    store: StoreId,
    steps: Arc<AtomicU64>,
    made: Arc<Mutex<Vec<VmUuid>>>,
    /// Whether the check has used the second host.
    abroad: Arc<AtomicBool>,
    pub(super) cutting: Arc<Cutting>,
}

/// The result of a check that the driver fails; `detail` says how.
pub(super) fn broken<T>(detail: impl Into<String>) -> Result<T, Trouble> {
    Err(Trouble::Broken(detail.into()))
}

/// The result of a check that cannot run.
pub(super) fn skip<T>(why: impl Into<String>) -> Result<T, Trouble> {
    Err(Trouble::Skipped(why.into()))
}

/// Waits for an answer, at most until a little after the call's deadline.
pub(super) async fn answered<T>(
    what: &str,
    patience: Duration,
    call: impl Future<Output = T>,
) -> Result<T, Trouble> {
    tokio::time::timeout(patience + GRACE, call).await.map_err(|_| {
        Trouble::Broken(format!(
            "{what} did not answer within its deadline of {} ms",
            patience.as_millis()
        ))
    })
}

/// The epoch of all calls, but for those of a daemon before.
pub(super) const EPOCH: Epoch = Epoch(2);

/// A call for `store` with that effect key, and with `patience` until its deadline.
pub(super) fn control(
    store: StoreId,
    key: EffectKey,
    generation: u64,
    patience: Duration,
) -> CallControl {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + patience;
    let deadline = Timestamp(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
    let generation = Generation(generation);
    let context =
        CallContext { store, key, attempt: 1, generation, epoch: EPOCH, spares: None, deadline };
    CallControl::detached(context, Instant::now() + patience)
}

impl Stage {
    /// `cuts`: how many checks stop the driver at its calls to the host.
    pub(super) fn new(driver: Arc<dyn Hypervisor>, bench: Arc<dyn Bench>, cuts: usize) -> Self {
        let cutting = Arc::new(Cutting::new(bench.cuts(), bench.cuts_within(), cuts));
        let site = bench.site();
        let store = StoreId(bench.fresh().0);
        Self {
            driver,
            bench,
            site,
            store,
            steps: Arc::new(AtomicU64::new(1)),
            made: Arc::default(),
            abroad: Arc::default(),
            cutting,
        }
    }

    /// The same stage for another store: its calls and identities are that store's.
    pub(super) fn of_another_store(&self) -> Self {
        Self {
            driver: Arc::clone(&self.driver),
            bench: Arc::clone(&self.bench),
            site: self.site.clone(),
            store: StoreId(self.bench.fresh().0),
            steps: Arc::clone(&self.steps),
            made: Arc::clone(&self.made),
            abroad: Arc::clone(&self.abroad),
            cutting: Arc::clone(&self.cutting),
        }
    }

    /// The second host. After a check has asked for it, [`Stage::tidy`] also removes the check's
    /// domains there.
    pub(super) fn there(&self) -> Result<Site, Trouble> {
        let Some(there) = self.bench.second_site() else {
            return skip("the bench has no second host");
        };
        self.abroad.store(true, Ordering::Relaxed);
        Ok(there)
    }

    /// A new VM, of which no domain was ever there.
    pub(super) fn vm(&self) -> VmUuid {
        let vm = self.bench.fresh();
        self.made.lock().unwrap_or_else(PoisonError::into_inner).push(vm);
        vm
    }

    pub(super) fn identity(&self, vm: VmUuid, generation: u64) -> Identity {
        Identity { store: self.store, vm, generation: Generation(generation) }
    }

    pub(super) async fn domain(&self, vm: VmUuid, generation: u64) -> DomainSpec {
        self.bench.domain(self.identity(vm, generation)).await
    }

    /// A call with a new effect key.
    pub(super) fn call(&self, vm: VmUuid, generation: u64) -> CallControl {
        self.call_of(self.store, vm, generation)
    }

    /// A call of any store, with a new effect key.
    pub(super) fn call_of(&self, store: StoreId, vm: VmUuid, generation: u64) -> CallControl {
        let step = StepNo(self.steps.fetch_add(1, Ordering::Relaxed));
        let key = EffectKey { vm, operation: OperationId(1), step, item: Item::Domain };
        self.as_the_engine_tells(control(store, key, generation, self.patience()))
    }

    /// Any call may be one of a migration, or start the guest's process anew: the engine then tells
    /// of the other host, and of the files that the guest boots from.
    fn as_the_engine_tells(&self, mut call: CallControl) -> CallControl {
        call.related.read = self.bench.boots_from();
        call.related.other = self.bench.second_site().map(Arc::new);
        call
    }

    /// The same call, sent again.
    pub(super) fn again(&self, call: &CallControl) -> CallControl {
        let mut again = control(
            self.store,
            call.context.key.clone(),
            call.context.generation.0,
            self.patience(),
        );
        again.context.attempt = call.context.attempt + 1;
        self.as_the_engine_tells(again)
    }

    /// A call, the same call sent again, and a call of another step.
    pub(super) fn thrice(&self, vm: VmUuid, generation: u64) -> [CallControl; 3] {
        let call = self.call(vm, generation);
        let again = self.again(&call);
        [call, again, self.call(vm, generation)]
    }

    pub(super) fn patience(&self) -> Duration {
        self.bench.patience()
    }

    /// The driver's part for an ability. The check is skipped if the driver does not state the
    /// ability, and fails if the driver states it without having the part.
    pub(super) fn part<'a, P: ?Sized>(
        &self,
        part: Option<&'a P>,
        ability: Ability,
    ) -> Result<&'a P, Trouble> {
        match part {
            _ if !self.driver.abilities().contains(&ability) => {
                skip(format!("the driver has no ability {ability}"))
            }
            Some(part) => Ok(part),
            None => {
                broken(format!("the driver states the ability {ability}, and has no part for it"))
            }
        }
    }

    pub(super) fn reboots(&self) -> Result<&dyn Reboot, Trouble> {
        self.part(self.driver.reboot(), Ability::Reboot)
    }

    pub(super) fn suspends(&self) -> Result<&dyn Suspend, Trouble> {
        self.part(self.driver.suspend(), Ability::Suspend)
    }

    pub(super) fn plugs(&self) -> Result<&dyn Hotplug, Trouble> {
        self.part(self.driver.hotplug(), Ability::Hotplug)
    }

    pub(super) fn resizes(&self) -> Result<&dyn LiveResize, Trouble> {
        self.part(self.driver.live_resize(), Ability::LiveResize)
    }

    pub(super) fn adopts(&self) -> Result<&dyn Adopt, Trouble> {
        self.part(self.driver.adopt(), Ability::Adopt)
    }

    pub(super) fn snaps(&self) -> Result<&dyn Snapshots, Trouble> {
        self.part(self.driver.snapshots(), Ability::Snapshots)
    }

    pub(super) fn migrates(&self) -> Result<&dyn Migrate, Trouble> {
        self.part(self.driver.migrate(), Ability::Migrate)
    }

    pub(super) fn copies(&self) -> Result<&dyn DiskCopy, Trouble> {
        self.part(self.driver.disk_copy(), Ability::DiskCopy)
    }

    /// Waits for a call's answer. Sends the call again while the answer is `retry`, because an
    /// earlier call may still be at work.
    pub(super) async fn outcome<F>(
        &self,
        what: &str,
        call: impl FnMut() -> F,
    ) -> Result<CallResult, Trouble>
    where
        F: Future<Output = CallResult> + Send,
    {
        self.asked(what, call).await
    }

    /// As [`Stage::outcome`], and the answer must be success.
    pub(super) async fn done<F>(
        &self,
        what: &str,
        call: impl FnMut() -> F,
    ) -> Result<Outcome, Trouble>
    where
        F: Future<Output = CallResult> + Send,
    {
        match self.outcome(what, call).await? {
            Ok(outcome) => Ok(outcome),
            Err(error) => broken(format!("{what} answered: {error}")),
        }
    }

    /// As [`Stage::outcome`], and the answer must be an error of this kind.
    pub(super) async fn fails<F>(
        &self,
        what: &str,
        kind: ErrorKind,
        call: impl FnMut() -> F,
    ) -> Verdict
    where
        F: Future<Output = CallResult> + Send,
    {
        match self.outcome(what, call).await? {
            Err(error) if error.kind == kind => Ok(()),
            Err(error) => broken(format!("{what} answered {error}; {kind} was to be expected")),
            Ok(_) => broken(format!("{what} answered success; {kind} was to be expected")),
        }
    }

    pub(super) async fn deploy(&self, vm: VmUuid, generation: u64) -> Result<Outcome, Trouble> {
        let (call, spec) = (self.call(vm, generation), self.domain(vm, generation).await);
        self.done("deploy", || self.driver.deploy(&self.site, &call, &spec)).await
    }

    /// Looks at the domain, after no dropped call is at work any more.
    pub(super) async fn look(&self, vm: VmUuid) -> Result<Observation, Trouble> {
        self.look_at(&self.site, vm).await
    }

    /// As [`Stage::look`], on any host.
    pub(super) async fn look_at(&self, site: &Site, vm: VmUuid) -> Result<Observation, Trouble> {
        self.asked("observe", || self.driver.observe(site, vm))
            .await?
            .or_else(|error| broken(format!("observe still answers: {error}")))
    }

    /// Asks a question, and asks it again while the answer is `retry`.
    pub(super) async fn asked<T, F>(
        &self,
        what: &str,
        mut question: impl FnMut() -> F,
    ) -> Result<Result<T, DriverError>, Trouble>
    where
        F: Future<Output = Result<T, DriverError>> + Send,
    {
        let end = Instant::now() + self.patience();
        let mut last = None;
        loop {
            match answered(what, self.patience(), question()).await? {
                Err(error) if error.kind == ErrorKind::Retry && Instant::now() < end => {
                    last = Some(error);
                    tokio::time::sleep(LOOK_EVERY).await
                }
                // The deadline has cut the last attempt. The driver's own words, from the attempt
                // before, tell its author more.
                Err(error) if was_cut(&error) => return Ok(Err(last.unwrap_or(error))),
                answer => return Ok(answer),
            }
        }
    }

    pub(super) async fn present(&self, vm: VmUuid, when: &str) -> Result<DomainSeen, Trouble> {
        match self.look(vm).await? {
            Observation::Present(domain) => Ok(domain),
            Observation::Absent => broken(format!("{when}, observe says that there is no domain")),
        }
    }

    pub(super) async fn power(
        &self,
        vm: VmUuid,
        when: &str,
        wanted: Power,
    ) -> Result<DomainSeen, Trouble> {
        let domain = self.present(vm, when).await?;
        if domain.power == wanted {
            Ok(domain)
        } else {
            broken(format!(
                "{when}, the domain is {} ({}), not {wanted}",
                domain.power, domain.reason
            ))
        }
    }

    /// Checks that the domain is as before: it runs, with this identity.
    pub(super) async fn untouched(&self, when: &str, identity: Identity) -> Verdict {
        let domain = self.power(identity.vm, when, Power::Running).await?;
        if domain.identity == Some(identity) {
            Ok(())
        } else {
            broken(format!("{when}, it carries {:?}, not {identity:?}", domain.identity))
        }
    }

    pub(super) async fn off_or_absent(&self, vm: VmUuid, when: &str) -> Verdict {
        match self.look(vm).await? {
            Observation::Absent => Ok(()),
            Observation::Present(domain) if domain.power == Power::Off => Ok(()),
            Observation::Present(domain) => {
                broken(format!("{when}, the domain is {}", domain.power))
            }
        }
    }

    pub(super) async fn absent(&self, vm: VmUuid, when: &str) -> Verdict {
        match self.look(vm).await? {
            Observation::Absent => Ok(()),
            Observation::Present(domain) => {
                broken(format!("{when}, the domain is still there, {}", domain.power))
            }
        }
    }

    /// Begins a call and drops it as soon as it has really begun, so that its answer is lost.
    pub(super) async fn drop_early<T>(
        &self,
        call: impl Future<Output = Result<T, DriverError>> + Send,
    ) {
        /// Long enough for the call to reach the driver, too short for a real hypervisor to finish.
        const BEGUN: Duration = Duration::from_millis(2);
        let _: Result<Result<T, _>, _> = tokio::time::timeout(BEGUN, call).await;
    }

    /// Removes the domains that the check made, with the highest possible generation. A failure is
    /// only logged here: other checks test the removal.
    pub(super) async fn tidy(&self) {
        let made = std::mem::take(&mut *self.made.lock().unwrap_or_else(PoisonError::into_inner));
        let abroad = self.abroad.swap(false, Ordering::Relaxed);
        let second = if abroad { self.bench.second_site() } else { None };
        for site in second.iter().chain([&self.site]) {
            for vm in &made {
                // A domain of another store is removed as that store would remove it.
                let theirs = match self.driver.observe(site, *vm).await {
                    Ok(Observation::Present(domain)) => domain.identity,
                    Ok(Observation::Absent) | Err(_) => None,
                };
                let store = theirs.map_or(self.store, |identity| identity.store);
                let call = self.call_of(store, *vm, u64::MAX);
                let removed = self.done("remove", || self.driver.remove(site, &call)).await;
                if let Err(trouble) = removed {
                    tracing::debug!(
                        %vm,
                        ?trouble,
                        "a domain of the conformance suite could not be removed"
                    );
                }
            }
        }
    }
}

/// Whether the caller's deadline has ended the call, and not the driver.
pub(super) fn was_cut(error: &DriverError) -> bool {
    error.kind == ErrorKind::Unknown
        && matches!(error.code.as_str(), "deadline" | "driver-deadline")
}

/// The result in words, for a check's detail: `success`, or the error.
pub(super) fn kind_of<T>(result: &Result<T, DriverError>) -> String {
    match result {
        Ok(_) => "success".to_owned(),
        Err(error) => error.to_string(),
    }
}
