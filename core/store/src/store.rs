//! The handle of the store, which every user of it holds.

use crate::batch::{Limits, Tail};
use crate::charge::Charge;
use crate::commit::{Commit, Committed};
use crate::disk::{Backend, RawDisk};
use crate::error::{CommitError, Fault, OpenError, ReadError};
use crate::file::{self, Draft};
use crate::log::{Followers, Subscription};
use crate::meta::Ids;
use crate::migrate;
use crate::options::Options;
use crate::prepare::Prepared;
use crate::read::Reader;
use crate::sabotage::Sabotage;
use crate::summary_cache::SummaryCache;
use crate::writer::{Ended, Message, QUEUE_MAX, Shared, Writer, Written};
use ostler_model::{DatastoreId, Epoch, EventSeq, HostId, ImageId, OperationId, StoreId, VmId};
use redb::{Builder, Database, DatabaseError, ReadableDatabase, StorageError};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot, watch};

/// Whether the store takes commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It takes commits.
    Writable,
    /// A commit failed. Nothing is written until the daemon is started again.
    ReadOnly {
        /// The error of that commit.
        why: String,
    },
    /// The daemon is no longer in charge of the store. It commits nothing until it is started
    /// again.
    NotInCharge {
        /// How it knows that.
        why: String,
    },
}

struct Inner {
    id: StoreId,
    ids: Ids,
    db: Arc<Database>,
    shared: Arc<Shared>,
    summaries: Arc<SummaryCache>,
    followers: Followers,
    sabotage: Sabotage,
    /// Dropped at the end, so that the writer sees that the queue is closed.
    queue: Option<mpsc::Sender<Message>>,
    writer: Option<JoinHandle<()>>,
}

impl Drop for Inner {
    /// Waits until the queued commits are written. After this the file is free.
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(writer) = self.writer.take() {
            // If the writer panicked, it has noted that already.
            let _ = writer.join();
        }
    }
}

/// The store. Cheap to clone. When the last clone is dropped, the file is closed.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("id", &self.inner.id).finish_non_exhaustive()
    }
}

/// While it lives, the writer takes no commits. With it, tests decide which commits are in one
/// batch.
#[doc(hidden)]
#[derive(Debug)]
pub struct HoldGuard {
    _other_half: std::sync::mpsc::Sender<()>,
}

