//! The interface between the engine and everything that touches a hypervisor or a disk.
//!
//! There is one set of traits: [`Hypervisor`] with a trait for each ability, [`Transfer`] with its
//! optional parts, and [`SnapshotRules`]. The built-in KVM driver and WebAssembly components
//! implement the same traits. The conformance suite of `ostler-driver-testkit` runs against all of
//! them.
//!
//! Every driver promises this, and the suite checks it:
//! - **Every call converges.** A *level* call compares its goal with what is there: a repeat finds
//!   the goal and answers success. An *edge* call (press, reboot, reset, revert) first writes its
//!   effect key into durable metadata at the host, and is sent at most once per key.
//! - **Every mutating call compares generations at the host** and answers `stale` if it finds a
//!   higher one.
//! - **An answer says what is there.** [`Outcome::seen`](ostler_model::Outcome) is a look after the
//!   effect, within the call.
//! - **Absent is a fact.** A driver that cannot ask the host answers an error, never *absent*.
//! - **A dropped call is not forgotten.** The host may still work on a call that was dropped. Until
//!   it has ended, `observe` answers an error (`retry`, code `busy`) for that domain. Only
//!   `destroy` may run beside another mutating call.

mod abilities;
mod answers;
mod context;
mod hypervisor;
mod parts;
mod registry;
mod rules;
mod spec;
mod transfer;

pub use abilities::{
    Adopt, Changes, Console, DiskCopy, Fence, Hotplug, LiveResize, Metrics, Migrate, Reboot,
    Snapshots, Suspend,
};
pub use answers::{ChangeBatch, ConsoleEndpoint, DomainMetrics, JobStatus, Listed};
pub use context::{CallControl, Related, Site};
pub use hypervisor::Hypervisor;
pub use parts::{NOT_ABLE, Part, require};
pub use registry::{
    DriverEntry, DriverInfo, DriverKind, DriverOrigin, DriverSecrets, DriverSetting, EARLIER_MAX,
    LeftOut, Registry, RegistryError, SignedBy, WithoutPart,
};
pub use rules::{RulesQuestion, RulesVerdict, SnapshotFate, SnapshotRules, Verdict};
pub use spec::{
    DiskSource, DomainDisk, DomainNic, DomainSpec, FileKind, FileLook, FileRef, Layer, SaveBackJob,
    TransferJob,
};
pub use transfer::{Transfer, TransferImages, TransferInspect};
