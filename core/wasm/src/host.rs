//! The host: one engine, one linker, and the loading of drivers from files.

use crate::budget::{Memory, Places};
use crate::cache::Cache;
use crate::capability;
use crate::cassette::Cassette;
use crate::compiler::{self, Code, Compiler};
use crate::component::{LoadedDriver, Shared};
use crate::confine::Confine;
use crate::cuts::Cuts;
use crate::epoch;
use crate::grants::{
    AuditSink, Grants, LogAudit, NoSecrets, NoSites, SecretDirectory, SiteDirectory,
};
use crate::inspect::{Inspection, SERVES, inspect};
use crate::instance::{BUSY, Bounds, Runner, State};
use crate::package::{Judged, Package};
use crate::recorder::Recording;
use crate::services::Services;
use crate::threads::GuestThreads;
use crate::ticker::Ticker;
use crate::transport::{Lease, Transports};
use crate::trust::Trust;
use crate::usage::Usage;
use crate::work::AllOrphans;
use crate::{HostError, LoadError};
use ostler_model::OperationId;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use wasmtime::component::{Component, Linker};
use wasmtime::{Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// Compilations at once. Compiling a large component takes seconds of CPU: one at a time leaves the
/// machine to the daemon.
const COMPILES_AT_ONCE: usize = 1;
/// The places in the pool for core instances and for tables, per instance of a component. Rust
/// needs 3 core instances and 1 table; others need a few more. The pool has one memory per
/// instance.
const CORE_INSTANCES_EACH: u32 = 4;
/// The memory of an instance that is cleaned and kept instead of given back: several times what a
/// call of a small driver touches.
const KEPT_MEMORY: usize = 512 * 1024;
/// The same for its table of functions, which has a pointer for each function.
const KEPT_TABLE: usize = 64 * 1024;
/// The places in the pool that keep such memory while no call uses them. More would hold memory
/// after a rush is over.
const KEPT_SLOTS: u32 = 32;

/// How long a driver that is loaded waits for a place among the calls of others, and how often it
/// tries.
const PLACE_PATIENCE: Duration = Duration::from_secs(30);
const PLACE_PAUSE: Duration = Duration::from_millis(50);

/// The settings of a host. Take [`HostOptions::default`] and change what matters.
pub struct HostOptions {
    /// Where compiled code is kept. If none, every start compiles again.
    pub cache_dir: Option<PathBuf>,
    /// Where ssh's control sockets are; the path must be short. If none, a temporary directory is
    /// made.
    pub runtime_dir: Option<PathBuf>,
    /// Compiles in a process of its own. If none, this process compiles.
    pub compiler: Option<Compiler>,
    /// The most memory of one instance, in bytes.
    pub max_memory: usize,
    /// The most memory of all instances together, in bytes.
    pub total_memory: usize,
    /// The most calls in progress at once; one more is answered with `retry`, code `driver-busy`.
    /// Half of the places are for calls that wait for changes. Of the others one driver never has
    /// the last eighth.
    pub instances: u32,
    /// The most CPU time that one call may use.
    pub cpu_budget: Duration,
    /// Whether instances come from a pool. If there is too little address space for it, each
    /// instance is made on demand.
    pub pooling: bool,
    /// Receives denials.
    pub audit: Arc<dyn AuditSink>,
    /// Finds other hosts.
    pub sites: Arc<dyn SiteDirectory>,
    /// Finds the secrets that operators have set.
    pub secrets: Arc<dyn SecretDirectory>,
    /// Which components may be loaded.
    pub trust: Trust,
    /// The lease of commands over ssh.
    pub lease: Lease,
    /// Whether commands on this machine are confined.
    pub confine: Confine,
    /// The folder in which command jobs are kept, on every host.
    pub jobs_folder: String,
    /// Whether an earlier process may have left commands at work over ssh. Then no look at a VM
    /// over ssh is answered before the leases of that time are over.
    pub earlier_process: bool,
    /// The folder in which each host keeps the highest epoch of each store, as hosts see it. None:
    /// no host compares epochs.
    pub epochs: Option<PathBuf>,
    /// Stops instances at their calls to the host. For the conformance suite; no daemon has it.
    pub cuts: Option<Cuts>,
    /// Records calls to the host, or answers them, for the authors of drivers. No daemon has it.
    pub cassette: Option<Cassette>,
    /// Watches what drivers use, for their authors. No daemon has it.
    pub usage: Option<Usage>,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            cache_dir: None,
            runtime_dir: None,
            compiler: None,
            // A Rust driver uses 1 to 2 MiB; a scripting language's runtime 20 to 50.
            max_memory: 128 * 1024 * 1024,
            // A thousand calls of a Rust driver.
            total_memory: 2 * 1024 * 1024 * 1024,
            // A call that waits for changes takes one place for each host, and a thousand hosts are
            // served. A place takes 4 GiB of address space, of which 25 KiB are resident.
            instances: 2048,
            cpu_budget: Duration::from_secs(5),
            pooling: true,
            audit: Arc::new(LogAudit),
            sites: Arc::new(NoSites),
            secrets: Arc::new(NoSecrets),
            trust: Trust::default(),
            lease: Lease::default(),
            confine: Confine::default(),
            jobs_folder: crate::jobs::FOLDER.to_owned(),
            earlier_process: false,
            epochs: None,
            cuts: None,
            cassette: None,
            usage: None,
        }
    }
}

