//! `secrets`: values that are never logged. Needs the grant `secrets`.

use super::{Env, HasView, State, View, view};
use crate::bindings::ostler::driver::secrets::{Host, add_to_linker as link};
use crate::bindings::ostler::driver::types::Error;
use crate::grants::Secret;
use crate::text::cut;
use std::time::Instant;
use wasmtime::component::Linker;

/// How many bytes of a name are traced.
const NAME_TRACED: usize = 64;

impl Env {
    /// A secret of the driver. None if it is not set.
    pub(super) fn secret(&self, name: &str) -> Option<Secret> {
        self.side.grants.secrets.get(name).cloned()
    }
}

impl Host for View<'_> {
    async fn get(&mut self, name: String) -> wasmtime::Result<Result<Option<String>, Error>> {
        let begun = Instant::now();
        let traced = cut(&name, NAME_TRACED);
        let answer = self.env.granted("secrets", &format!("secret {traced:?}"));
        let answer =
            answer.map(|()| self.env.secret(&name).map(|secret| secret.expose().to_owned()));
        self.env.flight("secrets.get", &traced, begun, &answer);
        Ok(answer)
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    link::<State, HasView>(linker, view)
}
