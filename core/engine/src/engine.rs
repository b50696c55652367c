//! The public interface of the engine.

use crate::arguments;
use crate::handle::{
    ActionRequest, AdoptRequest, CreateRequest, EngineError, Explained, HostHealth, Idempotency,
    Preview, Reconciliation, Replied, SnapshotAdvice, WAIT_MAX, Waited,
};
use crate::hooks::Sabotage;
use crate::hosts::abilities;
use crate::locked::locked;
use crate::message::Message;
use crate::rules;
use crate::seen::elsewhere;
use crate::shared::Shared;
use crate::{
    EngineConfig, adopt, answers, create, drivers, identity, monitor, preview, restored, retention,
    runner, scheduler, timers, watchdog,
};
use ostler_driver::{Registry, Site};
use ostler_lifecycle::{Facts, LastError, presumed, why_with};
use ostler_model::{
    Cause, Ended, EventKind, Hint, Host, HostId, HostName, HypervisorId, OperationId,
    OperationRecord, Refusal, RefusalKind, Verb, VmId,
};
use ostler_store::{Commit, CommitError, Committed, EventDraft, Health, ResourceChange, Store};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};

/// How many VMs may look at once, after a start, whether they have something to go on with. Each
/// reads its record and commits. More at once would only pile up.
const WAKES_AT_ONCE: usize = 256;
/// How long a shutdown waits for tasks that have not ended.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(10);

/// An action that follows a commit.
type Then = Box<dyn FnOnce() + Send>;

/// The lifecycle engine. Cheap to clone; all clones are the same engine.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

