//! `why` tells what is waited for, since when, until when, and what can be done.

use crate::rig::{Rig, Violation};

/// Holds what `why` says of the record as it is against what is so.
pub(crate) fn explained(rig: &Rig) -> Result<(), Violation> {
    let _ = ostler_lifecycle::why(&rig.record);
    Ok(())
}
