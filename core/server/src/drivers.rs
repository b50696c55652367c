//! Loading components: from the plugin directory, from the store's rows at start, and on request.
//!
//! A component that an operator adds is copied into the data directory under its digest. Every
//! start loads this copy and compares the digest, so changes of the original file have no effect.
//! A signature that lies beside the file is copied with it. Whether a component is trusted is
//! decided by `ostler_wasm`, again at each start, before anything of it is compiled.
//! The store keeps each grant by name. So `all` grants what the component asks for today, and
//! nothing that a later file asks for.

use crate::clock::now;
use crate::config::DriverConfig;
use crate::grants::{self, GrantProblem};
use crate::problem::ApiError;
use crate::settings;
use crate::trust;
use axum::http::StatusCode;
use ostler_api::{NewDriver, Upgrade, code};
use ostler_driver::{
    DriverEntry, DriverInfo, DriverOrigin, DriverSecrets, LeftOut, Registry, WithoutPart,
};
use ostler_model::{DriverError, DriverName, Hint, HostName, OperationId};
use ostler_store::{DriverRow, Store};
use ostler_wasm::{
    Grants, Host, Inspection, LoadError, Package, Recording, Secret, Vetted, signature_file,
};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
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
    /// A host that answers the driver does not answer the new file.
    #[error(
        "the file was not made the driver {driver}, and nothing was changed: host {host} answers \
         the driver that is there, and not this file: {error}"
    )]
    NotAnswered {
        /// The driver.
        driver: DriverName,
        /// The host.
        host: HostName,
        /// Its answer.
        error: DriverError,
    },
    /// It states abilities that it has no part for.
    #[error(transparent)]
    WithoutPart(#[from] WithoutPart),
    /// The digest is not the one that the request names.
    #[error("{path} has the SHA-256 {found}, and {asked} was asked for: nothing was added")]
    OtherDigest {
        /// The file.
        path: String,
        /// The digest that the request names.
        asked: String,
        /// The digest of the component.
        found: String,
    },
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

impl DriverProblem {
    /// What can be done, if the trust policy refuses the driver.
    fn hint(&self) -> Option<&'static str> {
        if let Self::Load(error) = self { trust::hint(error) } else { None }
    }

    /// The problem in words, with its causes and what can be done.
    pub(crate) fn words(&self) -> String {
        let hint = self.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
        crate::problem::chain(self) + &hint
    }
}

impl From<DriverProblem> for ApiError {
    fn from(problem: DriverProblem) -> Self {
        let refused = |code| {
            Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, crate::problem::chain(&problem))
        };
        if let Some(hint) = problem.hint() {
            return refused(code::UNTRUSTED).field("path").hint(hint);
        }
        let unusable = refused(code::UNUSABLE);
        let taken = || Self::new(StatusCode::CONFLICT, code::EXISTS, problem.to_string());
        match problem {
            DriverProblem::Load(_)
            | DriverProblem::WithoutPart(_)
            | DriverProblem::File { .. }
            | DriverProblem::OtherFile { .. } => unusable.field("path"),
            DriverProblem::OtherDigest { .. } => unusable
                .field("digest")
                .hint("get the file again, and the digest from whoever made it"),
            DriverProblem::Grants(GrantProblem::NotAsked { .. }) => {
                unusable.field("grants").advise(&Hint::InspectDriver, None)
            }
            DriverProblem::Grants(GrantProblem::PartsChanged { .. }) => {
                unusable.field("grants").advise(&Hint::NameGrants, None)
            }
            DriverProblem::NotAnswered { .. } => {
                unusable.field("path").hint("mend the file; `--untested` adds it without asking")
            }
            DriverProblem::BuiltIn(_) => unusable,
            DriverProblem::Exists(_) => taken().advise(&Hint::ReplaceDriver, None),
            DriverProblem::OtherKind { .. } => {
                taken().hint("give the new driver a name of its own in its manifest")
            }
        }
    }
}

/// Refuses a component that has not the digest that the request names, if it names one.
fn is_asked_for(new: &NewDriver, digest: &str) -> Result<(), DriverProblem> {
    let Some(asked) = &new.digest else { return Ok(()) };
    if asked.strip_prefix("sha256:").unwrap_or(asked).eq_ignore_ascii_case(digest) {
        return Ok(());
    }
    let (path, asked, found) = (new.path.clone(), asked.clone(), digest.to_owned());
    Err(DriverProblem::OtherDigest { path, asked, found })
}