impl Engine {
    /// Starts the engine on an open store. VMs that had an operation in hand go on by themselves.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn start(
        config: EngineConfig,
        store: Store,
        drivers: Registry,
    ) -> Result<Self, EngineError> {
        let shared = Arc::new(Shared::new(config, store, drivers, |shared, vm, inbox| {
            Box::pin(runner::run(shared, vm, inbox))
        })?);
        let reader = shared.store.read()?;
        if shared.config.hooks.sabotage != Sabotage::TimersLost {
            for (due, vm) in reader.timers_all()? {
                shared.timers.set(vm, Some(due));
            }
        }
        let active = reader.active_vms()?;
        // A call that the previous process dropped may still be at work, although no call is open.
        // So before this process sends the first mutating call for a VM to a host where something
        // of the VM is or may be, it looks at the VM there.
        for host in shared.directory().hosts.keys() {
            for vm in reader.vms_on_host(*host)? {
                shared.executor.maybe_running.mark(vm, [*host]);
                shared.executor.maybe_running.inherit([vm]);
            }
        }
        shared.executor.maybe_running.inherit(reader.vms_live()?);
        drop(reader);
        shared.supervise("timers", timers::run);
        shared.supervise("monitor", monitor::run);
        shared.supervise("scheduler", scheduler::run);
        shared.supervise("retention", retention::run);
        shared.supervise("earlier drivers", drivers::retire);
        shared.supervise("reconciliation after a restore", restored::run);
        if shared.config.hooks.sabotage.is_watched() {
            shared.supervise("watchdog", watchdog::run);
        }
        let waker = Arc::clone(&shared);
        shared.spawn(async move {
            let places = Arc::new(Semaphore::new(WAKES_AT_ONCE));
            for vm in active {
                // The semaphore is never closed.
                let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
                waker.mailboxes.deliver(&waker, vm, Message::Wake(place)).await;
            }
        });
        Ok(Self { shared })
    }

    /// Creates a VM. The answer is given after the commit.
    ///
    /// # Errors
    /// Refusals change nothing.
    pub async fn create(
        &self,
        request: CreateRequest,
        idempotency: Option<Idempotency>,
    ) -> Result<Replied, EngineError> {
        create::create_vm(&self.shared, request, idempotency).await
    }

    /// Adopts a domain: makes a VM of a domain that somebody else made. The answer is given after
    /// the commit. The domain is stamped after that.
    ///
    /// # Errors
    /// Refusals change nothing, and the domain stays as it is.
    pub async fn adopt(
        &self,
        request: AdoptRequest,
        idempotency: Option<Idempotency>,
    ) -> Result<Replied, EngineError> {
        adopt::adopt_domain(&self.shared, request, idempotency).await
    }

    /// Lists how a domain would differ from its next start on, if it were adopted. Nothing is
    /// changed.
    ///
    /// # Errors
    /// As [`Self::adopt`], but for the changes themselves.
    pub async fn adoptable(&self, request: &AdoptRequest) -> Result<Vec<String>, EngineError> {
        adopt::changes_of(&self.shared, request).await
    }

    /// Asks for an action on a VM. The answer is given after the commit.
    ///
    /// # Errors
    /// Refusals change nothing.
    pub async fn act(
        &self,
        vm: VmId,
        request: ActionRequest,
        idempotency: Option<Idempotency>,
    ) -> Result<Replied, EngineError> {
        // Not only what needs a commit: another daemon decides by now.
        if let Health::NotInCharge { why } = self.shared.store.health() {
            return Err(CommitError::NotInCharge { why }.into());
        }
        if let Some(key) = &idempotency
            && let Some(replied) = answers::replay(&self.shared, key)?
        {
            return Ok(replied);
        }
        let (reply, answer) = oneshot::channel();
        self.shared.mailboxes.ask(
            &self.shared,
            vm,
            Message::Request(request, idempotency, reply),
        )?;
        self.shared.answered(answer).await
    }

    /// The result of a dry run of an action. Changes nothing.
    ///
    /// # Errors
    /// If the VM does not exist, the store is read-only, or a resource would refuse the action
    /// itself. Every other refusal is part of the answer.
    pub async fn preview(&self, vm: VmId, request: ActionRequest) -> Result<Preview, EngineError> {
        let (reply, answer) = oneshot::channel();
        self.shared.mailboxes.ask(&self.shared, vm, Message::Preview(request, reply))?;
        self.shared.answered(answer).await
    }

    /// The result of a dry run of a creation. Changes nothing.
    ///
    /// # Errors
    /// As [`Engine::create`] would refuse it.
    pub async fn preview_create(&self, request: CreateRequest) -> Result<Preview, EngineError> {
        preview::creation(&self.shared, request).await
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Changes a resource that is not a VM. A change that was begun is carried out, and the
    /// engine's directory follows it, even if the caller goes away.
    ///
    /// # Errors
    /// Refusals change nothing.
    pub async fn change(&self, change: ResourceChange, by: &str) -> Result<(), EngineError> {
        self.carry_out(change, by, None).await
    }

    /// The same, and calls `then` after the commit, even if the caller is gone by then. If several
    /// changes are made by this, their `then` are called in the order of the commits.
    ///
    /// # Errors
    /// Refusals change nothing, and `then` is not called.
    pub async fn change_then(
        &self,
        change: ResourceChange,
        by: &str,
        then: impl FnOnce() + Send + 'static,
    ) -> Result<(), EngineError> {
        self.carry_out(change, by, Some(Box::new(then))).await
    }

    /// Removes a host that the operator states to be fenced and not to come back. Ostler no longer
    /// waits to sweep what VMs left there. If VMs have their placement there, the removal is
    /// refused and names them; these VMs are not changed.
    ///
    /// # Errors
    /// Refusals change nothing. If it fails half-way, ask again.
    pub async fn remove_fenced(&self, host: HostId, by: &str) -> Result<(), EngineError> {
        let shared = Arc::clone(&self.shared);
        self.shared.outlive(async move { crate::fenced::give_up(&shared, host).await }).await?;
        self.change(
            ResourceChange::HostRemove(host),
            &format!("{by}, who stated that it is fenced"),
        )
        .await
    }

    async fn carry_out(
        &self,
        change: ResourceChange,
        by: &str,
        then: Option<Then>,
    ) -> Result<(), EngineError> {
        let kind = describe(&change, by);
        let event = EventDraft { at: self.shared.now(), vm: None, version: None, kind };
        let commit = Commit { resources: vec![change], events: vec![event], ..Commit::default() };
        let shared = Arc::clone(&self.shared);
        let task = async move {
            // Only changes that have a `then` take turns. The others can share a transaction.
            let _turn = if then.is_some() { Some(shared.changes.lock().await) } else { None };
            match shared.store.commit(commit).await? {
                Committed::Refused(refused) => return Err(refused.into()),
                Committed::Applied { .. }
                | Committed::Stale { .. }
                | Committed::ClaimRefused(_)
                | Committed::Replayed(_)
                | Committed::IdempotencyConflict => {}
            }
            if let Some(then) = then {
                then();
            }
            shared.reload_directory()
        };
        self.shared.outlive(task).await
    }

    /// The hosts and VMs that are still waited for since the store was restored from a backup. None
    /// if all VMs are reconciled.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn restored(&self) -> Result<Option<Reconciliation>, EngineError> {
        restored::view(&self.shared)
    }

    /// A person states that the record of a VM is right: a newer domain on another host is not the
    /// VM.
    ///
    /// # Errors
    /// When there is no such VM, or the store cannot be written.
    pub async fn accept_record(&self, vm: VmId, by: String) -> Result<(), EngineError> {
        let (reply, answer) = oneshot::channel();
        self.shared.mailboxes.ask(&self.shared, vm, Message::Accept(by, reply))?;
        self.shared.answered(answer).await
    }

    /// Waits until an operation has ended, at most `patience` and at most [`WAIT_MAX`].
    ///
    /// # Errors
    /// When there is no such operation.
    pub async fn wait(
        &self,
        operation: OperationId,
        patience: Duration,
    ) -> Result<Waited, EngineError> {
        let mut end = self.shared.on_end(operation);
        let running = self.waited(operation, false)?;
        if running.operation.ended.is_some() {
            return Ok(running);
        }
        end.at_most(patience.min(WAIT_MAX)).await;
        let waited = self.waited(operation, false)?;
        let timed_out = waited.operation.ended.is_none();
        Ok(Waited { timed_out, ..waited })
    }

    fn waited(&self, operation: OperationId, timed_out: bool) -> Result<Waited, EngineError> {
        let reader = self.shared.store.read()?;
        let found = reader.operation(operation)?.ok_or(EngineError::NoSuchOperation(operation))?;
        let vm = reader.vm_summary(found.vm)?.ok_or(EngineError::NoSuchVm(found.vm))?;
        Ok(Waited { operation: found, timed_out, state: vm.state, version: vm.version })
    }

    /// Explains what a VM waits for.
    ///
    /// # Errors
    /// When there is no such VM.
    pub fn why(&self, vm: VmId) -> Result<Explained, EngineError> {
        let reader = self.shared.store.read()?;
        let record = reader.vm(vm)?.ok_or(EngineError::NoSuchVm(vm))?;
        let place = record.placement.as_ref();
        let silent = place
            .and_then(|place| self.host_health(place.host))
            .is_some_and(|health| !health.reachable);
        let abilities = place.and_then(|place| abilities(&self.shared, place.host, &place.driver));
        let elsewhere = elsewhere(&self.shared, &record);
        let mut why =
            why_with(&record, &Facts { abilities, elsewhere, ..presumed(&record, silent) });
        if why.last_error.is_none() && record.operation.is_none() {
            why.last_error = reader.operations_of(vm, 1)?.first().and_then(failed);
        }
        let progress =
            record.open.iter().find_map(|open| self.shared.executor.in_flight.progress(&open.key));
        let queued =
            record.open.iter().find_map(|open| self.shared.executor.in_flight.queued(&open.key));
        let queued = queued.map(|since| self.shared.now().since(since));
        Ok(Explained { vm, why, progress, queued, scheduler: self.shared.scheduler.said(vm) })
    }

    /// Asks the snapshot rules of the VM's host or driver whether a snapshot may be made now.
    ///
    /// # Errors
    /// When there is no such VM, or no rules are bound.
    pub async fn snapshot_advice(&self, vm: VmId) -> Result<SnapshotAdvice, EngineError> {
        let reader = self.shared.store.read()?;
        let record = reader.vm(vm)?.ok_or(EngineError::NoSuchVm(vm))?;
        drop(reader);
        if record.placement.is_none() {
            return Err(no_rules(vm, false));
        }
        let Some(rules) = rules::bound(&self.shared, &record) else {
            return Err(no_rules(vm, true));
        };
        let advice =
            rules::advise(&self.shared, &record, "snapshot-create", record.state, None).await;
        let refused = match advice {
            Some(Ok(advice)) => advice.refused,
            // If the rules give no answer or trap, this counts as a refusal.
            Some(Err(error)) => Some(format!("the rules {rules} gave no answer: {}", error.told())),
            None => Some(format!("the rules {rules} are not bound any more")),
        };
        Ok(SnapshotAdvice { rules: rules.to_string(), refused })
    }

    /// The monitor's view of a host. None before the host was asked for the first time.
    #[must_use]
    pub fn host_health(&self, host: HostId) -> Option<HostHealth> {
        let mut health = locked(&self.shared.host_health).get(&host).cloned()?;
        if let Some(other) = self.shared.directory().twin_of(host) {
            health.error.get_or_insert_with(|| identity::is_a_twin(other));
        }
        if let Some((_, told)) = self.shared.superseded_at.get().filter(|(at, _)| *at == host) {
            health.error = Some(told.clone());
        }
        Some(health)
    }

    /// Asks which hypervisor a host would be. None if its driver cannot say, or it does not answer
    /// soon.
    pub async fn identify(&self, host: &Host) -> Option<HypervisorId> {
        identity::ask(&self.shared, host).await
    }

    /// The store, for reading.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    /// The loaded drivers.
    #[must_use]
    pub fn drivers(&self) -> &Registry {
        &self.shared.drivers
    }

    /// A host's site by name, for drivers that fetch files from one host to another.
    #[must_use]
    pub fn site_by_name(&self, name: &HostName) -> Option<Arc<Site>> {
        self.shared.directory().site_by_name(name)
    }

    /// A host's site.
    #[must_use]
    pub fn site(&self, host: HostId) -> Option<Arc<Site>> {
        self.shared.directory().site(host)
    }

    /// Puts an event into the feed that is not about a VM.
    pub async fn tell(&self, kind: EventKind) {
        self.shared.tell(kind).await;
    }

    /// The host of a VM, and the absolute path of its console log there. None if the VM has no
    /// placement.
    #[must_use]
    pub fn console_log(&self, vm: VmId) -> Option<(HostId, String)> {
        let record = self.shared.store.read().ok()?.vm(vm).ok()??;
        arguments::console_log(&self.shared, &record)
    }

    /// Ends the engine as `kill -9` would: every task stops at its next await. For tests.
    #[doc(hidden)]
    pub async fn abort(&self) {
        self.shared.kill();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// Ends the engine. No new calls are sent. Calls that are in flight stay open, and the next
    /// start looks what came of them.
    pub async fn shutdown(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        if tokio::time::timeout(SHUTDOWN_WAIT, self.shared.tasks.wait()).await.is_err() {
            tracing::warn!(
                "some driver calls have not ended; the next start looks what came of them"
            );
        }
    }
}

