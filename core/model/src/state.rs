//! The states of a VM.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

/// A VM has exactly one state. A transient one always belongs to one recorded operation and one step of it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Display, EnumString, IntoStaticStr, EnumIter,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum State {
    /// Waits for the scheduler or for `deploy`.
    Pending,
    /// As pending, but the scheduler leaves it alone.
    Hold,
    /// Disks and the recovery file are being brought to the host.
    Prolog,
    /// The hypervisor is asked to create or restore it.
    Boot,
    /// It runs; it is monitored.
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
    /// Saved, and everything moved back: no host needed.
    Stopped,
    /// Saved (or paused by a person at the hypervisor), files stay on the host.
    Suspended,
    /// Off, files stay on the host, no memory saved.
    Poweroff,
    /// Off, disks moved back.
    Undeployed,
    /// A step failed and could not be undone; the record says which.
    Failed,
    /// The host or the VM cannot be seen.
    Unknown,
    /// Over; the record is kept for accounting.
    Done,
}

/// Whether a VM may stay in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Display, IntoStaticStr)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum StateKind {
    /// Until somebody asks for something.
    Rest,
    /// Until a step ends; has a deadline.
    Transient,
    /// For ever.
    End,
}

impl State {
    /// Four letters for tables, as operators of such systems know them.
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
