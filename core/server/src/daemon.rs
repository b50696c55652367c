//! Runs the daemon. All parts are created and connected here, and nowhere else.

use crate::app::App;
use crate::audit::AuditTrail;
use crate::auth::{ADMIN, hash, new_secret};
use crate::charge;
use crate::clock::now;
use crate::config::{Config, ConfigError};
use crate::drivers::{DriverProblem, Loader};
use crate::listen::{Limits, UnixSocket, serve_tcp};
use crate::private::{private_dir, write_private};
use crate::problem::chain;
use crate::routes::router;
use crate::services::{StoreSecrets, StoreSites};
use crate::swap;
use crate::uploads::Uploads;
use ostler_driver::{DriverEntry, DriverInfo, DriverKind, DriverOrigin, Hypervisor, Registry};
use ostler_engine::{Engine, EngineConfig, EngineError, oldest_operation};
use ostler_libvirt::{Kvm, KvmOptions};
use ostler_model::DriverName;
use ostler_store::{CommitError, OpenError, Options, ReadError, ResourceChange, Store, TokenRow};
use ostler_wasm::{Confine, Host, HostError, HostOptions};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The store's file in the data directory.
pub const STORE_FILE: &str = "store.redb";
/// The file of the first admin token in the data directory.
pub const TOKEN_FILE: &str = "admin.token";
/// Where hosts keep the highest epoch of each store, unless the settings say otherwise.
const EPOCHS: &str = "/var/lib/ostler/epochs";
/// The name of the built-in driver.
const KVM: &str = "kvm";

