//! What every handler shares.

use crate::drivers::Loader;
use crate::metrics::Metrics;
use crate::problem::{Answer, ApiError};
use axum::http::StatusCode;
use ostler_api::code;
use ostler_driver::Registry;
use ostler_engine::Engine;
use ostler_model::DriverName;
use ostler_store::{Health, Store};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Most event streams at once: each holds a connection for as long as its reader likes.
const STREAMS_MAX: usize = 256;

/// What every handler shares.
pub(crate) struct App {
    pub(crate) engine: Engine,
    pub(crate) registry: Registry,
    pub(crate) loader: Loader,
    /// Whose snapshot rules count for a hypervisor driver, as the settings say.
    pub(crate) rules: BTreeMap<DriverName, DriverName>,
    pub(crate) metrics: Metrics,
    pub(crate) stopping: CancellationToken,
    streams: Arc<Semaphore>,
}

/// As axum hands it to handlers.
pub(crate) type Shared = Arc<App>;

impl App {
    /// Puts the parts together.
    #[must_use]
    pub(crate) fn new(
        engine: Engine,
        registry: Registry,
        loader: Loader,
        rules: BTreeMap<DriverName, DriverName>,
        stopping: CancellationToken,
    ) -> Arc<Self> {
        let streams = Arc::new(Semaphore::new(STREAMS_MAX));
        Arc::new(Self { engine, registry, loader, rules, metrics: Metrics::new(), stopping, streams })
    }

    pub(crate) fn store(&self) -> &Store {
        self.engine.store()
    }

    /// Why the store takes no commits, if it takes none.
    pub(crate) fn store_trouble(&self) -> Option<String> {
        match self.store().health() {
            Health::Writable => None,
            Health::ReadOnly { why } => Some(format!("the store is read-only: {why}")),
        }
    }

    /// Copies the store to a new file; returns how many rows it has. On a thread of its own: it takes as long as the disk does.
    pub(crate) async fn backup(&self, to: PathBuf) -> Answer<u64> {
        let store = self.store().clone();
        Ok(tokio::task::spawn_blocking(move || store.backup(&to)).await.map_err(|err| broken(&err))??)
    }

    /// Proves that the books add up. Reads everything, on a thread of its own.
    pub(crate) async fn check(&self) -> Answer<Vec<String>> {
        let store = self.store().clone();
        Ok(tokio::task::spawn_blocking(move || store.check()).await.map_err(|err| broken(&err))??)
    }

    /// A place for one more event stream.
    pub(crate) fn stream_permit(&self) -> Answer<OwnedSemaphorePermit> {
        Arc::clone(&self.streams).try_acquire_owned().map_err(|_| {
            let detail = format!("{STREAMS_MAX} event streams are open already");
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, code::OVERLOADED, detail)
                .hint("close one, or watch with one stream for all")
        })
    }
}

fn broken(err: &tokio::task::JoinError) -> ApiError {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, code::INTERNAL, format!("a defect of ostlerd: {err}"))
}
