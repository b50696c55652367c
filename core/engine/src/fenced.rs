//! Gives up what VMs have left on a host that is lost for good. Each VM's runner does this for its
//! VM.

use crate::handle::EngineError;
use crate::hooks::Sabotage;
use crate::locked::locked;
use crate::message::Message;
use crate::shared::Shared;
use crate::unusable::Unusable;
use futures::StreamExt as _;
use ostler_lifecycle::{NotLost, is_lost};
use ostler_model::{HostId, VmId};
use std::sync::Arc;
use tokio::sync::oneshot;

/// How many VMs do this at once: enough to share the store's transactions.
const AT_ONCE: usize = 64;
/// How many VMs a refusal names at most.
const NAMED_MAX: usize = 10;

/// Makes all VMs give up what they left on `host`.
///
/// # Errors
/// If the host answers, or was not asked yet, or VMs have their placement there: then nothing was
/// changed. If a VM cannot give up what it left: then other VMs may have done so already.
pub(crate) async fn give_up(shared: &Arc<Shared>, host: HostId) -> Result<(), EngineError> {
    let state = shared.directory().hosts.get(&host).map(|known| known.state);
    let answers = locked(&shared.host_health).get(&host).map(|health| health.reachable);
    let (there, left) = on(shared, host)?;
    is_lost(state, answers, there).map_err(|why| not_lost(host, why))?;
    if shared.config.hooks.sabotage == Sabotage::LostForEver {
        return Ok(());
    }
    let mut given_up = futures::stream::iter(left)
        .map(|vm| give_up_one(shared, vm, host))
        .buffer_unordered(AT_ONCE);
    while let Some(answer) = given_up.next().await {
        answer?;
    }
    Ok(())
}

fn not_lost(host: HostId, why: NotLost) -> Unusable {
    match why {
        NotLost::Answers => Unusable::HostAnswers(host),
        NotLost::NotAsked => Unusable::HostNotAsked(host),
        NotLost::HasVms(vms) => {
            let more = vms.len().saturating_sub(NAMED_MAX);
            Unusable::HostHasVms { host, vms: vms.into_iter().take(NAMED_MAX).collect(), more }
        }
    }
}

async fn give_up_one(shared: &Arc<Shared>, vm: VmId, host: HostId) -> Result<(), EngineError> {
    let (reply, answer) = oneshot::channel();
    shared.mailboxes.deliver(shared, vm, Message::HostGone(host, reply)).await;
    shared.answered(answer).await
}

/// The VMs that have a placement on the host, and the VMs that have only left something there.
fn on(shared: &Shared, host: HostId) -> Result<(Vec<VmId>, Vec<VmId>), EngineError> {
    let reader = shared.store.read()?;
    let (mut there, mut left) = (Vec::new(), Vec::new());
    for vm in reader.vms_on_host(host)? {
        let Some(summary) = reader.vm_summary(vm)? else { continue };
        if summary.host == Some(host) || summary.holds_on(host) {
            there.push(vm);
        } else {
            left.push(vm);
        }
    }
    Ok((there, left))
}