/// A driver that is loaded and not yet in the registry.
pub(crate) struct Fresh {
    /// The row that the store is to keep.
    pub(crate) row: DriverRow,
    /// The difference to the driver whose place it takes.
    pub(crate) upgrade: Option<Upgrade>,
    /// The loaded driver.
    pub(crate) entry: DriverEntry,
    /// The row of the driver whose place it takes. None if that one has no row.
    pub(crate) before: Option<DriverRow>,
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

    /// The recorded calls of an operation's drivers.
    pub(crate) fn calls_of(&self, operation: OperationId) -> Recording {
        self.host.calls_of(operation)
    }

    /// Loads a component that an operator adds. It is not in the registry yet.
    pub(crate) async fn load(
        &self,
        new: &NewDriver,
        registry: &Registry,
        store: &Store,
    ) -> Result<Fresh, ApiError> {
        let vetted = self.vet(Path::new(&new.path)).await?;
        let inspection = vetted.inspection();
        is_asked_for(new, &inspection.digest)?;
        let name = inspection.manifest.name.clone();
        if self.built_in.contains(&name) {
            return Err(DriverProblem::BuiltIn(name).into());
        }
        let added = store.read()?.drivers()?.into_iter().find(|old| old.name == name);
        // A driver of the plugin directory has no row, and has grants all the same.
        let loaded = || grants::of_loaded(&registry.get(&name)?.0);
        let before = added.clone().or_else(loaded);
        if let (Some(config), settings) = (&new.config, inspection.manifest.settings()) {
            settings::known("config", &name, &settings, config.keys())?;
        }
        let grants =
            self.grants(new, inspection, before.as_ref()).await.map_err(DriverProblem::from)?;
        let kept = || before.as_ref().map(|before| before.config.clone());
        let row = DriverRow {
            file: self.place(&name, vetted.file_digest()).display().to_string(),
            name,
            digest: inspection.digest.clone(),
            grants,
            config: new.config.clone().or_else(kept).unwrap_or_default(),
            enabled: true,
            added: now(),
            on_trial: false,
            earlier: Vec::new(),
        };
        may_enter(&row, inspection, added.as_ref(), registry.get(&row.name), new.replace)?;
        self.keep(vetted.package(), Path::new(&row.file)).await?;
        let entry = self.load_as(&row, vetted).await?;
        let before = before.filter(|before| before.digest != row.digest);
        let upgrade = before.map(|before| grants::difference(&before, &row));
        Ok(Fresh { row, upgrade, entry, before: added })
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
        let old = ostler_wasm::inspect_file(Path::new(&before.file)).await.ok();
        let old = old.filter(|old| old.digest == before.digest).map(|old| old.manifest);
        grants::carried(before, old.as_ref(), &inspection.manifest)
    }

    /// Reads a component's file, with the signature beside it, and has the trust policy judge it.
    async fn vet(&self, path: &Path) -> Result<Vetted, DriverProblem> {
        Ok(self.host.vet(Package::read(path).await?).await?)
    }

    /// Where a component's file is kept. The digest is that of the whole file, with the signature
    /// inside of it. So a file with another signature never takes the place of one that is in use.
    fn place(&self, name: &DriverName, digest: &str) -> PathBuf {
        self.dir.join(format!("{name}-{}.wasm", digest.get(..16).unwrap_or(digest)))
    }

