//! Faults of snapshot rules, and the checks that each fault must make fail.

use async_trait::async_trait;
use ostler_driver::{RulesQuestion, RulesVerdict, SnapshotFate, SnapshotRules, Verdict};
use ostler_model::DriverError;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RulesFault {
    None,
    Moody,
    ForgetsOne,
    HoldsUpDelete,
    SaysNotWhy,
    Slow,
}

struct FaultyRules {
    fault: RulesFault,
    asked: AtomicU64,
}

#[async_trait]
impl SnapshotRules for FaultyRules {
    async fn judge(&self, question: &RulesQuestion) -> Result<RulesVerdict, DriverError> {
        let odd = self.asked.fetch_add(1, Ordering::Relaxed) % 2 == 1;
        let refuse = |reason: &str| Verdict::Refused { reason: reason.to_owned() };
        let mut verdict = Verdict::Allowed;
        let mut fates = vec![SnapshotFate::Keep; question.snapshots.len()];
        match self.fault {
            RulesFault::Moody if odd => fates.fill(SnapshotFate::Hide),
            RulesFault::ForgetsOne => fates.truncate(2),
            RulesFault::HoldsUpDelete if question.verb == "delete" => verdict = refuse("not now"),
            RulesFault::SaysNotWhy if question.verb == "snapshot-create" => verdict = refuse(" "),
            RulesFault::Slow
                if question.verb == "snapshot-create" && question.snapshots.len() == 3 =>
            {
                tokio::time::sleep(Duration::from_millis(101)).await;
            }
            _ => {}
        }
        Ok(RulesVerdict { verdict, fates })
    }
}

#[tokio::test]
async fn each_fault_of_rules_turns_its_checks_red_and_no_others() {
    let faults: &[(RulesFault, &[&str])] = &[
        (RulesFault::None, &[]),
        (RulesFault::Moody, &["rules-are-pure"]),
        (RulesFault::ForgetsOne, &["rules-one-fate-each"]),
        (RulesFault::HoldsUpDelete, &["rules-judge-snapshots-only"]),
        (RulesFault::SaysNotWhy, &["rules-say-why"]),
        (RulesFault::Slow, &["rules-are-quick"]),
    ];
    for (fault, expected) in faults {
        let report = crate::conformance::snapshot_rules(
            Arc::new(FaultyRules { fault: *fault, asked: AtomicU64::new(0) }),
            |_| true,
        )
        .await;
        assert_eq!(report.broken(), *expected, "{fault:?}\n{report}");
    }
}
