//! Typed identities. No function in Ostler takes a bare integer or UUID where one of these is meant.

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
            /// The one after this. Saturates: an exhausted counter is refused by the store, it never wraps to an old value.
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
    /// A VM, as operators type it. Unique within one store, never used again.
    VmId, u64
);
number_id!(
    /// A host. Host 0 is the front end: the machine `ostlerd` runs on, where stopped VMs' files rest.
    HostId, u32
);
number_id!(
    /// A datastore: a directory tree (or pool) that a transfer driver is in charge of.
    DatastoreId, u32
);
number_id!(
    /// An image: a disk kept in an image datastore.
    ImageId, u32
);
number_id!(
    /// One thing asked for. Part of the identity of every effect.
    OperationId, u64
);
number_id!(
    /// A place in the event feed. Dense within one store, rises with each committed event.
    EventSeq, u64
);
number_id!(
    /// Fences placements: the higher one may run. See `VmRecord::issued` and `VmRecord::placed`.
    Generation, u64
);
number_id!(
    /// Rises with each commit of a record (ETag, watch). Says nothing about placements.
    Version, u64
);
number_id!(
    /// Rises with each step a VM's operations begin, never with record edits. An observation counts only if this is unchanged.
    StepNo, u64
);

uuid_id!(
    /// A VM as hypervisors know it; chosen by us and stamped into the domain.
    VmUuid
);
uuid_id!(
    /// The store a record lives in. A domain stamped with another store's id is wild: never touched.
    StoreId
);

impl HostId {
    /// The machine `ostlerd` runs on.
    pub const FRONT_END: Self = Self(0);
}
