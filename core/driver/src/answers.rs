//! The answers of driver calls that are no outcome of the model.

use ostler_model::{DomainSeen, Outcome, Progress, VmUuid};

/// The progress of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobStatus {
    /// It is at work.
    Pending(Progress),
    /// It is done.
    Done(Outcome),
}

/// The domains of a host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listed {
    /// All domains that could be read.
    pub domains: Vec<DomainSeen>,
    /// Domains that could not be read now. Nothing may be concluded about them.
    pub unreadable: Vec<VmUuid>,
}

/// Domains that may have changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChangeBatch {
    /// The cursor for the next call.
    pub cursor: u64,
    /// The VMs whose domains may have changed.
    pub vms: Vec<VmUuid>,
    /// Whether some changes were lost. Then the caller must look at all domains.
    pub lost: bool,
}

/// Counters of one domain. They rise since its start, unless the field says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DomainMetrics {
    /// The VM of the domain.
    pub vm: Option<VmUuid>,
    /// CPU time used, in nanoseconds.
    pub cpu_ns: u64,
    /// Memory used now, in KiB.
    pub memory_kib: u64,
    /// Bytes read from disks.
    pub disk_read: u64,
    /// Bytes written to disks.
    pub disk_written: u64,
    /// Bytes received by NICs.
    pub net_rx: u64,
    /// Bytes sent by NICs.
    pub net_tx: u64,
}

/// Where a console of a domain is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleEndpoint {
    /// The kind of console: `vnc` or `serial`.
    pub kind: String,
    /// `tcp:ADDRESS:PORT` or `unix:PATH`, as the host sees it.
    pub address: String,
}
