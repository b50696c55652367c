//! Loading components: from the plugin directory, from the store's rows at start, and on request.
//!
//! A component that an operator adds is copied into the data directory under its digest: what was looked at is what is loaded at
//! every start, whatever becomes of the file it came from. What it is granted is written down one by one, so that `all` of today
//! does not grant what a later file asks for.

use crate::clock::now;
use crate::config::DriverConfig;
use crate::problem::ApiError;
use axum::http::StatusCode;
use ostler_api::{NewDriver, code};
use ostler_driver::Registry;
use ostler_model::DriverName;
use ostler_store::DriverRow;
use ostler_wasm::{Grants, Host, LoadError, LoadedDriver, Manifest, Secret};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Why a driver was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum DriverProblem {
    /// The host cannot run it.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A grant makes no sense.
    #[error("driver {driver} does not ask for {grant}; it asks for: {asks}")]
    NotAsked {
        /// The driver.
        driver: DriverName,
        /// What was granted.
        grant: String,
        /// What its manifest asks for.
        asks: String,
    },
    /// It is compiled in.
    #[error("driver {0} is built in and cannot be replaced")]
    BuiltIn(DriverName),
    /// A file could not be handled.
    #[error("cannot {what} {path}")]
    File {
        /// What was tried.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is another one now.
    #[error("{path} is not the file that was added as {driver}: its digest is {found}; add it again")]
    OtherFile {
        /// The driver.
        driver: DriverName,
        /// The file.
        path: PathBuf,
        /// What it is now.
        found: String,
    },
}

impl From<DriverProblem> for ApiError {
    fn from(problem: DriverProblem) -> Self {
        let error = Self::new(StatusCode::UNPROCESSABLE_ENTITY, code::UNUSABLE, crate::problem::chain(&problem));
        match problem {
            DriverProblem::Load(_) | DriverProblem::File { .. } | DriverProblem::OtherFile { .. } => error.field("path"),
            DriverProblem::NotAsked { .. } => error.field("grants").hint("`ostler plugin inspect FILE` shows what it asks for"),
            DriverProblem::BuiltIn(_) => error,
        }
    }
}

/// A driver that is loaded and not yet known to anybody.
pub(crate) struct Fresh {
    /// What the store keeps of it.
    pub(crate) row: DriverRow,
    driver: LoadedDriver,
}

/// Loads components.
#[derive(Clone)]
pub(crate) struct Loader {
    host: Host,
    dir: PathBuf,
    built_in: BTreeSet<DriverName>,
}

impl Loader {
    /// One that keeps files in `dir`.
    pub(crate) fn new(host: Host, dir: PathBuf, built_in: BTreeSet<DriverName>) -> Self {
        Self { host, dir, built_in }
    }

    /// Loads what an operator adds. Nobody knows it yet.
    pub(crate) async fn load(&self, new: &NewDriver) -> Result<Fresh, DriverProblem> {
        let path = PathBuf::from(&new.path);
        let inspection = ostler_wasm::inspect_file(&path).await?;
        let name = inspection.manifest.name.clone();
        if self.built_in.contains(&name) {
            return Err(DriverProblem::BuiltIn(name));
        }
        let grants = granted(&inspection.manifest, &new.grants)?;
        let kept = self.keep(&path, &name, &inspection.digest).await?;
        let row = DriverRow {
            name,
            file: kept.display().to_string(),
            digest: inspection.digest,
            grants,
            config: new.config.clone(),
            enabled: true,
            added: now(),
        };
        let driver = self.load_row(&row).await?;
        Ok(Fresh { row, driver })
    }

    /// Copies the file to its place.
    async fn keep(&self, from: &Path, name: &DriverName, digest: &str) -> Result<PathBuf, DriverProblem> {
        let failed = |what, path: &Path| {
            let path = path.to_owned();
            move |source| DriverProblem::File { what, path, source }
        };
        tokio::fs::create_dir_all(&self.dir).await.map_err(failed("make", &self.dir))?;
        let to = self.dir.join(format!("{name}-{}.wasm", digest.get(..16).unwrap_or(digest)));
        let draft = to.with_extension("new");
        tokio::fs::copy(from, &draft).await.map_err(failed("copy", from))?;
        tokio::fs::rename(&draft, &to).await.map_err(failed("rename", &draft))?;
        Ok(to)
    }

    /// Loads what was added earlier, if it is still that file.
    pub(crate) async fn load_row(&self, row: &DriverRow) -> Result<LoadedDriver, DriverProblem> {
        let path = PathBuf::from(&row.file);
        let grants = Grants {
            capabilities: row.grants.keys().cloned().collect(),
            commands: row.grants.get("exec").into_iter().flatten().cloned().collect(),
            config: row.config.clone(),
            secrets: BTreeMap::new(),
        };
        let found = ostler_wasm::inspect_file(&path).await?.digest;
        if found != row.digest {
            return Err(DriverProblem::OtherFile { driver: row.name.clone(), path, found });
        }
        Ok(self.host.load(&path, grants).await?)
    }

    /// Loads a file of the plugin directory.
    pub(crate) async fn load_file(
        &self,
        path: &Path,
        configs: &BTreeMap<String, DriverConfig>,
    ) -> Result<LoadedDriver, DriverProblem> {
        let inspection = ostler_wasm::inspect_file(path).await?;
        let name = inspection.manifest.name.clone();
        if self.built_in.contains(&name) {
            return Err(DriverProblem::BuiltIn(name));
        }
        let config = configs.get(name.as_str()).cloned().unwrap_or_default();
        let granted = granted(&inspection.manifest, &config.grants)?;
        let grants = Grants {
            capabilities: granted.keys().cloned().collect(),
            commands: granted.get("exec").into_iter().flatten().cloned().collect(),
            config: config.config,
            secrets: secrets(&config.secrets).await?,
        };
        Ok(self.host.load(path, grants).await?)
    }

    /// From now on everybody knows it; calls in flight end on the one it replaces.
    pub(crate) fn enter(&self, registry: &Registry, fresh: Fresh) {
        enter(registry, &fresh.driver);
    }
}

/// Makes a loaded driver known.
pub(crate) fn enter(registry: &Registry, driver: &LoadedDriver) {
    registry.insert(driver.info(), driver.kinds());
}

async fn secrets(files: &BTreeMap<String, PathBuf>) -> Result<BTreeMap<String, Secret>, DriverProblem> {
    let mut secrets = BTreeMap::new();
    for (name, path) in files {
        let failed = |source| DriverProblem::File { what: "read", path: path.clone(), source };
        let text = tokio::fs::read_to_string(path).await.map_err(failed)?;
        secrets.insert(name.clone(), Secret::new(text.trim_end_matches('\n')));
    }
    Ok(secrets)
}

/// What words like `files`, `exec`, `exec:info` and `all` mean for this manifest: capabilities, and within `exec` its commands.
fn granted(manifest: &Manifest, words: &[String]) -> Result<BTreeMap<String, Vec<String>>, DriverProblem> {
    let commands = || -> Vec<String> { manifest.commands.iter().map(|command| command.name().to_owned()).collect() };
    let mut granted: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for word in words {
        let (capability, command) = word.split_once(':').map_or((word.as_str(), None), |(left, right)| (left, Some(right)));
        match (capability, command) {
            ("all", None) => {
                for asked in &manifest.capabilities {
                    granted.insert(asked.name.clone(), if asked.name == "exec" { commands() } else { Vec::new() });
                }
            }
            ("exec", Some(name)) if manifest.asks("exec") && manifest.command(name).is_some() => {
                granted.entry("exec".to_owned()).or_default().push(name.to_owned());
            }
            ("exec", None) if manifest.asks("exec") => {
                granted.insert("exec".to_owned(), commands());
            }
            (other, None) if manifest.asks(other) => {
                granted.entry(other.to_owned()).or_default();
            }
            (_, None | Some(_)) => {
                let asks: Vec<&str> = manifest.capabilities.iter().map(|asked| asked.name.as_str()).collect();
                let asks = if asks.is_empty() { "nothing".to_owned() } else { asks.join(", ") };
                return Err(DriverProblem::NotAsked { driver: manifest.name.clone(), grant: word.clone(), asks });
            }
        }
    }
    Ok(granted)
}
