//! Work at a host on behalf of a call: a command or a copy. It runs in a task of its own and is
//! told to stop when the call ends. If the call is dropped, or the connection to the host is lost,
//! its VM is remembered while the work may still go on.

use ostler_model::{DriverName, VmUuid};
use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// The end of work at a host, as it was told.
pub(crate) trait MayGoOn {
    /// For how long the work may still go on, although its end was told: until the lease of a
    /// command is over whose connection was lost.
    fn may_go_on(&self) -> Option<Duration>;
}

/// VMs for which work that nobody waits for may still go on.
#[derive(Debug, Default)]
pub(crate) struct Orphans(Mutex<HashMap<VmUuid, AtWork>>);

#[derive(Debug, Default)]
struct AtWork {
    /// Tasks of calls that were dropped.
    tasks: usize,
    /// When the last lease of a command is over.
    until: Option<Instant>,
}

impl AtWork {
    fn goes_on(&self) -> bool {
        self.tasks > 0 || self.until.is_some_and(|until| until > Instant::now())
    }
}

impl Orphans {
    /// Whether such work may still go on for `vm`: then no look at it proves anything.
    pub(crate) fn busy(&self, vm: VmUuid) -> bool {
        self.at_work().contains_key(&vm)
    }

    /// All VMs for which such work may still go on.
    pub(crate) fn all(&self) -> BTreeSet<VmUuid> {
        self.at_work().keys().copied().collect()
    }

    /// The VMs of now: what is over is forgotten.
    fn at_work(&self) -> MutexGuard<'_, HashMap<VmUuid, AtWork>> {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        map.retain(|_, work| work.goes_on());
        map
    }

    fn add(&self, vm: VmUuid) {
        self.at_work().entry(vm).or_default().tasks += 1;
    }

    fn remove(&self, vm: VmUuid) {
        if let Some(work) = self.at_work().get_mut(&vm) {
            work.tasks -= 1;
        }
    }

    /// Remembers that a command for `vm` may be at work for so long.
    fn leased(&self, vm: VmUuid, lease: Duration) {
        let (mut map, until) = (self.at_work(), Instant::now() + lease);
        let known = &mut map.entry(vm).or_default().until;
        *known = Some(known.map_or(until, |known| known.max(until)));
    }
}

/// The orphans of each driver by its name: a driver that takes the place of another build of it
/// must wait for what that one has left.
#[derive(Debug, Default)]
pub(crate) struct AllOrphans(Mutex<HashMap<DriverName, Arc<Orphans>>>);

impl AllOrphans {
    /// Those of one driver. An operator chooses the names, so there are few.
    pub(crate) fn of(&self, driver: &DriverName) -> Arc<Orphans> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(driver.clone()).or_default())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Awaited,
    Orphaned,
    Ended,
}

struct Watched {
    orphans: Arc<Orphans>,
    vm: Option<VmUuid>,
    stage: Mutex<Stage>,
}

impl Watched {
    fn to(&self, next: Stage) {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(vm) = self.vm else { return };
        match (*stage, next) {
            (Stage::Awaited, Stage::Orphaned) => self.orphans.add(vm),
            (Stage::Orphaned, Stage::Ended) => self.orphans.remove(vm),
            (_, _) => {}
        }
        if *stage != Stage::Ended {
            *stage = next;
        }
    }
}

/// The caller's handle. Dropping it before the end tells the work to stop and makes it an orphan.
pub(crate) struct Caller {
    watched: Arc<Watched>,
    stop: CancellationToken,
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.stop.cancel();
        self.watched.to(Stage::Orphaned);
    }
}

/// The task's handle. It is also dropped when the task panics.
pub(crate) struct Worker(Arc<Watched>);

impl Worker {
    /// Remembers for how long the work may go on after its end was told.
    fn leased(&self, lease: Option<Duration>) {
        if let (Some(vm), Some(lease)) = (self.0.vm, lease) {
            self.0.orphans.leased(vm, lease);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.0.to(Stage::Ended);
    }
}

/// The two handles of work for `vm`, which `stop` tells to stop.
pub(crate) fn watched(
    orphans: &Arc<Orphans>,
    vm: Option<VmUuid>,
    stop: CancellationToken,
) -> (Caller, Worker) {
    let (orphans, stage) = (Arc::clone(orphans), Mutex::new(Stage::Awaited));
    let watched = Arc::new(Watched { orphans, vm, stage });
    (Caller { watched: Arc::clone(&watched), stop }, Worker(watched))
}

/// Runs `work` in its own task. `work` gets a token that tells it to stop. `None` if it panicked.
pub(crate) async fn run<T, F>(
    orphans: &Arc<Orphans>,
    vm: Option<VmUuid>,
    stop: &CancellationToken,
    work: impl FnOnce(CancellationToken) -> F,
) -> Option<T>
where
    T: MayGoOn + Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let stop = stop.child_token();
    let (caller, worker) = watched(orphans, vm, stop.clone());
    let work = work(stop);
    let task = tokio::spawn(async move {
        let answer = work.await;
        worker.leased(answer.may_go_on());
        drop(worker);
        answer
    });
    let answer = task.await.ok();
    drop(caller);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    impl MayGoOn for Option<Duration> {
        fn may_go_on(&self) -> Option<Duration> {
            *self
        }
    }

    #[tokio::test]
    async fn a_dropped_call_is_remembered_until_its_work_ends() {
        let (orphans, vm) = (Arc::new(Orphans::default()), VmUuid(uuid::Uuid::from_u128(1)));
        let (release, released) = tokio::sync::oneshot::channel::<()>();
        let stop = CancellationToken::new();
        let mut call = Box::pin(run(&orphans, Some(vm), &stop, |stop| async move {
            stop.cancelled().await;
            released.await.ok().and(None)
        }));
        assert!(futures::poll!(&mut call).is_pending());
        assert!(!orphans.busy(vm));
        drop(call);
        assert!(orphans.busy(vm));
        release.send(()).expect("still at work");
        while orphans.busy(vm) {
            tokio::task::yield_now().await;
        }
        assert_eq!(run(&orphans, Some(vm), &stop, |_| async { None }).await, Some(None));
        assert_eq!(orphans.all(), BTreeSet::new());
    }

    #[tokio::test]
    async fn a_lost_command_is_remembered_until_its_lease_is_over() {
        let (orphans, vm) = (Arc::new(Orphans::default()), VmUuid(uuid::Uuid::from_u128(1)));
        let stop = CancellationToken::new();
        for lease in [Duration::from_secs(3600), Duration::ZERO] {
            // A shorter lease does not shorten the one that was there.
            let told = run(&orphans, Some(vm), &stop, |_| async move { Some(lease) }).await;
            assert_eq!(told, Some(Some(lease)));
            assert!(orphans.busy(vm));
        }
        let other = VmUuid(uuid::Uuid::from_u128(2));
        run(&orphans, Some(other), &stop, |_| async { Some(Duration::from_millis(20)) }).await;
        while orphans.busy(other) {
            tokio::task::yield_now().await;
        }
        assert_eq!(orphans.all(), BTreeSet::from([vm]));
    }
}