impl Store {
    /// Opens the store in this file. If there is none, makes it, readable only for its owner.
    /// Migrates an older schema.
    ///
    /// # Errors
    /// If the store is in use, is too new, or is not a store, or if the disk fails.
    pub fn open(path: &Path, options: Options) -> Result<Self, OpenError> {
        if !file::taken(path) {
            make(path, &options)?;
        }
        let opened = Builder::new().set_cache_size(options.cache_bytes).open(path);
        let db = opened.map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => OpenError::InUse { path: path.to_owned() },
            DatabaseError::Storage(StorageError::Io(source)) => {
                OpenError::File { path: path.to_owned(), source }
            }
            other => OpenError::Storage { source: other.into() },
        })?;
        Self::start(db, options)
    }

    /// Opens a store on another disk than a file. If the power was cut while such a store was made,
    /// it cannot be opened again. A file ([`Store::open`]) does not have this problem, because it
    /// gets its name only when it is complete.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with(disk: impl RawDisk, options: Options) -> Result<Self, OpenError> {
        let opened =
            Builder::new().set_cache_size(options.cache_bytes).create_with_backend(Backend(disk));
        Self::start(opened.map_err(Fault::from)?, options)
    }

    /// Opens a store whose writer is run by the caller.
    pub(crate) fn open_unwritten(
        disk: impl RawDisk,
        options: Options,
    ) -> Result<(Self, Writer), OpenError> {
        let opened =
            Builder::new().set_cache_size(options.cache_bytes).create_with_backend(Backend(disk));
        let (inner, writer) = Self::prepare(opened.map_err(Fault::from)?, options)?;
        Ok((Self { inner: Arc::new(inner) }, writer))
    }

    pub(crate) fn start(db: Database, options: Options) -> Result<Self, OpenError> {
        let (mut inner, writer) = Self::prepare(db, options)?;
        let thread =
            std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || writer.run());
        inner.writer = Some(thread.map_err(|source| OpenError::Thread { source })?);
        Ok(Self { inner: Arc::new(inner) })
    }

    fn prepare(db: Database, options: Options) -> Result<(Inner, Writer), OpenError> {
        let (id, tail) = migrate::at_open(&db, options.store_id, &options.followers)?;
        let (queue, receiver) = mpsc::channel(QUEUE_MAX);
        let db = Arc::new(db);
        let shared = Arc::new(Shared::new(EventSeq(tail.last)));
        let writer = Writer {
            db: Arc::clone(&db),
            queue: receiver,
            shared: Arc::clone(&shared),
            tail,
            limits: Limits {
                events_kept: options.events_kept,
                operations_kept: options.operations_kept,
            },
            sabotage: options.sabotage,
            id,
            followers: options.followers.clone(),
        };
        let Tail { marks, .. } = tail;
        let (ids, summaries) = (Ids::after(marks), Arc::default());
        let (followers, sabotage) = (options.followers, options.sabotage);
        let inner = Inner {
            id,
            ids,
            db,
            shared,
            summaries,
            followers,
            sabotage,
            queue: Some(queue),
            writer: None,
        };
        Ok((inner, writer))
    }

    /// The store's id. It is made once, and stamped into every domain.
    #[must_use]
    pub fn id(&self) -> StoreId {
        self.inner.id
    }

    /// An id for a new VM. No row ever had this id.
    #[must_use]
    pub fn next_vm_id(&self) -> VmId {
        VmId(Ids::wide(&self.inner.ids.vm))
    }

    /// An id for a new operation.
    #[must_use]
    pub fn next_operation_id(&self) -> OperationId {
        OperationId(Ids::wide(&self.inner.ids.operation))
    }

    /// An id for a new host. It is never the id of the front end.
    #[must_use]
    pub fn next_host_id(&self) -> HostId {
        HostId(Ids::narrow(&self.inner.ids.host))
    }

    /// An id for a new datastore.
    #[must_use]
    pub fn next_datastore_id(&self) -> DatastoreId {
        DatastoreId(Ids::narrow(&self.inner.ids.datastore))
    }

    /// An id for a new image.
    #[must_use]
    pub fn next_image_id(&self) -> ImageId {
        ImageId(Ids::narrow(&self.inner.ids.image))
    }

    /// Takes charge of the store: commits an epoch above that of every daemon before. Answers it
    /// when it is durable.
    ///
    /// # Errors
    /// As for [`Self::commit`].
    pub async fn take_charge(&self, charge: Charge) -> Result<Epoch, CommitError> {
        let (answer, answered) = oneshot::channel();
        self.send(Message::Charge(charge, answer)).await?;
        let taken = answered.await.map_err(|_| self.gone())??;
        if let Some(marks) = taken.marks {
            self.inner.ids.raise(marks);
        }
        Ok(taken.epoch)
    }

    /// The epoch with which charge was taken since the store was opened. 0 if it was not.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        Epoch(self.inner.shared.epoch.load(Ordering::Acquire))
    }

    /// Another daemon is in charge of this store, as `why` says: nothing is committed here any
    /// more, so nothing is decided and nothing is sent.
    pub fn give_up(&self, why: String) {
        self.inner.shared.end(Ended::GivenUp(why));
    }

    /// Commits, and returns when the commit is durable. Waits while the queue is full. If the
    /// caller goes away after the commit is queued, the commit is carried out all the same.
    ///
    /// # Errors
    /// If the store is read-only or becomes read-only, or the commit makes no sense. If the current
    /// rows do not allow the commit, this is not an error but an answer: see [`Committed`].
    pub async fn commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        if let Some(ended) = self.inner.shared.ended() {
            return Err(ended.error());
        }
        let prepared = Box::new(Prepared::new(commit)?);
        self.inner.ids.raise(prepared.marks);
        self.judged(prepared).await
    }

    /// The result that a commit would have now: [`Committed::Applied`] if nothing refuses it. It is
    /// judged like a commit, in its turn among the others, and nothing is written. It may use ids
    /// that do not exist.
    ///
    /// # Errors
    /// As for [`Self::commit`].
    pub async fn rehearse(&self, commit: Commit) -> Result<Committed, CommitError> {
        if let Some(ended) = self.inner.shared.ended() {
            return Err(ended.error());
        }
        self.judged(Box::new(Prepared::rehearsal(commit)?)).await
    }

    async fn judged(&self, prepared: Box<Prepared>) -> Result<Committed, CommitError> {
        let (answer, answered) = oneshot::channel();
        self.send(Message::Commit(prepared, answer)).await?;
        answered.await.map_err(|_| self.gone())?
    }

    async fn send(&self, message: Message) -> Result<(), CommitError> {
        let queue = self.inner.queue.as_ref().ok_or(CommitError::Closed)?;
        queue.send(message).await.map_err(|_| self.gone())
    }

    fn gone(&self) -> CommitError {
        self.inner.shared.ended().map_or(CommitError::Closed, Ended::error)
    }

    #[doc(hidden)]
    pub async fn hold(&self) -> Result<HoldGuard, CommitError> {
        let (sender, receiver) = std::sync::mpsc::channel();
        self.send(Message::Hold(receiver)).await?;
        Ok(HoldGuard { _other_half: sender })
    }

    /// A consistent view of everything that is committed now.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn read(&self) -> Result<Reader, ReadError> {
        let txn = self.inner.db.begin_read().map_err(Fault::from)?;
        Ok(Reader {
            txn,
            summaries: Arc::clone(&self.inner.summaries),
            sabotage: self.inner.sabotage,
        })
    }

    /// The batches that are committed from now on, at most `batches` waiting. To follow: subscribe,
    /// make a copy ([`Store::backup`]), open it as a [`crate::Follower`], and apply what comes,
    /// without the batches that the copy holds already. One that is too slow is told
    /// ([`crate::FellBehind`]), as is one that cannot be given a batch
    /// ([`crate::ApplyError::NotLogged`]); it begins again. While nobody follows, nothing is noted.
    #[must_use]
    pub fn follow(&self, batches: usize) -> Subscription {
        self.inner.followers.follow(batches)
    }

    /// The number of the last event. It is updated after the event's commit is durable. Read the
    /// events with [`Reader::events_after`].
    #[must_use]
    pub fn feed(&self) -> watch::Receiver<EventSeq> {
        self.inner.shared.feed.subscribe()
    }

    /// Counts of what was written since the store was opened.
    #[must_use]
    pub fn written(&self) -> Written {
        *self.inner.shared.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the store takes commits, and if not, the reason.
    #[must_use]
    pub fn health(&self) -> Health {
        match self.inner.shared.ended() {
            None => Health::Writable,
            Some(Ended::Failed(why)) => Health::ReadOnly { why },
            Some(Ended::GivenUp(why)) => Health::NotInCharge { why },
        }
    }

    /// Proves that the store is consistent: every index, book, timer and outbox row is compared
    /// with the records. Empty if there are no findings. Reads everything. For tests, for
    /// `ostler admin check`, and after a restore.
    ///
    /// # Errors
    /// When the store or a row cannot be read.
    pub fn check(&self) -> Result<Vec<String>, ReadError> {
        self.read()?.check()
    }
}

/// Makes an empty store with this name. If another process is faster, its store is as good.
fn make(path: &Path, options: &Options) -> Result<(), OpenError> {
    let file_error = |source| OpenError::File { path: path.to_owned(), source };
    let draft = Draft::new(path).map_err(file_error)?;
    let db = Builder::new()
        .set_cache_size(options.cache_bytes)
        .create(draft.path())
        .map_err(Fault::from)?;
    migrate::at_open(&db, options.store_id, &Followers::default())?;
    db.close().map_err(Fault::from)?;
    match draft.publish() {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(file_error(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
