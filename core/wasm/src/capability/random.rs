//! `random`: bytes from the host's generator. Needs no grant.

use super::{HasView, State, View, view};
use crate::bindings::ostler::driver::random::{Host, add_to_linker as link};
use rand::RngExt;
use wasmtime::component::Linker;

/// The most bytes of one call, as the contract says.
const BYTES_MAX: u32 = 4096;

impl Host for View<'_> {
    async fn bytes(&mut self, count: u32) -> wasmtime::Result<Vec<u8>> {
        let count = count.min(BYTES_MAX) as usize;
        if let Some(tape) = &self.env.tape {
            return Ok(tape.random(count));
        }
        let mut bytes = vec![0; count];
        rand::rng().fill(&mut bytes[..]);
        Ok(bytes)
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    link::<State, HasView>(linker, view)
}
