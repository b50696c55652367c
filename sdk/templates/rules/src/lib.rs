//! Snapshot rules: a VM may have at most eight snapshots, and they stay until somebody deletes
//! them.

use ostler_sdk::{Fate, Question, SnapshotRules, Verdict};

/// The most snapshots of one VM.
const MOST: usize = 8;

/// The rules.
pub struct Rules;

ostler_sdk::export!(Rules: SnapshotRules; manifest = "manifest.toml");

impl SnapshotRules for Rules {
    fn judge(question: Question) -> Verdict {
        let count = question.snapshots.len();
        let refused = match question.verb.as_str() {
            "snapshot-create" if count >= MOST => {
                Some(format!("there are {count} snapshots; at most {MOST} are allowed"))
            }
            _ => None,
        };
        // Each existing snapshot gets one fate. Here it is the same for every verb.
        Verdict { refused, fates: vec![Fate::Keep; count] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ninth_is_refused() {
        for (count, refused) in [(7, false), (8, true)] {
            let question = Question {
                verb: "snapshot-create".to_owned(),
                state: "running".to_owned(),
                disks: Vec::new(),
                snapshots: vec!["one".to_owned(); count],
                subject: None,
                abilities: Vec::new(),
                now_ms: 0,
                extra: Vec::new(),
            };
            assert_eq!(Rules::judge(question).refused.is_some(), refused);
        }
    }
}
