//! Jobs that last long. A job is begun, polled and stopped by the effect key of its call.
//!
//! A job is a task of its own: it outlives the call that began it, and it holds no lane of the
//! looks. This table is a convenience and proves nothing. After a restart ostlerd knows no job;
//! `poll` then says *gone*, and a repeated `begin` looks at libvirt to find the outcome.

use ostler_driver::JobStatus;
use ostler_model::{CallResult, DriverError, EffectKey, ErrorKind, Progress, VmUuid};
use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::watch;

/// The most jobs at work for one host. The engine keeps fewer in flight; more would only wait for
/// the host's network.
const MOST_AT_WORK: usize = 256;
/// The number of ended jobs that are remembered, for the poll that asks how a job ended.
const KEPT: usize = 256;

/// The kinds of job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JobKind {
    /// A live migration.
    Migrate,
    /// The copy of a disk in use.
    CopyDisk,
}

/// The jobs of one host, one per domain.
#[derive(Default)]
pub(crate) struct Jobs {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    begun: u64,
    jobs: HashMap<VmUuid, (u64, Arc<Job>)>,
}

/// One job.
pub(crate) struct Job {
    /// The effect key of the call that began it.
    pub(crate) key: EffectKey,
    /// The kind of job.
    pub(crate) kind: JobKind,
    stage: watch::Sender<Stage>,
    stopped: watch::Sender<bool>,
}

/// The stage of a job.
#[derive(Debug, Clone)]
enum Stage {
    /// The job looks whether it may begin; nothing was changed yet.
    Looking,
    /// At work.
    Working,
    /// Ended, with this result.
    Ended(CallResult),
}

/// Marks a job as ended even if its task panics or is dropped.
struct End(Arc<Job>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.stage.send_if_modified(|stage| {
            let open = !matches!(stage, Stage::Ended(_));
            if open {
                *stage = Stage::Ended(Err(DriverError::unknown(
                    "driver-panic",
                    "the job's task ended without an answer",
                )));
            }
            open
        });
    }
}

impl Jobs {
    fn lock(&self) -> MutexGuard<'_, Table> {
        // Only lookups and inserts happen under the lock.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The job of this effect key that is at work, or a new one whose task is made by `work`.
    pub(crate) fn begin<W>(
        &self,
        key: &EffectKey,
        kind: JobKind,
        work: impl FnOnce(Arc<Job>) -> W,
    ) -> Result<Arc<Job>, DriverError>
    where
        W: Future<Output = CallResult> + Send + 'static,
    {
        let mut table = self.lock();
        if let Some((_, job)) = table.jobs.get(&key.vm).filter(|(_, job)| job.is_open()) {
            return if (&job.key, job.kind) == (key, kind) {
                Ok(Arc::clone(job))
            } else {
                Err(DriverError::retry(
                    "busy",
                    format!("another job is at work on this domain: {}", job.key),
                ))
            };
        }
        if table.jobs.values().filter(|(_, job)| job.is_open()).count() >= MOST_AT_WORK {
            return Err(DriverError::retry("busy", "too many jobs are at work on this host"));
        }
        let job = Arc::new(Job {
            key: key.clone(),
            kind,
            stage: watch::Sender::new(Stage::Looking),
            stopped: watch::Sender::new(false),
        });
        table.begun += 1;
        let number = table.begun;
        table.jobs.insert(key.vm, (number, Arc::clone(&job)));
        table.forget_old();
        drop(table);
        let (task, end) = (work(Arc::clone(&job)), End(Arc::clone(&job)));
        tokio::spawn(async move {
            let result = task.await;
            end.0.stage.send_replace(Stage::Ended(result));
            drop(end);
        });
        Ok(job)
    }

    /// The job of this effect key and kind, if it is known.
    pub(crate) fn find(&self, key: &EffectKey, kind: JobKind) -> Option<Arc<Job>> {
        let table = self.lock();
        table
            .jobs
            .get(&key.vm)
            .map(|(_, job)| job)
            .filter(|job| (&job.key, job.kind) == (key, kind))
            .cloned()
    }
}

impl Table {
    fn forget_old(&mut self) {
        let mut ended: Vec<(u64, VmUuid)> = self
            .jobs
            .iter()
            .filter(|(_, (_, job))| !job.is_open())
            .map(|(vm, (number, _))| (*number, *vm))
            .collect();
        if let Some(too_many) = ended.len().checked_sub(KEPT) {
            ended.sort_unstable();
            for (_, vm) in ended.into_iter().take(too_many) {
                self.jobs.remove(&vm);
            }
        }
    }
}

impl Job {
    fn is_open(&self) -> bool {
        !matches!(*self.stage.borrow(), Stage::Ended(_))
    }