/// Runs components. It is cheap to clone; a loaded driver keeps it alive.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

struct Inner {
    engine: Engine,
    linker: Linker<State>,
    cache: Option<Cache>,
    compiler: Option<Compiler>,
    shared: Arc<Shared>,
    compiling: Semaphore,
    pooled: bool,
    trust: Arc<Trust>,
}

/// A component that this host may load: it was judged by the host's trust policy. There is no other
/// way to make one, and nothing else is compiled.
pub struct Vetted {
    package: Package,
    judged: Judged,
    /// The policy that it was judged by.
    trust: Arc<Trust>,
}

impl Vetted {
    /// What the component is.
    #[must_use]
    pub const fn inspection(&self) -> &Inspection {
        &self.judged.inspection
    }

    /// SHA-256 of the whole file, with the signature inside of it.
    #[must_use]
    pub fn file_digest(&self) -> &str {
        &self.judged.file_digest
    }

    /// Its file, and the signature beside it.
    #[must_use]
    pub const fn package(&self) -> &Package {
        &self.package
    }

    /// The bytes of the component, without the signature inside of it.
    fn component(&self) -> &[u8] {
        // The length is that of a part of these bytes.
        self.package.bytes.get(..self.judged.component_len).unwrap_or_default()
    }
}

impl Host {
    /// Starts an engine.
    ///
    /// # Errors
    /// A directory is not private, or the engine is refused by this machine.
    pub fn new(options: HostOptions) -> Result<Self, HostError> {
        let failed = |error: wasmtime::Error| HostError::Engine(format!("{error:#}"));
        let (engine, pooled) = engine(&options).map_err(failed)?;
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).map_err(failed)?;
        capability::add_to_linker(&mut linker).map_err(failed)?;
        let cache =
            options.cache_dir.as_deref().map(|dir| Cache::open(dir, &engine)).transpose()?;
        let runner = Runner {
            ticker: Ticker::start(&engine).map_err(HostError::Ticker)?,
            threads: GuestThreads::start().map_err(HostError::GuestThreads)?,
            places: Places::of(options.instances),
            memory: Memory::new(options.total_memory),
            bounds: Bounds { memory: options.max_memory, cpu: options.cpu_budget },
        };
        let services = Services {
            audit: options.audit,
            sites: options.sites,
            secrets: options.secrets,
            transports: Transports::new(options.runtime_dir, options.lease, options.confine)?,
            jobs_folder: options.jobs_folder,
            recorder: Arc::default(),
            orphans: Arc::new(AllOrphans::default()),
            cuts: options.cuts,
            cassette: options.cassette,
            usage: options.usage,
            epochs: options.epochs.as_deref().map(epoch::folder).transpose()?,
            unkept: Arc::default(),
            earlier_until: options.earlier_process.then(|| Instant::now() + options.lease.over()),
        };
        let services = Arc::new(services);
        let shared = Arc::new(Shared { runner, services, network: Arc::default() });
        Ok(Self(Arc::new(Inner {
            engine,
            linker,
            cache,
            compiler: options.compiler,
            shared,
            compiling: Semaphore::new(COMPILES_AT_ONCE),
            pooled,
            trust: Arc::new(options.trust),
        })))
    }

    /// Whether instances come from a pool.
    #[must_use]
    pub fn pooled(&self) -> bool {
        self.0.pooled
    }

    /// The calls of an operation: those that its drivers got, and those that they made. Empty if
    /// there are none, or if newer ones took their place.
    #[must_use]
    pub fn calls_of(&self, operation: OperationId) -> Recording {
        self.0.shared.services.recorder.of(operation)
    }

    /// Loads a driver from a file.
    ///
    /// # Errors
    /// Why this host cannot run it, or may not load it.
    pub async fn load(&self, file: &Path, grants: Grants) -> Result<LoadedDriver, LoadError> {
        self.load_vetted(self.vet(Package::read(file).await?).await?, grants).await
    }

    /// Loads a driver from memory; `what` names it in errors.
    ///
    /// # Errors
    /// Why this host cannot run it, or may not load it.
    pub async fn load_bytes(
        &self,
        what: &str,
        bytes: Vec<u8>,
        grants: Grants,
    ) -> Result<LoadedDriver, LoadError> {
        self.load_vetted(self.vet(Package::bare(what, bytes)).await?, grants).await
    }

    /// Judges by the trust policy whether a component may be loaded. Compiles and runs nothing.
    ///
    /// # Errors
    /// Why this host could not run it, or may not load it.
    pub async fn vet(&self, package: Package) -> Result<Vetted, LoadError> {
        let (trust, what) = (Arc::clone(&self.0.trust), package.what.clone());
        // Hashing a large file takes a second.
        let judging = tokio::task::spawn_blocking(move || {
            package.judge(&trust).map(|judged| Vetted { package, judged, trust })
        });
        judging.await.map_err(|error| LoadError::Host {
            driver: what,
            problem: format!("the check of its signature: {error}"),
        })?
    }

    /// Loads a driver that was vetted by this host.
    ///
    /// # Errors
    /// Why this host cannot run it, or that another host has vetted it.
    pub async fn load_vetted(
        &self,
        vetted: Vetted,
        grants: Grants,
    ) -> Result<LoadedDriver, LoadError> {
        if !Arc::ptr_eq(&vetted.trust, &self.0.trust) {
            return Err(LoadError::Host {
                driver: vetted.inspection().manifest.name.to_string(),
                problem: "it was judged by the trust policy of another host".to_owned(),
            });
        }
        let component = self.prepared(&vetted).await?;
        let judged = vetted.judged;
        let driver = judged.inspection.manifest.name.to_string();
        let pre =
            self.0.linker.instantiate_pre(&component).map_err(|error| mismatch(&driver, &error))?;
        let loaded = LoadedDriver::new(judged, grants, pre, Arc::clone(&self.0.shared))
            .map_err(|error| mismatch(&driver, &error))?;
        compare(&driver, &loaded).await?;
        Ok(loaded)
    }

    /// The code of what was vetted: from the cache, or compiled now. A driver whose code is kept
    /// does not wait while others are compiled.
    async fn prepared(&self, vetted: &Vetted) -> Result<Component, LoadError> {
        let inspection = vetted.inspection();
        let driver = inspection.manifest.name.to_string();
        let failed = |problem: String| LoadError::Host { driver: driver.clone(), problem };
        let kept = || {
            let digest = inspection.digest.clone();
            self.blocking(move |inner| inner.cache.as_ref()?.load(&inner.engine, &digest))
        };
        if let Some(component) = kept().await.map_err(|error| failed(error.to_string()))? {
            return Ok(component);
        }
        let _turn = self.0.compiling.acquire().await.map_err(|error| failed(error.to_string()))?;
        // The turn before may have been for the same file.
        if let Some(component) = kept().await.map_err(|error| failed(error.to_string()))? {
            return Ok(component);
        }
        let code = match &self.0.compiler {
            Some(compiler) => compiler.compile(vetted.component()).await,
            None => {
                let component = vetted.component().to_vec();
                let here = self.blocking(move |inner| Code::compile(&inner.engine, &component));
                here.await.map_err(|error| failed(error.to_string()))?
            }
        };
        let compile = |problem| LoadError::Compile { driver: driver.clone(), problem };
        let (code, digest) = (code.map_err(compile)?, inspection.digest.clone());
        let loaded = self.blocking(move |inner| {
            let component = code.load(&inner.engine)?;
            if let Some(cache) = &inner.cache {
                cache.save(&code, &digest);
            }
            Ok::<_, wasmtime::Error>(component)
        });
        let loaded = loaded.await.map_err(|error| failed(error.to_string()))?;
        loaded.map_err(|error| failed(format!("{error:#}")))
    }

    /// Does work that blocks, or computes for long.
    fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let inner = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || work(&inner))
    }
}

