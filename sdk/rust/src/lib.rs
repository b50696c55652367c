//! Writes drivers for Ostler: `docs/plugin-guide.md` is the way in, `plugins/` are the examples.
//!
//! Implement [`Hypervisor`] (and one trait for each ability), [`Transfer`] or [`SnapshotRules`] for a type of yours, and say
//! [`export!`] once. The rest of the contract's words are re-exported here under their own names; [`host`] is what a driver may do.
//!
//! Off WebAssembly the crate compiles and its types work, so that a driver's own logic is tested like any other code; only the
//! calls in [`host`] panic there.

#[allow(missing_docs, clippy::all, unsafe_op_in_unsafe_fn, unreachable_pub)]
#[doc(hidden)]
pub mod bindings;

mod adapter;
mod call;
mod error;
mod export;
mod traits;

pub mod host;
pub mod qcow2;

pub use adapter::{Adapter, Described};
pub use bindings::adopt::exports::ostler::driver::adopt::{WildDisk, WildDomain, WildNic};
pub use bindings::changes::exports::ostler::driver::changes::Batch;
pub use bindings::console::exports::ostler::driver::console::Endpoint;
pub use bindings::imports::ostler::driver::call_context::Call;
pub use bindings::imports::ostler::driver::exec::Exit;
pub use bindings::imports::ostler::driver::files::{FileStat as Stat, Path as FilePath};
pub use bindings::imports::ostler::driver::types::{
    Description, DomainDisk, DomainNic, DomainSeen, DomainSpec, EffectId, Error, ErrorKind, FileRef, HostFacts, Identity,
    JobStatus, Observation, OpaqueState, Outcome, Progress,
};
pub use bindings::metrics::exports::ostler::driver::metrics::Counters as Sample;
pub use bindings::migrate::exports::ostler::driver::migrate::Destination;
pub use bindings::rules::exports::ostler::driver::snapshot_rules::{Disk, Fate, Question, Verdict};
pub use bindings::transfer::exports::ostler::driver::transfer::{CopyJob, FromImage, Job, PrepareJob, Source};
pub use bindings::transfer_images::exports::ostler::driver::transfer_images::SaveBackJob;
pub use bindings::transfer_inspect::exports::ostler::driver::transfer_inspect::FileLook;
pub use bindings::transfer_usage::exports::ostler::driver::transfer_usage::Space as Usage;
pub use traits::{
    Adopt, Changes, Console, DiskCopy, Fence, Hotplug, Hypervisor, Listed, LiveResize, Metrics, Migrate, Reboot, SnapshotRules,
    Snapshots, Suspend, Transfer, TransferImages, TransferInspect, TransferUsage,
};

/// What a domain does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// It runs.
    Running,
    /// It is there, its virtual CPUs stand still.
    Paused,
    /// It is defined, and off.
    Off,
    /// It crashed and was preserved to be looked at.
    Crashed,
}

/// Why a domain does what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerReason {
    /// Not told.
    None,
    /// Somebody at the hypervisor did it.
    Person,
    /// The guest switched itself off.
    Guest,
    /// It was destroyed.
    Destroyed,
    /// Its process died.
    Crashed,
    /// It was saved.
    Saved,
    /// It moved away.
    Migrated,
    /// A disk failed.
    IoError,
    /// The watchdog bit.
    Watchdog,
    /// Being created or restored: not yet to be judged.
    Starting,
}
