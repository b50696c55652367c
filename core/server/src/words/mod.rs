//! Sentences: the one place where refusals, hints and explanations become words, with names in the
//! place of ids.
//!
//! Below the server such things are data ([`ostler_model::Cause`], [`ostler_model::Hint`],
//! [`ostler_engine::WaitsFor`], ...). The matches here are exhaustive, so a new cause does not
//! compile until somebody has written its sentence.

mod hardware;
mod hint;
mod refusal;
mod resource;
mod scheduler;
mod unusable;
mod why;

pub(crate) use hint::{advice, hint, of_refusal};
pub(crate) use refusal::{came, claim, not_done, refusal};
pub(crate) use resource::resource_refused;
pub(crate) use scheduler::waits;
pub(crate) use unusable::unusable;
pub(crate) use why::{last_error, summary, waits_for};

use ostler_model::{DatastoreId, HostId, ImageId, VmId};
use ostler_store::Reader;

/// Looks up names. None if there is no such thing, or if it cannot be read. Then the sentence has
/// the id.
pub(crate) trait Names {
    /// The name of a host.
    fn host_name(&self, id: HostId) -> Option<String>;
    /// The name of a datastore.
    fn datastore_name(&self, id: DatastoreId) -> Option<String>;
    /// The name of an image.
    fn image_name(&self, id: ImageId) -> Option<String>;
    /// The name of a VM.
    fn vm_name(&self, id: VmId) -> Option<String>;
}

impl Names for Reader {
    fn host_name(&self, id: HostId) -> Option<String> {
        Some(self.host(id).ok()??.name.into())
    }

    fn datastore_name(&self, id: DatastoreId) -> Option<String> {
        Some(self.datastore(id).ok()??.name.into())
    }

    fn image_name(&self, id: ImageId) -> Option<String> {
        Some(self.image(id).ok()??.name.into())
    }

    fn vm_name(&self, id: VmId) -> Option<String> {
        Some(self.vm_summary(id).ok()??.name.into())
    }
}

/// Knows no names, so that sentences have ids. It is used when the store cannot be read.
pub(crate) struct NoNames;

impl Names for NoNames {
    fn host_name(&self, _: HostId) -> Option<String> {
        None
    }

    fn datastore_name(&self, _: DatastoreId) -> Option<String> {
        None
    }

    fn image_name(&self, _: ImageId) -> Option<String> {
        None
    }

    fn vm_name(&self, _: VmId) -> Option<String> {
        None
    }
}

pub(crate) fn host(names: &dyn Names, id: HostId) -> String {
    names.host_name(id).unwrap_or_else(|| id.to_string())
}

pub(crate) fn datastore(names: &dyn Names, id: DatastoreId) -> String {
    names.datastore_name(id).unwrap_or_else(|| id.to_string())
}

pub(crate) fn image(names: &dyn Names, id: ImageId) -> String {
    names.image_name(id).unwrap_or_else(|| id.to_string())
}

/// A VM: `VM 9 (web)`. Names of VMs are not unique, so the id comes first.
pub(crate) fn named_vm(names: &dyn Names, id: VmId) -> String {
    names.vm_name(id).map_or_else(|| format!("VM {id}"), |name| format!("VM {id} ({name})"))
}

#[cfg(test)]
mod tests;
