//! The one writer: takes the commits that have queued up, commits them in one transaction, and then
//! answers each.
//!
//! ```text
//!   commit() ──> bounded queue ──> writer thread: begin > judge, apply > ... > commit (one fsync)
//!      ^                                                                            │
//!      └──────────────── answers, after the feed was advanced <─────────────────────┘
//! ```
//!
//! Throughput grows with the load, while the latency stays at about one fsync: commits that arrive
//! during a transaction are the next batch. If many write at once, the next batch also waits a
//! moment for more commits.

use crate::batch::{Batch, Limits, Tail, Verdict};
use crate::charge::{self, Charge, Taken};
use crate::commit::Committed;
use crate::error::{Chain, CommitError, Fault, ReadError};
use crate::log::{BatchNo, Followers};
use crate::prepare::Prepared;
use crate::sabotage::Sabotage;
use crate::txn::Txn;
use ostler_model::{Book, ClaimRefused, EventSeq, StoreId};
use redb::{Database, Durability};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// How many commits one transaction has, at most. A longer batch would save little of its fsync,
/// and would delay its first waiter.
pub const BATCH_MAX: usize = 512;
/// A batch that has this many bytes of rows takes no more commits, so that what is logged of it,
/// and what a follower has to apply at once, is bounded too. 512 ordinary commits are about 2 MiB.
pub const BATCH_BYTES: u64 = 8 * 1024 * 1024;
/// How many commits wait in the queue, at most. Two batches keep the writer busy. More would only
/// hide that it is overloaded.
pub const QUEUE_MAX: usize = 1024;

/// If a batch has at least this many commits, many callers write at once. Then the next batch waits
/// a little for more commits.
const CROWD: usize = 8;
/// How long it waits. A sync and the pages that it writes cost the same for few commits as for
/// many. In a crowd, callers wait mostly for the CPU, so fewer and larger transactions answer all
/// of them sooner. A caller that writes alone never waits.
const GATHER: Duration = Duration::from_millis(1);

type Answer = Result<Committed, CommitError>;

/// Commits, each with the channel for its answer.
type Jobs = Vec<(Box<Prepared>, oneshot::Sender<Answer>)>;

/// A message to the writer.
pub(crate) enum Message {
    /// Commit this.
    Commit(Box<Prepared>, oneshot::Sender<Answer>),
    /// Take charge of the store.
    Charge(Charge, oneshot::Sender<Result<Taken, CommitError>>),
    /// Take no message until the other half of this channel is dropped. Tests use this to make
    /// batches.
    Hold(std::sync::mpsc::Receiver<()>),
}

/// Counts of what was written since the store was opened. Many commits share a transaction and its
/// sync; the counts show how well that works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Transactions of the database, each with one sync.
    pub transactions: u64,
    /// Commits that were applied.
    pub commits: u64,
    /// Rows that these commits put or removed, without indexes and books.
    pub rows: u64,
    /// Bytes of those rows.
    pub bytes: u64,
}

/// The data that the handle and the writer share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) feed: watch::Sender<EventSeq>,
    pub(crate) written: Mutex<Written>,
    pub(crate) epoch: AtomicU64,
    read_only: OnceLock<Ended>,
}

/// Why the store takes no commits any more.
#[derive(Debug, Clone)]
pub(crate) enum Ended {
    /// A commit failed.
    Failed(String),
    /// The daemon is no longer in charge of the store.
    GivenUp(String),
}

impl Ended {
    /// The answer to a commit.
    pub(crate) fn error(self) -> CommitError {
        match self {
            Self::Failed(why) => CommitError::ReadOnly { why },
            Self::GivenUp(why) => CommitError::NotInCharge { why },
        }
    }
}

impl Shared {
    pub(crate) fn new(last: EventSeq) -> Self {
        Self {
            feed: watch::Sender::new(last),
            written: Mutex::default(),
            epoch: AtomicU64::default(),
            read_only: OnceLock::new(),
        }
    }

    /// Makes the store read-only. The first reason stays.
    pub(crate) fn end(&self, why: Ended) {
        let _ = self.read_only.set(why);
    }

    pub(crate) fn ended(&self) -> Option<Ended> {
        self.read_only.get().cloned()
    }
}

pub(crate) struct Writer {
    pub(crate) db: Arc<Database>,
    pub(crate) queue: mpsc::Receiver<Message>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) tail: Tail,
    pub(crate) limits: Limits,
    pub(crate) sabotage: Sabotage,
    pub(crate) id: StoreId,
    pub(crate) followers: Followers,
}

