//! How a call of the fake runs: it is recorded, ordered faults happen to it, and it goes on when
//! its future is dropped.

use super::world::World;
use super::{Fake, Op, Recorded, Working};
use ostler_driver::{CallControl, JobStatus, Site};
use ostler_model::{CallContext, CallResult, DriverError, Epoch, HostId, Outcome, StoreId, VmUuid};

/// Marks a call as abandoned if its future is dropped while the call is still at work. Has no
/// effect after the call has ended.
pub(super) struct Abandon {
    fake: Fake,
    id: u64,
}

impl Drop for Abandon {
    fn drop(&mut self) {
        if let Some(working) = self.fake.lock().working.get_mut(&self.id) {
            working.abandoned = true;
        }
    }
}

impl Fake {
    /// The host sees a daemon with this epoch, as if it had sent a call.
    pub fn sees_epoch(&self, host: HostId, store: StoreId, epoch: Epoch) {
        self.lock().world.epochs.insert((host, store), epoch);
    }

    /// The highest epoch of the store that the host has seen.
    #[must_use]
    pub fn epoch_seen(&self, host: HostId, store: StoreId) -> Epoch {
        self.lock().world.epochs.get(&(host, store)).copied().unwrap_or_default()
    }

    pub(super) fn record(
        &self,
        op: Op,
        site: &Site,
        context: Option<&CallContext>,
        vm: Option<VmUuid>,
    ) -> Recorded {
        let call =
            Recorded { op, host: site.id, key: context.map(|context| context.key.clone()), vm };
        self.lock().calls.push(call.clone());
        call
    }

    /// Adds a call to the calls that are at work. Notes a violation if another mutating call of
    /// this VM is at work on the host.
    pub(super) fn begin_work(&self, call: &Recorded, vm: VmUuid) -> (u64, Abandon) {
        let mut state = self.lock();
        let beside = state.working.values().find(|other| other.host == call.host && other.vm == vm);
        let beside = beside.map(|other| other.op).filter(|op| *op != Op::Destroy);
        let job = state.hyper_jobs.iter().find(|(key, job)| {
            key.vm == vm && call.key.as_ref() != Some(*key) && job.holds(call.host)
        });
        let beside = beside.or(job.map(|(_, job)| job.op()));
        if let Some(other) = beside
            && call.op != Op::Destroy
        {
            state.violations.push(format!("{} of {vm} began while {other} was at work", call.op));
        }
        state.next += 1;
        let id = state.next;
        state.working.insert(id, Working { host: call.host, vm, op: call.op, abandoned: false });
        (id, Abandon { fake: self.clone(), id })
    }

    /// Runs one mutating call. The call goes on when its future is dropped.
    pub(super) async fn act(
        &self,
        op: Op,
        site: &Site,
        call: &CallControl,
        deed: impl FnOnce(&mut World, HostId, bool) -> CallResult + Send + 'static,
    ) -> CallResult {
        let context = call.context.clone();
        let vm = context.key.vm;
        let recorded = self.record(op, site, Some(&context), Some(vm));
        self.reach(site)?;
        let plan = self.lock().knobs.plan(&recorded);
        let (id, abandon) = self.begin_work(&recorded, vm);
        let (fake, host) = (self.clone(), site.id);
        let work = tokio::spawn(async move {
            let result = match plan.before().await {
                Ok(()) => match fake.change(op, host, &context, deed) {
                    Ok(outcome) => plan.after().await.map(|()| plan.told(outcome)),
                    failed => failed,
                },
                Err(error) => Err(error),
            };
            fake.lock().working.remove(&id);
            result
        });
        let result = work
            .await
            .unwrap_or_else(|error| Err(DriverError::unknown("driver-trap", error.to_string())));
        drop(abandon);
        result
    }

    fn change(
        &self,
        op: Op,
        host: HostId,
        context: &CallContext,
        deed: impl FnOnce(&mut World, HostId, bool) -> CallResult,
    ) -> CallResult {
        let mut state = self.lock();
        Self::lives(&state, host)?;
        state.world.hold(host, context)?;
        let (vm, stamped) = (context.key.vm, state.world.is_stamped(host, context.key.vm));
        if op != Op::Stamp || stamped {
            state.world.fence(host, vm, (context.store, context.generation))?;
        }
        let ignored = state.ignore_acpi;
        let result = deed(&mut state.world, host, ignored);
        let count = state.world.note(context.key.vm);
        drop(state);
        self.changed.send_replace(count);
        result
    }

    pub(super) async fn ask<T>(
        &self,
        op: Op,
        site: &Site,
        vm: Option<VmUuid>,
        answer: impl FnOnce(&World) -> T + Send,
    ) -> Result<T, DriverError> {
        let recorded = self.record(op, site, None, vm);
        self.reach(site)?;
        let plan = self.lock().knobs.plan(&recorded);
        plan.before().await?;
        // Looks before the answer is held or delayed. So a held or late answer is an old
        // observation.
        let answer = answer(&self.lock().world);
        plan.after().await?;
        Ok(answer)
    }
}

/// A job that has ended with success and says nothing of a domain.
pub(super) fn done() -> JobStatus {
    JobStatus::Done(Outcome::default())
}
