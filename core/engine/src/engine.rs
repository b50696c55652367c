//! The engine's outside.

use crate::calls;
use crate::facts::abilities;
use crate::handle::{
    ActionRequest, AdoptRequest, CreateRequest, DriverHealth, EngineError, Explained, HostHealth, Idempotency, Preview, Replied,
    Restored, SnapshotAdvice, WAIT_MAX, Waited,
};
use crate::mailbox::Message;
use crate::rules;
use crate::shared::{Shared, locked};
use crate::{EngineConfig, answers, birth, identity, monitor, preview, restored, retention, scheduler, timers, watchdog};
use ostler_driver::{Registry, Site};
use ostler_lifecycle::{Facts, presumed, why_with};
use ostler_model::{
    DriverName, Ended, EventKind, Host, HostId, HostName, HypervisorId, OperationId, OperationRecord, Refusal, RefusalKind, Verb,
    VmId,
};
use ostler_store::{Commit, Committed, EventDraft, ResourceChange, Store};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};

/// VMs that look at once for what a start has to go on with: each reads its record and commits; more only makes a heap of them.
const WAKES_AT_ONCE: usize = 256;
/// How long an end waits for what is in hand.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(10);

/// Something that follows a commit.
type Then = Box<dyn FnOnce() + Send>;

/// The lifecycle engine. Cheap to clone; all clones are the same engine.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

impl Engine {
    /// Starts the engine on an open store: VMs that were in flight go on by themselves.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn start(config: EngineConfig, store: Store, drivers: Registry) -> Result<Self, EngineError> {
        let shared = Arc::new(Shared::new(config, store, drivers)?);
        let reader = shared.store.read()?;
        for (due, vm) in reader.timers_all()? {
            shared.timers.set(vm, Some(due));
        }
        let active = reader.active_vms()?;
        // A call that the last life dropped may be at work though nothing stands open any more: before the first mutating call of this
        // life, each VM that has a place is looked at once.
        for host in shared.directory().hosts.keys() {
            for vm in reader.vms_on_host(*host)? {
                shared.executor.haunt(vm, [*host]);
            }
        }
        drop(reader);
        shared.supervise("timers", timers::run);
        shared.supervise("monitor", monitor::run);
        shared.supervise("scheduler", scheduler::run);
        shared.supervise("retention", retention::run);
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
    pub async fn create(&self, request: CreateRequest, idempotency: Option<Idempotency>) -> Result<Replied, EngineError> {
        birth::create_vm(&self.shared, request, idempotency).await
    }

    /// Makes a domain that somebody else made a VM. The answer is given after the commit; the domain is stamped after that.
    ///
    /// # Errors
    /// Refusals change nothing, and the domain stays as it is.
    pub async fn adopt(&self, request: AdoptRequest, idempotency: Option<Idempotency>) -> Result<Replied, EngineError> {
        birth::adopt_domain(&self.shared, request, idempotency).await
    }

    /// In what a domain would be another machine from its next start on, if it were adopted. Nothing is changed.
    ///
    /// # Errors
    /// As [`Self::adopt`], but for the changes themselves.
    pub async fn adoptable(&self, request: &AdoptRequest) -> Result<Vec<String>, EngineError> {
        birth::changes_of(&self.shared, request).await
    }

    /// Asks something of a VM. The answer is given after the commit.
    ///
    /// # Errors
    /// Refusals change nothing.
    pub async fn act(&self, vm: VmId, request: ActionRequest, idempotency: Option<Idempotency>) -> Result<Replied, EngineError> {
        if let Some(key) = &idempotency
            && let Some(replied) = answers::replay(&self.shared, key)?
        {
            return Ok(replied);
        }
        let (reply, answer) = oneshot::channel();
        self.shared.mailboxes.ask(&self.shared, vm, Message::Request(request, idempotency, reply))?;
        self.shared.answered(answer).await
    }

    /// What would happen. Changes nothing.
    ///
    /// # Errors
    /// When the VM is not there, the store is read-only, or a resource would refuse it as it would refuse the act; every other refusal is
    /// part of the answer.
    pub async fn preview(&self, vm: VmId, request: ActionRequest) -> Result<Preview, EngineError> {
        let (reply, answer) = oneshot::channel();
        self.shared.mailboxes.ask(&self.shared, vm, Message::Preview(request, reply))?;
        self.shared.answered(answer).await
    }