/// Notes why nothing is written any more, if the thread panics.
struct LastWords(Arc<Shared>);

impl Drop for LastWords {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end(Ended::Failed("the writer thread panicked".to_owned()));
        }
    }
}

impl Writer {
    /// Runs until every [`crate::Store`] is gone and the queue is empty.
    pub(crate) fn run(mut self) {
        let _last_words = LastWords(Arc::clone(&self.shared));
        let mut jobs = Vec::with_capacity(BATCH_MAX);
        let mut crowded = false;
        while let Some(message) = self.queue.blocking_recv() {
            let mut hold = self.take(message, &mut jobs);
            if crowded {
                std::thread::sleep(GATHER);
            }
            self.gather(&mut jobs, &mut hold);
            crowded = jobs.len() >= CROWD;
            if !jobs.is_empty() {
                self.serve(std::mem::take(&mut jobs));
            }
            if let Some(hold) = hold {
                // This returns when the other half is dropped. Nothing is ever sent.
                let _ = hold.recv();
            }
        }
    }

    /// The same without its own thread. A batch is what has queued up while the batch before was
    /// written, and each batch takes as long as `takes` says. A `Hold` does not hold this writer.
    pub(crate) async fn run_as_future(mut self, mut takes: Box<dyn FnMut() -> Duration + Send>) {
        let mut jobs = Vec::new();
        while let Some(message) = self.queue.recv().await {
            let mut hold = self.take(message, &mut jobs);
            self.gather(&mut jobs, &mut hold);
            tokio::time::sleep(takes()).await;
            self.serve(std::mem::take(&mut jobs));
        }
    }

    /// Takes the commits that have queued up into one batch.
    fn gather(&mut self, jobs: &mut Jobs, hold: &mut Option<std::sync::mpsc::Receiver<()>>) {
        let size = |job: Option<&(Box<Prepared>, _)>| job.map_or(0, |(commit, _)| commit.size().1);
        let mut bytes = size(jobs.last());
        while hold.is_none() && jobs.len() < BATCH_MAX && bytes < BATCH_BYTES {
            match self.queue.try_recv() {
                Ok(message) => *hold = self.take(message, jobs),
                Err(_) => break,
            }
            bytes += if hold.is_none() { size(jobs.last()) } else { 0 };
        }
    }

    fn take(&mut self, message: Message, jobs: &mut Jobs) -> Option<std::sync::mpsc::Receiver<()>> {
        match message {
            Message::Charge(charge, answer) => {
                // The caller may be gone. The epoch is taken all the same.
                let _ = answer.send(self.take_charge(charge));
                None
            }
            Message::Commit(commit, answer) => {
                jobs.push((commit, answer));
                None
            }
            Message::Hold(hold) => Some(hold),
        }
    }

    fn take_charge(&mut self, charge: Charge) -> Result<Taken, CommitError> {
        if let Some(ended) = self.shared.ended() {
            return Err(ended.error());
        }
        let taken = charge::take(&self.db, (self.id, &self.followers), charge);
        let taken = taken.map_err(|error| self.failed(error))?;
        self.tail.batch = taken.number.0;
        self.tail.marks = taken.marks.unwrap_or(self.tail.marks);
        self.shared.epoch.store(taken.epoch.0, Ordering::Release);
        Ok(taken)
    }

    /// A transaction failed: nothing is written any more.
    fn failed(&self, error: ReadError) -> CommitError {
        let source = Arc::new(error);
        tracing::error!(
            error = %Chain(&source),
            "a commit failed: the store is read-only from now on"
        );
        self.shared.end(Ended::Failed(Chain(&source).to_string()));
        CommitError::Failed { source }
    }

    /// Commits a batch and answers. If a waiter is gone, its commit is applied all the same.
    fn serve(&mut self, jobs: Jobs) {
        let (commits, waiters): (Vec<_>, Vec<_>) = jobs.into_iter().unzip();
        if let Some(ended) = self.shared.ended() {
            for waiter in waiters {
                let _ = waiter.send(Err(ended.clone().error()));
            }
            return;
        }
        let done = match self.sabotage {
            Sabotage::SplitCommit => self.split(commits),
            Sabotage::None
            | Sabotage::NoSync
            | Sabotage::AnyAddress
            | Sabotage::AnyClaim
            | Sabotage::TimersUnlogged
            | Sabotage::IdsAgain
            | Sabotage::BooksBySpec
            | Sabotage::StrictRows => self.batch(&commits),
        };
        match done {
            Ok(answers) => {
                self.shared.feed.send_replace(EventSeq(self.tail.last));
                for (waiter, answer) in waiters.into_iter().zip(answers) {
                    let _ = waiter.send(answer);
                }
            }
            Err(error) => {
                let failed = self.failed(error);
                for waiter in waiters {
                    let _ = waiter.send(Err(failed.clone()));
                }
            }
        }
    }

