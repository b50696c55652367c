//! The types of the HTTP API between `ostlerd` and its clients, its problems, and a client.
//!
//! **Invariant:** this crate uses no core crate, and of the core crates only `server` and `cli` use
//! this one. Stored types and sent types are different. `ostler-server` converts them field by
//! field, so that neither can change by accident.
//!
//! Inputs with unknown fields are refused, and the error names the nearest known field
//! ([`decode()`]). Outputs may grow, so clients must ignore fields that they do not know. States,
//! verbs and codes are sent as words, and clients must accept words that they do not know.

mod quantity;
mod time;

mod decode;
mod problem;

mod action;
mod admin;
mod advice;
mod ask;
mod datastore;
mod driver;
mod event;
mod figures;
mod host;
mod image;
mod operation;
mod secret;
mod spec;
mod token;
mod vm;

mod client;

pub use action::{ActionBody, ActionReply, Destroyed, PlanPreview, VERBS, VerbInfo, verb_info};
pub use admin::{
    BackupBody, BackupReply, CheckReply, Health, RestoredReply, UnreconciledVm, Version,
};
pub use advice::{ADVICE, Advice, Possible};
pub use ask::{
    AdoptBody, DiskAttachBody, DiskDetachBody, DiskSnapshotBody, DiskSnapshotCancelBody,
    ForgetBody, MigrateBody, NicAttachBody, NicDetachBody, NothingBody, RenameBody, RescheduleBody,
    ResizeBody, ScheduleBody, SnapshotBody, SnapshotCreateBody, UnscheduleBody, UpdateBody,
};
pub use client::{
    Client, ClientError, Endpoint, EventFilter, EventStream, InvalidEndpoint, ListFilter,
    SOCKET_NAME, Sent, default_data_dir,
};
pub use datastore::{Datastore, NewDatastore};
pub use decode::{Misfit, decode, nearest};
pub use driver::{
    BindRules, COMPONENT_TYPE, Driver, DriverFile, DriverOrigin, DriverPause, DriverSetting,
    EarlierDriver, NewDriver, RulesOf, SIGNATURE_HEADER, SignedBy, Upgrade,
};
pub use event::{Event, StreamEnd};
pub use figures::{DriverFigures, FunctionFigures, HostFigures, RecentCalls};
pub use host::{ChangeHost, Host, HostDriver, HostHealth, NewHost, SshAddress};
pub use image::{Image, NewImage};
pub use operation::{DriverCall, DriverCalls, DriverComplaint, Operation, OperationPage, Step};
pub use problem::{Candidate, Problem, code};
pub use quantity::{CpuMilli, InvalidQuantity, Size, Span};
pub use secret::{DriverSecret, NewSecret, Secret};
pub use spec::{Boot, Disk, Headroom, Nic, Patience, VmSpec};
pub use time::Time;
pub use token::{NewToken, Token, TokenMade};
pub use vm::{
    ActiveOperation, ConsoleChunk, Counters, CreateVm, DiskNow, Failure, HistoryEntry, Leftover,
    Moving, NicNow, Placed, ScheduleEntry, SnapshotAdvice, SnapshotEntry, Vm, VmPage, VmSummary,
    Why,
};

/// The most rows of one page. 1,000 summaries are about 300 KiB; a client parses them in a few
/// milliseconds.
pub const PAGE_MAX: u32 = 1000;
/// How many rows a page has if the request does not say.
pub const PAGE_DEFAULT: u32 = 100;
/// The largest body of a request. It has room for many specifications with the most user data (64
/// KiB).
pub const BODY_MAX: usize = 1024 * 1024;
