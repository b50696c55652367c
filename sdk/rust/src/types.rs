//! The records of the contract that all kinds of driver use.
//!
//! Their fields are those of `sdk/wit/0.1`, and never change within 0.1. With the feature `serde`
//! each of them can be written and read, with the names of the contract, so that a driver can keep
//! it in a file or in its state.

mod domain;
mod rules;
mod transfer;

pub use domain::{
    Batch, Destination, DomainDisk, DomainNic, DomainSeen, DomainSpec, Endpoint, HostFacts, Listed,
    Sample, WildDisk, WildDomain, WildNic,
};
pub use rules::{Disk, Fate, Question, Verdict};
pub use transfer::{
    CopyJob, FileLook, FromImage, Job, LargerJob, PrepareJob, SaveBackJob, Source, Usage,
};

use crate::{FileKind, Item};

/// Gives all records the same traits.
macro_rules! records {
    ($($(#[$meta:meta])* pub $kind:ident $name:ident { $($body:tt)* })*) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[cfg_attr(
            feature = "serde",
            derive(serde::Serialize, serde::Deserialize),
            serde(rename_all = "kebab-case")
        )]
        pub $kind $name { $($body)* }
    )* };
}
use records;

/// The open extension of a record. A driver ignores keys that it does not know.
pub type Extra = Vec<(String, String)>;

records! {
    /// The identity of an effect. Two calls with the same identity have the same effect: the second
    /// one converges. `Display` writes it as text, and [`EffectId::parse`] reads it.
    pub struct EffectId {
        /// The VM's UUID, in its hyphenated form.
        pub vm: String,
        /// The operation.
        pub operation: u64,
        /// The step within the VM.
        pub step: u64,
        /// The thing that the effect is about.
        pub item: Item,
    }

    /// The stamp that a domain gets before it may run.
    pub struct Identity {
        /// The store that holds the VM's record. A domain with the id of another store does not
        /// belong to this Ostler.
        pub store: String,
        /// The VM's UUID.
        pub vm: String,
        /// The generation of the placement. Only the domain with the highest one may run.
        pub generation: u64,
    }

    /// A file on the target host. A driver opens it by datastore and path ([`FileRef::place`]).
    pub struct FileRef {
        /// The name of the datastore.
        pub datastore: String,
        /// The path below the datastore's root.
        pub path: String,
        /// The path as the hypervisor sees it.
        pub absolute: String,
    }

    /// A file below a datastore's root, as [`crate::host::files`] takes it.
    pub struct FilePath {
        /// The name of the datastore.
        pub datastore: String,
        /// The path below the datastore's root.
        pub path: String,
    }

    /// The driver's own, versioned state about a VM. The host keeps it with the VM and passes it
    /// back. At most 64 KiB.
    pub struct OpaqueState {
        /// The version of the data's form.
        pub version: u32,
        /// The data.
        pub data: Vec<u8>,
    }

    #[allow(clippy::large_enum_variant, reason = "an answer is made once and sent")]
    /// The answer of a look. It is a fact. If the hypervisor could not be asked, the answer is an
    /// error instead.
    pub enum Observation {
        /// The domain is there.
        Present(DomainSeen),
        /// There is none.
        Absent,
    }

    /// The answer of a call that succeeded.
    #[derive(Default)]
    pub struct Outcome {
        /// The result of a look after the effect, within the call.
        pub seen: Option<Observation>,
        /// The driver's own state, if it changed.
        pub state: Option<OpaqueState>,
        /// Reserved.
        pub extra: Extra,
    }

    /// How far a long job is.
    #[derive(Default)]
    pub struct Progress {
        /// How much is done.
        pub done: u64,
        /// How much there is to do. 0 if it is not known.
        pub total: u64,
        /// The present work, for people.
        pub phase: String,
    }

    #[allow(clippy::large_enum_variant, reason = "an answer is made once and sent")]
    /// How far a long job is, or how it ended.
    pub enum JobStatus {
        /// It is at work.
        Pending(Progress),
        /// It is done.
        Done(Outcome),
    }
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// The exit code. None if a signal ended the command.
    pub code: Option<i32>,
    /// The signal that ended the command.
    pub signal: Option<i32>,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
    /// Whether output was cut off because it was too long.
    pub truncated: bool,
}

/// A command job at work.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobRunning {
    /// For how long it has been at work, in milliseconds by the clock of its host.
    pub ran_ms: u64,
    /// The end of its standard output so far, at most 4 KiB of what is kept.
    pub stdout: Vec<u8>,
    /// The end of its standard error so far, at most 4 KiB of what is kept.
    pub stderr: Vec<u8>,
}

/// The state of a command job.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum JobState {
    /// There is none of that name.
    Absent,
    /// It is at work.
    Running(JobRunning),
    /// It has ended.
    Ended(Exit),
    /// Nothing of it is at work any more, and its result is not known. The text says why.
    Lost(String),
}

/// The kind and size of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// Its kind.
    pub kind: FileKind,
    /// Its size in bytes.
    pub size: u64,
    /// The bytes that it uses on the disk.
    pub allocated: u64,
    /// When it was changed last, in milliseconds since the Unix epoch.
    pub modified_ms: u64,
}

/// A value for a hole of a command or socket.
pub(crate) struct Argument {
    pub(crate) hole: String,
    pub(crate) value: String,
}

/// The name of a command job.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct JobName {
    pub(crate) name: String,
    pub(crate) host: Option<String>,
}

/// A command of several that run at once, or one that is to be a job.
pub(crate) struct CommandLine {
    pub(crate) command: String,
    pub(crate) arguments: Vec<Argument>,
    pub(crate) input: Vec<u8>,
}
