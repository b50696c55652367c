//! One libvirt daemon: the roads to it, its jobs and locks, and the feed of changes there.

use crate::feed::Feed;
use crate::jobs::Jobs;
use crate::live::Live;
use crate::locks::Locks;
use crate::road::{OpenTimes, Road};
use ostler_model::{DriverError, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The most calls that are at work at once on a road, each on a connection of its own. More would
/// not make a daemon quicker.
const LANES: usize = 4;

/// One daemon.
pub(crate) struct Link {
    /// For calls that change a domain.
    pub(crate) work: Arc<Road>,
    /// For looks, and for `destroy`.
    pub(crate) express: Arc<Road>,
    /// For calls that last as long as a job does: neither a change nor a look waits behind a
    /// migration.
    pub(crate) lasting: Arc<Road>,
    /// A connection for events only: nobody calls on it.
    events: Arc<Road>,
    /// The jobs that were begun.
    pub(crate) jobs: Arc<Jobs>,
    /// The locks: one mutating call per domain.
    pub(crate) locks: Arc<Locks>,
    /// The feed of changes there.
    pub(crate) feed: Arc<Feed>,
}

impl Link {
    /// A link that is not open yet.
    pub(crate) fn new(uri: &str, times: OpenTimes) -> Self {
        let feed = Arc::new(Feed::new());
        Self {
            work: Road::new("libvirt-work", LANES, uri, times, None),
            express: Road::new("libvirt-look", LANES, uri, times, None),
            lasting: Road::new("libvirt-job", LANES, uri, times, None),
            events: Road::new("libvirt-feed", 1, uri, times, Some(Arc::clone(&feed))),
            jobs: Arc::default(),
            locks: Arc::default(),
            feed,
        }
    }

    /// Whether the opening of one of its connections hangs.
    pub(crate) fn hangs(&self) -> bool {
        [&self.work, &self.express, &self.lasting, &self.events]
            .into_iter()
            .any(|road| road.hangs())
    }

    /// A question, on the express road.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        patience: Duration,
        question: impl FnOnce(&Live) -> Result<T, DriverError> + Send + 'static,
    ) -> Result<T, DriverError> {
        self.express.run(Instant::now() + patience, None, ErrorKind::Retry, question).await
    }

    /// Opens the connection for events, so that they come in.
    pub(crate) async fn listen(&self, patience: Duration) -> Result<(), DriverError> {
        self.events.run(Instant::now() + patience, None, ErrorKind::Retry, |_| Ok(())).await
    }
}