    /// Writes all commits in one transaction.
    fn batch(&mut self, commits: &[Box<Prepared>]) -> Result<Vec<Answer>, ReadError> {
        let omits = (self.sabotage == Sabotage::TimersUnlogged).then_some("timer");
        let mut txn = Txn::recorded(&self.db, self.followers.any(), omits).map_err(Fault::from)?;
        let durability = if self.sabotage == Sabotage::NoSync {
            Durability::None
        } else {
            Durability::Immediate
        };
        txn.set_durability(durability).map_err(Fault::from)?;
        let mut batch = Batch::open(&txn, self.tail, self.limits)?;
        let mut answers = Vec::with_capacity(commits.len());
        let mut changed = false;
        for commit in commits {
            answers.push(match batch.judge(commit) {
                Ok(Verdict::Go(_)) if commit.rehearsal => {
                    Ok(Committed::Applied { seq: EventSeq(self.tail.last) })
                }
                Ok(Verdict::Go(old)) => {
                    changed = true;
                    Ok(batch.apply(commit, old.as_ref())?)
                }
                Ok(Verdict::No(Committed::ClaimRefused(refused)))
                    if self.lets_pass(&refused) && !commit.rehearsal =>
                {
                    changed = true;
                    let old = commit
                        .vm
                        .as_ref()
                        .map(|vm| batch.vm_summary(vm.summary.id))
                        .transpose()?
                        .flatten();
                    Ok(batch.apply(commit, old.as_ref())?)
                }
                Ok(Verdict::No(why)) => Ok(why),
                Err(ReadError::Row(source)) => Err(CommitError::Row { source: Arc::new(source) }),
                Err(error @ ReadError::Storage { .. }) => return Err(error),
            });
        }
        let tail = batch.finish()?;
        if changed {
            let recorded = txn.commit().map_err(Fault::from)?;
            self.tail = tail;
            self.followers.tell(self.id, BatchNo(tail.batch), recorded);
            self.count(commits, &answers);
        } else {
            txn.abort().map_err(Fault::from)?;
        }
        Ok(answers)
    }

    /// The faults that tests must find: claims that nobody checks.
    fn lets_pass(&self, refused: &ClaimRefused) -> bool {
        match self.sabotage {
            Sabotage::AnyClaim => true,
            Sabotage::AnyAddress => refused.claim.holding.book == Book::Mac,
            Sabotage::None
            | Sabotage::SplitCommit
            | Sabotage::NoSync
            | Sabotage::TimersUnlogged
            | Sabotage::IdsAgain
            | Sabotage::BooksBySpec
            | Sabotage::StrictRows => false,
        }
    }

    fn count(&self, commits: &[Box<Prepared>], answers: &[Answer]) {
        let mut written = self.shared.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.transactions += 1;
        for (commit, answer) in commits.iter().zip(answers) {
            if matches!(answer, Ok(Committed::Applied { .. })) && !commit.rehearsal {
                let (rows, bytes) = commit.size();
                written.commits += 1;
                written.rows += rows;
                written.bytes += bytes;
            }
        }
    }

    /// The fault that the crash test must find: a record and the rest of its commit are in two
    /// transactions.
    fn split(
        &mut self,
        commits: impl IntoIterator<Item = Box<Prepared>>,
    ) -> Result<Vec<Answer>, ReadError> {
        let mut answers = Vec::new();
        for mut commit in commits {
            if commit.rehearsal {
                answers.append(&mut self.batch(&[commit])?);
                continue;
            }
            let first = Prepared {
                vm: commit.vm.take(),
                claims: std::mem::take(&mut commit.claims),
                idempotency: commit.idempotency.take(),
                marks: commit.marks,
                ..Prepared::default()
            };
            let mut answer = self.batch(&[Box::new(first)])?;
            if matches!(answer.first(), Some(Ok(Committed::Applied { .. }))) {
                answer = self.batch(&[commit])?;
            }
            answers.append(&mut answer);
        }
        Ok(answers)
    }
}
