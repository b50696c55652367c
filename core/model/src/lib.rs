//! The types that every part of Ostler shares: identities, a VM's specification, states,
//! operations, steps, effects and errors.
//!
//! **Invariant:** no IO, no async, no clock, no randomness lives here. Every other core crate
//! depends on this one, except `ostler-api` and `ostler-cli`.
//!
//! The store keeps these types inside a versioned envelope (`ostler-store`). If a change of a type
//! makes older rows unreadable and `#[serde(default)]` cannot help, the row needs a higher
//! `Row::VERSION` with an `upgrade` in `ostler-store`. HTTP uses a separate set of types
//! (`ostler-api`), which are converted explicitly.

#![deny(clippy::wildcard_enum_match_arm)]

mod id;
mod name;
mod schedule;
mod time;

mod infra;
mod spec;

mod state;
mod verb;

mod claim;
mod destroyed;
mod effect;
mod observation;
mod step;

mod operation;
mod reason;
mod record;
mod snapshot;

mod event;
mod hint;
mod not_done;
mod planned;
mod refusal;
mod request;
mod resource;
mod restored;
mod secret;
mod unfit;
mod wild;

pub use claim::{
    Amount, Ask, Book, BookKey, Bound, Claim, ClaimRefused, Holding, Lack, Page, Takes, Terms,
    held_anew, holding_of,
};
pub use destroyed::Destroyed;
pub use effect::{
    Call, CallContext, CallResult, Effect, EffectClass, EffectKey, Item, JobCall, Lane, NowCall,
    OpaqueState, Outcome, Progress,
};
pub use event::{Event, EventKind};
pub use hint::Hint;
pub use id::{
    DatastoreId, Epoch, EventSeq, Generation, HostId, ImageId, OperationId, StepNo, StoreId,
    Version, VmId, VmUuid,
};
pub use infra::{
    Ability, Capacity, Datastore, DatastoreKind, DriverRef, ExecTransport, Host, HostFacts,
    HostState, HypervisorId, Identified, Image, ImageState, InvalidHypervisorId, Usage,
};
pub use name::{
    DatastoreName, DiskName, DriverName, FilePath, HostName, ImageName, InvalidName, MacAddress,
    RelPath, SnapshotName, VmName,
};
pub use not_done::{Came, NotDone};
pub use observation::{
    DomainSeen, DriverError, ErrorKind, Identity, Observation, Power, PowerReason,
};
pub use operation::{
    Active, Ended, Journal, OperationRecord, Phase, Size, Stated, StepTrace, Subject,
};
pub use planned::Planned;
pub use reason::{Fault, Reason};
pub use record::{
    DiskState, Failure, FilesAt, HistoryEntry, Leftover, Move, NewImage, OpenCall, Placement,
    RecoveryFile, Sighting, Storage, VmRecord,
};
pub use refusal::{Cause, Part, Refusal, RefusalKind, Shown};
pub use request::{Answer, Args, ImageChange, Request};
pub use resource::{Resource, ResourceKind, ResourceRefused, UsedBy};
pub use restored::{GENERATIONS_SKIPPED, LostTime, Restored};
pub use schedule::{
    CronExpr, Due, InvalidSchedule, LocalTime, Misfire, Moment, MonthDay, Period, SCHEDULES_MAX,
    Schedule, ScheduleId, ScheduleState, TimeOfDay, TimeZoneName, Weekday, When, YearDay,
};
pub use secret::{SecretKey, SecretName, SecretValue};
pub use snapshot::{Hardware, HardwareChange, Snapshot};
pub use spec::{
    BootSpec, DiskFormat, DiskSource, DiskSpec, Firmware, Graphics, Headroom, InvalidSpec, NicSpec,
    Patience, VmSpec,
};
pub use state::{Monitored, State, StateKind};
pub use step::{Folder, Goal, Scope, Side, StepKind};
pub use time::{Millis, Timestamp};
pub use unfit::Unfit;
pub use verb::{Family, Strength, Verb};
pub use wild::WildDomain;