    /// Writes the file, and the signature beside it, to their places.
    async fn keep(&self, package: &Package, to: &Path) -> Result<(), DriverProblem> {
        tokio::fs::create_dir_all(&self.dir).await.map_err(failed("make", &self.dir))?;
        write(&package.bytes, to).await?;
        let signature = signature_file(to);
        match &package.beside {
            Some(text) => write(text, &signature).await,
            None => match tokio::fs::remove_file(&signature).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(failed("remove", &signature)(error))
                }
                Ok(()) | Err(_) => Ok(()),
            },
        }
    }

    /// Removes the files of components that no row names: they were replaced or removed, or could
    /// not be loaded.
    pub(crate) async fn tidy(&self, rows: &[DriverRow]) {
        // Only the file names are compared. The rows of a data directory that was moved or restored
        // elsewhere name the old folder, and their files are still needed.
        let named: BTreeSet<OsString> = rows
            .iter()
            .flat_map(|row| row.earlier.iter().map(|earlier| &earlier.file).chain([&row.file]))
            .filter_map(|file| Path::new(file).file_name())
            .flat_map(|name| [name.to_owned(), signature_file(Path::new(name)).into_os_string()])
            .collect();
        // Without a folder there is nothing to remove.
        let Ok(mut entries) = tokio::fs::read_dir(&self.dir).await else { return };
        while let Ok(Some(entry)) = entries.next_entry().await {
            let path = entry.path();
            let ours = ["wasm", "new", "minisig"]
                .iter()
                .any(|ours| path.extension().is_some_and(|extension| extension == *ours));
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

    /// What is known of a driver that cannot be loaded. None if not even its name is.
    pub(crate) async fn left_out(
        &self,
        file: &Path,
        row: Option<&DriverRow>,
        problem: &DriverProblem,
    ) -> Option<LeftOut> {
        let known = ostler_wasm::inspect_file(file).await.ok();
        // A file that is not the one that was added says nothing about the driver.
        let known = known.filter(|known| row.is_none_or(|row| row.digest == known.digest));
        let manifest = known.as_ref().map(|known| &known.manifest);
        let name = row.map(|row| &row.name).or(manifest.map(|manifest| &manifest.name))?;
        let digest = row.map(|row| &row.digest).or(known.as_ref().map(|known| &known.digest));
        let text = |text: Option<&String>| text.cloned().unwrap_or_default();
        let info = DriverInfo {
            name: name.clone(),
            version: text(manifest.map(|manifest| &manifest.version)),
            description: text(manifest.map(|manifest| &manifest.summary)),
            origin: DriverOrigin::Component {
                digest: text(digest),
                contract: text(known.as_ref().map(|known| &known.contract)),
                granted: Vec::new(),
                missing: Vec::new(),
                signed: Vec::new(),
                secrets: DriverSecrets {
                    reads: manifest.map(ostler_wasm::Manifest::secrets_read).unwrap_or_default(),
                    in_settings: Vec::new(),
                },
            },
            abilities: Vec::new(),
            settings: manifest.map(ostler_wasm::Manifest::settings),
        };
        Some(LeftOut { info, why: problem.words() })
    }

    /// Loads a component that was added earlier, if its file still has the same digest.
    pub(crate) async fn load_row(&self, row: &DriverRow) -> Result<DriverEntry, DriverProblem> {
        let path = PathBuf::from(&row.file);
        let vetted = self.vet(&path).await?;
        let found = &vetted.inspection().digest;
        if *found != row.digest {
            let (driver, found) = (row.name.clone(), found.clone());
            return Err(DriverProblem::OtherFile { driver, path, found });
        }
        self.load_as(row, vetted).await
    }

    async fn load_as(&self, row: &DriverRow, vetted: Vetted) -> Result<DriverEntry, DriverProblem> {
        let grants = Grants {
            capabilities: grants::for_host(&row.grants),
            config: row.config.clone(),
            secrets: BTreeMap::new(),
        };
        self.entry(vetted, grants).await
    }

    /// Loads a file of the plugin directory.
    pub(crate) async fn load_file(
        &self,
        path: &Path,
        configs: &BTreeMap<String, DriverConfig>,
    ) -> Result<DriverEntry, DriverProblem> {
        let vetted = self.vet(path).await?;
        let inspection = vetted.inspection();
        let name = inspection.manifest.name.clone();
        if self.built_in.contains(&name) {
            return Err(DriverProblem::BuiltIn(name));
        }
        let config = configs.get(name.as_str()).cloned().unwrap_or_default();
        let granted = grants::granted(&inspection.manifest, &config.grants)?;
        let grants = Grants {
            capabilities: grants::for_host(&granted),
            config: config.config,
            secrets: secrets(&config.secrets).await?,
        };
        self.entry(vetted, grants).await
    }

    async fn entry(&self, vetted: Vetted, grants: Grants) -> Result<DriverEntry, DriverProblem> {
        let driver = self.host.load_vetted(vetted, grants).await?;
        Ok(DriverEntry::new(driver.info(), driver.kinds())?)
    }
}

/// The error of an action on a file.
fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DriverProblem {
    let path = path.to_owned();
    move |source| DriverProblem::File { what, path, source }
}

/// Writes a file under another name first. A crash leaves the file as it was, or as it is to be.
async fn write(bytes: &[u8], to: &Path) -> Result<(), DriverProblem> {
    let draft = to.with_extension("new");
    let written = async {
        let mut file = tokio::fs::File::create(&draft).await?;
        file.write_all(bytes).await?;
        file.sync_all().await
    };
    written.await.map_err(failed("write", &draft))?;
    tokio::fs::rename(&draft, to).await.map_err(failed("rename", &draft))
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
    // The file is another one if the same component was signed anew, or the data directory moved.
    let same = before.is_some_and(|old| {
        let (earlier, on_trial) = (old.earlier.clone(), old.on_trial);
        DriverRow { added: old.added, file: old.file.clone(), earlier, on_trial, ..row.clone() }
            == *old
    });
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
#[path = "drivers_tests.rs"]
mod tests;
