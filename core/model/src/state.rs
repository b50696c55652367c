//! The states of a VM.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

/// The state of a VM. A VM has exactly one. A transient state always belongs to one recorded
/// operation and to one of its steps.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    IntoStaticStr,
    EnumIter,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum State {
    /// Waits for the scheduler or for `deploy`.
    Pending,
    /// As pending, but the scheduler does not place it.
    Hold,
    /// Disks and the memory file are being brought to the host.
    Prolog,
    /// The hypervisor is asked to create or restore it.
    Boot,
    /// It runs, and Ostler monitors it.
    Running,
    /// It moves to another host.
    Migrate,
    /// A disk or NIC is attached or detached, or a live copy or resize is in progress.
    Hotplug,
    /// A system snapshot is created, reverted or deleted.
    Snapshot,
    /// Memory is written out.
    Save,
    /// The host is cleaned.
    Epilog,
    /// It is being switched off.
    Shutdown,
    /// Its memory is saved, and all its files are back at the front end. It needs no host.
    Stopped,
    /// Its memory is saved, or a person paused it at the hypervisor. Its files stay on the host.
    Suspended,
    /// Off, and no memory is saved. Its files stay on the host.
    Poweroff,
    /// Off, and its disks are back at the front end.
    Undeployed,
    /// A step failed and could not be undone; the record says which.
    Failed,
    /// Ostler cannot observe the host or the VM.
    Unknown,
    /// Ended. The record is kept for accounting.
    Done,
}

/// Whether a VM may stay in a state.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Display, IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum StateKind {
    /// Until somebody sends a request.
    Rest,
    /// Until a step ends. Each step has a deadline; only the steps of a delete are then tried
    /// again, for ever.
    Transient,
    /// For ever.
    End,
}

/// The states of rest in which a VM has a host, and in which a look at that host decides where it
/// rests next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Monitored {
    /// [`State::Running`].
    Running,
    /// [`State::Suspended`].
    Suspended,
    /// [`State::Poweroff`].
    Poweroff,
    /// [`State::Unknown`].
    Unknown,
}

impl From<Monitored> for State {
    fn from(rest: Monitored) -> Self {
        match rest {
            Monitored::Running => Self::Running,
            Monitored::Suspended => Self::Suspended,
            Monitored::Poweroff => Self::Poweroff,
            Monitored::Unknown => Self::Unknown,
        }
    }
}

impl State {
    /// The same state, if the monitor judges a VM in it by a look. None: the VM has no host, or an
    /// operation is in progress, or a person has to decide (`failed`).
    #[must_use]
    pub const fn monitored(self) -> Option<Monitored> {
        match self {
            Self::Running => Some(Monitored::Running),
            Self::Suspended => Some(Monitored::Suspended),
            Self::Poweroff => Some(Monitored::Poweroff),
            Self::Unknown => Some(Monitored::Unknown),
            Self::Pending
            | Self::Hold
            | Self::Stopped
            | Self::Undeployed
            | Self::Failed
            | Self::Done => None,
            Self::Prolog
            | Self::Boot
            | Self::Migrate
            | Self::Hotplug
            | Self::Snapshot
            | Self::Save
            | Self::Epilog
            | Self::Shutdown => None,
        }
    }

    /// Four letters for tables, in the style that operators of such systems know.
    #[must_use]
    pub const fn short(self) -> &'static str {
        match self {
            Self::Pending => "pend",
            Self::Hold => "hold",
            Self::Prolog => "prol",
            Self::Boot => "boot",
            Self::Running => "runn",
            Self::Migrate => "migr",
            Self::Hotplug => "hotp",
            Self::Snapshot => "snap",
            Self::Save => "save",
            Self::Epilog => "epil",
            Self::Shutdown => "shut",
            Self::Stopped => "stop",
            Self::Suspended => "susp",
            Self::Poweroff => "poff",
            Self::Undeployed => "unde",
            Self::Failed => "fail",
            Self::Unknown => "unkn",
            Self::Done => "done",
        }
    }

    /// Whether a VM may stay in it.
    #[must_use]
    pub const fn kind(self) -> StateKind {
        match self {
            Self::Pending
            | Self::Hold
            | Self::Running
            | Self::Stopped
            | Self::Suspended
            | Self::Poweroff
            | Self::Undeployed
            | Self::Failed
            | Self::Unknown => StateKind::Rest,
            Self::Prolog
            | Self::Boot
            | Self::Migrate
            | Self::Hotplug
            | Self::Snapshot
            | Self::Save
            | Self::Epilog
            | Self::Shutdown => StateKind::Transient,
            Self::Done => StateKind::End,
        }
    }
}
