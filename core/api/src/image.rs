//! Images: disks that VMs are made from.

use crate::{Size, Time};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The body of `POST /v1/images`: registers a file that is in an image datastore already.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewImage {
    /// The image's name. It must be unique.
    pub name: String,
    /// The image's file: `DATASTORE:RELATIVE/PATH`.
    pub path: String,
    /// `qcow2` or `raw`. If not given, the file's extension decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Image {
    /// The image's id.
    pub id: u32,
    /// The image's name.
    pub name: String,
    /// The image's file: `DATASTORE:RELATIVE/PATH`.
    pub path: String,
    /// `qcow2` or `raw`.
    pub format: String,
    /// `ready`, `locked` or `error`.
    pub state: String,
    /// The size of the disk that a guest sees, rounded up. Missing if the file could not be looked
    /// at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// How many disks of VMs stand on it.
    pub used_by: u64,
    /// When it was registered.
    pub added: Time,
    /// In the answer to an addition: the checks that were not made, and the machines that do not
    /// have the file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}
