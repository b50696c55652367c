//! Loading components: from the plugin directory, from the store's rows at start, and on request.
//!
//! A component that an operator adds is copied into the data directory under its digest. Every
//! start loads this copy and compares the digest, so changes of the original file have no effect.
//! The store keeps each grant by name. So `all` grants what the component asks for today, and
//! nothing that a later file asks for.

use crate::clock::now;
use crate::config::DriverConfig;
use crate::grants::{self, GrantProblem};
use crate::problem::ApiError;
use axum::http::StatusCode;
use ostler_api::{NewDriver, Upgrade, code};
use ostler_driver::{DriverEntry, DriverInfo, Registry, WithoutPart};
use ostler_model::{DriverName, Hint};
use ostler_store::{DriverRow, Store};
use ostler_wasm::{Grants, Host, Inspection, LoadError, Secret};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::sync::Mutex;

/// Why a driver was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum DriverProblem {
    /// The host cannot run it.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The operator's grants do not fit the manifest.
    #[error(transparent)]
    Grants(#[from] GrantProblem),
    /// The name is that of a driver that is compiled into `ostlerd`.
    #[error("driver {0} is built in and cannot be replaced")]
    BuiltIn(DriverName),
    /// The name is that of a driver with another file, or with other grants or settings.
    #[error("a driver {0} is there already, of another file or with other grants or settings")]
    Exists(DriverName),
    /// The name is that of a driver of another kind.
    #[error(
        "driver {driver} is a {is} driver, and this file is a {new} driver: what uses {driver} \
         could not go on"
    )]
    OtherKind {
        /// The driver.
        driver: DriverName,
        /// The kinds of the driver that has the name.
        is: String,
        /// The kinds of the new file.
        new: String,
    },
    /// It states abilities that it has no part for.
    #[error(transparent)]
    WithoutPart(#[from] WithoutPart),
    /// A file could not be handled.
    #[error("cannot {what} {path}")]
    File {
        /// The action that failed.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: std::io::Error,
    },
    /// The file's digest is not the one of the file that was added.
    #[error(
        "{path} is not the file that was added as {driver}: its digest is {found}; add it again"
    )]
    OtherFile {
        /// The driver.
        driver: DriverName,
        /// The file.
        path: PathBuf,
        /// The digest that the file has now.
        found: String,
    },
}

impl From<DriverProblem> for ApiError {
    fn from(problem: DriverProblem) -> Self {
        let unusable = Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            code::UNUSABLE,
            crate::problem::chain(&problem),
        );
        let taken = || Self::new(StatusCode::CONFLICT, code::EXISTS, problem.to_string());
        match problem {
            DriverProblem::Load(_)
            | DriverProblem::WithoutPart(_)
            | DriverProblem::File { .. }
            | DriverProblem::OtherFile { .. } => unusable.field("path"),
            DriverProblem::Grants(GrantProblem::NotAsked { .. }) => {
                unusable.field("grants").advise(&Hint::InspectDriver, None)
            }
            DriverProblem::Grants(GrantProblem::PartsChanged { .. }) => {
                unusable.field("grants").advise(&Hint::NameGrants, None)
            }
            DriverProblem::BuiltIn(_) => unusable,
            DriverProblem::Exists(_) => taken().advise(&Hint::ReplaceDriver, None),
            DriverProblem::OtherKind { .. } => {
                taken().hint("give the new driver a name of its own in its manifest")
            }
        }
    }
}

/// A driver that is loaded and not yet in the registry.
pub(crate) struct Fresh {
    /// The row that the store is to keep.
    pub(crate) row: DriverRow,
    /// The difference to the driver whose place it takes.
    pub(crate) upgrade: Option<Upgrade>,
    entry: DriverEntry,
}

/// Loads components.
#[derive(Clone)]
pub(crate) struct Loader {
    host: Host,
    dir: PathBuf,
    built_in: BTreeSet<DriverName>,
    /// Held while a driver is added, so that its row, its file and the loaded driver always belong
    /// together.
    pub(crate) adding: Arc<Mutex<()>>,
}

impl Loader {
    /// A loader that keeps files in `dir`.
    pub(crate) fn new(host: Host, dir: PathBuf, built_in: BTreeSet<DriverName>) -> Self {
        Self { host, dir, built_in, adding: Arc::default() }
    }

