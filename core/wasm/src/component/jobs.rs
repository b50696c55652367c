//! Command jobs, as the calls of a component meet them: a call for another step of a VM ends them, and
//! no look at a VM is answered while one is at work.

use super::Component;
use crate::capability::Env;
use crate::convert;
use crate::instance::State;
use crate::jobs::{JobError, Jobs};
use ostler_driver::Site;
use ostler_model::{DriverError, VmUuid};
use std::collections::BTreeSet;
use tokio_util::sync::CancellationToken;
use wasmtime::component::InstancePre;
use wasmtime::component::types::ComponentItem;

/// The interface with the function that begins a job, in each version of the contract.
const EXEC: &str = "ostler:driver/exec@";

/// Whether a component can begin command jobs. One that cannot pays nothing for them.
pub(super) fn begins_jobs(pre: &InstancePre<State>) -> bool {
    let engine = pre.engine();
    pre.component().component_type().imports(engine).any(|(name, import)| {
        name.starts_with(EXEC)
            && matches!(import.ty, ComponentItem::ComponentInstance(instance)
                if instance.exports(engine).any(|(function, _)| function == "start"))
    })
}

impl Component {
    /// Ends the jobs of earlier steps of the VM on the host of a call for an effect.
    pub(super) async fn settle(&self, env: &Env) -> Result<(), DriverError> {
        let (Some(site), Some(control)) = (&env.site, &env.control) else {
            return Ok(());
        };
        let (stop, vm) = (env.stop(), control.context.key.vm);
        // A call that only looks is not held to its epoch, so nothing is ended without need.
        if !self.jobs_at_work(site).await?.contains(&vm) {
            return Ok(());
        }
        let all = Jobs { charge: env.charge.clone(), ..jobs(self, site, &stop) };
        let settled = all.settle(env.driver(), &control.context).await;
        settled.map_err(told)
    }

    /// The VMs for which jobs of this driver are at work on a host.
    pub(super) async fn jobs_at_work(&self, site: &Site) -> Result<BTreeSet<VmUuid>, DriverError> {
        let side = &self.0.side;
        // Without the grant it has begun none.
        if !side.begins_jobs || !side.grants.has("exec") {
            return Ok(BTreeSet::new());
        }
        let found = jobs(self, site, &CancellationToken::new()).at_work(&side.manifest.name).await;
        found.map_err(told)
    }
}

fn jobs<'a>(component: &'a Component, site: &'a Site, stop: &'a CancellationToken) -> Jobs<'a> {
    let services = &component.0.side.services;
    let (transports, via) = (&services.transports, &site.transport);
    Jobs { transports, via, folder: &services.jobs_folder, charge: None, stop }
}

/// The answer to a look at a VM for which a job is at work.
pub(super) fn at_work(vm: VmUuid, site: &Site) -> DriverError {
    let detail = format!("a command job of VM {vm} is at work on host {}", site.name);
    DriverError::retry("busy", detail)
}

fn told(error: JobError) -> DriverError {
    convert::error(error.into())
}
