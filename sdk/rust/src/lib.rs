#![doc = include_str!("../README.md")]
//!
//! The module `recipes` has a recipe for each thing that a driver can ask its host for.
#![deny(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(target_family = "wasm")]
#[allow(missing_docs, clippy::all, unsafe_op_in_unsafe_fn, unreachable_pub)]
#[doc(hidden)]
pub mod bindings;

#[cfg(target_family = "wasm")]
mod adapter;
mod call;
#[cfg(target_family = "wasm")]
mod component;
mod described;
mod error;
mod export;
#[cfg(feature = "serde")]
mod kept;
mod sys;
mod traits;
mod types;
#[cfg(target_family = "wasm")]
mod wire;
mod words;

pub mod host;
mod http;
#[cfg(not(target_family = "wasm"))]
pub mod mock;
pub mod qcow2;
#[cfg(not(target_family = "wasm"))]
#[doc = include_str!("../RECIPES.md")]
pub mod recipes {}

#[cfg(target_family = "wasm")]
pub use adapter::Adapter;
pub use call::Stamped;
#[cfg(target_family = "wasm")]
pub use component::Call;
pub use described::Described;
pub use error::{Error, ErrorKind};
#[cfg(feature = "serde")]
pub use kept::Kept;
#[cfg(not(target_family = "wasm"))]
pub use mock::Call;
pub use traits::{
    Adopt, Changes, Console, DiskCopy, Fence, Hotplug, Hypervisor, LiveResize, Metrics, Migrate,
    Reboot, SnapshotRules, Snapshots, Suspend, Transfer, TransferImages, TransferInspect,
    TransferLarger, TransferUsage,
};
pub use types::{
    Batch, CopyJob, Destination, Disk, DomainDisk, DomainNic, DomainSeen, DomainSpec, EffectId,
    Endpoint, Exit, Extra, Fate, FileLook, FilePath, FileRef, FromImage, HostFacts, Identity, Job,
    JobRunning, JobState, JobStatus, LargerJob, Listed, Observation, OpaqueState, Outcome,
    PrepareJob, Progress, Question, Sample, SaveBackJob, Source, Stat, Usage, Verdict, WildDisk,
    WildDomain, WildNic,
};
pub use words::{
    ConsoleKind, DiskFormat, FileKind, Firmware, Graphics, Item, LogLevel, MigrationMode, Power,
    PowerReason, UnknownWord,
};
