//! Writes the journal of a decision into the records of its operations.

use ostler_lifecycle::Decision;
use ostler_model::{Journal, OperationId, OperationRecord};
use std::collections::BTreeMap;

/// The operations that a VM's first decision has begun.
pub(crate) fn born(decision: &Decision) -> Vec<OperationRecord> {
    let mut operations = BTreeMap::new();
    note(&mut operations, decision);
    operations.into_values().collect()
}

/// Writes the decision's journal into the records of the operations. Answers which operations were
/// changed.
pub(crate) fn note(
    operations: &mut BTreeMap<OperationId, OperationRecord>,
    decision: &Decision,
) -> Vec<OperationId> {
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