    /// Loads a component that an operator adds. It is not in the registry yet.
    pub(crate) async fn load(
        &self,
        new: &NewDriver,
        registry: &Registry,
        store: &Store,
    ) -> Result<Fresh, ApiError> {
        let path = PathBuf::from(&new.path);
        let bytes = ostler_wasm::read_component(&path).await.map_err(DriverProblem::from)?;
        let inspection = ostler_wasm::inspect(&new.path, &bytes).map_err(DriverProblem::from)?;
        let name = inspection.manifest.name.clone();
        if self.built_in.contains(&name) {
            return Err(DriverProblem::BuiltIn(name).into());
        }
        let added = store.read()?.drivers()?.into_iter().find(|old| old.name == name);
        // A driver of the plugin directory has no row, and has grants all the same.
        let loaded = || grants::of_loaded(&registry.get(&name)?.0);
        let before = added.clone().or_else(loaded);
        let grants =
            self.grants(new, &inspection, before.as_ref()).await.map_err(DriverProblem::from)?;
        let kept = || before.as_ref().map(|before| before.config.clone());
        let row = DriverRow {
            file: self.place(&name, &inspection.digest).display().to_string(),
            name,
            digest: inspection.digest.clone(),
            grants,
            config: new.config.clone().or_else(kept).unwrap_or_default(),
            enabled: true,
            added: now(),
        };
        may_enter(&row, &inspection, added.as_ref(), registry.get(&row.name), new.replace)?;
        self.keep(&bytes, Path::new(&row.file)).await?;
        let entry = self.load_as(&row, bytes).await?;
        let before = before.filter(|before| before.digest != row.digest);
        let upgrade = before.map(|before| grants::difference(&before, &row));
        Ok(Fresh { row, upgrade, entry })
    }

    /// The grants that the operator names. If none are named, those of the driver whose place the
    /// new one takes.
    async fn grants(
        &self,
        new: &NewDriver,
        inspection: &Inspection,
        before: Option<&DriverRow>,
    ) -> Result<BTreeMap<String, Vec<String>>, GrantProblem> {
        if let Some(words) = &new.grants {
            return grants::granted(&inspection.manifest, words);
        }
        let takes_over = |before: &&DriverRow| new.replace || before.digest == inspection.digest;
        let Some(before) = before.filter(takes_over) else { return Ok(BTreeMap::new()) };
        if before.digest == inspection.digest {
            return grants::carried(before, Some(&inspection.manifest), &inspection.manifest);
        }
        // If the old file is gone, its commands cannot be compared, and so they are not kept.
        let old = match ostler_wasm::read_component(Path::new(&before.file)).await {
            Ok(bytes) => ostler_wasm::inspect(&before.file, &bytes).ok(),
            Err(_) => None,
        };
        let old = old.filter(|old| old.digest == before.digest).map(|old| old.manifest);
        grants::carried(before, old.as_ref(), &inspection.manifest)
    }

    /// Where a component's file is kept.
    fn place(&self, name: &DriverName, digest: &str) -> PathBuf {
        self.dir.join(format!("{name}-{}.wasm", digest.get(..16).unwrap_or(digest)))
    }

    /// Writes the file to its place.
    async fn keep(&self, bytes: &[u8], to: &Path) -> Result<(), DriverProblem> {
        let failed = |what, path: &Path| {
            let path = path.to_owned();
            move |source| DriverProblem::File { what, path, source }
        };
        tokio::fs::create_dir_all(&self.dir).await.map_err(failed("make", &self.dir))?;
        let draft = to.with_extension("new");
        let written = async {
            let mut file = tokio::fs::File::create(&draft).await?;
            file.write_all(bytes).await?;
            file.sync_all().await
        };
        written.await.map_err(failed("write", &draft))?;
        tokio::fs::rename(&draft, to).await.map_err(failed("rename", &draft))
    }

    /// Removes the files of components that no row names: they were replaced or removed, or could
    /// not be loaded.
    pub(crate) async fn tidy(&self, rows: &[DriverRow]) {
        // Only the file names are compared. The rows of a data directory that was moved or restored
        // elsewhere name the old folder, and their files are still needed.
        let named: BTreeSet<&OsStr> =
            rows.iter().filter_map(|row| Path::new(&row.file).file_name()).collect();
        // Without a folder there is nothing to remove.
        let Ok(mut entries) = tokio::fs::read_dir(&self.dir).await else { return };
        while let Ok(Some(entry)) = entries.next_entry().await {
            let path = entry.path();
            let ours =
                path.extension().is_some_and(|extension| extension == "wasm" || extension == "new");
            if ours
                && path.file_name().is_some_and(|name| !named.contains(name))
                && let Err(err) = tokio::fs::remove_file(&path).await
            {
                tracing::warn!(
                    path = %path.display(),
                    %err,
                    "the file of a component that is not used any more stays"
                );
            }
        }
    }

