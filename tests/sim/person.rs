//! The operator. It makes requests that make sense, and often requests that do not. It gives up
//! waiting, and repeats requests that were not answered, with the same key. It states nothing that
//! it cannot know.

use super::requests::root;
use super::watch::{Violation, must, said};
use super::{Run, dice};
use ostler_engine::{
    ActionRequest, AdoptRequest, CreateRequest, Engine, EngineError, Idempotency, Replied,
};
use ostler_model::{
    DiskSource, DiskSpec, OperationId, State, Verb, VmId, VmRecord, VmSpec, VmUuid,
};
use ostler_store::OPERATIONS_KEPT;
use std::rc::Rc;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// A request, and its key.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    key: u64,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Create(Box<VmSpec>),
    Act(VmId, ActionRequest),
    Adopt(AdoptRequest),
}

impl What {
    async fn ask(self, engine: &Engine, key: u64) -> Result<Replied, EngineError> {
        let route = match &self {
            Self::Create(_) => "vms".to_owned(),
            Self::Act(vm, request) => format!("vms/{vm}/{}", request.verb),
            Self::Adopt(request) => format!("hosts/{}/adopt", request.host),
        };
        let key = Idempotency {
            who: "operator".to_owned(),
            route,
            key: key.to_string(),
            body_hash: "0".repeat(64),
        };
        match self {
            Self::Create(spec) => {
                engine
                    .create(
                        CreateRequest { spec: *spec, hold: false, by: "operator".to_owned() },
                        Some(key),
                    )
                    .await
            }
            Self::Act(vm, request) => engine.act(vm, request, Some(key)).await,
            Self::Adopt(request) => engine.adopt(request, Some(key)).await,
        }
    }
}

impl Run {
    /// The operator's turn.
    pub(crate) fn operate(&mut self) {
        // If the store cannot be read, the checks of the promises (`watch`) find that.
        let records = self.records().unwrap_or_default();
        let alive: Vec<&Rc<VmRecord>> =
            records.iter().filter(|record| record.state != State::Done).collect();
        let creates = dice(&self.dice).permille(250) && alive.len() < self.weather.population;
        let what = if creates && dice(&self.dice).permille(60) {
            Some(What::Adopt(self.find_wild()))
        } else if creates {
            Some(What::Create(Box::new(self.spec())))
        } else if alive.is_empty() {
            None
        } else {
            let record = *dice(&self.dice).pick(&alive);
            self.request(record).map(|request| What::Act(record.id, request))
        };
        if let Some(what) = what {
            self.ask(what);
        }
    }

    /// The operator sees that something has happened to this VM, and acts at once.
    pub(crate) fn operate_on(&mut self, vm: VmUuid) {
        let records = self.records().unwrap_or_default();
        let record = records.iter().find(|record| record.uuid == vm);
        if let Some((vm, request)) = record.and_then(|vm| Some((vm.id, self.request(vm)?))) {
            self.ask(What::Act(vm, request));
        }
    }

    fn ask(&mut self, what: What) {
        self.stats.requests += 1;
        let key = self.stats.requests;
        self.say(format!("operator asks: {what:?}"));
        self.send(Asked { key, what });
    }

    fn send(&self, asked: Asked) {
        let (acked, unanswered, lines) =
            (Arc::clone(&self.acked), Arc::clone(&self.unanswered), Arc::clone(&self.lines));
        unanswered.lock().unwrap_or_else(PoisonError::into_inner).push(asked.clone());
        let engine = self.life.engine().clone();
        let sent = tokio::spawn(async move {
            let answer = asked.what.ask(&engine, asked.key).await;
            let lost = matches!(
                answer,
                Err(EngineError::ShuttingDown
                    | EngineError::Crashed
                    | EngineError::Store(_)
                    | EngineError::Read(_))
            );
            if lost {
                return;
            }
            unanswered
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .retain(|other| other.key != asked.key);
            let said = match answer {
                Ok(replied) => {
                    if let Some(operation) = replied.answer.operation {
                        acked
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .insert(operation, replied.answer.vm);
                    }
                    format!(
                        "  answer {}: VM {} {:?}",
                        asked.key, replied.answer.vm, replied.answer.operation
                    )
                }
                Err(error) => format!("  answer {}: {error}", asked.key),
            };
            lines.lock().unwrap_or_else(PoisonError::into_inner).push(said);
        });
        let mut chance = dice(&self.dice);
        if chance.permille(100) {
            // The caller goes away, at any `await`.
            let pause = Duration::from_millis(chance.within(0, 300));
            drop(tokio::spawn(async move {
                tokio::time::sleep(pause).await;
                sent.abort();
            }));
        }
    }

