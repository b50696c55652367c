//! The records of snapshot rules.

use super::{Extra, records};
use crate::DiskFormat;

records! {
    /// A disk of the VM that is asked about.
    pub struct Disk {
        /// The target device (`vda`).
        pub name: String,
        /// The format of its file.
        pub format: DiskFormat,
        /// Whether the guest may not write to it.
        pub read_only: bool,
    }

    /// A question to snapshot rules.
    pub struct Question {
        /// The verb in kebab-case: a verb of the command line, `snapshot-create`,
        /// `snapshot-revert`, `snapshot-delete`, or `observed`. It is text and no enum, because
        /// every version of Ostler may add verbs: give those that you do not know a safe fate.
        pub verb: String,
        /// The VM's state (`running`). It is text for the same reason.
        pub state: String,
        /// The VM's disks.
        pub disks: Vec<Disk>,
        /// Names of existing snapshots, oldest first.
        pub snapshots: Vec<String>,
        /// The snapshot to revert to or to delete.
        pub subject: Option<String>,
        /// The abilities that the driver has on the host: names of optional interfaces.
        pub abilities: Vec<String>,
        /// The time, in milliseconds since the Unix epoch.
        pub now_ms: u64,
        /// Reserved.
        pub extra: Extra,
    }

    /// The fate of an existing snapshot.
    #[derive(Copy)]
    pub enum Fate {
        /// It stays.
        Keep,
        /// The engine removes it.
        Lose,
        /// It stays, and is no longer offered.
        Hide,
    }

    /// The answer of snapshot rules.
    pub struct Verdict {
        /// The reason why the verb is refused. None if it is allowed.
        pub refused: Option<String>,
        /// One fate for each snapshot of the question, in its order.
        pub fates: Vec<Fate>,
    }
}
