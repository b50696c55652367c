//! The SDK for drivers of Ostler. Start with `docs/plugin-guide.md`; `plugins/` has examples.
//!
//! Implement [`Hypervisor`] (and one trait for each ability), [`Transfer`] or [`SnapshotRules`] for
//! a type of yours, and call [`export!`] once. The other types of the contract are re-exported here
//! under their own names. [`host`] has the calls that a driver can make.
//!
//! The crate also compiles for other targets than WebAssembly, so that a driver can be tested like
//! any other code. There the calls in [`host`] are answered by a `MockHost` of the test.

#[allow(missing_docs, clippy::all, unsafe_op_in_unsafe_fn, unreachable_pub)]
#[doc(hidden)]
pub mod bindings;

#[cfg(target_family = "wasm")]
mod adapter;
mod call;
mod described;
mod error;
mod export;
mod sys;
mod traits;

pub mod host;
mod http;
#[cfg(not(target_family = "wasm"))]
pub mod mock;
pub mod qcow2;

#[cfg(target_family = "wasm")]
pub use adapter::Adapter;
pub use bindings::adopt::exports::ostler::driver::adopt::{WildDisk, WildDomain, WildNic};
pub use bindings::changes::exports::ostler::driver::changes::Batch;
pub use bindings::console::exports::ostler::driver::console::Endpoint;
#[cfg(target_family = "wasm")]
pub use bindings::imports::ostler::driver::call_context::Call;
pub use bindings::imports::ostler::driver::exec::Exit;
pub use bindings::imports::ostler::driver::files::{FileStat as Stat, Path as FilePath};
pub use bindings::imports::ostler::driver::types::{
    Description, DomainDisk, DomainNic, DomainSeen, DomainSpec, EffectId, Error, ErrorKind,
    FileRef, HostFacts, Identity, JobStatus, Observation, OpaqueState, Outcome, Progress,
};
pub use bindings::metrics::exports::ostler::driver::metrics::Counters as Sample;
pub use bindings::migrate::exports::ostler::driver::migrate::Destination;
pub use bindings::rules::exports::ostler::driver::snapshot_rules::{Disk, Fate, Question, Verdict};
pub use bindings::transfer::exports::ostler::driver::transfer::{
    CopyJob, FromImage, Job, PrepareJob, Source,
};
pub use bindings::transfer_images::exports::ostler::driver::transfer_images::SaveBackJob;
pub use bindings::transfer_inspect::exports::ostler::driver::transfer_inspect::FileLook;
pub use bindings::transfer_usage::exports::ostler::driver::transfer_usage::Space as Usage;
pub use call::Stamped;
pub use described::Described;
#[cfg(not(target_family = "wasm"))]
pub use mock::Call;
pub use traits::{
    Adopt, Changes, Console, DiskCopy, Fence, Hotplug, Hypervisor, Listed, LiveResize, Metrics,
    Migrate, Reboot, SnapshotRules, Snapshots, Suspend, Transfer, TransferImages, TransferInspect,
    TransferUsage,
};

/// The power state of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// The domain runs.
    Running,
    /// The domain exists, but its virtual CPUs do not run.
    Paused,
    /// The domain is defined, but off.
    Off,
    /// The domain has crashed, and was preserved so that somebody can look at it.
    Crashed,
}

/// The reason for the power state of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerReason {
    /// The reason is not known.
    None,
    /// Somebody did it at the hypervisor.
    Person,
    /// The guest switched itself off.
    Guest,
    /// The domain was destroyed.
    Destroyed,
    /// The domain's process died.
    Crashed,
    /// The domain was saved.
    Saved,
    /// The domain moved away.
    Migrated,
    /// A disk failed.
    IoError,
    /// A watchdog has acted.
    Watchdog,
    /// The domain is being created or restored. Its state is not final yet.
    Starting,
}
