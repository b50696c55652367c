//! The deliberate faults of the store. Only tests set them.

/// A deliberate fault. With it, tests prove that they would notice a real fault. Only tests set it.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sabotage {
    /// None.
    #[default]
    None,
    /// A record is committed first, and the rest of its commit in a second transaction.
    SplitCommit,
    /// Commits are answered before they are on the disk.
    NoSync,
    /// Nobody checks whether a network address is another VM's.
    AnyAddress,
    /// Nobody checks claims.
    AnyClaim,
    /// Followers are not told of changes of timers.
    TimersUnlogged,
    /// After a restore, the ids and event numbers of the lost time are given out again.
    IdsAgain,
    /// The check of the books expects what a VM is to have, and not what it holds while its size is
    /// changed.
    BooksBySpec,
    /// The record of a VM cannot be read if this version does not know the zone of one of its
    /// schedules.
    StrictRows,
}
