//! Snapshot rules, and what they are asked.

use async_trait::async_trait;
use ostler_model::{Ability, DriverError, State, Verb};

/// Snapshot rules: they say which snapshots may be made, reverted and deleted, and whether existing
/// snapshots stay.
#[async_trait]
pub trait SnapshotRules: Send + Sync {
    /// Answers one question. Pure: the same question always has the same answer.
    ///
    /// # Errors
    /// If the rules gave no answer or crashed. The engine then refuses snapshot verbs, and hides
    /// snapshots for all other verbs.
    async fn judge(&self, question: &RulesQuestion) -> Result<RulesVerdict, DriverError>;
}

/// A question to snapshot rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulesQuestion {
    /// The verb in kebab-case: one of [`Verb`]'s names (also `snapshot-create`, `snapshot-revert`
    /// and `snapshot-delete`), or `observed` for a change that monitoring saw.
    pub verb: String,
    /// The VM's state.
    pub state: State,
    /// Name, format and whether it is read-only, of each disk.
    pub disks: Vec<(String, String, bool)>,
    /// The names of existing snapshots, oldest first.
    pub snapshots: Vec<String>,
    /// For revert and delete: the name of the snapshot.
    pub subject: Option<String>,
    /// The hypervisor driver's abilities on the host.
    pub abilities: Vec<Ability>,
    /// The current time, in milliseconds since the Unix epoch.
    pub now_ms: u64,
}

impl RulesQuestion {
    /// The name of a verb in a question.
    #[must_use]
    pub fn verb_name(verb: Verb) -> String {
        verb.to_string()
    }
}

/// Whether a snapshot verb is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may be done.
    Allowed,
    /// It may not be done; the reason is for people.
    Refused {
        /// The reason.
        reason: String,
    },
}

/// The fate of an existing snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotFate {
    /// It stays.
    Keep,
    /// It is removed: right after the operation's first step if that step stops the guest, else
    /// before all steps.
    Lose,
    /// It stays at the hypervisor, but Ostler no longer offers it.
    Hide,
}

/// The answer of snapshot rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulesVerdict {
    /// For snapshot verbs: whether it may be done. For all other verbs: allowed.
    pub verdict: Verdict,
    /// The fate of each existing snapshot, in the order of the question.
    pub fates: Vec<SnapshotFate>,
}
