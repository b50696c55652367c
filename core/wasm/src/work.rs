//! Work at a host on behalf of a call: a command or a copy. It runs in a task of its own and is
//! told to stop when the call ends. If the call is dropped, its VM is remembered while the work may
//! still go on.

use ostler_model::VmUuid;
use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use tokio_util::sync::CancellationToken;

/// VMs for which a dropped call may still be at work.
#[derive(Debug, Default)]
pub(crate) struct Orphans(Mutex<HashMap<VmUuid, usize>>);

impl Orphans {
    /// Whether work of a dropped call may still go on for `vm`: then no look at it proves anything.
    pub(crate) fn busy(&self, vm: VmUuid) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&vm)
    }

    fn add(&self, vm: VmUuid) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(vm).or_default() += 1;
    }

    fn remove(&self, vm: VmUuid) {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = map.get_mut(&vm) {
            *count -= 1;
            if *count == 0 {
                map.remove(&vm);
            }
        }
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
struct Caller {
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
struct Worker(Arc<Watched>);

impl Drop for Worker {
    fn drop(&mut self) {
        self.0.to(Stage::Ended);
    }
}

/// Runs `work` in its own task. `work` gets a token that tells it to stop. `None` if it panicked.
pub(crate) async fn run<T, F>(
    orphans: &Arc<Orphans>,
    vm: Option<VmUuid>,
    stop: &CancellationToken,
    work: impl FnOnce(CancellationToken) -> F,
) -> Option<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let stop = stop.child_token();
    let watched =
        Arc::new(Watched { orphans: Arc::clone(orphans), vm, stage: Mutex::new(Stage::Awaited) });
    let caller = Caller { watched: Arc::clone(&watched), stop: stop.clone() };
    let work = work(stop);
    let worker = Worker(watched);
    let task = tokio::spawn(async move {
        let answer = work.await;
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

    #[tokio::test]
    async fn a_dropped_call_is_remembered_until_its_work_ends() {
        let (orphans, vm) = (Arc::new(Orphans::default()), VmUuid(uuid::Uuid::from_u128(1)));
        let (release, released) = tokio::sync::oneshot::channel::<()>();
        let stop = CancellationToken::new();
        let mut call = Box::pin(run(&orphans, Some(vm), &stop, |stop| async move {
            stop.cancelled().await;
            released.await.is_ok()
        }));
        assert!(futures::poll!(&mut call).is_pending());
        assert!(!orphans.busy(vm));
        drop(call);
        assert!(orphans.busy(vm));
        release.send(()).expect("still at work");
        while orphans.busy(vm) {
            tokio::task::yield_now().await;
        }
        assert_eq!(run(&orphans, Some(vm), &stop, |_| async { 7 }).await, Some(7));
        assert!(!orphans.busy(vm));
    }
}