/// The error of the last operation, if it failed. A VM at rest does not keep it in its record.
fn failed(operation: &OperationRecord) -> Option<LastError> {
    let Some(Ended::Failed { error }) = &operation.outcome else { return None };
    let (verb, step, error) = (operation.verb, operation.failed_at(), error.clone());
    Some(LastError::Earlier { operation: operation.id, verb, step, error })
}

fn no_rules(vm: VmId, has_host: bool) -> EngineError {
    let (kind, verb) = (RefusalKind::Rules, Verb::SnapshotCreate);
    EngineError::Refused(Refusal {
        kind,
        verb,
        vm,
        cause: Cause::NoRulesToAsk { has_host },
        hint: Hint::DeployAndBindRules,
    })
}

/// The event for a change of a resource.
fn describe(change: &ResourceChange, by: &str) -> EventKind {
    let (resource, name, what) = match change {
        ResourceChange::HostPut(host) => ("host", host.name.to_string(), "changed"),
        ResourceChange::HostEdit { id, .. } => ("host", id.to_string(), "changed"),
        ResourceChange::HostProbed { id, .. } => ("host", id.to_string(), "changed"),
        ResourceChange::HostIdentified { id, .. } => ("host", id.to_string(), "changed"),
        ResourceChange::HostRemove(id) => ("host", id.to_string(), "removed"),
        ResourceChange::DatastorePut(store) => ("datastore", store.name.to_string(), "changed"),
        ResourceChange::DatastoreRemove(id) => ("datastore", id.to_string(), "removed"),
        ResourceChange::ImagePut(image) => ("image", image.name.to_string(), "changed"),
        ResourceChange::ImageSetState { id, .. } => ("image", id.to_string(), "changed"),
        ResourceChange::ImageRemove(id) | ResourceChange::ImageDiscard(id) => {
            ("image", id.to_string(), "removed")
        }
        ResourceChange::TokenPut(token) => ("token", token.name.clone(), "changed"),
        ResourceChange::TokenRemove(name) => ("token", name.clone(), "removed"),
        ResourceChange::DriverPut(driver) => ("driver", driver.name.to_string(), "changed"),
        ResourceChange::DriverRemove(name) => ("driver", name.to_string(), "removed"),
        ResourceChange::RulesBind(binding) => ("rules", binding.hypervisor.to_string(), "changed"),
        ResourceChange::RulesUnbind(name) => ("rules", name.to_string(), "removed"),
        // Its name and whose it is, and never its value.
        ResourceChange::SecretPut(secret) => ("secret", secret.key.to_string(), "changed"),
        ResourceChange::SecretRemove(key) => ("secret", key.to_string(), "removed"),
        ResourceChange::VmForget(id) => ("vm", id.to_string(), "removed"),
        ResourceChange::RestoreOver => ("restore", "of the store".to_owned(), "over"),
    };
    EventKind::Resource {
        resource: resource.to_owned(),
        name,
        change: what.to_owned(),
        detail: format!("by {by}"),
    }
}