    /// Notes that the job begins: from now on it changes things.
    pub(crate) fn works(&self) {
        self.stage.send_replace(Stage::Working);
    }

    /// Tells the job to stop.
    pub(crate) fn stop(&self) {
        self.stopped.send_replace(true);
    }

    /// Whether it was told to stop.
    pub(crate) fn is_stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    /// Waits, no longer than `until`, until it is decided whether the job may begin.
    pub(crate) async fn decided(&self, until: Instant) {
        let mut stage = self.stage.subscribe();
        // We hold the sender, so the wait ends by a decision or by the time.
        let _ = tokio::time::timeout_at(
            until.into(),
            stage.wait_for(|stage| !matches!(stage, Stage::Looking)),
        )
        .await;
    }

    /// Waits, no longer than `until`, for its end.
    pub(crate) async fn ended(&self, until: Instant) -> Option<CallResult> {
        let mut stage = self.stage.subscribe();
        // As above.
        let _ = tokio::time::timeout_at(
            until.into(),
            stage.wait_for(|stage| matches!(stage, Stage::Ended(_))),
        )
        .await;
        self.result()
    }

    /// How it ended, if it has.
    pub(crate) fn result(&self) -> Option<CallResult> {
        match &*self.stage.borrow() {
            Stage::Looking | Stage::Working => None,
            Stage::Ended(result) => Some(result.clone()),
        }
    }

    /// The answer to a caller that does not know how far the job is.
    pub(crate) fn status(&self, phase: &str) -> Result<JobStatus, DriverError> {
        match self.result() {
            Some(result) => result.map(JobStatus::Done),
            None => Ok(JobStatus::Pending(Progress { done: 0, total: 0, phase: phase.to_owned() })),
        }
    }
}

/// The error for a job that is not known here: it ended long ago, or an earlier ostlerd began it.
pub(crate) fn not_known() -> DriverError {
    DriverError::new(ErrorKind::Gone, "no-job", "no such job is known: begin it again")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_model::{Item, OperationId, Outcome, StepNo};
    use std::time::Duration;
    use uuid::Uuid;

    fn key(vm: u128, step: u64) -> EffectKey {
        EffectKey {
            vm: VmUuid(Uuid::from_u128(vm)),
            operation: OperationId(1),
            step: StepNo(step),
            item: Item::Domain,
        }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    const NOTHING: Outcome = Outcome { seen: None, state: None };

    #[tokio::test]
    async fn the_same_identity_finds_its_job_and_another_waits() {
        let jobs = Jobs::default();
        let (gate, opened) = tokio::sync::oneshot::channel::<()>();
        let first = jobs
            .begin(&key(1, 1), JobKind::Migrate, |job| async move {
                job.works();
                opened.await.expect("opens");
                Ok(NOTHING)
            })
            .expect("begins");
        first.decided(soon()).await;
        assert!(matches!(first.status(""), Ok(JobStatus::Pending(_))));
        let again =
            jobs.begin(&key(1, 1), JobKind::Migrate, |_| async { panic!("not a second time") });
        assert!(Arc::ptr_eq(&again.expect("found"), &first));
        let other = jobs.begin(&key(1, 2), JobKind::Migrate, |_| async { Ok(NOTHING) });
        assert_eq!(other.err().map(|error| error.code), Some("busy".to_owned()));
        gate.send(()).expect("heard");
        assert_eq!(first.ended(soon()).await, Some(Ok(NOTHING)));
        assert!(jobs.find(&key(1, 1), JobKind::Migrate).is_some(), "its end can be asked for");
        assert!(jobs.find(&key(1, 1), JobKind::CopyDisk).is_none());
        assert!(jobs.begin(&key(1, 2), JobKind::Migrate, |_| async { Ok(NOTHING) }).is_ok());
    }

    #[tokio::test]
    async fn a_job_that_panics_ends_in_doubt() {
        let jobs = Jobs::default();
        let job = jobs
            .begin(&key(1, 1), JobKind::Migrate, |_| async { panic!("on purpose") })
            .expect("begins");
        let ended = job.ended(soon()).await.expect("it ends");
        assert_eq!(ended.expect_err("no answer").kind, ErrorKind::Unknown);
    }

    #[tokio::test]
    async fn only_so_many_ends_are_remembered() {
        let jobs = Jobs::default();
        for vm in 0..(KEPT as u128 + 10) {
            let job = jobs
                .begin(&key(vm, 1), JobKind::Migrate, |_| async { Ok(NOTHING) })
                .expect("begins");
            job.ended(soon()).await;
        }
        assert!(jobs.lock().jobs.len() <= KEPT + 1);
        assert!(jobs.find(&key(0, 1), JobKind::Migrate).is_none(), "the oldest was forgotten");
    }
}