/// Why the daemon did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The settings cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A name in the settings is not a valid name.
    #[error("{0} in the configuration")]
    Name(#[from] ostler_model::InvalidName),
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Charge of the store could not be taken.
    #[error("cannot take charge of the store")]
    Charge(#[from] CommitError),
    /// The engine did not start.
    #[error("the engine cannot start")]
    Engine(#[from] EngineError),
    /// Components cannot be run on this machine.
    #[error("components cannot be run here")]
    Host(#[from] HostError),
    /// A file or directory cannot be handled.
    #[error("cannot {what} {path}")]
    File {
        /// The action that failed.
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// The daemon cannot listen on the address.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: String,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
}

/// Where the daemon listens. It is passed on once requests are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// The TCP address, if it listens on TCP.
    pub address: Option<SocketAddr>,
    /// The unix socket.
    pub socket: PathBuf,
}

/// Runs the daemon until `stopping` is cancelled. `ready` is told when requests are served.
///
/// # Errors
/// The reason why the daemon did not start. Once it has started, it runs until it is told to end.
pub async fn run(
    config: Config,
    stopping: CancellationToken,
    ready: impl FnOnce(Ready),
) -> Result<(), DaemonError> {
    let address = config.address()?;
    let data = config.data_dir();
    private_dir(&data).map_err(|source| DaemonError::File {
        what: "keep anything in",
        path: data.clone(),
        source,
    })?;
    let store = Store::open(&data.join(STORE_FILE), Options::default())?;
    let charge = charge::charge(&data.join(STORE_FILE), config.epoch);
    let epoch = store.take_charge(charge).await?;
    tracing::info!(%epoch, "in charge of the store");
    let registry = Registry::new();
    let (loader, all) = drivers(&config, &data, &store, &registry).await?;
    let settings = engine_config(&config)?;
    match bindings(&settings.rules, &registry) {
        // The driver that the binding names may be one that could not be loaded. The log has said
        // so, and the daemon starts without it.
        Err(wrong) if !all => tracing::error!(error = chain(&wrong), "no snapshot is made there"),
        checked => checked?,
    }
    let rules = settings.rules.clone();
    let engine = Engine::start(settings, store.clone(), registry.clone()).await?;
    first_token(&engine, &data).await?;
    swap::go_on(&engine, &store.read()?.drivers()?);
    let uploads = data.join("uploads");
    let uploads = Uploads::start(uploads.clone()).map_err(|source| DaemonError::File {
        what: "empty",
        path: uploads,
        source,
    })?;
    let app = App::new(engine.clone(), registry, loader, uploads, rules, stopping.clone());
    tokio::spawn(swap::watch(Arc::clone(&app)));
    let served = listen(&config, address, &app, &stopping, ready).await;
    if served.is_err() {
        stopping.cancel();
    }
    engine.shutdown().await;
    served
}

/// Serves until the end.
async fn listen(
    config: &Config,
    address: Option<SocketAddr>,
    app: &Arc<App>,
    stopping: &CancellationToken,
    ready: impl FnOnce(Ready),
) -> Result<(), DaemonError> {
    let path = config.socket();
    let refused = |address: String| move |source| DaemonError::Listen { address, source };
    let socket = UnixSocket::bind(&path).map_err(refused(format!("unix:{}", path.display())))?;
    let tcp = match address {
        Some(address) => {
            Some(TcpListener::bind(address).await.map_err(refused(address.to_string()))?)
        }
        None => None,
    };
    let bound = tcp.as_ref().and_then(|tcp| tcp.local_addr().ok());
    let (router, serving) = (router(Arc::clone(app)), TaskTracker::new());
    serving.spawn(socket.serve(router.clone(), stopping.clone()));
    if let Some(tcp) = tcp {
        serving.spawn(serve_tcp(tcp, router, Limits::default(), stopping.clone()));
    }
    ready(Ready { address: bound, socket: path });
    serving.close();
    serving.wait().await;
    Ok(())
}

fn engine_config(config: &Config) -> Result<EngineConfig, DaemonError> {
    let mut engine = EngineConfig::default();
    if let Some(poll) = config.poll {
        engine.poll_every = poll.duration();
    }
    if let Some(width) = config.lane_width {
        engine.lane_width = width.max(1);
    }
    if let Some(keep) = config.keep_done {
        engine.keep_done = ostler_model::Millis(keep.0);
    }
    for (hypervisor, rules) in &config.rules {
        engine.rules.insert(hypervisor.parse()?, rules.parse()?);
    }
    Ok(engine)
}

/// Checks that the bindings of snapshot rules name drivers that are loaded. Otherwise a misspelt
/// name would be noticed only when somebody wants the first snapshot.
fn bindings(
    rules: &BTreeMap<DriverName, DriverName>,
    registry: &Registry,
) -> Result<(), ConfigError> {
    let loaded = registry.list();
    for (hypervisor, rules) in rules {
        let missing =
            registry.hypervisor(hypervisor).err().map(|err| (err, hypervisor, "hypervisor"));
        let missing = missing
            .or_else(|| registry.rules(rules).err().map(|err| (err, rules, "snapshot-rules")));
        let Some((err, name, kind)) = missing else { continue };
        let known = loaded
            .iter()
            .filter(|(_, kinds)| kinds.contains(&kind))
            .map(|(info, _)| info.name.as_str());
        let near = ostler_api::nearest(name.as_str(), known)
            .map_or_else(String::new, |near| format!("; did you mean {near}?"));
        let problem = format!("{err}{near}");
        return Err(ConfigError::Rules {
            hypervisor: hypervisor.to_string(),
            rules: rules.to_string(),
            problem,
        });
    }
    Ok(())
}

/// Loads the built-in driver, those of the plugin directory, and those that operators added. The
/// second value is true if all could be loaded. A driver that could not be loaded is named in the
/// log and left out: its hosts cannot be asked then, and everything else works.
async fn drivers(
    config: &Config,
    data: &Path,
    store: &Store,
    registry: &Registry,
) -> Result<(Loader, bool), DaemonError> {
    let kvm: DriverName = KVM.parse()?;
    let mut all = true;
    if let Err(err) = enter_kvm(registry, kvm.clone()) {
        all = false;
        tracing::error!(driver = %kvm, error = chain(&err), "a driver is not loaded");
    }
    if config.trust.pins_in_vain() {
        tracing::warn!("[trust] pinned has no effect unless the policy is pinned");
    }
    let options = HostOptions {
        confine: confine(config)?,
        earlier_process: true,
        epochs: Some(config.commands.epochs.clone().unwrap_or_else(|| EPOCHS.into())),
        compiler: config.compiler(),
        cache_dir: Some(data.join("cache")),
        audit: Arc::new(AuditTrail::start(store.clone())),
        sites: Arc::new(StoreSites(store.clone())),
        secrets: Arc::new(StoreSecrets(store.clone())),
        trust: config.trust.trust().map_err(ConfigError::from)?,
        ..HostOptions::default()
    };
    let loader = Loader::new(Host::new(options)?, data.join("drivers"), BTreeSet::from([kvm]));
    for path in plugin_files(config.plugin_dir.as_deref())? {
        match loader.load_file(&path, &config.drivers).await {
            Ok(entry) => registry.insert(entry),
            Err(err) => {
                all = false;
                let error = err.words();
                tracing::error!(path = %path.display(), error, "a driver is not loaded");
                if let Some(left_out) = loader.left_out(&path, None, &err).await {
                    registry.leave_out(left_out);
                }
            }
        }
    }
    let (rows, oldest) = {
        let reader = store.read()?;
        (reader.drivers()?, oldest_operation(&reader)?)
    };
    loader.tidy(&rows).await;
    for row in rows.into_iter().filter(|row| row.enabled) {
        match loader.load_row(&row).await {
            Ok(entry) => {
                registry.insert(entry);
                swap::keep_earlier(&loader, registry, &row, oldest).await;
            }
            Err(err) => {
                all = false;
                tracing::error!(driver = %row.name, error = err.words(), "a driver is not loaded");
                let file = Path::new(&row.file);
                if let Some(left_out) = loader.left_out(file, Some(&row), &err).await {
                    registry.leave_out(left_out);
                }
            }
        }
    }
    Ok((loader, all))
}

/// Whether commands are confined. A warning says so if they are not and should be.
fn confine(config: &Config) -> Result<Confine, ConfigError> {
    let confine = Confine::from(config.commands.confine);
    if confine != Confine::Never && !ostler_wasm::can_confine() {
        if confine == Confine::Always {
            return Err(ConfigError::NotConfined);
        }
        tracing::warn!(
            "commands that drivers run on this machine are not confined: its kernel has no \
             Landlock (Linux 5.19 or newer, `landlock` among its security modules)"
        );
    }
    Ok(confine)
}

fn enter_kvm(registry: &Registry, name: DriverName) -> Result<(), DriverProblem> {
    let driver = Arc::new(Kvm::new(KvmOptions::default()));
    let info = DriverInfo {
        name,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        description: "KVM and QEMU through libvirt".to_owned(),
        origin: DriverOrigin::BuiltIn,
        abilities: driver.abilities().to_vec(),
        settings: Some(ostler_libvirt::settings()),
    };
    registry.insert(DriverEntry::new(info, vec![DriverKind::Hypervisor(driver)])?);
    Ok(())
}

/// The components of the plugin directory, in the order of their names.
fn plugin_files(dir: Option<&Path>) -> Result<Vec<PathBuf>, DaemonError> {
    let Some(dir) = dir else { return Ok(Vec::new()) };
    let failed = |source| DaemonError::File { what: "read", path: dir.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "wasm") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Makes the first admin token of a new store. The file is written before the token is committed. A
/// crash in between leaves a file with a secret that is not valid, and the next start writes it
/// anew. The other order could leave a token whose secret nobody has.
async fn first_token(engine: &Engine, data: &Path) -> Result<(), DaemonError> {
    if !engine.store().read()?.tokens()?.is_empty() {
        return Ok(());
    }
    let (secret, path) = (new_secret(), data.join(TOKEN_FILE));
    write_private(&path, &secret).map_err(|source| DaemonError::File {
        what: "write",
        path: path.clone(),
        source,
    })?;
    let row = TokenRow {
        name: ADMIN.to_owned(),
        hash_hex: hash(&secret),
        scopes: vec![ADMIN.to_owned()],
        created: now(),
        expires: None,
    };
    engine.change(ResourceChange::TokenPut(row), "ostlerd").await?;
    tracing::info!(path = %path.display(), "the first admin token is in this file");
    Ok(())
}
