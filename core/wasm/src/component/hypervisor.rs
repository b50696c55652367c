//! A component as a hypervisor driver.

use super::{Component, Request, answer, body, lend};
use crate::convert;
use async_trait::async_trait;
use ostler_driver::{CallControl, ChangeBatch, DomainMetrics, DomainSpec, FileRef, Hypervisor, Listed, Site};
use ostler_model::{Ability, CallResult, DriverError, HostFacts, Observation, VmUuid};
use std::time::{Duration, Instant};

/// For looks at one domain: a hypervisor that does not answer in this time is as good as away.
const OBSERVE: Duration = Duration::from_secs(10);
/// For questions about a whole host.
const ASK_HOST: Duration = Duration::from_secs(30);
/// How much longer than asked for `changes` may take.
const CHANGES_MORE: Duration = Duration::from_secs(10);
/// Longest wait for changes, so that a driver is replaced within this time.
const CHANGES_MAX: Duration = Duration::from_secs(60);

/// A mutating call of one exported function without further arguments.
macro_rules! act {
    ($self:ident, $site:ident, $call:ident, $interface:ident, $function:ident, $name:literal $(, $argument:ident)*) => {{
        let request = Request::act($name, $site, $call);
        let body = body!($self.0.exports, $interface, |guest, store| {
            let lent = lend(store)?;
            guest.$function(store, lent $(, &$argument)*).await
        });
        let given = answer($self.call(request, body).await?)?;
        convert::outcome(given, $call.context.key.vm)
    }};
}

#[async_trait]
impl Hypervisor for Component {
    fn abilities(&self) -> &[Ability] {
        &self.0.abilities
    }

    async fn probe(&self, site: &Site) -> Result<HostFacts, DriverError> {
        let begun = Instant::now();
        let body = body!(self.0.exports, hypervisor, |guest, store| guest.call_probe(store).await);
        let given = answer(self.call(Request::ask("probe", Some(site), ASK_HOST), body).await?)?;
        convert::facts(given, &self.0.abilities, begun.elapsed())
    }

    async fn deploy(&self, site: &Site, call: &CallControl, domain: &DomainSpec) -> CallResult {
        let domain = convert::domain(domain);
        act!(self, site, call, hypervisor, call_deploy, "deploy", domain)
    }

    async fn press_power(&self, site: &Site, call: &CallControl) -> CallResult {
        act!(self, site, call, hypervisor, call_press_power, "press-power")
    }

    async fn destroy(&self, site: &Site, call: &CallControl) -> CallResult {
        act!(self, site, call, hypervisor, call_destroy, "destroy")
    }

    async fn remove(&self, site: &Site, call: &CallControl) -> CallResult {
        act!(self, site, call, hypervisor, call_remove, "remove")
    }

    async fn reboot(&self, site: &Site, call: &CallControl) -> CallResult {
        if self.0.exports.reboot.is_none() {
            return Err(self.unable(Ability::Reboot));
        }
        act!(self, site, call, reboot, call_reboot, "reboot")
    }

    async fn reset(&self, site: &Site, call: &CallControl) -> CallResult {
        if self.0.exports.reboot.is_none() {
            return Err(self.unable(Ability::Reboot));
        }
        act!(self, site, call, reboot, call_reset, "reset")
    }

    async fn save(&self, site: &Site, call: &CallControl, file: &FileRef) -> CallResult {
        if self.0.exports.suspend.is_none() {
            return Err(self.unable(Ability::Suspend));
        }
        let file = convert::file(file);
        act!(self, site, call, suspend, call_save, "save", file)
    }

    async fn restore(&self, site: &Site, call: &CallControl, domain: &DomainSpec, file: &FileRef) -> CallResult {
        if self.0.exports.suspend.is_none() {
            return Err(self.unable(Ability::Suspend));
        }
        let (domain, file) = (convert::domain(domain), convert::file(file));
        act!(self, site, call, suspend, call_restore, "restore", domain, file)
    }

    async fn unpause(&self, site: &Site, call: &CallControl) -> CallResult {
        if self.0.exports.suspend.is_none() {
            return Err(self.unable(Ability::Suspend));
        }
        act!(self, site, call, suspend, call_unpause, "unpause")
    }

    async fn observe(&self, site: &Site, vm: VmUuid) -> Result<Observation, DriverError> {
        if self.0.side.orphans.busy(vm) {
            return Err(DriverError::retry("busy", format!("a call for {vm} that was dropped may still be at work on the host")));
        }
        let name = vm.to_string();
        let body = body!(self.0.exports, hypervisor, |guest, store| guest.call_observe(store, &name).await);
        let given = answer(self.call(Request::ask("observe", Some(site), OBSERVE), body).await?)?;
        convert::observation(given, Some(vm))
    }

    async fn list(&self, site: &Site) -> Result<Listed, DriverError> {
        let body = body!(self.0.exports, hypervisor, |guest, store| guest.call_list(store).await);
        let given = answer(self.call(Request::ask("list", Some(site), ASK_HOST), body).await?)?;
        convert::listed(given)
    }

    async fn changes(&self, site: &Site, cursor: u64, wait: Duration) -> Result<ChangeBatch, DriverError> {
        if self.0.exports.changes.is_none() {
            return Err(self.unable(Ability::Changes));
        }
        let wait = wait.min(CHANGES_MAX);
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let body = body!(self.0.exports, changes, |guest, store| guest.call_changes(store, cursor, wait_ms).await);
        let given = answer(self.call(Request::ask("changes", Some(site), wait + CHANGES_MORE), body).await?)?;
        convert::changes(given)
    }

    async fn metrics(&self, site: &Site) -> Result<Vec<DomainMetrics>, DriverError> {
        if self.0.exports.metrics.is_none() {
            return Err(self.unable(Ability::Metrics));
        }
        let body = body!(self.0.exports, metrics, |guest, store| guest.call_sample(store).await);
        let given = answer(self.call(Request::ask("metrics", Some(site), ASK_HOST), body).await?)?;
        convert::metrics(given)
    }
}
