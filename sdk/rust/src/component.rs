//! The call, as a component is given it.

use crate::bindings::imports::ostler::driver::call_context;
use crate::wire::FromWire;
use crate::{EffectId, OpaqueState};

/// A call: for which VM and effect it is, and how long it may take.
#[repr(transparent)]
pub struct Call(call_context::Call);

impl Call {
    #[allow(unsafe_code, reason = "a borrow of the generated type as one of this crate's type")]
    pub(crate) fn of(call: &call_context::Call) -> &Self {
        // SAFETY: `Call` is `repr(transparent)` over the type that is borrowed, and the borrow
        // lasts as long.
        unsafe { &*std::ptr::from_ref(call).cast::<Self>() }
    }

    /// The identity of the effect.
    #[must_use]
    pub fn id(&self) -> EffectId {
        FromWire::from_wire(self.0.id())
    }

    /// The store that the call acts for.
    #[must_use]
    pub fn store(&self) -> String {
        self.0.store()
    }

    /// 1 for the first sending. Information only.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.0.attempt()
    }

    /// The generation that the call acts for.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.0.generation()
    }

    /// Milliseconds until the deadline. A later answer is not used.
    #[must_use]
    pub fn remaining_ms(&self) -> u64 {
        self.0.remaining_ms()
    }

    /// Whether the host wants the call to end with `cancelled`.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.0.cancelled()
    }

    /// The state that the driver keeps about this VM. None if it keeps none.
    #[must_use]
    pub fn state(&self) -> Option<OpaqueState> {
        FromWire::from_wire(self.0.state())
    }

    /// Reports how far the work is. A report costs little, and the last one counts.
    pub fn progress(&self, done: u64, total: u64, phase: &str) {
        self.0.progress(done, total, phase);
    }
}
