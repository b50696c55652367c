//! The services that all drivers of a host share.

use crate::grants::{AuditSink, SiteDirectory};
use crate::transport::Transports;
use std::sync::Arc;

/// The services that all drivers of a host share.
pub(crate) struct Services {
    pub(crate) audit: Arc<dyn AuditSink>,
    pub(crate) sites: Arc<dyn SiteDirectory>,
    pub(crate) transports: Transports,
}

impl Services {
    /// The services for one driver: its commands have lanes of their own.
    pub(crate) fn for_driver(&self) -> Self {
        Self {
            audit: Arc::clone(&self.audit),
            sites: Arc::clone(&self.sites),
            transports: self.transports.with_own_lanes(),
        }
    }
}
