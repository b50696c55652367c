//! Datastores: where images and the disks of VMs live.

use crate::Time;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The body of `POST /v1/datastores`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDatastore {
    /// Its name; unique.
    pub name: String,
    /// `image` or `system`.
    pub kind: String,
    /// The transfer driver in charge.
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
    /// Its id.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// `image` or `system`.
    pub kind: String,
    /// The transfer driver in charge.
    pub driver: String,
    /// Its directory.
    pub root: String,
    /// Whether all hosts see the same files.
    pub shared: bool,
    /// When it was added.
    pub added: Time,
    /// Which machines do not see it, and which could not be asked. In the answer to an addition, and of one datastore; a list leaves it out,
    /// because every machine is asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}