    /// Loads a component that was added earlier, if its file still has the same digest.
    pub(crate) async fn load_row(&self, row: &DriverRow) -> Result<DriverEntry, DriverProblem> {
        let path = PathBuf::from(&row.file);
        let bytes = ostler_wasm::read_component(&path).await?;
        let found = ostler_wasm::inspect(&row.file, &bytes)?.digest;
        if found != row.digest {
            return Err(DriverProblem::OtherFile { driver: row.name.clone(), path, found });
        }
        self.load_as(row, bytes).await
    }

    async fn load_as(&self, row: &DriverRow, bytes: Vec<u8>) -> Result<DriverEntry, DriverProblem> {
        let grants = Grants {
            capabilities: row.grants.keys().cloned().collect(),
            commands: row.grants.get("exec").into_iter().flatten().cloned().collect(),
            sockets: row.grants.get("socket").into_iter().flatten().cloned().collect(),
            config: row.config.clone(),
            secrets: BTreeMap::new(),
        };
        self.entry(&row.file, bytes, grants).await
    }

    /// Loads a file of the plugin directory.
    pub(crate) async fn load_file(
        &self,
        path: &Path,
        configs: &BTreeMap<String, DriverConfig>,
    ) -> Result<DriverEntry, DriverProblem> {
        let (what, bytes) = (path.display().to_string(), ostler_wasm::read_component(path).await?);
        let inspection = ostler_wasm::inspect(&what, &bytes)?;
        let name = inspection.manifest.name.clone();
        if self.built_in.contains(&name) {
            return Err(DriverProblem::BuiltIn(name));
        }
        let config = configs.get(name.as_str()).cloned().unwrap_or_default();
        let granted = grants::granted(&inspection.manifest, &config.grants)?;
        let grants = Grants {
            capabilities: granted.keys().cloned().collect(),
            commands: granted.get("exec").into_iter().flatten().cloned().collect(),
            sockets: granted.get("socket").into_iter().flatten().cloned().collect(),
            config: config.config,
            secrets: secrets(&config.secrets).await?,
        };
        self.entry(&what, bytes, grants).await
    }

    async fn entry(
        &self,
        what: &str,
        bytes: Vec<u8>,
        grants: Grants,
    ) -> Result<DriverEntry, DriverProblem> {
        let driver = self.host.load_bytes(what, bytes, grants).await?;
        Ok(DriverEntry::new(driver.info(), driver.kinds())?)
    }

    /// Puts the driver into the registry. Calls in flight end on the driver that it replaces.
    pub(crate) fn enter(&self, registry: &Registry, fresh: Fresh) {
        registry.insert(fresh.entry);
    }
}

