//! The promises about operations: each goes on, each begins once, and none fails for a call that
//! was never sent.

use super::Run;
use super::watch::{Violation, must, said};
use ostler_model::{
    DriverError, ErrorKind, Event, EventKind, OperationId, Version, VmId, VmRecord,
};
use ostler_store::Reader;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::Instant;

/// The record of a VM with an operation must change within this time, because each call is answered
/// and each wait ends.
const MOVES_WITHIN: Duration = Duration::from_secs(3600);

/// The version of each VM that has an operation, and when it was seen first.
pub(crate) type Worked = BTreeMap<VmId, (Version, Instant)>;

impl Run {
    /// Checks that each VM with an operation goes on.
    pub(crate) fn worked(&mut self) -> Result<(), Violation> {
        let (records, now) = (self.records()?, Instant::now());
        let busy = |record: &&Rc<VmRecord>| record.operation.is_some() && !record.is_unreconciled();
        let mut worked = Worked::new();
        for record in records.iter().filter(busy) {
            let goes_on = !record.open.is_empty() || record.next_due().is_some();
            must!(
                goes_on,
                "idle: VM {} has an operation, no open call and no timer: {:?}",
                record.id,
                record.operation
            );
            let seen =
                self.worked.get(&record.id).filter(|(version, _)| *version == record.version);
            let (version, since) = seen.copied().unwrap_or((record.version, now));
            worked.insert(record.id, (version, since));
            if now - since > MOVES_WITHIN {
                return Err(format!(
                    "idle: nothing happens to VM {} any more: {:?}",
                    record.id, record.operation
                ));
            }
            if since == now {
                let why = self.life.engine().why(record.id).map_err(|error| error.to_string())?.why;
                must!(
                    !why.waits_for.is_empty(),
                    "untold: VM {} has an operation, and nobody says for what it waits",
                    record.id
                );
            }
        }
        self.worked = worked;
        Ok(())
    }

    /// Takes note of an event of the feed.
    pub(crate) fn happened(&mut self, reader: &Reader, event: &Event) -> Result<(), Violation> {
        match &event.kind {
            EventKind::StoreRestored { .. } => self.untold = false,
            EventKind::OperationBegan { operation, .. } => {
                let before = self.began.insert(*operation, self.life.lives);
                must!(before.is_none(), "doubled: operation {operation} begins a second time");
            }
            EventKind::OperationEnded { operation, error, .. } => {
                self.stats.operations += 1;
                if let (Some(error), Some(vm)) = (error, event.vm) {
                    return self.was_sent(reader, vm, *operation, error);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Checks that a driver has seen the call for which the operation has failed.
    fn was_sent(
        &self,
        reader: &Reader,
        vm: VmId,
        operation: OperationId,
        error: &DriverError,
    ) -> Result<(), Violation> {
        // A call counts as sent if it was open when the daemon died or when its runner panicked.
        // Otherwise a call that kills the daemon would have no deadline.
        if self.weather.panic > 0 || self.began.get(&operation) != Some(&self.life.lives) {
            return Ok(());
        }
        // The daemon itself makes the first five errors: the store was restored, the daemon died
        // while the call was open (the watch may have heard of the operation in the next life
        // only), or a host did not answer the look before the call or the looks after a restart.
        // The other two come from the operator. A definite error is always the answer of a driver.
        const NOT_OF_A_DRIVER: [&str; 7] = [
            "restored",
            "restarted",
            "earlier-call",
            "cannot-ask",
            "unreachable",
            "operator",
            "undone",
        ];
        if NOT_OF_A_DRIVER.contains(&error.code.as_str())
            || !matches!(error.kind, ErrorKind::Retry | ErrorKind::Unknown)
        {
            return Ok(());
        }
        let (Some(record), Some(kept)) =
            (reader.vm(vm).map_err(said)?, reader.operation(operation).map_err(said)?)
        else {
            return Ok(());
        };
        let Some(failed) = kept.steps.iter().find(|step| step.failed && !step.undoing) else {
            return Ok(());
        };
        let sent = self.life.fake.has_call(|call| {
            call.key.as_ref().is_some_and(|key| {
                key.vm == record.uuid && key.operation == operation && key.step == failed.step
            })
        });
        must!(
            sent,
            "starved: operation {operation} of VM {vm} failed at step {}, which was never sent: \
             {error}",
            failed.kind
        );
        Ok(())
    }
}
