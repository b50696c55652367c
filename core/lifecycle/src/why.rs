//! What a VM waits for, in words.

use ostler_model::Timestamp;

/// What is waited for, since when, until when, and what can be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// The state and its reason, in a sentence.
    pub summary: String,
    /// What is waited for; none in a state of rest.
    pub waits_for: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// Until when at the latest.
    pub until: Option<Timestamp>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// What an operator can do: verbs, in the words of the command line.
    pub can: Vec<String>,
}
