//! Things that a request names and that do not exist or cannot be used, as data.

use ostler_lifecycle::{NotAdopted, NotCreated};
use ostler_model::{ClaimRefused, DriverError, Hint, HostId, VmId};

/// Something that a request names does not exist or cannot be used: nothing was changed. Its
/// `Display` is for logs; people are shown the words that `server` makes of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it cannot be used: {self:?}")]
pub enum Unusable {
    /// The new VM claims something that does not hold.
    Claim(Box<ClaimRefused>),
    /// Something that the specification of a new VM names.
    NotCreated(NotCreated),
    /// The host is not lost: it answers.
    HostAnswers(HostId),
    /// The host was not asked yet since the daemon was started.
    HostNotAsked(HostId),
    /// VMs have their place on the host.
    HostHasVms {
        /// The host.
        host: HostId,
        /// The VMs that are told.
        vms: Vec<VmId>,
        /// How many more there are.
        more: usize,
    },
    /// The domain could not be looked at.
    DomainUnseen {
        /// Its name or UUID.
        domain: String,
        /// The host.
        host: HostId,
        /// The error of the driver.
        error: DriverError,
    },
    /// The host has no such domain.
    NoDomain {
        /// The name or UUID.
        domain: String,
        /// The host.
        host: HostId,
    },
    /// The host has no hypervisor, so it has no domains.
    NoHypervisor {
        /// The name or UUID.
        domain: String,
        /// The host.
        host: HostId,
    },
    /// The domain cannot become a VM.
    NotAdopted {
        /// Its name or UUID.
        domain: String,
        /// The reason.
        why: NotAdopted,
    },
    /// The counters of a VM could not be read.
    Counters {
        /// The VM.
        vm: VmId,
        /// Its host.
        host: HostId,
        /// The error of the driver.
        error: DriverError,
    },
}

impl Unusable {
    /// What can be done instead, if that is not in the reason.
    #[must_use]
    pub const fn hint(&self) -> Option<Hint> {
        Some(match self {
            Self::NotCreated(why) => return why.hint(),
            Self::HostAnswers(_) => Hint::WaitForSweep,
            Self::HostNotAsked(_) => Hint::AskAgain,
            Self::HostHasVms { .. } => Hint::EmptyHost,
            Self::NoDomain { .. } => Hint::ListWildDomains,
            Self::NotAdopted { why: NotAdopted::Name(_), .. } => Hint::GiveName,
            Self::NotAdopted { why: NotAdopted::Changes(_), .. } => Hint::AcceptChanges,
            Self::Claim(_)
            | Self::DomainUnseen { .. }
            | Self::NoHypervisor { .. }
            | Self::NotAdopted { .. }
            | Self::Counters { .. } => return None,
        })
    }
}
