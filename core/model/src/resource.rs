//! Resources other than VMs as subjects of an error, and why a change of one is refused, as data.
//! Sentences with names are made where they are read (`server`).

use crate::{
    DatastoreId, DiskFormat, DriverName, HostId, HostName, ImageId, ImageName, RelPath, SecretKey,
    State, VmId,
};
use serde::{Deserialize, Serialize};
use strum::{Display, IntoStaticStr};

/// A kind of resource, for messages and codes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Display, IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum ResourceKind {
    /// A host.
    Host,
    /// A datastore.
    Datastore,
    /// An image.
    Image,
    /// A token.
    Token,
    /// A driver.
    Driver,
    /// A binding of snapshot rules.
    Rules,
    /// A secret of a driver.
    Secret,
    /// A VM.
    #[strum(serialize = "VM")]
    Vm,
}

/// One resource.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resource {
    /// A host.
    Host(HostId),
    /// A datastore.
    Datastore(DatastoreId),
    /// An image.
    Image(ImageId),
    /// A token, by name.
    Token(String),
    /// A driver.
    Driver(DriverName),
    /// The snapshot rules that are bound to this hypervisor driver.
    Rules(DriverName),
    /// A secret of a driver.
    Secret(SecretKey),
    /// A VM.
    Vm(VmId),
}

impl Resource {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> ResourceKind {
        match self {
            Self::Host(_) => ResourceKind::Host,
            Self::Datastore(_) => ResourceKind::Datastore,
            Self::Image(_) => ResourceKind::Image,
            Self::Token(_) => ResourceKind::Token,
            Self::Driver(_) => ResourceKind::Driver,
            Self::Rules(_) => ResourceKind::Rules,
            Self::Secret(_) => ResourceKind::Secret,
            Self::Vm(_) => ResourceKind::Vm,
        }
    }
}

macro_rules! resource_from {
    ($($kind:ident $id:ty),*) => {$(
        impl From<$id> for Resource {
            fn from(id: $id) -> Self {
                Self::$kind(id)
            }
        }
    )*};
}

resource_from!(Host HostId, Datastore DatastoreId, Image ImageId, Vm VmId);

/// A thing that depends on a resource, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UsedBy {
    /// The daemon runs on that host.
    Daemon,
    /// A VM has its place on that host.
    Placed(VmId),
    /// A VM migrates from that host or to it.
    Moving(VmId),
    /// A VM may have left something on that host.
    LeftBy(VmId),
    /// A VM is found by the settings of that host.
    FoundBy(VmId),
    /// A VM has its files in that datastore.
    FilesOf(VmId),
    /// An image lies in that datastore.
    Image(ImageId),
    /// Disks of VMs stand on that image.
    Disks {
        /// How many.
        count: u64,
    },
    /// A disk is being saved as that image.
    DiskToSave,
    /// The image is ready: anybody may deploy from it.
    Ready,
    /// The VM is not done.
    NotDone {
        /// Its state.
        state: State,
    },
    /// Something of that VM may be left on a host.
    LeftOn(HostId),
    /// A driver call of that VM may be under way.
    Call,
    /// A host is reached by that driver.
    HypervisorOf(HostId),
    /// That driver holds the snapshot rules of a host.
    RulesOfHost(HostId),
    /// A datastore is served by that driver.
    FilesIn(DatastoreId),
    /// That driver takes part in the snapshot rules of a hypervisor driver.
    RulesOf(DriverName),
}

/// The reason why the change of a resource is refused. Its `Display` is for logs; people are shown
/// the words that `server` makes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("the change of a resource is refused: {self:?}")]
#[serde(rename_all = "kebab-case")]
pub enum ResourceRefused {
    /// Names are unique.
    NameTaken {
        /// The kind of resource.
        kind: ResourceKind,
        /// The name.
        name: String,
    },
    /// A hypervisor may be only one host.
    SameHypervisor {
        /// The host that it is.
        other: HostName,
    },
    /// Something depends on the resource.
    InUse {
        /// The resource.
        what: Resource,
        /// The thing that depends on it.
        by: UsedBy,
    },
    /// One file may be several images only if all have the same format. With two formats, one image
    /// would read the other's bytes.
    FileTaken {
        /// The file.
        path: RelPath,
        /// The image that the file is already.
        image: ImageName,
        /// The format of that image.
        format: DiskFormat,
    },
    /// There is no such resource.
    NotFound {
        /// The resource.
        what: Resource,
    },
    /// The VM's UUID belongs to another VM of this store.
    UuidTaken {
        /// The new VM.
        vm: VmId,
        /// The VM that has the UUID.
        other: VmId,
    },
}
