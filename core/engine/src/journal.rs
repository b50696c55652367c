//! Writes the journal of a decision into the records of its operations.

use ostler_lifecycle::Decision;
use ostler_model::{Journal, OperationId, OperationRecord};
use std::collections::BTreeMap;

/// The operations of a VM that have not ended.
pub(crate) type Operations = BTreeMap<OperationId, OperationRecord>;

/// Writes the decision's journal into the records of the operations. Answers which operations were
/// changed.
pub(crate) fn note(operations: &mut Operations, decision: &Decision) -> Vec<OperationId> {
    let mut touched = Vec::new();
    for entry in &decision.journal {
        let id = entry.operation();
        if !touched.contains(&id) {
            touched.push(id);
        }
        if let Journal::Began { operation, verb, by, at } = entry {
            let fresh = OperationRecord {
                id: *operation,
                vm: decision.record.id,
                verb: Some(*verb),
                by: by.clone(),
                began: *at,
                ended: None,
                outcome: None,
                steps: Vec::new(),
            };
            operations.insert(id, fresh);
        }
        if let Some(operation) = operations.get_mut(&id) {
            operation.note(entry);
        }
    }
    touched
}
