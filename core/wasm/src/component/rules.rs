//! A component as snapshot rules.

use super::called::Called;
use super::{Component, Request, body};
use crate::convert;
use async_trait::async_trait;
use ostler_driver::{RulesQuestion, RulesVerdict, SnapshotRules};
use ostler_model::DriverError;
use std::time::Duration;

/// The time for an answer. Rules are pure, and a decision waits for them: one that takes longer
/// counts as no answer.
const JUDGE: Duration = Duration::from_millis(100);

#[async_trait]
impl SnapshotRules for Component {
    async fn judge(&self, question: &RulesQuestion) -> Result<RulesVerdict, DriverError> {
        let asked = convert::question(question);
        let body =
            body!(self.0.exports, rules, |guest, store| guest.call_judge(store, &asked).await);
        let Called { given, env } = self.call(Request::ask("judge", None, JUDGE), body).await?;
        let verdict = |given| convert::verdict(given, question.snapshots.len());
        Called { given: Ok(given), env }.told(verdict)
    }
}
