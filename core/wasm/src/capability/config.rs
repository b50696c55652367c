//! `config`: the driver's own settings. Needs the grant `config`.

use super::{DriverSide, Env, HasView, State, View, view};
use crate::bindings::ostler::driver::config::{Host, add_to_linker as link};
use crate::bindings::ostler::driver::types::Error;
use crate::own_files::TOPS;
use crate::text::cut;
use ostler_driver::Site;
use ostler_model::RelPath;
use std::time::Instant;
use wasmtime::component::Linker;

/// The settings that name the folder in which a driver keeps its records.
const DATASTORE: &str = "datastore";
const FOLDER: &str = "folder";

/// How many bytes of a key are looked at.
const KEY_MAX: usize = 64;

impl DriverSide {
    /// The value of a setting: the host's, else the operator's for the driver, else the manifest's
    /// default. None if the manifest does not name the setting.
    fn setting(&self, site: Option<&Site>, key: &str) -> Option<String> {
        let known = self.manifest.config.get(key)?;
        let of_host = site.and_then(|site| site.config.get(key));
        of_host.or_else(|| self.grants.config.get(key)).or(known.default.as_ref()).cloned()
    }

    /// The datastore and the folder in which the driver keeps its records of a host. A default of
    /// the manifest counts only if it is the driver's name, or below it: the author could so reach the
    /// records of another driver, or the folders of all VMs.
    pub(crate) fn records(&self, site: &Site) -> Option<(String, RelPath)> {
        let datastore = self.setting(Some(site), DATASTORE)?;
        let chosen = site.config.contains_key(FOLDER) || self.grants.config.contains_key(FOLDER);
        let folder = self.setting(Some(site), FOLDER);
        let path: RelPath =
            folder.unwrap_or_else(|| self.manifest.name.to_string()).parse().ok()?;
        let first = path.as_str().split('/').next().unwrap_or_default();
        let own = first == self.manifest.name.as_str() && !TOPS.contains(&first);
        (chosen || own).then_some((datastore, path))
    }

    /// All settings of the driver for another host. Empty without the grant.
    pub(crate) fn settings_of(&self, site: &Site) -> Vec<(String, String)> {
        if !self.manifest.asks("config") || !self.grants.has("config") {
            return Vec::new();
        }
        let keys = self.manifest.config.keys();
        keys.filter_map(|key| Some((key.clone(), self.setting(Some(site), key)?))).collect()
    }
}

impl Env {
    /// The value of a setting for the host of the call.
    pub(crate) fn setting(&self, key: &str) -> Option<String> {
        self.side.setting(self.site.as_ref(), key)
    }

    /// The same, for the driver: it uses the setting.
    pub(super) fn setting_used(&self, key: &str) -> Option<String> {
        let asks = self.side.manifest.config.contains_key(key);
        self.uses(&format!("config:{}", self.told(key)), asks);
        self.setting(key)
    }
}

impl Host for View<'_> {
    async fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<String>, Error>> {
        let (begun, key) = (Instant::now(), cut(&key, KEY_MAX));
        let traced = self.env.told(&key);
        let answer = self
            .env
            .granted("config", &format!("setting {traced:?}"))
            .map(|()| self.env.setting_used(&key));
        self.env.flight("config.get", &traced, begun, &answer);
        Ok(answer)
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    link::<State, HasView>(linker, view)
}
