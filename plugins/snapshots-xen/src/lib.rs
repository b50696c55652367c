//! Snapshot rules of Xen. `xl` saves the memory of a domain, but cannot keep memory and disks
//! together. So no snapshot is made.
//!
//! A VM should have no snapshots on Xen. If its record has some, they were made on another
//! hypervisor and are not offered.

use ostler_sdk::{Fate, Question, SnapshotRules, Verdict};

/// The rules.
pub struct Xen;

ostler_sdk::export!(Xen: SnapshotRules; manifest = "manifest.toml");

/// The answer to each snapshot verb.
const WHY: &str =
    "Xen has no system snapshots: xl cannot keep the memory of a VM together with its disks";

impl SnapshotRules for Xen {
    fn judge(question: Question) -> Verdict {
        let refused = matches!(
            question.verb.as_str(),
            "snapshot-create" | "snapshot-revert" | "snapshot-delete"
        );
        Verdict {
            refused: refused.then(|| WHY.to_owned()),
            fates: vec![Fate::Hide; question.snapshots.len()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_model::{State, Verb};
    use strum::IntoEnumIterator;

    const SNAPSHOT_VERBS: [&str; 3] = ["snapshot-create", "snapshot-revert", "snapshot-delete"];

    /// Every verb that a question can have, `observed`, and two words that no question has.
    fn verbs() -> impl Iterator<Item = String> {
        let others = ["observed", "unheard-of", ""].map(str::to_owned);
        Verb::iter().map(|verb| verb.to_string()).chain(others)
    }

    fn judge(verb: &str, state: State, snapshots: &[&str]) -> Verdict {
        Xen::judge(Question {
            verb: verb.to_owned(),
            state: state.to_string(),
            disks: Vec::new(),
            snapshots: snapshots.iter().map(|name| (*name).to_owned()).collect(),
            subject: Some("one".to_owned()),
            abilities: vec!["snapshots".to_owned()],
            now_ms: 0,
            extra: Vec::new(),
        })
    }

    #[test]
    fn snapshot_verbs_are_refused_and_nothing_else_in_every_state() {
        for verb in verbs() {
            for state in State::iter() {
                let refused = judge(&verb, state, &[]).refused;
                assert_eq!(
                    refused.is_some(),
                    SNAPSHOT_VERBS.contains(&verb.as_str()),
                    "{verb} in {state}: {refused:?}"
                );
            }
        }
    }

    #[test]
    fn the_reason_names_xen() {
        for verb in SNAPSHOT_VERBS {
            assert!(
                judge(verb, State::Running, &[]).refused.is_some_and(|why| why.contains("Xen")),
                "{verb}"
            );
        }
    }

    #[test]
    fn what_is_recorded_all_the_same_is_not_offered() {
        for verb in verbs() {
            for state in State::iter() {
                assert_eq!(
                    judge(&verb, state, &["one", "two"]).fates,
                    [Fate::Hide; 2],
                    "{verb} in {state}"
                );
                assert!(judge(&verb, state, &[]).fates.is_empty(), "{verb} in {state}");
            }
        }
    }
}