    /// What a creation would make. Changes nothing.
    ///
    /// # Errors
    /// As [`Engine::create`] would refuse it.
    pub async fn preview_create(&self, request: CreateRequest) -> Result<Preview, EngineError> {
        preview::creation(&self.shared, request).await
    }

    /// Changes a resource that is no VM. A change that was begun is carried out and taken note of, whatever becomes of the one who asks.
    ///
    /// # Errors
    /// Refusals change nothing.
    pub async fn change(&self, change: ResourceChange, by: &str) -> Result<(), EngineError> {
        self.carry_out(change, by, None).await
    }

    /// The same, and `then` follows the commit, even if the one who asks is gone by then. Of several changes made by this, what
    /// follows them comes in the order of their commits.
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

    /// Removes a host that the operator states to be fenced and not to come back: what VMs left there is not waited for any more. VMs that
    /// have their place there are not touched: they are named, and it is refused.
    ///
    /// # Errors
    /// Refusals change nothing. When it fails half-way, it is asked again.
    pub async fn remove_fenced(&self, host: HostId, by: &str) -> Result<(), EngineError> {
        let shared = Arc::clone(&self.shared);
        self.shared.outlive(async move { crate::fenced::give_up(&shared, host).await }).await?;
        self.change(ResourceChange::HostRemove(host), &format!("{by}, who stated that it is fenced")).await
    }

