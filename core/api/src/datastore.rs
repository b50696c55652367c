//! Datastores: folders for images and for the disks of VMs.

use crate::Time;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The body of `POST /v1/datastores`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDatastore {
    /// The datastore's name. It must be unique.
    pub name: String,
    /// `image` or `system`.
    pub kind: String,
    /// The transfer driver that moves the datastore's files.
    pub driver: String,
    /// Absolute directory of the datastore on every host that sees it.
    pub root: String,
    /// Whether all hosts see the same files below `root`.
    #[serde(default)]
    pub shared: bool,
}

/// A datastore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Datastore {
    /// The datastore's id.
    pub id: u32,
    /// The datastore's name.
    pub name: String,
    /// `image` or `system`.
    pub kind: String,
    /// The transfer driver that moves the datastore's files.
    pub driver: String,
    /// The datastore's directory.
    pub root: String,
    /// Whether all hosts see the same files below `root`.
    pub shared: bool,
    /// When it was added.
    pub added: Time,
    /// The machines that do not see the datastore, and those that could not be asked. Given in the
    /// answer to an addition, and for one datastore. A list leaves it out, because every machine
    /// has to be asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}
