//! The deliberate faults: mistakes that the engine or the store once made, or could make. The runs
//! must find each of them.

use ostler_engine::Sabotage as EngineFault;
use ostler_store::Sabotage as StoreFault;
use strum::{Display, EnumIter};

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, EnumIter)]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum Fault {
    /// None.
    None,
    /// Calls are sent before they are written down.
    ActFirst,
    /// Calls are sent and never written down.
    NoOutbox,
    /// After a crash nobody goes on with open calls.
    NoResume,
    /// A record and its other rows are written in two transactions.
    SplitCommit,
    /// Commits are answered before they are on the disk.
    NoSync,
    /// A backup is restored as if nothing had happened since it was made.
    NoRestoreMark,
    /// After a restore, requests and scheduled actions do not wait until it is known where the VM
    /// is.
    Ungated,
    /// After a restore, the ids of the lost time are given out again.
    IdsAgain,
    /// The check of the books expects the size that a VM is to have, and not the capacity that it
    /// holds while its size is changed.
    BooksBySpec,
    /// The caller's own future does what follows a commit, and the caller may go away.
    CallerCarries,
    /// An older state of hosts replaces a newer one in memory.
    LateReload,
    /// The answer to a call is lost with the runner that panicked, and the call still counts as in
    /// flight.
    AnswersLost,
    /// A placement that was refused keeps its capacity from other VMs, and is proposed again.
    RefusalsForgotten,
    /// The time of a call already runs while the call waits for its lane.
    WaitCounts,
    /// A transfer begins while a dropped transfer of the same VM is at work.
    TransfersBeside,
    /// A leftover on a lost host is waited for, for ever.
    LostForEver,
    /// Two VMs may have one network address.
    AnyAddress,
    /// A record cannot be read if it names a time zone that this version does not know.
    StrictRows,
    /// One call in many is written down and never sent.
    LoseCall,
    /// A call that may have been sent is sent again under another identity.
    NewEdgeIdentity,
    /// After a crash no timer is set.
    TimersLost,
    /// A call is sent while a dropped one may be at work.
    CallsBeside,
    /// A host that could not be asked counts as a host that has nothing.
    SilenceIsAbsence,
    /// Any domain of ours is taken for a leftover, whatever its generation.
    AnyZombie,
    /// The outbox keeps calls that have ended.
    KeepOutbox,
    /// The step counter of an observation is not compared.
    AnyStep,
    /// An observation counts while an operation is in hand.
    ObserveWhileBusy,
    /// Nothing is claimed, so the VMs on a host may hold more than it has.
    NoClaims,
    /// A leftover is not written down.
    ForgetLeftovers,
    /// A domain at a new place is stamped with the old generation.
    NoNewGeneration,
    /// Memory that was restored does not count as used.
    ReuseMemory,
    /// A request is accepted beside an operation.
    SecondSlot,
    /// Files are removed before the domain is absent.
    NoRemove,
    /// A wait has no end.
    NoDeadline,
    /// A VM that has left its host keeps its capacity.
    KeepPlace,
    /// An answer that was lost counts as *done*.
    LostIsDone,
    /// A migration forgets that its guest may be at the other host.
    ForgetOther,
}

impl Fault {
    pub(crate) const fn of_store(self) -> StoreFault {
        match self {
            Self::SplitCommit => StoreFault::SplitCommit,
            Self::NoSync => StoreFault::NoSync,
            Self::AnyAddress => StoreFault::AnyAddress,
            Self::IdsAgain => StoreFault::IdsAgain,
            Self::BooksBySpec => StoreFault::BooksBySpec,
            Self::StrictRows => StoreFault::StrictRows,
            _ => StoreFault::None,
        }
    }

    pub(crate) const fn of_engine(self) -> EngineFault {
        match self {
            Self::ActFirst => EngineFault::ActFirst,
            Self::NoOutbox => EngineFault::NoOutbox,
            Self::NoResume => EngineFault::NoResume,
            Self::CallerCarries => EngineFault::CallerCarries,
            Self::AnswersLost => EngineFault::AnswersLost,
            Self::Ungated => EngineFault::Ungated,
            Self::LateReload => EngineFault::LateReload,
            Self::RefusalsForgotten => EngineFault::RefusalsForgotten,
            Self::WaitCounts => EngineFault::WaitCounts,
            Self::TransfersBeside => EngineFault::TransfersBeside,
            Self::LostForEver => EngineFault::LostForEver,
            Self::TimersLost => EngineFault::TimersLost,
            Self::CallsBeside => EngineFault::CallsBeside,
            Self::SilenceIsAbsence => EngineFault::SilenceIsAbsence,
            Self::AnyZombie => EngineFault::AnyZombie,
            Self::ObserveWhileBusy => EngineFault::ObserveWhileBusy,
            _ => EngineFault::None,
        }
    }
}