    /// Requests that were not answered before the daemon died are sent again.
    pub(crate) fn repeat(&mut self) {
        let again: Vec<Asked> =
            std::mem::take(&mut *self.unanswered.lock().unwrap_or_else(PoisonError::into_inner));
        for asked in again {
            self.send(asked);
        }
    }

    /// After a restore, people at once start the VMs that they miss.
    pub(crate) fn start_what_is_missed(&mut self) {
        let records = self.records().unwrap_or_default();
        for record in records.iter() {
            let verb = match record.state {
                State::Pending | State::Hold => Verb::Deploy,
                State::Poweroff | State::Suspended | State::Stopped | State::Undeployed => {
                    Verb::Resume
                }
                _ => continue,
            };
            if dice(&self.dice).permille(500) {
                let host = (verb == Verb::Deploy).then(|| *dice(&self.dice).pick(&self.life.hosts));
                self.stats.requests += 1;
                let key = self.stats.requests;
                self.say(format!("operator misses VM {}: {verb}", record.id));
                let asked =
                    ActionRequest { host, enforce: true, ..ActionRequest::of(verb, "operator") };
                self.send(Asked { key, what: What::Act(record.id, asked) });
            }
        }
    }

    /// Asks for one VM as large as the unit in which the room of hosts is counted.
    pub(crate) fn ask_for_a_large_one(&mut self, from_image: bool) {
        let mut spec = VmSpec { cpu_milli: 1000, memory_mib: 1024, ..self.spec() };
        let image = |disk: &DiskSpec| matches!(disk.source, DiskSource::Image { .. });
        spec.disks.retain(|disk| from_image || !image(disk));
        if from_image && !spec.disks.iter().any(image) {
            spec.disks.insert(0, root());
        }
        self.stats.requests += 1;
        let key = self.stats.requests;
        self.say(format!("operator asks for a large VM, from the image: {from_image}"));
        self.send(Asked { key, what: What::Create(Box::new(spec)) });
    }

    /// The current store knows every operation that was answered.
    pub(crate) fn remembers(&self) -> Result<(), Violation> {
        let reader = self.life.store().read().map_err(|error| error.to_string())?;
        let acked: Vec<(OperationId, VmId)> = self
            .acked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .map(|(id, vm)| (*id, *vm))
            .collect();
        for (operation, vm) in acked {
            let forgotten = reader.vm(vm).map_err(said)?.is_none();
            if forgotten || reader.operation(operation).map_err(said)?.is_some() {
                continue;
            }
            // The store keeps the newest ended operations of each VM.
            let kept = reader.operations_of(vm, OPERATIONS_KEPT).map_err(said)?;
            must!(
                kept.len() >= OPERATIONS_KEPT && kept.iter().all(|kept| kept.id > operation),
                "lost: operation {operation} of VM {vm} was answered, and the store does not know it"
            );
        }
        Ok(())
    }

    /// A person decides about the VMs for which the daemon cannot tell which domain is the VM:
    /// first the person removes the other domains.
    pub(crate) async fn accept_in_doubt(&mut self) {
        let Ok(Some(restored)) = self.life.engine().restored() else { return };
        for unreconciled in restored.vms.into_iter().filter(|vm| vm.in_doubt) {
            let Some(record) = self
                .records()
                .ok()
                .and_then(|all| all.iter().find(|record| record.id == unreconciled.vm).cloned())
            else {
                continue;
            };
            let here = record.placement.as_ref().map(|place| place.host);
            for host in self.life.hosts.iter().filter(|host| Some(**host) != here) {
                self.life.fake.drop_domain(*host, record.uuid);
            }
            self.say(format!("operator says that the record of VM {} is right", record.id));
            // If the VM is busy, this is tried again later.
            let _ = self.life.engine().accept_record(record.id, "operator".to_owned()).await;
        }
    }
}
