//! The first decision about a VM, which [`crate::create`] or [`crate::adopt`] has made, on its way to
//! the VM's runner.

use crate::handle::{EngineError, Replied};
use crate::message::{Birth, Message};
use crate::shared::Shared;
use ostler_model::{OperationId, VmId};
use std::sync::Arc;
use tokio::sync::oneshot;

/// The VM id in the dry run of a creation or an adoption. No VM has it.
pub(crate) const NO_VM: VmId = VmId(u64::MAX);
/// The operation id in a dry run. No operation has it.
pub(crate) const NO_OPERATION: OperationId = OperationId(u64::MAX);

/// Hands the first decision to the VM's runner. From then on it is carried out, even if the caller
/// goes away.
pub(crate) async fn bear(shared: &Arc<Shared>, birth: Birth) -> Result<Replied, EngineError> {
    let (reply, answer) = oneshot::channel();
    let vm = birth.decision.record.id;
    shared.mailboxes.ask(shared, vm, Message::Born(Box::new(birth), reply))?;
    shared.answered(answer).await
}
