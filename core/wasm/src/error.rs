//! The reasons why a file is not a driver that this host can run.

use crate::compiler::CompileProblem;
use crate::embedded::SplitProblem;
use crate::trust::Distrust;
use ostler_model::DriverError;
use std::path::PathBuf;

/// Why a component was not loaded. Each error names the file or the driver, says what is wrong, and
/// what to do.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error(
        "cannot read driver file {}: {source}; check the path and its permissions",
        path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file is larger than a driver may be.
    #[error(
        "{what} is {size} bytes; a driver may be at most {most}: build it with --release and strip \
         its debug information"
    )]
    TooLarge {
        /// The file or digest.
        what: String,
        /// Its size in bytes.
        size: u64,
        /// The largest size in bytes.
        most: u64,
    },
    /// Not WebAssembly, or a damaged file.
    #[error(
        "{what} is not a WebAssembly component: {problem}; build it with `cargo build --release \
         --target wasm32-wasip2`"
    )]
    NotWasm {
        /// The file or digest.
        what: String,
        /// The parser's error.
        problem: String,
    },
    /// The signature inside of it is not where and how it must be.
    #[error("{what} was altered after it was signed: {problem}; get it again from its vendor")]
    Altered {
        /// The file or digest.
        what: String,
        /// The problem.
        problem: SplitProblem,
    },
    /// The operator's trust policy refuses it.
    #[error(transparent)]
    Distrusted(#[from] Distrust),
    /// A core module, which has no typed interface.
    #[error(
        "{what} is a core module, not a component; build it with `--target wasm32-wasip2` instead \
         of wasip1 or unknown-unknown"
    )]
    CoreModule {
        /// The file or digest.
        what: String,
    },
    /// The file has no manifest.
    #[error(
        "{what} has no manifest (custom section `ostler:manifest`); export the driver with the \
         SDK's `export!` macro, or put one in with `ostler plugin embed`"
    )]
    NoManifest {
        /// The file or digest.
        what: String,
    },
    /// The manifest is wrong.
    #[error("the manifest of {what} is not valid: {problem}")]
    Manifest {
        /// The file or digest.
        what: String,
        /// The problem, and what is allowed.
        problem: String,
    },
    /// Built for another contract.
    #[error(
        "driver {driver} was built for contract {built} ({interface}); this host serves {serves}: \
         {hint}"
    )]
    ForeignContract {
        /// The driver.
        driver: String,
        /// The contract that it was built for.
        built: String,
        /// The interface that says so.
        interface: String,
        /// The contract that this host serves.
        serves: String,
        /// Advice for the operator.
        hint: &'static str,
    },
    /// It exports no kind of driver.
    #[error(
        "driver {driver} exports none of hypervisor, transfer and snapshot-rules of {serves} (it \
         exports: {exports}); include `hypervisor-driver`, `transfer-driver` or `rules-driver` in \
         its world"
    )]
    NoKind {
        /// The driver.
        driver: String,
        /// The contract that this host serves.
        serves: String,
        /// The interfaces that it exports instead.
        exports: String,
    },
    /// It imports something that this host does not offer.
    #[error(
        "driver {driver}, built for contract {built}, imports {missing}, which this host does not \
         offer (it serves {serves} and WASI 0.2 cli, io, clocks, filesystem, random and sockets); \
         build the driver without it, or upgrade this host"
    )]
    UnknownImports {
        /// The driver.
        driver: String,
        /// The contract version that it was built for.
        built: String,
        /// The imports that this host does not offer.
        missing: String,
        /// The contract that this host serves.
        serves: String,
    },
    /// Its interfaces have the right names, but other types.
    #[error(
        "driver {driver} does not fit contract {serves}: {problem}; build it against the released \
         WIT of that version"
    )]
    Mismatch {
        /// The driver.
        driver: String,
        /// The contract that this host serves.
        serves: String,
        /// The linker's error.
        problem: String,
    },
    /// No instance of it can be made.
    #[error(
        "driver {driver} does not start: {source}; an instance is made for each call, so no call \
         of this driver would work"
    )]
    NoStart {
        /// The driver.
        driver: String,
        /// The error of the first instance.
        source: DriverError,
    },
    /// It was not compiled.
    #[error("driver {driver} cannot be compiled: {problem}")]
    Compile {
        /// The driver.
        driver: String,
        /// The compiler's error.
        problem: CompileProblem,
    },
    /// The host itself failed.
    #[error("driver {driver} could not be prepared: {problem}")]
    Host {
        /// The driver.
        driver: String,
        /// The error.
        problem: String,
    },
}

/// Why a host for components cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The engine's configuration is refused here.
    #[error("the WebAssembly engine cannot be started: {0}")]
    Engine(String),
    /// A directory cannot be made or is not private.
    #[error(
        "directory {} cannot be used: {problem}; it must be writable by this user only",
        path.display()
    )]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The problem.
        problem: String,
    },
    /// The file that seals compiled code cannot be made or read.
    #[error(
        "{} cannot be used: {source}; it is made anew if it is removed, and then all drivers are \
         compiled again",
        path.display()
    )]
    CacheKey {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A thread cannot be started.
    #[error("the epoch ticker cannot be started: {0}")]
    Ticker(std::io::Error),
    /// The threads of guests cannot be started.
    #[error("the threads that drivers run on cannot be started: {0}")]
    GuestThreads(std::io::Error),
}
