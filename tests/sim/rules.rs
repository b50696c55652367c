//! Snapshot rules that say all that rules can say, each now and then. The same question always has
//! the same answer.

use async_trait::async_trait;
use ostler_driver::{RulesQuestion, RulesVerdict, SnapshotFate, SnapshotRules, Verdict};
use ostler_model::DriverError;

/// The rules.
pub(crate) struct Rules;

#[async_trait]
impl SnapshotRules for Rules {
    async fn judge(&self, question: &RulesQuestion) -> Result<RulesVerdict, DriverError> {
        let asked = format!("{} {} {:?}", question.verb, question.state, question.snapshots);
        let drawn = asked.bytes().fold(7_u64, |sum, byte| sum * 31 % 1_000_003 + u64::from(byte));
        if drawn.is_multiple_of(13) {
            return Err(DriverError::unknown("driver-trap", "chance"));
        }
        let fate = match drawn % 5 {
            0 => SnapshotFate::Lose,
            1 => SnapshotFate::Hide,
            _ => SnapshotFate::Keep,
        };
        let verdict = if drawn.is_multiple_of(7) {
            Verdict::Refused { reason: "chance".to_owned() }
        } else {
            Verdict::Allowed
        };
        Ok(RulesVerdict { verdict, fates: vec![fate; question.snapshots.len()] })
    }
}
