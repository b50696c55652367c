//! Images: disks that VMs are made from.

use crate::{Size, Time};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The body of `POST /v1/images`: registers a file that is in an image datastore already.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewImage {
    /// Its name; unique.
    pub name: String,
    /// Its file: `DATASTORE:RELATIVE/PATH`.
    pub path: String,
    /// `qcow2` or `raw`; by the file's extension if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Image {
    /// Its id.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Its file: `DATASTORE:RELATIVE/PATH`.
    pub path: String,
    /// Its format.
    pub format: String,
    /// `ready`, `locked` or `error`.
    pub state: String,
    /// What a guest sees of it, rounded up; missing if nobody could look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// How many disks of VMs stand on it.
    pub used_by: u64,
    /// When it was registered.
    pub added: Time,
    /// In the answer to an addition: what was not looked at, and where the file is not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}