/// Reads the description of a component from its file, for `ostler plugin inspect`. Runs and
/// compiles nothing.
///
/// # Errors
/// Why this host could not run it.
pub async fn inspect_file(file: &Path) -> Result<Inspection, LoadError> {
    let package = Package::read(file).await?;
    inspect(&package.what, &package.bytes)
}

/// Compares a driver with the contract. Waits for a place, if calls of other drivers have them all.
async fn compare(driver: &str, loaded: &LoadedDriver) -> Result<(), LoadError> {
    let until = Instant::now() + PLACE_PATIENCE;
    loop {
        match loaded.compare().await {
            Ok(compared) => return compared.map_err(|error| mismatch(driver, &error)),
            Err(error) if error.code == BUSY && Instant::now() < until => {
                tokio::time::sleep(PLACE_PAUSE).await;
            }
            Err(source) => {
                return Err(LoadError::NoStart { driver: driver.to_owned(), source });
            }
        }
    }
}

fn mismatch(driver: &str, error: &wasmtime::Error) -> LoadError {
    LoadError::Mismatch {
        driver: driver.to_owned(),
        serves: SERVES.to_owned(),
        problem: format!("{error:#}"),
    }
}

/// An engine with a pool, or without one if the pool's address space is not available.
fn engine(options: &HostOptions) -> wasmtime::Result<(Engine, bool)> {
    let config = compiler::config();
    if options.pooling {
        let mut pool = PoolingAllocationConfig::new();
        let parts = options.instances.saturating_mul(CORE_INSTANCES_EACH);
        pool.total_component_instances(options.instances).total_stacks(options.instances);
        pool.total_core_instances(parts).total_tables(parts).total_memories(options.instances);
        pool.max_memory_size(options.max_memory);
        // A call dirties about twenty pages. Restoring those pages costs a copy of them. Giving
        // them back to the system costs a system call, then a page fault for each at the next call,
        // and an interrupt of every other CPU for each fault.
        if PoolingAllocationConfig::is_pagemap_scan_available() {
            pool.pagemap_scan(Enabled::Yes);
            pool.linear_memory_keep_resident(KEPT_MEMORY).table_keep_resident(KEPT_TABLE);
        }
        pool.max_unused_warm_slots(KEPT_SLOTS);
        let mut pooled = config.clone();
        pooled.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        match Engine::new(&pooled) {
            Ok(engine) => return Ok((engine, true)),
            Err(error) => {
                tracing::warn!("no pool for driver instances, each is made on demand: {error:#}")
            }
        }
    }
    Engine::new(&config).map(|engine| (engine, false))
}