/// Checks that a component may have its name: the name is free, or the component is the same as
/// before, or the operator asks to replace the other driver. The component must have all the kinds
/// of the driver that is loaded under this name.
fn may_enter(
    row: &DriverRow,
    inspection: &Inspection,
    before: Option<&DriverRow>,
    loaded: Option<(DriverInfo, Vec<&'static str>)>,
    replace: bool,
) -> Result<(), DriverProblem> {
    if let Some((_, kinds)) = &loaded
        && !kinds.iter().all(|kind| inspection.kinds.contains(kind))
    {
        let (is, new) = (kinds.join(" and "), inspection.kinds.join(" and "));
        return Err(DriverProblem::OtherKind { driver: row.name.clone(), is, new });
    }
    let same = before.is_some_and(|old| DriverRow { added: old.added, ..row.clone() } == *old);
    match (before.is_some() || loaded.is_some(), same || replace) {
        (true, false) => Err(DriverProblem::Exists(row.name.clone())),
        (true, true) | (false, _) => Ok(()),
    }
}

async fn secrets(
    files: &BTreeMap<String, PathBuf>,
) -> Result<BTreeMap<String, Secret>, DriverProblem> {
    let mut secrets = BTreeMap::new();
    for (name, path) in files {
        let failed = |source| DriverProblem::File { what: "read", path: path.clone(), source };
        let text = tokio::fs::read_to_string(path).await.map_err(failed)?;
        secrets.insert(name.clone(), Secret::new(text.trim_end_matches('\n')));
    }
    Ok(secrets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_driver::DriverOrigin;
    use ostler_wasm::Manifest;

    fn file(kinds: &[&'static str]) -> Inspection {
        let manifest = "name = \"x\"\nversion = \"1.0.0\"\nsummary = \"s\"\nlicence = \"l\"\nauthors = [\"a\"]\n";
        Inspection {
            manifest: Manifest::parse(manifest.as_bytes()).expect("a manifest"),
            digest: "d".to_owned(),
            size: 1,
            contract: "0.1.0".to_owned(),
            kinds: kinds.to_vec(),
            abilities: Vec::new(),
            imports: Vec::new(),
            exports: Vec::new(),
        }
    }

    fn row(digest: &str, added: u64) -> DriverRow {
        DriverRow {
            name: "x".parse().expect("a name"),
            file: format!("/x-{digest}.wasm"),
            digest: digest.to_owned(),
            grants: BTreeMap::new(),
            config: BTreeMap::new(),
            enabled: true,
            added: ostler_model::Timestamp(added),
        }
    }

    fn loaded(kinds: &[&'static str]) -> Option<(DriverInfo, Vec<&'static str>)> {
        let info = DriverInfo {
            name: "x".parse().expect("a name"),
            version: String::new(),
            description: String::new(),
            origin: DriverOrigin::BuiltIn,
            abilities: Vec::new(),
        };
        Some((info, kinds.to_vec()))
    }

    #[test]
    fn a_name_in_use_is_given_away_only_when_told_so_and_never_to_another_kind() {
        let (new, old, both) = (row("b", 2), row("a", 1), ["hypervisor", "transfer"]);
        assert!(may_enter(&new, &file(&both), None, None, false).is_ok(), "nobody has it");
        let again = DriverRow { added: ostler_model::Timestamp(9), ..old.clone() };
        assert!(
            may_enter(&again, &file(&both), Some(&old), loaded(&both), false).is_ok(),
            "the same again"
        );
        let other = |replace| may_enter(&new, &file(&both), Some(&old), loaded(&both), replace);
        assert!(matches!(other(false), Err(DriverProblem::Exists(_))));
        assert!(other(true).is_ok());
        // A driver of the plugin directory has no row.
        assert!(matches!(
            may_enter(&new, &file(&both), None, loaded(&both), false),
            Err(DriverProblem::Exists(_))
        ));
        // A driver whose file could not be loaded has a row and is not in the registry.
        assert!(matches!(
            may_enter(&new, &file(&both), Some(&old), None, false),
            Err(DriverProblem::Exists(_))
        ));
        for replace in [false, true] {
            let less = may_enter(&new, &file(&["transfer"]), Some(&old), loaded(&both), replace);
            assert!(matches!(less, Err(DriverProblem::OtherKind { .. })));
        }
        assert!(
            may_enter(&new, &file(&both), Some(&old), loaded(&["transfer"]), true).is_ok(),
            "it does more than the old one"
        );
    }

    #[test]
    fn a_socket_is_granted_by_its_name_and_one_that_is_not_asked_for_is_refused() {
        let text = "name = \"x\"\nversion = \"1\"\nsummary = \"s\"\n\
            [[capability]]\nname = \"socket\"\nwhy = \"w\"\n\
            [[socket]]\nname = \"qmp\"\npath = \"{file:path}\"\n\
            [[socket]]\nname = \"libvirt\"\npath = \"/run/libvirt/sock\"\n";
        let manifest = Manifest::parse(text.as_bytes()).expect("a manifest");
        let words = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            grants::granted(&manifest, &words)
                .map(|granted| granted.get("socket").map(|all| all.join(" ")))
        };
        assert_eq!(words(&["socket:qmp"]).expect("asked for").as_deref(), Some("qmp"));
        for all in ["socket", "all"] {
            assert_eq!(words(&[all]).expect("asked for").as_deref(), Some("qmp libvirt"));
        }
        assert!(words(&["socket:docker"]).is_err() && words(&["exec:qmp"]).is_err());
    }
}
