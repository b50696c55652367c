//! What is known to be gone from a host leaves the record, so that nobody sweeps it any more.

use crate::draft::Draft;
use ostler_model::{Generation, HostId, RelPath};

/// A placement that the VM had left is empty: removes its leftover.
pub(crate) fn swept(draft: &mut Draft<'_>, host: HostId, generation: Generation) {
    draft
        .record
        .leftovers
        .retain(|left| left.place.host != host || left.place.generation > generation);
}

/// A host will not be seen again: removes the VM's leftover there. A VM that has its placement
/// there keeps it. Only a request can change that, for each VM.
pub(crate) fn host_gone(draft: &mut Draft<'_>, host: HostId) {
    draft.record.leftovers.retain(|left| left.place.host != host);
}

/// An unused memory file was removed.
pub(crate) fn memory_removed(draft: &mut Draft<'_>, name: &RelPath) {
    draft.record.unused.retain(|unused| unused != name);
}
