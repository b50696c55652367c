//! What travels between `ostlerd` and those who use it: the words of the HTTP API, its problems, and a client.
//!
//! **Invariant:** no core crate is known here, and no core crate but `server` and `cli` knows this one. What is stored and what is
//! sent are different types; `ostler-server` converts, field by field, so that neither can change by accident.
//!
//! Inputs refuse unknown fields and name the nearest known one ([`decode()`]); outputs may grow, so clients ignore what they
//! do not know. States, verbs and codes travel as words: a client must live with words it has not met.

mod quantity;
mod time;

mod decode;
mod problem;

mod action;
mod admin;
mod ask;
mod datastore;
mod driver;
mod event;
mod host;
mod image;
mod operation;
mod spec;
mod token;
mod vm;

mod client;

pub use action::{ActionBody, ActionReply, Destroyed, PlanPreview, VERBS, VerbInfo, verb_info};
pub use admin::{BackupBody, BackupReply, CheckReply, Health, RestoredReply, UnreconciledVm, Version};
pub use ask::{
    AdoptBody, DiskAttachBody, DiskDetachBody, DiskSnapshotBody, DiskSnapshotCancelBody, ForgetBody, MigrateBody, NicAttachBody,
    NicDetachBody, NothingBody, RenameBody, RescheduleBody, ResizeBody, ScheduleBody, SnapshotBody, SnapshotCreateBody,
    UnscheduleBody, UpdateBody,
};
pub use client::{
    Client, ClientError, Endpoint, EventFilter, EventStream, InvalidEndpoint, ListFilter, SOCKET_NAME, Sent, default_data_dir,
};
pub use datastore::{Datastore, NewDatastore};
pub use decode::{Misfit, decode, nearest};
pub use driver::{BindRules, Driver, DriverOrigin, NewDriver, RulesOf};
pub use event::{Event, StreamEnd};
pub use host::{ChangeHost, Host, HostDriver, HostHealth, NewHost, SshAddress};
pub use image::{Image, NewImage};
pub use operation::{DriverComplaint, Operation, OperationPage, Step};
pub use problem::{Candidate, Problem, code};
pub use quantity::{CpuMilli, InvalidQuantity, Size, Span};
pub use spec::{Boot, Disk, Headroom, Nic, Patience, VmSpec};
pub use time::Time;
pub use token::{NewToken, Token, TokenMade};
pub use vm::{
    ActiveOperation, ConsoleChunk, Counters, CreateVm, DiskNow, Failure, HistoryEntry, Leftover, Moving, NicNow, Placed,
    ScheduleEntry, SnapshotAdvice, SnapshotEntry, Vm, VmPage, VmSummary, Why,
};

/// The most rows of one page: 1,000 summaries are about 300 KiB, which a client parses in a few milliseconds.
pub const PAGE_MAX: u32 = 1000;
/// How many rows a page has when nothing else is asked for.
pub const PAGE_DEFAULT: u32 = 100;
/// The largest body of a request: a specification with the most user data (64 KiB) fits many times.
pub const BODY_MAX: usize = 1024 * 1024;
