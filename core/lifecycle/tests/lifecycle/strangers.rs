//! An answer of a call that is not open changes nothing, whatever the VM does at that time. It may
//! be an answer that came twice, or one of an operation that was overtaken long ago.

use crate::rig::{Rig, STORE, Violation};
use ostler_lifecycle::{Facts, Input, decide};
use ostler_model::{DriverError, EffectKey, Item, OperationId, Outcome, StepNo};

/// Gives the record answers of a call that nobody has open.
pub(crate) fn strangers(rig: &Rig) -> Result<(), Violation> {
    let (record, facts) = (&rig.record, Facts::bare(STORE));
    let key = EffectKey {
        vm: record.uuid,
        operation: OperationId(u64::MAX),
        step: StepNo(u64::MAX),
        item: Item::Domain,
    };
    let lost = DriverError::unknown("lost", "the answer was lost");
    for result in [Ok(Outcome::default()), Err(lost)] {
        let input = Input::Answered { key: key.clone(), sent: Some(rig.now), result };
        let made = decide(record, &facts, &input, rig.now);
        if !made.is_ok_and(|made| !made.changed) {
            return Err(format!("an answer of a stranger changes the VM in {}", record.state));
        }
    }
    Ok(())
}
