//! The state that all handlers share.

use crate::drivers::Loader;
use crate::metrics::Metrics;
use crate::problem::{ApiError, Handled};
use crate::uploads::Uploads;
use axum::http::StatusCode;
use ostler_api::code;
use ostler_driver::Registry;
use ostler_engine::Engine;
use ostler_model::DriverName;
use ostler_store::{Health, ReadError, Reader, Store};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// At most this many event streams are open at once. Each holds a connection until its client
/// closes it.
const STREAMS_MAX: usize = 256;

/// At most this many files of datastores are read for clients at once. Each read takes a thread,
/// for ever if the storage hangs.
const FILES_MAX: usize = 16;

/// At most this many requests look at files at the same time. Each may hold threads for as long as a
/// file system hangs.
pub(crate) const LOOKS_MAX: usize = 8;

/// The state that all handlers share.
pub(crate) struct App {
    pub(crate) engine: Engine,
    pub(crate) registry: Registry,
    pub(crate) loader: Loader,
    pub(crate) uploads: Uploads,
    /// For each hypervisor driver of the settings: the driver whose snapshot rules count.
    pub(crate) rules: BTreeMap<DriverName, DriverName>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) stopping: CancellationToken,
    /// Permits for requests that look at files of datastores.
    pub(crate) looks: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    files: Arc<Semaphore>,
    checking: Checking,
}

/// The time when the last check of the books began, and its findings. Requests that came before it
/// began share them.
type Checking = Arc<tokio::sync::Mutex<Option<(Instant, Arc<Vec<String>>)>>>;

/// The form in which axum passes it to handlers.
pub(crate) type Shared = Arc<App>;

impl App {
    /// Puts the parts together.
    #[must_use]
    pub(crate) fn new(
        engine: Engine,
        registry: Registry,
        loader: Loader,
        uploads: Uploads,
        rules: BTreeMap<DriverName, DriverName>,
        stopping: CancellationToken,
    ) -> Arc<Self> {
        let (streams, files) =
            (Arc::new(Semaphore::new(STREAMS_MAX)), Arc::new(Semaphore::new(FILES_MAX)));
        let looks = Arc::new(Semaphore::new(LOOKS_MAX));
        let (metrics, checking) = (Arc::new(Metrics::new()), Checking::default());
        Arc::new(Self {
            engine,
            registry,
            loader,
            uploads,
            rules,
            metrics,
            stopping,
            streams,
            files,
            checking,
            looks,
        })
    }

    pub(crate) fn store(&self) -> &Store {
        self.engine.store()
    }

    /// Why the store takes no commits, if it takes none.
    pub(crate) fn store_trouble(&self) -> Option<String> {
        match self.store().health() {
            Health::Writable => None,
            Health::NotInCharge { why } => Some(format!("nothing is decided any more: {why}")),
            Health::ReadOnly { why } => Some(format!("the store is read-only: {why}")),
        }
    }

    /// Reads the store on a thread that may block. This is for reads that take longer the larger
    /// the store is, or that decode more than a few rows: pages, lists, metrics. A handler that
    /// reads a few rows by their keys does so on the async runtime: see [`ostler_store::Reader`].
    pub(crate) async fn reading<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Self, &Reader) -> Handled<T> + Send + 'static,
    ) -> Handled<T> {
        let app = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || read(&app, &app.store().read()?));
        read.await.map_err(|err| broken(&err))?
    }

    /// Copies the store to a new file, and returns how many rows it has. This runs on a thread of
    /// its own, because it takes as long as the disk needs.
    pub(crate) async fn backup(&self, to: PathBuf) -> Handled<u64> {
        let store = self.store().clone();
        Ok(tokio::task::spawn_blocking(move || store.backup(&to))
            .await
            .map_err(|err| broken(&err))??)
    }

    /// Checks that the books add up. It reads the whole store on a thread of its own, and only one
    /// check runs at a time. A request that comes meanwhile waits, and gets the findings of a check
    /// that began after the request came.
    pub(crate) async fn check(&self) -> Handled<Arc<Vec<String>>> {
        let came = Instant::now();
        let mut last = Arc::clone(&self.checking).lock_owned().await;
        if let Some((_, findings)) = last.as_ref().filter(|(begun, _)| *begun >= came) {
            return Ok(Arc::clone(findings));
        }
        let store = self.store().clone();
        // The thread holds the lock until it has finished, even if the client has gone. Otherwise a
        // second check could run beside it.
        let checked = tokio::task::spawn_blocking(move || {
            let begun = Instant::now();
            let findings = Arc::new(store.check()?);
            *last = Some((begun, Arc::clone(&findings)));
            Ok::<_, ReadError>(findings)
        });
        Ok(checked.await.map_err(|err| broken(&err))??)
    }

    /// A place for one more read of a datastore's file.
    pub(crate) fn file_permit(&self) -> Handled<OwnedSemaphorePermit> {
        let busy = format!("{FILES_MAX} files are being read already");
        Arc::clone(&self.files)
            .try_acquire_owned()
            .map_err(|_| overloaded(busy, "ask again in a moment"))
    }

    /// A place for one more event stream.
    pub(crate) fn stream_permit(&self) -> Handled<OwnedSemaphorePermit> {
        let many = format!("{STREAMS_MAX} event streams are open already");
        let streams = Arc::clone(&self.streams);
        streams
            .try_acquire_owned()
            .map_err(|_| overloaded(many, "close one, or watch with one stream for all"))
    }
}

fn overloaded(detail: String, hint: &str) -> ApiError {
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, code::OVERLOADED, detail).hint(hint)
}

/// The answer if a task of ours has panicked.
pub(crate) fn broken(err: &tokio::task::JoinError) -> ApiError {
    ApiError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        code::INTERNAL,
        format!("a defect of ostlerd: {err}"),
    )
}
