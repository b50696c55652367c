//! A call, as a test hands it to a driver.

use super::with;
use crate::{DomainSpec, EffectId, FileRef, Firmware, Graphics, Identity, Item, OpaqueState};
use std::cell::RefCell;

/// The store for which a call acts, unless the test names another.
const STORE: &str = "store";

/// A call: for which VM and effect it is, and how long it may take.
///
/// A component is given one. In a test [`MockHost::call`](super::MockHost::call) makes one; `again`,
/// `of_store`,
/// `of_epoch`, `with_state`, `domain` and `reported` are there only for tests.
#[derive(Debug, Clone)]
pub struct Call {
    id: EffectId,
    store: String,
    attempt: u32,
    generation: u64,
    epoch: u64,
    state: Option<OpaqueState>,
    told: RefCell<Vec<(u64, u64, String)>>,
}

impl Call {
    pub(super) fn new(vm: &str, operation: u64, generation: u64) -> Self {
        Self {
            id: EffectId { vm: vm.to_owned(), operation, step: 1, item: Item::Domain },
            store: STORE.to_owned(),
            attempt: 1,
            generation,
            epoch: 1,
            state: None,
            told: RefCell::default(),
        }
    }

    /// The same call, sent once more: its answer was lost.
    #[must_use]
    pub fn again(&self) -> Self {
        Self { attempt: self.attempt.saturating_add(1), told: RefCell::default(), ..self.clone() }
    }

    /// The same call for another store.
    #[must_use]
    pub fn of_store(mut self, store: &str) -> Self {
        store.clone_into(&mut self.store);
        self
    }

    /// The same call of another daemon, with this epoch. Without it the epoch is 1.
    #[must_use]
    pub const fn of_epoch(mut self, epoch: u64) -> Self {
        self.epoch = epoch;
        self
    }

    /// The same call with the state that the driver has kept about the VM.
    #[must_use]
    pub fn with_state(mut self, state: Option<OpaqueState>) -> Self {
        self.state = state;
        self
    }

    /// A domain without disks, network cards and kernel, as a deploy by this call gets it. Its name
    /// is that of the VM. Change the fields that your test is about.
    #[must_use]
    pub fn domain(&self) -> DomainSpec {
        let (vm, console) = (self.id.vm.clone(), format!("vms/{}/console.log", self.id.vm));
        let absolute = format!("/datastores/system/{console}");
        DomainSpec {
            identity: Identity {
                store: self.store.clone(),
                vm: vm.clone(),
                generation: self.generation,
            },
            name: vm,
            title: String::new(),
            vcpus: 1,
            cpu_milli: 1000,
            memory_mib: 64,
            firmware: Firmware::Bios,
            kernel: None,
            initrd: None,
            cmdline: String::new(),
            disks: Vec::new(),
            nics: Vec::new(),
            graphics: Graphics::None,
            console_log: FileRef { datastore: "system".to_owned(), path: console, absolute },
            extra: Vec::new(),
        }
    }

    /// The progress that was reported: done, total, phase.
    #[must_use]
    pub fn reported(&self) -> Vec<(u64, u64, String)> {
        self.told.borrow().clone()
    }

    /// The identity of the effect.
    #[must_use]
    pub fn id(&self) -> EffectId {
        self.id.clone()
    }

    /// The store that the call acts for.
    #[must_use]
    pub fn store(&self) -> String {
        self.store.clone()
    }

    /// 1 for the first sending.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The generation that the call acts for.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// The epoch of the daemon that calls.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Milliseconds until the deadline.
    #[must_use]
    pub fn remaining_ms(&self) -> u64 {
        super::sys::clock::remaining_ms()
    }

    /// Whether the host wants the call to end with `cancelled`.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        with(|host| host.stop)
    }

    /// The state that the driver keeps about this VM.
    #[must_use]
    pub fn state(&self) -> Option<OpaqueState> {
        self.state.clone()
    }

    /// Reports how far the work is.
    pub fn progress(&self, done: u64, total: u64, phase: &str) {
        self.told.borrow_mut().push((done, total, phase.to_owned()));
    }
}
