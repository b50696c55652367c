//! `call-context`: the current call. Needs no grant.

use super::{HasView, State, View, view};
use crate::bindings::ostler::driver::call_context::{Host, HostCall, add_to_linker as link};
use crate::bindings::ostler::driver::types::{EffectId, OpaqueState};
use serde_json::Value;
use std::time::Instant;
use wasmtime::component::{Linker, Resource};

/// The longest phase of a progress report; it is shown in one line.
const PHASE_MAX: usize = 128;

/// The call as a resource. It is empty: all data about the call is in the environment.
#[allow(unreachable_pub, reason = "generated bindings that name it are public to their module")]
pub struct Call;

impl Host for View<'_> {}

impl HostCall for View<'_> {
    async fn id(&mut self, call: Resource<Call>) -> wasmtime::Result<EffectId> {
        self.table.get(&call)?;
        let control = self
            .env
            .control
            .as_ref()
            .ok_or_else(|| wasmtime::Error::msg("this call has no context"))?;
        let key = &control.context.key;
        Ok(EffectId {
            vm: key.vm.to_string(),
            operation: key.operation.0,
            step: key.step.0,
            item: key.item.to_string(),
        })
    }

    async fn store(&mut self, _: Resource<Call>) -> wasmtime::Result<String> {
        let control = self.env.control.as_ref();
        let control = control.ok_or_else(|| wasmtime::Error::msg("this call has no context"))?;
        Ok(control.context.store.to_string())
    }

    async fn attempt(&mut self, _: Resource<Call>) -> wasmtime::Result<u32> {
        Ok(self.env.control.as_ref().map_or(1, |control| control.context.attempt))
    }

    async fn generation(&mut self, _: Resource<Call>) -> wasmtime::Result<u64> {
        Ok(self.env.control.as_ref().map_or(0, |control| control.context.generation.0))
    }

    async fn epoch(&mut self, _: Resource<Call>) -> wasmtime::Result<u64> {
        Ok(self.env.control.as_ref().map_or(0, |control| control.context.epoch.0))
    }

    async fn remaining_ms(&mut self, _: Resource<Call>) -> wasmtime::Result<u64> {
        let left = async {
            let left = self.env.until.saturating_duration_since(Instant::now());
            u64::try_from(left.as_millis()).unwrap_or(u64::MAX)
        };
        self.env.taped("call.remaining-ms", || Value::Null, left).await
    }

    async fn cancelled(&mut self, _: Resource<Call>) -> wasmtime::Result<bool> {
        let told = async { self.env.stop.is_cancelled() };
        self.env.taped("call.cancelled", || Value::Null, told).await
    }

    async fn state(&mut self, _: Resource<Call>) -> wasmtime::Result<Option<OpaqueState>> {
        let state = self.env.control.as_ref().and_then(|control| control.state.as_ref());
        Ok(state.map(|state| OpaqueState { version: state.version, data: state.data.clone() }))
    }

    async fn progress(
        &mut self,
        _: Resource<Call>,
        done: u64,
        total: u64,
        phase: String,
    ) -> wasmtime::Result<()> {
        self.env.report(done, total, &self.env.scrub(&phase, PHASE_MAX));
        Ok(())
    }

    async fn drop(&mut self, call: Resource<Call>) -> wasmtime::Result<()> {
        self.table.delete(call)?;
        Ok(())
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    link::<State, HasView>(linker, view)
}
