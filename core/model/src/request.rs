//! Requests, their answers, and what a commit must find true.

use crate::{HostId, ImageId, OperationId, State, Verb, Version, VmId};
use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

/// Something asked of an existing VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The operation it becomes if it is accepted.
    pub operation: OperationId,
    /// What is asked.
    pub verb: Verb,
    /// Who asks.
    pub by: String,
    /// For deploy: where.
    pub host: Option<HostId>,
    /// For deploy: refuse if the host's capacity is exceeded. The scheduler always enforces.
    pub enforce: bool,
    /// For recover: even where it looks like a lie.
    pub force: bool,
    /// Only if the record still has this version.
    pub if_version: Option<Version>,
}

/// A request that was not refused. The answer is the truth: it was committed with what it tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Whose.
    pub vm: VmId,
    /// The operation that does it: a new one, or the one already at it. None where nothing is left to do.
    pub operation: Option<OperationId>,
    /// The state it is in now.
    pub state: State,
    /// The record's version now.
    pub version: Version,
    /// Whether this was so already: nothing was changed.
    pub already: bool,
    /// The operation that was overtaken.
    pub overtook: Option<OperationId>,
}

/// Why a request is refused. Stable codes of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, IntoStaticStr, EnumIter)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum RefusalKind {
    /// Not from this state.
    WrongState,
    /// Another operation holds the slot.
    Busy,
    /// The record has another version than the one asked for.
    VersionMismatch,
    /// No host given, or the host cannot take it.
    NoHost,
    /// The host is full.
    NoCapacity,
    /// The image is not there or not ready.
    ImageNotReady,
    /// Needs a fresh look that says absent.
    NotAbsent,
    /// What the operator states is contradicted by what is seen.
    Contradicted,
    /// The host could not be asked, and the answer is needed.
    CannotAsk,
    /// The driver cannot do it.
    NotAble,
    /// Nothing failed that could be recovered.
    NothingToRecover,
    /// The snapshot rules say no.
    Rules,
}

/// A refusal: nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{detail}")]
pub struct Refusal {
    /// Stable code.
    pub kind: RefusalKind,
    /// The verb.
    pub verb: Verb,
    /// What is wrong, in words.
    pub detail: String,
    /// What to do instead.
    pub hint: String,
}

/// What must hold, checked in order against the rows as they are inside the transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Claim {
    /// The host exists and is on; with `enforce`, what the VM will hold fits.
    Capacity {
        /// Where.
        host: HostId,
        /// Whether it must fit.
        enforce: bool,
    },
    /// The image exists and is ready.
    Image {
        /// Which.
        image: ImageId,
    },
}

/// The first claim that did not hold; nothing of that VM was committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{detail}")]
pub struct ClaimRefused {
    /// Which.
    pub claim: Claim,
    /// Why, in words.
    pub detail: String,
}
