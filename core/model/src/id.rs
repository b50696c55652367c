//! Typed identities. No function in Ostler takes a bare integer or UUID where one of these is
//! meant.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// The next number. Saturates: it never wraps to an old value, and the store refuses an
            /// exhausted counter.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

number_id!(
    /// The number of a VM, as operators type it. Unique within one store, never used again.
    VmId, u64
);
number_id!(
    /// A host. Host 0 is the front end: the machine that `ostlerd` runs on. It keeps the files of
    /// stopped VMs.
    HostId, u32
);
number_id!(
    /// A datastore: a folder (or pool) that one transfer driver manages.
    DatastoreId, u32
);
number_id!(
    /// An image: a disk kept in an image datastore.
    ImageId, u32
);
number_id!(
    /// An operation: one accepted request. Part of every effect key.
    OperationId, u64
);
number_id!(
    /// The position of an event in the feed. Rises by one with each committed event of a store,
    /// without gaps.
    EventSeq, u64
);
number_id!(
    /// The number of a placement. Of two placements of a VM, only the one with the higher
    /// generation may run. See `VmRecord::issued` and `VmRecord::placed`.
    Generation, u64
);
number_id!(
    /// The number of a daemon that took charge of a store. Of two daemons with copies of one store,
    /// only the one with the higher epoch may act on hosts. 0: nobody took charge yet.
    Epoch, u64
);
number_id!(
    /// The version of a record. Rises with each commit of the record (used for ETag and watch).
    /// Says nothing about placements.
    Version, u64
);
number_id!(
    /// The step counter of a VM. Rises when an operation of the VM begins a step, never when the
    /// record is only edited. An observation counts only if this number did not change while it was
    /// made.
    StepNo, u64
);

uuid_id!(
    /// The UUID of a VM, as hypervisors know it. Ostler chooses it and stamps it into the domain.
    VmUuid
);
uuid_id!(
    /// The identity of a store. A domain that is stamped with another store's identity is wild and
    /// never touched.
    StoreId
);

impl HostId {
    /// The machine `ostlerd` runs on.
    pub const FRONT_END: Self = Self(0);
}
