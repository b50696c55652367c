//! `config`: the driver's own settings. Needs the grant `config`.

use super::{Env, HasView, State, View, view};
use crate::bindings::ostler::driver::config::{Host, add_to_linker as link};
use crate::bindings::ostler::driver::types::Error;
use crate::instance::cut;
use std::time::Instant;
use wasmtime::component::Linker;

/// How much of a key is traced.
const KEY_TRACED: usize = 64;

impl Env {
    /// A setting: the host's, else the operator's for the driver, else the manifest's. None if the manifest does not name it.
    pub(crate) fn setting(&self, key: &str) -> Option<String> {
        let known = self.side.manifest.config.get(key)?;
        let of_host = self.site.as_ref().and_then(|site| site.config.get(key));
        of_host.or_else(|| self.side.grants.config.get(key)).or(known.default.as_ref()).cloned()
    }
}

impl Host for View<'_> {
    async fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<String>, Error>> {
        let (begun, key) = (Instant::now(), cut(&key, KEY_TRACED));
        let answer = self.env.granted("config", &format!("setting {key:?}")).map(|()| self.env.setting(&key));
        self.env.flight("config.get", &key, begun, &answer);
        Ok(answer)
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    link::<State, HasView>(linker, view)
}
