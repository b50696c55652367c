//! The services that all drivers of a host share.

use crate::cassette::Cassette;
use crate::cuts::Cuts;
use crate::epoch::Unkept;
use crate::grants::{AuditSink, SecretDirectory, SiteDirectory};
use crate::recorder::Recorder;
use crate::transport::Transports;
use crate::usage::Usage;
use crate::work::AllOrphans;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The services that all drivers of a host share.
pub(crate) struct Services {
    pub(crate) audit: Arc<dyn AuditSink>,
    pub(crate) sites: Arc<dyn SiteDirectory>,
    pub(crate) secrets: Arc<dyn SecretDirectory>,
    pub(crate) transports: Transports,
    /// The folder of command jobs on every host.
    pub(crate) jobs_folder: String,
    pub(crate) recorder: Arc<Recorder>,
    /// The work of all drivers that nobody waits for.
    pub(crate) orphans: Arc<AllOrphans>,
    /// Stops instances at their calls to the host, for the conformance suite.
    pub(crate) cuts: Option<Cuts>,
    /// Records calls to the host, or answers them, for the authors of drivers.
    pub(crate) cassette: Option<Cassette>,
    /// Watches what drivers use, for their authors.
    pub(crate) usage: Option<Usage>,
    /// Where hosts keep the highest epoch of each store. None: no host compares it.
    pub(crate) epochs: Option<Arc<str>>,
    /// The hosts that could not keep it.
    pub(crate) unkept: Arc<Unkept>,
    /// When the last command is over that an earlier process may have left at work over ssh.
    pub(crate) earlier_until: Option<Instant>,
}

impl Services {
    /// The services for one driver: its commands have lanes of their own.
    pub(crate) fn for_driver(&self) -> Self {
        Self {
            audit: Arc::clone(&self.audit),
            sites: Arc::clone(&self.sites),
            secrets: Arc::clone(&self.secrets),
            transports: self.transports.with_own_lanes(),
            jobs_folder: self.jobs_folder.clone(),
            recorder: Arc::clone(&self.recorder),
            orphans: Arc::clone(&self.orphans),
            cuts: self.cuts.clone(),
            cassette: self.cassette.clone(),
            usage: self.usage.clone(),
            epochs: self.epochs.clone(),
            unkept: Arc::clone(&self.unkept),
            earlier_until: self.earlier_until,
        }
    }

    /// For how long commands of an earlier process may still be at work over ssh.
    pub(crate) fn earlier_may_go_on(&self) -> Option<Duration> {
        let left = self.earlier_until?.checked_duration_since(Instant::now())?;
        (!left.is_zero()).then_some(left)
    }
}