    async fn carry_out(&self, change: ResourceChange, by: &str, then: Option<Then>) -> Result<(), EngineError> {
        let kind = describe(&change, by);
        let event = EventDraft { at: self.shared.now(), vm: None, version: None, kind };
        let commit = Commit { resources: vec![change], events: vec![event], ..Commit::default() };
        let shared = Arc::clone(&self.shared);
        let task = async move {
            // Only those that something follows: the others share a transaction.
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

    /// What is not reconciled since the store was restored from a backup; none if all is.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn restored(&self) -> Result<Option<Restored>, EngineError> {
        restored::view(&self.shared)
    }

    /// A person says that the record of a VM is right: a newer domain on another host is not the VM.
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
    pub async fn wait(&self, operation: OperationId, patience: Duration) -> Result<Waited, EngineError> {
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

    /// What a VM waits for, in words.
    ///
    /// # Errors
    /// When there is no such VM.
    pub fn why(&self, vm: VmId) -> Result<Explained, EngineError> {
        let reader = self.shared.store.read()?;
        let record = reader.vm(vm)?.ok_or(EngineError::NoSuchVm(vm))?;
        let place = record.placement.as_ref();
        let silent = place.and_then(|place| self.host_health(place.host)).is_some_and(|health| !health.reachable);
        let abilities = place.and_then(|place| abilities(&self.shared, place.host, &place.driver));
        let elsewhere = self.shared.seen.elsewhere(&record, self.shared.store.id());
        let mut why = why_with(&record, &Facts { abilities, elsewhere, ..presumed(&record, silent) });
        if why.last_error.is_none() && record.operation.is_none() {
            why.last_error = reader.operations_of(vm, 1)?.first().and_then(failed);
        }
        let progress = record.open.iter().find_map(|open| self.shared.executor.progress(&open.key));
        if let (Some(waits), Some(progress)) = (&mut why.waits_for, progress) {
            waits.push_str(&format!("; {}: {} of {}", progress.phase, progress.done, progress.total));
        }
        let queued = record.open.iter().find_map(|open| self.shared.executor.queued(&open.key));
        if let (Some(waits), Some(since)) = (&mut why.waits_for, queued) {
            let so_far = self.shared.now().since(since);
            waits.push_str(&format!(
                "; it is not sent yet: for {so_far} it has waited for earlier calls of this driver and host to end"
            ));
        }
        Ok(Explained { vm, why, scheduler: self.shared.wishes.said(vm) })
    }

    /// What the snapshot rules bound to the VM's driver say to a snapshot now.
    ///
    /// # Errors
    /// When there is no such VM, or no rules are bound.
    pub async fn snapshot_advice(&self, vm: VmId) -> Result<SnapshotAdvice, EngineError> {
        let reader = self.shared.store.read()?;
        let record = reader.vm(vm)?.ok_or(EngineError::NoSuchVm(vm))?;
        drop(reader);
        if record.placement.is_none() {
            return Err(no_rules(vm, "it has no host, and so no driver whose rules could be asked"));
        }
        let Some(rules) = rules::bound(&self.shared, &record) else {
            return Err(no_rules(vm, "no snapshot rules are bound to its driver"));
        };
        let advice = rules::advise(&self.shared, &record, "snapshot-create", record.state, None).await;
        let refused = match advice {
            Some(Ok(advice)) => advice.refused,
            // No answer and a trap are answers: no.
            Some(Err(error)) => Some(format!("the rules {rules} gave no answer: {}", error.told())),
            None => Some(format!("the rules {rules} are not bound any more")),
        };
        Ok(SnapshotAdvice { rules: rules.to_string(), refused })
    }

    /// A host as the monitor sees it; none before it was first asked.
    #[must_use]
    pub fn host_health(&self, host: HostId) -> Option<HostHealth> {
        let mut health = locked(&self.shared.host_health).get(&host).cloned()?;
        if let Some(other) = self.shared.directory().twin_of(host) {
            health.error.get_or_insert_with(|| identity::is_a_twin(other));
        }
        Some(health)
    }

    /// Which hypervisor a host would be, if its driver can say and it answers soon.
    pub async fn identify(&self, host: &Host) -> Option<HypervisorId> {
        identity::ask(&self.shared, host).await
    }

    /// How a driver fares since the start.
    #[must_use]
    pub fn driver_health(&self, driver: &DriverName) -> DriverHealth {
        locked(&self.shared.driver_health).get(driver).cloned().unwrap_or_default()
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

    /// Puts a line into the feed that is about no VM.
    pub async fn tell(&self, kind: EventKind) {
        monitor::tell(&self.shared, kind).await;
    }

    /// The absolute path of a VM's console log on its host, while it has one.
    #[must_use]
    pub fn console_log(&self, vm: VmId) -> Option<(HostId, String)> {
        let record = self.shared.store.read().ok()?.vm(vm).ok()??;
        calls::console_log(&self.shared, &record)
    }

    /// Ends the engine as `kill -9` would: everything stops where it is. For tests.
    #[doc(hidden)]
    pub async fn abort(&self) {
        self.shared.kill();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// Ends the engine: no new calls, and those in flight are left for the next start to look after.
    pub async fn shutdown(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        if tokio::time::timeout(SHUTDOWN_WAIT, self.shared.tasks.wait()).await.is_err() {
            tracing::warn!("some driver calls have not ended; the next start looks what came of them");
        }
    }
}

/// What went wrong in an operation that is over, in words: a VM at rest does not remember it.
fn failed(operation: &OperationRecord) -> Option<String> {
    let Some(Ended::Failed { error }) = &operation.outcome else { return None };
    let verb = operation.verb.map_or_else(|| "create".to_owned(), |verb| verb.to_string());
    let step = operation.failed_at().map(|step| format!(" at step {step}")).unwrap_or_default();
    Some(format!("operation {} ({verb}) failed{step}: {error}", operation.id))
}

fn no_rules(vm: VmId, why: &str) -> EngineError {
    EngineError::Refused(Refusal {
        kind: RefusalKind::Rules,
        verb: Verb::SnapshotCreate,
        detail: format!("VM {vm}: {why}"),
        hint: "deploy it, and bind rules to the driver of its host".to_owned(),
    })
}

/// The feed's line about a change.
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
        ResourceChange::ImageRemove(id) | ResourceChange::ImageDiscard(id) => ("image", id.to_string(), "removed"),
        ResourceChange::TokenPut(token) => ("token", token.name.clone(), "changed"),
        ResourceChange::TokenRemove(name) => ("token", name.clone(), "removed"),
        ResourceChange::DriverPut(driver) => ("driver", driver.name.to_string(), "changed"),
        ResourceChange::DriverRemove(name) => ("driver", name.to_string(), "removed"),
        ResourceChange::RulesBind(binding) => ("rules", binding.hypervisor.to_string(), "changed"),
        ResourceChange::RulesUnbind(name) => ("rules", name.to_string(), "removed"),
        ResourceChange::VmForget(id) => ("vm", id.to_string(), "removed"),
        ResourceChange::RestoreOver => ("restore", "of the store".to_owned(), "over"),
    };
    EventKind::Resource { resource: resource.to_owned(), name, change: what.to_owned(), detail: format!("by {by}") }
}
