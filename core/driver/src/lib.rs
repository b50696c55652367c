//! The seam between the engine and everything that touches a hypervisor or a disk.
//!
//! One set of traits: [`Hypervisor`], [`Transfer`], [`SnapshotRules`]. The built-in KVM driver and WebAssembly components are
//! equal behind it; the [`conformance`] suite is run against all of them, and against [`fake`].
//!
//! What every driver promises (the suite checks it):
//! - **Every call converges.** A *level* call is judged by what is: a repeat finds it so and answers success. An *edge* call
//!   (press, reboot, reset) writes its identity into durable metadata at the host first, and is sent at most once an identity.
//! - **Every mutating call compares generations at the host** and answers `stale` if it finds a higher one.
//! - **An answer says what is.** [`Outcome::seen`](ostler_model::Outcome) is a look made after the effect, within the call.
//! - **Absent is a fact.** A driver that cannot ask says so with an error, never with *absent*.
//! - **A dropped call is not forgotten.** If the host side of a dropped call may still be at work, `observe` answers an error
//!   (`retry`, code `busy`) for that domain until it is not. Only `destroy` may run beside another mutating call.

mod context;
mod registry;
mod spec;
mod traits;

pub mod conformance;
pub mod fake;

pub use context::{CallControl, Site};
pub use registry::{DriverInfo, DriverKind, DriverOrigin, Registry, RegistryError};
pub use spec::{DiskSource, DomainDisk, DomainNic, DomainSpec, FileKind, FileLook, FileRef, Layer, TransferJob};
pub use traits::{
    ChangeBatch, DomainMetrics, Hypervisor, HypervisorJob, JobStatus, Listed, NOT_ABLE, RulesQuestion, RulesVerdict, SnapshotFate,
    SnapshotRules, Transfer, Verdict,
};
